//! Scenarios of `im-bench`, short: that they are whole and say what they should, never how fast.

use std::process::{Output, Stdio};
use std::time::Duration;

use bench::cluster::{Cluster, binaries};
use bench::scenarios::site::GROUP_PREFIX;
use bench::wait::until;
use client_sdk::{Client, ClientConfig, Credential};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::sub_account;
use serde_json::Value;
use tokio::process::Command;

/// Longer than any of these runs takes, on a machine that does much else.
const WITHIN: Duration = Duration::from_secs(300);

/// The run stands, or the machine had too little left for the load: what is counted is whole in both.
const WHOLE: [i32; 2] = [0, 3];

/// The operator whose token the user has.
const OPERATOR: &str = "ana";

pub(crate) struct Ran {
    output: Output,
    pub(crate) json: Value,
}

impl Ran {
    pub(crate) fn code(&self) -> i32 {
        self.output.status.code().unwrap()
    }

    pub(crate) fn said(&self) -> String {
        let complained = String::from_utf8_lossy(&self.output.stderr);
        format!(
            "{complained}\n{}",
            String::from_utf8_lossy(&self.output.stdout)
        )
    }

    pub(crate) fn count(&self, key: &str) -> f64 {
        let found = self.json[key].as_f64();
        found.unwrap_or_else(|| panic!("{key}: {}", self.json))
    }
}

fn im_bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(binaries().unwrap().join("im-bench"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

pub(crate) async fn run(arguments: &[&str]) -> Ran {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut command = im_bench(arguments);
    command.arg("--json").arg(file.path());
    let output = tokio::time::timeout(WITHIN, command.output()).await;
    let output = output.unwrap().unwrap();
    let text = std::fs::read_to_string(file.path()).unwrap();
    let json = serde_json::from_str(&text).unwrap_or_default();
    Ran { output, json }
}

/// What every row of load has, and that nothing is missing.
fn is_whole(ran: &Ran, scenario: &str) {
    assert!(WHOLE.contains(&ran.code()), "{}", ran.said());
    assert_eq!(ran.json["scenario"], scenario, "{}", ran.json);
    for key in ["lost", "duplicated", "out_of_order", "failed"] {
        assert_eq!(ran.count(key), 0.0, "{key}: {}", ran.json);
    }
    for key in [
        "sent_per_s",
        "acked_per_s",
        "deliveries_per_s",
        "p50_us",
        "p99_us",
        "p999_us",
        "load_processes",
    ] {
        assert!(ran.count(key) > 0.0, "{key}: {}", ran.json);
    }
    assert_eq!(ran.json["acked_per_offered"], 1.0, "{}", ran.json);
    assert_eq!(ran.json["void"], ran.code() == 3);
    assert!(String::from_utf8_lossy(&ran.output.stdout).contains("deliveries_per_s"));
}

#[tokio::test]
async fn each_load_is_whole_and_the_cpu_of_both_sides_is_told() {
    let cluster = Cluster::start().await.unwrap();
    let state = cluster.state().to_str().unwrap();
    let short = ["--state", state, "--seconds", "1", "--warm-up-seconds", "1"];
    for (scenario, more) in [
        ("send", &["--members", "4", "--groups", "2"][..]),
        ("send", &["--rate", "20", "--ramp-up-seconds", "1"]),
        ("fanout", &["--members", "20", "--load-processes", "2"]),
        ("groups", &["--groups", "4", "--members", "5"]),
        ("mixed", &["--robots", "20", "--load-processes", "3"]),
    ] {
        let ran = run(&[&[scenario], &short[..], more].concat()).await;
        is_whole(&ran, scenario);
        for key in ["server_cores", "gateway_cores", "load_cores"] {
            assert!(ran.json[key].is_f64(), "{key}: {}", ran.json);
        }
        if scenario == "mixed" {
            let heard = ["command_p99_us", "telemetry_deliveries"];
            assert!(heard.iter().all(|key| ran.count(key) > 0.0), "{}", ran.json);
        }
    }
}

#[tokio::test]
async fn a_search_tells_what_it_tried_and_what_stopped_it() {
    let cluster = Cluster::start().await.unwrap();
    let state = cluster.state().to_str().unwrap();
    let ran = run(&[
        "send",
        "--state",
        state,
        "--members",
        "2",
        "--rate",
        "100",
        "--find-max",
        "--p99-ms",
        "50",
        "--seconds",
        "1",
        "--warm-up-seconds",
        "0",
    ])
    .await;
    assert!(WHOLE.contains(&ran.code()), "{}", ran.said());
    assert!(!ran.json["tried"].as_array().unwrap().is_empty());
    assert!(ran.json["limited_by"].is_string(), "{}", ran.json);
    assert_eq!(ran.json["max_per_s"].is_null(), ran.code() == 3);
    assert_eq!(ran.json["max_p99_ms"], 50.0);
}

#[tokio::test]
async fn a_run_without_a_probe_is_not_void_and_one_that_costs_more_is() {
    let cluster = Cluster::start().await.unwrap();
    let state = cluster.state().to_str().unwrap();
    let arguments = [
        "fanout",
        "--state",
        state,
        "--members",
        "10",
        "--seconds",
        "1",
        "--probe-cpu-us",
        "0.001",
    ];
    let ran = run(&arguments).await;
    assert_eq!(ran.code(), 3, "{}", ran.said());
    let why = ran.json["void_reason"].as_str().unwrap();
    assert!(why.contains("than in the limit probe"), "{why}");
    is_whole(&ran, "fanout");
}

/// How a user who has a token reaches a cluster of theirs.
struct Target {
    cluster: Cluster,
    address: String,
    ca: String,
    token: String,
}

impl Target {
    async fn start() -> Self {
        let cluster = Cluster::start().await.unwrap();
        let address = cluster
            .run_file()
            .unwrap()
            .addresses
            .all_clients()
            .remove(0);
        Self {
            address,
            ca: cluster.authority().fleet_ca().to_str().unwrap().to_owned(),
            token: cluster.token(OPERATOR).unwrap(),
            cluster,
        }
    }

    fn arguments<'a>(&'a self, scenario: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let place = [
            "--target",
            &self.address,
            "--ca",
            &self.ca,
            "--token",
            &self.token,
        ];
        [&[scenario], &place[..], more].concat()
    }

    /// The groups of ours that a sub-account is in.
    async fn groups_of(&self, account: u32) -> usize {
        let token = sub_account::of(&self.token, account);
        let config = ClientConfig::new([&self.address[..]], &self.ca[..], Credential::Token(token));
        let (client, _events) = Client::connect(config).await.unwrap();
        let all = client.conversations().await.unwrap();
        client.close().await;
        all.iter()
            .filter(|one| one.name.starts_with(GROUP_PREFIX))
            .count()
    }
}

const SHORT: [&str; 8] = [
    "--groups",
    "3",
    "--members",
    "3",
    "--seconds",
    "1",
    "--warm-up-seconds",
    "0",
];

#[tokio::test]
async fn a_users_cluster_is_left_without_groups_of_the_run() {
    let target = Target::start().await;
    let ran = run(&target.arguments("groups", &SHORT)).await;
    is_whole(&ran, "groups");
    assert!(ran.json.get("server_cores").is_none(), "{}", ran.json);
    for account in [0, 4, 8] {
        assert_eq!(target.groups_of(account).await, 0);
    }
}

#[tokio::test]
async fn others_on_the_cluster_are_left_alone_unless_it_is_asked_for() {
    let target = Target::start().await;
    let robot = target.cluster.robot("lift-1").unwrap();
    let (robot, _events) = Client::connect(robot).await.unwrap();
    let ran = run(&target.arguments("send", &SHORT)).await;
    assert_eq!(ran.code(), 1);
    assert!(ran.said().contains("lift-1"), "{}", ran.said());
    let alongside = [&SHORT[..], &["--alongside"]].concat();
    is_whole(&run(&target.arguments("send", &alongside)).await, "send");
    robot.close().await;

    let planner = ["--token", "no.such.token"];
    let mut wrong = target.arguments("send", &SHORT);
    wrong.retain(|word| *word != target.token && *word != "--token");
    wrong.extend(planner);
    let ran = run(&wrong).await;
    assert_eq!(ran.code(), 1);
    assert!(ran.said().contains("token"), "{}", ran.said());
}

/// Ended by the test, which looks at it through a session of its own.
const LONG: [&str; 7] = [
    "--groups",
    "2",
    "--members",
    "3",
    "--seconds",
    "600",
    "--alongside",
];

#[tokio::test]
async fn an_interrupted_run_dissolves_its_groups() {
    let target = Target::start().await;
    let child = im_bench(&target.arguments("groups", &LONG))
        .spawn()
        .unwrap();
    let stands = async || (target.groups_of(3).await > 0).then_some(());
    until(stands).await.unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    let output = tokio::time::timeout(WITHIN, child.wait_with_output()).await;
    let output = output.unwrap().unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{complained}");
    for account in 0..6 {
        assert_eq!(target.groups_of(account).await, 0);
    }
}

#[tokio::test]
async fn what_a_killed_run_has_left_is_cleaned_up() {
    let target = Target::start().await;
    let mut child = im_bench(&target.arguments("groups", &LONG))
        .spawn()
        .unwrap();
    until(async || (target.groups_of(3).await > 0).then_some(()))
        .await
        .unwrap();
    child.kill().await.unwrap();
    // Its load processes notice that nobody listens to them, and go.
    let mut clean = im_bench(&target.arguments("clean", &["--accounts", "6", "--alongside"]));
    let output = tokio::time::timeout(WITHIN, clean.output())
        .await
        .unwrap()
        .unwrap();
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("groups dissolved"), "{said}");
    for account in 0..6 {
        assert_eq!(target.groups_of(account).await, 0);
    }
}

/// Every outcome of a command to many is known to its issuer, and none was begun twice.
#[tokio::test]
async fn a_command_to_many_is_whole() {
    let ran = run(&[
        "command",
        "--targets",
        "200",
        "--commands",
        "2",
        "--load-processes",
        "2",
    ])
    .await;
    assert_eq!(ran.code(), 0, "{}", ran.said());
    for key in ["lost", "duplicated"] {
        assert_eq!(ran.count(key), 0.0, "{key}: {}", ran.json);
    }
    assert_eq!(ran.count("begun"), 400.0, "{}", ran.json);
    assert!(ran.count("known_p50_us") > 0.0, "{}", ran.json);
}
