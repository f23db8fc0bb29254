//! A cluster is backed up at work, goes on, is lost, and is restored on another machine under robots
//! that know more than it: what the backup has is as it was, what it has not comes from the robots'
//! journals under the ids that it had, and in the end everybody has the same.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bench::cluster::{Cluster, swarm};
use client_sdk::journal::DiskJournal;
use client_sdk::protocol::wire::{ActionSpec, CapabilityCard};
use client_sdk::{
    Client, ClientConfig, ClientMessageId, ConversationId, Entry, Event, Events, Outgoing,
    SequenceNumber,
};
use im_store::testing::MariaDb;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::people::{WAIT, text};

const ROBOTS: [&str; 3] = ["lift-1", "lift-2", "cart-1"];

/// Messages of each robot before, during and after the backup.
const MESSAGES: [usize; 3] = [50, 150, 40];

/// How often is looked whether something has come about.
const POLL: Duration = Duration::from_millis(50);

/// What a robot was handed of the group.
#[derive(Debug, Default)]
struct Heard {
    numbers: Vec<u64>,
    parted_at: Option<u64>,
}

struct Robot {
    client: Client,
    heard: Arc<Mutex<Heard>>,
}

impl Robot {
    async fn connect(config: ClientConfig, journal: &Path) -> Self {
        let journal = Box::new(DiskJournal::new(journal));
        let (client, events) = Client::connect_with_journal(config, journal).await.unwrap();
        let heard = Arc::default();
        tokio::spawn(listen(events, Arc::clone(&heard)));
        Self { client, heard }
    }

    /// Sends so many, and waits for their acks.
    async fn send(&self, group: ConversationId, count: usize) -> BTreeSet<ClientMessageId> {
        let name = &self.client.account().name;
        let sends = (0..count).map(|n| Outgoing::new(group, text(format!("{name} {n}"))));
        let sends: Vec<_> = sends.map(|send| self.client.send_nowait(send)).collect();
        let mut acked = BTreeSet::new();
        for send in sends {
            acked.insert(send.await.unwrap().client_message_id);
        }
        acked
    }
}

/// Of groups alone: nobody speaks in pairs here.
async fn listen(mut events: Events, heard: Arc<Mutex<Heard>>) {
    while let Some(event) = events.next().await {
        let mut heard = heard.lock();
        match event {
            Event::Message(message) => heard.numbers.push(message.sequence.0),
            Event::Parted { at, .. } => {
                heard.parted_at = Some(at.0);
                heard.numbers.retain(|number| *number <= at.0);
            }
            Event::Ephemeral(_)
            | Event::Joined { .. }
            | Event::Left { .. }
            | Event::Trimmed { .. }
            | Event::EmergencyStop(_)
            | Event::EmergencyReleased(_)
            | Event::Marked { .. }
            | Event::Connected
            | Event::Disconnected { .. }
            | Event::Closed { .. } => {}
        }
    }
}

/// Sends of all robots at once.
async fn all_send(robots: &[Robot], group: ConversationId, count: usize) -> Vec<ClientMessageId> {
    let [a, b, c] = robots else { unreachable!() };
    let (a, b, c) = tokio::join!(
        a.send(group, count),
        b.send(group, count),
        c.send(group, count)
    );
    a.into_iter().chain(b).chain(c).collect()
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + WAIT;
    let mut polling = tokio::time::interval(POLL);
    while !done().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        polling.tick().await;
    }
}

/// All of the log, when the server can be asked.
async fn log(robot: &Robot, group: ConversationId) -> Vec<Entry> {
    let log = robot.client.history(group, SequenceNumber::ZERO).await;
    log.unwrap_or_default()
}

/// Everybody was handed the same, up to the head, without a gap; and the store knows.
async fn all_have_heard(robots: &[Robot], group: ConversationId, head: u64) {
    let all: Vec<_> = (1..=head).collect();
    for robot in robots {
        let name = &robot.client.account().name;
        let heard = async || robot.heard.lock().numbers.len() >= all.len();
        until(&format!("{name} hears all"), heard).await;
        assert_eq!(robot.heard.lock().numbers, all, "{name}");
        let marked = async || {
            let its = robot.client.conversations().await.unwrap_or_default();
            its.iter()
                .any(|its| its.id == group && its.delivered.0 == head)
        };
        until(&format!("{name}'s mark is kept"), marked).await;
    }
}

/// What `swarm` says, if it does what it is told.
async fn told(words: &[&str], store: Option<&str>) -> Result<String, String> {
    let mut command = swarm().unwrap();
    command.args(words);
    if let Some(store) = store {
        command.args(["--store", store]);
    }
    let output = command.output().await.unwrap();
    let said = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() {
        Ok(said(output.stdout))
    } else {
        Err(said(output.stderr))
    }
}

fn up(store: Option<&str>, more: &[&str]) -> Vec<String> {
    let store = store.into_iter().flat_map(|store| ["--store", store]);
    let words = store.chain(more.iter().copied());
    words.map(str::to_owned).collect()
}

/// What of a wrong file is said, and that nothing came of it.
async fn a_wrong_file_touches_nothing(backup: &Path, state: &str, store: Option<&str>) {
    let whole = std::fs::read(backup).unwrap();
    let wrong = backup.with_file_name("wrong");
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    let cut = whole[..whole.len() / 2].to_vec();
    for (bytes, says) in [
        (changed, "damaged"),
        (cut, "damaged"),
        (b"PK".to_vec(), "no backup"),
    ] {
        std::fs::write(&wrong, bytes).unwrap();
        let wrong = wrong.to_str().unwrap();
        let refused = told(&["restore", wrong, "--state", state], store).await;
        let refused = refused.unwrap_err();
        assert!(refused.contains(says), "{says}: {refused}");
        assert!(!Path::new(state).exists());
    }
}

/// Robots with journals in this folder, in a group that a person has made for them.
async fn gather(cluster: &Cluster, folder: &Path) -> (Vec<Robot>, ConversationId) {
    let mut robots = Vec::new();
    for name in ROBOTS {
        let config = cluster.robot(name).unwrap();
        robots.push(Robot::connect(config, &folder.join(name)).await);
    }
    let ids: Vec<_> = robots
        .iter()
        .map(|robot| robot.client.account().id)
        .collect();
    let ana = cluster.operator("ana").unwrap();
    let (ana, _) = Client::connect(ana).await.unwrap();
    let group = ana.create_group("仓库", &ids).await.unwrap();
    ana.close().await;
    let card = CapabilityCard {
        model: "叉车-2t".into(),
        actions: vec![ActionSpec {
            name: "lift".into(),
            arguments_schema_json: "{}".into(),
            ..ActionSpec::default()
        }],
        ..CapabilityCard::default()
    };
    robots[0].client.announce(card).await.unwrap();
    (robots, group)
}

/// The new log is the old one up to where every robot was told that they part, and after that has
/// the same messages, each once.
fn is_the_old_log_again(robots: &[Robot], old: &[Entry], new: &[Entry]) {
    let parted_at = robots[0].heard.lock().parted_at.expect("it was told where");
    for robot in robots {
        assert_eq!(robot.heard.lock().parted_at, Some(parted_at));
        assert_eq!(robot.client.stats().lost_by_restore, 0);
    }
    let kept = usize::try_from(parted_at).unwrap();
    let before = ROBOTS.len() * MESSAGES[0];
    assert!((1 + before..old.len()).contains(&kept), "{kept}");
    assert_eq!(new[..kept], old[..kept], "the backup, to its last message");
    let ids = |log: &[Entry]| -> BTreeSet<_> {
        log.iter().filter_map(|its| its.client_message_id).collect()
    };
    assert_eq!(ids(new), ids(old));
    assert_eq!(ids(new).len(), new.len(), "each message once");
}

/// `stores`: of the first machine and of the other.
async fn restored_under_robots(stores: [Option<&str>; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let (words, machine) = (up(stores[0], &[]), tempfile::tempdir().unwrap());
    let cluster = Cluster::start_with(machine, &words).await.unwrap();
    let (robots, group) = gather(&cluster, folder.path()).await;
    let accounts = robots[0].client.find_accounts(&ROBOTS).await.unwrap();

    let [before, during, after] = MESSAGES;
    let mut acked = all_send(&robots, group, before).await;
    let backup = folder.path().join("backup.tar");
    let state = cluster.state().to_str().unwrap().to_owned();
    let file = backup.to_str().unwrap();
    let words = ["backup", file, "--state", &state];
    let (made, sent) = tokio::join!(told(&words, stores[0]), all_send(&robots, group, during));
    made.unwrap();
    acked.extend(sent);
    acked.extend(all_send(&robots, group, after).await);
    let old = log(&robots[0], group).await;
    all_have_heard(&robots, group, old.len() as u64).await;
    robots[1].client.persist_marks().await.unwrap();
    let port = cluster.run_file().unwrap().addresses.clients.port();
    let (status, gone) = cluster.stop().await.unwrap();
    assert!(status.success());

    let machine = tempfile::tempdir().unwrap();
    let state = machine.path().join("state");
    let state = state.to_str().unwrap();
    a_wrong_file_touches_nothing(&backup, state, stores[1]).await;
    told(&["restore", file, "--state", state], stores[1])
        .await
        .unwrap();
    let again = told(&["restore", file, "--state", state], stores[1]).await;
    assert!(again.unwrap_err().contains("is not empty"));
    drop(gone);
    let words = up(stores[1], &["--client-port", &port.to_string()]);
    let _cluster = Cluster::start_with(machine, &words).await.unwrap();

    let acked: BTreeSet<_> = acked.into_iter().collect();
    let expected = 3 * MESSAGES.iter().sum::<usize>();
    assert_eq!(acked.len(), expected);
    until("all that was lost is sent again", async || {
        let log = log(&robots[0], group).await;
        let has: BTreeSet<_> = log.iter().filter_map(|its| its.client_message_id).collect();
        acked.is_subset(&has)
    })
    .await;
    let new = log(&robots[0], group).await;
    all_have_heard(&robots, group, new.len() as u64).await;
    is_the_old_log_again(&robots, &old, &new);
    assert_eq!(
        robots[0].client.find_accounts(&ROBOTS).await.unwrap(),
        accounts
    );
    // Sent and stored on the restored cluster as on any.
    all_send(&robots, group, 5).await;
    all_have_heard(&robots, group, new.len() as u64 + 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_restored_under_robots_that_know_more() {
    restored_under_robots([None, None]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_restored_under_robots_that_know_more() {
    let server = MariaDb::start().await.unwrap();
    server
        .execute_on("mysql", "CREATE DATABASE other")
        .await
        .unwrap();
    let (one, other) = (server.url("im"), server.url("other"));
    restored_under_robots([Some(&one), Some(&other)]).await;
}
