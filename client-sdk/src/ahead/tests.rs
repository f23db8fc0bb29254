//! What is guessed and kept, and the law: read ahead or not, the inbox gets the log.

use std::time::Duration;

use proptest::prelude::*;
use protocol::content;
use protocol::wire::{EntryKind, Priority};
use protocol::{AccountId, ClientMessageId};
use tokio::time::Instant;

use super::*;
use crate::config::StartFrom;
use crate::inbox::{Inbox, Output};
use crate::message::{Conversation, Entry};

/// Entries that the server puts into a page at most.
const PAGE: u64 = 64;

fn group() -> ConversationId {
    ConversationId::group(1)
}

fn entry(sequence: u64) -> Entry {
    Entry {
        conversation: group(),
        sequence: SequenceNumber(sequence),
        sender: AccountId(2),
        client_message_id: Some(ClientMessageId::new(sequence, [1; 10])),
        kind: EntryKind::Text,
        content: Some(content::text("word")),
        committed_at_ms: 1,
        priority: Priority::Chat,
        deliver_before_ms: 0,
        content_bytes: PULL_PAGE_BYTES_MAX / 80,
        refers: Default::default(),
    }
}

/// What the server answers while its log has so many entries.
fn page(log: u64, after: u64, limit: u32) -> PullPage {
    let limit = if limit == 0 {
        PAGE
    } else {
        PAGE.min(limit.into())
    };
    PullPage {
        entries: (after + 1..=log.min(after + limit)).map(entry).collect(),
        head: SequenceNumber(log),
        trimmed_up_to: SequenceNumber::ZERO,
    }
}

fn passes(ahead: &mut Ahead, log: u64, after: u64) {
    ahead.passes(group(), &page(log, after, 0));
}

fn asked(ahead: &mut Ahead) -> Vec<u64> {
    std::iter::from_fn(|| ahead.next())
        .map(|asking| asking.after.0)
        .collect()
}

#[test]
fn pages_are_asked_for_as_long_as_the_log_goes_on_after_them() {
    let mut ahead = Ahead::default();
    passes(&mut ahead, 1000, 0);
    assert_eq!(asked(&mut ahead), [64, 128, 192]);
    assert_eq!(ahead.in_flight(), 3);
    let mut ahead = Ahead::default();
    passes(&mut ahead, 192, 0);
    assert_eq!(
        asked(&mut ahead),
        [64],
        "the last one is the inbox's to ask for"
    );
}

#[test]
fn a_page_is_found_where_the_last_one_ended_in_whatever_order_they_come() {
    let mut ahead = Ahead::default();
    passes(&mut ahead, 1000, 0);
    let after = SequenceNumber;
    assert_eq!(asked(&mut ahead), [64, 128, 192]);
    let second = page(1000, 128, 64);
    let settled = ahead.answered(group(), after(128), Some(second.clone()));
    assert_eq!(settled, Answered::Settled);
    assert_eq!(ahead.find(group(), after(64)), Found::Coming);
    let first = page(1000, 64, 64);
    let wanted = ahead.answered(group(), after(64), Some(first.clone()));
    assert_eq!(wanted, Answered::Wanted(first));
    assert_eq!(ahead.find(group(), after(128)), Found::Page(second));
    assert_eq!(asked(&mut ahead), [256, 320]);
}

#[test]
fn a_guess_that_was_wrong_is_given_up() {
    let mut ahead = Ahead::default();
    passes(&mut ahead, 1000, 0);
    assert_eq!(asked(&mut ahead), [64, 128, 192]);
    let found = ahead.find(group(), SequenceNumber(70));
    assert_eq!(found, Found::Nothing(0));
    let late = ahead.answered(group(), SequenceNumber(64), Some(page(1000, 64, 64)));
    assert_eq!(late, Answered::Settled);
    assert_eq!((ahead.in_flight(), ahead.next()), (2, None));
}

#[test]
fn what_ends_the_log_or_has_a_deadline_is_not_kept() {
    for with_deadline in [false, true] {
        let mut ahead = Ahead::default();
        passes(&mut ahead, 1000, 0);
        assert_eq!(ahead.next().unwrap().after.0, 64);
        let mut answer = page(if with_deadline { 1000 } else { 128 }, 64, 64);
        answer.entries[3].deliver_before_ms = u64::from(with_deadline);
        assert_eq!(
            ahead.find(group(), SequenceNumber(64)),
            Found::Coming,
            "the inbox waits"
        );
        let answered = ahead.answered(group(), SequenceNumber(64), Some(answer));
        assert_eq!(answered, Answered::AskAgain);
    }
}

#[test]
fn a_page_that_does_not_come_takes_none_with_it_that_the_inbox_waits_for() {
    let mut ahead = Ahead::default();
    passes(&mut ahead, 1000, 0);
    assert_eq!(ahead.next().unwrap().after.0, 64);
    assert_eq!(ahead.next().unwrap().after.0, 128);
    assert_eq!(ahead.find(group(), SequenceNumber(64)), Found::Coming);
    let refused = ahead.answered(group(), SequenceNumber(128), None);
    assert_eq!(refused, Answered::AskAgain, "for the page after 64");
    let late = ahead.answered(group(), SequenceNumber(64), Some(page(1000, 64, 64)));
    assert_eq!(late, Answered::Settled);
}

#[test]
fn short_pages_are_not_guessed_at() {
    let mut ahead = Ahead::default();
    ahead.passes(group(), &page(1000, 0, 63));
    assert_eq!(ahead.next(), None);
    let small = |mut page: PullPage| {
        page.entries.iter_mut().for_each(|it| it.content_bytes = 1);
        page
    };
    ahead.passes(group(), &page(1000, 0, 0));
    assert!(ahead.next().is_some());
    ahead.passes(group(), &small(page(1000, 64, 0)));
    assert_eq!(ahead.next(), None, "more fit by now");
}

/// Asks as the engine does. Returns what goes out: whether the inbox waits for it, where, how many.
fn ask(inbox: &mut Inbox, ahead: &mut Ahead, now: Instant) -> Option<(bool, u64, u32)> {
    while let Some((conversation, after)) = inbox.next_pull(now) {
        match ahead.find(conversation, after) {
            Found::Page(page) => take(inbox, ahead, page, now),
            Found::Coming => {}
            Found::Nothing(limit) => return Some((true, after.0, limit)),
        }
    }
    if inbox.spare_pulls() <= ahead.in_flight() {
        return None;
    }
    ahead
        .next()
        .map(|asking| (false, asking.after.0, asking.limit))
}

fn take(inbox: &mut Inbox, ahead: &mut Ahead, page: PullPage, now: Instant) {
    ahead.passes(group(), &page);
    inbox.page(group(), page, now);
}

fn passed(inbox: &mut Inbox) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some(output) = inbox.next_output() {
        if let Output::Message(message, _) = output {
            numbers.push(message.sequence.0);
        }
    }
    numbers
}

#[derive(Debug, Clone)]
enum Step {
    Store(u64),
    Push,
    Ask,
    /// One of the pulls is answered, with the log as it was when it was asked or as it is; or not.
    Answer(usize, bool, bool),
    Room(bool),
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1..200_u64).prop_map(Step::Store),
        2 => Just(Step::Push),
        8 => Just(Step::Ask),
        8 => (any::<usize>(), any::<bool>(), prop::bool::weighted(0.9))
            .prop_map(|(which, stale, comes)| Step::Answer(which, stale, comes)),
        1 => any::<bool>().prop_map(Step::Room),
        1 => Just(Step::Reconnect),
    ]
}

fn join(inbox: &mut Inbox, head: u64) {
    inbox.connected(AccountId(7));
    inbox.membership(&Conversation {
        id: group(),
        name: "dock".into(),
        head: SequenceNumber(head),
        readable_from: SequenceNumber(1),
        delivered: SequenceNumber::ZERO,
        read: SequenceNumber::ZERO,
        unread: 0,
        role: crate::Role::Unspecified,
        parted_at: SequenceNumber::ZERO,
        joined: SequenceNumber(1),
    });
    inbox.memberships_end();
}

proptest! {
    /// Whatever order pages come in, however old, refused or given up: what the inbox hands over is
    /// dense and in order, and in the end it is everything that it was told of.
    #[test]
    fn read_ahead_or_not_the_inbox_gets_the_log(steps in prop::collection::vec(step(), 0..150)) {
        let mut now = Instant::now();
        let (mut inbox, mut ahead) = (Inbox::new(StartFrom::Mark), Ahead::default());
        let mut log = 1000;
        join(&mut inbox, log);
        let mut out = Vec::new();
        let mut got = Vec::new();
        let answer = |inbox: &mut Inbox, ahead: &mut Ahead, asked: (bool, u64, u32, u64), now| {
            let (wanted, after, limit, log) = asked;
            let page = (log > 0).then(|| page(log, after, limit));
            if !wanted {
                match ahead.answered(group(), SequenceNumber(after), page) {
                    Answered::Settled => {}
                    Answered::Wanted(page) => take(inbox, ahead, page, now),
                    Answered::AskAgain => inbox.pull_failed(group(), None, now),
                }
            } else if let Some(page) = page {
                take(inbox, ahead, page, now);
            } else {
                inbox.pull_failed(group(), None, now);
            }
        };
        for step in steps {
            now += Duration::from_millis(10);
            match step {
                Step::Store(more) => log += more,
                Step::Push => inbox.push(entry(log)),
                Step::Ask => {
                    let asked = ask(&mut inbox, &mut ahead, now);
                    out.extend(asked.map(|(wanted, after, limit)| (wanted, after, limit, log)));
                }
                Step::Answer(which, stale, comes) if !out.is_empty() => {
                    let (wanted, after, limit, then) = out.swap_remove(which % out.len());
                    let read = if stale { then } else { log };
                    let asked = (wanted, after, limit, if comes { read } else { 0 });
                    answer(&mut inbox, &mut ahead, asked, now);
                }
                Step::Answer(..) => {}
                Step::Room(room) => inbox.set_room(room),
                Step::Reconnect => {
                    out.clear();
                    inbox.connection_lost();
                    ahead.clear();
                    join(&mut inbox, log);
                }
            }
            prop_assert!(out.len() <= 8, "{}", out.len());
            got.extend(passed(&mut inbox));
        }
        inbox.set_room(true);
        inbox.head(group(), log);
        for _ in 0..2 * log / PAGE + 20 {
            now += Duration::from_millis(10);
            while let Some((wanted, after, limit)) = ask(&mut inbox, &mut ahead, now) {
                out.push((wanted, after, limit, log));
            }
            out.drain(..).for_each(|asked| answer(&mut inbox, &mut ahead, asked, now));
            got.extend(passed(&mut inbox));
        }
        prop_assert_eq!(got, (1..=log).collect::<Vec<_>>());
        prop_assert_eq!(ask(&mut inbox, &mut ahead, now), None);
    }
}
