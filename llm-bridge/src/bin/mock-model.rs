//! The process of the mock model: configuration, telemetry, serving, draining.

use std::process::ExitCode;
use std::time::Duration;

use llm_bridge::mock::config::{Config, DEFAULTS, ENV_PREFIX};
use llm_bridge::mock::server::Mock;
use service_kit::drain::{self, Drain};
use service_kit::{config, exit, listen, telemetry};

fn main() -> ExitCode {
    exit::run("mock-model", || {
        let config: Config = config::from_process(ENV_PREFIX, DEFAULTS)?;
        tokio::runtime::Runtime::new()?.block_on(run(config))
    })
}

async fn run(config: Config) -> anyhow::Result<()> {
    let telemetry = telemetry::init("mock-model", &config.log)?;
    let drain = Drain::new();
    let recording = config.behaviour.recording()?;
    let listener = listen::bind("listen.address", config.listen.address).await?;
    let address = listener.local_addr()?;

    let metrics = telemetry.clone();
    let mock = Mock::new(
        config.behaviour.behaviour,
        recording,
        move || metrics.render(),
        drain.clone(),
    );
    drain.spawn(mock.serve(listener));
    let upkeep = tokio::spawn(async move { telemetry.upkeep().await });

    tracing::info!(%address, "serving");
    drain::signal().await;
    let grace = Duration::from_millis(config.drain.grace_ms);
    let outcome = drain.finish(grace).await;
    upkeep.abort();
    tracing::info!(?outcome, "stopped");
    Ok(())
}
