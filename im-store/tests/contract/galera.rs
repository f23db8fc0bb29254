//! A cluster of three: the whole contract, owners on different nodes, and the loss of any node.
//!
//! A cluster takes seconds to start, so that a few tests share one each, case after case.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use im_store::cache::Kept;
use im_store::config::Database;
use im_store::engine::{Engine as _, EngineError};
use im_store::mysql::{Address, MySqlEngine, MySqlReaders};
use im_store::shard::{self, Append};
use im_store::stream;
use im_store::testing::{Galera, NODES};
use im_store::writer::{self, Writer};
use protocol::{AccountId, ConversationId, ErrorCode};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::backend::{Backend, make_first_version_of_mysql};
use crate::cut::{Line, Next};
use crate::stopped::a_stopped_store_process_on_a_cluster;
use crate::writer::{NOW_MS, history, own, pair, text};

/// A cluster. Each engine that it opens begins at another node.
pub(crate) struct Nodes {
    pub(crate) cluster: Galera,
    opened: AtomicUsize,
}

impl Nodes {
    fn from(&self, first: usize) -> Address {
        self.cluster.url_from(first, "im").parse().unwrap()
    }

    fn next(&self) -> Address {
        self.from(self.opened.fetch_add(1, Ordering::Relaxed) % NODES)
    }

    /// The next engine is at this node.
    pub(crate) fn begin_at(&self, node: usize) {
        self.opened.store(node, Ordering::Relaxed);
    }

    /// The line in the place of the first node, and then the others.
    pub(crate) fn url_over(&self, line: &Line) -> String {
        let others = [1, 2].map(|node| self.cluster.address(node));
        format!(
            "mysql://root@{},{},{}/im?ssl-mode=DISABLED",
            line.address, others[0], others[1]
        )
    }

    /// As if it had been founded now.
    pub(crate) async fn empty(&self) {
        let anew = "DROP DATABASE im; CREATE DATABASE im";
        self.cluster.execute_on(0, anew).await.unwrap();
    }
}

impl Backend for Nodes {
    type Engine = MySqlEngine;
    type Readers = MySqlReaders;
    type Cache = Kept;

    async fn start() -> Self {
        Self {
            cluster: Galera::start().await.unwrap(),
            opened: 0.into(),
        }
    }

    fn database(&self) -> Database {
        Database::MySql(self.next())
    }

    async fn try_engine(&self) -> Result<MySqlEngine, EngineError> {
        MySqlEngine::open(&self.next()).await
    }

    async fn readers(&self) -> MySqlReaders {
        MySqlReaders::open(&self.next())
    }

    async fn execute(&self, sql: &str) {
        self.cluster.execute_on(0, sql).await.unwrap();
    }

    async fn set_version(&self, version: i64) {
        self.execute(&format!("INSERT INTO im_store_schema VALUES ({version})"))
            .await;
    }

    async fn make_first_version(&self) {
        make_first_version_of_mysql(self).await;
    }
}

/// One case after the other, each on an empty database.
pub(crate) async fn one_by_one(nodes: &Nodes, cases: &[(&str, Case)]) {
    for (name, case) in cases {
        nodes.empty().await;
        let began = Instant::now();
        case(nodes).await;
        say(&format!("{name}: {:?}", began.elapsed()));
    }
}

pub(crate) type Case = for<'a> fn(&'a Nodes) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// What only several nodes can do to a store.
pub(crate) const OWN: [(&str, Case); 4] = [
    ("a broken transaction", |nodes| {
        Box::pin(a_transaction_that_was_broken_off_is_not_committed_in_part(
            nodes,
        ))
    }),
    ("a lost answer", |nodes| {
        Box::pin(a_lost_answer_is_read_back_on_another_node(nodes))
    }),
    ("a fence", |nodes| {
        Box::pin(what_was_refused_is_not_stored_by_a_commit_on_another_node(
            nodes,
        ))
    }),
    ("a stopped store", |nodes| {
        Box::pin(a_stopped_store_process_on_a_cluster(nodes))
    }),
];

/// The node breaks it off for the sake of another's commit, between two of its statements. What
/// follows must not be committed on its own.
async fn a_transaction_that_was_broken_off_is_not_committed_in_part(nodes: &Nodes) {
    let pairs = [2, 3].map(|other| ConversationId::pair(AccountId(1), AccountId(other)));
    let mut first = MySqlEngine::open(&nodes.from(0)).await.unwrap();
    let (second, _task) = own(MySqlEngine::open(&nodes.from(1)).await.unwrap());
    for pair in pairs {
        second.append(text(pair, 1, 1, "x")).await.unwrap();
    }
    // It holds both heads, in an open transaction.
    let batch = pairs.map(|pair| text(pair, 1, 2, "y"));
    first.settle(&pairs.into());
    let known = first.look_up(&batch, &Default::default()).await.unwrap();
    let plan = shard::plan(&batch, |_| [0; 16], &known, NOW_MS);
    let stored = second.append(text(pairs[0], 1, 3, "z")).await.unwrap();
    assert_eq!(stored.sequence.0, 2);
    nodes.begin_at(0);
    assert_eq!(history(nodes, pairs[0], 1).await.head.0, 2);

    let lost = first.commit(&batch, &plan, NOW_MS).await.unwrap_err();
    assert!(matches!(lost, EngineError::Lost), "{lost}");
    let log = history(nodes, pairs[1], 1).await;
    assert_eq!((log.head.0, log.entries.len()), (1, 1));
}

/// Stored or not, the same send has one outcome.
async fn a_lost_answer_is_read_back_on_another_node(nodes: &Nodes) {
    for (id, next) in (1..).zip([Next::LoseAnswer, Next::LoseCommit, Next::LoseAnswer]) {
        let line = Line::to(nodes.cluster.address(0)).await;
        let address = nodes.url_over(&line).parse().unwrap();
        let (writer, _task) = own(MySqlEngine::open(&address).await.unwrap());
        line.at_the_next_commit(next);
        let stored = writer.append(text(pair(), 1, id, "x")).await.unwrap();
        assert_eq!(stored.sequence.0, u64::from(id), "{next:?}");
        assert_eq!(stored.duplicate, next == Next::LoseAnswer, "{next:?}");
    }
    assert_eq!(history(nodes, pair(), 1).await.entries.len(), 3);
}

/// Its deadline passes while its COMMIT is on the way to the first node. On the second one nothing
/// is found of it, and no lock of the first holds: without a fence it would be stored after all.
async fn what_was_refused_is_not_stored_by_a_commit_on_another_node(nodes: &Nodes) {
    for first in [true, false] {
        let line = Line::to(nodes.cluster.address(0)).await;
        let address = nodes.url_over(&line).parse().unwrap();
        let engine = MySqlEngine::open(&address).await.unwrap();
        let (sink, _) = stream::new();
        let (writer, task) = writer::new(engine, sink);
        let looks = AtomicU64::new(0);
        tokio::spawn(task.run(move || NOW_MS + 60_000 * looks.fetch_add(1, Ordering::Relaxed)));
        // A pair that has no row yet, and one that has.
        let other = if first { 2 } else { 3 };
        let pair = ConversationId::pair(AccountId(1), AccountId(other));
        if !first {
            writer.append(text(pair, 1, 1, "x")).await.unwrap();
        }
        line.at_the_next_commit(Next::Delay);
        let urgent = Append {
            deliver_before_ms: NOW_MS + if first { 1000 } else { 61_000 },
            ..text(pair, 1, 2, "停")
        };
        let refused = writer.append(urgent).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Expired);
        line.release().await;
        // What the first node made of it is final, and the same everywhere.
        let stored = writer.append(text(pair, 1, 3, "x")).await.unwrap();
        assert_eq!(stored.sequence.0, if first { 1 } else { 2 });
        assert_eq!(history(nodes, pair, 1).await.head, stored.sequence);
    }
}

#[expect(clippy::print_stdout, reason = "for whoever asks what took how long")]
fn say(what: &str) {
    println!("{what}");
}

/// Robots that send without an end, each until it is acknowledged.
struct Load {
    stop: watch::Sender<bool>,
    robots: Vec<JoinHandle<Sent>>,
}

/// What one robot was told.
struct Sent {
    conversation: ConversationId,
    sender: u64,
    acked: BTreeMap<u16, u64>,
    longest: Duration,
}

impl Load {
    fn start(writer: &Writer) -> Self {
        let (stop, stopped) = watch::channel(false);
        let robots = (1..=8).map(|sender| {
            let (writer, stopped) = (writer.clone(), stopped.clone());
            tokio::spawn(send(writer, sender, stopped))
        });
        Self {
            robots: robots.collect(),
            stop,
        }
    }

    /// The longest that one message took; all of them are checked against the log.
    async fn end(self, backend: &impl Backend) -> Duration {
        self.stop.send(true).unwrap();
        let mut longest = Duration::ZERO;
        for robot in self.robots {
            let sent = robot.await.unwrap();
            longest = longest.max(sent.longest);
            let log = history(backend, sent.conversation, sent.sender).await;
            let numbers = log.entries.iter().map(|entry| entry.sequence);
            assert!(numbers.eq(1..=sent.acked.len() as u64), "dense, and once");
            for (id, sequence) in sent.acked {
                let at = usize::try_from(sequence).unwrap() - 1;
                let message = text(sent.conversation, sent.sender, id, "x").message_id;
                assert_eq!(log.entries[at].client_message_id, message.to_bytes());
            }
        }
        longest
    }
}

async fn send(writer: Writer, sender: u64, stopped: watch::Receiver<bool>) -> Sent {
    let conversation = ConversationId::pair(AccountId(sender), AccountId(99));
    let mut sent = Sent {
        conversation,
        sender,
        acked: BTreeMap::new(),
        longest: Duration::ZERO,
    };
    // A page of history in the end.
    for id in 0..5000 {
        if *stopped.borrow() {
            break;
        }
        let began = Instant::now();
        let stored = until_acknowledged(&writer, conversation, sender, id).await;
        sent.longest = sent.longest.max(began.elapsed());
        sent.acked.insert(id, stored);
    }
    sent
}

/// As the SDK does: the same id again and again.
async fn until_acknowledged(
    writer: &Writer,
    conversation: ConversationId,
    sender: u64,
    id: u16,
) -> u64 {
    loop {
        match writer.append(text(conversation, sender, id, "x")).await {
            Ok(stored) => return stored.sequence.0,
            Err(refusal) => assert!(
                matches!(
                    refusal.code,
                    ErrorCode::Unavailable | ErrorCode::OutcomeUnknown
                ),
                "{refusal}"
            ),
        }
    }
}

/// How long a message may take when a node is lost: the others count it out, and a store that was
/// connected to it finds another. Far below the send timeout.
const LOSS_TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn any_node_may_be_lost_and_nothing_acknowledged_is() {
    let mut nodes = Nodes::start().await;
    // It is connected to the first node, until that is lost.
    for (node, paused) in [(0, false), (1, false), (2, false), (0, true)] {
        nodes.empty().await;
        let engine = MySqlEngine::open(&nodes.from(0)).await.unwrap();
        let (writer, _task) = own(engine);
        let load = Load::start(&writer);
        until_acknowledged(&writer, pair(), 1, 1).await;
        if paused {
            nodes.cluster.pause(node).unwrap();
        } else {
            nodes.cluster.kill(node).await.unwrap();
        }
        for other in (0..NODES).filter(|other| *other != node) {
            nodes.cluster.synced(other, NODES - 1).await.unwrap();
        }
        // After the loss was noticed, another one is stored.
        until_acknowledged(&writer, pair(), 1, 2).await;
        if paused {
            nodes.cluster.go_on(node).unwrap();
        } else {
            nodes.cluster.restart(node).await.unwrap();
        }
        // Until the others have it back; it may not have noticed yet that it was away.
        for member in (0..NODES).rev() {
            nodes.cluster.synced(member, NODES).await.unwrap();
        }
        until_acknowledged(&writer, pair(), 1, 3).await;
        let longest = load.end(&nodes).await;
        let how = if paused { "paused" } else { "killed" };
        say(&format!("node {node} {how}: {longest:?} for one message"));
        assert!(longest < LOSS_TIMEOUT, "{longest:?}");
        assert_eq!(history(&nodes, pair(), 1).await.head.0, 3);
    }
}
