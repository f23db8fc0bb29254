//! Bad logs, bad numbers and bad sends.

use super::*;

#[test]
fn an_acknowledged_message_that_the_log_lacks_is_missing() {
    let verdict = but(&[], [sent(19), acked(19, 8)]);
    found(&verdict, &[Kind::Missing]);
}

#[test]
fn a_message_that_was_handed_over_and_is_not_in_the_log_is_missing() {
    let verdict = but(
        &[],
        [
            sent(19),
            ended(19, Outcome::Unknown),
            handed(1, 1, 8, Says::Message(19)),
        ],
    );
    found(&verdict, &[Kind::Missing]);
}

#[test]
fn a_hole_in_the_log_is_found() {
    let deliveries = [1, 2].map(|client| handed(client, 1, 3, Says::Message(13)));
    let mut without = vec![entry(3, Says::Message(13), &[]), sent(13), acked(13, 3)];
    without.extend(deliveries);
    found(&but(&without, []), &[Kind::Hole]);
}

#[test]
fn a_log_that_ends_before_its_head_has_a_hole() {
    let of = Event::History {
        conversation: 0,
        head: 7,
    };
    let with = Event::History {
        conversation: 0,
        head: 8,
    };
    found(&instead(&of, with), &[Kind::Hole]);
}

#[test]
fn two_messages_under_one_number_are_found() {
    let verdict = but(&[], [sent(19), acked(19, 7)]);
    found(&verdict, &[Kind::Missing, Kind::SequenceReuse]);
    let verdict = but(&[], [entry(7, Says::Membership, &[])]);
    assert!(verdict.count(Kind::SequenceReuse) > 0, "{verdict}");
    // Beyond the end of the log too.
    let two = [19, 20].map(|message| [sent(message), acked(message, 8)]);
    let verdict = but(&[], two.into_iter().flatten());
    found(&verdict, &[Kind::Missing, Kind::SequenceReuse]);
}

#[test]
fn one_message_under_two_numbers_is_found() {
    let mut with = vec![entry(8, Says::Message(17), &[])];
    with.extend([1, 2].map(|client| handed(client, 1, 8, Says::Message(17))));
    let verdict = but(&[], with);
    assert!(verdict.count(Kind::StoredTwice) > 0, "{verdict}");
    let verdict = instead(&acked(17, 7), acked(17, 5));
    assert!(verdict.count(Kind::StoredTwice) > 0, "{verdict}");
}

#[test]
fn what_was_refused_and_is_stored_is_found() {
    let code = "FORBIDDEN".into();
    let verdict = instead(&acked(17, 7), ended(17, Outcome::Refused { code }));
    found(&verdict, &[Kind::StoredThoughRefused]);
    let verdict = instead(&acked(17, 7), ended(17, Outcome::NotSent));
    found(&verdict, &[Kind::StoredThoughRefused]);
    let verdict = instead(&acked(17, 7), ended(17, Outcome::Unknown));
    assert!(verdict.is_clean(), "{verdict}");
}

#[test]
fn what_nobody_has_sent_there_is_found() {
    let verdict = instead(
        &handed(2, 1, 7, Says::Message(17)),
        handed(2, 1, 7, Says::Altered),
    );
    assert_eq!(verdict.count(Kind::Altered), 1);
    let verdict = instead(
        &handed(2, 1, 7, Says::Message(17)),
        handed(2, 1, 7, Says::Message(99)),
    );
    assert_eq!(verdict.count(Kind::Altered), 1);
    let mut elsewhere = sent(19);
    if let Event::Sent { conversation, .. } = &mut elsewhere {
        *conversation = 1;
    }
    let verdict = but(&[], [elsewhere, handed(1, 1, 8, Says::Message(19))]);
    assert_eq!(verdict.count(Kind::Altered), 1);
}

#[test]
fn a_send_that_ends_late_or_never_is_found() {
    let late = Event::Ended {
        at_us: (TIMEOUT_MS + 2_000) * 1000,
        message: 17,
        outcome: Outcome::Acked { sequence: 7 },
    };
    found(&instead(&acked(17, 7), late.clone()), &[Kind::LateSend]);
    found(&but(&[acked(17, 7)], []), &[Kind::LateSend]);
    // Not when the harness itself was late just then; at another time that is no excuse.
    let lag = |at_ms: u64| Event::Lag {
        at_us: at_ms * 1000,
        late_us: 600_000,
    };
    let with_lag = |at_ms| but(&[acked(17, 7)], [lag(at_ms), late.clone()]);
    let excused = with_lag(TIMEOUT_MS + 1_500);
    assert!(excused.is_clean(), "{excused}");
    found(&with_lag(TIMEOUT_MS - 1), &[Kind::LateSend]);
    found(&with_lag(TIMEOUT_MS + 3_000), &[Kind::LateSend]);
}
