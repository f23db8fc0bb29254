//! Media by the SDK: a message with media is one call, and so is fetching it; both go on through
//! what happens to gateways, and a gateway's memory does not grow with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bench::cluster::{Cluster, swarm};
use bench::wait::until;
use client_sdk::{Content, MediaSource, OutgoingMedia};
use deploy::tiers::Tier;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::media::{noise, sha256};
use crate::people::Group;

const MIB: usize = 1024 * 1024;

/// What a robot's log of a day may have.
const LONG: usize = 200 * MIB;

/// What a gateway may have used at most after that; it begins with some 30.
const GATEWAY_KIB_MAX: u64 = 160 * 1024;

/// Calls this once, when so many bytes have passed.
fn once_at(bytes: u64, act: impl Fn() + Send + Sync + 'static) -> client_sdk::media::Progress {
    let left = AtomicU64::new(1);
    Arc::new(move |far, _| {
        if far >= bytes && left.swap(0, Ordering::Relaxed) == 1 {
            act();
        }
    })
}

fn pids(cluster: &Cluster) -> Vec<i32> {
    let tiers = cluster.run_file().unwrap().tiers.into_iter();
    let gateways = tiers.filter(|process| process.instance().tier == Tier::Gateway);
    gateways.map(|process| process.pid).collect()
}

/// The most memory that a process has had, in KiB.
fn most_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let words = line.unwrap().split_whitespace().nth(1);
    words.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_message_with_media_is_one_call_whatever_happens_to_gateways() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start_in(folder, 2).await.unwrap();
    let mut group = Group::make(&cluster).await;
    let conversation = group.conversation;
    let files = tempfile::tempdir().unwrap();
    let bytes = noise(40 * MIB + 5, 7);
    let from = files.path().join("现场.mp4");
    std::fs::write(&from, &bytes).unwrap();

    // Both gateways die in the middle, and are started again.
    let those = pids(&cluster);
    assert_eq!(those.len(), 2);
    let mut media = OutgoingMedia::new(MediaSource::path(&from), "左边这一箱");
    media.progress = Some(once_at(18 * MIB as u64, move || {
        for pid in &those {
            kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
        }
    }));
    let sent = group
        .ana
        .client
        .send_media_with(conversation, media)
        .await
        .unwrap();
    let heard = loop {
        let heard = group.bo.hear(conversation).await;
        if matches!(heard.content, Content::Media(_)) {
            break heard;
        }
    };
    assert_eq!(heard.sequence, sent.sequence);
    let Content::Media(said) = &heard.content else {
        panic!("{heard:?}");
    };
    assert_eq!(
        (&said.media_type[..], &said.name[..]),
        ("video/mp4", "现场.mp4")
    );
    assert_eq!(said.sha256, sha256(&bytes));

    // So do they while it is fetched.
    let those = pids(&cluster);
    let to = files.path().join("fetched.mp4");
    let cut = once_at(13 * MIB as u64, move || {
        for pid in &those {
            kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
        }
    });
    let at = (conversation, heard.sequence);
    let fetched = group
        .bo
        .client
        .fetch_media_of(at, &to, Some(cut))
        .await
        .unwrap();
    assert_eq!(fetched, bytes.len() as u64);
    assert!(std::fs::read(&to).unwrap() == bytes, "other bytes came");
    assert!(!files.path().join("fetched.mp4.part").exists());
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_long_media_is_not_in_the_memory_of_a_gateway() {
    let cluster = Cluster::start().await.unwrap();
    let group = Group::make(&cluster).await;
    let files = tempfile::tempdir().unwrap();
    let (from, to) = (files.path().join("day.log"), files.path().join("again.log"));
    std::fs::write(&from, noise(LONG, 9)).unwrap();
    let mut send = swarm().unwrap();
    let state = cluster.state().to_owned();
    send.args([
        "media",
        "send",
        &group.conversation.to_string(),
        "--json",
        "--as",
        "ana",
    ]);
    send.arg(&from).arg("--state").arg(&state);
    let output = send.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let sequence = client_sdk::SequenceNumber(said["sequence"].as_u64().unwrap());
    let at = (group.conversation, sequence);
    group.bo.client.fetch_media_of(at, &to, None).await.unwrap();
    let [gateway] = pids(&cluster)[..] else {
        panic!("one gateway");
    };
    let most = most_kib(gateway);
    assert!(most < GATEWAY_KIB_MAX, "{most} KiB");
    println!("the gateway had {most} KiB at most");
    let listed = until(async || {
        let mut list = swarm().unwrap();
        list.args([
            "media",
            "list",
            &group.conversation.to_string(),
            "--json",
            "--as",
            "bo",
        ]);
        let output = list.arg("--state").arg(&state).output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
        (listed[0]["name"] == "day.log").then_some(listed)
    });
    assert_eq!(listed.await.unwrap()[0]["bytes"], LONG);
    cluster.stop().await.unwrap();
}
