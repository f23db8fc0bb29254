//! `send`, `fanout`, `groups` and `mixed`: their options, one run of them, and the search for the
//! highest rate that is sustained (`--find-max`).

mod figures;

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use crate::scenarios::crowd::{Crowd, Load, Round};
use crate::scenarios::meter::Meter;
use crate::scenarios::row::{Row, Rows};
use crate::scenarios::search::{Next, Search};
use crate::scenarios::site::{Place, Site};
use crate::scenarios::workload::{Class, Pace, Through, Workload};

/// Where a search begins, in sends a second of all publishers together.
const SEARCH_FROM_PER_S: f64 = 1_000.0;

/// How often a rate of a search is run again whose run was void. Then it counts as not sustained,
/// because the load cannot tell.
const VOID_REPEATS_MAX: usize = 2;

/// What `send`, `fanout` and `groups` are asked.
#[derive(Debug, Clone, clap::Args)]
pub struct GroupOptions {
    /// Members of each group [send: 10, fanout: 100, groups: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub members: Option<u32>,
    /// How many of them publish [send and fanout: 1, groups: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub publishers: Option<u32>,
    /// Groups, with members of their own [send and fanout: 1, groups: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub groups: Option<u32>,
    /// Sends of a publisher that are under way at once: with `send` until their ack, with the others
    /// until the publisher has got them back as well, as a member [send: 16, fanout: 8, groups: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=240))]
    pub window: Option<u32>,
    /// Messages a second of each publisher, whatever the server does; 0: as many as the window lets
    /// through
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub rate: u64,
    /// How it is run.
    #[command(flatten)]
    pub run: RunOptions,
}

/// What `mixed` is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct MixedOptions {
    /// Robots: in teams of 10, zones of 50 and all together, each with a pair with the dispatcher
    #[arg(long, value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(2..10_000))]
    pub robots: u32,
    /// Messages a second of all together [1.42 for each robot, of which 1 is telemetry]
    #[arg(long, value_name = "N")]
    pub rate: Option<f64>,
    /// How it is run.
    #[command(flatten)]
    pub run: RunOptions,
}

/// What every load is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct RunOptions {
    /// On which cluster.
    #[command(flatten)]
    pub place: Place,
    /// For how long load counts
    #[arg(long, value_name = "S", default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// For how long it is offered before that
    #[arg(long, value_name = "S", default_value_t = 2,
        value_parser = clap::value_parser!(u64).range(..=3_600))]
    pub warm_up_seconds: u64,
    /// For how long it rises before that
    #[arg(long, value_name = "S", default_value_t = 0,
        value_parser = clap::value_parser!(u64).range(..=3_600))]
    pub ramp_up_seconds: u64,
    /// Bytes of a message's content, at least eight
    #[arg(long, value_name = "BYTES", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(8..=200_000))]
    pub payload: u32,
    /// Processes that the load comes from [one for 15,000 connections]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub load_processes: Option<u16>,
    /// Stops the run when more of the sends fail, in percent: refused, or not taken at once
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0)]
    pub error_rate_max: f64,
    /// The CPU of the load for each delivery in the limit probe, in microseconds (`im-bench peers`):
    /// a run whose load used over 20 % more is void
    #[arg(long, value_name = "US")]
    pub probe_cpu_us: Option<f64>,
    /// Searches the highest rate that is sustained: everything acknowledged, the p99 within --p99-ms
    #[arg(long, requires = "p99_ms")]
    pub find_max: bool,
    /// The p99 that --find-max allows: of the ack (`send`, `groups`), of the delivery (`fanout`,
    /// `mixed`)
    #[arg(long, value_name = "MS", requires = "find_max")]
    pub p99_ms: Option<f64>,
}

impl RunOptions {
    fn load(&self, pace: Pace) -> Load {
        Load {
            pace,
            ramp_up: Duration::from_secs(self.ramp_up_seconds),
            warm_up: Duration::from_secs(self.warm_up_seconds),
            measure: Duration::from_secs(self.seconds),
            error_rate_max: self.error_rate_max / 100.0,
        }
    }
}

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Publishers that wait for their acks.
    Send,
    /// Publishers to every member of their groups.
    Fanout,
    /// Small groups, of which every member publishes.
    Groups,
}

/// Whose latency is told first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Ack,
    Delivery,
}

/// What is run, how much of it, and what is told of it.
struct Run<'o> {
    name: &'static str,
    measure: Measure,
    pace: Pace,
    options: &'o RunOptions,
    /// What the row says of the load beside its figures.
    settings: Vec<(&'static str, u64)>,
}

/// Runs one of the scenarios of groups.
///
/// # Errors
/// When the load cannot be carried to its end.
pub async fn groups(
    scenario: Scenario,
    options: &GroupOptions,
    site: &mut Site,
) -> anyhow::Result<Rows> {
    let (name, measure, through) = match scenario {
        Scenario::Send => ("send", Measure::Ack, Through::Acked),
        Scenario::Fanout => ("fanout", Measure::Delivery, Through::Returned),
        Scenario::Groups => ("groups", Measure::Ack, Through::Returned),
    };
    let (groups, members, publishers, window) = match scenario {
        Scenario::Send => (1, 10, 1, 16),
        Scenario::Fanout => (1, 100, 1, 8),
        Scenario::Groups => (100, 10, u32::MAX, 1),
    };
    let groups = options.groups.unwrap_or(groups);
    let members = options.members.unwrap_or(members);
    let publishers = options.publishers.unwrap_or(publishers).min(members);
    let window = options.window.unwrap_or(window);
    let accounts = u64::from(groups) * u64::from(members);
    ensure!(
        accounts <= u64::from(ACCOUNTS_MAX),
        "{accounts} members, and at most {ACCOUNTS_MAX} fit in one run"
    );
    let workload = Workload::groups(groups, members, publishers, through);
    let publishing = u64::from(publishers) * u64::from(groups);
    let settings = [
        ("groups", groups),
        ("members", members),
        ("publishers", publishers),
    ];
    let mut settings: Vec<_> = settings.map(|(key, n)| (key, u64::from(n))).into();
    let pace = if options.rate == 0 {
        settings.push(("window", window.into()));
        Pace::Closed { window }
    } else {
        let per_s = approximate(options.rate.saturating_mul(publishing));
        Pace::Open { per_s }
    };
    let run = Run {
        name,
        measure,
        pace,
        options: &options.run,
        settings,
    };
    run.carry_out(workload, site).await
}

/// Accounts of one run: those of all load processes.
const ACCOUNTS_MAX: u32 = 150_000;

/// Runs a mixed swarm.
///
/// # Errors
/// As [`groups`].
pub async fn mixed(options: &MixedOptions, site: &mut Site) -> anyhow::Result<Rows> {
    let (workload, by_itself) = Workload::mixed(options.robots);
    let per_s = options.rate.unwrap_or(by_itself);
    ensure!(per_s > 0.0, "--rate must be more than 0");
    let run = Run {
        name: "mixed",
        measure: Measure::Delivery,
        pace: Pace::Open { per_s },
        options: &options.run,
        settings: vec![("robots", options.robots.into())],
    };
    run.carry_out(workload, site).await
}

impl Run<'_> {
    async fn carry_out(&self, workload: Workload, site: &mut Site) -> anyhow::Result<Rows> {
        let processes = self.options.load_processes.map(usize::from);
        let payload = usize::try_from(self.options.payload)?;
        let mut crowd = Crowd::gather(site, workload, payload, processes).await?;
        let rows = match self.options.p99_ms.filter(|_| self.options.find_max) {
            Some(p99_ms) => self.find_max(&mut crowd, p99_ms).await?,
            None => {
                let round = crowd.round(&self.options.load(self.pace)).await?;
                Rows::from(self.row(&round, self.pace, crowd.processes()))
            }
        };
        crowd.leave().await?;
        Ok(rows)
    }

    /// The row of the confirming run, and what was tried. Without an answer, the last run's.
    async fn find_max(&self, crowd: &mut Crowd, p99_ms: f64) -> anyhow::Result<Rows> {
        let from = match self.pace {
            Pace::Open { per_s } => per_s,
            Pace::Closed { .. } => SEARCH_FROM_PER_S,
        };
        let mut search = Search::from(from);
        let mut tried = Vec::new();
        let mut limit: Option<(f64, String)> = None;
        while let Next::Run { per_s, .. } = search.next() {
            let pace = Pace::Open { per_s };
            // A rate at which much fails is one that is not sustained; the search goes on.
            let load = Load {
                error_rate_max: 1.0,
                ..self.options.load(pace)
            };
            let mut round = crowd.round(&load).await?;
            let mut row = self.row(&round, pace, crowd.processes());
            // A void run says nothing of the rate.
            for _ in 0..VOID_REPEATS_MAX {
                if row.void().is_some() {
                    round = crowd.round(&load).await?;
                    row = self.row(&round, pace, crowd.processes());
                }
            }
            let fault = self.fault(&round, &row, p99_ms);
            search.told(fault.is_none());
            tried.push(json!({ "per_s": per_s.round(), "fault": fault }));
            match fault {
                None => {}
                Some(fault) if limit.as_ref().is_none_or(|(lowest, _)| per_s <= *lowest) => {
                    limit = Some((per_s, fault));
                }
                Some(_) => {}
            }
            if let Next::Found(found) = search.next() {
                let mut row = row;
                row.put("max_per_s", found.map(f64::round));
                row.put("max_p99_ms", p99_ms);
                row.put("limited_by", limit.map(|(_, fault)| fault));
                row.put("tried", tried);
                if found.is_none() {
                    row.make_void("no rate was sustained");
                }
                return Ok(row.into());
            }
        }
        anyhow::bail!("the search has not begun")
    }

    /// Why a rate is not sustained; `None`: it is.
    fn fault(&self, round: &Round, row: &Row, p99_ms: f64) -> Option<String> {
        let meter = &round.meter;
        let p99_us = self.latency(meter).1;
        let (sent, acked) = (meter.all(|of| of.sent), meter.all(|of| of.acked));
        if let Some(why) = row.void() {
            return Some(why.to_owned());
        }
        if acked < sent {
            return Some(format!(
                "{} of {sent} sends were not acknowledged",
                sent - acked
            ));
        }
        if meter.repeated > 0 {
            let repeated = meter.repeated;
            return Some(format!("{repeated} sends were not taken at once"));
        }
        if meter.lost > 0 {
            return Some(format!("{} deliveries were lost", meter.lost));
        }
        let p99_is_ms = approximate(p99_us) / 1000.0;
        (p99_is_ms > p99_ms).then(|| format!("the p99 was {p99_is_ms:.1} ms"))
    }

    /// The median, the p99 and the p99.9 that are told first.
    fn latency(&self, meter: &Meter) -> (u64, u64, u64) {
        let mut all = crate::report::Latencies::default();
        for class in [Class::Chat, Class::Command] {
            let counted = meter.of(class);
            all.add(match self.measure {
                Measure::Ack => &counted.ack,
                Measure::Delivery => &counted.delivery,
            });
        }
        (all.at(0.5), all.at(0.99), all.at(0.999))
    }
}

#[expect(clippy::cast_precision_loss, reason = "for reading")]
const fn approximate(count: u64) -> f64 {
    count as f64
}
