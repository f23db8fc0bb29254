//! Messages that expire, that are ephemeral, and that a journal kept.

use super::*;

const DEADLINE_US: u64 = 50;

fn sent_until(message: u64, deadline: u64) -> Event {
    let mut event = sent(message);
    if let Event::Sent { deadline_us, .. } = &mut event {
        *deadline_us = deadline;
    }
    event
}

/// The good history, and message 19 with a deadline as a placeholder at its end.
fn expired(deadline: u64, with: impl IntoIterator<Item = Event>) -> Verdict {
    let mut more = vec![sent_until(19, deadline), entry(8, Says::Nothing, &[])];
    more.extend(with);
    but(&[], more)
}

#[test]
fn a_message_is_a_placeholder_from_its_deadline_on() {
    let verdict = expired(DEADLINE_US, [acked(19, 8)]);
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(verdict.total.expired, 1);
    let handed_over = handed(1, 1, 8, Says::Message(19));
    let verdict = expired(DEADLINE_US, [ended(19, Outcome::Unknown), handed_over]);
    assert!(verdict.is_clean(), "{verdict}");
    // It may be what nobody was told of.
    let verdict = expired(DEADLINE_US, [ended(19, Outcome::Unknown)]);
    assert_eq!((verdict.is_clean(), verdict.total.expired), (true, 0));
}

#[test]
fn a_placeholder_before_the_deadline_is_found() {
    let verdict = expired(1_000, [acked(19, 8)]);
    assert!(verdict.count(Kind::Missing) > 0, "{verdict}");
    let verdict = but(
        &[entry(7, Says::Message(17), &[])],
        [entry(7, Says::Nothing, &[])],
    );
    assert!(verdict.count(Kind::Missing) > 0, "{verdict}");
}

#[test]
fn a_placeholder_of_nothing_is_found() {
    let refused = || Outcome::Refused {
        code: "EXPIRED".into(),
    };
    found(
        &expired(DEADLINE_US, [ended(19, refused())]),
        &[Kind::Altered],
    );
    found(&but(&[], [entry(8, Says::Nothing, &[])]), &[Kind::Altered]);
}

#[test]
fn what_has_expired_has_one_number_and_its_number_to_itself() {
    let two = [sent_until(20, DEADLINE_US), acked(20, 8), acked(19, 8)];
    let verdict = expired(DEADLINE_US, two);
    assert!(verdict.count(Kind::SequenceReuse) > 0, "{verdict}");
    let again = [
        acked(19, 8),
        entry(9, Says::Nothing, &[]),
        handed(1, 1, 9, Says::Message(19)),
    ];
    let verdict = expired(DEADLINE_US, again);
    assert!(verdict.count(Kind::StoredTwice) > 0, "{verdict}");
    let refused = Outcome::NotSent;
    let with = [ended(19, refused), handed(1, 1, 8, Says::Message(19))];
    let mut more = vec![sent_until(19, DEADLINE_US), entry(8, Says::Nothing, &[])];
    more.extend(with);
    assert!(!but(&[], more).is_clean());
}

fn passing(says: Says) -> Event {
    Event::EphemeralDelivered {
        at_us: 30,
        client: 2,
        conversation: 0,
        says,
    }
}

const PASSES: Event = Event::EphemeralSent {
    at_us: 30,
    client: 1,
    conversation: 0,
    message: 19,
};

#[test]
fn an_ephemeral_message_may_be_lost_and_is_not_stored_or_changed() {
    let verdict = but(&[], [PASSES]);
    assert!(verdict.is_clean(), "{verdict}");
    let verdict = but(&[], [PASSES, passing(Says::Message(19))]);
    assert_eq!(
        (verdict.is_clean(), verdict.total.ephemeral),
        (true, (1, 1))
    );
    for says in [Says::Altered, Says::Message(17), Says::Message(20)] {
        found(&but(&[], [PASSES, passing(says)]), &[Kind::Altered]);
    }
    let stored = [1, 2].map(|client| handed(client, 1, 8, Says::Message(19)));
    let mut with = vec![PASSES, entry(8, Says::Message(19), &[])];
    with.extend(stored);
    assert!(but(&[], with).count(Kind::Altered) > 0);
}

/// Client 1 has a journal, and begins its second run after message 19, whose end is unknown.
fn kept(with: impl IntoIterator<Item = Event>) -> Verdict {
    let restarted = Event::RunBegan {
        at_us: 20,
        client: 1,
        run: 2,
    };
    let mut more = vec![sent(19), ended(19, Outcome::Unknown), restarted];
    more.extend(with);
    but(&[], more)
}

fn resolved(outcome: Outcome) -> Event {
    Event::Resolved {
        at_us: 21,
        message: 19,
        outcome,
    }
}

#[test]
fn what_a_journal_kept_comes_to_an_end_in_the_next_run() {
    found(&kept([]), &[Kind::Forgotten]);
    let code = "NOT_A_MEMBER".into();
    let verdict = kept([resolved(Outcome::Refused { code })]);
    assert_eq!((verdict.is_clean(), verdict.total.resolved), (true, 1));
    let verdict = kept([resolved(Outcome::Acked { sequence: 8 })]);
    found(&verdict, &[Kind::Missing]);
}

#[test]
fn what_was_refused_in_the_end_and_is_stored_is_found() {
    let code = "NOT_A_MEMBER".into();
    let mut with = vec![
        resolved(Outcome::Refused { code }),
        entry(8, Says::Message(19), &[]),
    ];
    with.push(handed(1, 2, 8, Says::Message(19)));
    with.push(handed(2, 1, 8, Says::Message(19)));
    found(&kept(with), &[Kind::StoredThoughRefused]);
}
