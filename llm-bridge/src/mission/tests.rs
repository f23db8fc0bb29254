//! What a mission does when messages are late, lost or said before. Whole stories are in
//! `agenda/tests.rs`.

use protocol::wire::Outcome;

use super::*;

const NOW_MS: u64 = 1_700_000_000_000;

const POLICY: MissionPolicy = MissionPolicy {
    replans_max: 1,
    attempts_max: 2,
    update_grace_ms: 5_000,
    instruction_age_ms_max: 3_600_000,
};

fn mission() -> Mission {
    let instruction = Instruction {
        id: ClientMessageId::new(NOW_MS, [3; 10]),
        text: "bring all pallets from dock 2 to storage".into(),
        committed_at_ms: NOW_MS,
    };
    Mission::new(ConversationId::group(5), instruction, None, POLICY)
}

fn plan(mission: &Mission, version: u32) -> wire::Plan {
    wire::Plan {
        instruction_id: mission.id().to_bytes(),
        version,
        steps: vec![wire::Step {
            step_id: "s1".into(),
            robot: 11,
            robot_name: "carrier-1".into(),
            action: "carry".into(),
            arguments_json: r#"{"object":"p1"}"#.into(),
            time_limit_ms: 60_000,
            ..wire::Step::default()
        }],
        ..wire::Plan::default()
    }
}

fn answer(plan: Result<wire::Plan, Decline>) -> Answer {
    Answer {
        plan,
        prompt_tokens: 100,
        completion_tokens: 10,
    }
}

fn update(mission: &Mission, attempt: u32, state: StepState) -> wire::StepUpdate {
    wire::StepUpdate {
        instruction_id: mission.id().to_bytes(),
        plan_version: 1,
        step_id: "s1".into(),
        attempt,
        state: state.into(),
        ..wire::StepUpdate::default()
    }
}

/// The one message that is to be sent now.
fn letter(mission: &mut Mission, now_ms: u64) -> Letter {
    let mut outputs = mission.next(now_ms);
    match (outputs.pop(), outputs.is_empty()) {
        (Some(Output::Send(letter)), true) => letter,
        other => panic!("{other:?}"),
    }
}

fn command(letter: &Letter) -> &wire::Command {
    let Content::Command(command) = &letter.content else {
        panic!("{letter:?}");
    };
    command
}

fn summary(letter: &Letter) -> &wire::Summary {
    let Content::Summary(summary) = &letter.content else {
        panic!("{letter:?}");
    };
    summary
}

#[test]
fn a_question_is_asked_once_and_its_answer_posted_until_it_is_in_the_log() {
    let mut mission = mission();
    assert!(matches!(&mission.next(NOW_MS)[..], [Output::Ask(q)] if q.version == 1));
    assert!(mission.next(NOW_MS).is_empty());
    mission.answered(2, answer(Err(Decline::Blank)));
    assert!(mission.next(NOW_MS).is_empty(), "nobody asked for that");
    let made = plan(&mission, 1);
    mission.answered(1, answer(Ok(made)));
    let first = letter(&mut mission, NOW_MS);
    assert!(mission.next(NOW_MS).is_empty());
    mission.sent(&first, SendOutcome::Unknown, NOW_MS);
    assert!(mission.next(NOW_MS).is_empty());
    let wake_at_ms = mission.wake_at_ms().unwrap();
    assert_eq!(letter(&mut mission, wake_at_ms), first);
    mission.sent(&first, SendOutcome::Committed, NOW_MS);
    assert!(mission.next(NOW_MS + 60_000).is_empty());
}

#[test]
fn a_command_after_a_long_absence_has_its_whole_time() {
    let mut mission = mission();
    mission.fold_plan(plan(&mission, 1), NOW_MS);
    let mut restarted = mission.clone();
    let at_once = letter(&mut mission, NOW_MS + 1_000);
    assert_eq!(command(&at_once).deadline_at_ms, NOW_MS + 60_000);
    let later_ms = NOW_MS + letter::REPEAT_WINDOW_MS + 1;
    let late = letter(&mut restarted, later_ms);
    assert_eq!(late.id, at_once.id);
    assert_eq!(command(&late).deadline_at_ms, later_ms + 60_000);
    // The robot knows the first one: its word is waited for all the same.
    restarted.sent(&late, SendOutcome::CommittedOtherwise, later_ms);
    assert_eq!(restarted.wake_at_ms(), Some(later_ms + 65_001));
    assert!(restarted.next(later_ms + 65_000).is_empty());
    let end = letter(&mut restarted, later_ms + 65_001);
    assert!(matches!(&end.content, Content::StepUpdate(u) if u.state() == StepState::Expired));
}

#[test]
fn a_failed_step_has_a_second_command_of_another_identity() {
    let mut mission = mission();
    mission.fold_plan(plan(&mission, 1), NOW_MS);
    let first = letter(&mut mission, NOW_MS);
    mission.sent(&first, SendOutcome::Committed, NOW_MS);
    let failed = update(&mission, 1, StepState::Failed);
    mission.fold_update(AccountId(11), false, &failed, NOW_MS + 1_000);
    let second = letter(&mut mission, NOW_MS + 1_000);
    assert_ne!(first.id, second.id);
    assert_eq!(command(&second).attempt, 2);
    let failed = update(&mission, 2, StepState::Failed);
    mission.fold_update(AccountId(11), false, &failed, NOW_MS + 2_000);
    let [Output::Ask(question)] = &mission.next(NOW_MS + 2_000)[..] else {
        panic!("a new plan is asked for");
    };
    let progress = question.progress.as_ref().unwrap();
    assert_eq!(progress.failed[0].arguments["object"], "p1");
    assert_eq!(question.version, 2);
}

#[test]
fn a_late_end_makes_a_new_plan_needless() {
    let mut mission = mission();
    mission.fold_plan(plan(&mission, 1), NOW_MS);
    for attempt in [1, 2] {
        let expired = update(&mission, attempt, StepState::Expired);
        mission.fold_update(AccountId(1), true, &expired, NOW_MS);
    }
    assert!(matches!(&mission.next(NOW_MS)[..], [Output::Ask(_)]));
    let finished = update(&mission, 1, StepState::Finished);
    mission.fold_update(AccountId(11), false, &finished, NOW_MS);
    let made = plan(&mission, 2);
    mission.answered(2, answer(Ok(made)));
    let last = letter(&mut mission, NOW_MS);
    let summary = summary(&last);
    assert_eq!(summary.outcome(), Outcome::Done);
    assert_eq!(
        (summary.prompt_tokens, summary.completion_tokens),
        (100, 10)
    );
}

#[test]
fn a_declined_plan_is_a_declined_instruction() {
    let mut mission = mission();
    drop(mission.next(NOW_MS));
    let decline = Decline::NoAnswer("the provider is not available: status 503".into());
    mission.answered(1, answer(Err(decline)));
    let last = letter(&mut mission, NOW_MS);
    let summary = summary(&last);
    assert_eq!(summary.outcome(), Outcome::Declined);
    assert!(summary.text.contains("status 503"), "{}", summary.text);
    assert!(mission.next(NOW_MS).is_empty());
    mission.sent(&last, SendOutcome::Refused("no".into()), NOW_MS);
    assert!(mission.is_abandoned() && mission.next(NOW_MS).is_empty());
}
