//! What the stories share: processes with a registry, and waiting for what they see.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use service_kit::config::ClusterConfig;
use service_kit::drain::{Drain, DrainOutcome};
use service_kit::live::{Instance, InstanceId, LiveSet};
use service_kit::registry::Registry;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::{Instant, interval, timeout};

/// Short, so that the stories are.
pub(crate) const LEASE: Duration = Duration::from_millis(900);
/// For what takes a moment, on a busy machine too.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// What a process of a cluster has of the registry.
pub(crate) struct Process {
    pub(crate) registry: Registry,
    drain: Drain,
}

impl Process {
    pub(crate) async fn start(url: &str) -> Self {
        Self::with_lease(url, LEASE).await
    }

    pub(crate) async fn with_lease(url: &str, lease: Duration) -> Self {
        let drain = Drain::new();
        let mut config = config(url);
        config.lease_ms = u64::try_from(lease.as_millis()).unwrap();
        let registry = Registry::open(&config, &drain).await.unwrap();
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

/// A thread of its own for what a process does, so that it can be stopped and killed.
pub(crate) struct Thread(Option<Runtime>);

impl Thread {
    pub(crate) fn new() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        Self(Some(runtime.unwrap()))
    }

    /// Runs this on the thread and hands over what it returns.
    pub(crate) async fn run<F>(&self, what: F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.0.as_ref().unwrap().spawn(what).await.unwrap()
    }

    /// As by SIGSTOP, until the result is dropped.
    pub(crate) fn stop(&self) -> mpsc::Sender<()> {
        let (go_on, stopped) = mpsc::channel();
        let waiting = async move { assert!(stopped.recv().is_err()) };
        self.0.as_ref().unwrap().spawn(waiting);
        go_on
    }
}

/// As by kill -9.
impl Drop for Thread {
    fn drop(&mut self) {
        self.0.take().unwrap().shutdown_background();
    }
}

pub(crate) fn config(url: &str) -> ClusterConfig {
    ClusterConfig {
        redis: url.into(),
        ca: PathBuf::new(),
        namespace: "im".into(),
        lease_ms: u64::try_from(LEASE.as_millis()).unwrap(),
        advertise: String::new(),
    }
}

pub(crate) fn ids(live: &LiveSet) -> Vec<u64> {
    live.iter().map(|instance| instance.id.0).collect()
}

/// Waits until exactly these are seen.
pub(crate) async fn live_soon(seen: &mut watch::Receiver<Arc<LiveSet>>, expected: &[u64]) {
    let reached = seen.wait_for(|live| ids(live) == expected);
    let reached = timeout(SOON, reached).await.map(|live| live.map(drop));
    let last = ids(&seen.borrow());
    assert!(
        matches!(reached, Ok(Ok(()))),
        "not {expected:?} but {last:?}"
    );
}

/// Sees exactly these for so long.
pub(crate) async fn live_throughout(
    seen: &mut watch::Receiver<Arc<LiveSet>>,
    expected: &[u64],
    throughout: Duration,
) {
    assert_eq!(ids(&seen.borrow_and_update()), expected);
    let changed = timeout(throughout, seen.changed()).await;
    assert!(changed.is_err(), "now {:?}", ids(&seen.borrow()));
}

/// Looks until it holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    let mut looks = interval(Duration::from_millis(20));
    while !holds().await {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        looks.tick().await;
    }
}
