//! Routes by session: epochs, and what an outage does to them.

use std::time::Duration;

use service_kit::live::InstanceId;
use service_kit::registry::Route;
use service_kit::testing::RedisServer;

use crate::support::{Process, until};

/// So long that no story waits for a route to be written again before its lease ends.
const LEASE: Duration = Duration::from_secs(6);

const ROBOT: u64 = 10;
const HERE: InstanceId = InstanceId(1);
const THERE: InstanceId = InstanceId(2);

async fn start(redis: &RedisServer) -> Process {
    Process::with_lease(&redis.url(), LEASE).await
}

async fn found(process: &Process, subject: u64) -> Vec<(u64, InstanceId, u64)> {
    let found = process
        .registry
        .routes_of(subject)
        .await
        .unwrap_or_default();
    let told = |route: &Route| (route.session, route.instance, route.epoch);
    found.iter().map(told).collect()
}

async fn found_soon(process: &Process, expected: &[(u64, InstanceId, u64)]) {
    until(&format!("{expected:?}"), async || {
        let mut found = found(process, ROBOT).await;
        found.sort_unstable();
        found == expected
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_leads_to_its_sessions_until_they_end() {
    let redis = RedisServer::start(&[]);
    let (here, there) = (start(&redis).await, start(&redis).await);
    let routes_here = here.registry.routes(HERE);
    let routes_there = there.registry.routes(THERE);
    routes_here.keep(ROBOT, 100, 1);
    routes_there.keep(ROBOT, 200, 1);
    routes_there.keep(ROBOT + 1, 300, 1);
    found_soon(&there, &[(100, HERE, 1), (200, THERE, 1)]).await;
    routes_here.remove(ROBOT, 100, 1);
    found_soon(&there, &[(200, THERE, 1)]).await;
    // The last word of a process that drains is written too.
    routes_there.remove(ROBOT, 200, 1);
    there.end().await;
    assert_eq!(found(&here, ROBOT).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_epoch_neither_takes_a_session_nor_ends_it() {
    let redis = RedisServer::start(&[]);
    let (here, there) = (start(&redis).await, start(&redis).await);
    let (old, new) = (here.registry.routes(HERE), there.registry.routes(THERE));
    // Epochs that a script's numbers would take for the same.
    let (low, high) = (u64::MAX - 1, u64::MAX);
    old.keep(ROBOT, 100, low);
    found_soon(&here, &[(100, HERE, low)]).await;
    new.keep(ROBOT, 100, high);
    found_soon(&here, &[(100, THERE, high)]).await;
    // What is written after it shows that it was tried.
    old.keep(ROBOT, 100, low);
    old.keep(ROBOT, 101, 1);
    found_soon(&here, &[(100, THERE, high), (101, HERE, 1)]).await;
    old.remove(ROBOT, 100, low);
    old.remove(ROBOT, 101, 1);
    found_soon(&here, &[(100, THERE, high)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_away_is_told_everything_again() {
    let mut redis = RedisServer::start(&[]);
    let process = start(&redis).await;
    let routes = process.registry.routes(HERE);
    routes.keep(ROBOT, 100, 1);
    found_soon(&process, &[(100, HERE, 1)]).await;
    redis.kill();
    routes.keep(ROBOT, 200, 1);
    redis.restart_empty();
    found_soon(&process, &[(100, HERE, 1), (200, HERE, 1)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_nobody_saw_shows_in_the_announcements() {
    let mut redis = RedisServer::start(&[]);
    let process = start(&redis).await;
    process.announce("gateway", HERE.0);
    let routes = process.registry.routes(HERE);
    routes.keep(ROBOT, 100, 1);
    found_soon(&process, &[(100, HERE, 1)]).await;
    // The route itself would be written again only before its lease ends.
    assert_eq!(redis.command(&["flushall"]).trim(), "OK");
    found_soon(&process, &[(100, HERE, 1)]).await;
    redis.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_routes_are_written_in_batches() {
    let redis = RedisServer::start(&["appendonly no"]);
    let process = start(&redis).await;
    let routes = process.registry.routes(HERE);
    for subject in 0..5_000 {
        routes.keep(subject, subject, 1);
    }
    until("all routes", async || {
        redis.command(&["dbsize"]).trim() == "5000"
    })
    .await;
}
