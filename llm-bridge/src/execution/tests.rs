//! Small plans, step by step.

use super::*;

const POLICY: ExecutionPolicy = ExecutionPolicy {
    attempts_max: 1,
    stops_at_failure: true,
};

/// A plan of steps `(id, robot, depends_on)`.
fn plan(steps: &[(&str, u64, &[&str])]) -> wire::Plan {
    let steps = steps.iter().map(|(id, robot, needs)| wire::Step {
        step_id: (*id).into(),
        robot: *robot,
        depends_on: needs.iter().map(|&needed| needed.into()).collect(),
        ..wire::Step::default()
    });
    wire::Plan {
        steps: steps.collect(),
        ..wire::Plan::default()
    }
}

fn update(step_id: &str, attempt: u32, state: StepState) -> wire::StepUpdate {
    wire::StepUpdate {
        step_id: step_id.into(),
        attempt,
        state: state.into(),
        ..wire::StepUpdate::default()
    }
}

/// What has a command, with its attempt.
fn commanded(execution: &Execution) -> Vec<(&str, u32)> {
    let steps = execution.steps().filter(|(_, run)| run.is_commanded());
    steps
        .map(|(step, run)| (step.step_id.as_str(), run.attempt))
        .collect()
}

fn apply(execution: &mut Execution, step_id: &str, state: StepState) -> bool {
    let changed = execution.apply(&update(step_id, 1, state), false);
    execution.command_ready(20);
    changed
}

#[test]
fn a_robot_has_one_command_and_a_step_waits_for_what_it_needs() {
    let steps: &[(&str, u64, &[&str])] = &[
        ("lift", 1, &[]),
        ("carry", 2, &["lift"]),
        ("scan", 3, &[]),
        ("scan-2", 3, &[]),
        ("charge", 1, &["carry"]),
    ];
    let mut execution = Execution::new(plan(steps), POLICY, 10);
    assert_eq!(commanded(&execution), [("lift", 1), ("scan", 1)]);
    assert!(apply(&mut execution, "lift", StepState::Accepted));
    assert!(!apply(&mut execution, "lift", StepState::Accepted));
    assert!(!apply(&mut execution, "lift", StepState::Running));
    assert!(apply(&mut execution, "lift", StepState::Finished));
    assert_eq!(commanded(&execution), [("carry", 1), ("scan", 1)]);
    assert!(apply(&mut execution, "scan", StepState::Finished));
    assert_eq!(commanded(&execution), [("carry", 1), ("scan-2", 1)]);
    assert!(apply(&mut execution, "carry", StepState::Finished));
    assert!(apply(&mut execution, "scan-2", StepState::Finished));
    assert_eq!(commanded(&execution), [("charge", 1)]);
    assert!(apply(&mut execution, "charge", StepState::Finished));
    assert!(execution.is_finished() && !execution.is_running());
}

#[test]
fn after_a_failure_nothing_is_begun_if_a_new_plan_is_to_come() {
    let steps: &[(&str, u64, &[&str])] = &[("a", 1, &[]), ("b", 2, &[]), ("c", 1, &[])];
    let mut execution = Execution::new(plan(steps), POLICY, 10);
    assert!(apply(&mut execution, "a", StepState::Rejected));
    assert_eq!(commanded(&execution), [("b", 1)]);

    let goes_on = ExecutionPolicy {
        stops_at_failure: false,
        ..POLICY
    };
    let mut execution = Execution::new(plan(steps), goes_on, 10);
    assert!(apply(&mut execution, "a", StepState::Cancelled));
    assert_eq!(commanded(&execution), [("b", 1), ("c", 1)]);
}

#[test]
fn a_failed_step_is_repeated_as_often_as_it_may_be() {
    let twice = ExecutionPolicy {
        attempts_max: 2,
        ..POLICY
    };
    let mut execution = Execution::new(plan(&[("a", 1, &[])]), twice, 10);
    assert!(execution.apply(&update("a", 1, StepState::Failed), false));
    execution.command_ready(20);
    assert_eq!(commanded(&execution), [("a", 2)]);
    // The word on the first command again: it is about something past.
    assert!(!execution.apply(&update("a", 1, StepState::Failed), false));
    assert!(execution.apply(&update("a", 2, StepState::Expired), false));
    assert!(execution.runs[0].has_failed());

    let mut execution = Execution::new(plan(&[("a", 1, &[])]), twice, 10);
    assert!(execution.apply(&update("a", 1, StepState::Rejected), false));
    assert!(execution.runs[0].has_failed(), "no is no");
}

#[test]
fn the_first_end_counts_but_what_is_done_is_done() {
    let mut execution = Execution::new(plan(&[("a", 1, &[])]), POLICY, 10);
    assert!(execution.apply(&update("a", 1, StepState::Failed), false));
    assert!(!execution.apply(&update("a", 1, StepState::Finished), false));

    let mut execution = Execution::new(plan(&[("a", 1, &[])]), POLICY, 10);
    assert!(execution.apply(&update("a", 1, StepState::Expired), true));
    assert!(!execution.apply(&update("a", 1, StepState::Failed), false));
    let mut finished = update("a", 1, StepState::Finished);
    finished.result_json = r#"{"blocked":["shelf-3"]}"#.into();
    assert!(
        !execution.apply(&finished, true),
        "the planner does nothing"
    );
    assert!(execution.apply(&finished, false));
    let ending = execution.runs[0].ending().unwrap();
    assert_eq!(ending.result["blocked"][0], "shelf-3");
}

#[test]
fn what_is_not_about_a_step_changes_nothing() {
    let mut execution = Execution::new(plan(&[("a", 1, &[])]), POLICY, 10);
    assert!(!execution.apply(&update("b", 1, StepState::Finished), false));
    assert!(!execution.apply(&update("a", 1, StepState::Unspecified), false));
    let unknown = wire::StepUpdate {
        state: 99,
        ..update("a", 1, StepState::Finished)
    };
    assert!(!execution.apply(&unknown, false));
    assert!(execution.is_running());
}
