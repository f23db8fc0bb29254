//! A Redis Cluster of three masters.

use service_kit::live::InstanceId;
use service_kit::testing::RedisCluster;

use crate::support::{LEASE, Process, live_soon, live_throughout, until};

const SUBJECTS: u64 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_spread_over_the_masters_and_outlives_the_loss_of_one() {
    let mut redis = RedisCluster::start();
    let process = Process::start(&redis.url()).await;
    let services = ["gateway", "logic", "router", "store"];
    let mut seen = services.map(|service| process.registry.watch(service));
    for service in services {
        process.announce(service, 1);
        process.announce(service, 2);
    }
    let routes = process.registry.routes(InstanceId(1));
    for subject in 0..SUBJECTS {
        routes.keep(subject, subject + 1000, 1);
    }
    let node = process.registry.lease_node(None).await.unwrap();
    assert_eq!(node.node(), 0);
    for seen in &mut seen {
        live_soon(seen, &[1, 2]).await;
    }
    all_routes(&process).await;
    for server in &redis.servers {
        let keys: u64 = server.command(&["dbsize"]).trim().parse().unwrap();
        assert!(keys > 5, "{keys} keys on one of three masters");
    }

    // Without a replica the cluster answers nothing any more, until the master is back.
    redis.servers[1].kill();
    for seen in &mut seen {
        live_throughout(seen, &[1, 2], LEASE).await;
    }
    redis.servers[1].restart();
    for (service, seen) in services.iter().zip(&mut seen) {
        process.announce(service, 3);
        live_soon(seen, &[1, 2, 3]).await;
    }
    all_routes(&process).await;
    node.snowflakes().next_id().await.unwrap();
}

/// A master that comes back empty has lost its part of the routes; they are written again.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_lost_its_data_gets_it_again() {
    let mut redis = RedisCluster::start();
    let process = Process::start(&redis.url()).await;
    let routes = process.registry.routes(InstanceId(1));
    for subject in 0..SUBJECTS {
        routes.keep(subject, subject + 1000, 1);
    }
    all_routes(&process).await;
    redis.servers[2].restart_empty();
    all_routes(&process).await;
}

async fn all_routes(process: &Process) {
    for subject in 0..SUBJECTS {
        until("a route", async || {
            let found = process
                .registry
                .routes_of(subject)
                .await
                .unwrap_or_default();
            matches!(found[..], [route] if route.session == subject + 1000)
        })
        .await;
    }
}
