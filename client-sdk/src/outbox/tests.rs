//! One id over all attempts, the order of a conversation, and how a send ends.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(30);

fn letter(now: Instant, conversation: u64, n: u64) -> Letter {
    Letter {
        conversation: ConversationId::group(conversation),
        id: ClientMessageId::new(n, [1; 10]),
        body: Bytes::new(),
        priority: Priority::Chat,
        deadline: now + TIMEOUT,
    }
}

fn ids(outbox: &mut Outbox<()>) -> Vec<(Ticket, u64)> {
    std::iter::from_fn(|| {
        outbox
            .next()
            .map(|(ticket, letter, _)| (ticket, letter.id.made_at_ms()))
    })
    .collect()
}

#[test]
fn one_is_in_flight_until_the_first_ack_then_the_window_opens_and_closes_with_the_link() {
    let now = Instant::now();
    let mut outbox = Outbox::new();
    for n in 1..=5 {
        outbox.accept(letter(now, 1, n), ());
    }
    assert!(ids(&mut outbox).is_empty(), "not connected");
    outbox.connected(3);
    let first = ids(&mut outbox);
    assert_eq!(first.len(), 1);
    outbox.acked(first[0].0).unwrap();
    let numbers: Vec<_> = ids(&mut outbox).into_iter().map(|(_, n)| n).collect();
    assert_eq!(numbers, [2, 3, 4]);
    outbox.connection_lost();
    outbox.connected(3);
    let again = ids(&mut outbox);
    assert_eq!(again.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [2]);
}

#[test]
fn conversations_do_not_wait_for_each_other_and_priority_goes_first() {
    let now = Instant::now();
    let mut outbox = Outbox::new();
    outbox.accept(letter(now, 1, 1), ());
    let command = Letter {
        priority: Priority::Command,
        ..letter(now, 2, 2)
    };
    outbox.accept(command, ());
    outbox.connected(8);
    let numbers: Vec<_> = ids(&mut outbox).into_iter().map(|(_, n)| n).collect();
    assert_eq!(numbers, [2, 1]);
}

#[test]
fn a_letter_that_was_refused_for_now_rests_and_goes_again_with_its_id() {
    let now = Instant::now();
    let mut outbox = Outbox::new();
    outbox.accept(letter(now, 1, 1), ());
    outbox.connected(8);
    let (ticket, id) = ids(&mut outbox)[0];
    let until = now + Duration::from_secs(1);
    outbox.again(ticket, Some(Refusal::unavailable("no")), false, until);
    assert!(ids(&mut outbox).is_empty());
    assert_eq!(outbox.next_wake(), Some(until));
    assert!(outbox.tick(until).is_empty());
    assert_eq!(ids(&mut outbox), [(ticket, id)]);
    assert_eq!(outbox.acked(ticket).unwrap().attempts, 2);
    assert!(outbox.is_empty());
}

#[test]
fn what_is_known_of_a_letter_whose_time_is_over() {
    let now = Instant::now();
    let mut outbox = Outbox::new();
    for n in 1..=3 {
        outbox.accept(letter(now, n, n), ());
    }
    outbox.connected(8);
    let sent = ids(&mut outbox);
    // 1 is refused by name, 2 is lost with the link, 3 never has an answer.
    let refusal = Refusal::unavailable("no");
    outbox.again(sent[0].0, Some(refusal.clone()), false, now + TIMEOUT * 2);
    let over = outbox.tick(now + TIMEOUT);
    let errors: Vec<_> = over.into_iter().map(|(_, error)| error).collect();
    assert!(matches!(&errors[0], SendError::NotSent { last: Some(l), .. } if *l == refusal));
    assert!(matches!(&errors[1], SendError::OutcomeUnknown { .. }));
    assert!(matches!(&errors[2], SendError::OutcomeUnknown { .. }));
    assert!(outbox.is_empty() && outbox.next_wake().is_none());
}

#[test]
fn an_ack_of_what_was_sent_before_a_refusal_does_not_open_the_window() {
    let now = Instant::now();
    let mut outbox = Outbox::new();
    for n in 1..=6 {
        outbox.accept(letter(now, 1, n), ());
    }
    outbox.connected(3);
    let first = ids(&mut outbox)[0].0;
    outbox.acked(first).unwrap();
    let sent = ids(&mut outbox);
    assert_eq!(sent.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [2, 3, 4]);
    outbox.again(sent[0].0, Some(Refusal::unavailable("no")), false, now);
    outbox.acked(sent[1].0).unwrap();
    outbox.tick(now);
    assert!(ids(&mut outbox).is_empty(), "4 is still on its way");
    outbox.acked(sent[2].0).unwrap();
    let again = ids(&mut outbox);
    assert_eq!(again, [(sent[0].0, 2)], "alone until it is acked");
    outbox.acked(again[0].0).unwrap();
    assert_eq!(ids(&mut outbox).len(), 2);
}

#[test]
fn a_conversation_that_refuses_leaves_nothing_behind() {
    let now = Instant::now();
    let mut outbox = Outbox::new();
    outbox.connected(8);
    for n in 1..=100 {
        outbox.accept(letter(now, n, n), ());
        let (ticket, _) = ids(&mut outbox)[0];
        outbox.refused(ticket).unwrap();
    }
    outbox.accept(letter(now, 101, 101), ());
    let (ticket, _) = ids(&mut outbox)[0];
    outbox.again(ticket, None, true, now + TIMEOUT * 2);
    outbox.tick(now + TIMEOUT);
    assert!(outbox.lanes.is_empty() && outbox.resting.is_empty());
}

#[test]
fn an_emergency_waits_for_no_window() {
    let now = Instant::now();
    let mut outbox = Outbox::new();
    outbox.connected(1);
    outbox.accept(letter(now, 1, 1), ());
    assert_eq!(ids(&mut outbox).len(), 1);
    let stop = Letter {
        priority: Priority::Emergency,
        ..letter(now, 2, 2)
    };
    outbox.accept(letter(now, 3, 3), ());
    outbox.accept(stop, ());
    let numbers: Vec<_> = ids(&mut outbox).into_iter().map(|(_, n)| n).collect();
    assert_eq!(numbers, [2]);
}

#[test]
fn an_emergency_waits_for_nothing_else_of_its_conversation() {
    let now = Instant::now();
    let mut outbox = Outbox::new();
    outbox.connected(1);
    for n in 1..=3 {
        outbox.accept(letter(now, 1, n), ());
    }
    let (ticket, _) = ids(&mut outbox)[0];
    // It rests, because the server could not take it.
    outbox.again(ticket, None, false, now + TIMEOUT);
    let stop = Letter {
        priority: Priority::Emergency,
        ..letter(now, 1, 9)
    };
    outbox.accept(stop, ());
    let numbers: Vec<_> = ids(&mut outbox).into_iter().map(|(_, n)| n).collect();
    assert_eq!(numbers, [9]);
}

#[derive(Debug, Clone)]
enum Step {
    Accept,
    Send,
    /// The server stores what comes next on the link, and its ack arrives or not.
    Store(bool),
    Lose,
}

proptest! {
    /// Over any loss of links and acks, a server that stores by id in the order of arrival stores
    /// each letter once, and in the order in which they were accepted.
    #[test]
    fn the_order_of_a_conversation_survives_any_loss(
        steps in prop::collection::vec(prop_oneof![
            3 => Just(Step::Accept),
            6 => Just(Step::Send),
            6 => prop::bool::weighted(0.7).prop_map(Step::Store),
            1 => Just(Step::Lose),
        ], 0..200)
    ) {
        let now = Instant::now();
        let mut outbox = Outbox::new();
        outbox.connected(4);
        let mut accepted = 0;
        let mut stored: Vec<u64> = Vec::new();
        // What the link carries, in order: the server takes it from the front.
        let mut link: std::collections::VecDeque<(Ticket, u64)> = std::collections::VecDeque::new();
        let mut take = |outbox: &mut Outbox<()>, (ticket, id): (Ticket, u64), ack: bool| {
            if !stored.contains(&id) {
                stored.push(id);
            }
            if ack {
                outbox.acked(ticket);
            }
            stored.clone()
        };
        for step in steps {
            match step {
                Step::Accept => {
                    accepted += 1;
                    outbox.accept(letter(now, 1, accepted), ());
                }
                Step::Send => link.extend(
                    outbox.next().map(|(ticket, letter, _)| (ticket, letter.id.made_at_ms())),
                ),
                Step::Store(ack) => if let Some(first) = link.pop_front() {
                    take(&mut outbox, first, ack);
                },
                Step::Lose => {
                    link.clear();
                    outbox.connection_lost();
                    outbox.connected(4);
                }
            }
        }
        link.clear();
        outbox.connection_lost();
        outbox.connected(4);
        let mut end = Vec::new();
        loop {
            link.extend(ids(&mut outbox));
            let Some(first) = link.pop_front() else { break };
            end = take(&mut outbox, first, true);
        }
        if accepted > 0 && !end.is_empty() {
            prop_assert!(end.is_sorted(), "{end:?}");
            prop_assert_eq!(end.len() as u64, accepted);
        }
        prop_assert!(outbox.is_empty());
    }
}
