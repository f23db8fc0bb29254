//! Where the processes of a running cluster are. Not here: how their ports are chosen
//! ([`crate::ports`]).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::tiers::{Counts, Instance, Tier};

/// The addresses of a running cluster. One type for the run file, the tiers and what is printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Where clients connect, with TLS: the first gateway.
    pub clients: SocketAddr,
    /// Where clients that speak HTTP connect, with TLS: the first gateway.
    pub http: SocketAddr,
    /// Where the fleet is administered by HTTP, with TLS: the first im-logic.
    pub api: SocketAddr,
    /// im-logic's links.
    pub logic: SocketAddr,
    /// im-router's links.
    pub router: SocketAddr,
    /// im-store's links.
    pub store: SocketAddr,
    /// im-gateway's admin port, plain HTTP like the next.
    pub gateway_admin: SocketAddr,
    /// im-logic's admin port.
    pub logic_admin: SocketAddr,
    /// im-router's admin port.
    pub router_admin: SocketAddr,
    /// im-store's admin port.
    pub store_admin: SocketAddr,
    /// llm-bridge's admin port.
    pub bridge_admin: SocketAddr,
    /// The mock model.
    pub mock: SocketAddr,
    /// The processes of a tier after its first, by their names.
    #[serde(default)]
    pub further: BTreeMap<String, Place>,
    /// Where instances are reached that are not reached where they listen, by their names.
    #[serde(default)]
    pub advertised: BTreeMap<String, SocketAddr>,
}

/// Where a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Where others reach it, with TLS.
    pub listens: SocketAddr,
    /// Its admin port.
    pub admin: SocketAddr,
    /// Where a gateway speaks HTTP.
    #[serde(default)]
    pub http: Option<SocketAddr>,
    /// Where the fleet is administered by HTTP, if it is an im-logic.
    #[serde(default)]
    pub api: Option<SocketAddr>,
}

impl Addresses {
    /// Where clients connect: every gateway.
    #[must_use]
    pub fn all_clients(&self) -> Vec<String> {
        let gateways = self.listening().into_iter();
        let gateways = gateways.filter(|(instance, _)| instance.tier == Tier::Gateway);
        let reached = gateways.map(|(instance, listens)| self.reached(instance, listens));
        reached.map(|address| address.to_string()).collect()
    }

    /// Where clients that speak HTTP connect: every gateway.
    #[must_use]
    pub fn all_http(&self) -> Vec<String> {
        let further = self.further.values().filter_map(|place| place.http);
        let all = std::iter::once(self.http).chain(further);
        all.map(|address| address.to_string()).collect()
    }

    /// Where the fleet is administered by HTTP: every im-logic.
    #[must_use]
    pub fn all_api(&self) -> Vec<String> {
        let further = self.further.values().filter_map(|place| place.api);
        let all = std::iter::once(self.api).chain(further);
        all.map(|address| address.to_string()).collect()
    }

    /// Where the others reach an instance that listens here.
    #[must_use]
    pub fn reached(&self, instance: Instance, listens: SocketAddr) -> SocketAddr {
        let advertised = self.advertised.get(&instance.to_string());
        advertised.copied().unwrap_or(listens)
    }

    /// How many processes of each tier there are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let further = |tier| {
            let is_there = |number: &usize| {
                let number = *number;
                let name = Instance { tier, number }.to_string();
                self.further.contains_key(&name)
            };
            1 + (1..).take_while(is_there).count()
        };
        Counts {
            gateways: further(Tier::Gateway),
            logics: further(Tier::Logic),
            routers: further(Tier::Router),
            stores: further(Tier::Store),
        }
    }

    /// Every instance that others reach, with where it listens.
    #[must_use]
    pub fn listening(&self) -> Vec<(Instance, SocketAddr)> {
        let tiers = [Tier::Gateway, Tier::Logic, Tier::Router, Tier::Store];
        let instances = Instance::all(&tiers, self.counts()).into_iter();
        let listening = instances.filter_map(|it| Some((it, it.listens(self)?)));
        listening.collect()
    }
}
