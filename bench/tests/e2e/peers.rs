//! `im-bench peers`: what it prints and writes, and that nothing of ours is lost. Not how fast.

use std::path::PathBuf;
use std::process::Output;

use bench::cluster;
use serde_json::Value;
use tokio::process::Command;

/// The keys of every row.
const KEYS: [&str; 13] = [
    "system",
    "settings",
    "scenario",
    "durable",
    "members",
    "window",
    "sent_per_s",
    "acked_per_s",
    "deliveries_per_s",
    "p50_us",
    "p99_us",
    "ratio_to_limit",
    "lost",
];

async fn compare(arguments: &[&str]) -> (Output, Option<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let json: PathBuf = folder.path().join("rows.json");
    let im_bench = cluster::binaries().unwrap().join("im-bench");
    let output = Command::new(im_bench)
        .arg("peers")
        .args(arguments)
        .arg("--json")
        .arg(&json)
        .output()
        .await
        .unwrap();
    let rows = std::fs::read(json).ok();
    let rows = rows.map(|rows| serde_json::from_slice(&rows).unwrap());
    (output, rows)
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap()
}

#[tokio::test]
async fn peers_are_compared_in_one_run_and_nothing_of_ours_is_lost() {
    let arguments = "--systems ours,nats --members 20 --seconds 1 --rounds 2 --window 1,4 \
                     --rate 2000";
    let arguments: Vec<_> = arguments.split_whitespace().collect();
    let (output, rows) = compare(&arguments).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let rows = rows.unwrap();
    let rows = rows.as_array().unwrap();
    // Three systems; fanout with two windows and a rate, groups with two windows, and idle.
    assert_eq!(rows.len(), 3 * (3 + 2 + 1), "{rows:?}");
    for row in rows {
        for key in KEYS {
            assert!(row.get(key).is_some(), "no {key}: {row}");
        }
        if row["scenario"] == "idle" {
            assert!(row["bytes_per_session"].is_number(), "{row}");
            continue;
        }
        let members = number(row, "members");
        assert!(number(row, "deliveries_per_s") > 0.0, "{row}");
        assert!(number(row, "p99_us") >= number(row, "p50_us"), "{row}");
        assert!(members == 20.0 || members == 10.0, "{row}");
        let is_ours = row["system"] == "ours";
        assert_eq!(row["durable"], is_ours, "{row}");
        if is_ours {
            assert_eq!(row["lost"], 0, "{row}");
            assert!(number(row, "acked_per_s") > 0.0, "{row}");
        }
        if row["system"] == "limit" {
            assert_eq!(row["ratio_to_limit"], 1.0, "{row}");
        }
    }
    let table = String::from_utf8_lossy(&output.stdout);
    for word in [
        "fanout", "groups", "idle", "limit", "ours", "nats", "2000/s",
    ] {
        assert!(table.contains(word), "no {word} in:\n{table}");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_starts() {
    for (arguments, why) in [
        (&["--payload", "4"][..], "--payload"),
        (&["--members", "5"], "--members"),
        (&["--window", "0"], "--window"),
        (&["--rate", "10"], "--rate"),
        (&["--systems", "kafka"], "--systems"),
    ] {
        let (output, rows) = compare(arguments).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && rows.is_none(), "{arguments:?}");
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
}
