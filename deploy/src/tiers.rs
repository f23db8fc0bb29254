//! The processes of a cluster: their order, their binaries, and the configuration each gets in its
//! environment.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::addresses::Addresses;
use crate::authority::{Authority, CertificateFiles, FLEET};

/// A free Snowflake node, whichever.
const ANY_NODE: &str = "-1";

/// The planner's account.
pub const PLANNER: &str = "planner";

/// What a process of a cluster is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// History.
    Store,
    /// Fan-out.
    Router,
    /// Who may do what.
    Logic,
    /// Connections.
    Gateway,
    /// A model that needs no account anywhere.
    Mock,
    /// The planner.
    Bridge,
}

impl Tier {
    /// All of them, each after those that it needs. They stop in the opposite order: the planner
    /// first, the store last.
    pub const ALL: [Self; 6] = [
        Self::Store,
        Self::Router,
        Self::Logic,
        Self::Gateway,
        Self::Mock,
        Self::Bridge,
    ];

    /// The name of its binary, and of the tier.
    #[must_use]
    pub const fn binary(self) -> &'static str {
        match self {
            Self::Store => "im-store",
            Self::Router => "im-router",
            Self::Logic => "im-logic",
            Self::Gateway => "im-gateway",
            Self::Mock => "mock-model",
            Self::Bridge => "llm-bridge",
        }
    }

    /// Where its first process says whether it is ready.
    #[must_use]
    pub const fn admin(self, addresses: &Addresses) -> SocketAddr {
        match self {
            Self::Store => addresses.store_admin,
            Self::Router => addresses.router_admin,
            Self::Logic => addresses.logic_admin,
            Self::Gateway => addresses.gateway_admin,
            Self::Mock => addresses.mock,
            Self::Bridge => addresses.bridge_admin,
        }
    }
}

/// One process of a cluster: its tier, and which of the tier's processes it is, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Instance {
    /// What it is for.
    pub tier: Tier,
    /// Only gateways, logics, routers and stores have others than 0.
    pub number: usize,
}

impl Instance {
    /// All processes of a cluster, in the order of [`Tier::ALL`].
    #[must_use]
    pub fn all(tiers: &[Tier], counts: Counts) -> Vec<Self> {
        let of = |tier: &Tier| {
            let tier = *tier;
            (0..counts.of(tier)).map(move |number| Self { tier, number })
        };
        tiers.iter().flat_map(of).collect()
    }

    /// Where it says whether it is ready.
    #[must_use]
    pub fn admin(self, addresses: &Addresses) -> SocketAddr {
        let further = addresses.further.get(&self.to_string());
        further.map_or_else(|| self.tier.admin(addresses), |place| place.admin)
    }

    /// Where it listens for clients or other tiers, if it does.
    #[must_use]
    pub fn listens(self, addresses: &Addresses) -> Option<SocketAddr> {
        let first = match self.tier {
            Tier::Store => addresses.store,
            Tier::Router => addresses.router,
            Tier::Logic => addresses.logic,
            Tier::Gateway => addresses.clients,
            Tier::Mock | Tier::Bridge => return None,
        };
        let further = addresses.further.get(&self.to_string());
        Some(further.map_or(first, |place| place.listens))
    }

    /// Where it speaks HTTP, if it does.
    #[must_use]
    pub fn http(self, addresses: &Addresses) -> Option<SocketAddr> {
        match (self.tier, addresses.further.get(&self.to_string())) {
            (Tier::Gateway, None) => Some(addresses.http),
            (_, further) => further?.http,
        }
    }

    /// Where the fleet is administered by it, if it is.
    #[must_use]
    pub fn api(self, addresses: &Addresses) -> Option<SocketAddr> {
        match (self.tier, addresses.further.get(&self.to_string())) {
            (Tier::Logic, None) => Some(addresses.api),
            (_, further) => further?.api,
        }
    }
}

/// How many processes there are of each tier that can have several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct Counts {
    /// How many gateways
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = processes)]
    pub gateways: usize,
    /// How many logics; more than one need --redis
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = processes)]
    pub logics: usize,
    /// How many routers; more than one need --redis
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = processes)]
    pub routers: usize,
    /// How many stores; more than one need --redis. On SQLite one works and the others stand by
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = processes)]
    pub stores: usize,
}

/// Processes of a tier on one machine: beyond some, nothing is gained.
const PROCESSES_MAX: usize = 16;

fn processes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=PROCESSES_MAX).contains(&count) => Ok(count),
        _ => Err(format!("not a number from 1 to {PROCESSES_MAX}")),
    }
}

impl Counts {
    /// The smallest cluster.
    pub const ONE_EACH: Self = Self {
        gateways: 1,
        logics: 1,
        routers: 1,
        stores: 1,
    };

    /// How many of this tier.
    #[must_use]
    pub const fn of(self, tier: Tier) -> usize {
        match tier {
            Tier::Gateway => self.gateways,
            Tier::Logic => self.logics,
            Tier::Router => self.routers,
            Tier::Store => self.stores,
            Tier::Mock | Tier::Bridge => 1,
        }
    }

    /// Whether the processes have to find each other: fixed addresses name one of each tier.
    #[must_use]
    pub const fn need_registry(self) -> bool {
        self.logics > 1 || self.routers > 1 || self.stores > 1
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tier.binary())?;
        match self.number {
            0 => Ok(()),
            number => write!(f, "-{}", number + 1),
        }
    }
}

/// What the tiers of one cluster are told.
#[derive(Debug)]
pub struct Wiring<'a> {
    /// The cluster's addresses.
    pub addresses: Addresses,
    /// Its authorities.
    pub authority: &'a Authority,
    /// The folder of what outlives a process.
    pub data: PathBuf,
    /// Where media are kept.
    pub media: crate::media::MediaPlace,
    /// The planner's token.
    pub planner_token: PathBuf,
    /// Where history is kept: the store's `database.url`.
    pub database: String,
    /// Where the processes find each other, if not at fixed addresses.
    pub registry: Option<ClusterRegistry>,
    /// Whose model the planner asks.
    pub model: ModelChoice,
}

/// Where the processes of a cluster find each other.
#[derive(Debug, Clone)]
pub struct ClusterRegistry {
    /// The tiers' `cluster.redis`.
    pub redis: String,
    /// What tells this cluster from others in the same Redis.
    pub namespace: String,
}

/// Whose model the planner asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelChoice {
    /// The mock of this cluster.
    Mock,
    /// The one that the user's own variables for llm-bridge name.
    Configured,
}

impl ModelChoice {
    /// The tiers that run with it.
    #[must_use]
    pub fn tiers(self) -> Vec<Tier> {
        let runs = |tier: &Tier| *tier != Tier::Mock || self == Self::Mock;
        Tier::ALL.into_iter().filter(runs).collect()
    }
}

impl Wiring<'_> {
    /// The environment of a process: only what differs from its defaults, so that a user's own
    /// variables reach it.
    #[must_use]
    pub fn environment(&self, instance: Instance) -> Vec<(String, String)> {
        let mut variables = Variables::new(instance.tier);
        let addresses = &self.addresses;
        let link = |tier: Tier, listens| addresses.reached(Instance { tier, number: 0 }, listens);
        match instance.tier {
            Tier::Store => {
                self.link_end(&mut variables, instance);
                variables.address("LINKS__ROUTER", link(Tier::Router, addresses.router));
                variables.set("DATABASE__URL", self.database.clone());
            }
            Tier::Router => self.link_end(&mut variables, instance),
            Tier::Logic => {
                self.link_end(&mut variables, instance);
                if self.registry.is_some() {
                    variables.set("SNOWFLAKE__NODE", ANY_NODE.into());
                }
                variables.address("LINKS__STORE", link(Tier::Store, addresses.store));
                variables.address("LINKS__ROUTER", link(Tier::Router, addresses.router));
                variables.path("TOKENS__PUBLIC_KEY", &self.authority.token_public_key());
                variables.set("TOKENS__FLEET", FLEET.into());
                if let Some(api) = instance.api(addresses) {
                    variables.address("API__LISTEN", api);
                    variables.certificate("PUBLIC_TLS", &self.authority.public_certificate());
                    variables.path("PUBLIC_TLS__CLIENT_CA", &self.authority.fleet_ca());
                }
                self.signs(&mut variables);
            }
            Tier::Gateway => {
                self.link_end(&mut variables, instance);
                variables.address("LINKS__LOGIC", link(Tier::Logic, addresses.logic));
                variables.address("LINKS__ROUTER", link(Tier::Router, addresses.router));
                let public = self.authority.public_certificate();
                variables.certificate("PUBLIC_TLS", &public);
                if let Some(http) = instance.http(&self.addresses) {
                    variables.address("HTTP__LISTEN", http);
                }
                variables.path("PUBLIC_TLS__CLIENT_CA", &self.authority.fleet_ca());
                variables.path("ESTOP__FILE", &self.data.join(format!("{instance}.estops")));
                variables.0.extend(self.media.variables());
            }
            Tier::Mock => variables.address("LISTEN__ADDRESS", addresses.mock),
            Tier::Bridge => {
                variables.address("ADMIN__LISTEN", addresses.bridge_admin);
                variables.set("SERVER__ADDRESS", addresses.all_clients().join(","));
                variables.path("SERVER__CA", &self.authority.fleet_ca());
                variables.path("SERVER__TOKEN", &self.planner_token);
                if self.model == ModelChoice::Mock {
                    variables.set("MODEL__BASE_URL", format!("http://{}/v1", addresses.mock));
                }
            }
        }
        variables.0
    }

    /// What logic signs with: the keys lie beside what they belong to.
    fn signs(&self, variables: &mut Variables) {
        let (tokens, fleet) = (self.authority.token_public_key(), self.authority.fleet_ca());
        variables.path("TOKENS__PRIVATE_KEY", &tokens.with_file_name("tokens.key"));
        variables.path("ENROLMENT__KEY", &fleet.with_extension("key"));
        variables.path("ENROLMENT__AUTHORITY", &fleet);
    }

    /// What every tier with internal links has.
    fn link_end(&self, variables: &mut Variables, instance: Instance) {
        if let Some(listens) = instance.listens(&self.addresses) {
            variables.address("LISTEN__ADDRESS", listens);
            if let Some(registry) = &self.registry {
                variables.set("CLUSTER__REDIS", registry.redis.clone());
                variables.set("CLUSTER__NAMESPACE", registry.namespace.clone());
                let reached = self.addresses.reached(instance, listens);
                variables.address("CLUSTER__ADVERTISE", reached);
            }
        }
        variables.address("ADMIN__LISTEN", instance.admin(&self.addresses));
        let files = self.authority.tier_certificate(instance.tier.binary());
        variables.certificate("INTERNAL_TLS", &files);
        variables.path("INTERNAL_TLS__CA", &self.authority.internal_ca());
    }
}

/// The variables of one tier, by their keys without its prefix.
struct Variables(Vec<(String, String)>, &'static str);

impl Variables {
    const fn new(tier: Tier) -> Self {
        let prefix = match tier {
            Tier::Store => "IM_STORE",
            Tier::Router => "IM_ROUTER",
            Tier::Logic => "IM_LOGIC",
            Tier::Gateway => "IM_GATEWAY",
            Tier::Mock => "MOCK_MODEL",
            Tier::Bridge => "LLM_BRIDGE",
        };
        Self(Vec::new(), prefix)
    }

    fn set(&mut self, key: &str, value: String) {
        self.0.push((format!("{}__{key}", self.1), value));
    }

    fn address(&mut self, key: &str, address: SocketAddr) {
        self.set(key, address.to_string());
    }

    fn path(&mut self, key: &str, path: &Path) {
        self.set(key, path.display().to_string());
    }

    fn certificate(&mut self, section: &str, files: &CertificateFiles) {
        self.path(&format!("{section}__CERTIFICATE"), &files.certificate);
        self.path(&format!("{section}__KEY"), &files.key);
    }
}

#[cfg(test)]
mod tests;
