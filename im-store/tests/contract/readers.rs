//! Reads beside each other: what one leaves behind is nothing that another sees.

use futures_util::future::join_all;
use im_store::engine::Readers as _;
use protocol::AccountId;

use crate::backend::Backend;
use crate::writer::{all, pair, start, text};

/// At how many different moments a read is given up.
const MOMENTS: u16 = 60;

/// As many as a host's connections at once, so that none of them is spared.
const AT_ONCE: usize = 8;

/// The time of a read may be over at any moment, between a BEGIN and its answer, too.
pub(crate) async fn a_read_that_is_given_up_half_way_shows_nobody_the_past(backend: &impl Backend) {
    let (writer, _task) = start(backend).await;
    let readers = backend.readers().await;
    writer.append(text(pair(), 1, 1, "喂")).await.unwrap();
    for moment in 1..=MOMENTS {
        let given_up = (0..AT_ONCE).map(|_| async {
            let patience = async {
                for _ in 0..u32::from(moment) * 4 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                read = readers.history(pair(), AccountId(1), all()) => drop(read.unwrap()),
                () = patience => {}
            }
        });
        join_all(given_up).await;
        // A transaction shows what there was at its first question: two of them, and two messages.
        for id in [moment * 2, moment * 2 + 1] {
            writer.append(text(pair(), 1, id, "在吗")).await.unwrap();
            let heads = join_all((0..AT_ONCE).map(|_| readers.heads(&[], 10))).await;
            for found in heads {
                let found: Vec<_> = found.unwrap().iter().map(|found| found.head).collect();
                assert_eq!(found, [u64::from(id)], "given up at moment {moment}");
            }
        }
    }
}
