//! A planner's commands, and what the robot says of them: read from the log of the group.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use client_sdk::protocol::identity;
use client_sdk::protocol::wire;
use client_sdk::{
    ActionContext, ActionError, ClientMessageId, CloseReason, Content, ConversationId, Error,
    Robot, StepState, clock,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinHandle;

use super::gateway::Fleet;
use super::state::{Fault, ME, PLANNER, State};

/// Lifts an object.
#[derive(Deserialize, JsonSchema)]
struct Lift {
    object: String,
}

pub(super) fn group() -> ConversationId {
    ConversationId::group(1)
}

fn pair() -> ConversationId {
    ConversationId::pair(ME, PLANNER)
}

fn instruction() -> ClientMessageId {
    ClientMessageId::new(1_700_000_000_000, [7; 10])
}

pub(super) fn lift(step: &str) -> wire::Command {
    wire::Command {
        instruction_id: instruction().to_bytes(),
        plan_version: 1,
        step_id: step.into(),
        attempt: 1,
        action: "lift".into(),
        arguments_json: json!({ "object": "box" }).to_string(),
        deadline_at_ms: clock::unix_ms() + 60_000,
        report_to: group().to_bytes(),
    }
}

fn id_of(command: &wire::Command) -> ClientMessageId {
    identity::CommandIdentity {
        instruction: instruction(),
        plan_version: command.plan_version,
        step_id: command.step_id.clone(),
        attempt: command.attempt,
    }
    .message_id()
}

pub(super) fn fleet() -> Fleet {
    let fleet = Fleet::new();
    fleet.with(|state| {
        state.groups.insert(group(), "dock".into());
        state.logs.insert(group(), Vec::new());
    });
    fleet
}

/// Stores a command in the pair of planner and robot; nobody is told.
fn store(fleet: &Fleet, command: wire::Command) -> usize {
    let id = id_of(&command);
    let sequence = fleet.with(|state| state.store(pair(), PLANNER, id, Content::Command(command)));
    usize::try_from(sequence).unwrap()
}

/// Commands the robot.
pub(super) fn command(fleet: &Fleet, command: wire::Command) {
    let sequence = store(fleet, command);
    fleet.push(pair(), &[sequence]);
}

async fn robot(fleet: &Fleet) -> Robot {
    let address = fleet.gateway().await;
    let credential = fleet.authority.robot("lift-1");
    let config = fleet.authority.config(&[&address], credential);
    Robot::connect(config, "forklift-2t").await.unwrap()
}

type Running = JoinHandle<Result<CloseReason, Error>>;

/// A robot that lifts at once, and counts how often.
async fn lifter(fleet: &Fleet) -> (Running, Arc<AtomicUsize>) {
    let mut robot = robot(fleet).await;
    let lifts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&lifts);
    robot.on_action("lift", move |lift: Lift, _: ActionContext| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            match lift.object.as_str() {
                "anvil" => Err(ActionError::Failed("too heavy".into())),
                "cloud" => Err(ActionError::Rejected("nothing to hold".into())),
                object => Ok(json!({ "lifted": object })),
            }
        }
    });
    let running = tokio::spawn(robot.run());
    fleet.until(|state| state.announced.is_some()).await;
    (running, lifts)
}

fn updates(state: &State) -> Vec<wire::StepUpdate> {
    let contents = state.contents(group()).into_iter();
    contents
        .map(|content| match content {
            Content::StepUpdate(update) => update,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Waits for so many updates; returns the step, state and reason of each.
async fn told(fleet: &Fleet, count: usize) -> Vec<(String, StepState, String)> {
    fleet.until(|state| updates(state).len() >= count).await;
    let updates = fleet.with(|state| updates(state));
    updates
        .into_iter()
        .map(|update| {
            let state = update.state();
            (update.step_id, state, update.reason)
        })
        .collect()
}

pub(super) async fn states(fleet: &Fleet, count: usize) -> Vec<StepState> {
    let told = told(fleet, count).await;
    told.into_iter().map(|(_, state, _)| state).collect()
}

#[tokio::test]
async fn a_command_is_accepted_carried_out_and_reported() {
    let fleet = fleet();
    let (_running, lifts) = lifter(&fleet).await;
    let card = fleet.with(|state| state.announced.clone().unwrap());
    assert_eq!(card.model, "forklift-2t");
    assert_eq!(card.actions[0].name, "lift");
    assert_eq!(card.actions[0].description, "Lifts an object.");
    command(&fleet, lift("s1"));
    assert_eq!(
        states(&fleet, 2).await,
        [StepState::Accepted, StepState::Finished]
    );
    fleet
        .until(|state| state.marks.get(&pair()) == Some(&1))
        .await;
    let (ids, result) = fleet.with(|state| {
        let log = state.logs[&group()].iter();
        let ids: Vec<_> = log.map(|entry| entry.client_message_id.clone()).collect();
        (ids, updates(state).pop().unwrap().result_json)
    });
    let of = |state| identity::step_update(id_of(&lift("s1")), state).to_bytes();
    assert_eq!(ids, [of(StepState::Accepted), of(StepState::Finished)]);
    assert_eq!(result, json!({ "lifted": "box" }).to_string());
    // The same command by another way is the same command.
    command(&fleet, lift("s1"));
    fleet
        .until(|state| state.marks.get(&pair()) == Some(&2))
        .await;
    assert_eq!(lifts.load(Ordering::Relaxed), 1);
    assert_eq!(fleet.with(|state| updates(state).len()), 2);
}

#[tokio::test]
async fn what_cannot_be_done_is_failed_or_rejected_with_its_reason() {
    let fleet = fleet();
    let (_running, lifts) = lifter(&fleet).await;
    let with_object = |step: &str, object: &str| wire::Command {
        arguments_json: json!({ "object": object }).to_string(),
        ..lift(step)
    };
    command(&fleet, with_object("s1", "anvil"));
    command(&fleet, with_object("s2", "cloud"));
    let wrong_arguments = wire::Command {
        arguments_json: "{}".into(),
        ..lift("s3")
    };
    command(&fleet, wrong_arguments);
    let unknown = wire::Command {
        action: "fly".into(),
        ..lift("s4")
    };
    command(&fleet, unknown);
    let late = wire::Command {
        // Past by more than two clocks that were compared over a link can differ.
        deadline_at_ms: clock::unix_ms() - 1_000,
        ..lift("s5")
    };
    command(&fleet, late);
    let told = told(&fleet, 7).await;
    let said = |n: usize| (told[n].0.as_str(), told[n].1);
    assert_eq!(said(0), ("s1", StepState::Accepted));
    assert_eq!(said(1), ("s1", StepState::Failed));
    assert_eq!(told[1].2, "too heavy");
    assert_eq!(said(2), ("s2", StepState::Accepted));
    assert_eq!(said(3), ("s2", StepState::Rejected));
    assert_eq!(told[3].2, "nothing to hold");
    assert_eq!(said(4), ("s3", StepState::Rejected));
    assert!(told[4].2.contains("object"), "{}", told[4].2);
    assert_eq!(said(5), ("s4", StepState::Rejected));
    assert!(told[5].2.contains("fly"), "{}", told[5].2);
    assert_eq!(said(6), ("s5", StepState::Expired));
    assert_eq!(lifts.load(Ordering::Relaxed), 2);
    fleet
        .until(|state| state.marks.get(&pair()) == Some(&5))
        .await;
}

/// A robot whose action says how far it is and then waits to be cancelled.
async fn waiter(fleet: &Fleet) -> Robot {
    let mut robot = robot(fleet).await;
    robot.on_action("lift", |_: Lift, context: ActionContext| async move {
        context.progress(40);
        context.until_cancelled().await;
        assert!(context.cancelled());
        Err(ActionError::Cancelled(String::new()))
    });
    robot
}

#[tokio::test]
async fn progress_is_told_while_it_runs_and_a_cancelled_action_says_so() {
    let fleet = fleet();
    let robot = waiter(&fleet).await;
    let stop = robot.stopper();
    let _running = tokio::spawn(robot.run());
    command(&fleet, lift("s1"));
    command(&fleet, lift("s2"));
    fleet.until(|state| state.ephemerals.len() == 1).await;
    let progress = fleet.with(|state| state.ephemerals[0].clone());
    assert_eq!(progress.ephemeral_key, "step/s1");
    let content = client_sdk::content::decode(&progress.content).unwrap();
    let Content::StepUpdate(update) = content else {
        panic!("{content:?}");
    };
    assert_eq!(update.state(), StepState::Running);
    assert_eq!(update.progress_percent, 40);
    fleet.settled().await;
    assert_eq!(
        states(&fleet, 1).await,
        [StepState::Accepted],
        "one at a time"
    );
    assert_eq!(fleet.with(|state| state.marks.get(&pair()).copied()), None);
    stop.cancel_action("the operator said so");
    fleet.until(|state| state.ephemerals.len() == 2).await;
    let told = told(&fleet, 3).await;
    assert_eq!(told[1].1, StepState::Cancelled);
    assert_eq!(told[1].2, "the operator said so");
    assert_eq!((told[2].0.as_str(), told[2].1), ("s2", StepState::Accepted));
}

#[tokio::test]
async fn an_action_that_misses_its_deadline_is_expired() {
    let fleet = fleet();
    let robot = waiter(&fleet).await;
    let running = tokio::spawn(robot.run());
    fleet.until(|state| state.announced.is_some()).await;
    let soon = wire::Command {
        deadline_at_ms: clock::unix_ms() + 300,
        ..lift("s1")
    };
    command(&fleet, soon);
    assert_eq!(
        states(&fleet, 2).await,
        [StepState::Accepted, StepState::Expired]
    );
    fleet
        .until(|state| state.marks.get(&pair()) == Some(&1))
        .await;
    assert!(!running.is_finished());
}

#[tokio::test]
async fn a_robot_that_is_stopped_reports_what_it_was_doing_and_ends() {
    let fleet = fleet();
    let robot = waiter(&fleet).await;
    let stop = robot.stopper();
    let running = tokio::spawn(robot.run());
    command(&fleet, lift("s1"));
    fleet.until(|state| state.ephemerals.len() == 1).await;
    stop.stop();
    let ended = running.await.unwrap().unwrap();
    assert_eq!(ended, CloseReason::ByApplication);
    assert_eq!(
        states(&fleet, 2).await,
        [StepState::Accepted, StepState::Cancelled]
    );
    fleet
        .until(|state| state.marks.get(&pair()) == Some(&1))
        .await;
}

#[tokio::test]
async fn a_command_that_an_earlier_run_took_is_not_run_again() {
    let fleet = fleet();
    store(&fleet, lift("s1"));
    fleet.with(|state| {
        let command = lift("s1");
        let accepted = Content::StepUpdate(wire::StepUpdate {
            instruction_id: command.instruction_id.clone(),
            step_id: command.step_id.clone(),
            state: StepState::Accepted.into(),
            ..Default::default()
        });
        let id = identity::step_update(id_of(&command), StepState::Accepted);
        state.store(group(), ME, id, accepted);
    });
    let (_running, lifts) = lifter(&fleet).await;
    let told = told(&fleet, 2).await;
    assert_eq!(told[1].1, StepState::Failed);
    assert!(told[1].2.contains("restarted"), "{}", told[1].2);
    fleet
        .until(|state| state.marks.get(&pair()) == Some(&1))
        .await;
    assert_eq!(lifts.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn losses_on_the_way_change_nothing_of_what_is_reported() {
    let fleet = fleet();
    let (_running, lifts) = lifter(&fleet).await;
    fleet.with(|state| {
        let lost = |stored| Fault::HangUp { stored };
        state.faults.extend([lost(true), lost(false), lost(true)]);
    });
    command(&fleet, lift("s1"));
    assert_eq!(
        states(&fleet, 2).await,
        [StepState::Accepted, StepState::Finished]
    );
    fleet
        .until(|state| state.marks.get(&pair()) == Some(&1))
        .await;
    assert_eq!(lifts.load(Ordering::Relaxed), 1);
}
