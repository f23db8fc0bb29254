//! Chaos: many clients under steady load, while processes are killed and paused, links cut and
//! slowed, the disk fills, clients restart and members come and go, all drawn from one seed. Everything is recorded ([`crate::record`]) and
//! judged afterwards ([`crate::checker`]).
//!
//! The seed decides what is done to whom and when; how the processes answer is theirs, so two runs
//! of a seed are alike and not equal.
//!
//! Read in this order: [`layout`] (who is where), [`arena`] (on what), [`plan`] (which faults),
//! `nemesis`, [`proxy`], [`disk`] and [`server`] (how they are made), `message`, `access`, `robot` and
//! `churn` (the load), `lag`, `history` (the log in the end), [`memory`], [`outcome`].

pub mod arena;
pub mod disk;
pub mod layout;
pub mod memory;
pub mod outcome;
pub mod plan;
pub mod proxy;
pub mod server;

mod access;
mod churn;
mod history;
mod lag;
mod message;
mod nemesis;
mod robot;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context as _;
use client_sdk::{Client, ConversationId};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use service_kit::clock;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::access::{Access, Session};
use self::arena::Arena;
use self::churn::Churn;
use self::history::Heads;
use self::layout::Layout;
use self::outcome::{Faults, Outcome};
use self::robot::Robot;
use crate::checker;
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
pub async fn run(chaos: &Chaos, arena: &mut Arena, path: &Path) -> anyhow::Result<Outcome> {
    let recorder = Recorder::create(path).context("the record cannot be made")?;
    play(chaos, arena, &recorder).await?;
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

async fn play(chaos: &Chaos, arena: &mut Arena, recorder: &Recorder) -> anyhow::Result<()> {
    let layout = Layout::draw(chaos.seed, chaos.clients);
    let journals = tempfile::tempdir()?;
    let (accesses, connected) = connect_all(chaos, arena, journals.path()).await?;
    let send_timeout = accesses[0].config.send_timeout;
    recorder.record(&Event::Began {
        seed: chaos.seed,
        unix_ms: clock::unix_ms(),
        send_timeout_ms: millis(send_timeout),
    });
    let usher = connected[0].0.clone();
    let accounts: Vec<_> = connected.iter().map(|(c, _)| c.account().id).collect();
    let stage = Arc::new(set_up(&layout, &usher, &accesses, &connected, recorder).await?);

    let over = CancellationToken::new();
    let (busy, mut all_ended) = mpsc::channel::<()>(1);
    let (tell_heads, heads) = watch::channel(None);
    let reader = accesses[0].clone();
    let mut robots = JoinSet::new();
    for (client, (access, session)) in (0..).zip(accesses.into_iter().zip(connected)) {
        let robot = Robot::new(chaos, client, access, &layout, &stage, busy.clone());
        robots.spawn(robot.run(session, over.clone(), heads.clone()));
    }
    let settled = CancellationToken::new();
    let lagging = tokio::spawn(lag::watch(recorder.clone(), settled.clone()));
    let churn = Churn::new(chaos.seed, &layout, &accounts, &stage);
    let churn = tokio::spawn(churn.run(usher.clone(), over.clone(), busy));
    let watching = memory::watch(
        arena.cluster.state().to_owned(),
        recorder.clone(),
        over.clone(),
    );
    let watching = tokio::spawn(watching);

    offer_load(chaos, arena, recorder).await?;
    over.cancel();
    arena.ready().await.context("after the faults")?;
    watching.await?;
    churn.await?;
    // It ends when nobody holds the other end: no send is on its way.
    let ended = tokio::time::timeout(send_timeout + ENDS_GRACE, all_ended.recv()).await;
    if ended.is_err() {
        tell(recorder, "the load", "sends did not end".into());
    }
    settled.cancel();
    lagging.await?;
    let known = Heads::read(&usher, &stage).await?;
    tell_heads.send_replace(Some(Arc::new(known)));
    drop(usher);
    while let Some(done) = robots.join_next().await {
        done?.context("a robot failed")?;
    }
    history::read(reader.config, &stage).await
}

/// For as long as was asked, with faults unless calm was.
async fn offer_load(chaos: &Chaos, arena: &Arena, recorder: &Recorder) -> anyhow::Result<()> {
    let time = Duration::try_from_secs_f64(chaos.minutes * 60.0).context("no such time")?;
    let plan = if chaos.calm {
        Vec::new()
    } else {
        for (target, why) in &arena.skipped {
            tell(recorder, target, format!("skipped: {why}"));
        }
        plan::plan(chaos.seed, &arena.targets()?, time)
    };
    tokio::join!(
        tokio::time::sleep(time),
        nemesis::run(&plan, arena, recorder)
    );
    Ok(())
}

fn tell(recorder: &Recorder, target: &str, fault: String) {
    recorder.record(&Event::Fault {
        at_us: recorder.now_us(),
        until_us: recorder.now_us(),
        target: target.to_owned(),
        fault,
    });
}

/// The usher, who is in every conversation, is the first.
async fn connect_all(
    chaos: &Chaos,
    arena: &Arena,
    journals: &Path,
) -> anyhow::Result<(Vec<Access>, Vec<Session>)> {
    let access = |client| Access::new(&arena.cluster, client, journals);
    let accesses: Vec<_> = (0..chaos.clients).map(access).collect::<Result<_, _>>()?;
    let mut connected = Vec::with_capacity(accesses.len());
    for some in accesses.chunks(CONNECTING_MAX) {
        let connecting = some.iter().map(Access::connect);
        for session in futures_util::future::join_all(connecting).await {
            connected.push(session.context("a client cannot connect")?);
        }
    }
    Ok((accesses, connected))
}

/// Makes the groups, and gives everything its number in the record.
async fn set_up(
    layout: &Layout,
    usher: &Client,
    accesses: &[Access],
    connected: &[Session],
    recorder: &Recorder,
) -> anyhow::Result<Stage> {
    for ((number, (client, _)), access) in (0..).zip(connected).zip(accesses) {
        recorder.record(&Event::Client {
            client: number,
            account: client.account().id.0,
            name: client.account().name.clone(),
            journal: access.journal.is_some(),
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
