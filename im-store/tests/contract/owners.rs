//! Several owners of one database at once: the head row and the keys decide, and no number is
//! skipped or given twice.

use std::collections::HashMap;

use im_store::engine::{Chore, Done, Engine, EngineError};
use im_store::shard::{self, Append, MemberChange};
use im_store::writer::Writer;
use protocol::wire::{AccountKind, EntryKind};
use protocol::{AccountId, ConversationId, ErrorCode};

use crate::backend::Backend;
use crate::writer::{NOW_MS, history, make_group, pair, start, text};

/// Both write to the same conversations, one message after the other and many at once.
pub(crate) async fn two_owners_at_once_never_skip_or_repeat_a_number(backend: &impl Backend) {
    const MESSAGES: u16 = 150;
    let (one, _one_task) = start(backend).await;
    let (two, _two_task) = start(backend).await;
    let other = ConversationId::pair(AccountId(1), AccountId(3));
    let in_order = |writer: Writer, sender| async move {
        let mut numbers = Vec::new();
        for id in 0..MESSAGES {
            let stored = writer.append(text(pair(), sender, id, "x")).await.unwrap();
            numbers.push(stored.sequence.0);
        }
        assert!(numbers.is_sorted());
        numbers
    };
    let at_once = |writer: Writer, first: u16| async move {
        let sends: Vec<_> = (first..first + MESSAGES)
            .map(|id| {
                let writer = writer.clone();
                tokio::spawn(async move { writer.append(text(other, 1, id, "y")).await })
            })
            .collect();
        let mut numbers = Vec::new();
        for send in sends {
            numbers.push(send.await.unwrap().unwrap().sequence.0);
        }
        numbers
    };
    let (a, b, c, d) = tokio::join!(
        in_order(one.clone(), 1),
        in_order(two.clone(), 2),
        at_once(one.clone(), 0),
        at_once(two.clone(), MESSAGES),
    );
    for (mut numbers, more, conversation) in [(a, b, pair()), (c, d, other)] {
        numbers.extend(more);
        numbers.sort_unstable();
        let dense: Vec<_> = (1..=2 * u64::from(MESSAGES)).collect();
        assert_eq!(numbers, dense);
        let log = history(backend, conversation, 1).await;
        let log: Vec<_> = log.entries.iter().map(|entry| entry.sequence).collect();
        assert_eq!(log, dense);
    }
}

/// A client that retries at another store while the first is still at it.
pub(crate) async fn the_same_messages_by_two_owners_are_stored_once(backend: &impl Backend) {
    let (one, _one_task) = start(backend).await;
    let (two, _two_task) = start(backend).await;
    for id in 0..60 {
        let (first, second) = tokio::join!(
            one.append(text(pair(), 1, id, "喂")),
            two.append(text(pair(), 1, id, "喂")),
        );
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first.sequence, second.sequence);
        assert!(first.duplicate != second.duplicate, "{first:?} {second:?}");
    }
    assert_eq!(history(backend, pair(), 1).await.head.0, 60);
}

pub(crate) async fn an_owner_of_an_older_epoch_stores_nothing(backend: &impl Backend) {
    let mut engine = backend.engine().await;
    for id in 1..=2 {
        let batch = [text(pair(), 1, id, "x")];
        let known = engine.look_up(&batch, &HashMap::new()).await.unwrap();
        let plan = shard::plan(&batch, |_| [0; 16], &known, NOW_MS);
        if id == 2 {
            // The conversation gets another owner; its head stays what it was.
            backend
                .execute("UPDATE conversations SET owner_epoch = owner_epoch + 1")
                .await;
            let lost = engine.commit(&batch, &plan, NOW_MS).await.unwrap_err();
            assert!(matches!(lost, EngineError::Lost), "{lost}");
        } else {
            engine.commit(&batch, &plan, NOW_MS).await.unwrap();
        }
    }
    let after = history(backend, pair(), 1).await;
    assert_eq!((after.head.0, after.entries.len()), (1, 1));
}

pub(crate) async fn two_owners_make_one_group_and_one_account(backend: &impl Backend) {
    let (one, _one_task) = start(backend).await;
    let (two, _two_task) = start(backend).await;
    for round in 1..=20 {
        let (first, second) = tokio::join!(
            make_group(&one, round, 100 + round),
            make_group(&two, round, 200 + round),
        );
        assert_eq!(first, second);
        let account = |writer: Writer, proposed| async move {
            let chore = Chore::EnsureAccount {
                fleet: "dev".into(),
                kind: AccountKind::Robot,
                name: format!("r{round}"),
                proposed: AccountId(proposed),
            };
            let Done::Account(account) = writer.chore(chore).await.unwrap() else {
                panic!("no account");
            };
            account
        };
        let (first, second) = tokio::join!(
            account(one.clone(), 100 + round),
            account(two.clone(), 200 + round),
        );
        assert_eq!(first, second);
    }
}

/// Each remembers the group as of its own last commit. What it refuses it looks up first.
pub(crate) async fn who_is_a_member_is_never_decided_from_memory_alone(backend: &impl Backend) {
    let (one, _one_task) = start(backend).await;
    let (two, _two_task) = start(backend).await;
    let group = make_group(&one, 1, 7).await;
    let change = |id, account, joins| Append {
        kind: EntryKind::Membership,
        changes: vec![MemberChange::joins(AccountId(account), joins)],
        ..text(group, 1, id, "")
    };
    one.append(change(1, 1, true)).await.unwrap();
    two.append(change(2, 2, true)).await.unwrap();
    // To the first owner the second account is a stranger.
    let stored = one.append(text(group, 2, 3, "in")).await.unwrap();
    assert_eq!(stored.sequence.0, 3);
    two.append(change(4, 2, false)).await.unwrap();
    // To the first owner it is a member still, and to let it in would change nothing.
    let stored = one.append(change(5, 2, true)).await.unwrap();
    assert_eq!(stored.sequence.0, 5);
    two.append(change(6, 2, false)).await.unwrap();
    let refused = one.append(text(group, 2, 7, "out")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotAMember);
    assert_eq!(history(backend, group, 1).await.head.0, 6);
}
