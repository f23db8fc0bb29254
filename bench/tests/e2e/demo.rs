//! The main job on real input: an instruction, a plan, robots that carry it out, and the count of
//! what was said.

use std::path::Path;
use std::time::Duration;

use bench::cluster::{Cluster, swarm};
use deploy::tiers::Tier;
use serde_json::Value;

/// How long one instruction may take, with a tier killed meanwhile.
const WITHIN: Duration = Duration::from_secs(180);

const KEYS: [&str; 13] = [
    "acked",
    "delivered",
    "duplicates",
    "gaps",
    "instruction",
    "lost",
    "outcome",
    "p50_us",
    "p99_us",
    "sent",
    "steps_done",
    "steps_failed",
    "steps_planned",
];

const CHINESE: &str = "把A区的三个箱子搬到充电站旁边，然后巡检一遍走廊";
const ENGLISH: &str = "bring all pallets from dock 2 to storage and report anything blocked";

/// Runs one instruction and returns what `--json` wrote.
async fn demo(state: &Path, instruction: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("out.json");
    let run = swarm()
        .unwrap()
        .args(["demo", "--instruction", instruction, "--json"])
        .arg(&json)
        .arg("--state")
        .arg(state)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(WITHIN, run)
        .await
        .expect("the demo does not end")
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{instruction}: {said}\n{complained}"
    );
    let text = std::fs::read_to_string(&json).unwrap();
    let object: Value = serde_json::from_str(&text).unwrap();
    let mut keys: Vec<_> = object.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    assert_eq!(keys, KEYS);
    for clean in ["duplicates", "gaps", "lost"] {
        assert_eq!(object[clean], 0, "{clean}: {said}\n{complained}");
    }
    assert_eq!(object["instruction"], instruction);
    assert_eq!(object["sent"], object["acked"], "{said}");
    object
}

#[tokio::test]
async fn instructions_are_carried_out_or_declined() {
    let cluster = Cluster::start().await.unwrap();
    for instruction in [CHINESE, ENGLISH] {
        let done = demo(cluster.state(), instruction).await;
        assert_eq!(done["outcome"], "done", "{done}");
        assert!(done["steps_planned"].as_u64().unwrap() >= 4, "{done}");
        assert!(done["steps_done"].as_u64().unwrap() >= 4, "{done}");
        assert!(done["delivered"].as_u64() > done["sent"].as_u64(), "{done}");
        assert!(done["p50_us"].as_u64().unwrap() > 0, "{done}");
    }
    for instruction in ["给我煮一壶咖啡", "paint the hall blue", "", "  　"] {
        let declined = demo(cluster.state(), instruction).await;
        assert_eq!(declined["outcome"], "declined", "{declined}");
        assert_eq!(declined["steps_planned"], 0, "{declined}");
    }
    let (status, _folder) = cluster.stop().await.unwrap();
    assert!(status.success(), "{status}");
}

async fn carried_out_although_killed(tier: Tier) {
    let mut cluster = Cluster::start().await.unwrap();
    let state = cluster.state().to_owned();
    let running = tokio::spawn(async move { demo(&state, CHINESE).await });
    // The group of the demonstration is there and its plan is being made or carried out.
    bench::wait::metric_at_least(&cluster, Tier::Store, "im_store_entries_total", 8)
        .await
        .unwrap();
    assert!(!running.is_finished(), "the demo was over before the kill");
    cluster.kill(tier).await.unwrap();
    let done = running.await.unwrap();
    assert_eq!(done["outcome"], "done", "{done}\n{}", cluster.log());
}

#[tokio::test]
async fn a_killed_gateway_does_not_stop_the_job() {
    carried_out_although_killed(Tier::Gateway).await;
}

#[tokio::test]
async fn a_killed_logic_tier_does_not_stop_the_job() {
    carried_out_although_killed(Tier::Logic).await;
}

#[tokio::test]
async fn a_killed_router_does_not_stop_the_job() {
    carried_out_although_killed(Tier::Router).await;
}

#[tokio::test]
async fn a_killed_store_does_not_stop_the_job() {
    carried_out_although_killed(Tier::Store).await;
}

#[tokio::test]
async fn a_killed_planner_does_not_stop_the_job() {
    carried_out_although_killed(Tier::Bridge).await;
}
