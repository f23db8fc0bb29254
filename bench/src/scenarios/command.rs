//! One command to many robots: the time until its issuer knows every outcome.
//!
//! The robots are lean clients with certificates of their own. They do what the protocol asks of a
//! robot: accept, wait for the answer, finish; and count whatever they are given twice. The issuer is
//! an SDK client, and knows what it was told: nothing is read from the server's side.

mod robots;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use client_sdk::protocol::command;
use client_sdk::{AccountId, Client, NewCommand, Targets};

pub use self::robots::Orderlies;
use self::robots::{Given, Standing};
use super::processes::{Processes, Progress, needed};
use super::row::{Row, Rows};
use super::screen::Stage;
use crate::clock;
use crate::cluster::Cluster;
use crate::usage;

/// Robots of one group: an issuer commands those that it shares a group with.
const ROBOTS_PER_GROUP: usize = 1_000;

/// How long a command may take; what is not known then is lost.
const WITHIN: Duration = Duration::from_secs(60);

/// What is sent.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Robots that each command goes to
    #[arg(long, value_name = "N", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub targets: u32,
    /// Commands, one after the other
    #[arg(long, value_name = "N", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub commands: u32,
    /// Processes that the robots are in, at least
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub load_processes: usize,
    /// Gateways of the cluster that is started for the run
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub gateways: usize,
}

/// What became of one command, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Measured {
    stored_us: u64,
    known_us: u64,
    unknown: u32,
}

/// Runs it on a cluster of its own.
///
/// # Errors
/// When the cluster does not start, or robots do not come.
pub async fn run(options: &Options) -> anyhow::Result<Rows> {
    let folder = tempfile::tempdir()?;
    let cluster = Cluster::start_in(folder, options.gateways).await?;
    let targets = options.targets as usize;
    let processes = needed(targets).max(options.load_processes).min(targets);
    let share = targets.div_ceil(processes);
    let works = (0..targets).step_by(share).map(|first| {
        let count = share.min(targets - first);
        Orderlies::new(cluster.state(), first, count)
    });
    let mut processes = Processes::start(works.collect()).await?;
    let stage = Stage::new("robots", targets as u64);
    processes.watch(move |progress: Progress| {
        stage.at(progress.connected);
        Ok(())
    });
    let robots = processes.meet::<Standing>().await?;
    let robots: Vec<_> = robots.into_iter().flat_map(|its| its.accounts).collect();
    ensure!(robots.len() == targets, "{} robots came", robots.len());
    let (issuer, _events) = Client::connect(cluster.operator("im-bench")?).await?;
    let robots: Vec<_> = robots.into_iter().map(AccountId).collect();
    for members in robots.chunks(ROBOTS_PER_GROUP) {
        issuer.create_group("im-bench command", members).await?;
    }
    processes.answer(&true).await?;
    let before_us = processes.cpu_us();
    let tiers: Vec<_> = cluster
        .run_file()?
        .tiers
        .iter()
        .map(|its| its.pid)
        .collect();
    let served_us = || {
        tiers
            .iter()
            .filter_map(|pid| usage::cpu_us(*pid))
            .sum::<u64>()
    };
    let server_before_us = served_us();
    let mut measured = Vec::new();
    for _ in 0..options.commands {
        measured.push(send(&issuer, robots.clone()).await?);
    }
    let server_us = served_us() - server_before_us;
    let load_us = processes.cpu_us() - before_us;
    let _all: Vec<bool> = processes.meet().await?;
    processes.answer(&true).await?;
    let given = processes.outcomes().await?;
    issuer.close().await;
    let row = row(options, &measured, &given);
    let row = row
        .with(
            "server_cpu_ms_per_command",
            server_us / 1000 / u64::from(options.commands),
        )
        .with(
            "load_cpu_ms_per_command",
            load_us / 1000 / u64::from(options.commands),
        );
    cluster.stop().await?;
    Ok(row.into())
}

async fn send(issuer: &Client, robots: Vec<AccountId>) -> anyhow::Result<Measured> {
    let targets = u32::try_from(robots.len())?;
    let command = NewCommand::new(Targets::Robots(robots), "bench", WITHIN);
    let begun_us = clock::unix_us();
    let mut watch = issuer.send_command(command).await.context("the command")?;
    let stored_us = since(begun_us);
    let known = tokio::time::timeout(WITHIN, watch.finished()).await;
    let known_us = since(begun_us);
    if let Ok(known) = known {
        known?;
    }
    let counts = watch.counts();
    ensure!(
        command::total(counts) == targets,
        "outcomes that nobody has: {counts:?}"
    );
    Ok(Measured {
        stored_us,
        known_us,
        unknown: targets - counts.finished,
    })
}

fn since(begun_us: u64) -> u64 {
    clock::unix_us().saturating_sub(begun_us)
}

fn row(options: &Options, measured: &[Measured], given: &[Given]) -> Row {
    let sorted = |of: fn(&Measured) -> u64| {
        let mut all: Vec<_> = measured.iter().map(of).collect();
        all.sort_unstable();
        all
    };
    let (stored, known) = (sorted(|its| its.stored_us), sorted(|its| its.known_us));
    let at = |all: &[u64], share: usize| {
        let last = all.len().saturating_sub(1);
        all.get(last * share / 100).copied().unwrap_or_default()
    };
    let sum = |of: fn(&Given) -> u64| given.iter().map(of).sum::<u64>();
    let lost: u32 = measured.iter().map(|its| its.unknown).sum();
    Row::new("command")
        .with("targets", options.targets)
        .with("commands", options.commands)
        .with("stored_p50_us", at(&stored, 50))
        .with("stored_max_us", at(&stored, 100))
        .with("known_p50_us", at(&known, 50))
        .with("known_max_us", at(&known, 100))
        .with("begun", sum(|its| its.begun))
        .with("given_again", sum(|its| its.again))
        .with("lost", lost)
        .with("duplicated", sum(|its| its.begun_twice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_is_lost_and_what_began_twice_is_duplicated() {
        let options = Options {
            targets: 10,
            commands: 3,
            load_processes: 1,
            gateways: 1,
        };
        let measured =
            [(5, 30, 0), (3, 10, 2), (4, 20, 0)].map(|(stored_us, known_us, unknown)| Measured {
                stored_us,
                known_us,
                unknown,
            });
        let given = Given {
            begun: 30,
            again: 1,
            begun_twice: 1,
        };
        let row = row(&options, &measured, &[given]);
        let figure = |key| row.get(key).and_then(serde_json::Value::as_u64);
        assert_eq!(figure("known_p50_us"), Some(20));
        assert_eq!(figure("known_max_us"), Some(30));
        assert_eq!((figure("lost"), figure("duplicated")), (Some(2), Some(1)));
    }
}
