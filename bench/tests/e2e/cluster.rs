//! Several processes of each tier that find each other through Redis: any of them may be killed, and
//! Redis too.

use bench::cluster::Cluster;
use bench::wait;
use deploy::tiers::{Instance, Tier};
use im_store::testing::MariaDb;
use nix::sys::signal::Signal;
use service_kit::config::{self, ClusterConfig};
use service_kit::drain::Drain;
use service_kit::registry::Registry;
use service_kit::testing::RedisServer;

use crate::kills::outlives;
use crate::people::{Group, Person, said, text};

/// The tiers that may have several processes.
const TIERS: [Tier; 4] = [Tier::Gateway, Tier::Logic, Tier::Router, Tier::Store];

async fn two_of_each(redis: &RedisServer, more: &[String]) -> Cluster {
    let mut arguments = vec!["--redis".to_owned(), redis.url()];
    for tiers in ["--gateways", "--logics", "--routers", "--stores"] {
        arguments.extend([tiers.to_owned(), "2".to_owned()]);
    }
    arguments.extend_from_slice(more);
    let folder = tempfile::tempdir().unwrap();
    // So that a client soon gives up a gateway that says nothing.
    let heartbeat = [("IM_GATEWAY__SESSION__HEARTBEAT_INTERVAL_MS", "1000")];
    let started = Cluster::start_told(folder, &arguments, &heartbeat);
    started.await.unwrap()
}

async fn each_may_be_killed(redis: &RedisServer, more: &[String]) {
    let mut cluster = two_of_each(redis, more).await;
    let mut group = Group::make(&cluster).await;
    for tier in TIERS {
        for number in 0..2 {
            outlives(&mut cluster, &mut group, Instance { tier, number }).await;
        }
    }
    let (status, _folder) = cluster.stop().await.unwrap();
    assert!(status.success(), "{status}");
}

/// One store owns the file and the other stands by: whichever is killed, there is one.
#[tokio::test]
async fn each_of_two_may_be_killed_on_sqlite() {
    each_may_be_killed(&RedisServer::start(&[]), &[]).await;
}

/// Both stores own conversations, which move when one of them dies.
#[tokio::test]
async fn each_of_two_may_be_killed_on_mariadb() {
    let server = MariaDb::start().await.unwrap();
    let store = ["--store".to_owned(), server.url("im")];
    each_may_be_killed(&RedisServer::start(&[]), &store).await;
}

/// A store that is paused is taken for dead, and goes on with what it believes to own. Nothing is
/// stored twice or lost, and nobody hears anything twice.
#[tokio::test]
async fn an_owner_that_was_paused_does_no_harm() {
    let server = MariaDb::start().await.unwrap();
    let redis = RedisServer::start(&[]);
    let cluster = two_of_each(&redis, &["--store".to_owned(), server.url("im")]).await;
    let mut group = Group::make(&cluster).await;
    let mut last = None;
    for number in [0, 1] {
        let (tier, paused) = (Tier::Store, Signal::SIGSTOP);
        let instance = Instance { tier, number };
        cluster.signal_one(instance, paused).unwrap();
        // Until its lease is over, what belongs to it waits; the SDK repeats it.
        for n in 0..50 {
            let sent = group
                .ana
                .client
                .send(group.conversation, text(format!("{number}-{n}")));
            last = Some(sent.await.unwrap().sequence);
        }
        cluster.signal_one(instance, Signal::SIGCONT).unwrap();
    }
    let last = last.unwrap();
    let heard = group.bo.hear_up_to(group.conversation, last).await;
    let numbers: Vec<_> = heard.iter().map(|message| message.sequence.0).collect();
    assert_eq!(numbers, (1..=last.0).collect::<Vec<_>>());
    let words: Vec<_> = heard[1..].iter().map(said).collect();
    let expected = [0, 1]
        .into_iter()
        .flat_map(|at| (0..50).map(move |n| format!("{at}-{n}")));
    assert_eq!(words, expected.collect::<Vec<_>>());
}

/// Sessions, sends and deliveries go on without Redis; when it is back without its data, everybody
/// writes again what it was, and a process that dies is missed as before.
#[tokio::test]
async fn redis_may_be_away_and_lose_everything() {
    let mut redis = RedisServer::start(&[]);
    let mut cluster = two_of_each(&redis, &[]).await;
    let mut group = Group::make(&cluster).await;
    let account = group.ana.client.account().id.0;
    let registry = registry(&cluster, &redis).await;
    let routes = has_a_route(&registry, account).await;

    redis.kill();
    let sent = group
        .ana
        .client
        .send(group.conversation, text("无Redis"))
        .await;
    let heard = group
        .bo
        .hear_up_to(group.conversation, sent.unwrap().sequence)
        .await;
    assert_eq!(said(heard.last().unwrap()), "无Redis");
    let mut cleo = Person::connect(cluster.operator("cleo").unwrap()).await;
    let pair = group.ana.client.pair_with(cleo.client.account().id);
    group.ana.client.send(pair, text("欢迎")).await.unwrap();
    assert_eq!(said(&cleo.hear_text(pair).await), "欢迎");

    redis.restart_empty();
    assert_eq!(
        has_a_route(&registry, account).await,
        routes,
        "written again"
    );
    let routers = (0..2).map(|number| Instance {
        tier: Tier::Router,
        number,
    });
    for router in routers {
        outlives(&mut cluster, &mut group, router).await;
    }
}

async fn registry(cluster: &Cluster, redis: &RedisServer) -> Registry {
    let defaults: im_router::config::Config =
        config::defaults(im_router::config::DEFAULTS).unwrap();
    let config = ClusterConfig {
        redis: redis.url().as_str().into(),
        namespace: format!("im:{}", cluster.state().display()),
        ..defaults.cluster
    };
    Registry::open(&config, &Drain::new()).await.unwrap()
}

/// The gateway and the session of somebody who has one, once they are known.
async fn has_a_route(registry: &Registry, account: u64) -> (u64, u64) {
    let route = wait::until(async || {
        let routes = registry.routes_of(account).await.unwrap_or_default();
        match routes[..] {
            [route] => Some((route.instance.0, route.session)),
            _ => None,
        }
    });
    route.await.unwrap()
}

/// A client that was told of one gateway learns of the other, and needs no more when the first is
/// stopped.
#[tokio::test]
async fn a_client_learns_of_the_other_gateway() {
    let redis = RedisServer::start(&[]);
    let cluster = two_of_each(&redis, &[]).await;
    let mut group = Group::make(&cluster).await;
    let mut config = cluster.operator("ana2").unwrap();
    config.addresses.truncate(1);
    let first = config.addresses[0].clone();
    let knows_one = Person::connect(config).await;
    let at = cluster.run_file().unwrap().addresses.clients.to_string();
    assert_eq!(first, at);
    cluster.signal(Tier::Gateway, Signal::SIGSTOP).unwrap();
    let bo = group.bo.client.account().id;
    let pair = knows_one.client.pair_with(bo);
    let sent = knows_one.client.send(pair, text("还在")).await;
    cluster.signal(Tier::Gateway, Signal::SIGCONT).unwrap();
    sent.unwrap();
    assert_eq!(said(&group.bo.hear_text(pair).await), "还在");
}

/// Without Redis several stores would not know of each other.
#[tokio::test]
async fn several_of_a_tier_need_redis() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Cluster::start_with(folder, &["--stores".into(), "2".into()]).await;
    let error = format!("{:#}", refused.unwrap_err());
    assert!(error.contains("--redis URL"), "{error}");
}
