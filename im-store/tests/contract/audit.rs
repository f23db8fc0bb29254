//! The audit of what is administered: each record once, with one end, read from the newest back.

use im_store::command::Command;
use im_store::engine::{Chore, Done, Readers};
use protocol::kind::method;
use protocol::wire::internal::{AuditPage, AuditRecord, AuditState, ListAudit};
use protocol::{AccountId, ErrorCode};
use service_kit::testing::Authority;

use crate::backend::Backend;
use crate::service::Store;
use crate::writer::start as start_writer;

fn record(id: u64, state: AuditState) -> AuditRecord {
    AuditRecord {
        audit_id: id,
        at_ms: id * 10,
        account_id: 3,
        action: "group.create".into(),
        target: "仓库".into(),
        request: "{\"name\": \"仓库\"}".into(),
        address: "127.0.0.1".into(),
        state: state.into(),
        code: 0,
        message: String::new(),
    }
}

async fn page(store: &Store, before_audit_id: u64, limit: u32) -> (Vec<AuditRecord>, bool) {
    let ask = ListAudit {
        before_audit_id,
        limit,
    };
    let page: AuditPage = store.ask(method::AUDIT_LIST, &ask).await.unwrap();
    (page.records, page.more)
}

pub(crate) async fn a_record_is_written_once_and_ends_once(backend: &impl Backend) {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let nowhere = ([127, 0, 0, 1], 9).into();
    let store = Store::start(backend, &authority, folder.path(), nowhere).await;
    let write = async |record: &AuditRecord| {
        let written = store.ask::<()>(method::AUDIT_WRITE, record);
        written.await
    };
    let begun = record(1, AuditState::Begun);
    write(&begun).await.unwrap();
    assert_eq!(page(&store, 0, 0).await, (vec![begun.clone()], false));
    let ended = AuditRecord {
        target: "g17".into(),
        state: AuditState::Refused.into(),
        code: ErrorCode::Forbidden.into(),
        message: "不行".into(),
        ..begun.clone()
    };
    write(&ended).await.unwrap();
    // Neither a repeat of the beginning nor another end changes it.
    write(&begun).await.unwrap();
    write(&record(1, AuditState::Done)).await.unwrap();
    assert_eq!(page(&store, 0, 0).await.0, [ended]);
    for id in 2..=5 {
        write(&record(id, AuditState::Done)).await.unwrap();
    }
    let ids = |records: &[AuditRecord]| -> Vec<u64> {
        records.iter().map(|record| record.audit_id).collect()
    };
    let (newest, more) = page(&store, 0, 2).await;
    assert_eq!((ids(&newest), more), (vec![5, 4], true));
    let (older, more) = page(&store, 4, 3).await;
    assert_eq!((ids(&older), more), (vec![3, 2, 1], false));
    let long = AuditRecord {
        request: "x".repeat(4096),
        ..record(6, AuditState::Done)
    };
    assert_eq!(write(&long).await.unwrap_err().code, ErrorCode::BadRequest);
}

pub(crate) async fn the_oldest_records_go_and_nothing_else(backend: &impl Backend) {
    let (writer, _task) = start_writer(backend).await;
    for id in 1..=5 {
        let written = writer.chore(Chore::Audit(record(id, AuditState::Done)));
        written.await.unwrap();
    }
    let forget = async |before_ms, limit| {
        let chore = Chore::ForgetAudit { before_ms, limit };
        let Done::Forgotten(records) = writer.chore(chore).await.unwrap() else {
            panic!("nothing was forgotten");
        };
        records
    };
    assert_eq!(forget(40, 2).await, 2);
    assert_eq!(forget(40, 2).await, 1);
    assert_eq!(forget(40, 2).await, 0);
    let readers = backend.readers().await;
    let left = readers.audit(0, 10).await;
    let left: Vec<_> = left.unwrap().iter().map(|its| its.audit_id).collect();
    assert_eq!(left, [5, 4]);
}

/// Commands are listed from the newest back, and those of one issuer alone.
pub(crate) async fn commands_are_listed(readers: &impl Readers) {
    let all = readers.commands_before(AccountId(0), &[], 9).await.unwrap();
    assert!(!all.is_empty(), "what is over is listed");
    let ids: Vec<_> = all.iter().map(Command::id).collect();
    assert!(ids.is_sorted_by(|a, b| a > b), "{ids:?}");
    let of = async |issuer| {
        let found = readers.commands_before(AccountId(issuer), &[], 9).await;
        found.unwrap().len()
    };
    assert_eq!((of(all[0].issuer.0).await, of(999).await), (all.len(), 0));
    let last = ids.last().unwrap().as_bytes().to_vec();
    let older = readers.commands_before(AccountId(0), &last, 9).await;
    assert_eq!(older.unwrap(), []);
}
