//! Logs and metrics of a process: `tracing` to standard error, Prometheus text for the admin port.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use thiserror::Error;
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// How often the histograms are folded, so that they do not grow between two scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Upper bounds of the buckets of every `…_seconds` histogram: 100 µs to 10 s.
const SECONDS_BUCKETS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Upper bounds of the buckets of every other histogram: sizes and counts.
const COUNT_BUCKETS: [f64; 14] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0,
];

/// Telemetry could not be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// `log.filter` does not parse.
    #[error("log.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// A recorder or a subscriber is installed already.
    #[error("telemetry is set up already: {0}")]
    Installed(String),
}

/// The metrics of this process.
#[derive(Debug, Clone)]
pub struct Telemetry {
    metrics: PrometheusHandle,
}

impl Telemetry {
    /// The metrics in Prometheus's text form.
    #[must_use]
    pub fn render(&self) -> String {
        self.metrics.render()
    }

    /// Keeps histograms small until it is dropped. Runs for ever; cancel-safe.
    pub async fn upkeep(&self) {
        let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            ticks.tick().await;
            self.metrics.run_upkeep();
        }
    }
}

/// Installs logs and metrics for this process, named `service` in both.
pub fn init(service: &'static str, log: &LogConfig) -> Result<Telemetry, TelemetryError> {
    let filter = EnvFilter::try_new(&log.filter)?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let installed = match log.format {
        LogFormat::Text => logs.with_ansi(false).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| TelemetryError::Installed(error.to_string()))?;

    let metrics = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS_BUCKETS)
        .and_then(|builder| builder.set_buckets(&COUNT_BUCKETS))
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| TelemetryError::Installed(error.to_string()))?;
    metrics::gauge!("im_process_info", "service" => service, "version" => env!("CARGO_PKG_VERSION"))
        .set(1.0);
    #[expect(clippy::cast_precision_loss, reason = "seconds fit in 52 bits")]
    metrics::gauge!("im_process_start_time_seconds").set((crate::clock::unix_ms() / 1000) as f64);
    Ok(Telemetry { metrics })
}
