//! The writer on a real SQLite file: dense numbers, one message for one id, few syncs for many.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use bytes::Bytes;
use im_store::read::{self, Entitlement};
use im_store::shard::{Append, MemberChange};
use im_store::sqlite::{Chore, Done, Engine, EngineError, History, RaisedMark, Readers};
use im_store::stream;
use im_store::writer::{self, Writer};
use protocol::wire::{Entry, EntryKind, Priority};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, SequenceNumber};
use sqlx::{Connection as _, SqliteConnection};
use tokio::task::JoinHandle;

const NOW_MS: u64 = 1_800_000_000_000;

fn text(conversation: ConversationId, sender: u64, id: u16, said: &str) -> Append {
    let mut random = [0; 10];
    random[8..].copy_from_slice(&id.to_be_bytes());
    random[0] = u8::try_from(sender).unwrap();
    Append {
        conversation,
        sender: AccountId(sender),
        message_id: ClientMessageId::new(NOW_MS, random),
        kind: EntryKind::Text,
        content: Bytes::copy_from_slice(said.as_bytes()),
        priority: Priority::Chat,
        deliver_before_ms: 0,
        changes: Vec::new(),
    }
}

async fn start(path: &Path) -> (Writer, JoinHandle<Engine>) {
    let (sink, _) = stream::new();
    let (writer, task) = writer::new(Engine::open(path).await.unwrap(), sink);
    (writer, tokio::spawn(task.run(|| NOW_MS)))
}

async fn history(path: &Path, conversation: ConversationId, account: u64) -> History {
    let start = SequenceNumber::ZERO;
    let readers = Readers::open(path).await.unwrap();
    readers
        .history(conversation, AccountId(account), start, 5000)
        .await
        .unwrap()
        .unwrap()
}

fn pair() -> ConversationId {
    ConversationId::pair(AccountId(1), AccountId(2))
}

#[tokio::test]
async fn a_lone_message_is_committed_without_waiting_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, task) = start(&folder.path().join("s.db")).await;
    let stored = writer.append(text(pair(), 1, 1, "喂")).await.unwrap();
    assert_eq!((stored.sequence.0, stored.duplicate), (1, false));
    drop(writer);
    assert_eq!(task.await.unwrap().commits(), 1);
}

#[tokio::test]
async fn many_at_once_are_numbered_densely_with_far_fewer_syncs() {
    const MESSAGES: u16 = 2000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let (writer, task) = start(&path).await;
    let sends: Vec<_> = (0..MESSAGES)
        .map(|id| {
            let writer = writer.clone();
            tokio::spawn(async move { writer.append(text(pair(), 1, id, "x")).await })
        })
        .collect();
    let mut numbers = Vec::new();
    for send in sends {
        numbers.push(send.await.unwrap().unwrap().sequence.0);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=u64::from(MESSAGES)).collect::<Vec<_>>());
    drop(writer);
    let engine = task.await.unwrap();
    assert!(
        engine.commits() < u64::from(MESSAGES) / 4,
        "{} commits",
        engine.commits()
    );
    let log = history(&path, pair(), 1).await.entries;
    assert_eq!(log.len(), usize::from(MESSAGES));
}

#[tokio::test]
async fn a_retry_after_a_restart_is_the_same_message_and_history_is_still_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let (writer, task) = start(&path).await;
    let first = writer.append(text(pair(), 1, 1, "箱子")).await.unwrap();
    drop(writer);
    drop(task.await.unwrap());

    let (writer, task) = start(&path).await;
    let again = writer.append(text(pair(), 1, 1, "箱子")).await.unwrap();
    assert_eq!((again.sequence, again.duplicate), (first.sequence, true));
    let conflict = writer.append(text(pair(), 1, 1, "别的")).await.unwrap_err();
    assert_eq!(conflict.code, ErrorCode::Conflict);
    drop(writer);
    task.await.unwrap();
    let log = history(&path, pair(), 2).await.entries;
    assert_eq!(log.len(), 1);
    assert_eq!(&log[0].content[..], "箱子".as_bytes());
}

/// Two owners of one file: the head decides, and no number is skipped or given twice.
#[tokio::test]
async fn two_owners_at_once_are_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let (one, one_task) = start(&path).await;
    let (two, two_task) = start(&path).await;
    let send = |writer: Writer, sender| async move {
        let mut numbers = Vec::new();
        for id in 0..100 {
            let stored = writer.append(text(pair(), sender, id, "x")).await.unwrap();
            numbers.push(stored.sequence.0);
        }
        numbers
    };
    let (mut numbers, more) = tokio::join!(send(one, 1), send(two, 2));
    numbers.extend(more);
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
    one_task.await.unwrap();
    two_task.await.unwrap();
}

async fn make_group(writer: &Writer, id: u64, proposed: u64) -> ConversationId {
    let chore = Chore::CreateGroup {
        creator: AccountId(1),
        message_id: ClientMessageId::new(NOW_MS, [id.to_be_bytes()[7]; 10]),
        proposed: ConversationId::group(proposed),
        name: "演示".into(),
        history_open: false,
    };
    let Done::Group(group) = writer.chore(chore).await.unwrap() else {
        panic!("no group");
    };
    group
}

#[tokio::test]
async fn a_group_lets_in_who_joined_and_keeps_out_who_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let (writer, task) = start(&path).await;
    let group = make_group(&writer, 1, 7).await;
    let change = |id, account, joins| Append {
        kind: EntryKind::Membership,
        changes: vec![MemberChange {
            account: AccountId(account),
            joins,
        }],
        ..text(group, 1, id, "")
    };
    let early = text(group, 1, 1, "nobody is in yet");
    let refused = writer.append(early).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotAMember);
    writer.append(change(2, 1, true)).await.unwrap();
    writer.append(change(3, 2, true)).await.unwrap();
    let in_time = writer.append(text(group, 2, 4, "in")).await.unwrap();
    assert_eq!(in_time.sequence.0, 3);
    writer.append(change(5, 2, false)).await.unwrap();
    let refused = writer.append(text(group, 2, 6, "out")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotAMember);
    writer.append(text(group, 1, 7, "alone")).await.unwrap();
    drop(writer);
    let state = task.await.unwrap().conversation(group).await.unwrap();
    let state = state.unwrap();
    assert_eq!((state.head.0, state.membership.0), (5, 4));
    assert_eq!(*state.members, [AccountId(1)].into());

    let seen = history(&path, group, 2).await;
    let entitlement = Entitlement::new(seen.stays, seen.history_open).unwrap();
    let page = read::page(seen.entries, &entitlement, NOW_MS);
    let kinds: Vec<_> = page.iter().map(Entry::kind).collect();
    let (hidden, membership) = (EntryKind::Placeholder, EntryKind::Membership);
    let expected = [hidden, membership, EntryKind::Text, membership, hidden];
    assert_eq!(kinds, expected);
    assert!(history(&path, group, 3).await.stays.is_empty());
}

#[tokio::test]
async fn a_repeated_request_makes_no_second_group() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let (writer, _task) = start(&path).await;
    let first = make_group(&writer, 1, 7).await;
    assert_eq!(make_group(&writer, 1, 8).await, first);
    assert_ne!(make_group(&writer, 2, 9).await, first);
}

#[tokio::test]
async fn marks_only_rise_and_never_pass_the_head() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let (writer, _task) = start(&path).await;
    for id in 1..=3 {
        writer.append(text(pair(), 1, id, "x")).await.unwrap();
    }
    let mark = |account, delivered, read| RaisedMark {
        conversation: pair(),
        account: AccountId(account),
        delivered,
        read,
    };
    // A stranger's mark is nobody's.
    let rounds = [
        vec![mark(2, 2, 1), mark(9, 1, 1)],
        vec![mark(2, 99, 0), mark(2, 1, 0)],
    ];
    for marks in rounds {
        writer.chore(Chore::RaiseMarks(marks)).await.unwrap();
    }
    let readers = Readers::open(&path).await.unwrap();
    let of = async |account| {
        let rows = readers
            .memberships(AccountId(account), &[], 10)
            .await
            .unwrap();
        rows.iter()
            .map(|m| (m.head, m.delivered, m.read))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(2).await, [(3, 3, 1)]);
    assert_eq!(of(1).await, [(3, 0, 0)]);
    assert_eq!(of(9).await, []);
}

#[tokio::test]
async fn foreign_and_newer_databases_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let execute = async |path: &Path, sql: &'static str| {
        let url = format!("sqlite://{}?mode=rwc", path.display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    };
    let foreign = folder.path().join("foreign.db");
    execute(&foreign, "CREATE TABLE photos (id INTEGER)").await;
    assert!(matches!(
        Engine::open(&foreign).await,
        Err(EngineError::Foreign)
    ));

    let newer = folder.path().join("newer.db");
    drop(Engine::open(&newer).await.unwrap());
    execute(&newer, "PRAGMA user_version = 2").await;
    let error = Engine::open(&newer).await.unwrap_err();
    assert!(matches!(error, EngineError::Newer { found: 2, known: 1 }));
}
