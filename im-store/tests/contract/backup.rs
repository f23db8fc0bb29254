//! A backup of a store at work is what was committed by then, and either engine restores it; a
//! restore begins a new generation of the history. What is no whole backup touches nothing.

use std::path::{Path, PathBuf};

use im_store::backup::{self, BackupError};
use im_store::engine::{Chore, EngineError, RaisedMark, Readers};
use im_store::shard::{Append, MemberChange};
use im_store::writer::Writer;
use protocol::wire::{AccountKind, ActionSpec, CapabilityCard, EntryKind};
use protocol::{AccountId, ConversationId, ErrorCode, SequenceNumber};
use tempfile::TempDir;

use crate::backend::{Backend, MySql, Sqlite};
use crate::history::about;
use crate::writer::{NOW_MS, history, make_group, pair, start, text};

/// Two accounts, a group and a pair, with marks, a card, and somebody who left.
async fn populate(writer: &Writer) -> ConversationId {
    for (id, name) in [(1, "ana"), (2, "lift-1")] {
        let account = Chore::EnsureAccount {
            fleet: "dev".into(),
            kind: AccountKind::Robot,
            name: name.into(),
            proposed: AccountId(id),
        };
        writer.chore(account).await.unwrap();
    }
    let card = CapabilityCard {
        model: "叉车-2t".into(),
        actions: vec![ActionSpec::default()],
        ..CapabilityCard::default()
    };
    let account = AccountId(2);
    let card = Chore::SetCapabilities { account, card };
    writer.chore(card).await.unwrap();
    let group = make_group(writer, 1, 7).await;
    let change = |id, account, joins| Append {
        kind: EntryKind::Membership,
        changes: vec![MemberChange::joins(AccountId(account), joins)],
        ..text(group, 1, id, "")
    };
    for entry in [change(1, 1, true), change(2, 2, true), change(3, 2, false)] {
        writer.append(entry).await.unwrap();
    }
    for id in 1..=600 {
        writer.append(text(pair(), 1, id, "箱子\0")).await.unwrap();
    }
    let mark = RaisedMark {
        conversation: pair(),
        account: AccountId(2),
        delivered: 9,
        read: 4,
    };
    writer.chore(Chore::RaiseMarks(vec![mark])).await.unwrap();
    group
}

async fn made(backend: &impl Backend, folder: &TempDir) -> PathBuf {
    let file = folder.path().join("backup");
    let made = backup::back_up(&backend.database(), &file, NOW_MS).await;
    assert!(made.unwrap().rows > 1200);
    file
}

async fn restored(backend: &impl Backend, file: &Path) {
    let restored = backup::restore(&backend.database(), file, false, NOW_MS).await;
    restored.unwrap();
}

/// Everything that can be read of it is as it was in the other, up to these heads.
async fn assert_same(one: &impl Backend, other: &impl Backend, group: ConversationId) {
    let (ours, theirs) = (one.readers().await, other.readers().await);
    for account in [1, 2] {
        for at in [pair(), group] {
            let (ours, theirs) = (
                history(one, at, account).await,
                history(other, at, account).await,
            );
            let head = theirs.head;
            assert_eq!(theirs.entries.len() as u64, head.0);
            assert_eq!(ours.entries[..theirs.entries.len()], theirs.entries);
            assert_eq!(ours.stays, theirs.stays);
        }
        let account = AccountId(account);
        let mut mine = ours.memberships(account, &[], 9).await.unwrap();
        let its = theirs.memberships(account, &[], 9).await.unwrap();
        for (mine, its) in mine.iter_mut().zip(&its) {
            (mine.head, mine.unread) = (its.head, its.unread);
        }
        assert_eq!(mine, its);
    }
    let names = ["ana".to_owned(), "lift-1".to_owned()];
    let accounts = theirs.accounts("dev", &names, &[]).await.unwrap();
    assert_eq!(accounts.len(), 2);
    assert_eq!(ours.accounts("dev", &names, &[]).await.unwrap(), accounts);
}

pub(crate) async fn a_store_at_work_is_backed_up_as_of_one_moment(backend: &impl Backend) {
    let (writer, task) = start(backend).await;
    let group = populate(&writer).await;
    let working = writer.clone();
    let sending = tokio::spawn(async move {
        for id in 601..=900 {
            working.append(text(pair(), 1, id, "x")).await.unwrap();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let file = made(backend, &folder).await;
    sending.await.unwrap();

    let other = Sqlite::start().await;
    restored(&other, &file).await;
    assert_same(backend, &other, group).await;
    // The restored history goes on by itself, and knows the ids that it has.
    let head = history(&other, pair(), 1).await.head.0;
    let (restored, _) = start(&other).await;
    let again = restored.append(text(pair(), 1, 1, "箱子\0")).await.unwrap();
    assert_eq!((again.sequence.0, again.duplicate), (1, true));
    let next = restored.append(text(pair(), 2, 1, "y")).await.unwrap();
    assert_eq!(next.sequence.0, head + 1);
    drop(writer);
    task.await.unwrap();
}

#[tokio::test]
async fn each_engine_restores_what_the_other_has_kept() {
    let (file_engine, server) = (Sqlite::start().await, MySql::start().await);
    let (writer, task) = start(&file_engine).await;
    let group = populate(&writer).await;
    drop(writer);
    drop(task.await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    restored(&server, &made(&file_engine, &folder).await).await;
    assert_same(&file_engine, &server, group).await;

    let (back, folder) = (Sqlite::start().await, tempfile::tempdir().unwrap());
    restored(&back, &made(&server, &folder).await).await;
    assert_same(&file_engine, &back, group).await;
}

/// A log of which two entries are gone, and the fourth was edited by the fifth.
async fn trim_and_edit(writer: &Writer) {
    for id in 1..=4 {
        writer.append(text(pair(), 1, id, "before")).await.unwrap();
    }
    let edit = about(EntryKind::Edit, 4, text(pair(), 1, 5, "after"));
    assert_eq!(writer.append(edit).await.unwrap().sequence.0, 5);
    let trim = Chore::Trim {
        conversation: pair(),
        from: SequenceNumber::ZERO,
        up_to: SequenceNumber(2),
    };
    writer.chore(trim).await.unwrap();
}

/// Of a restored [`trim_and_edit`]: what it weighs, what is gone, and that a recall finds the edit.
async fn assert_trimmed_and_edited(restored: &impl Backend) {
    let log = history(restored, pair(), 2).await;
    assert_eq!((log.head.0, log.trimmed.0), (5, 2));
    assert!(log.entries.iter().map(|its| its.sequence).eq(3..=5));
    let logs = restored.readers().await.logs(&[], 9).await.unwrap();
    assert_eq!(logs[0].bytes, "beforebeforeafter".len() as u64);

    let (writer, task) = start(restored).await;
    let again = writer.append(text(pair(), 1, 1, "before")).await.unwrap();
    assert!(again.duplicate, "ids outlive what they name");
    let gone = about(EntryKind::Recall, 2, text(pair(), 1, 6, "r"));
    let refused = writer.append(gone).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NoSuchEntry);
    let recall = about(EntryKind::Recall, 4, text(pair(), 1, 7, "r"));
    assert_eq!(writer.append(recall).await.unwrap().sequence.0, 6);
    drop(writer);
    drop(task.await.unwrap());
    let log = history(restored, pair(), 2).await.entries;
    let kinds: Vec<_> = log.iter().map(|entry| entry.kind()).collect();
    let (recalled, recall) = (EntryKind::Recalled, EntryKind::Recall);
    assert_eq!(kinds, [EntryKind::Text, recalled, recalled, recall]);
}

pub(crate) async fn what_is_gone_or_edited_is_so_in_a_backup(backend: &impl Backend) {
    let (writer, task) = start(backend).await;
    trim_and_edit(&writer).await;
    drop(writer);
    drop(task.await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    let made = backup::back_up(&backend.database(), &file, NOW_MS).await;
    made.unwrap();
    let (file_engine, server) = (Sqlite::start().await, MySql::start().await);
    restored(&file_engine, &file).await;
    assert_trimmed_and_edited(&file_engine).await;
    restored(&server, &file).await;
    assert_trimmed_and_edited(&server).await;
}

pub(crate) async fn a_restore_begins_a_generation_that_says_where_it_parted(
    backend: &impl Backend,
) {
    let (writer, task) = start(backend).await;
    let group = populate(&writer).await;
    let folder = tempfile::tempdir().unwrap();
    let file = made(backend, &folder).await;
    let lost = ConversationId::pair(AccountId(1), AccountId(1));
    writer.append(text(lost, 1, 1, "lost")).await.unwrap();
    drop(writer);
    drop(task.await.unwrap());
    let first = backend.readers().await.generation().await.unwrap();

    let replacing = backup::restore(&backend.database(), &file, false, NOW_MS).await;
    assert!(matches!(replacing, Err(BackupError::NotEmpty(_))));
    let replacing = backup::restore(&backend.database(), &file, true, NOW_MS).await;
    replacing.unwrap();
    let readers = backend.readers().await;
    let second = readers.generation().await.unwrap();
    assert_ne!(second, first);
    let ids = [pair(), group, lost].map(|at| at.to_bytes());
    let parted = readers.parted(first, &ids).await.unwrap();
    assert_eq!(parted, Some(vec![600, 3, 0]));
    assert_eq!(readers.parted(first ^ 1, &ids).await.unwrap(), None);

    // Once more, later in the second generation: the first is parted where it was.
    let (writer, task) = start(backend).await;
    writer.append(text(pair(), 1, 900, "new")).await.unwrap();
    writer.append(text(lost, 1, 1, "again")).await.unwrap();
    drop(writer);
    drop(task.await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = made(backend, &folder).await;
    let replacing = backup::restore(&backend.database(), &file, true, NOW_MS).await;
    replacing.unwrap();
    let readers = backend.readers().await;
    assert_ne!(readers.generation().await.unwrap(), second);
    let of = async |since| readers.parted(since, &ids).await.unwrap().unwrap();
    assert_eq!(of(first).await, [600, 3, 0]);
    assert_eq!(of(second).await, [601, 3, 1]);
}

/// Changed files, and what is said of each.
fn wrong(whole: &[u8]) -> Vec<(Vec<u8>, &'static str)> {
    let changed = |at: usize| {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let mut newer = whole.to_vec();
    newer[11] = 9;
    vec![
        (Vec::new(), "no backup"),
        (b"SQLite format 3\0 and more".to_vec(), "no backup"),
        (changed(3), "no backup"),
        (newer, "a newer build (format 9"),
        (whole[..whole.len() / 2].to_vec(), "damaged"),
        (whole[..whole.len() - 1].to_vec(), "damaged"),
        (changed(whole.len() / 2), "damaged"),
        (changed(whole.len() - 2), "damaged"),
        ([whole, b"more"].concat(), "damaged"),
    ]
}

pub(crate) async fn what_is_no_whole_backup_touches_nothing(backend: &impl Backend) {
    let (writer, task) = start(backend).await;
    populate(&writer).await;
    drop(writer);
    drop(task.await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = made(backend, &folder).await;
    let again = backup::back_up(&backend.database(), &file, NOW_MS).await;
    assert!(again.is_err(), "a backup is never overwritten");
    let whole = std::fs::read(&file).unwrap();
    for (bytes, says) in wrong(&whole) {
        std::fs::write(&file, bytes).unwrap();
        let refused = backup::restore(&backend.database(), &file, true, NOW_MS).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(says), "{says}: {refused}");
    }
    assert_eq!(history(backend, pair(), 1).await.entries.len(), 600);
}

pub(crate) async fn there_is_no_backup_of_nothing(backend: &impl Backend) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    let refused = backup::back_up(&backend.database(), &file, NOW_MS).await;
    assert!(matches!(refused, Err(BackupError::NoHistory(_))));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn half_a_restore_is_served_by_no_store() {
    let (source, server) = (Sqlite::start().await, MySql::start().await);
    let (writer, task) = start(&source).await;
    populate(&writer).await;
    drop(writer);
    drop(task.await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = made(&source, &folder).await;
    restored(&server, &file).await;
    server
        .execute("INSERT INTO generations VALUES (-1, -1, 0)")
        .await;
    let refused = server.try_engine().await.err().unwrap();
    assert!(matches!(refused, EngineError::HalfRestored), "{refused}");
    let again = backup::restore(&server.database(), &file, true, NOW_MS).await;
    again.unwrap();
    server.engine().await;
}
