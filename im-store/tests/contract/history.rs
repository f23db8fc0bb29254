//! What a log shows and what goes from it: pages back, recalls and edits, retention, old ids, who
//! lacks an entry.

use std::time::Duration;

use bytes::Bytes;
use im_store::engine::{Chore, Done, Lacking, RaisedMark, Readers};
use im_store::read::{Entitlement, Span, page};
use im_store::retention::Retention;
use im_store::shard::{Append, ID_AHEAD_MS_MAX, ID_HORIZON_MS, MemberChange};
use im_store::upkeep;
use im_store::writer::Writer;
use protocol::limits::PULL_PAGE_BYTES_MAX;
use protocol::wire::EntryKind;
use protocol::{AccountId, ConversationId, ErrorCode, SequenceNumber};
use service_kit::drain::Drain;
use tokio::time::{Instant, timeout_at};

use crate::backend::Backend;
use crate::writer::{NOW_MS, history, make_group, own_at, pair, start, text};

pub(crate) fn about(kind: EntryKind, target: u64, append: Append) -> Append {
    Append {
        kind,
        target: Some(SequenceNumber(target)),
        ..append
    }
}

pub(crate) async fn history_goes_back_page_by_page(backend: &impl Backend) {
    let (writer, _task) = start(backend).await;
    let long = "长".repeat(PULL_PAGE_BYTES_MAX / 4);
    for id in 1..=100 {
        writer.append(text(pair(), 1, id, "x")).await.unwrap();
    }
    for id in 101..=110 {
        writer.append(text(pair(), 1, id, &long)).await.unwrap();
    }
    let readers = backend.readers().await;
    let back = async |span: Span| {
        let found = readers.history(pair(), AccountId(1), span).await;
        let found = found.unwrap().unwrap();
        let entitlement = Entitlement::new(found.stays, found.history_open).unwrap();
        let page = page(found.entries, &entitlement, NOW_MS);
        page.iter().map(|entry| entry.sequence).collect::<Vec<_>>()
    };
    let mut seen = Vec::new();
    let mut before = SequenceNumber(u64::MAX);
    loop {
        let mut page = back(Span::back(before, 70)).await;
        let Some(first) = page.first().copied() else {
            break;
        };
        before = SequenceNumber(first);
        page.append(&mut seen);
        seen = page;
    }
    assert!(seen.iter().copied().eq(1..=110), "{seen:?}");
    let newest = back(Span::back(SequenceNumber(u64::MAX), 512)).await;
    assert_eq!(newest, [110], "two long entries are more than a page");
    let between = Span {
        after: SequenceNumber(40),
        ..Span::back(SequenceNumber(44), 512)
    };
    assert_eq!(back(between).await, [41, 42, 43]);
    let limited = Span {
        limit: 2,
        ..between
    };
    assert_eq!(back(limited).await, [42, 43], "the newest of them");
}

pub(crate) async fn a_recall_takes_the_words_back_and_an_edit_leaves_them(backend: &impl Backend) {
    let (writer, _task) = start(backend).await;
    for (id, said) in [(1, "keys in the box"), (2, "hello"), (3, "bye")] {
        writer.append(text(pair(), 1, id, said)).await.unwrap();
    }
    let edit = about(EntryKind::Edit, 1, text(pair(), 1, 4, "keys in the drawer"));
    assert_eq!(writer.append(edit.clone()).await.unwrap().sequence.0, 4);
    let readers = backend.readers().await;
    let before = readers.logs(&[], 9).await.unwrap()[0].bytes;
    let recall = about(EntryKind::Recall, 1, text(pair(), 1, 5, "r"));
    assert_eq!(writer.append(recall.clone()).await.unwrap().sequence.0, 5);
    assert!(writer.append(recall).await.unwrap().duplicate);

    let log = history(backend, pair(), 2).await.entries;
    let told: Vec<_> = log
        .iter()
        .map(|entry| (entry.kind(), entry.sender, &entry.content[..]))
        .collect();
    let expected: [(_, _, &[u8]); 5] = [
        (EntryKind::Recalled, 1, b""),
        (EntryKind::Text, 1, b"hello"),
        (EntryKind::Text, 1, b"bye"),
        (EntryKind::Recalled, 1, b""),
        (EntryKind::Recall, 1, b"r"),
    ];
    assert_eq!(told, expected);
    let gone = "keys in the boxkeys in the drawer".len() as u64;
    let after = readers.logs(&[], 9).await.unwrap()[0].bytes;
    assert_eq!(after, before - gone + 1);

    // Another's, one that is gone, one that is not there, one that is not words.
    let refusals = [
        (2, EntryKind::Recall, 2, ErrorCode::Forbidden),
        (2, EntryKind::Edit, 2, ErrorCode::Forbidden),
        (1, EntryKind::Recall, 1, ErrorCode::NoSuchEntry),
        (1, EntryKind::Edit, 4, ErrorCode::NoSuchEntry),
        (1, EntryKind::Edit, 99, ErrorCode::NoSuchEntry),
        (1, EntryKind::Recall, 5, ErrorCode::Forbidden),
    ];
    for (id, (sender, kind, target, code)) in (10..).zip(refusals) {
        let append = about(kind, target, text(pair(), sender, id, "r"));
        let refused = writer.append(append).await.unwrap_err();
        assert_eq!(refused.code, code, "{sender} {kind:?} {target}: {refused}");
    }
    assert_eq!(history(backend, pair(), 2).await.head.0, 5);
}

fn spawn_upkeep<R: Readers>(retention: Retention, readers: R, writer: Writer) -> Drain {
    let drain = Drain::new();
    let every = Duration::from_millis(20);
    let sweeping = upkeep::run(retention, every, readers, writer, || NOW_MS, drain.clone());
    tokio::spawn(sweeping);
    drain
}

/// Waits until a log has been trimmed so far.
async fn trimmed(readers: &impl Readers, conversation: ConversationId, up_to: u64) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let waiting = async {
        loop {
            let span = Span::forward(SequenceNumber::ZERO, 1);
            let found = readers.history(conversation, AccountId(1), span).await;
            let found = found.unwrap().unwrap().trimmed.0;
            assert!(found <= up_to, "{found}");
            if found == up_to {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout_at(deadline, waiting).await.unwrap();
}

pub(crate) async fn retention_drops_the_oldest_and_keeps_ids_marks_and_numbers(
    backend: &impl Backend,
) {
    const ENTRIES: u16 = 1000;
    let (writer, _task) = start(backend).await;
    let sends: Vec<_> = (1..=ENTRIES)
        .map(|id| {
            let (writer, append) = (writer.clone(), text(pair(), 1, id, "0123456789"));
            tokio::spawn(async move { writer.append(append).await })
        })
        .collect();
    for send in sends {
        send.await.unwrap().unwrap();
    }
    let other = ConversationId::pair(AccountId(1), AccountId(3));
    writer.append(text(other, 1, 1, "short")).await.unwrap();
    let readers = backend.readers().await;
    let by_count = Retention {
        entries: Some(300),
        ..Retention::default()
    };
    let mut sweeps = vec![spawn_upkeep(by_count, readers.clone(), writer.clone())];
    trimmed(&readers, pair(), 700).await;
    let by_bytes = Retention {
        bytes: Some(1000),
        ..Retention::default()
    };
    sweeps.push(spawn_upkeep(by_bytes, readers.clone(), writer.clone()));
    trimmed(&readers, pair(), 900).await;

    let log = history(backend, pair(), 2).await;
    assert_eq!((log.head.0, log.trimmed.0), (1000, 900));
    assert!(log.entries.iter().map(|e| e.sequence).eq(901..=1000));
    let again = writer.append(text(pair(), 1, 1, "0123456789")).await;
    assert!(again.unwrap().duplicate, "ids outlive what they name");
    let late = about(EntryKind::Recall, 5, text(pair(), 1, 2000, "r"));
    let refused = writer.append(late).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NoSuchEntry);
    let next = writer.append(text(pair(), 1, 2001, "next")).await.unwrap();
    assert_eq!(next.sequence.0, 1001);
    assert_eq!(history(backend, other, 1).await.entries.len(), 1);

    // A whole log may go but for its head.
    let nothing = Retention {
        entries: Some(1),
        bytes: Some(1),
        ..Retention::default()
    };
    sweeps.push(spawn_upkeep(nothing, readers.clone(), writer.clone()));
    trimmed(&readers, pair(), 1001).await;
    let next = writer.append(text(pair(), 2, 1, "")).await.unwrap();
    assert_eq!(next.sequence.0, 1002);
    sweeps.iter().for_each(Drain::start);
}

pub(crate) async fn a_step_of_retention_that_another_took_changes_nothing(backend: &impl Backend) {
    let (writer, _task) = start(backend).await;
    for id in 1..=9 {
        writer.append(text(pair(), 1, id, "x")).await.unwrap();
    }
    let trim = |from, up_to| Chore::Trim {
        conversation: pair(),
        from: SequenceNumber(from),
        up_to: SequenceNumber(up_to),
    };
    for step in [trim(0, 4), trim(0, 6), trim(0, 2)] {
        writer.chore(step).await.unwrap();
    }
    let log = history(backend, pair(), 1).await;
    assert_eq!((log.trimmed.0, log.entries.len()), (4, 5));
    let weight = backend.readers().await.logs(&[], 9).await.unwrap()[0].bytes;
    assert_eq!(weight, 5);
}

pub(crate) async fn ids_are_forgotten_after_their_horizon_and_then_too_old(backend: &impl Backend) {
    let (writer, task) = start(backend).await;
    for id in 1..=3 {
        writer.append(text(pair(), 1, id, "x")).await.unwrap();
    }
    let horizon_ms = NOW_MS + ID_HORIZON_MS + ID_AHEAD_MS_MAX;
    let forget = |made_before_ms, limit| Chore::ForgetIds {
        made_before_ms,
        limit,
    };
    let steps = [(NOW_MS, 9, 0), (NOW_MS + 1, 2, 2), (NOW_MS + 1, 2, 1)];
    for (before_ms, limit, expected) in steps {
        let done = writer.chore(forget(before_ms, limit)).await.unwrap();
        assert_eq!(done, Done::Forgotten(expected));
    }
    drop(writer);
    let (writer, _task) = own_at(task.await.unwrap(), horizon_ms + 1);
    let refused = writer.append(text(pair(), 1, 1, "x")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::TooOld);
    assert_eq!(history(backend, pair(), 1).await.entries.len(), 3);
}

pub(crate) async fn who_lacks_an_entry_is_told_by_pages_and_counts(backend: &impl Backend) {
    let (writer, _task) = start(backend).await;
    let group = make_group(&writer, 1, 7).await;
    let change = |id, joins, accounts: &[u64]| Append {
        kind: EntryKind::Membership,
        changes: accounts
            .iter()
            .map(|account| MemberChange::joins(AccountId(*account), joins))
            .collect(),
        content: Bytes::new(),
        ..text(group, 1, id, "")
    };
    writer.append(change(1, true, &[1, 2, 3, 4])).await.unwrap();
    writer
        .append(text(group, 1, 2, "who has it?"))
        .await
        .unwrap();
    // 4 leaves after it and 5 joins after it: neither is a member that is entitled to it.
    writer.append(change(3, false, &[4])).await.unwrap();
    writer.append(change(4, true, &[5])).await.unwrap();
    let mark = |account, delivered, read| RaisedMark {
        conversation: group,
        account: AccountId(account),
        delivered,
        read,
    };
    let marks = vec![mark(1, 4, 2), mark(2, 3, 1), mark(5, 4, 4)];
    writer.chore(Chore::RaiseMarks(marks)).await.unwrap();
    let readers = backend.readers().await;
    let lacking = async |asker, sequence, read, after| {
        let question = Lacking {
            sequence: SequenceNumber(sequence),
            read,
            after: AccountId(after),
            limit: 9,
        };
        let asked = readers.lacking(group, AccountId(asker), question).await;
        let rows = asked.unwrap().unwrap();
        assert_eq!(rows.head.0, 4);
        let ids: Vec<_> = rows.members.iter().map(|of| of.account_id).collect();
        (ids, rows.counts, rows.asker_is_member)
    };
    assert_eq!(lacking(1, 2, false, 0).await, (vec![3], (3, 2, 1), true));
    assert_eq!(lacking(1, 2, true, 0).await, (vec![2, 3], (3, 2, 1), true));
    assert_eq!(lacking(1, 2, true, 2).await.0, [3]);
    assert_eq!(lacking(5, 4, false, 0).await, (vec![2, 3], (4, 2, 1), true));
    assert!(!lacking(4, 2, false, 0).await.2, "it has left");

    let unread = async |account| {
        let rows = readers.memberships(AccountId(account), &[], 9).await;
        rows.unwrap()[0].unread
    };
    // After the read mark; after the join for one that has read nothing.
    assert_eq!([unread(1).await, unread(2).await], [2, 3]);
    assert_eq!([unread(3).await, unread(5).await], [3, 0]);
    let trim = Chore::Trim {
        conversation: group,
        from: SequenceNumber::ZERO,
        up_to: SequenceNumber(3),
    };
    writer.chore(trim).await.unwrap();
    assert_eq!(unread(3).await, 1, "what is gone is not unread");
}
