//! The coordinator of `send`, `fanout`, `groups` and `mixed`: gathers everybody, makes the groups,
//! orders rounds of load, and adds up what came of them, with the CPU that it took.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use client_sdk::AccountId;
use deploy::tiers::Tier;

use crate::clock;
use crate::scenarios::meter::Meter;
use crate::scenarios::pacing::Timing;
use crate::scenarios::processes::{self, Processes, Progress};
use crate::scenarios::screen::Stage;
use crate::scenarios::site::{NewGroup, ServerProcess, Site};
use crate::scenarios::traffic::{Heads, Order, Standing, Traffic};
use crate::scenarios::workload::{Pace, Workload};
use crate::usage::Cpu;

/// Answers that are needed before an error rate says something.
const ANSWERS_MIN: u64 = 200;

/// One round of load to order.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How much.
    pub pace: Pace,
    /// How long it rises.
    pub ramp_up: Duration,
    /// How long it stands before it counts.
    pub warm_up: Duration,
    /// How long it counts.
    pub measure: Duration,
    /// Of the answers, how many may be failures, from 0 to 1, before the run is stopped.
    pub error_rate_max: f64,
}

/// What came of a round.
#[derive(Debug, Clone)]
pub struct Round {
    /// What was counted.
    pub meter: Meter,
    /// For how long, in seconds.
    pub seconds: f64,
    /// The CPU of each tier while it counted, in microseconds; empty when the cluster is not on this
    /// machine.
    pub server_cpu_us: Vec<(Tier, u64)>,
    /// That of all load processes.
    pub load_cpu_us: u64,
}

/// Everybody, connected and in their groups.
#[derive(Debug)]
pub struct Crowd {
    processes: Processes<Traffic>,
    workload: Workload,
    server: Vec<ServerProcess>,
}

impl Crowd {
    /// Connects everybody and makes the groups. `load_processes`: by itself, from the number of
    /// connections, when it is not said.
    ///
    /// # Errors
    /// When somebody cannot connect, or a group cannot be made.
    pub async fn gather(
        site: &mut Site,
        workload: Workload,
        payload_bytes: usize,
        load_processes: Option<usize>,
    ) -> anyhow::Result<Self> {
        let accounts = workload.accounts;
        let processes = load_processes.unwrap_or_else(|| processes::needed(accounts as usize));
        let divided = workload.divide(processes);
        let works = divided.into_iter().map(|accounts| Traffic {
            access: site.access.clone(),
            workload: workload.clone(),
            accounts,
            payload_bytes,
        });
        let mut processes = Processes::start(works.collect()).await?;
        let stage = Stage::new("connecting", accounts.into());
        let bar = stage.clone();
        processes.watch(move |progress: Progress| {
            bar.at(progress.connected);
            Ok(())
        });
        let ids: Vec<Vec<u64>> = processes.meet().await?;
        stage.over();
        let ids: Vec<u64> = ids.into_iter().flatten().collect();
        let member = |account: &u32| (*account, AccountId(ids[*account as usize]));
        let groups = workload.groups.iter().enumerate();
        let groups = groups.map(|(index, members)| NewGroup {
            name: format!("{index}"),
            members: members.iter().map(member).collect(),
        });
        let groups = site.make_groups(groups.collect()).await?;
        let standing = Standing {
            accounts: ids,
            groups,
        };
        processes.answer(&standing).await?;
        let _: Vec<()> = processes.meet().await?;
        Ok(Self {
            processes,
            workload,
            server: site.processes()?,
        })
    }

    /// How many load processes there are.
    #[must_use]
    pub fn processes(&self) -> usize {
        self.processes.pids().len()
    }

    /// The whole load.
    #[must_use]
    pub const fn workload(&self) -> &Workload {
        &self.workload
    }

    /// One round of load.
    ///
    /// # Errors
    /// When a connection breaks, or more fails than may.
    pub async fn round(&mut self, load: &Load) -> anyhow::Result<Round> {
        let timing = Timing {
            start_us: processes::common_start_us(),
            ramp_us: micros(load.ramp_up),
            warm_up_us: micros(load.warm_up),
            measure_us: micros(load.measure),
        };
        let stage = Stage::new("load", timing.until_us() - timing.start_us);
        self.processes.watch(watcher(load, timing, stage.clone()));
        let order = Order::Round {
            timing,
            pace: load.pace,
        };
        self.processes.answer(&order).await?;
        let pids = self.processes.pids();
        let server = self.server.clone();
        let used = async {
            sleep_until(timing.from_us()).await;
            let before = (snapshot(&server), Cpu::now(&pids), clock::unix_us());
            sleep_until(timing.until_us()).await;
            let after = (snapshot(&server), Cpu::now(&pids), clock::unix_us());
            anyhow::Ok((before, after))
        };
        let meeting = self.processes.meet::<Heads>();
        let (told, (before, after)) = tokio::try_join!(meeting, used)?;
        stage.over();
        let heads = self.heads(told)?;
        self.processes.answer(&heads).await?;
        let meters: Vec<Meter> = self.processes.meet().await?;
        let mut meters = meters.into_iter();
        let mut meter = meters.next().context("no load process")?;
        meters.for_each(|other| meter.add(&other));
        let tiers = after.0.iter().zip(&before.0);
        let server_cpu_us = tiers.map(|((tier, after), (_, before))| {
            let used = after.since(before);
            (*tier, used.those_us)
        });
        Ok(Round {
            meter,
            seconds: seconds(after.2 - before.2),
            server_cpu_us: server_cpu_us.collect(),
            load_cpu_us: after.1.since(&before.1).those_us,
        })
    }

    /// Everybody goes.
    ///
    /// # Errors
    /// When a load process has failed.
    pub async fn leave(mut self) -> anyhow::Result<()> {
        self.processes.answer(&Order::End).await?;
        self.processes.outcomes().await?;
        Ok(())
    }

    fn heads(&self, told: Vec<Heads>) -> anyhow::Result<Vec<u64>> {
        let mut heads = vec![None; self.workload.conversations()];
        for (index, head) in told.into_iter().flatten() {
            heads[index] = Some(head);
        }
        let heads: Option<Vec<u64>> = heads.into_iter().collect();
        heads.context("the head of a conversation is not known")
    }
}

/// Draws the bar, and ends a run in which too much fails.
fn watcher(
    load: &Load,
    timing: Timing,
    bar: Stage,
) -> impl Fn(Progress) -> anyhow::Result<()> + Send + Sync + 'static {
    let most = load.error_rate_max;
    move |progress: Progress| {
        bar.at(clock::unix_us()
            .min(timing.until_us())
            .saturating_sub(timing.start_us));
        bar.say(format!(
            "sent {} acknowledged {} delivered {}",
            progress.sent, progress.acked, progress.delivered
        ));
        let answers = progress.acked + progress.failed;
        let rate = ratio(progress.failed, answers);
        ensure!(
            answers < ANSWERS_MIN || rate <= most,
            "{:.1} % of the sends failed, and --error-rate-max allows {:.1} %; the run is stopped",
            rate * 100.0,
            most * 100.0
        );
        Ok(())
    }
}

fn snapshot(server: &[ServerProcess]) -> Vec<(Tier, Cpu)> {
    let one = |process: &ServerProcess| (process.tier, Cpu::now(&[process.pid]));
    server.iter().map(one).collect()
}

async fn sleep_until(at_us: u64) {
    let wait_us = at_us.saturating_sub(clock::unix_us());
    tokio::time::sleep(Duration::from_micros(wait_us)).await;
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "for reading")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// 0 when there is nothing to divide by.
#[expect(clippy::cast_precision_loss, reason = "for reading")]
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_in_which_too_much_fails_is_stopped() {
        let load = Load {
            pace: Pace::Open { per_s: 1.0 },
            ramp_up: Duration::ZERO,
            warm_up: Duration::ZERO,
            measure: Duration::ZERO,
            error_rate_max: 0.05,
        };
        let told = watcher(&load, Timing::default(), Stage::new("load", 1));
        let of = |acked, failed| Progress {
            acked,
            failed,
            ..Progress::default()
        };
        assert!(told(of(0, ANSWERS_MIN - 1)).is_ok());
        assert!(told(of(950, 50)).is_ok());
        let stopped = told(of(940, 60)).unwrap_err().to_string();
        assert!(
            stopped.starts_with("6.0 % of the sends failed"),
            "{stopped}"
        );
    }
}
