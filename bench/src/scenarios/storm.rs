//! A connect storm: logins a second beside the handshakes a second of a bare TLS server in the same
//! run, at first and with tickets; and how long a fleet takes to be back, with its history complete,
//! after a gateway was killed.
//!
//! Not here: the connections ([`super::held`]), and the robots that come back ([`super::back`]).

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::back;
use super::bare::Bare;
use super::held::{Door, Visitor};
use super::processes::{Processes, Progress, Station, Work, needed};
use super::row::{Row, Rows};
use super::screen::Stage;
use super::site::{Access, Place, Site};
use crate::cluster::Cluster;
use crate::usage;

/// How often a load process says how far it is, in connections.
const TOLD_EVERY: usize = 50;

/// How hard.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Where
    #[command(flatten)]
    pub place: Place,
    /// Connections of each storm
    #[arg(long, default_value_t = 2_000)]
    pub connections: usize,
    /// Connections that are being made at once
    #[arg(long, default_value_t = 64)]
    pub at_once: usize,
    /// How often each storm is made; the median counts
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Robots that come back after a gateway's death; 0: none dies. Only on a cluster of its own
    #[arg(long, default_value_t = 1_000)]
    pub back: usize,
}

/// A load process makes two: nobody has been there before the first, and everybody has a ticket in
/// the second.
const STORMS: usize = 2;

/// Some of the connections of a storm.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Storming {
    access: Access,
    first: usize,
    count: usize,
    at_once: usize,
    is_bare: bool,
}

/// How long a storm took, as one load process saw it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Took {
    us: u64,
    resumed: usize,
}

impl Work for Storming {
    const NAME: &'static str = "storm";
    type Outcome = ();

    async fn run(self, mut station: Station) -> anyhow::Result<()> {
        let door = Door::new(&self.access.addresses, &self.access.ca_pem)?;
        let numbers = self.first..self.first + self.count;
        let visitors: Vec<_> = numbers
            .map(|number| (number, door.visitor(number)))
            .collect();
        let _begin: bool = station.meet(&true).await?;
        for _ in 0..STORMS {
            let took = self.storm(&door, &visitors, &station).await?;
            let _next: bool = station.meet(&took).await?;
        }
        Ok(())
    }
}

impl Storming {
    /// Everybody comes; when all are there, all leave.
    async fn storm(
        &self,
        door: &Door,
        visitors: &[(usize, Visitor)],
        station: &Station,
    ) -> anyhow::Result<Took> {
        let begin = Instant::now();
        let coming = visitors.iter().map(|(number, visitor)| async move {
            if self.is_bare {
                return door.knock(visitor).await;
            }
            let token = self.access.token_of(u32::try_from(*number)?);
            let entered = door.enter(visitor, &token, 0).await;
            let (held, _) = entered.with_context(|| format!("account {number}"))?;
            Ok(held)
        });
        let mut coming = futures_util::stream::iter(coming).buffer_unordered(self.at_once);
        let mut all = Vec::with_capacity(visitors.len());
        while let Some(came) = coming.next().await {
            all.push(came?);
            if all.len() % TOLD_EVERY == 0 {
                station.further(Progress {
                    connected: all.len() as u64,
                    ..Progress::default()
                });
            }
        }
        // A ticket comes before whatever else the server says, so everybody has one.
        Ok(Took {
            us: u64::try_from(begin.elapsed().as_micros())?,
            resumed: all.iter().filter(|held| held.is_resumed()).count(),
        })
    }
}

/// A storm, from all sides.
#[derive(Debug, Clone, Copy, Default)]
struct Stormed {
    per_second: f64,
    /// CPU of the servers for each connection.
    cpu_us_each: f64,
    /// Connections that came with a ticket which was taken.
    resumed: usize,
}

/// Makes storms on the cluster and on a bare server in turn, then kills a gateway.
///
/// # Errors
/// When the cluster cannot be used, or connections are refused.
pub async fn run(options: &Options, site: &mut Site) -> anyhow::Result<Rows> {
    ensure!(options.connections > 0, "--connections: at least one");
    ensure!(options.at_once > 0, "--at-once: at least one");
    ensure!(options.rounds > 0, "--rounds: at least one");
    let processes = site.processes()?.into_iter();
    let pids: Vec<_> = processes.map(|process| process.pid).collect();
    let mut rounds = Vec::with_capacity(options.rounds);
    // The first storms make the accounts, and do not count.
    storms(options, &site.access, Server::Ours(&pids)).await?;
    for _ in 0..options.rounds {
        let server = Bare::start().await?;
        let bare = storms(options, &server.access, Server::Bare(server.pid)).await?;
        let ours = storms(options, &site.access, Server::Ours(&pids)).await?;
        rounds.push((bare, ours));
    }
    let mut rows: Vec<_> = (0..STORMS)
        .map(|storm| {
            let pairs: Vec<_> = rounds
                .iter()
                .map(|(bare, ours)| (bare[storm], ours[storm]))
                .collect();
            row(options, &pairs, !pids.is_empty())
        })
        .collect();
    if options.back > 0 && site.cluster().is_some_and(Cluster::is_own) {
        rows.push(back::run(options.back, site).await?);
    }
    Ok(Rows(rows))
}

/// Of one of the storms, in every round: bare, and ours.
fn row(options: &Options, rounds: &[(Stormed, Stormed)], cpu_is_known: bool) -> Row {
    let of_bare = |of: fn(&Stormed) -> f64| median(rounds.iter().map(|(bare, _)| of(bare)));
    let of_ours = |of: fn(&Stormed) -> f64| median(rounds.iter().map(|(_, ours)| of(ours)));
    let ratios = rounds
        .iter()
        .map(|(bare, ours)| ours.per_second / bare.per_second);
    let resumed = rounds.iter().map(|(_, ours)| ours.resumed).min();
    let mut row = Row::new("connect-storm")
        .with("connections", options.connections)
        .with("resumed", resumed.unwrap_or(0))
        .with("logins_per_s", of_ours(|storm| storm.per_second))
        .with("bare_handshakes_per_s", of_bare(|storm| storm.per_second))
        .with("percent_of_bare", 100.0 * median(ratios));
    if cpu_is_known {
        row.put(
            "server_cpu_us_per_login",
            of_ours(|storm| storm.cpu_us_each),
        );
        row.put(
            "bare_cpu_us_per_handshake",
            of_bare(|storm| storm.cpu_us_each),
        );
    }
    row
}

/// Whom a storm goes to.
#[derive(Debug, Clone, Copy)]
enum Server<'a> {
    Bare(i32),
    /// All processes of the tiers, if they are here.
    Ours(&'a [i32]),
}

impl Server<'_> {
    fn cpu_us(self) -> u64 {
        match self {
            Self::Bare(pid) => usage::cpu_us(pid).unwrap_or_default(),
            Self::Ours(pids) => pids.iter().filter_map(|pid| usage::cpu_us(*pid)).sum(),
        }
    }
}

/// Both storms, the first comers and those with tickets.
async fn storms(
    options: &Options,
    access: &Access,
    server: Server<'_>,
) -> anyhow::Result<[Stormed; STORMS]> {
    let is_bare = matches!(server, Server::Bare(_));
    let processes = needed(options.connections);
    let share = options.connections.div_ceil(processes);
    let firsts = (0..options.connections).step_by(share);
    let works: Vec<_> = firsts
        .map(|first| Storming {
            access: access.clone(),
            first,
            count: share.min(options.connections - first),
            at_once: options.at_once.div_ceil(processes),
            is_bare,
        })
        .collect();
    let mut processes = Processes::start(works).await?;
    let name = if is_bare { "bare" } else { "sessions" };
    let stage = Stage::new(name, options.connections as u64);
    processes.watch(move |progress| {
        stage.at(progress.connected);
        Ok(())
    });
    processes.meet::<bool>().await?;
    let mut storms = [Stormed::default(); STORMS];
    for storm in &mut storms {
        let cpu_before = server.cpu_us();
        processes.answer(&true).await?;
        let took = processes.meet::<Took>().await?;
        let cpu_us = server.cpu_us().saturating_sub(cpu_before);
        *storm = Stormed::of(options.connections, &took, cpu_us);
    }
    processes.answer(&true).await?;
    processes.outcomes().await?;
    Ok(storms)
}

impl Stormed {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn of(connections: usize, took: &[Took], cpu_us: u64) -> Self {
        Self {
            per_second: per_second(connections, took),
            cpu_us_each: cpu_us as f64 / connections as f64,
            resumed: took.iter().map(|took| took.resumed).sum(),
        }
    }
}

/// They begin together: the storm is over when the last process says so.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn per_second(connections: usize, took: &[Took]) -> f64 {
    let us = took.iter().map(|took| took.us).max().unwrap_or(0);
    connections as f64 / Duration::from_micros(us.max(1)).as_secs_f64()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_as_long_as_its_slowest_process() {
        let took = [1_000_000, 2_000_000].map(|us| Took { us, resumed: 0 });
        let rate = per_second(3_000, &took);
        assert!((rate - 1_500.0).abs() < 1e-6);
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < 1e-9);
    }
}
