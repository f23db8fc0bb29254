//! The registry against real Redis servers: leases of processes, and what an outage does to them.
//!
//! Not here: the pure parts, which are tested beside their code.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cluster;
mod nodes;
mod routes;
mod sentinel;
mod support;

use service_kit::config::ConfigError;
use service_kit::drain::Drain;
use service_kit::exit;
use service_kit::registry::{Registry, RegistryError};
use service_kit::testing::{Authority, RedisServer, free_port};

use self::support::{LEASE, Process, Thread, config, live_soon, live_throughout};

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_live_from_its_announcement_to_its_drain() {
    let redis = RedisServer::start(&[]);
    let first = Process::start(&redis.url()).await;
    let second = Process::start(&redis.url()).await;
    let mut seen = first.registry.watch("store");
    assert!(seen.borrow().is_empty());
    first.announce("store", 1);
    second.announce("store", 2);
    second.announce("other", 3);
    live_soon(&mut seen, &[1, 2]).await;
    assert_eq!(seen.borrow().iter().next().unwrap().address, "127.0.0.1:1");
    second.end().await;
    live_soon(&mut seen, &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_goes_when_its_lease_ends() {
    let redis = RedisServer::start(&[]);
    let (watcher, thread, url) = (
        Process::start(&redis.url()).await,
        Thread::new(),
        redis.url(),
    );
    let mut seen = watcher.registry.watch("store");
    let running = thread.run(async move {
        let process = Process::start(&url).await;
        process.announce("store", 1);
        process
    });
    let process = running.await;
    live_soon(&mut seen, &[1]).await;
    drop(thread);
    drop(process);
    live_throughout(&mut seen, &[1], LEASE / 3).await;
    live_soon(&mut seen, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_the_live_set_is_frozen() {
    let mut redis = RedisServer::start(&[]);
    let (watcher, thread, url) = (
        Process::start(&redis.url()).await,
        Thread::new(),
        redis.url(),
    );
    let mut seen = watcher.registry.watch("store");
    watcher.announce("store", 1);
    let running = thread.run(async move {
        let process = Process::start(&url).await;
        process.announce("store", 2);
        process
    });
    let process = running.await;
    live_soon(&mut seen, &[1, 2]).await;

    redis.kill();
    drop(thread);
    drop(process);
    live_throughout(&mut seen, &[1, 2], LEASE * 2).await;
    redis.restart();
    // Both leases are over by now. 1 announces itself again; 2 has one lease to do so.
    live_throughout(&mut seen, &[1, 2], LEASE / 2).await;
    live_soon(&mut seen, &[1]).await;
    live_throughout(&mut seen, &[1], LEASE * 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_says_nothing_is_away_too() {
    let redis = RedisServer::start(&[]);
    let process = Process::start(&redis.url()).await;
    let mut seen = process.registry.watch("store");
    process.announce("store", 1);
    live_soon(&mut seen, &[1]).await;
    redis.pause();
    live_throughout(&mut seen, &[1], LEASE * 3).await;
    redis.resume();
    live_throughout(&mut seen, &[1], LEASE * 2).await;
    process.announce("store", 2);
    live_soon(&mut seen, &[1, 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_lost_its_data_takes_nobody_from_the_live() {
    let mut redis = RedisServer::start(&[]);
    let process = Process::start(&redis.url()).await;
    let mut seen = process.registry.watch("store");
    for id in [1, 2, 3] {
        process.announce("store", id);
    }
    live_soon(&mut seen, &[1, 2, 3]).await;
    for _ in 0..3 {
        redis.restart_empty();
        live_throughout(&mut seen, &[1, 2, 3], LEASE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_starts_without_redis_and_joins_when_it_is_there() {
    let mut redis = RedisServer::start(&[]);
    redis.kill();
    let process = Process::start(&redis.url()).await;
    let mut seen = process.registry.watch("store");
    process.announce("store", 1);
    live_throughout(&mut seen, &[], LEASE).await;
    redis.restart();
    live_soon(&mut seen, &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_password_opens() {
    let redis = RedisServer::start(&["requirepass right"]);
    let address = format!("127.0.0.1:{}", redis.port());
    for who in ["", ":wrong@", "nobody:right@"] {
        let config = config(&format!("redis://{who}{address}"));
        let error = Registry::open(&config, &Drain::new()).await.unwrap_err();
        assert!(matches!(error, RegistryError::Refused(_)), "{who}: {error}");
    }
    let process = Process::start(&format!("redis://:right@{address}")).await;
    let mut seen = process.registry.watch("store");
    process.announce("store", 1);
    live_soon(&mut seen, &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_the_right_authority_is_believed() {
    let (authority, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let server = authority.files(folder.path(), "127.0.0.1");
    let port = free_port();
    let redis = RedisServer::start(&[
        &format!("tls-port {port}"),
        &format!("tls-cert-file {}", server.certificate.display()),
        &format!("tls-key-file {}", server.key.display()),
        "tls-auth-clients no",
    ]);
    let mut config = config(&format!("rediss://127.0.0.1:{port}"));
    config.ca = other.files(folder.path(), "other").ca;
    let drain = Drain::new();
    let registry = Registry::open(&config, &drain).await.unwrap();
    let error = registry.routes_of(1).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");

    config.ca = server.ca;
    let registry = Registry::open(&config, &drain).await.unwrap();
    assert_eq!(registry.routes_of(1).await.unwrap(), []);
    drop(redis);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_section_that_cannot_be_used_is_an_error_of_the_configuration() {
    let mut short = config("redis://127.0.0.1:1");
    short.lease_ms = 1;
    let mut no_ca = config("rediss://127.0.0.1:1");
    no_ca.ca = "/nowhere".into();
    let urls = [
        "",
        "redis",
        "http://h:1",
        "redis+tower://h:1",
        "redis://h:port",
    ];
    let urls = urls
        .into_iter()
        .chain(["redis+sentinel://h:1", "redis+cluster://"]);
    for config in urls.map(config).chain([short, no_ca]) {
        let error = Registry::open(&config, &Drain::new()).await.unwrap_err();
        let RegistryError::Config(cause @ ConfigError::Value(_)) = &error else {
            panic!("{config:?}: {error}");
        };
        assert!(cause.to_string().starts_with("cluster."), "{cause}");
        assert_eq!(exit::code(&error.into()), exit::EXIT_USAGE);
    }
}
