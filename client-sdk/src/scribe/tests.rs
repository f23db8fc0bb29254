//! What waits for the journal, what is refused, and what is written again.

use bytes::Bytes;
use protocol::wire::Priority;
use protocol::{ClientMessageId, ErrorCode, Refusal};

use super::*;

type TestScribe = Scribe<u64, &'static str>;

const TIMEOUT: Duration = Duration::from_secs(30);

fn full() -> JournalError {
    JournalError::DiskFull {
        place: "here".into(),
    }
}

fn scribe() -> TestScribe {
    Scribe::new(100, 10_000, &Kept::default())
}

fn letter(n: u64, now: Instant) -> Letter {
    Letter {
        conversation: ConversationId::group(1),
        id: ClientMessageId::new(n, [1; 10]),
        body: Bytes::from(vec![0; 100]),
        priority: Priority::Chat,
        deadline: now + TIMEOUT,
    }
}

/// What a batch says, in short.
fn words(changes: &[Change]) -> Vec<String> {
    let word = |change: &Change| match change {
        Change::Own(owner) => format!("own {}", owner.name),
        Change::History(generation) => format!("history {generation}"),
        Change::Acked {
            client_message_id, ..
        } => format!("={}", client_message_id.made_at_ms()),
        Change::Append(entry) => format!("+{}", entry.client_message_id.made_at_ms()),
        Change::Remove {
            client_message_id, ..
        } => format!("-{}", client_message_id.made_at_ms()),
        Change::Mark { delivered, .. } => format!("mark {delivered}"),
    };
    changes.iter().map(word).collect()
}

fn batch(scribe: &mut TestScribe, now: Instant) -> Vec<String> {
    words(&scribe.next_batch(now, false).expect("there is a batch"))
}

fn accepted(outcomes: &[Outcome<u64, &'static str>]) -> Vec<u64> {
    let reply = |outcome: &Outcome<u64, &'static str>| match outcome {
        Outcome::Accept(_, reply) => *reply,
        other @ (Outcome::Settle(..) | Outcome::Persisted(..)) => panic!("{other:?}"),
    };
    outcomes.iter().map(reply).collect()
}

#[test]
fn one_is_written_at_once_and_what_comes_meanwhile_together() {
    let now = Instant::now();
    let mut scribe = scribe();
    for n in 1..=3 {
        scribe.admit(letter(n, now), n).unwrap();
        if n == 1 {
            assert_eq!(batch(&mut scribe, now), ["+1"]);
        }
        assert!(scribe.next_batch(now, false).is_none(), "one at a time");
    }
    assert_eq!(accepted(&scribe.written(Ok(()), now)), [1]);
    assert_eq!(batch(&mut scribe, now), ["+2", "+3"]);
    assert_eq!(accepted(&scribe.written(Ok(()), now)), [2, 3]);
    assert!(!scribe.holds_letters());
}

#[test]
fn a_removal_after_an_ack_waits_for_company_but_not_for_long() {
    let now = Instant::now();
    let mut scribe = scribe();
    scribe.admit(letter(1, now), 1).unwrap();
    batch(&mut scribe, now);
    scribe.written(Ok(()), now);
    scribe.acked(&letter(1, now), 1, now);
    assert!(scribe.next_batch(now, false).is_none());
    let later = now + REMOVALS_WAIT;
    assert_eq!(scribe.next_wake(now), Some(later));
    scribe.admit(letter(2, now), 2).unwrap();
    assert_eq!(batch(&mut scribe, now), ["=1", "+2"]);
    scribe.written(Ok(()), now);
    scribe.acked(&letter(2, now), 1, now);
    assert_eq!(batch(&mut scribe, later), ["=2"]);
}

#[test]
fn a_refusal_is_told_when_its_removal_is_written_and_is_in_doubt_if_that_takes_long() {
    let now = Instant::now();
    let refused = || SendError::Refused(Refusal::new(ErrorCode::NotAMember, "no"));
    let mut scribe = scribe();
    for n in 1..=2 {
        scribe.admit(letter(n, now), n).unwrap();
    }
    batch(&mut scribe, now);
    scribe.written(Ok(()), now);
    assert!(scribe.ended(&letter(1, now), 1, refused(), now).is_none());
    assert_eq!(batch(&mut scribe, now), ["-1"]);
    let told = scribe.written(Ok(()), now);
    assert!(matches!(&told[..], [Outcome::Settle(1, error)] if *error == refused()));
    assert!(scribe.ended(&letter(2, now), 2, refused(), now).is_none());
    batch(&mut scribe, now);
    assert!(scribe.written(Err(full()), now).is_empty());
    let doubted = scribe.tick(now + REMOVAL_PATIENCE);
    assert!(
        matches!(
            &doubted[..],
            [Outcome::Settle(
                2,
                SendError::OutcomeUnknown { last: Some(_), .. }
            )]
        ),
        "{doubted:?}"
    );
    assert_eq!(batch(&mut scribe, now + REMOVAL_PATIENCE), ["-2"]);
}

#[test]
fn a_full_disk_refuses_what_is_new_and_keeps_the_rest_for_later() {
    let now = Instant::now();
    let mut scribe = scribe();
    scribe.admit(letter(1, now), 1).unwrap();
    batch(&mut scribe, now);
    scribe.written(Ok(()), now);
    scribe.acked(&letter(1, now), 1, now);
    scribe.admit(letter(2, now), 2).unwrap();
    scribe.persist([(ConversationId::group(1), SequenceNumber(4))], "marks");
    assert_eq!(batch(&mut scribe, now), ["=1", "+2", "mark 4"]);
    let outcomes = scribe.written(Err(full()), now);
    let [
        Outcome::Settle(2, SendError::NotSent { journal, .. }),
        Outcome::Persisted("marks", Err(error)),
    ] = &outcomes[..]
    else {
        panic!("{outcomes:?}");
    };
    assert_eq!((journal.as_ref(), error), (Some(&full()), &full()));
    scribe.admit(letter(3, now), 3).unwrap();
    assert!(scribe.next_batch(now, false).is_none(), "it rests");
    assert_eq!(scribe.next_wake(now), Some(now + REST));
    assert_eq!(batch(&mut scribe, now + REST), ["=1", "+3", "mark 4"]);
    assert_eq!(accepted(&scribe.written(Ok(()), now)), [3]);
}

#[test]
fn it_is_bounded_in_messages_and_in_bytes_and_an_unknown_outcome_takes_room() {
    let now = Instant::now();
    let kept = Kept::default();
    for mut scribe in [Scribe::new(2, 10_000, &kept), Scribe::new(100, 250, &kept)] {
        let scribe: &mut TestScribe = &mut scribe;
        scribe.admit(letter(1, now), 1).unwrap();
        scribe.admit(letter(2, now), 2).unwrap();
        let (_, error) = scribe.admit(letter(3, now), 3).unwrap_err();
        assert!(
            matches!(
                error,
                SendError::NotSent {
                    journal: Some(JournalError::Full),
                    ..
                }
            ),
            "{error}"
        );
        batch(scribe, now);
        scribe.written(Ok(()), now);
        scribe.unknown(&letter(1, now));
        scribe.admit(letter(3, now), 3).unwrap_err();
        // The same again, to find out: it has its room.
        scribe.admit(letter(1, now), 1).unwrap();
        scribe.acked(&letter(1, now), 1, now);
        scribe.admit(letter(3, now), 3).unwrap();
    }
}

#[test]
fn a_message_that_is_sent_twice_is_removed_when_both_have_ended() {
    let now = Instant::now();
    let mut scribe = scribe();
    scribe.admit(letter(1, now), 1).unwrap();
    scribe.admit(letter(1, now), 2).unwrap();
    assert_eq!(batch(&mut scribe, now), ["+1", "+1"]);
    scribe.written(Ok(()), now);
    scribe.acked(&letter(1, now), 1, now);
    assert!(scribe.next_batch(now, true).is_none());
    scribe.acked(&letter(1, now), 1, now);
    assert_eq!(words(&scribe.next_batch(now, true).unwrap()), ["=1"]);
}

#[test]
fn a_send_whose_time_is_over_before_it_is_written_is_told_as_unknown_and_kept() {
    let now = Instant::now();
    let mut scribe = scribe();
    scribe.admit(letter(1, now), 1).unwrap();
    batch(&mut scribe, now);
    assert_eq!(scribe.next_wake(now), Some(now + TIMEOUT));
    let over = scribe.tick(now + TIMEOUT);
    assert!(matches!(
        &over[..],
        [Outcome::Settle(1, SendError::OutcomeUnknown { .. })]
    ));
    assert!(scribe.written(Ok(()), now + TIMEOUT).is_empty());
    assert!(
        scribe.next_batch(now + TIMEOUT, true).is_none(),
        "it is kept"
    );
}

#[test]
fn an_emergency_does_not_wait_and_is_written_all_the_same() {
    let now = Instant::now();
    let mut scribe = scribe();
    scribe.admit_urgent(&letter(1, now));
    assert_eq!(batch(&mut scribe, now), ["+1"]);
    assert!(scribe.written(Err(full()), now).is_empty());
    assert_eq!(words(&scribe.next_batch(now, true).unwrap()), ["+1"]);
    assert!(scribe.written(Ok(()), now).is_empty());
    scribe.acked(&letter(1, now), 1, now);
    assert_eq!(words(&scribe.next_batch(now, true).unwrap()), ["=1"]);
}

#[test]
fn at_the_end_what_is_not_being_written_never_is() {
    let now = Instant::now();
    let mut scribe = scribe();
    scribe.admit(letter(1, now), 1).unwrap();
    batch(&mut scribe, now);
    scribe.admit(letter(2, now), 2).unwrap();
    let ended = scribe.end();
    assert!(matches!(
        &ended[..],
        [Outcome::Settle(2, SendError::NotSent { journal: None, .. })]
    ));
    let given_up = scribe.give_up();
    assert!(matches!(
        &given_up[..],
        [Outcome::Settle(1, SendError::OutcomeUnknown { .. })]
    ));
    assert!(scribe.next_batch(now, true).is_none());
}

#[test]
fn what_a_restore_may_have_lost_is_kept_as_not_stored_until_it_is_acked_again() {
    let now = Instant::now();
    let mut scribe = scribe();
    for n in 1..=3 {
        scribe.admit(letter(n, now), n).unwrap();
    }
    batch(&mut scribe, now);
    scribe.written(Ok(()), now);
    scribe.acked(&letter(2, now), 5, now);
    scribe.acked(&letter(1, now), 5, now);
    // One that the application sends again is on its way, and no longer kept as stored.
    scribe.admit(letter(2, now), 4).unwrap();
    batch(&mut scribe, now);
    scribe.written(Ok(()), now);
    scribe.acked(&letter(2, now), 5, now);
    let lost: Vec<_> = scribe
        .unstore()
        .iter()
        .map(|its| its.client_message_id.made_at_ms())
        .collect();
    assert_eq!(lost, [1, 2]);
    scribe.lower(ConversationId::group(1), SequenceNumber(7));
    scribe.history(9);
    assert_eq!(
        batch(&mut scribe, now),
        ["=2", "+1", "+2", "history 9", "mark 7"]
    );
    scribe.written(Err(full()), now);
    assert_eq!(
        batch(&mut scribe, now + REST),
        ["=2", "+1", "+2", "history 9", "mark 7"]
    );
    scribe.written(Ok(()), now);
    assert!(scribe.unstore().is_empty());
    scribe.acked(&letter(1, now), 6, now);
    assert_eq!(scribe.unstore().len(), 1);
}
