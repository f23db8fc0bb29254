//! What arrives, and what is handed over: single cases, and the law over any mixture of faults.

use std::time::Duration;

use proptest::prelude::*;
use protocol::ClientMessageId;
use protocol::content;
use protocol::wire::{EntryKind, Priority};

mod leaving;

use self::leaving::read;
use super::*;
use crate::message::Conversation;

const ME: AccountId = AccountId(7);
const REST: Duration = Duration::from_millis(100);

fn group() -> ConversationId {
    ConversationId::group(1)
}

/// Every fifth entry is a placeholder.
fn entry(sequence: u64) -> Entry {
    let placeholder = sequence.is_multiple_of(5);
    Entry {
        conversation: group(),
        sequence: SequenceNumber(sequence),
        sender: AccountId(2),
        client_message_id: Some(ClientMessageId::new(sequence, [1; 10])),
        kind: if placeholder {
            EntryKind::Placeholder
        } else {
            EntryKind::Text
        },
        content: (!placeholder).then(|| content::text(sequence.to_string())),
        committed_at_ms: 1,
        priority: Priority::Chat,
        deliver_before_ms: 0,
        content_bytes: 8,
        refers: Default::default(),
    }
}

fn membership(head: u64, delivered: u64) -> Conversation {
    Conversation {
        id: group(),
        name: "dock".into(),
        head: SequenceNumber(head),
        readable_from: SequenceNumber(1),
        delivered: SequenceNumber(delivered),
        read: SequenceNumber::ZERO,
        unread: 0,
        role: crate::Role::Unspecified,
        parted_at: SequenceNumber::ZERO,
        joined: SequenceNumber(1),
    }
}

/// The server's log, of which a page holds three entries.
fn page(log: u64, trimmed: u64, after: SequenceNumber) -> PullPage {
    let first = after.0.max(trimmed) + 1;
    PullPage {
        entries: (first..=log).take(3).map(entry).collect(),
        head: SequenceNumber(log),
        trimmed_up_to: SequenceNumber(trimmed),
    }
}

fn inbox(start_from: StartFrom, head: u64, delivered: u64) -> Inbox {
    let mut inbox = Inbox::new(start_from);
    inbox.connected(ME);
    inbox.membership(&membership(head, delivered));
    inbox.memberships_end();
    inbox
}

/// The numbers that were passed, and whether each was a message.
fn passed(inbox: &mut Inbox) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some(output) = inbox.next_output() {
        match output {
            Output::Message(message, _) => numbers.push(message.sequence.0),
            Output::Skip(_, sequence) => numbers.push(sequence.0),
            Output::Trimmed { .. }
            | Output::Joined(..)
            | Output::Left(_)
            | Output::Parted(..)
            | Output::MembershipsUnsure
            | Output::Duplicate(..)
            | Output::Gap(..)
            | Output::Repaired(_)
            | Output::Forgotten(_)
            | Output::ContentUnknown(..) => {}
        }
    }
    numbers
}

#[test]
fn a_gap_is_pulled_once_and_the_push_beyond_it_is_not_kept() {
    let now = Instant::now();
    let mut inbox = inbox(StartFrom::Mark, 0, 0);
    inbox.push(entry(1));
    inbox.push(entry(3));
    inbox.push(entry(4));
    assert_eq!(passed(&mut inbox), [1]);
    assert_eq!(inbox.next_pull(now), Some((group(), SequenceNumber(1))));
    assert_eq!(inbox.next_pull(now), None);
    inbox.page(group(), page(4, 0, SequenceNumber(1)), now + REST);
    assert_eq!(passed(&mut inbox), [2, 3, 4]);
    assert_eq!(inbox.next_pull(now), None);
}

#[test]
fn where_a_conversation_begins_and_what_is_redelivered() {
    for (start_from, expected) in [
        (StartFrom::Mark, Some(2)),
        (StartFrom::Beginning, Some(0)),
        (StartFrom::Head, None),
    ] {
        let now = Instant::now();
        let mut inbox = inbox(start_from, 4, 2);
        let pull = inbox.next_pull(now).map(|(_, after)| after.0);
        assert_eq!(pull, expected, "{start_from:?}");
    }
    let mut inbox = inbox(StartFrom::Beginning, 3, 2);
    inbox.next_pull(Instant::now());
    inbox.page(group(), page(4, 0, SequenceNumber(0)), Instant::now());
    let mut flags = Vec::new();
    while let Some(output) = inbox.next_output() {
        if let Output::Message(message, _) = output {
            flags.push((message.redelivered, message.backlog));
        }
    }
    assert_eq!(flags, [(true, true), (true, true), (false, true)]);
}

#[test]
fn what_retention_dropped_is_named_and_passed() {
    let now = Instant::now();
    let mut inbox = inbox(StartFrom::Mark, 9, 0);
    inbox.next_pull(now);
    inbox.page(group(), page(9, 6, SequenceNumber(0)), now);
    let trimmed = Output::Trimmed {
        conversation: group(),
        from: SequenceNumber(1),
        up_to: SequenceNumber(6),
    };
    assert_eq!(inbox.next_output(), Some(trimmed));
    assert_eq!(passed(&mut inbox), [6, 7, 8, 9]);
}

#[test]
fn a_push_of_a_pair_that_begins_needs_no_membership() {
    let mut inbox = inbox(StartFrom::Mark, 0, 0);
    let pair = ConversationId::pair(ME, AccountId(2));
    let first = Entry {
        conversation: pair,
        ..entry(1)
    };
    inbox.push(first);
    assert_eq!(passed(&mut inbox), [1]);
}

#[test]
fn a_group_that_is_not_known_makes_the_memberships_unsure_and_its_head_is_kept() {
    let now = Instant::now();
    let mut inbox = Inbox::new(StartFrom::Mark);
    inbox.connected(ME);
    inbox.memberships_end();
    inbox.push(entry(3));
    assert_eq!(inbox.next_output(), Some(Output::MembershipsUnsure));
    inbox.memberships_begin();
    inbox.membership(&membership(2, 0));
    inbox.memberships_end();
    let joined = Output::Joined(group(), "dock".into());
    assert_eq!(inbox.next_output(), Some(joined));
    inbox.next_pull(now);
    inbox.page(group(), page(3, 0, SequenceNumber(0)), now);
    assert_eq!(passed(&mut inbox), [1, 2, 3]);
}

#[test]
fn a_group_that_is_no_longer_named_is_left_and_one_that_returns_goes_on() {
    let now = Instant::now();
    let mut inbox = inbox(StartFrom::Mark, 0, 0);
    inbox.push(entry(1));
    passed(&mut inbox);
    inbox.connection_lost();
    inbox.connected(ME);
    inbox.memberships_end();
    read(&mut inbox, 1);
    assert_eq!(inbox.next_output(), Some(Output::Left(group())));
    inbox.push(entry(2));
    assert_eq!(passed(&mut inbox), Vec::<u64>::new());
    inbox.joined(&membership(3, 0));
    let (_, after) = inbox.next_pull(now).unwrap();
    assert_eq!(after, SequenceNumber(1));
}

#[test]
fn a_head_that_the_log_does_not_know_is_forgotten() {
    let now = Instant::now();
    let mut inbox = inbox(StartFrom::Mark, 0, 0);
    inbox.head(group(), 9);
    inbox.next_pull(now).unwrap();
    inbox.page(group(), page(0, 0, SequenceNumber(0)), now);
    assert_eq!(inbox.next_pull(now + REST), None);
    assert_eq!(inbox.next_wake(now), None);
}

#[test]
fn what_is_heard_of_while_the_memberships_are_read_makes_them_read_again_once() {
    let mut inbox = Inbox::new(StartFrom::Mark);
    inbox.connected(ME);
    inbox.push(entry(1));
    inbox.memberships_end();
    assert_eq!(inbox.next_output(), Some(Output::MembershipsUnsure));
    inbox.memberships_begin();
    inbox.memberships_end();
    assert_eq!(
        inbox.next_output(),
        None,
        "a group that is not the account's"
    );
}

#[test]
fn more_hints_than_can_be_remembered_make_the_memberships_read_again() {
    let mut inbox = Inbox::new(StartFrom::Mark);
    inbox.connected(ME);
    for n in 0..=1024 {
        inbox.head(ConversationId::group(n), 1);
    }
    for n in 0..1024 {
        inbox.membership(&Conversation {
            id: ConversationId::group(n),
            ..membership(1, 1)
        });
    }
    inbox.memberships_end();
    let outputs: Vec<_> = std::iter::from_fn(|| inbox.next_output()).collect();
    assert!(outputs.contains(&Output::Forgotten(ConversationId::group(1024))));
    assert_eq!(outputs.last(), Some(&Output::MembershipsUnsure));
}

#[test]
fn a_pair_that_is_on_a_later_page_begins_where_that_page_says() {
    let now = Instant::now();
    let pair = ConversationId::pair(ME, AccountId(2));
    let new_pair = ConversationId::pair(ME, AccountId(3));
    let mut inbox = Inbox::new(StartFrom::Mark);
    inbox.connected(ME);
    inbox.head(pair, 9);
    inbox.head(new_pair, 2);
    assert_eq!(inbox.next_pull(now), None);
    inbox.membership(&Conversation {
        id: pair,
        ..membership(8, 7)
    });
    inbox.memberships_end();
    let mut pulls = [inbox.next_pull(now), inbox.next_pull(now)];
    pulls.sort();
    let mut expected = [
        Some((pair, SequenceNumber(7))),
        Some((new_pair, SequenceNumber(0))),
    ];
    expected.sort();
    assert_eq!(pulls, expected);
}

#[test]
fn a_page_that_was_read_before_the_account_left_does_not_bring_it_back() {
    let mut inbox = inbox(StartFrom::Mark, 0, 0);
    inbox.memberships_begin();
    inbox.left(group());
    inbox.membership(&membership(3, 0));
    inbox.memberships_end();
    // It has nothing more to read.
    read(&mut inbox, 0);
    assert_eq!(inbox.next_output(), Some(Output::Left(group())));
    assert_eq!(inbox.next_output(), None);
    inbox.joined(&membership(3, 0));
    let joined = Output::Joined(group(), "dock".into());
    assert_eq!(inbox.next_output(), Some(joined));
}

#[test]
fn an_entry_of_another_conversation_in_a_page_is_not_taken() {
    let now = Instant::now();
    let mut inbox = inbox(StartFrom::Mark, 2, 0);
    let pair = ConversationId::pair(ME, AccountId(2));
    inbox.head(pair, 1);
    inbox.next_pull(now).unwrap();
    let mut answer = page(2, 0, SequenceNumber(0));
    answer.entries[1].conversation = pair;
    inbox.page(group(), answer, now);
    assert_eq!(passed(&mut inbox), [1]);
    assert_eq!(inbox.next_pull(now), Some((pair, SequenceNumber(0))));
    assert_eq!(inbox.next_pull(now), Some((group(), SequenceNumber(1))));
}

#[derive(Debug, Clone)]
enum Step {
    /// One more entry is stored; nothing is pushed.
    Store,
    /// An entry of the log is pushed, late, again or out of order.
    Push(u8),
    /// The head is announced.
    Head,
    /// A pull goes out, and stays without an answer for a while.
    Ask,
    /// The oldest pull is answered, with the log as it was when it was asked or as it is.
    Answer(bool),
    Refuse,
    Reconnect,
    Room(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Store),
        8 => any::<u8>().prop_map(Step::Push),
        1 => Just(Step::Head),
        4 => Just(Step::Ask),
        4 => any::<bool>().prop_map(Step::Answer),
        1 => Just(Step::Refuse),
        1 => Just(Step::Reconnect),
        1 => any::<bool>().prop_map(Step::Room),
    ]
}

proptest! {
    /// Whatever is lost, repeated, reordered, refused or late: what is handed over is dense, in
    /// order and without duplicates, and in the end it is everything.
    #[test]
    fn any_mixture_of_faults_ends_in_the_log(steps in prop::collection::vec(step(), 0..200)) {
        let mut now = Instant::now();
        let mut inbox = inbox(StartFrom::Mark, 0, 0);
        let mut log = 0_u64;
        let mut asked: VecDeque<(SequenceNumber, u64)> = VecDeque::new();
        let mut got = Vec::new();
        for step in steps {
            now += Duration::from_millis(30);
            match step {
                Step::Store => log += 1,
                Step::Push(n) if log > 0 => inbox.push(entry(u64::from(n) % log + 1)),
                Step::Push(_) => {}
                Step::Head => inbox.head(group(), log),
                Step::Ask => asked.extend(inbox.next_pull(now).map(|(_, after)| (after, log))),
                Step::Answer(stale) => if let Some((after, then)) = asked.pop_front() {
                    let read = if stale { then } else { log };
                    inbox.page(group(), page(read, 0, after), now + REST);
                },
                Step::Refuse => if asked.pop_front().is_some() {
                    inbox.pull_failed(group(), Some(&Refusal::unavailable("no")), now + REST);
                },
                Step::Reconnect => {
                    asked.clear();
                    inbox.connection_lost();
                    inbox.connected(ME);
                    inbox.membership(&membership(log, 0));
                    inbox.memberships_end();
                }
                Step::Room(room) => inbox.set_room(room),
            }
            prop_assert!(asked.len() <= 1, "one pull a conversation");
            got.extend(passed(&mut inbox));
        }
        // The faults end: there is room, the head is known, every pull is answered.
        inbox.set_room(true);
        inbox.head(group(), log);
        for _ in 0..=log {
            now += REST * 2;
            asked.extend(inbox.next_pull(now).map(|(_, after)| (after, log)));
            if let Some((after, _)) = asked.pop_front() {
                inbox.page(group(), page(log, 0, after), now);
            }
            got.extend(passed(&mut inbox));
        }
        prop_assert_eq!(got, (1..=log).collect::<Vec<_>>());
        prop_assert_eq!(inbox.next_pull(now + REST), None);
    }
}
