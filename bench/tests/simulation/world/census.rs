//! Who lives: stores and routers come, go and are taken for others, and each host learns of it in
//! its own time.

use rand::RngExt as _;

use super::World;
use crate::live::{News, set};
use crate::net::{Host, Outside};

/// The longest time until a host has learnt of a change, in microseconds.
const LEARNT_MICROS_MAX: u64 = 2_000_000;

impl World {
    /// All hosts but the clients.
    pub(super) fn tiers(&self) -> Vec<Host> {
        let stores = (0..self.stores.len()).map(Host::Store);
        let routers = (0..self.routers.len()).map(Host::Router);
        let gateways = (0..self.gateways.len()).map(Host::Gateway);
        let others = routers.chain([Host::Logic]).chain(gateways);
        stores.chain(others).collect()
    }

    /// The process is another instance than it was: what belonged to it moves.
    pub(super) fn another(&mut self, host: Host) {
        if matches!(host, Host::Router(_) | Host::Store(_)) {
            let id = self.net.rng.random();
            self.ids.insert(host, id);
            let wait = self.net.micros(1_000, 300_000);
            self.net.outside(wait, Outside::Census);
        }
    }

    /// Who is up lives; while nobody of a tier is, those before count.
    pub(super) fn census(&mut self) {
        let up = self.ids.iter().filter(|(host, _)| self.net.is_up(**host));
        let (mut stores, mut routers) = (Vec::new(), Vec::new());
        for (host, id) in up {
            match host {
                Host::Store(n) => stores.push((*n, *id)),
                Host::Router(n) => routers.push((*n, *id)),
                _ => {}
            }
        }
        if !stores.is_empty() {
            self.net.live.stores(set(&stores));
        }
        if !routers.is_empty() {
            self.net.live.routers(set(&routers));
        }
        self.moves += 1;
        for host in self.tiers() {
            let wait = self.net.micros(1_000, LEARNT_MICROS_MAX);
            self.net.outside(wait, Outside::Learn(host));
        }
    }

    pub(super) fn learn(&mut self, host: Host) {
        if !self.net.is_up(host) {
            return;
        }
        let news = self.net.live.learn(host);
        match host {
            Host::Store(n) if news != News::default() => {
                self.stores[n].moved(&mut self.net, &self.log, news);
            }
            Host::Gateway(n) if news.routers => {
                if let Some(gateway) = &mut self.gateways[n] {
                    gateway.routers_moved(&mut self.net);
                }
            }
            _ => {}
        }
    }
}
