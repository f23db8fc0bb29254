//! The admin port of a process: `/live`, `/ready`, `/metrics`. Plain HTTP, on loopback by default.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use crate::drain::Drain;
use crate::events;
use crate::telemetry::Telemetry;

/// What this process still waits for before it can do its work. Clones share one.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    waiting: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

/// One condition of readiness. It starts unready.
#[derive(Debug, Clone)]
pub struct ReadyGate {
    name: &'static str,
    waiting: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Readiness {
    /// With no conditions: ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition, unready until it says otherwise.
    #[must_use]
    pub fn gate(&self, name: &'static str) -> ReadyGate {
        self.waiting.lock().insert(name, "starting".into());
        ReadyGate {
            name,
            waiting: Arc::clone(&self.waiting),
        }
    }

    /// What is missing, a line each; empty when ready.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        self.waiting
            .lock()
            .iter()
            .map(|(name, why)| format!("{name}: {why}"))
            .collect()
    }
}

impl ReadyGate {
    /// The condition holds.
    pub fn set_ready(&self) {
        self.waiting.lock().remove(self.name);
    }

    /// The condition does not hold.
    pub fn set_unready(&self, why: impl Into<String>) {
        self.waiting.lock().insert(self.name, why.into());
    }
}

/// Serves the admin port until the drain is over.
pub async fn serve(
    listener: TcpListener,
    telemetry: Telemetry,
    readiness: Readiness,
    drain: Drain,
) {
    let upkeep = telemetry.clone();
    let app = Router::new()
        .route("/live", get(|| std::future::ready("ok\n")))
        .route("/ready", get(move || std::future::ready(ready(&readiness))))
        .route(
            "/metrics",
            get(move || std::future::ready(telemetry.render())),
        );
    let stop = async move { drain.draining().await };
    tokio::select! {
        served = axum::serve(listener, app).with_graceful_shutdown(stop).into_future() => {
            if let Err(error) = served {
                events::admin_ended(&error);
            }
        }
        () = upkeep.upkeep() => {}
    }
}

fn ready(readiness: &Readiness) -> (StatusCode, String) {
    let missing = readiness.missing();
    if missing.is_empty() {
        (StatusCode::OK, "ready\n".into())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_while_every_gate_is() {
        let readiness = Readiness::new();
        let store = readiness.gate("store");
        let router = readiness.gate("router");
        assert_eq!(readiness.missing(), ["router: starting", "store: starting"]);
        store.set_ready();
        router.set_ready();
        assert_eq!(ready(&readiness).0, StatusCode::OK);
        store.set_unready("link down");
        assert_eq!(
            ready(&readiness),
            (StatusCode::SERVICE_UNAVAILABLE, "store: link down\n".into())
        );
    }
}
