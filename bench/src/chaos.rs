//! Chaos: many clients under steady load, while tiers are killed and paused, clients restart and
//! members come and go, all drawn from one seed. Everything is recorded ([`crate::record`]) and
//! judged afterwards ([`crate::checker`]).
//!
//! The seed decides what is done to whom and when; how the processes answer is theirs, so two runs
//! of a seed are alike and not equal.
//!
//! Read in this order: [`layout`] (who is where), [`nemesis`] (which faults), `message`, `robot` and
//! `churn` (the load), `history` (the log in the end), [`memory`], [`outcome`].

pub mod layout;
pub mod memory;
pub mod nemesis;
pub mod outcome;

mod churn;
mod history;
mod message;
mod robot;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context as _;
use client_sdk::{Client, ClientConfig, ConversationId, Events};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use service_kit::clock;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::churn::Churn;
use self::history::Heads;
use self::layout::Layout;
use self::outcome::{Faults, Outcome};
use self::robot::Robot;
use crate::checker;
use crate::cluster::Cluster;
use crate::record::{self, Event, Recorder};

/// Connections that are being made at once at the start.
const CONNECTING_MAX: usize = 16;

/// How much longer than a send timeout is waited for the last sends to end: the checker tells those
/// that are late.
const ENDS_GRACE: Duration = Duration::from_secs(15);

/// What is done.
#[derive(Debug, Clone, clap::Args)]
pub struct Chaos {
    /// For how long load is offered and faults are made.
    #[arg(long, default_value_t = 2.0)]
    pub minutes: f64,
    /// Everything that is drawn is drawn from it.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Clients, robots and operators.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(4..=10_000))]
    pub clients: u32,
    /// Sends a second, all clients together.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// No faults: only load, restarts of clients and changes of members.
    #[arg(long)]
    pub calm: bool,
}

/// What all parts of a run share.
#[derive(Debug)]
struct Stage {
    recorder: Recorder,
    /// By the numbers of the record.
    conversations: Vec<ConversationId>,
    numbers: HashMap<ConversationId, u32>,
    next_message: AtomicU64,
}

/// What is drawn for one purpose, whatever else is drawn.
fn dice(seed: u64, purpose: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ purpose)
}

/// Runs it, records it into this file and judges the record.
///
/// # Errors
/// When the run itself fails: a client that cannot connect, a log that cannot be read.
pub async fn run(chaos: &Chaos, cluster: &mut Cluster, path: &Path) -> anyhow::Result<Outcome> {
    let recorder = Recorder::create(path).context("the record cannot be made")?;
    play(chaos, cluster, &recorder).await?;
    recorder.finish().context("the record cannot be written")?;
    judge(path)
}

/// Judges a record.
///
/// # Errors
/// When it cannot be read.
pub fn judge(path: &Path) -> anyhow::Result<Outcome> {
    let mut faults = Faults::default();
    let mut memory = memory::Samples::default();
    let events = record::read(path)?.map(|event| {
        let event = event?;
        faults.count(&event);
        memory.take(&event);
        Ok::<_, std::io::Error>(event)
    });
    let verdict = checker::check(events).context("the record cannot be read")?;
    Ok(Outcome::new(verdict, faults, memory.table()))
}

async fn play(chaos: &Chaos, cluster: &mut Cluster, recorder: &Recorder) -> anyhow::Result<()> {
    let layout = Layout::draw(chaos.seed, chaos.clients);
    let (configs, connected) = connect_all(chaos, cluster).await?;
    recorder.record(&Event::Began {
        seed: chaos.seed,
        unix_ms: clock::unix_ms(),
        send_timeout_ms: millis(configs[0].send_timeout),
    });
    let usher = connected[0].0.clone();
    let accounts: Vec<_> = connected.iter().map(|(c, _)| c.account().id).collect();
    let stage = Arc::new(set_up(&layout, &usher, &connected, recorder).await?);

    let over = CancellationToken::new();
    let (busy, mut all_ended) = mpsc::channel::<()>(1);
    let (tell_heads, heads) = watch::channel(None);
    let mut robots = JoinSet::new();
    for (client, session) in (0..).zip(connected) {
        let robot = Robot::new(chaos, client, &configs, &layout, &stage);
        robots.spawn(robot.run(session, over.clone(), busy.clone(), heads.clone()));
    }
    let churn = Churn::new(chaos.seed, &layout, &accounts, &stage);
    let churn = tokio::spawn(churn.run(usher.clone(), over.clone(), busy));
    let watching = memory::watch(cluster.state().to_owned(), recorder.clone(), over.clone());
    let watching = tokio::spawn(watching);

    let time = Duration::try_from_secs_f64(chaos.minutes * 60.0).context("no such time")?;
    let plan = if chaos.calm {
        Vec::new()
    } else {
        nemesis::plan(chaos.seed, &nemesis::targets(), time)
    };
    tokio::join!(
        tokio::time::sleep(time),
        nemesis::run(&plan, cluster.state(), recorder)
    );
    over.cancel();
    cluster.ready().await.context("after the faults")?;
    watching.await?;
    churn.await?;
    // It ends when nobody holds the other end: no send is on its way.
    let ended = tokio::time::timeout(configs[0].send_timeout + ENDS_GRACE, all_ended.recv()).await;
    if ended.is_err() {
        recorder.record(&Event::Fault {
            at_us: recorder.now_us(),
            until_us: recorder.now_us(),
            target: "the load".into(),
            fault: "sends did not end".into(),
        });
    }
    let known = Heads::read(&usher, &stage).await?;
    tell_heads.send_replace(Some(Arc::new(known)));
    drop(usher);
    while let Some(done) = robots.join_next().await {
        done?.context("a robot failed")?;
    }
    history::read(configs[0].clone(), &stage).await
}

/// The usher, who is in every conversation, is the first.
async fn connect_all(
    chaos: &Chaos,
    cluster: &Cluster,
) -> anyhow::Result<(Vec<ClientConfig>, Vec<(Client, Events)>)> {
    let mut configs = Vec::new();
    for client in 0..chaos.clients {
        let name = layout::name(client);
        configs.push(if layout::is_operator(client) {
            cluster.operator(&name)?
        } else {
            cluster.robot(&name)?
        });
    }
    robot::set_mark_policies(&mut configs);
    let mut connected = Vec::with_capacity(configs.len());
    for some in configs.chunks(CONNECTING_MAX) {
        let connecting = some.iter().map(|config| Client::connect(config.clone()));
        for session in futures_util::future::join_all(connecting).await {
            connected.push(session.context("a client cannot connect")?);
        }
    }
    Ok((configs, connected))
}

/// Makes the groups, and gives everything its number in the record.
async fn set_up(
    layout: &Layout,
    usher: &Client,
    connected: &[(Client, Events)],
    recorder: &Recorder,
) -> anyhow::Result<Stage> {
    for (number, (client, _)) in (0..).zip(connected) {
        recorder.record(&Event::Client {
            client: number,
            account: client.account().id.0,
            name: client.account().name.clone(),
        });
    }
    let account = |client: u32| {
        let found = connected.get(client as usize);
        found.map(|(client, _)| client.account().id)
    };
    let mut conversations = Vec::new();
    let mut pairs = BTreeMap::new();
    for (number, place) in (0..).zip(&layout.places) {
        let members: Vec<_> = place.members.iter().copied().filter_map(account).collect();
        let id = match (place.is_pair, members.as_slice()) {
            (true, [one, other]) => {
                pairs.insert(number, vec![one.0, other.0]);
                usher.pair_with(*other)
            }
            _ => {
                let others = members.get(1..).unwrap_or_default();
                let made = usher.create_group(&place.name, others).await;
                made.context("a group cannot be made")?
            }
        };
        recorder.record(&Event::Conversation {
            conversation: number,
            id: id.to_string(),
            pair: pairs.remove(&number).unwrap_or_default(),
        });
        conversations.push(id);
    }
    Ok(Stage {
        recorder: recorder.clone(),
        numbers: conversations.iter().copied().zip(0..).collect(),
        conversations,
        next_message: AtomicU64::new(1),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
