//! The processes of a cluster: their order, their binaries, and the configuration each gets in its
//! environment.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::authority::{Authority, CertificateFiles, FLEET};
use crate::ports::{Addresses, GatewayAddresses};

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
    /// Only gateways have others than 0.
    pub number: usize,
}

impl Instance {
    /// All processes of a cluster, in the order of [`Tier::ALL`].
    #[must_use]
    pub fn all(tiers: &[Tier], gateways: usize) -> Vec<Self> {
        let of = |tier: &Tier| {
            let count = if *tier == Tier::Gateway { gateways } else { 1 };
            let tier = *tier;
            (0..count).map(move |number| Self { tier, number })
        };
        tiers.iter().flat_map(of).collect()
    }

    /// Where it says whether it is ready.
    #[must_use]
    pub fn admin(self, addresses: &Addresses) -> SocketAddr {
        let further = self.further_gateway(addresses).map(|gateway| gateway.admin);
        further.unwrap_or_else(|| self.tier.admin(addresses))
    }

    /// Where clients reach it, if it is a gateway.
    fn clients(self, addresses: &Addresses) -> SocketAddr {
        let further = self
            .further_gateway(addresses)
            .map(|gateway| gateway.clients);
        further.unwrap_or(addresses.clients)
    }

    fn further_gateway(self, addresses: &Addresses) -> Option<&GatewayAddresses> {
        let number = self.number.checked_sub(1)?;
        addresses.further_gateways.get(number)
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
    /// The planner's token.
    pub planner_token: PathBuf,
    /// Where history is kept: the store's `database.url`.
    pub database: String,
    /// Whose model the planner asks.
    pub model: ModelChoice,
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
        let link = |tier: Tier, listens| addresses.reached(tier.binary(), listens);
        match instance.tier {
            Tier::Store => {
                self.link_end(&mut variables, instance, addresses.store);
                variables.address("LINKS__ROUTER", link(Tier::Router, addresses.router));
                variables.set("DATABASE__URL", self.database.clone());
            }
            Tier::Router => self.link_end(&mut variables, instance, addresses.router),
            Tier::Logic => {
                self.link_end(&mut variables, instance, addresses.logic);
                variables.address("LINKS__STORE", link(Tier::Store, addresses.store));
                variables.address("LINKS__ROUTER", link(Tier::Router, addresses.router));
                variables.path("TOKENS__PUBLIC_KEY", &self.authority.token_public_key());
                variables.set("TOKENS__FLEET", FLEET.into());
            }
            Tier::Gateway => {
                self.link_end(&mut variables, instance, instance.clients(addresses));
                variables.address("LINKS__LOGIC", link(Tier::Logic, addresses.logic));
                variables.address("LINKS__ROUTER", link(Tier::Router, addresses.router));
                let public = self.authority.public_certificate();
                variables.certificate("PUBLIC_TLS", &public);
                variables.path("PUBLIC_TLS__CLIENT_CA", &self.authority.fleet_ca());
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

    /// What every tier with internal links has.
    fn link_end(&self, variables: &mut Variables, instance: Instance, listen: SocketAddr) {
        variables.address("LISTEN__ADDRESS", listen);
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
mod tests {
    use super::*;
    use crate::authority::TokenKind;
    use crate::ports::PortOptions;

    #[test]
    fn each_process_is_told_where_it_is_and_whom_it_reaches() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), 1).unwrap();
        let mut addresses = PortOptions::default().choose(0, 2).unwrap();
        let proxies = [("im-store", 9), ("im-gateway-2", 10)];
        let proxies = proxies.map(|(name, port)| (name.into(), ([127, 0, 0, 1], port).into()));
        addresses.advertised = proxies.into();
        let wiring = Wiring {
            planner_token: authority.token(TokenKind::Planner, PLANNER, 1).unwrap(),
            authority: &authority,
            database: "mysql://im@db/im".into(),
            model: ModelChoice::Mock,
            addresses: addresses.clone(),
        };
        let told = |tier, number, key: &str| {
            let environment = wiring.environment(Instance { tier, number });
            let found = environment.into_iter().find(|(its, _)| its == key);
            found.unwrap_or_else(|| panic!("{key}")).1
        };
        let url = told(Tier::Store, 0, "IM_STORE__DATABASE__URL");
        assert_eq!(url, "mysql://im@db/im");
        let second = addresses.further_gateways[0];
        let listen = told(Tier::Gateway, 1, "IM_GATEWAY__LISTEN__ADDRESS");
        assert_eq!(listen, second.clients.to_string());
        let admin = told(Tier::Gateway, 1, "IM_GATEWAY__ADMIN__LISTEN");
        assert_eq!(admin, second.admin.to_string());
        let reaches = told(Tier::Bridge, 0, "LLM_BRIDGE__SERVER__ADDRESS");
        assert_eq!(reaches, format!("{},127.0.0.1:10", addresses.clients));
        let listen = told(Tier::Store, 0, "IM_STORE__LISTEN__ADDRESS");
        assert_eq!(listen, addresses.store.to_string());
        let reaches = told(Tier::Logic, 0, "IM_LOGIC__LINKS__STORE");
        assert_eq!(reaches, "127.0.0.1:9");
        let reaches = told(Tier::Logic, 0, "IM_LOGIC__LINKS__ROUTER");
        assert_eq!(reaches, addresses.router.to_string());
        let all = Instance::all(&Tier::ALL, 2);
        assert!(all.iter().any(|its| its.to_string() == "im-gateway-2"));
    }
}
