//! What a robot that starts anew is shown again, and how it is told so: cases that the simulation
//! has found.

use protocol::wire::{EntryKind, Priority};
use protocol::{ClientMessageId, SequenceNumber, content};
use tokio::time::Instant;

use super::*;
use crate::message::{Entry, PullPage};

/// An earlier run has marked two entries of this group, which all who join may read from the start.
fn membership(delivered: u64) -> Conversation {
    Conversation {
        id: ConversationId::group(1),
        name: "dock".into(),
        head: SequenceNumber(4),
        readable_from: SequenceNumber(1),
        delivered: SequenceNumber(delivered),
        read: SequenceNumber::ZERO,
        unread: 0,
        role: crate::Role::Unspecified,
        parted_at: SequenceNumber::ZERO,
        joined: SequenceNumber(4),
    }
}

/// As a change of members is told, which knows no marks.
fn notice() -> Conversation {
    membership(0)
}

fn entry(sequence: u64) -> Entry {
    Entry {
        conversation: ConversationId::group(1),
        sequence: SequenceNumber(sequence),
        sender: AccountId(2),
        client_message_id: Some(ClientMessageId::new(sequence, [1; 10])),
        kind: EntryKind::Text,
        content: Some(content::text("go")),
        committed_at_ms: 1,
        priority: Priority::Chat,
        deliver_before_ms: 0,
        content_bytes: 8,
        refers: Default::default(),
    }
}

/// The first number that is pulled, and of each that then comes whether it is said to be old.
fn shown(inbox: &mut Inbox) -> (u64, Vec<bool>) {
    let now = Instant::now();
    let (at, after) = inbox.next_pull(now).unwrap();
    let page = PullPage {
        entries: (after.0 + 1..=5).map(entry).collect(),
        head: SequenceNumber(5),
        trimmed_up_to: SequenceNumber::ZERO,
    };
    inbox.page(at, page, now);
    let mut old = Vec::new();
    while let Some(output) = inbox.next_output() {
        if let Output::Message(message, _) = output {
            old.push(message.backlog);
        }
    }
    (after.0 + 1, old)
}

#[test]
fn a_notice_that_comes_before_the_list_does_not_say_where_to_begin() {
    let mut inbox = Inbox::new(StartFrom::Mark);
    inbox.connected(AccountId(7));
    let older = Conversation {
        head: SequenceNumber(2),
        ..membership(1)
    };
    inbox.joined(&older);
    assert_eq!(inbox.next_pull(Instant::now()), None);
    inbox.membership(&membership(2));
    inbox.memberships_end();
    assert_eq!(inbox.next_output(), None, "it was in it all the time");
    assert_eq!(shown(&mut inbox), (3, vec![true, true, false]));
}

#[test]
fn a_notice_that_the_first_list_does_not_know_makes_it_read_again() {
    let mut inbox = Inbox::new(StartFrom::Mark);
    inbox.connected(AccountId(7));
    inbox.joined(&membership(1));
    inbox.memberships_end();
    assert_eq!(inbox.next_output(), Some(Output::MembershipsUnsure));
    inbox.memberships_begin();
    inbox.membership(&membership(1));
    inbox.memberships_end();
    let joined = Output::Joined(ConversationId::group(1), "dock".into());
    assert_eq!(inbox.next_output(), Some(joined));
}

#[test]
fn a_return_goes_on_after_the_mark_of_an_earlier_run() {
    let mut inbox = Inbox::new(StartFrom::Mark);
    inbox.connected(AccountId(7));
    inbox.memberships_end();
    inbox.joined(&notice());
    assert_eq!(inbox.next_output(), Some(Output::MembershipsUnsure));
    assert_eq!(inbox.next_pull(Instant::now()), None);
    inbox.memberships_begin();
    inbox.membership(&membership(2));
    inbox.memberships_end();
    let joined = Output::Joined(ConversationId::group(1), "dock".into());
    assert_eq!(inbox.next_output(), Some(joined));
    // What was there before it joined may have been seen and not marked.
    assert_eq!(shown(&mut inbox), (3, vec![true, false, false]));
}
