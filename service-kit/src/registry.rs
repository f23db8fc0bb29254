//! Where the processes of a cluster find each other: Redis, with leases.
//!
//! Everything in it is a hint that is rebuilt by whoever wrote it. While Redis is away what was
//! last known stays in force; when it is back, with or without its data, everybody writes again.
//! Not here: what is done with a live set or a route. On one machine there is no registry.

mod freeze;
mod nodes;
mod redis;
mod routes;
mod services;
mod table;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use self::redis::{CallError, Client, NOW};
use crate::config::{ClusterConfig, ConfigError, read_file};
use crate::drain::Drain;
use crate::events;
use crate::live::{Instance, LiveSet};

pub use self::nodes::{NodeError, NodeLease};
pub use self::routes::{Route, Routes};

/// How long ending a lease may hold up the drain; then it ends by itself.
const LAST_CALL_TIMEOUT: Duration = Duration::from_millis(200);

/// Leases shorter than that would end between two renewals on a busy machine.
pub const LEASE_MS_MIN: u64 = 300;
/// Longer ones would keep the dead among the live for too long.
pub const LEASE_MS_MAX: u64 = 60_000;

/// Why there is no registry, or no answer from it.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The section `[cluster]` is not usable.
    #[error("the registry of the cluster cannot be used")]
    Config(#[from] ConfigError),
    /// Redis does not let us in.
    #[error("cluster.redis: {0}")]
    Refused(String),
    /// Redis is away, or busy with itself.
    #[error("no answer from Redis: {0}")]
    Away(String),
    /// Redis answered what no process of ours has written.
    #[error("Redis holds what is not ours; is cluster.namespace shared with something else?")]
    Answer,
}

impl From<CallError> for RegistryError {
    fn from(error: CallError) -> Self {
        match &error {
            CallError::Refused(_) => Self::Refused(error.to_string()),
            CallError::Failed(_) | CallError::TimedOut(_) => Self::Away(error.to_string()),
        }
    }
}

/// The registry of a cluster. Clones share one connection.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    client: Client,
    namespace: String,
    lease: Duration,
    drain: Drain,
    /// Counts how often Redis turned out to have lost what was in it.
    losses: watch::Sender<u64>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("namespace", &self.0.namespace)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// Opens the registry. A Redis that is away does not keep a process from starting: everything
    /// below is tried until it is there.
    ///
    /// # Errors
    /// When the section is not usable, or Redis is there and refuses the user or the password.
    pub async fn open(config: &ClusterConfig, drain: &Drain) -> Result<Self, RegistryError> {
        let lease_ms = config.lease_ms;
        if !(LEASE_MS_MIN..=LEASE_MS_MAX).contains(&lease_ms) {
            let range = format!("between {LEASE_MS_MIN} and {LEASE_MS_MAX}");
            let refused = format!("cluster.lease_ms: {lease_ms} is not {range}");
            return Err(ConfigError::Value(refused).into());
        }
        let has_ca = !config.ca.as_os_str().is_empty();
        let ca = has_ca.then(|| read_file("cluster.ca", &config.ca));
        let client = Client::new(config.redis.reveal(), ca.transpose()?)
            .map_err(|why| ConfigError::Value(format!("cluster.redis: {why}")))?;
        let registry = Self(Arc::new(Inner {
            client,
            namespace: config.namespace.clone(),
            lease: Duration::from_millis(lease_ms),
            drain: drain.clone(),
            losses: watch::Sender::new(0),
        }));
        match registry.0.client.ping().await.map_err(RegistryError::from) {
            Err(refused @ RegistryError::Refused(_)) => return Err(refused),
            Err(error) => events::registry_away("start", &error, true),
            Ok(()) => {}
        }
        Ok(registry)
    }

    /// Keeps this process among the live ones of the service until the drain.
    pub fn announce(&self, service: &str, instance: Instance) {
        let task = services::announce(Arc::clone(&self.0), service.into(), instance);
        self.0.drain.spawn(task);
    }

    /// The live processes of the service: empty until they have been read for the first time
    /// (`wait_for(|live| !live.is_empty())` waits for somebody), and as they last were while Redis
    /// is away. Read six times in a lease, for as long as a receiver exists.
    #[must_use]
    pub fn watch(&self, service: &str) -> watch::Receiver<Arc<LiveSet>> {
        let (shown, receiver) = watch::channel(Arc::default());
        let task = services::watch(Arc::clone(&self.0), service.into(), shown);
        self.0.drain.spawn_last(task);
        receiver
    }
}

impl Inner {
    fn key(&self, kind: &str, name: &impl Display) -> String {
        format!("{}:{kind}:{name}", self.namespace)
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).expect("at most LEASE_MS_MAX")
    }

    fn lost_data(&self) {
        events::registry_lost_data();
        self.losses.send_modify(|losses| *losses += 1);
    }
}

/// Whether calls fail, so that an outage is said once for each of its sufferers.
struct Outage {
    what: &'static str,
    lasts: bool,
}

impl Outage {
    /// `what` is one of few words.
    const fn new(what: &'static str) -> Self {
        Self { what, lasts: false }
    }

    fn failed(&mut self, error: &dyn Display) {
        events::registry_away(self.what, error, !self.lasts);
        self.lasts = true;
    }

    /// Whether there was one.
    fn over(&mut self) -> bool {
        let was = std::mem::take(&mut self.lasts);
        if was {
            events::registry_back(self.what);
        }
        was
    }
}

/// A tick now and each period from then on; what was missed is not made up for.
fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// A word like no other.
fn fresh_word() -> String {
    format!("{:032x}", rand::rng().random::<u128>())
}
