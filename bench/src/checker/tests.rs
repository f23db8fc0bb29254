//! Hand-made histories: a good one passes, and each way of being bad is caught and called by its
//! name.

mod late;
mod numbers;

use std::convert::Infallible;

use super::*;
use crate::record::{Change, Outcome, Says};

const TIMEOUT_MS: u64 = 1_000;

/// Clients 1, 2 and 3 have the accounts 101, 102 and 103.
const fn account(client: u32) -> u64 {
    100 + client as u64
}

fn sent(message: u64) -> Event {
    Event::Sent {
        at_us: message,
        client: 1,
        conversation: 0,
        message,
        deadline_us: 0,
    }
}

fn ended(message: u64, outcome: Outcome) -> Event {
    Event::Ended {
        at_us: message + 1,
        message,
        outcome,
    }
}

fn acked(message: u64, sequence: u64) -> Event {
    ended(message, Outcome::Acked { sequence })
}

fn handed(client: u32, run: u32, sequence: u64, says: Says) -> Event {
    Event::Delivered {
        at_us: sequence,
        client,
        run,
        conversation: 0,
        sequence,
        says,
        flagged: false,
    }
}

fn again(client: u32, run: u32, sequence: u64, says: Says) -> Event {
    let mut event = handed(client, run, sequence, says);
    if let Event::Delivered { flagged, .. } = &mut event {
        *flagged = true;
    }
    event
}

fn entry(sequence: u64, says: Says, changes: &[(u32, bool)]) -> Event {
    let change = |(client, joined): &(u32, bool)| Change {
        account: account(*client),
        joined: *joined,
    };
    Event::Entry {
        conversation: 0,
        sequence,
        says,
        changes: changes.iter().map(change).collect(),
    }
}

fn mark(client: u32, delivered: u64) -> Event {
    Event::ServerMark {
        at_us: 0,
        client,
        conversation: 0,
        delivered,
    }
}

/// The log: 1 makes the group of clients 1 and 2; 2 and 3 are messages 12 and 13; 4 lets client 3
/// in; 5 is message 15; 6 lets it go; 7 is message 17.
fn good() -> Vec<Event> {
    let mut events = vec![Event::Began {
        seed: 1,
        unix_ms: 1,
        send_timeout_ms: TIMEOUT_MS,
    }];
    events.extend((1..=3).map(|client| Event::Client {
        client,
        account: account(client),
        name: format!("client {client}"),
        journal: client == 1,
    }));
    events.push(Event::Conversation {
        conversation: 0,
        id: "group".into(),
        pair: Vec::new(),
    });
    for (message, sequence) in [(12, 2), (13, 3), (15, 5), (17, 7)] {
        events.extend([sent(message), acked(message, sequence)]);
    }
    let code = "NOT_A_MEMBER".into();
    events.extend([sent(18), ended(18, Outcome::Refused { code })]);
    let log = log();
    for client in [1, 2] {
        events.extend(log.map(|(sequence, says)| handed(client, 1, sequence, says)));
    }
    // Client 3 restarts: 5 comes again, and says so.
    events.extend(log[3..5].iter().map(|(n, says)| handed(3, 1, *n, *says)));
    events.push(mark(3, 4));
    events.push(again(3, 2, 5, Says::Message(15)));
    events.push(handed(3, 2, 6, Says::Membership));
    for (sequence, says) in log {
        let changes: &[_] = match sequence {
            1 => &[(1, true), (2, true)],
            4 => &[(3, true)],
            6 => &[(3, false)],
            _ => &[],
        };
        events.push(entry(sequence, says, changes));
    }
    events.push(Event::History {
        conversation: 0,
        head: 7,
    });
    events.push(Event::Finished { at_us: 99 });
    events
}

fn log() -> [(u64, Says); 7] {
    [
        (1, Says::Membership),
        (2, Says::Message(12)),
        (3, Says::Message(13)),
        (4, Says::Membership),
        (5, Says::Message(15)),
        (6, Says::Membership),
        (7, Says::Message(17)),
    ]
}

fn judged(events: Vec<Event>) -> Verdict {
    let Ok(verdict) = check(events.into_iter().map(Ok::<_, Infallible>));
    verdict
}

/// The good history without the lines that these are, and with those before its end.
fn but(without: &[Event], with: impl IntoIterator<Item = Event>) -> Verdict {
    let mut events = good();
    for event in without {
        let at = events.iter().position(|other| other == event);
        events.remove(at.expect("it is in the good history"));
    }
    let end = events.len() - 1;
    events.splice(end..end, with);
    judged(events)
}

/// The good history with one line instead of another, at its place.
fn instead(of: &Event, with: Event) -> Verdict {
    let mut events = good();
    let at = events.iter().position(|other| other == of);
    events[at.expect("it is in the good history")] = with;
    judged(events)
}

#[track_caller]
fn found(verdict: &Verdict, kinds: &[Kind]) {
    let found: Vec<_> = verdict.total.violations.keys().copied().collect();
    assert_eq!(found, kinds, "{verdict}");
    assert!(!verdict.is_clean());
}

#[test]
fn a_good_history_passes() {
    let verdict = judged(good());
    assert!(verdict.is_clean(), "{verdict}");
    let total = &verdict.total;
    assert_eq!((total.sent, total.acked, total.refused), (5, 4, 1));
    assert_eq!(
        (total.members, total.delivered, total.redelivered),
        (3, 18, 1)
    );
}

#[test]
fn a_member_that_lacks_the_last_message_is_found() {
    let verdict = but(&[handed(2, 1, 7, Says::Message(17))], []);
    found(&verdict, &[Kind::NotDelivered]);
    assert_eq!(verdict.count(Kind::NotDelivered), 1);
}

#[test]
fn a_member_that_was_led_past_a_message_is_found() {
    let verdict = but(&[handed(2, 1, 3, Says::Message(13))], []);
    found(&verdict, &[Kind::NotDelivered, Kind::Hole]);
}

#[test]
fn a_member_that_was_handed_nothing_is_found() {
    let all = log().map(|(sequence, says)| handed(2, 1, sequence, says));
    let verdict = but(&all, []);
    found(&verdict, &[Kind::NotDelivered]);
    assert_eq!(verdict.count(Kind::NotDelivered), 7);
}

#[test]
fn twice_in_one_run_is_twice_whether_flagged_or_not() {
    let verdict = but(&[], [handed(1, 1, 7, Says::Message(17))]);
    found(&verdict, &[Kind::DeliveredTwice]);
    let verdict = but(&[], [again(1, 1, 7, Says::Message(17))]);
    found(&verdict, &[Kind::DeliveredTwice]);
}

#[test]
fn again_after_a_restart_without_a_flag_is_twice() {
    let flagged = again(3, 2, 5, Says::Message(15));
    let verdict = instead(&flagged, handed(3, 2, 5, Says::Message(15)));
    found(&verdict, &[Kind::DeliveredTwice]);
}

#[test]
fn two_members_with_different_orders_are_found_and_named() {
    let mut events = good();
    let at = |event: &Event| events.iter().position(|other| other == event).unwrap();
    let (a, b) = (
        at(&handed(2, 1, 2, Says::Message(12))),
        at(&handed(2, 1, 3, Says::Message(13))),
    );
    events.swap(a, b);
    let verdict = judged(events);
    found(&verdict, &[Kind::Inversion]);
    let example = &verdict.conversations[0].examples[0];
    assert!(
        example.contains("client 1 has them the other way"),
        "{example}"
    );
}

#[test]
fn an_order_that_hides_behind_changed_numbers_is_found_too() {
    let mut events = good();
    for event in &mut events {
        if *event == handed(2, 1, 2, Says::Message(12)) {
            *event = handed(2, 1, 2, Says::Message(13));
        } else if *event == handed(2, 1, 3, Says::Message(13)) {
            *event = handed(2, 1, 3, Says::Message(12));
        }
    }
    let kinds = [Kind::Inversion, Kind::SequenceReuse, Kind::StoredTwice];
    found(&judged(events), &kinds);
}

#[test]
fn a_delivery_to_one_who_is_not_yet_or_no_longer_a_member_is_found() {
    found(
        &but(&[], [handed(3, 2, 7, Says::Message(17))]),
        &[Kind::NonMember],
    );
    let early = instead(
        &handed(3, 1, 4, Says::Membership),
        handed(3, 1, 3, Says::Message(13)),
    );
    assert_eq!(early.count(Kind::NonMember), 1);
}

#[test]
fn a_mark_that_leads_is_found() {
    found(&instead(&mark(3, 4), mark(3, 6)), &[Kind::MarkLeads]);
    let lags = instead(&mark(3, 4), mark(3, 0));
    assert!(lags.is_clean(), "{lags}");
}

#[test]
fn the_end_of_a_stay_that_a_leave_cut_short_is_counted_apart() {
    let left = Event::Membership {
        at_us: 6,
        client: 3,
        conversation: 0,
        joined: false,
    };
    let last = handed(3, 2, 6, Says::Membership);
    let verdict = but(std::slice::from_ref(&last), [left]);
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(verdict.total.cut_by_leave, 1);
    let restarted = Event::RunBegan {
        at_us: 7,
        client: 3,
        run: 3,
    };
    let verdict = but(std::slice::from_ref(&last), [restarted]);
    assert_eq!((verdict.is_clean(), verdict.total.cut_by_leave), (true, 1));
    // It is not told, and goes on: then it is missing.
    found(&but(&[last], []), &[Kind::NotDelivered]);
}

#[test]
fn a_record_that_is_cut_off_or_empty_is_not_judged_good() {
    let mut events = good();
    events.pop();
    assert!(!judged(events.clone()).is_clean());
    events.pop();
    let verdict = judged(events);
    assert_eq!(verdict.incomplete.len(), 2, "{verdict}");
    assert!(!judged(Vec::new()).is_clean());
}

#[test]
fn the_verdict_is_a_table_and_json() {
    let verdict = but(&[], [handed(1, 1, 7, Says::Message(17))]);
    let text = verdict.to_string();
    for kind in Kind::ALL {
        assert!(text.contains(kind.title()), "{text}");
    }
    let json = serde_json::to_value(&verdict).unwrap();
    assert_eq!(json["total"]["violations"]["delivered_twice"], 1);
    assert_eq!(json["conversations"][0]["conversation"], "group");
}
