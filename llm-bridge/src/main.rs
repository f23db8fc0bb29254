//! The planner's process: configuration, telemetry, wiring, following, draining.

use std::process::ExitCode;
use std::time::Duration;

use llm_bridge::bridge::{self, Planner};
use llm_bridge::config::{Config, DEFAULTS, ENV_PREFIX};
use llm_bridge::routing::routes;
use service_kit::admin::{self, Readiness};
use service_kit::config;
use service_kit::drain::{self, Drain};
use service_kit::{exit, listen, telemetry};

fn main() -> ExitCode {
    exit::run("llm-bridge", || {
        let config: Config = config::from_process(ENV_PREFIX, DEFAULTS)?;
        tokio::runtime::Runtime::new()?.block_on(run(config))
    })
}

async fn run(config: Config) -> anyhow::Result<()> {
    let telemetry = telemetry::init("llm-bridge", &config.log)?;
    let (drain, readiness) = (Drain::new(), Readiness::new());
    let client = config.server.client()?;
    let providers = routes::providers(&config)?;
    let models = providers.describe();
    let planner = Planner {
        providers,
        planning: config.planning.planning()?,
        mission: config.planning.mission(),
    };
    let admin = listen::bind("admin.listen", config.admin.listen).await?;

    let gate = readiness.gate("gateway");
    drain.spawn(admin::serve(admin, telemetry, readiness, drain.clone()));
    let mut bridging = drain.spawn(bridge::run(client, planner, gate, drain.clone()));

    tracing::info!(models, "planning");
    let ended = tokio::select! {
        () = drain::signal() => None,
        ended = &mut bridging => Some(ended),
    };
    let grace = Duration::from_millis(config.drain.grace_ms);
    let outcome = drain.finish(grace).await;
    tracing::info!(?outcome, "stopped");
    ended.map_or(Ok(()), |ended| Ok(ended??))
}
