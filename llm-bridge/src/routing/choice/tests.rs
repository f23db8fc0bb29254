//! Questions at providers that fail in every way, under a time of the test's own.

use super::*;

const S: Duration = Duration::from_secs(1);

const POLICY: Policy = Policy {
    attempts_max: 8,
    patience: Duration::from_secs(120),
    backoff_first: Duration::from_millis(250),
    backoff_last: Duration::from_secs(8),
    retry_after_max: Duration::from_secs(60),
    failures_max: 3,
    alone_first: Duration::from_secs(5),
    alone_last: Duration::from_secs(600),
    waiting_max: 1,
};

fn broken() -> Option<ModelError> {
    Some(ModelError::Cut)
}

fn limited(seconds: u64) -> Option<ModelError> {
    Some(ModelError::RateLimited {
        retry_after: Some(Duration::from_secs(seconds)),
    })
}

/// Asks for the next step, and lets the request end so at once.
fn ask(
    choices: &mut Choices,
    now: Instant,
    question: &mut Question,
    error: Option<ModelError>,
) -> Step {
    let step = choices.next(now, question);
    if let Step::Ask(target) = step {
        choices.ended(now, target, question, error, 1.0);
    }
    step
}

#[tokio::test]
async fn the_next_is_asked_at_once_and_the_first_again_after_a_pause() {
    let (mut choices, now) = (Choices::new(&[4, 4], POLICY), Instant::now());
    let mut question = choices.question(now);
    assert_eq!(
        ask(&mut choices, now, &mut question, broken()),
        Step::Ask(0)
    );
    assert_eq!(
        ask(&mut choices, now, &mut question, broken()),
        Step::Ask(1)
    );
    let again = now + POLICY.backoff_first;
    assert_eq!(choices.next(now, &mut question), Step::WaitUntil(again));
    assert_eq!(ask(&mut choices, again, &mut question, None), Step::Ask(0));
    // The next question begins at the first again.
    let mut question = choices.question(again);
    assert_eq!(choices.next(again, &mut question), Step::Ask(0));
}

#[tokio::test]
async fn what_a_provider_asks_for_is_kept_by_every_question() {
    let (mut choices, now) = (Choices::new(&[4], POLICY), Instant::now());
    let mut question = choices.question(now);
    assert_eq!(
        ask(&mut choices, now, &mut question, limited(9)),
        Step::Ask(0)
    );
    assert_eq!(
        choices.next(now, &mut question),
        Step::WaitUntil(now + 9 * S)
    );
    let mut other = choices.question(now + S);
    assert_eq!(
        choices.next(now + S, &mut other),
        Step::WaitUntil(now + 9 * S)
    );
    assert_eq!(choices.next(now + 9 * S, &mut other), Step::Ask(0));
    // Who asks for an hour is not waited for.
    let mut question = choices.question(now + 9 * S);
    let step = ask(&mut choices, now + 9 * S, &mut question, limited(3600));
    assert_eq!(step, Step::Ask(0));
    let step = choices.next(now + 10 * S, &mut question);
    assert_eq!(step, Step::GiveUp(limited(3600).unwrap()));
}

#[tokio::test]
async fn who_keeps_failing_is_left_alone_then_tried_with_one_question() {
    let (mut choices, now) = (Choices::new(&[4, 4], POLICY), Instant::now());
    for turn in 0..3 {
        let mut question = choices.question(now);
        assert_eq!(choices.next(now, &mut question), Step::Ask(0), "{turn}");
        let has_opened = choices.ended(now, 0, &mut question, broken(), 1.0);
        assert_eq!(has_opened, turn == 2, "{turn}");
    }
    let mut question = choices.question(now);
    assert_eq!(
        ask(&mut choices, now, &mut question, None),
        Step::Ask(1),
        "it is left alone"
    );
    let later = now + POLICY.alone_first;
    let mut trying = choices.question(later);
    assert_eq!(choices.next(later, &mut trying), Step::Ask(0));
    let mut other = choices.question(later);
    assert_eq!(
        choices.next(later, &mut other),
        Step::Ask(1),
        "one question tries it"
    );
    // It fails: alone again, twice as long, though it was once only.
    assert!(choices.ended(later, 0, &mut trying, broken(), 1.0));
    let later = later + POLICY.alone_first;
    let mut question = choices.question(later);
    assert_eq!(choices.next(later, &mut question), Step::Ask(1));
    let later = later + POLICY.alone_first;
    let mut trying = choices.question(later);
    assert_eq!(ask(&mut choices, later, &mut trying, None), Step::Ask(0));
    // It answers: all is well again.
    for _ in 0..3 {
        let mut question = choices.question(later);
        assert_eq!(choices.next(later, &mut question), Step::Ask(0));
    }
}

#[tokio::test]
async fn no_money_and_a_wrong_key_leave_a_provider_alone_for_long() {
    for error in [ModelError::Quota, ModelError::Auth { status: 401 }] {
        let (mut choices, now) = (Choices::new(&[4, 4], POLICY), Instant::now());
        let mut question = choices.question(now);
        assert_eq!(choices.next(now, &mut question), Step::Ask(0));
        assert!(choices.ended(now, 0, &mut question, Some(error.clone()), 1.0));
        assert_eq!(choices.next(now, &mut question), Step::Ask(1));
        let mut other = choices.question(now + 599 * S);
        assert_eq!(choices.next(now + 599 * S, &mut other), Step::Ask(1));
        let mut other = choices.question(now + 600 * S);
        assert_eq!(choices.next(now + 600 * S, &mut other), Step::Ask(0));
    }
}

#[tokio::test]
async fn a_bad_request_is_for_the_others_and_refused_content_for_nobody() {
    let (mut choices, now) = (Choices::new(&[4, 4], POLICY), Instant::now());
    let mut question = choices.question(now);
    let long = ModelError::PromptTooLong("x".into());
    assert_eq!(
        ask(&mut choices, now, &mut question, Some(long.clone())),
        Step::Ask(0)
    );
    assert_eq!(
        ask(&mut choices, now, &mut question, Some(long.clone())),
        Step::Ask(1)
    );
    assert_eq!(choices.next(now, &mut question), Step::GiveUp(long));
    let refused = ModelError::Refused("no".into());
    let mut question = choices.question(now);
    assert_eq!(
        ask(&mut choices, now, &mut question, Some(refused.clone())),
        Step::Ask(0)
    );
    assert_eq!(choices.next(now, &mut question), Step::GiveUp(refused));
}

#[tokio::test]
async fn places_are_bounded_and_so_are_those_who_wait_for_one() {
    let (mut choices, now) = (Choices::new(&[1], POLICY), Instant::now());
    let mut first = choices.question(now);
    assert_eq!(choices.next(now, &mut first), Step::Ask(0));
    let mut second = choices.question(now);
    let wait = Step::WaitForPlace {
        no_longer_than: now + POLICY.patience,
    };
    assert_eq!(choices.next(now, &mut second), wait);
    let mut third = choices.question(now);
    let Step::GiveUp(error) = choices.next(now, &mut third) else {
        panic!("it waits");
    };
    assert_eq!(
        error,
        ModelError::Unavailable("too many questions wait".into())
    );
    choices.abandon(0, false);
    choices.waits_no_more();
    assert_eq!(choices.next(now, &mut second), Step::Ask(0));
}

#[tokio::test]
async fn attempts_and_patience_end() {
    let (mut choices, now) = (Choices::new(&[4, 4], POLICY), Instant::now());
    let (mut question, mut at, mut asked) = (choices.question(now), now, 0);
    let error = loop {
        match ask(&mut choices, at, &mut question, broken()) {
            Step::Ask(_) => asked += 1,
            Step::WaitUntil(when) => {
                assert!(when > at);
                at = when;
            }
            Step::WaitForPlace { .. } => panic!("all places are free"),
            Step::GiveUp(error) => break error,
        }
    };
    assert_eq!((error, asked), (ModelError::Cut, POLICY.attempts_max));
    let hasty = Policy {
        patience: S,
        ..POLICY
    };
    let mut choices = Choices::new(&[4], hasty);
    let mut question = choices.question(now);
    assert_eq!(
        ask(&mut choices, now, &mut question, limited(2)),
        Step::Ask(0)
    );
    assert_eq!(
        choices.next(now, &mut question),
        Step::GiveUp(limited(2).unwrap())
    );
}
