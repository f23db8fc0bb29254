//! Commands as robots and people meet them: a robot whose clock is wrong, `swarm command`, and who may
//! do what.

use std::time::Duration;

use bench::wait;
use client_sdk::estop::Scope;
use client_sdk::{
    AccountId, CommandKey, ErrorCode, NewCommand, OutcomeState, Targets, new_message_id,
};

use crate::commands::{Fleet, LONG, ends, in_time};
use crate::people::Person;

/// Moves the wall clock of the process that it is loaded into, and no other clock.
const WRONG_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(id, at);
    if (done == 0 && id == CLOCK_REALTIME) at->tv_sec += atol(getenv("WRONG_BY_S"));
    return done;
}
"#;

/// The robot is a process of its own: the SDK's example, under a clock that is an hour ahead.
#[tokio::test]
async fn a_robot_whose_clock_is_wrong_by_an_hour_begins_in_time_and_never_late() {
    let folder = tempfile::tempdir().unwrap();
    let (source, library) = (folder.path().join("c.c"), folder.path().join("c.so"));
    std::fs::write(&source, WRONG_CLOCK).unwrap();
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status();
    assert!(built.unwrap().success());

    let fleet = Fleet::with(&["r1"]).await;
    let files = fleet
        .cluster
        .authority()
        .robot("r1", service_kit::clock::unix_ms())
        .unwrap();
    let address = fleet
        .cluster
        .run_file()
        .unwrap()
        .addresses
        .clients
        .to_string();
    let start = || {
        tokio::process::Command::new(bench::cluster::binaries().unwrap().join("examples/command"))
            .arg(&address)
            .arg(fleet.cluster.authority().fleet_ca())
            .args([&files.certificate, &files.key])
            .arg(folder.path().join("ledger"))
            .env("LD_PRELOAD", &library)
            .env("WRONG_BY_S", "3600")
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    };
    let mut robot = start();
    // Its clock says that the deadline was an hour ago.
    let ended = ends(&mut fleet.send("sweep", Duration::from_secs(30)).await).await;
    let states: Vec<_> = ended.values().map(|(state, _)| *state).collect();
    assert_eq!(states, [OutcomeState::Finished]);

    // Late, by the server's clock, within 50 ms.
    robot.kill().await.unwrap();
    let mut late = fleet.send("sweep", Duration::from_millis(600)).await;
    let ended = in_time("the deadline", late.finished()).await.unwrap();
    let outcome = ended.values().next().unwrap().clone();
    assert_eq!(outcome.state, OutcomeState::Expired);
    let key = late.key().clone();
    let page = fleet
        .ana
        .client
        .command_status(&key, AccountId(0), 0)
        .await
        .unwrap();
    let after_ms = outcome.changed_at_ms.abs_diff(page.deadline_at_ms);
    assert!(after_ms < 50, "it expired {after_ms} ms from its deadline");
    let _robot = start();
    let last = ends(&mut fleet.send("sweep", Duration::from_secs(30)).await).await;
    assert!(
        last.values()
            .all(|(state, _)| *state == OutcomeState::Finished)
    );
    let late = fleet
        .ana
        .client
        .command_status(&key, AccountId(0), 0)
        .await
        .unwrap();
    assert_eq!(late.counts.expired, 1);
    fleet.stop().await;
}

#[tokio::test]
async fn swarm_command_sends_says_and_cancels() {
    let fleet = Fleet::with(&["r1", "r2"]).await;
    let one = fleet.robot("r1").await;
    let swarm = async |arguments: &[&str]| {
        let output = bench::cluster::swarm()
            .unwrap()
            .args(["command", "--as", "ana"])
            .arg("--state")
            .arg(fleet.cluster.state())
            .args(arguments)
            .output()
            .await
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.success(), said)
    };
    let (sent, said) = swarm(&["send", "sweep", "--robots", "r1"]).await;
    assert!(
        sent && said.contains("finished") && said.contains("r1"),
        "{said}"
    );
    let (_, said) = swarm(&["send", "sweep", "--group", "仓库", "--no-wait", "--json"]).await;
    let answer: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(answer["robots"], 2);
    let key = answer["key"].as_str().unwrap();
    wait::until(async || (one.begun() == 2).then_some(()))
        .await
        .unwrap();
    let (cancelled, said) = swarm(&["cancel", key, "--json"]).await;
    assert!(cancelled, "{said}");
    let (_, said) = swarm(&["status", key, "--json"]).await;
    let answer: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(answer["counts"]["cancelled"], 1, "{said}");
    assert_eq!(answer["outcomes"][0]["robot"], "r1");
    let (_, said) = swarm(&["status", key]).await;
    assert!(said.contains("1 finished, 1 cancelled"), "{said}");
    fleet.stop().await;
}

#[tokio::test]
async fn only_who_may_commands_sees_and_cancels() {
    let fleet = Fleet::with(&["r1"]).await;
    let one = fleet.robot("r1").await;
    let code = |error: client_sdk::Error| error.refusal().map(|refusal| refusal.code);
    let named = |robot| NewCommand::new(Targets::Robots(vec![robot]), "sweep", LONG);

    // A stranger to the group, and a robot.
    let stranger = Person::connect(fleet.cluster.operator("bo").unwrap())
        .await
        .client;
    let refused = stranger.send_command(named(one.id())).await.unwrap_err();
    assert_eq!(code(refused), Some(ErrorCode::Forbidden));
    let of_group = NewCommand::new(Targets::Group(fleet.group), "sweep", LONG);
    let refused = stranger.send_command(of_group).await.unwrap_err();
    assert_eq!(code(refused), Some(ErrorCode::NotAMember));
    let refused = one.client.send_command(named(one.id())).await.unwrap_err();
    assert_eq!(code(refused), Some(ErrorCode::Forbidden));
    let unknown = fleet
        .ana
        .client
        .send_command(named(AccountId(17)))
        .await
        .unwrap_err();
    assert_eq!(code(unknown), Some(ErrorCode::Forbidden));

    // A member may, by name too; another operator sees it, a robot does not.
    let sent = fleet.ana.client.send_command(named(one.id())).await;
    let mut watch = sent.unwrap();
    ends(&mut watch).await;
    let key = watch.key().clone();
    let seen = stranger
        .command_status(&key, AccountId(0), 0)
        .await
        .unwrap();
    assert_eq!(seen.outcomes.len(), 1);
    let refused = one
        .client
        .command_status(&key, AccountId(0), 0)
        .await
        .unwrap_err();
    assert_eq!(code(refused), Some(ErrorCode::Forbidden));
    let nothing = CommandKey::new(new_message_id(), "1");
    let refused = fleet
        .ana
        .client
        .cancel_command(&nothing, "")
        .await
        .unwrap_err();
    assert_eq!(code(refused), Some(ErrorCode::NoSuchCommand));

    // The same key with other words is another command, which it must not be.
    let changed = NewCommand::new(Targets::Robots(vec![one.id()]), "fail", LONG).of_plan(key, 0);
    let refused = fleet.ana.client.send_command(changed).await.unwrap_err();
    assert_eq!(code(refused), Some(ErrorCode::Conflict));
    wait::until(async || (one.begun() == 1).then_some(()))
        .await
        .unwrap();
    fleet.stop().await;
}

/// While a stop is in force a robot begins nothing, and says so.
#[tokio::test]
async fn a_stopped_robot_rejects_commands() {
    let fleet = Fleet::with(&["r1"]).await;
    let one = fleet.robot("r1").await;
    let stop = fleet.ana.client.estop(Scope::Group(fleet.group), "有人");
    wait::until(async || one.client.is_stopped().then_some(()))
        .await
        .unwrap();
    let ended = ends(&mut fleet.send("sweep", LONG).await).await;
    assert_eq!(ended[&one.id()].0, OutcomeState::Rejected);
    assert_eq!(one.begun(), 0);
    drop(stop);
    fleet.stop().await;
}
