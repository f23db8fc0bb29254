//! Leases of node numbers: one holder each, and ids that never come again.

use service_kit::clock;
use service_kit::registry::NodeError;
use service_kit::snowflake::{NODE_MAX, SnowflakeError};
use service_kit::testing::RedisServer;
use tokio::time::timeout;

use crate::support::{LEASE, Process, SOON, Thread};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_holder_is_refused_at_start() {
    let redis = RedisServer::start(&[]);
    let first = Process::start(&redis.url()).await;
    let second = Process::start(&redis.url()).await;
    let lease = first.registry.lease_node(Some(5)).await.unwrap();
    assert_eq!(lease.node(), 5);
    let error = second.registry.lease_node(Some(5)).await.unwrap_err();
    assert!(matches!(error, NodeError::Held { node: 5 }), "{error}");
    let error = second
        .registry
        .lease_node(Some(NODE_MAX + 1))
        .await
        .unwrap_err();
    assert!(matches!(error, NodeError::OutOfRange { .. }), "{error}");
    // Who wants any gets another, with a higher epoch.
    let other = second.registry.lease_node(None).await.unwrap();
    assert_ne!(other.node(), 5);
    assert!(other.epoch() > lease.epoch());
    lease.snowflakes().next_id().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_drain_the_node_is_free_at_once_and_goes_on_after_its_last_id() {
    let redis = RedisServer::start(&[]);
    let first = Process::start(&redis.url()).await;
    let lease = first.registry.lease_node(Some(5)).await.unwrap();
    let last = lease.snowflakes().next_id().await.unwrap();
    first.end().await;
    let ended = lease.snowflakes().next_id().await;
    assert_eq!(ended, Err(SnowflakeError::NodeLost));

    let second = Process::start(&redis.url()).await;
    let next = second.registry.lease_node(Some(5));
    let next = timeout(LEASE, next).await.unwrap().unwrap();
    assert!(next.epoch() > lease.epoch());
    assert!(next.snowflakes().next_id().await.unwrap() > last);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_of_a_killed_process_is_free_when_its_lease_ends() {
    let redis = RedisServer::start(&[]);
    let (thread, url) = (Thread::new(), redis.url());
    let running = thread.run(async move {
        let process = Process::start(&url).await;
        process.registry.lease_node(Some(5)).await.unwrap()
    });
    let killed = running.await;
    let last = killed.snowflakes().next_id().await.unwrap();
    drop(thread);
    let process = Process::start(&redis.url()).await;
    let lease = process.registry.lease_node(Some(5)).await.unwrap();
    // The killed one may have used the milliseconds until its lease ended.
    assert!(lease.snowflakes().last_ms() >= killed.snowflakes().last_ms());
    assert!(lease.snowflakes().next_id().await.unwrap() > last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_outlives_an_outage_and_a_loss_of_the_data() {
    let mut redis = RedisServer::start(&[]);
    let first = Process::start(&redis.url()).await;
    let lease = first.registry.lease_node(Some(5)).await.unwrap();
    redis.kill();
    let last = lease.snowflakes().next_id().await.unwrap();
    redis.restart_empty();
    let second = Process::start(&redis.url()).await;
    let error = second.registry.lease_node(Some(5)).await.unwrap_err();
    assert!(matches!(error, NodeError::Held { node: 5 }), "{error}");
    assert!(lease.snowflakes().next_id().await.unwrap() > last);
    let next = second.registry.lease_node(Some(6)).await.unwrap();
    assert!(next.epoch() > lease.epoch(), "epochs rise across a loss");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_while_another_took_the_node_stops() {
    let redis = RedisServer::start(&[]);
    let (thread, url) = (Thread::new(), redis.url());
    let running = thread.run(async move {
        let process = Process::start(&url).await;
        let lease = process.registry.lease_node(Some(5)).await.unwrap();
        (process, lease)
    });
    let (_process, old) = running.await;
    let stopped = thread.stop();
    let process = Process::start(&redis.url()).await;
    let new = process.registry.lease_node(Some(5)).await.unwrap();
    drop(stopped);
    timeout(SOON, old.lost()).await.unwrap();
    let refused = old.snowflakes().next_id().await;
    assert_eq!(refused, Err(SnowflakeError::NodeLost));
    new.snowflakes().next_id().await.unwrap();
}

/// The clock of the holder before stood a minute ahead, and was set right with the restart.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_with_the_clock_set_back_no_id_comes_again() {
    let redis = RedisServer::start(&[]);
    let used_ms = clock::unix_ms() + 60_000;
    let (nodes, before) = ("im:snowflake:nodes", format!("1 abc 1 {used_ms}"));
    let written = redis.command(&["hset", nodes, "born", "1", "0", &before]);
    assert_eq!(written.trim(), "2");
    let process = Process::start(&redis.url()).await;
    let lease = process.registry.lease_node(Some(0)).await.unwrap();
    let error = lease.snowflakes().next_id().await.unwrap_err();
    let SnowflakeError::ClockWentBack { behind_ms } = error else {
        panic!("{error}");
    };
    assert!((50_000..=60_000).contains(&behind_ms), "{behind_ms}");
    // Who wants any is spared that.
    process.end().await;
    let process = Process::start(&redis.url()).await;
    let lease = process.registry.lease_node(None).await.unwrap();
    assert_eq!(lease.node(), 1);
    lease.snowflakes().next_id().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_waits_for_no_redis() {
    let mut redis = RedisServer::start(&[]);
    redis.kill();
    let process = Process::start(&redis.url()).await;
    let registry = process.registry.clone();
    let waiting = tokio::spawn(async move { registry.lease_node(None).await });
    process.end().await;
    let error = timeout(SOON, waiting).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, NodeError::Draining), "{error}");
}
