//! The examples as a robot's developer runs them. `cargo test -p client-sdk` builds them beside the
//! tests.

use std::process::Stdio;

use client_sdk::{StepState, content};
use tokio::process::Command;

use super::gateway::Fleet;
use super::robot::{command, fleet, lift, states};
use super::state::ME;

/// An example with the arguments of a robot; the files last as long as the folder.
async fn example(fleet: &Fleet, name: &str) -> (Command, tempfile::TempDir) {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().unwrap().parent().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(built.join("examples").join(name));
    command
        .arg(fleet.gateway().await)
        .args(fleet.authority.files(folder.path(), "lift-1"))
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    (command, folder)
}

#[tokio::test]
async fn hello_says_who_it_is_and_stores_a_message() {
    let fleet = fleet();
    let (mut hello, _folder) = example(&fleet, "hello").await;
    let output = hello.output().await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    for expected in ["as lift-1 (Robot)", "\"dock\"", "as number 1"] {
        assert!(said.contains(expected), "{said}");
    }
    let notes = client_sdk::ConversationId::pair(ME, ME);
    let stored = fleet.with(|state| state.contents(notes));
    assert_eq!(stored, [content::text("hello")]);
}

#[tokio::test]
async fn robot_takes_a_planners_step_and_reports_it() {
    let fleet = fleet();
    let (mut robot, _folder) = example(&fleet, "robot").await;
    let _running = robot.spawn().unwrap();
    fleet.until(|state| state.announced.is_some()).await;
    command(&fleet, lift("s1"));
    assert_eq!(
        states(&fleet, 2).await,
        [StepState::Accepted, StepState::Finished]
    );
    assert!(!fleet.with(|state| state.ephemerals.is_empty()));
}
