//! The queue: what is replaced, what is refused, when there is room.

use super::*;
use protocol::content;

fn ephemeral(key: &str, text: &str) -> Ephemeral {
    Ephemeral {
        conversation: ConversationId::group(1),
        sender: AccountId(2),
        key: key.into(),
        content: content::text(text),
        sent_at_ms: 0,
    }
}

#[test]
fn the_newest_ephemeral_of_a_key_takes_the_place_of_the_first() {
    let mut queue = EventQueue::new(8, 1024);
    for (key, text) in [("a", "old"), ("b", "b"), ("a", "new")] {
        assert!(queue.push_ephemeral(ephemeral(key, text), 3));
    }
    let texts = [ephemeral("a", "new"), ephemeral("b", "b")].map(Event::Ephemeral);
    for expected in texts {
        assert_eq!(queue.pop().unwrap().event, Some(expected));
    }
    assert!(queue.pop().is_none());
}

#[test]
fn a_full_queue_has_room_again_when_half_of_it_is_taken() {
    let mut queue = EventQueue::new(4, 1024);
    for n in 1..=4 {
        assert!(queue.has_room());
        queue.push_ephemeral(ephemeral(&n.to_string(), "x"), 1);
    }
    assert!(!queue.has_room());
    assert!(!queue.pop().unwrap().has_room_again);
    assert!(!queue.has_room());
    assert!(queue.pop().unwrap().has_room_again);
    assert!(queue.has_room());
}

#[test]
fn ephemerals_have_a_bound_in_bytes_and_leave_messages_theirs() {
    let each = 1000 + size_of::<Ephemeral>();
    let mut queue = EventQueue::new(8, 2 * each);
    assert!(queue.push_ephemeral(ephemeral("a", "a"), 1000));
    assert!(queue.push_ephemeral(ephemeral("b", "b"), 1000));
    assert!(!queue.push_ephemeral(ephemeral("c", "c"), 0));
    assert!(queue.push_ephemeral(ephemeral("a", "newer"), 1000));
    assert!(queue.has_room());
    queue.pop().unwrap();
    assert!(queue.push_ephemeral(ephemeral("c", "c"), 0));
}

#[test]
fn the_last_event_is_taken_before_the_end() {
    let mut queue = EventQueue::new(8, 1024);
    assert!(!queue.is_finished());
    queue.finish(CloseReason::ByApplication);
    assert!(!queue.is_finished());
    assert!(queue.pop().is_some());
    assert!(queue.is_finished());
}

#[test]
fn a_flapping_link_does_not_grow_a_full_queue() {
    let mut queue = EventQueue::new(2, 1024);
    for _ in 0..100 {
        queue.push_news(Event::Connected);
        queue.push_news(Event::Disconnected { reason: "x".into() });
    }
    assert!(queue.items.len() <= 3);
}

#[test]
fn what_is_gone_is_named_even_when_the_queue_is_full() {
    let mut queue = EventQueue::new(1, 1024);
    let gone = |from, up_to| Event::Trimmed {
        conversation: ConversationId::group(1),
        from: SequenceNumber(from),
        up_to: SequenceNumber(up_to),
    };
    for event in [gone(1, 5), gone(9, 12)] {
        queue.push_news(event.clone());
        assert!(!queue.has_room());
    }
    for expected in [gone(1, 5), gone(9, 12)] {
        assert_eq!(queue.pop().unwrap().event, Some(expected));
    }
}

#[test]
fn placeholders_in_a_row_are_one_item() {
    let mut queue = EventQueue::new(2, 1024);
    let conversation = ConversationId::group(1);
    for n in 1..=100 {
        queue.push_skip(conversation, SequenceNumber(n));
    }
    assert_eq!(
        queue.pop().unwrap().passed,
        Some((conversation, SequenceNumber(100)))
    );
    assert!(queue.pop().is_none());
}
