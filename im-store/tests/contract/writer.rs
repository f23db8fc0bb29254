//! The writer on a real database: dense numbers, one message for one id, few syncs for many.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use im_store::cache::{Cache, Kept};
use im_store::engine::{Chore, Done, Engine, History, NewGroup, RaisedMark, Readers};
use im_store::read::{self, Entitlement, Span};
use im_store::shard::{Append, ConversationState, MemberChange, Ruled};
use im_store::stream;
use im_store::writer::{self, Writer};
use protocol::limits::PULL_PAGE_BYTES_MAX;
use protocol::wire::{Entry, EntryKind, Priority, Role};
use protocol::{
    AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal, Rights, SequenceNumber,
};
use tokio::task::JoinHandle;

use crate::backend::Backend;

pub(crate) const NOW_MS: u64 = 1_800_000_000_000;

pub(crate) fn text(conversation: ConversationId, sender: u64, id: u16, said: &str) -> Append {
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
        rights: Rights::EVERYTHING,
        changes: Vec::new(),
        group: None,
        target: None,
        ruled: Ruled::default(),
        reply_to: None,
    }
}

/// An owner of the database.
pub(crate) async fn start<B: Backend>(backend: &B) -> (Writer, JoinHandle<B::Engine>) {
    own_with(backend.engine().await, B::Cache::default(), NOW_MS)
}

pub(crate) fn own<E: Engine>(engine: E) -> (Writer, JoinHandle<E>) {
    own_at(engine, NOW_MS)
}

pub(crate) fn own_at<E: Engine>(engine: E, now_ms: u64) -> (Writer, JoinHandle<E>) {
    own_with(engine, Kept::default(), now_ms)
}

fn own_with<E: Engine>(engine: E, cache: impl Cache, now_ms: u64) -> (Writer, JoinHandle<E>) {
    let (sink, _) = stream::new();
    let (writer, task) = writer::with_cache(engine, sink, cache);
    (writer, tokio::spawn(task.run(move || now_ms)))
}

pub(crate) async fn history(
    backend: &impl Backend,
    conversation: ConversationId,
    account: u64,
) -> History {
    let readers = backend.readers().await;
    readers
        .history(conversation, AccountId(account), all())
        .await
        .unwrap()
        .unwrap()
}

pub(crate) fn all() -> Span {
    Span::forward(SequenceNumber::ZERO, 5000)
}

pub(crate) fn pair() -> ConversationId {
    ConversationId::pair(AccountId(1), AccountId(2))
}

pub(crate) async fn a_lone_message_is_committed_without_waiting_for_another(
    backend: &impl Backend,
) {
    let (writer, task) = start(backend).await;
    let stored = writer.append(text(pair(), 1, 1, "喂")).await.unwrap();
    assert_eq!((stored.sequence.0, stored.duplicate), (1, false));
    drop(writer);
    assert_eq!(task.await.unwrap().commits(), 1);
}

pub(crate) async fn many_at_once_are_numbered_densely_with_far_fewer_syncs(backend: &impl Backend) {
    const MESSAGES: u16 = 2000;
    let (writer, task) = start(backend).await;
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
    let log = history(backend, pair(), 1).await.entries;
    assert_eq!(log.len(), usize::from(MESSAGES));
}

pub(crate) async fn a_retry_after_a_restart_is_the_same_message_and_history_is_still_there(
    backend: &impl Backend,
) {
    let (writer, task) = start(backend).await;
    let first = writer.append(text(pair(), 1, 1, "箱子")).await.unwrap();
    drop(writer);
    drop(task.await.unwrap());

    let (writer, task) = start(backend).await;
    let again = writer.append(text(pair(), 1, 1, "箱子")).await.unwrap();
    assert_eq!((again.sequence, again.duplicate), (first.sequence, true));
    let conflict = writer.append(text(pair(), 1, 1, "别的")).await.unwrap_err();
    assert_eq!(conflict.code, ErrorCode::Conflict);
    drop(writer);
    task.await.unwrap();
    let log = history(backend, pair(), 2).await.entries;
    assert_eq!(log.len(), 1);
    assert_eq!(&log[0].content[..], "箱子".as_bytes());
}

pub(crate) async fn make_group(writer: &Writer, id: u64, proposed: u64) -> ConversationId {
    let chore = Chore::CreateGroup(NewGroup {
        creator: AccountId(1),
        message_id: ClientMessageId::new(NOW_MS, [id.to_be_bytes()[7]; 10]),
        proposed: ConversationId::group(proposed),
        name: "演示".into(),
        history_open: false,
        owned_max: 0,
    });
    let Done::Group(group) = writer.chore(chore).await.unwrap() else {
        panic!("no group");
    };
    group
}

pub(crate) async fn a_group_lets_in_who_joined_and_keeps_out_who_left(backend: &impl Backend) {
    let (writer, task) = start(backend).await;
    let group = make_group(&writer, 1, 7).await;
    let change = |id, account, joins| Append {
        kind: EntryKind::Membership,
        changes: vec![MemberChange::joins(AccountId(account), joins)],
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
    let state = look_up(&mut task.await.unwrap(), group).await;
    assert_eq!(&*state.name, "演示");
    assert_eq!((state.head.0, state.membership.0), (5, 4));
    assert_eq!(*state.members, [(AccountId(1), Role::Member)].into());

    let seen = history(backend, group, 2).await;
    let entitlement = Entitlement::new(seen.stays, seen.history_open).unwrap();
    let page = read::page(seen.entries, &entitlement, NOW_MS);
    let kinds: Vec<_> = page.iter().map(Entry::kind).collect();
    let (hidden, membership) = (EntryKind::Placeholder, EntryKind::Membership);
    let expected = [hidden, membership, EntryKind::Text, membership, hidden];
    assert_eq!(kinds, expected);
    assert!(history(backend, group, 3).await.stays.is_empty());
}

pub(crate) async fn a_repeated_request_makes_no_second_group(backend: &impl Backend) {
    let (writer, _task) = start(backend).await;
    let first = make_group(&writer, 1, 7).await;
    assert_eq!(make_group(&writer, 1, 8).await, first);
    assert_ne!(make_group(&writer, 2, 9).await, first);
}

pub(crate) async fn a_rule_refuses_what_is_new_and_never_a_repeat(backend: &impl Backend) {
    let (writer, _task) = start(backend).await;
    let blocked = |id| Append {
        ruled: Ruled {
            refusal: Some(Refusal::new(ErrorCode::ContentBlocked, "不许说")),
            ..Ruled::default()
        },
        ..text(pair(), 1, id, "笨蛋")
    };
    let masked = |id| Append {
        content: Bytes::from_static(b"**"),
        ruled: Ruled {
            original: Some(Bytes::from("笨蛋")),
            ..Ruled::default()
        },
        ..text(pair(), 1, id, "笨蛋")
    };
    let refused = writer.append(blocked(1)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::ContentBlocked);
    let plain = writer.append(text(pair(), 1, 1, "笨蛋")).await.unwrap();
    let struck_out = writer.append(masked(2)).await.unwrap();
    for (id, first) in [(1, plain), (2, struck_out)] {
        let as_said = text(pair(), 1, id, "笨蛋");
        for again in [as_said, masked(id), blocked(id)] {
            let again = writer.append(again).await.unwrap();
            assert_eq!((again.sequence, again.duplicate), (first.sequence, true));
        }
    }
    // What was stored is not what was said, and is another message under the same id.
    let stars = writer.append(text(pair(), 1, 2, "**")).await.unwrap_err();
    assert_eq!(stars.code, ErrorCode::Conflict);
    let log = history(backend, pair(), 2).await.entries;
    let contents: Vec<_> = log.iter().map(|entry| &entry.content[..]).collect();
    assert_eq!(contents, ["笨蛋".as_bytes(), b"**"]);
}

pub(crate) async fn marks_only_rise_and_never_pass_the_head(backend: &impl Backend) {
    let (writer, _task) = start(backend).await;
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
    let readers = backend.readers().await;
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

/// A conversation as its database has it.
async fn look_up(engine: &mut impl Engine, conversation: ConversationId) -> ConversationState {
    let any = [text(conversation, 1, u16::MAX, "")];
    let mut known = engine.look_up(&any, &HashMap::new()).await.unwrap();
    known.conversations.remove(&conversation).unwrap()
}

/// More conversations and rows than one statement takes.
pub(crate) async fn a_batch_of_many_conversations_is_one_commit(backend: &impl Backend) {
    let mut engine = backend.engine().await;
    for round in 0..2 {
        let batch: Vec<_> = (0..1500)
            .map(|n| {
                let pair = ConversationId::pair(AccountId(1), AccountId(1000 + n));
                text(pair, 1, u16::try_from(n).unwrap() + round * 2000, "早")
            })
            .collect();
        let known = engine.look_up(&batch, &HashMap::new()).await.unwrap();
        assert_eq!(known.conversations.len(), usize::from(round) * 1500);
        let plan = im_store::shard::plan(&batch, |_| [0; 16], &known, NOW_MS);
        engine.commit(&batch, &plan, NOW_MS).await.unwrap();
        assert_eq!(engine.commits(), u64::from(round) + 1);
        let again = engine.look_up(&batch, &HashMap::new()).await.unwrap();
        assert_eq!(again.ids.len(), 1500);
    }
    let readers = backend.readers().await;
    let heads = readers.heads(&[], 5000).await.unwrap();
    assert_eq!(heads.len(), 1500);
    assert!(heads.iter().all(|head| head.head == 2));
    assert!(heads.is_sorted_by_key(|head| head.conversation_id.clone()));
}

pub(crate) async fn a_large_group_is_made_and_emptied(backend: &impl Backend) {
    let (writer, task) = start(backend).await;
    let group = make_group(&writer, 1, 7).await;
    let change = |id, joins, accounts: std::ops::Range<u64>| Append {
        kind: EntryKind::Membership,
        changes: accounts
            .map(|account| MemberChange::joins(AccountId(account), joins))
            .collect(),
        ..text(group, 1, id, "")
    };
    writer.append(change(1, true, 1..2001)).await.unwrap();
    writer.append(change(2, false, 2..1501)).await.unwrap();
    writer.append(change(3, true, 2..3)).await.unwrap();
    drop(writer);
    let state = look_up(&mut task.await.unwrap(), group).await;
    assert_eq!((state.head.0, state.members.len()), (3, 502));
    let stays = history(backend, group, 2).await.stays;
    let stays: Vec<_> = stays
        .iter()
        .map(|stay| (stay.joined.0, stay.left.map(|left| left.0)))
        .collect();
    assert_eq!(stays, [(1, Some(2)), (3, None)]);
}

pub(crate) async fn history_comes_in_pages_bounded_in_entries_and_bytes(backend: &impl Backend) {
    let (writer, _task) = start(backend).await;
    for id in 1..=100 {
        writer.append(text(pair(), 1, id, "x")).await.unwrap();
    }
    let long = "长".repeat(PULL_PAGE_BYTES_MAX / 4);
    for id in 101..=110 {
        writer.append(text(pair(), 1, id, &long)).await.unwrap();
    }
    let readers = backend.readers().await;
    let page = async |after, limit| {
        let span = Span::forward(SequenceNumber(after), limit);
        let page = readers.history(pair(), AccountId(1), span).await;
        let page = page.unwrap().unwrap();
        assert_eq!(page.head.0, 110);
        page.entries.iter().map(|e| e.sequence).collect::<Vec<_>>()
    };
    assert_eq!(page(0, 70).await, (1..=70).collect::<Vec<_>>());
    assert_eq!(page(90, 5).await, (91..=95).collect::<Vec<_>>());
    assert_eq!(page(110, 5).await, [0_u64; 0]);
    // A page is full soon after its bytes are; it is cut to its measure later.
    let full = page(0, 512).await;
    assert!((100..=110).contains(&full.len()), "{}", full.len());
    assert!(full.iter().copied().eq(1..=full.len() as u64));
}

pub(crate) async fn a_command_does_not_wait_for_the_chat_before_it<B: Backend>(backend: &B) {
    let (sink, _) = stream::new();
    let (writer, task) = writer::with_cache(backend.engine().await, sink, B::Cache::default());
    let talk = ConversationId::pair(AccountId(1), AccountId(2));
    let order = ConversationId::pair(AccountId(1), AccountId(3));
    // More than one batch, and all of it there before the first begins.
    let mut chat = Vec::new();
    for id in 0..3000 {
        let said = Box::pin(writer.append(text(talk, 1, id, "聊天")));
        chat.push(said);
    }
    for said in &mut chat {
        assert!(futures_util::poll!(said.as_mut()).is_pending());
    }
    let command = Append {
        priority: Priority::Command,
        ..text(order, 1, 3000, "去B区")
    };
    let mut command = Box::pin(writer.append(command));
    assert!(futures_util::poll!(command.as_mut()).is_pending());
    // Every look at the clock is a batch.
    let batches = AtomicU64::new(NOW_MS);
    let running = tokio::spawn(task.run(move || batches.fetch_add(1, Ordering::Relaxed)));
    let first = command.await.unwrap().committed_at_ms;
    let mut last = first;
    for said in chat {
        last = said.await.unwrap().committed_at_ms;
    }
    assert!(first < last, "{first} is not before {last}");
    drop(writer);
    running.await.unwrap();
}
