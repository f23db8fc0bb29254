//! What a store does with what is said of another generation of its history.

use std::time::Duration;

use protocol::ErrorCode;
use protocol::kind::method;
use protocol::wire::internal::{AccountMark, AccountMarks, Memberships, MembershipsPage, Read};
use protocol::wire::{AccountKind, Mark, Pull, PullPage};
use service_kit::rpc;
use service_kit::testing::Authority;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::service::Store;

pub(crate) async fn what_is_said_of_another_history_is_not_taken_for_this_one(
    backend: &impl Backend,
) {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let nowhere = ([127, 0, 0, 1], 9).into();
    let store = Store::start(backend, &authority, folder.path(), nowhere).await;
    for (id, name) in [(1, "ana"), (2, "bo")] {
        let made = store.account(name, AccountKind::Operator, id).await;
        made.unwrap();
    }
    let group = store.group(1, &[1, 2]).await;
    for said in ["one", "two"] {
        store.append(group, 2, said).await.unwrap();
    }
    let mine = async |history_generation| -> MembershipsPage {
        let ask = Memberships {
            account_id: 1,
            history_generation,
            ..Memberships::default()
        };
        store.ask(method::STORE_MEMBERSHIPS, &ask).await.unwrap()
    };
    let ours = mine(0).await.history_generation;
    let pull = async |history_generation| {
        let ask = Read {
            account_id: 1,
            pull: Some(Pull {
                conversation_id: group.to_bytes(),
                history_generation,
                ..Pull::default()
            }),
        };
        store.ask::<PullPage>(method::READ, &ask).await
    };
    let refused = pull(ours ^ 1).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::OtherHistory);
    assert_eq!(pull(ours).await.unwrap().head, 3);
    assert_eq!(pull(0).await.unwrap().head, 3);

    let mark = |delivered, history_generation| AccountMark {
        account_id: 1,
        mark: Some(Mark {
            conversation_id: group.to_bytes(),
            delivered,
            read: 0,
        }),
        history_generation,
    };
    let marks = AccountMarks {
        marks: vec![mark(3, ours ^ 1), mark(2, ours), mark(3, ours ^ 1)],
    };
    let body = rpc::encode(&marks);
    store.link.notify(method::WRITE_MARKS, body).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut polling = tokio::time::interval(Duration::from_millis(10));
    loop {
        let page = mine(ours ^ 1).await;
        let membership = &page.memberships[0];
        // Nothing is known of such a history: its client is where the store's mark is.
        assert_eq!(membership.parted_at, membership.delivered);
        if membership.delivered > 0 {
            assert_eq!(membership.delivered, 2, "marks of another history");
            return;
        }
        assert!(Instant::now() < deadline, "no mark");
        polling.tick().await;
    }
}
