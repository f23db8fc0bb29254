//! Idle sessions: how much memory each takes in the gateways, its memberships included, beside a
//! bare TLS connection in the same run; and what their heartbeats cost.
//!
//! Not here: the connections themselves ([`super::held`]), and the bare server ([`super::bare`]).

use std::time::Duration;

use anyhow::{Context as _, ensure};
use client_sdk::AccountId;
use deploy::tiers::{Instance, Tier};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};

use super::bare::Bare;
use super::held::{Beaten, Door, Heartbeats, Held, Welcomed};
use super::processes::{Processes, Progress, Station, Work, needed};
use super::row::{Row, Rows};
use super::screen::Stage;
use super::site::{Access, NewGroup, Place, Site};
use crate::usage;

/// Sessions of one gateway: below its limit of connections.
const SESSIONS_PER_GATEWAY_MAX: usize = 15_000;

/// Connections of one load process that are being made at once.
const CONNECTING_MAX: usize = 32;

/// One in so many is made and gone before the memory is looked at, so that what a server keeps for
/// its first does not count. Few, because those that come later use again what these have freed.
const WARM_UP_SHARE: usize = 50;

/// What is held.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Where
    #[command(flatten)]
    pub place: Place,
    /// Sessions that are held, each with an account of its own
    #[arg(long, default_value_t = 10_000)]
    pub sessions: usize,
    /// The sizes of the groups that every account is in one of each of
    #[arg(long, value_delimiter = ',', default_value = "10,20,50,100")]
    pub groups: Vec<usize>,
    /// How often a session says that it is there, in milliseconds; 0: as often as the server asks
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub heartbeat_ms: u32,
    /// For how long heartbeats are counted
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Bare connections that are held for comparison; 0: none
    #[arg(long, default_value_t = 5_000)]
    pub bare: usize,
}

impl Options {
    /// Where, with as many gateways as the sessions need.
    #[must_use]
    pub fn place(&self) -> Place {
        let gateways = self.sessions.div_ceil(SESSIONS_PER_GATEWAY_MAX);
        Place {
            gateways: self.place.gateways.max(gateways),
            ..self.place.clone()
        }
    }
}

/// Some of the connections, held by one load process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Holding {
    access: Access,
    /// Numbers of accounts.
    first: usize,
    count: usize,
    heartbeat_ms: u32,
    /// Bare TLS connections instead of sessions.
    is_bare: bool,
}

/// What a load process says when all stand.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Standing {
    /// Accounts by their numbers, from the first.
    accounts: Vec<u64>,
    /// Conversations of all of them.
    memberships: usize,
    /// As often as they say that they are there, in milliseconds.
    heartbeat_ms: u64,
}

/// A connection, its account, how many conversations that is in, and how often it has to beat.
type Came = (Held, u64, usize, Duration);

/// What the coordinator answers: heartbeats for so long, in milliseconds.
type BeatFor = u64;

impl Work for Holding {
    const NAME: &'static str = "idle";
    type Outcome = Beaten;

    async fn run(self, mut station: Station) -> anyhow::Result<Beaten> {
        let door = Door::new(&self.access.addresses, &self.access.ca_pem)?;
        let mut standing = Standing::default();
        let (mut heartbeats, mut silent) = (Heartbeats::default(), Vec::new());
        let numbers = self.first..self.first + self.count;
        let coming = numbers.map(|number| self.come(&door, number));
        let mut coming = futures_util::stream::iter(coming).buffered(CONNECTING_MAX);
        while let Some(came) = coming.next().await {
            let (held, account, memberships, heartbeat) = came?;
            // From its welcome on: those that come first wait long for the last.
            if self.is_bare {
                silent.push(held);
            } else {
                heartbeats.begin(held, heartbeat);
            }
            standing.accounts.push(account);
            standing.memberships += memberships;
            standing.heartbeat_ms = u64::try_from(heartbeat.as_millis())?;
            if standing.accounts.len() % 100 == 0 {
                station.further(Progress {
                    connected: standing.accounts.len() as u64,
                    ..Progress::default()
                });
            }
        }
        drop(coming);
        let beat_for: BeatFor = station.meet(&standing).await?;
        let before = heartbeats.so_far();
        tokio::time::sleep(Duration::from_millis(beat_for)).await;
        let after = heartbeats.so_far();
        let beaten = Beaten {
            beats: after.beats - before.beats,
            lost: after.lost,
        };
        // The connections stand until all are told to go.
        let _over: bool = station.meet(&beaten).await?;
        Ok(beaten)
    }
}

impl Holding {
    async fn come(&self, door: &Door, number: usize) -> anyhow::Result<Came> {
        let visitor = door.visitor(number);
        if self.is_bare {
            return Ok((door.knock(&visitor).await?, 0, 0, Duration::ZERO));
        }
        let token = self.access.token_of(u32::try_from(number)?);
        let entered = door.enter(&visitor, &token, self.heartbeat_ms).await;
        let (held, welcomed) = entered.with_context(|| format!("account {number}"))?;
        let Welcomed {
            account,
            memberships,
            heartbeat,
        } = welcomed;
        Ok((held, account, memberships, heartbeat))
    }
}

/// What was measured of one kind of connection.
struct Measured {
    bytes_per_session: Option<u64>,
    /// Of a core, in the time of the heartbeats.
    cpu_us: u64,
    beats: u64,
    lost: u64,
    memberships: usize,
    heartbeat_ms: u64,
}

/// Holds the sessions, and bare connections before them, and measures both.
///
/// # Errors
/// When the cluster cannot be used, or connections are refused.
pub async fn run(options: &Options, site: &mut Site) -> anyhow::Result<Rows> {
    ensure!(options.sessions > 0, "--sessions: at least one");
    ensure!(
        options.bare <= SESSIONS_PER_GATEWAY_MAX,
        "--bare: one process holds {SESSIONS_PER_GATEWAY_MAX}"
    );
    let bare = match options.bare {
        0 => None,
        bare => Some(hold_bare(bare).await?),
    };
    prepare(options, site).await?;
    let pids: Vec<_> = gateways(site)?;
    let over = Duration::from_secs(options.seconds);
    let holding = |first, count| Holding {
        access: site.access.clone(),
        first,
        count,
        heartbeat_ms: options.heartbeat_ms,
        is_bare: false,
    };
    let measured = hold(options.sessions, &pids, over, holding).await?;
    let mut row = Row::new("idle")
        .with("sessions", options.sessions)
        .with("gateways", site.access.addresses.len())
        .with("load_processes", needed(options.sessions))
        .with("memberships", measured.memberships)
        .with("bytes_per_session", measured.bytes_per_session);
    if let Some(bare) = bare.and_then(|bare| bare.bytes_per_session) {
        row.put("bare_bytes_per_session", bare);
        let ours = measured.bytes_per_session.unwrap_or_default();
        row.put("bytes_percent_of_bare", percent(ours, bare));
    }
    row.put("heartbeat_interval_ms", measured.heartbeat_ms);
    row.put("heartbeats", measured.beats);
    if measured.bytes_per_session.is_some() {
        let over_us = u64::try_from(over.as_micros())?;
        row.put("gateway_cpu_percent", percent(measured.cpu_us, over_us));
    }
    row.put("lost", measured.lost);
    if measured.lost > 0 {
        row.make_void(format!("{} connections were lost", measured.lost));
    }
    Ok(row.into())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn percent(part: u64, of: u64) -> f64 {
    100.0 * part as f64 / of.max(1) as f64
}

/// Every account is made, and is in its groups. What the gateways have kept of it goes with them.
async fn prepare(options: &Options, site: &mut Site) -> anyhow::Result<()> {
    let accounts = hold_accounts(options, site).await?;
    let mut groups = Vec::new();
    for size in &options.groups {
        let members: Vec<_> = (0..).zip(&accounts).collect();
        for (number, members) in members.chunks((*size).max(1)).enumerate() {
            groups.push(NewGroup {
                name: format!("idle {size}-{number}"),
                members: members
                    .iter()
                    .map(|(number, account)| (*number, AccountId(**account)))
                    .collect(),
            });
        }
    }
    site.make_groups(groups).await?;
    let count = site.access.addresses.len();
    if let Some(cluster) = site.cluster_mut()
        && cluster.is_own()
    {
        for number in 0..count {
            let tier = Tier::Gateway;
            cluster.kill_one(Instance { tier, number }).await?;
        }
    }
    Ok(())
}

/// Connects every account once; who it is then is known.
async fn hold_accounts(options: &Options, site: &Site) -> anyhow::Result<Vec<u64>> {
    let holding = |first, count| Holding {
        access: site.access.clone(),
        first,
        count,
        heartbeat_ms: 0,
        is_bare: false,
    };
    let shares = shares(options.sessions, holding);
    let standing = come_and_go(shares, "accounts", options.sessions).await?;
    Ok(standing.into_iter().flat_map(|of| of.accounts).collect())
}

async fn hold_bare(count: usize) -> anyhow::Result<Measured> {
    let bare = Bare::start().await?;
    let holding = |first, count| Holding {
        access: bare.access.clone(),
        first,
        count,
        heartbeat_ms: 0,
        is_bare: true,
    };
    hold(count, &[bare.pid], Duration::ZERO, holding).await
}

/// Connects everybody, and lets them go without a heartbeat.
async fn come_and_go(
    works: Vec<Holding>,
    name: &'static str,
    count: usize,
) -> anyhow::Result<Vec<Standing>> {
    let mut processes = Processes::start(works).await?;
    watch(&mut processes, name, count);
    let standing = processes.meet::<Standing>().await?;
    processes.answer(&BeatFor::default()).await?;
    processes.meet::<Beaten>().await?;
    processes.answer(&true).await?;
    processes.outcomes().await?;
    Ok(standing)
}

/// Holds so many, and measures these processes meanwhile.
async fn hold(
    count: usize,
    pids: &[i32],
    over: Duration,
    holding: impl Fn(usize, usize) -> Holding,
) -> anyhow::Result<Measured> {
    // What the first connections leave behind.
    let first = count.div_ceil(WARM_UP_SHARE);
    come_and_go(vec![holding(0, first)], "warm-up", first).await?;
    let before = resident(pids);
    let mut processes = Processes::start(shares(count, holding)).await?;
    watch(&mut processes, "sessions", count);
    let standing = processes.meet::<Standing>().await?;
    let after = resident(pids);
    let cpu_before = cpu(pids);
    let over_ms = u64::try_from(over.as_millis())?;
    processes.answer(&over_ms).await?;
    let beaten = processes.meet::<Beaten>().await?;
    let cpu_us = cpu(pids).saturating_sub(cpu_before);
    processes.answer(&true).await?;
    processes.outcomes().await?;
    let grown = after
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before));
    Ok(Measured {
        bytes_per_session: grown.map(|grown| grown / count as u64),
        cpu_us,
        beats: beaten.iter().map(|beaten| beaten.beats).sum(),
        lost: beaten.iter().map(|beaten| beaten.lost).sum(),
        memberships: standing.iter().map(|of| of.memberships).sum(),
        heartbeat_ms: standing.iter().map(|of| of.heartbeat_ms).max().unwrap_or(0),
    })
}

/// One share for each load process.
fn shares(count: usize, holding: impl Fn(usize, usize) -> Holding) -> Vec<Holding> {
    let share = count.div_ceil(needed(count));
    let firsts = (0..count).step_by(share.max(1));
    firsts
        .map(|first| holding(first, share.min(count - first)))
        .collect()
}

fn watch(processes: &mut Processes<Holding>, name: &'static str, count: usize) {
    let stage = Stage::new(name, count as u64);
    processes.watch(move |progress| {
        stage.at(progress.connected);
        Ok(())
    });
}

fn gateways(site: &Site) -> anyhow::Result<Vec<i32>> {
    let processes = site.processes()?.into_iter();
    let gateways = processes.filter(|process| process.tier == Tier::Gateway);
    Ok(gateways.map(|process| process.pid).collect())
}

/// `None`: there are none, or not here.
fn resident(pids: &[i32]) -> Option<u64> {
    let each = pids.iter().map(|pid| usage::resident_bytes(*pid));
    let sum: Option<u64> = each.sum();
    sum.filter(|_| !pids.is_empty())
}

fn cpu(pids: &[i32]) -> u64 {
    pids.iter().filter_map(|pid| usage::cpu_us(*pid)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_all_of_it() {
        let holding = |first, count| Holding {
            access: Access {
                addresses: Vec::new(),
                ca_pem: String::new(),
                token: String::new(),
                first_account: 0,
            },
            first,
            count,
            heartbeat_ms: 0,
            is_bare: false,
        };
        for count in [1, 15_000, 15_001, 100_000] {
            let shares = shares(count, holding);
            assert_eq!(shares.len(), needed(count));
            let mut next = 0;
            for share in shares {
                assert_eq!(share.first, next);
                next += share.count;
            }
            assert_eq!(next, count);
        }
    }
}
