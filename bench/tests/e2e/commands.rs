//! Commands with outcomes: every kind of outcome, cancelling, epochs, deadlines, and what is killed
//! half-way.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bench::cluster::Cluster;
use client_sdk::protocol::command as states;
use client_sdk::{
    AccountId, Client, CommandKey, CommandWatch, ConversationId, Epoch, ErrorCode, Events,
    NewCommand, Order, OrderLedger, OutcomeState, Targets, new_message_id,
};
use deploy::tiers::Tier;

use crate::people::{Person, WAIT};

/// Time enough for whatever is not about time.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A robot that does what the arguments of its orders say, and counts what it begins.
pub(crate) struct Robot {
    pub(crate) client: Client,
    _events: Events,
    begun: Arc<AtomicUsize>,
    working: tokio::task::JoinHandle<()>,
}

impl Robot {
    async fn start(cluster: &Cluster, name: &str, ledger: OrderLedger) -> Self {
        let (client, events) = Client::connect(cluster.robot(name).unwrap()).await.unwrap();
        let begun = Arc::new(AtomicUsize::new(0));
        let (counted, takes) = (Arc::clone(&begun), client.clone());
        let working = tokio::spawn(async move {
            let work = move |order: Order, _| obey(order, Arc::clone(&counted));
            takes.on_command(ledger, 4, work).await;
        });
        Self {
            client,
            _events: events,
            begun,
            working,
        }
    }

    pub(crate) fn id(&self) -> AccountId {
        self.client.account().id
    }

    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Ends as a process that is killed would: nothing more is said.
    async fn stop(self) {
        self.client.close().await;
        self.working.abort();
    }
}

async fn obey(mut order: Order, begun: Arc<AtomicUsize>) {
    let action = order.action().to_owned();
    if action == "拒绝" {
        order.reject("没有这个动作").await.unwrap();
        return;
    }
    if action == "wait" {
        // Never accepted.
        order.until_cancelled().await;
        return;
    }
    if order.accept().await.is_err() {
        return;
    }
    begun.fetch_add(1, Ordering::SeqCst);
    match &action[..] {
        "fail" => drop(order.fail("没电了").await),
        "run" => {
            order.running(40);
            order.until_cancelled().await;
            drop(order.cancelled("stopped where it was").await);
        }
        "hang" => {
            order.running(10);
            std::future::pending::<()>().await;
        }
        _ => drop(order.finish("{\"ok\":true}").await),
    }
}

/// Ana, and robots in a group with her.
pub(crate) struct Fleet {
    pub(crate) cluster: Cluster,
    pub(crate) ana: Person,
    pub(crate) group: ConversationId,
}

impl Fleet {
    pub(crate) async fn with(robots: &[&str]) -> Self {
        Self::on(Cluster::start().await.unwrap(), robots).await
    }

    async fn on(cluster: Cluster, robots: &[&str]) -> Self {
        let ana = Person::connect(cluster.operator("ana").unwrap()).await;
        let mut members = Vec::new();
        for robot in robots {
            // An account is made when it first connects.
            let first = Person::connect(cluster.robot(robot).unwrap()).await;
            members.push(first.client.account().id);
            first.client.close().await;
        }
        let group = ana.client.create_group("仓库", &members).await.unwrap();
        Self {
            cluster,
            ana,
            group,
        }
    }

    pub(crate) async fn send(&self, action: &str, within: Duration) -> CommandWatch {
        let command = NewCommand::new(Targets::Group(self.group), action, within);
        self.ana.client.send_command(command).await.unwrap()
    }

    pub(crate) async fn robot(&self, name: &str) -> Robot {
        Robot::start(&self.cluster, name, OrderLedger::in_memory()).await
    }

    pub(crate) async fn stop(self) {
        let (status, _folder) = self.cluster.stop().await.unwrap();
        assert!(status.success(), "{status}");
    }
}

pub(crate) async fn in_time<T>(what: &str, done: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(WAIT, done).await;
    done.unwrap_or_else(|_| panic!("{what} takes too long"))
}

/// Waits until the command is in this state at this robot.
async fn reaches(watch: &mut CommandWatch, robot: AccountId, state: OutcomeState) {
    in_time("an outcome", async {
        while watch.outcomes().get(&robot).map(|outcome| outcome.state) != Some(state) {
            watch.changed().await.unwrap();
        }
    })
    .await;
}

pub(crate) async fn ends(watch: &mut CommandWatch) -> BTreeMap<AccountId, (OutcomeState, String)> {
    let ended = in_time("the command", watch.finished()).await.unwrap();
    let ended = ended.iter();
    let ended = ended.map(|(robot, outcome)| (*robot, (outcome.state, outcome.reason.clone())));
    ended.collect()
}

#[tokio::test]
async fn every_kind_of_outcome_reaches_the_sender() {
    let fleet = Fleet::with(&["r1", "r2"]).await;
    let (one, two) = (fleet.robot("r1").await, fleet.robot("r2").await);

    let mut watch = fleet.send("sweep", LONG).await;
    assert_eq!(states::total(watch.counts()), 2);
    let ended = ends(&mut watch).await;
    assert!(
        ended
            .values()
            .all(|(state, _)| *state == OutcomeState::Finished)
    );
    let done = &watch.outcomes()[&one.id()];
    assert_eq!(done.result_json, "{\"ok\":true}");

    let ended = ends(&mut fleet.send("fail", LONG).await).await;
    assert_eq!(ended[&one.id()], (OutcomeState::Failed, "没电了".into()));
    let ended = ends(&mut fleet.send("拒绝", LONG).await).await;
    let no = (OutcomeState::Rejected, "没有这个动作".into());
    assert_eq!(ended[&two.id()], no);
    assert_eq!((one.begun(), two.begun()), (2, 2));

    // Running, with its progress; then cancelled at both ends.
    let mut watch = fleet.send("run", LONG).await;
    reaches(&mut watch, one.id(), OutcomeState::Running).await;
    in_time("progress", async {
        while watch.outcomes()[&one.id()].progress_percent != 40 {
            watch.changed().await.unwrap();
        }
    })
    .await;
    let key = watch.key().clone();
    fleet
        .ana
        .client
        .cancel_command(&key, "改主意了")
        .await
        .unwrap();
    let ended = ends(&mut watch).await;
    let stopped = (OutcomeState::Cancelled, "stopped where it was".into());
    assert_eq!(ended[&one.id()], stopped);

    // Delivered, and cancelled before it was begun.
    let mut watch = fleet.send("wait", LONG).await;
    reaches(&mut watch, two.id(), OutcomeState::Delivered).await;
    let key = watch.key().clone();
    fleet
        .ana
        .client
        .cancel_command(&key, "改主意了")
        .await
        .unwrap();
    let ended = ends(&mut watch).await;
    assert_eq!(
        ended[&two.id()],
        (OutcomeState::Cancelled, "改主意了".into())
    );

    // A newer attempt takes the place of one that has not begun.
    let mut first = fleet.send("wait", LONG).await;
    reaches(&mut first, one.id(), OutcomeState::Delivered).await;
    let key = CommandKey {
        attempt: 2,
        ..first.key().clone()
    };
    let epoch = first.epoch();
    let again = NewCommand::new(Targets::Group(fleet.group), "sweep", LONG).of_plan(key, epoch);
    let mut second = fleet.ana.client.send_command(again).await.unwrap();
    let superseded = ends(&mut first).await;
    assert_eq!(superseded[&one.id()].0, OutcomeState::Superseded);
    let ended = ends(&mut second).await;
    assert_eq!(ended[&one.id()].0, OutcomeState::Finished);
    fleet.stop().await;
}

#[tokio::test]
async fn a_late_command_never_reaches_a_robot_and_one_in_time_waits_for_it() {
    let fleet = Fleet::with(&["r1", "r2"]).await;
    let one = fleet.robot("r1").await;
    let sent_at = tokio::time::Instant::now();
    let mut late = fleet.send("sweep", Duration::from_millis(1500)).await;
    let mut in_time_for_it = fleet.send("sweep", LONG).await;
    reaches(&mut late, one.id(), OutcomeState::Finished).await;
    let ended = ends(&mut late).await;
    let took = sent_at.elapsed();
    let states: Vec<_> = ended.values().map(|(state, _)| *state).collect();
    assert!(states.contains(&OutcomeState::Expired), "{ended:?}");
    // The server says so at its deadline, and not before.
    assert!(took >= Duration::from_millis(1500), "{took:?}");

    let two = fleet.robot("r2").await;
    reaches(&mut in_time_for_it, two.id(), OutcomeState::Finished).await;
    assert_eq!(two.begun(), 1, "the one that was late did not reach it");
    fleet.stop().await;
}

#[tokio::test]
async fn an_older_epoch_is_refused_and_the_same_key_is_not_run_again() {
    let fleet = Fleet::with(&["r1"]).await;
    let one = fleet.robot("r1").await;
    let ana = &fleet.ana.client;
    let bo = Person::connect(fleet.cluster.operator("bo").unwrap())
        .await
        .client;
    ana.change_members(fleet.group, &[bo.account().id], &[])
        .await
        .unwrap();
    let plan = new_message_id();
    let key = CommandKey::new(plan, "步骤一");
    let of = |epoch| {
        NewCommand::new(Targets::Group(fleet.group), "sweep", LONG).of_plan(key.clone(), epoch)
    };

    assert_eq!(ana.take_epoch(plan, 0).await.unwrap(), Epoch::Taken(1));
    let mut first = ana.send_command(of(1)).await.unwrap();
    let done = ends(&mut first).await;
    assert_eq!(done[&one.id()].0, OutcomeState::Finished);

    // Another planner takes over: the first can command no more.
    assert_eq!(bo.take_epoch(plan, 0).await.unwrap(), Epoch::Other(1));
    assert_eq!(bo.take_epoch(plan, 1).await.unwrap(), Epoch::Taken(2));
    let refused = ana.send_command(of(1)).await.unwrap_err();
    let code = refused.refusal().map(|refusal| refusal.code);
    assert_eq!(code, Some(ErrorCode::StaleEpoch), "{refused}");

    // The same key under the newer epoch is answered with what has become of it.
    let again = bo.send_command(of(2)).await.unwrap();
    assert!(again.is_repeat());
    assert_eq!((again.counts().finished, again.epoch()), (1, 2));
    assert_eq!(one.begun(), 1);

    // A robot that has seen a newer epoch on disk takes no older one.
    one.stop().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders");
    let other = new_message_id();
    write_epoch(&path, other.as_bytes(), 9);
    let ledger = OrderLedger::open(&path).unwrap();
    let again = Robot::start(&fleet.cluster, "r1", ledger).await;
    assert_eq!(ana.take_epoch(other, 0).await.unwrap(), Epoch::Taken(1));
    let old = NewCommand::new(Targets::Group(fleet.group), "sweep", LONG)
        .of_plan(CommandKey::new(other, "1"), 1);
    let mut old = ana.send_command(old).await.unwrap();
    let ended = ends(&mut old).await;
    assert_eq!(ended[&again.id()].0, OutcomeState::Superseded);
    assert_eq!(again.begun(), 0);
    fleet.stop().await;
}

fn write_epoch(path: &Path, plan: &[u8], epoch: u64) {
    let line = format!("{{\"epoch\":{{\"plan\":{plan:?},\"epoch\":{epoch}}}}}\n");
    std::fs::write(path, line).unwrap();
}

#[tokio::test]
async fn a_robot_that_restarts_does_not_run_an_order_twice() {
    let fleet = Fleet::with(&["r1"]).await;
    let first = fleet.robot("r1").await;
    let id = first.id();
    let mut watch = fleet.send("hang", LONG).await;
    reaches(&mut watch, id, OutcomeState::Running).await;
    assert_eq!(first.begun(), 1);
    first.stop().await;
    let second = fleet.robot("r1").await;
    let ended = ends(&mut watch).await;
    assert_eq!(ended[&id].0, OutcomeState::Failed);
    assert!(ended[&id].1.contains("restarted"), "{ended:?}");
    assert_eq!(second.begun(), 0);
    fleet.stop().await;
}

/// Every outcome is known in the end, and nothing was begun twice, whatever is killed meanwhile.
#[tokio::test]
async fn killed_tiers_lose_no_command_and_repeat_none() {
    const ROBOTS: usize = 12;
    let names: Vec<_> = (0..ROBOTS).map(|n| format!("r{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut fleet = Fleet::with(&names).await;
    let mut robots = Vec::new();
    for name in &names[..ROBOTS / 2] {
        robots.push(fleet.robot(name).await);
    }
    let mut commands = Vec::new();
    for tier in [Tier::Store, Tier::Gateway, Tier::Router, Tier::Logic] {
        commands.push(fleet.send("sweep", LONG).await);
        fleet.cluster.kill(tier).await.unwrap();
        commands.push(fleet.send("sweep", LONG).await);
    }
    for name in &names[ROBOTS / 2..] {
        robots.push(fleet.robot(name).await);
    }
    let sent = commands.len();
    for watch in &mut commands {
        let ended = ends(watch).await;
        assert_eq!(ended.len(), ROBOTS);
        let finished = ended
            .values()
            .all(|(state, _)| *state == OutcomeState::Finished);
        assert!(finished, "{ended:?}");
    }
    let begun: Vec<_> = robots.iter().map(Robot::begun).collect();
    assert_eq!(begun, vec![sent; ROBOTS]);
    fleet.stop().await;
}
