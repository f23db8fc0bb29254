//! A server whose clock jumps: numbers do not follow it, times and deadlines do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use im_store::shard::{Append, ID_AHEAD_MS_MAX, ID_HORIZON_MS};
use im_store::stream;
use im_store::writer::{self, Writer};
use protocol::{ClientMessageId, ErrorCode};

use crate::backend::Backend;
use crate::writer::{NOW_MS, history, pair, text};

const HOUR_MS: u64 = 3600 * 1000;

/// A writer, and the clock that it goes by.
async fn start(backend: &impl Backend) -> (Writer, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(NOW_MS));
    let (sink, _) = stream::new();
    let (writer, task) = writer::new(backend.engine().await, sink);
    let shown = Arc::clone(&clock);
    tokio::spawn(task.run(move || shown.load(Ordering::Relaxed)));
    (writer, clock)
}

pub(crate) async fn a_clock_that_jumps_moves_no_number(backend: &impl Backend) {
    let (writer, clock) = start(backend).await;
    let times = [
        NOW_MS,
        NOW_MS + HOUR_MS,
        NOW_MS - HOUR_MS,
        NOW_MS - 2 * HOUR_MS,
        NOW_MS,
    ];
    for (id, now) in (1..).zip(times) {
        clock.store(now, Ordering::Relaxed);
        let stored = writer.append(text(pair(), 1, id, "喂")).await.unwrap();
        assert_eq!(
            (stored.sequence.0, stored.committed_at_ms),
            (u64::from(id), now)
        );
    }
    // A repeat gets the first answer, whatever the time is now.
    clock.store(NOW_MS - 3 * HOUR_MS, Ordering::Relaxed);
    let again = writer.append(text(pair(), 1, 2, "喂")).await.unwrap();
    assert!(again.duplicate);
    assert_eq!((again.sequence.0, again.committed_at_ms), (2, times[1]));
    let log = history(backend, pair(), 2).await.entries;
    let log: Vec<_> = log
        .iter()
        .map(|e| (e.sequence, e.committed_at_ms))
        .collect();
    assert_eq!(log, (1..).zip(times).collect::<Vec<_>>());
}

pub(crate) async fn a_clock_that_jumps_is_what_deadlines_and_ids_are_judged_by(
    backend: &impl Backend,
) {
    let (writer, clock) = start(backend).await;
    let urgent = Append {
        deliver_before_ms: NOW_MS + 1000,
        ..text(pair(), 1, 1, "停")
    };
    // An hour ahead the deadline has passed; when the clock is put right it has not.
    clock.store(NOW_MS + HOUR_MS, Ordering::Relaxed);
    let refused = writer.append(urgent.clone()).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Expired);
    clock.store(NOW_MS, Ordering::Relaxed);
    assert_eq!(writer.append(urgent).await.unwrap().sequence.0, 1);

    // A robot that lives in another year than the store is told so, and nothing is stored.
    let of = |made_at_ms| Append {
        message_id: ClientMessageId::new(made_at_ms, [9; 10]),
        ..text(pair(), 1, 2, "早")
    };
    for (made_at_ms, code) in [
        (NOW_MS - ID_HORIZON_MS - 1, ErrorCode::TooOld),
        (NOW_MS + ID_AHEAD_MS_MAX + 1, ErrorCode::BadRequest),
    ] {
        let refused = writer.append(of(made_at_ms)).await.unwrap_err();
        assert_eq!(refused.code, code, "{refused}");
    }
    clock.store(NOW_MS + 1, Ordering::Relaxed);
    let stored = writer.append(of(NOW_MS + ID_AHEAD_MS_MAX + 1)).await;
    assert_eq!(stored.unwrap().sequence.0, 2);
}
