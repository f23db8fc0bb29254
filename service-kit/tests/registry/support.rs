//! What the stories share: processes with a registry, and waiting for what they see.

use std::sync::Arc;
use std::time::Duration;

use service_kit::config::ClusterConfig;
use service_kit::drain::{Drain, DrainOutcome};
use service_kit::live::{Instance, InstanceId, LiveSet};
use service_kit::registry::Registry;
use tokio::sync::watch;
use tokio::time::timeout;

/// Short, so that the stories are.
pub(crate) const LEASE: Duration = Duration::from_millis(900);

/// What a process of a cluster has of the registry.
pub(crate) struct Process {
    pub(crate) registry: Registry,
    drain: Drain,
}

impl Process {
    pub(crate) async fn start(url: &str) -> Self {
        let drain = Drain::new();
        let registry = Registry::open(&config(url), &drain).await.unwrap();
        Self { registry, drain }
    }

    pub(crate) fn announce(&self, service: &str, id: u64) {
        let address = format!("127.0.0.1:{id}");
        let id = InstanceId(id);
        self.registry.announce(service, Instance { id, address });
    }

    /// As at SIGTERM.
    pub(crate) async fn end(&self) {
        let outcome = self.drain.finish(Duration::from_secs(5)).await;
        assert_eq!(outcome, DrainOutcome::Clean);
    }
}

pub(crate) fn config(url: &str) -> ClusterConfig {
    ClusterConfig {
        redis: url.into(),
        namespace: "im".into(),
        lease_ms: u64::try_from(LEASE.as_millis()).unwrap(),
        advertise: String::new(),
    }
}

pub(crate) fn ids(live: &LiveSet) -> Vec<u64> {
    live.iter().map(|instance| instance.id.0).collect()
}

/// Waits until exactly these are seen.
pub(crate) async fn live_within(
    seen: &mut watch::Receiver<Arc<LiveSet>>,
    expected: &[u64],
    within: Duration,
) {
    let reached = seen.wait_for(|live| ids(live) == expected);
    let reached = timeout(within, reached).await.map(|live| live.map(|_| ()));
    assert!(
        matches!(reached, Ok(Ok(()))),
        "not {expected:?} but {:?}",
        ids(&seen.borrow())
    );
}
