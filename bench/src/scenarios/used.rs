//! What a cluster's processes and this one have used of the CPU between two moments.

use std::collections::BTreeMap;

use anyhow::Context as _;
use deploy::tiers::Tier;

use crate::cluster::Cluster;
use crate::usage;

/// By tier, in microseconds; `None`: this process.
#[derive(Debug, Clone)]
pub(super) struct Cpu(BTreeMap<Option<Tier>, u64>);

impl Cpu {
    /// Until now, since each was started.
    pub(super) fn of(cluster: &Cluster) -> anyhow::Result<Self> {
        let mut used = BTreeMap::new();
        let own = i32::try_from(std::process::id())?;
        let tiers = cluster.run_file()?.tiers.into_iter();
        let all = tiers.map(|process| (Some(process.tier), process.pid));
        for (tier, pid) in all.chain([(None, own)]) {
            let us = usage::cpu_us(pid).context("a process has ended")?;
            *used.entry(tier).or_insert(0) += us;
        }
        Ok(Self(used))
    }

    /// What was used between this moment and a later one.
    pub(super) fn until(&self, later: &Self) -> Self {
        let since = |(tier, used): (&Option<Tier>, &u64)| {
            let before = self.0.get(tier).copied().unwrap_or(0);
            (*tier, used.saturating_sub(before))
        };
        Self(later.0.iter().map(since).collect())
    }

    /// A tier's share of each of so many things.
    pub(super) fn of_tier_us(&self, tier: Tier, things: u64) -> f64 {
        each(self.0.get(&Some(tier)).copied().unwrap_or(0), things)
    }

    /// All tiers' share.
    pub(super) fn of_server_us(&self, things: u64) -> f64 {
        let tiers = self.0.iter().filter(|(tier, _)| tier.is_some());
        each(tiers.map(|(_, us)| us).sum(), things)
    }

    /// Our own share.
    pub(super) fn of_load_us(&self, things: u64) -> f64 {
        each(self.0.get(&None).copied().unwrap_or(0), things)
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures are for reading")]
fn each(us: u64, things: u64) -> f64 {
    us as f64 / things.max(1) as f64
}
