//! A fail-over by Sentinels.

use std::time::Duration;

use service_kit::live::InstanceId;
use service_kit::testing::RedisSentinels;
use tokio::time::Instant;

use crate::support::{LEASE, Process, ids, live_soon, live_throughout, until};

/// From the master's death until the registry works again, with Sentinels that wait for half a
/// second, on a busy machine.
const FAIL_OVER_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_fail_over_takes_nobody_from_the_live_and_the_registry_goes_on() {
    let mut redis = RedisSentinels::start();
    let process = Process::start(&redis.url()).await;
    let mut seen = process.registry.watch("store");
    let node = process.registry.lease_node(Some(7)).await.unwrap();
    let routes = process.registry.routes(InstanceId(1));
    process.announce("store", 1);
    process.announce("store", 2);
    routes.keep(10, 100, 1);
    live_soon(&mut seen, &[1, 2]).await;

    // The Sentinel that is asked first says nothing; two of three are enough.
    redis.sentinels[0].pause();
    let from = Instant::now();
    redis.master.kill();
    process.announce("store", 3);
    assert_eq!(ids(&seen.borrow()), [1, 2], "frozen");
    live_soon(&mut seen, &[1, 2, 3]).await;
    let took = from.elapsed();
    println!("the registry worked again after {took:?}");
    assert!(took < FAIL_OVER_MAX, "{took:?}");
    assert!(redis.replica.command(&["role"]).starts_with("master"));
    until("the route", async || {
        let routes = process.registry.routes_of(10).await.unwrap_or_default();
        routes.iter().any(|route| route.session == 100)
    })
    .await;
    node.snowflakes().next_id().await.unwrap();

    // The old master comes back as a replica, and nobody writes to it.
    redis.master.restart();
    live_throughout(&mut seen, &[1, 2, 3], LEASE * 2).await;
    process.announce("store", 4);
    live_soon(&mut seen, &[1, 2, 3, 4]).await;
}
