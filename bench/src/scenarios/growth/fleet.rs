//! Whether a delivery costs more in a large group than in a small one, and through several gateways
//! than through one: the CPU of the server for each, by tier.
//!
//! Every size has as many deliveries under way: as many members in all, in fewer or more groups, with
//! one publisher each, whose next message waits until it has got the last one back itself.

use std::time::Duration;

use anyhow::ensure;
use deploy::tiers::Tier;

use crate::cluster::Cluster;
use crate::scenarios::catch_up::median;
use crate::scenarios::crowd::{Crowd, Load, Round};
use crate::scenarios::row::{Row, Rows};
use crate::scenarios::site::Site;
use crate::scenarios::workload::{Class, Pace, Through, Workload};

/// Of the answers, how many may be failures before a run is stopped.
const ERROR_RATE_MAX: f64 = 0.05;

/// How each size is measured.
#[derive(Debug, Clone, clap::Args)]
pub struct Measuring {
    /// Messages of each publisher that are under way at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=240))]
    pub window: u32,
    /// Bytes of a message's content, at least eight
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(8..=200_000))]
    pub payload: u32,
    /// How long a round counts
    #[arg(long, value_name = "S", default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Rounds, of whose figures the medians are told
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
}

/// Groups of different sizes.
#[derive(Debug, Clone, clap::Args)]
pub struct MembersOptions {
    /// Members of a group
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000,10000",
        value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub members: Vec<u32>,
    /// Members in all; of a larger group there is one
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub all: u32,
    /// How.
    #[command(flatten)]
    pub measuring: Measuring,
}

/// Clusters with more and more gateways.
#[derive(Debug, Clone, clap::Args)]
pub struct GatewaysOptions {
    /// Gateways of a cluster
    #[arg(long, value_delimiter = ',', default_value = "1,2,4")]
    pub gateways: Vec<usize>,
    /// Members of a group
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub members: u32,
    /// Members in all
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub all: u32,
    /// How.
    #[command(flatten)]
    pub measuring: Measuring,
}

/// One size after the other, on one cluster: each needs all of the members.
///
/// # Errors
/// When the cluster does not start, or the load cannot be carried to its end.
pub async fn members(options: &MembersOptions) -> anyhow::Result<Rows> {
    let mut site = Site::of(Cluster::start().await?)?;
    let mut rows = Vec::with_capacity(options.members.len());
    for members in &options.members {
        let mut crowd = gather(&mut site, options.all, *members, &options.measuring).await?;
        let mut rounds = Vec::with_capacity(options.measuring.rounds);
        for _ in 0..options.measuring.rounds {
            rounds.push(crowd.round(&load(&options.measuring)).await?);
        }
        crowd.leave().await?;
        let row = Row::new("growth of groups").with("members", *members);
        rows.push(figures(row, &rounds));
    }
    Ok(Rows(rows))
}

/// All of the clusters at once, in turn.
///
/// # Errors
/// As [`members`].
pub async fn gateways(options: &GatewaysOptions) -> anyhow::Result<Rows> {
    let mut crowds = Vec::with_capacity(options.gateways.len());
    for gateways in &options.gateways {
        let cluster = Cluster::start_in(tempfile::tempdir()?, *gateways).await?;
        let mut site = Site::of(cluster)?;
        let crowd = gather(&mut site, options.all, options.members, &options.measuring).await?;
        crowds.push((site, crowd, Vec::new()));
    }
    for _ in 0..options.measuring.rounds {
        for (_, crowd, rounds) in &mut crowds {
            rounds.push(crowd.round(&load(&options.measuring)).await?);
        }
    }
    let mut rows = Vec::with_capacity(crowds.len());
    for (gateways, (_site, crowd, rounds)) in options.gateways.iter().zip(crowds) {
        crowd.leave().await?;
        let row = Row::new("growth of gateways").with("gateways", *gateways);
        rows.push(figures(row.with("members", options.members), &rounds));
    }
    Ok(Rows(rows))
}

async fn gather(
    site: &mut Site,
    all: u32,
    members: u32,
    measuring: &Measuring,
) -> anyhow::Result<Crowd> {
    ensure!(measuring.rounds > 0, "--rounds: at least one");
    let groups = (all / members).max(1);
    let workload = Workload::groups(groups, members, 1, Through::Returned);
    Crowd::gather(site, workload, measuring.payload as usize, None).await
}

const fn load(measuring: &Measuring) -> Load {
    Load {
        pace: Pace::Closed {
            window: measuring.window,
        },
        ramp_up: Duration::ZERO,
        warm_up: Duration::from_secs(1),
        measure: Duration::from_secs(measuring.seconds),
        error_rate_max: ERROR_RATE_MAX,
    }
}

/// The medians of the rounds, and all that was lost in them.
fn figures(mut row: Row, rounds: &[Round]) -> Row {
    let of = |figure: &dyn Fn(&Round) -> f64| median(rounds.iter().map(figure));
    row.put(
        "deliveries_per_s",
        of(&|round| delivered(round) / round.seconds),
    );
    let cpu_ns = |round: &Round, wanted: Option<Tier>| {
        let tiers = round.server_cpu_us.iter();
        let tiers = tiers.filter(|(tier, _)| wanted.is_none_or(|wanted| wanted == *tier));
        let used_us = tiers.map(|(_, us)| approximate(*us)).sum::<f64>();
        1000.0 * used_us / delivered(round).max(1.0)
    };
    row.put(
        "server_cpu_ns_per_delivery",
        of(&|round| cpu_ns(round, None)),
    );
    for (key, tier) in [
        ("gateway_cpu_ns_per_delivery", Tier::Gateway),
        ("router_cpu_ns_per_delivery", Tier::Router),
        ("logic_cpu_ns_per_delivery", Tier::Logic),
        ("store_cpu_ns_per_delivery", Tier::Store),
    ] {
        row.put(key, of(&|round| cpu_ns(round, Some(tier))));
    }
    row.put(
        "deliveries_per_server_core_s",
        of(&|round| 1e9 / cpu_ns(round, None).max(f64::MIN_POSITIVE)),
    );
    let all = |count: fn(&Round) -> u64| rounds.iter().map(count).sum::<u64>();
    row.put("lost", all(|round| round.meter.lost));
    row.put("duplicated", all(|round| round.meter.duplicated));
    row.put("out_of_order", all(|round| round.meter.out_of_order));
    row
}

fn delivered(round: &Round) -> f64 {
    approximate(round.meter.of(Class::Chat).delivered_within)
}

#[expect(clippy::cast_precision_loss, reason = "figures are for reading")]
const fn approximate(count: u64) -> f64 {
    count as f64
}
