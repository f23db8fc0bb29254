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

/// Which connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Storm {
    /// Nobody has been there.
    First,
    /// Everybody has a ticket.
    Again,
}

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
        for _ in [Storm::First, Storm::Again] {
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

/// Connections a second, of a storm of first comers and of one that comes again.
#[derive(Debug, Clone, Copy)]
struct Rates {
    first: f64,
    again: f64,
    resumed: usize,
}

/// Makes storms on the cluster and on a bare server in turn, then kills a gateway.
///
/// # Errors
/// When the cluster cannot be used, or connections are refused.
pub async fn run(options: &Options, site: &mut Site) -> anyhow::Result<Rows> {
    ensure!(options.rounds > 0, "--rounds: at least one");
    let mut rounds = Vec::with_capacity(options.rounds);
    // The first storm makes the accounts, and does not count.
    storm(options, &site.access, false).await?;
    for _ in 0..options.rounds {
        let bare = Bare::start().await?;
        let bare = storm(options, &bare.access, true).await?;
        let ours = storm(options, &site.access, false).await?;
        rounds.push((bare, ours));
    }
    let mut rows = Vec::new();
    for kind in [Storm::First, Storm::Again] {
        let rate = |rates: &Rates| match kind {
            Storm::First => rates.first,
            Storm::Again => rates.again,
        };
        let ours = median(rounds.iter().map(|(_, ours)| rate(ours)));
        let bare = median(rounds.iter().map(|(bare, _)| rate(bare)));
        let ratio = median(rounds.iter().map(|(bare, ours)| rate(ours) / rate(bare)));
        let resumed = rounds.iter().map(|(_, ours)| ours.resumed).min();
        let resumed = match kind {
            Storm::First => 0,
            Storm::Again => resumed.unwrap_or(0),
        };
        rows.push(
            Row::new("connect-storm")
                .with("connections", options.connections)
                .with("resumed", resumed)
                .with("logins_per_s", ours)
                .with("bare_handshakes_per_s", bare)
                .with("percent_of_bare", 100.0 * ratio),
        );
    }
    if options.back > 0 && site.cluster().is_some_and(|cluster| cluster.is_own()) {
        rows.push(back::run(options.back, site).await?);
    }
    Ok(Rows(rows))
}

async fn storm(options: &Options, access: &Access, is_bare: bool) -> anyhow::Result<Rates> {
    let processes = needed(options.connections);
    let share = options.connections.div_ceil(processes);
    let firsts = (0..options.connections).step_by(share.max(1));
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
    processes.answer(&true).await?;
    let first = processes.meet::<Took>().await?;
    processes.answer(&true).await?;
    let again = processes.meet::<Took>().await?;
    processes.answer(&true).await?;
    processes.outcomes().await?;
    Ok(Rates {
        first: per_second(options.connections, &first),
        again: per_second(options.connections, &again),
        resumed: again.iter().map(|took| took.resumed).sum(),
    })
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
