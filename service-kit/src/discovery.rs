//! How the processes of the tiers find each other: at fixed addresses on one machine, or through
//! the registry of a cluster.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::sync::watch;

use crate::admin::Readiness;
use crate::config::{ClusterConfig, ConfigError};
use crate::drain::Drain;
use crate::live::{Instance, InstanceId};
use crate::peers::{self, LiveWatch, PeerEvents, Peers, PeersConfig};
use crate::registry::{Registry, RegistryError, Routes};

/// Finds the others, and is found by them. Clones are the same process.
#[derive(Debug, Clone)]
pub struct Discovery {
    registry: Option<Registry>,
    me: InstanceId,
    advertise: String,
    drain: Drain,
}

impl Discovery {
    /// As the section `[cluster]` says.
    ///
    /// # Errors
    /// When the section is not usable, or Redis refuses us.
    pub async fn open(config: &ClusterConfig, drain: &Drain) -> Result<Self, RegistryError> {
        let (registry, me) = if config.is_one_machine() {
            (None, InstanceId::SOLE)
        } else {
            let registry = Registry::open(config, drain).await?;
            (Some(registry), InstanceId(rand::random()))
        };
        Ok(Self {
            registry,
            me,
            advertise: config.advertise.clone(),
            drain: drain.clone(),
        })
    }

    /// Which of its tier this process is.
    #[must_use]
    pub const fn me(&self) -> InstanceId {
        self.me
    }

    /// The registry; none on one machine.
    #[must_use]
    pub const fn registry(&self) -> Option<&Registry> {
        self.registry.as_ref()
    }

    /// The processes of a tier: those that live, or the one at this address. Empty: nobody.
    #[must_use]
    pub fn live(&self, tier: &str, fixed: &str) -> LiveWatch {
        match &self.registry {
            Some(registry) => registry.watch(tier),
            None if fixed.is_empty() => watch::channel(Arc::default()).1,
            None => peers::fixed(fixed.to_owned()),
        }
    }

    /// Where the routes of this process's sessions are kept for others; nowhere on one machine.
    #[must_use]
    pub fn routes(&self) -> Option<Routes> {
        self.registry
            .as_ref()
            .map(|registry| registry.routes(self.me))
    }

    /// Opens links to the processes of a tier. Being ready takes one that is up.
    pub fn links(
        &self,
        tier: &'static str,
        fixed: &str,
        tls: &Arc<ClientConfig>,
        readiness: &Readiness,
    ) -> (Peers, PeerEvents) {
        let config = PeersConfig {
            name: tier,
            tls: Arc::clone(tls),
            live: self.live(tier, fixed),
        };
        peers::open(config, readiness.gate(tier), &self.drain)
    }

    /// Tells the others that this process of a tier is to be reached, until the drain.
    ///
    /// # Errors
    /// When it listens everywhere and does not say where others reach it.
    pub fn announce(&self, tier: &str, listening: SocketAddr) -> Result<(), ConfigError> {
        let Some(registry) = &self.registry else {
            return Ok(());
        };
        let address = if !self.advertise.is_empty() {
            self.advertise.clone()
        } else if listening.ip().is_unspecified() {
            return Err(ConfigError::Value(format!(
                "cluster.advertise: this process listens at {listening}, which is no address \
                 for others: set HOST:PORT"
            )));
        } else {
            listening.to_string()
        };
        let id = self.me;
        registry.announce(tier, Instance { id, address });
        Ok(())
    }
}
