//! The registry against real Redis servers: leases of processes, and what an outage does to them.
//!
//! Not here: the pure parts, which are tested beside their code.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use service_kit::testing::RedisServer;

use self::support::{LEASE, Process, live_within};

#[tokio::test]
async fn a_process_is_live_from_its_announcement_to_its_drain() {
    let redis = RedisServer::start(&[]);
    let (first, second) = (
        Process::start(&redis.url()).await,
        Process::start(&redis.url()).await,
    );
    let mut seen = first.registry.watch("store");
    assert!(seen.borrow().is_empty());
    first.announce("store", 1);
    second.announce("store", 2);
    second.announce("other", 3);
    live_within(&mut seen, &[1, 2], LEASE).await;
    second.end().await;
    live_within(&mut seen, &[1], LEASE).await;
}
