//! A client that was away for long reads what it lacks a page at a time, and nobody on the way holds
//! more than a few of them: measured in the memory of each process.

use std::collections::VecDeque;
use std::{fs, io};

use bench::cluster::Cluster;
use client_sdk::{Client, Outgoing, SendHandle};

use crate::history::{delivered, take_up_to};
use crate::people::{Group, text};

/// Bytes of the messages that are caught up with, many times what may be held.
const MESSAGE_BYTES: usize = 600;
const MESSAGES: u64 = 100_000;

/// How much any process may grow by while somebody catches up, in bytes.
const GROWTH_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[tokio::test]
async fn who_was_away_for_100_000_messages_catches_up_in_bounded_memory() {
    let cluster = Cluster::start().await.unwrap();
    let group = Group::make(&cluster).await;
    let (at, ana) = (group.conversation, &group.ana.client);
    group.bo.client.close().await;
    let words = "x".repeat(MESSAGE_BYTES);
    let mut sends = VecDeque::<SendHandle>::new();
    let mut head = 0;
    for _ in 0..MESSAGES {
        if sends.len() >= 1024 {
            head = sends.pop_front().unwrap().await.unwrap().sequence.0;
        }
        sends.push_back(ana.send_nowait(Outgoing::new(at, text(&words[..]))));
    }
    for send in sends {
        head = send.await.unwrap().sequence.0;
    }
    ana.close().await;
    // Fresh processes: what they hold then, they hold because somebody catches up.
    let (_, folder) = cluster.stop().await.unwrap();
    let cluster = Cluster::start_in(folder, 1).await.unwrap();
    let tiers = cluster.run_file().unwrap().tiers;
    let mut peaks: Vec<_> = tiers
        .iter()
        .map(|process| (process.tier.binary(), Peak::from_now(process.pid)))
        .collect();
    peaks.push((
        "the client",
        Peak::from_now(std::process::id().cast_signed()),
    ));

    let (bo, mut events) = Client::connect(cluster.operator("bo").unwrap())
        .await
        .unwrap();
    // An application that takes nothing: the client stops asking once its queue is full.
    let (full, page) = (1024, 512);
    while bo.stats().delivered < full {
        bo.conversations().await.unwrap();
    }
    for _ in 0..100 {
        bo.conversations().await.unwrap();
        assert!(bo.stats().delivered < full + page, "{:?}", bo.stats());
    }
    let before = delivered(&bo, at).await;
    let (gone, messages) = take_up_to(&mut events, at, head).await;
    assert_eq!((gone.len(), messages), (0, head - before));
    for (name, peak) in peaks {
        let growth = peak.growth_bytes().unwrap();
        println!("{name} grew by {} KiB", growth / 1024);
        assert!(growth < GROWTH_BYTES_MAX, "{name} grew by {growth} bytes");
    }
    cluster.stop().await.unwrap();
}

/// What a process has at most from a moment on, beyond what it had then.
struct Peak {
    pid: i32,
    before: u64,
}

impl Peak {
    /// The kernel's record of the most is set back to what it is now.
    fn from_now(pid: i32) -> Self {
        fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        let before = memory(pid, "VmRSS:").unwrap();
        Self { pid, before }
    }

    fn growth_bytes(&self) -> io::Result<u64> {
        Ok(memory(self.pid, "VmHWM:")?.saturating_sub(self.before))
    }
}

fn memory(pid: i32, field: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(field));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    let kilobytes = kilobytes.ok_or(io::ErrorKind::InvalidData)?;
    Ok(kilobytes * 1024)
}
