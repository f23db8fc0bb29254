//! Emergency stops: latched once, in force across restarts, released once, by whoever is there.

use std::sync::OnceLock;

use protocol::content::{self, Content};
use protocol::kind::method;
use protocol::wire::internal::{
    Append, Appended, EstopList, EstopTargets, EstopWrite, ListEstopRecords, MembersPage,
};
use protocol::wire::{AccountKind, EmergencyStop, EntryKind, Estop, EstopRelease};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal, Roles};
use service_kit::clock;
use service_kit::testing::Authority;

use crate::backend::Backend;
use crate::service::Store;

/// Of one moment, so that the same number is the same id.
fn id(n: u8) -> ClientMessageId {
    static AT_MS: OnceLock<u64> = OnceLock::new();
    ClientMessageId::new(*AT_MS.get_or_init(clock::unix_ms), [n; 10])
}

fn own(account: u64) -> ConversationId {
    ConversationId::pair(AccountId(account), AccountId(account))
}

async fn write(
    store: &Store,
    (by, conversation, id): (u64, ConversationId, ClientMessageId),
    content: Content,
) -> Result<Appended, Refusal> {
    let write = EstopWrite {
        append: Some(Append {
            conversation_id: conversation.to_bytes(),
            sender: by,
            client_message_id: id.to_bytes(),
            kind: content::kind_of(&content).into(),
            content: content::encode(content),
            sender_roles: Roles::ALL.bits(),
            ..Append::default()
        }),
        sent_at_ms: 5,
    };
    store.ask(method::ESTOP_WRITE, &write).await
}

fn stop(fleet: bool) -> Content {
    Content::Estop(Estop {
        fleet,
        reason: "有人".into(),
    })
}

fn release(stops: &[ClientMessageId]) -> Content {
    Content::EstopRelease(EstopRelease {
        stop_ids: stops.iter().map(|id| id.to_bytes()).collect(),
        reason: "好了".into(),
    })
}

async fn records(store: &Store, ids: &[ClientMessageId]) -> Vec<EmergencyStop> {
    let ask = ListEstopRecords {
        stop_ids: ids.iter().map(|id| id.to_bytes()).collect(),
    };
    let list: EstopList = store.ask(method::ESTOP_LIST, &ask).await.unwrap();
    list.stops
}

async fn start(backend: &impl Backend) -> (Store, Authority, tempfile::TempDir) {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let nowhere = ([127, 0, 0, 1], 9).into();
    let store = Store::start(backend, &authority, folder.path(), nowhere).await;
    (store, authority, folder)
}

pub(crate) async fn a_stop_is_latched_once_and_released_once(backend: &impl Backend) {
    let (store, ..) = start(backend).await;
    let group = store.group(1, &[1, 2]).await;
    let first = (1, group, id(1));
    let stored = write(&store, first, stop(false)).await.unwrap();
    assert_eq!((stored.sequence, stored.duplicate), (2, false));
    let again = write(&store, first, stop(false)).await.unwrap();
    assert_eq!((again.sequence, again.duplicate), (2, true));
    write(&store, (2, own(2), id(2)), stop(true)).await.unwrap();
    // The same id for another place is another stop.
    let refused = write(&store, (1, own(1), first.2), stop(true)).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::Conflict);

    let in_force = records(&store, &[]).await;
    let ids: Vec<_> = in_force.iter().map(|stop| stop.stop_id.clone()).collect();
    assert_eq!(ids, [id(1).to_bytes(), id(2).to_bytes()]);
    assert_eq!((in_force[0].sender, &in_force[0].reason[..]), (1, "有人"));
    assert!(in_force[0].stored && in_force[1].fleet && !in_force[0].fleet);

    let ended = write(&store, (2, group, id(3)), release(&[first.2]));
    assert_eq!(ended.await.unwrap().sequence, 3);
    let again = write(&store, (1, group, id(4)), release(&[first.2]));
    again.await.unwrap();
    let [ended] = &records(&store, &[first.2]).await[..] else {
        panic!("one was asked for");
    };
    assert_eq!(
        (ended.released_by, &ended.release_reason[..]),
        (2, "好了"),
        "the first counts"
    );
    // A late repeat latches nothing.
    write(&store, first, stop(false)).await.unwrap();
    let all = records(&store, &[]).await;
    let in_force: Vec<_> = all.iter().map(|stop| stop.released_at_ms == 0).collect();
    assert_eq!(in_force, [true, false]);
}

pub(crate) async fn only_who_is_there_releases_and_a_release_may_come_first(
    backend: &impl Backend,
) {
    let (store, ..) = start(backend).await;
    let group = store.group(1, &[1, 2]).await;
    write(&store, (1, group, id(1)), stop(false)).await.unwrap();
    let stranger = write(&store, (9, group, id(2)), release(&[id(1)])).await;
    assert_eq!(stranger.unwrap_err().code, ErrorCode::NotAMember);
    // Not as one of the fleet, and not together with one that is not there.
    let wrong = write(&store, (1, own(1), id(3)), release(&[id(1)])).await;
    assert_eq!(wrong.unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(records(&store, &[id(1)]).await[0].released_at_ms, 0);

    write(&store, (1, group, id(4)), release(&[id(5)]))
        .await
        .unwrap();
    write(&store, (2, group, id(5)), stop(false)).await.unwrap();
    assert!(records(&store, &[id(5)]).await[0].released_at_ms > 0);

    // Whoever has left the group since has stopped it all the same; the log has no entry of it.
    let late = write(&store, (9, group, id(6)), stop(false)).await.unwrap();
    assert_eq!(late.sequence, 0);
    assert_eq!(records(&store, &[id(6)]).await.len(), 1);
    let text = write(&store, (1, group, id(7)), content::text("停")).await;
    assert_eq!(text.unwrap_err().code, ErrorCode::BadRequest);
    assert_eq!(i32::from(EntryKind::Estop), 30);
}

pub(crate) async fn the_robots_of_the_fleet_come_in_pages(backend: &impl Backend) {
    let (store, ..) = start(backend).await;
    for (id, name) in [(3, "lift-1"), (5, "lift-2"), (7, "小车")] {
        store.account(name, AccountKind::Robot, id).await.unwrap();
    }
    let ana = store.account("ana", AccountKind::Operator, 4).await;
    ana.unwrap();
    let page = async |after_account_id| -> (Vec<String>, bool) {
        let ask = EstopTargets {
            after_account_id,
            limit: 2,
            ..EstopTargets::default()
        };
        let page: MembersPage = store.ask(method::ESTOP_ROBOTS, &ask).await.unwrap();
        (
            page.members.into_iter().map(|robot| robot.name).collect(),
            page.more,
        )
    };
    assert_eq!(
        page(0).await,
        (vec!["lift-1".into(), "lift-2".into()], true)
    );
    assert_eq!(page(5).await, (vec!["小车".into()], false));
}
