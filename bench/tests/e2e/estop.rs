//! Emergency stops through separate processes, with every tier away in turn: everybody is stopped,
//! it is stored when that is possible again, and released when somebody says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use bench::cluster::{Cluster, swarm};
use bench::wait;
use client_sdk::content::Content;
use client_sdk::estop::{Scope, Stop};
use client_sdk::{Client, ClientMessageId, ConversationId, Event, Events, StartFrom};
use deploy::tiers::{Instance, Tier};
use nix::sys::signal::Signal;
use parking_lot::Mutex;
use service_kit::testing::RedisServer;

use crate::people::{Person, text};
use crate::scenarios::run;

/// So that a client soon gives up a gateway that says nothing.
const HEARTBEAT: [(&str, &str); 1] = [("IM_GATEWAY__SESSION__HEARTBEAT_INTERVAL_MS", "1000")];

/// A robot that counts how often it was stopped, and by what.
struct Machine {
    client: Client,
    acted: Arc<Mutex<BTreeMap<ClientMessageId, usize>>>,
    told: Arc<Mutex<Vec<Event>>>,
}

impl Machine {
    async fn connect(cluster: &Cluster, name: &str) -> Self {
        let mut config = cluster.robot(name).unwrap();
        config.start_from = StartFrom::Beginning;
        let (client, events) = Client::connect(config).await.unwrap();
        let (acted, told) = (Arc::default(), Arc::default());
        tokio::spawn(listen(events, Arc::clone(&told)));
        let acts: Arc<Mutex<BTreeMap<ClientMessageId, usize>>> = Arc::clone(&acted);
        client.on_estop(move |stop: Stop| {
            *acts.lock().entry(stop.id).or_default() += 1;
            std::future::ready(())
        });
        Self {
            client,
            acted,
            told,
        }
    }

    async fn stops(&self, stop: ClientMessageId) {
        let acted = async || self.acted.lock().get(&stop).copied();
        let times = wait::until(acted).await.unwrap();
        assert_eq!(times, 1);
        assert!(self.client.is_stopped());
    }

    async fn goes_on(&self) {
        let goes = async || (!self.client.is_stopped()).then_some(());
        wait::until(goes).await.unwrap();
        assert!(self.acted.lock().values().all(|times| *times == 1));
    }
}

async fn listen(mut events: Events, told: Arc<Mutex<Vec<Event>>>) {
    while let Some(event) = events.next().await {
        told.lock().push(event);
    }
}

/// Ana and three robots in a group.
struct Hall {
    ana: Person,
    group: ConversationId,
    robots: Vec<Machine>,
}

impl Hall {
    async fn open(cluster: &Cluster) -> Self {
        let ana = Person::connect(cluster.operator("ana").unwrap()).await;
        let mut robots = Vec::new();
        for name in ["lift-1", "lift-2", "cart-1"] {
            robots.push(Machine::connect(cluster, name).await);
        }
        let ids: Vec<_> = robots
            .iter()
            .map(|robot| robot.client.account().id)
            .collect();
        let group = ana.client.create_group("停车场", &ids).await.unwrap();
        let hall = Self { ana, group, robots };
        // So that every gateway knows who is in it.
        let sent = hall.ana.client.send(group, text("开始")).await.unwrap();
        for robot in &hall.robots {
            let heard = async || {
                let told = robot.told.lock();
                let is_it = |event: &Event| matches!(event, Event::Message(message) if message.sequence == sent.sequence);
                told.iter().any(is_it).then_some(())
            };
            wait::until(heard).await.unwrap();
        }
        hall
    }

    async fn all_stop(&self, stop: ClientMessageId) {
        for robot in &self.robots {
            robot.stops(stop).await;
        }
    }

    /// Everybody has confirmed, as far as anybody knows.
    async fn all_confirm(&self, stop: ClientMessageId) {
        let robots = self.robots.len();
        let confirmed = async || {
            let known = self.ana.client.unconfirmed(stop).await.ok()?;
            let is_all = known.status.confirmed as usize == robots;
            (is_all && known.robots.is_empty()).then_some(())
        };
        wait::until(confirmed).await.unwrap();
    }

    async fn release(&self, scope: Scope, stop: ClientMessageId) {
        self.ana
            .client
            .release(scope, &[stop], "好了")
            .await
            .unwrap();
        for robot in &self.robots {
            robot.goes_on().await;
        }
    }
}

/// This process is away, frozen and then killed, while Ana stops the group.
async fn stops_without(cluster: &mut Cluster, away: Instance) {
    let hall = Hall::open(cluster).await;
    let frozen = cluster.signal_one(away, Signal::SIGSTOP).unwrap();
    let mut stop = hall.ana.client.estop(Scope::Group(hall.group), "有人");
    let id = stop.id;
    stop.sent().await.unwrap();
    hall.all_stop(id).await;
    cluster.signal_one(away, Signal::SIGKILL).unwrap();
    cluster.replaced(frozen).await.unwrap();
    cluster.ready().await.unwrap();
    stop.stored().await.unwrap();
    hall.all_confirm(id).await;
    hall.release(Scope::Group(hall.group), id).await;
}

async fn two_gateways() -> Cluster {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--gateways".to_owned(), "2".to_owned()];
    let started = Cluster::start_told(folder, &arguments, &HEARTBEAT);
    started.await.unwrap()
}

async fn two_of_each(redis: &RedisServer) -> Cluster {
    let mut arguments = vec!["--redis".to_owned(), redis.url()];
    for tiers in ["--gateways", "--logics", "--routers", "--stores"] {
        arguments.extend([tiers.to_owned(), "2".to_owned()]);
    }
    let folder = tempfile::tempdir().unwrap();
    let started = Cluster::start_told(folder, &arguments, &HEARTBEAT);
    started.await.unwrap()
}

const fn first(tier: Tier) -> Instance {
    Instance { tier, number: 0 }
}

#[tokio::test]
async fn everybody_stops_without_the_store() {
    stops_without(&mut two_gateways().await, first(Tier::Store)).await;
}

#[tokio::test]
async fn everybody_stops_without_the_logic() {
    stops_without(&mut two_gateways().await, first(Tier::Logic)).await;
}

#[tokio::test]
async fn everybody_stops_without_the_bridge() {
    stops_without(&mut two_gateways().await, first(Tier::Bridge)).await;
}

#[tokio::test]
async fn everybody_stops_without_any_one_router_or_gateway_or_without_redis() {
    let mut redis = RedisServer::start(&[]);
    let mut cluster = two_of_each(&redis).await;
    for tier in [Tier::Router, Tier::Gateway] {
        for number in 0..2 {
            stops_without(&mut cluster, Instance { tier, number }).await;
        }
    }
    let hall = Hall::open(&cluster).await;
    redis.kill();
    let stop = hall.ana.client.estop(Scope::Group(hall.group), "无Redis");
    let id = stop.id;
    hall.all_stop(id).await;
    stop.stored().await.unwrap();
    hall.all_confirm(id).await;
    hall.release(Scope::Group(hall.group), id).await;
}

/// The latch is in force for whoever comes later, before anything else, and after every tier was
/// killed; the entry in the log is not shown as another stop; a release is.
#[tokio::test]
async fn the_latch_survives_every_tier_and_ends_with_its_release() {
    let mut cluster = two_gateways().await;
    let hall = Hall::open(&cluster).await;
    let stop = hall.ana.client.estop(Scope::Fleet, "全部停止");
    let id = stop.id;
    hall.all_stop(id).await;
    stop.stored().await.unwrap();
    for tier in [Tier::Store, Tier::Logic, Tier::Router, Tier::Gateway] {
        cluster.kill(tier).await.unwrap();
    }
    cluster
        .kill_one(Instance {
            tier: Tier::Gateway,
            number: 1,
        })
        .await
        .unwrap();
    let late = Machine::connect(&cluster, "late-1").await;
    assert!(late.client.is_stopped(), "before anything else");
    late.stops(id).await;
    let first = wait::until(async || late.told.lock().first().cloned());
    let first = first.await.unwrap();
    assert!(matches!(first, Event::EmergencyStop(stop) if stop.id == id));
    for robot in &hall.robots {
        robot.stops(id).await;
    }
    // Another operator may release it.
    let bo = Person::connect(cluster.operator("bo").unwrap()).await;
    bo.client.release(Scope::Fleet, &[id], "").await.unwrap();
    late.goes_on().await;
    for robot in &hall.robots {
        robot.goes_on().await;
    }
    let fresh = Machine::connect(&cluster, "fresh-1").await;
    assert!(!fresh.client.is_stopped());
    let own = bo.client.pair_with(bo.client.account().id);
    let audit = bo
        .client
        .pull(own, client_sdk::SequenceNumber::ZERO, 0)
        .await;
    let audit = audit.unwrap().entries.pop().unwrap().content;
    assert!(matches!(audit, Some(Content::EstopRelease(_))));
}

/// A stop that nobody could store, whose sender is gone, outlives its gateway.
#[tokio::test]
async fn a_stop_that_is_not_stored_outlives_its_gateway_and_its_sender() {
    let mut cluster = Cluster::start_in(tempfile::tempdir().unwrap(), 1)
        .await
        .unwrap();
    let hall = Hall::open(&cluster).await;
    let store = cluster.signal(Tier::Store, Signal::SIGSTOP).unwrap();
    let mut stop = hall.ana.client.estop(Scope::Group(hall.group), "有人");
    let id = stop.id;
    stop.sent().await.unwrap();
    hall.all_stop(id).await;
    // Without an ack: the sender is gone before the store is back.
    drop(stop);
    let kept = cluster.state().join("data").join("im-gateway.estops");
    wait::until(async || std::fs::read(&kept).ok().filter(|bytes| !bytes.is_empty()))
        .await
        .unwrap();
    let gateway = cluster.signal(Tier::Gateway, Signal::SIGKILL).unwrap();
    hall.ana.client.close().await;
    cluster.replaced(gateway).await.unwrap();
    cluster.signal(Tier::Store, Signal::SIGKILL).unwrap();
    cluster.replaced(store).await.unwrap();
    cluster.ready().await.unwrap();
    let late = Machine::connect(&cluster, "lift-3").await;
    let bo = Person::connect(cluster.operator("bo").unwrap()).await;
    let stored = async || {
        let stops = bo.client.estops().await.ok()?;
        stops
            .iter()
            .find(|of| of.stop.id == id && of.stop.stored)
            .cloned()
    };
    wait::until(stored).await.unwrap();
    assert!(!late.client.is_stopped(), "it is not in the group");
    hall.all_stop(id).await;
}

async fn said(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = swarm()
        .unwrap()
        .arg("estop")
        .args(arguments)
        .args(["--as", "ana", "--state"])
        .arg(cluster.state())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let complained = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}{complained}");
    said + &complained
}

#[tokio::test]
async fn an_operator_stops_and_releases_from_the_command_line() {
    let cluster = Cluster::start_in(tempfile::tempdir().unwrap(), 1)
        .await
        .unwrap();
    let hall = Hall::open(&cluster).await;
    let stopped = said(&cluster, &["--group", "停车场", "--reason", "有人"]).await;
    assert!(stopped.contains("not a safety-rated one"), "{stopped}");
    assert!(
        stopped.contains("sent, not yet stored") && stopped.contains(" stored"),
        "{stopped}"
    );
    assert!(
        stopped.contains("3 of 3 robots told have confirmed"),
        "{stopped}"
    );
    let id = stopped.split(' ').next().unwrap().to_owned();
    hall.all_stop(id.parse().unwrap()).await;

    hall.robots[0].client.close().await;
    let another = said(&cluster, &["--fleet", "--wait", "3"]).await;
    assert!(another.contains("lift-1  not connected"), "{another}");
    let listed = said(&cluster, &["status"]).await;
    assert!(
        listed.contains(&id) && listed.contains("the fleet by"),
        "{listed}"
    );
    let second = another.split(' ').next().unwrap();
    said(&cluster, &["release", &id, second]).await;
    let listed = said(&cluster, &["status"]).await;
    assert!(listed.contains("no emergency stop is in force"), "{listed}");
    for robot in &hall.robots[1..] {
        robot.goes_on().await;
    }
}

#[tokio::test]
async fn the_bench_stops_a_fleet_under_load_and_misses_nobody() {
    let arguments = [
        "estop",
        "--robots",
        "60",
        "--stops",
        "3",
        "--gateways",
        "2",
        "--pause-ms",
        "200",
    ];
    let ran = run(&arguments).await;
    assert_eq!(ran.code(), 0, "{}", ran.said());
    for (key, count) in [("robots", 60.0), ("stops", 3.0), ("missed", 0.0)] {
        assert_eq!(ran.count(key), count, "{key}: {}", ran.json);
    }
    assert!(ran.count("p50_us") <= ran.count("p999_us"), "{}", ran.json);
}
