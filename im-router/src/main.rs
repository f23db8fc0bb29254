//! The router's process: configuration, telemetry, wiring, serving, draining.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use im_router::config::{Config, DEFAULTS, ENV_PREFIX};
use im_router::service::{PEERS, Service};
use service_kit::admin::Readiness;
use service_kit::discovery::Discovery;
use service_kit::drain::{self, Drain};
use service_kit::{admin, config, exit, listen, rpc, runtime, telemetry, tls};

fn main() -> ExitCode {
    exit::run("im-router", || {
        let config: Config = config::from_process(ENV_PREFIX, DEFAULTS)?;
        runtime::build(&config.runtime, runtime::Work::Passing)?.block_on(run(config))
    })
}

async fn run(config: Config) -> anyhow::Result<()> {
    let telemetry = telemetry::init("im-router", &config.log)?;
    let (drain, readiness) = (Drain::new(), Readiness::new());
    let tls = tls::internal_server(&config.internal_tls)?;
    let listener = listen::bind("listen.address", config.listen.address).await?;
    let admin = listen::bind("admin.listen", config.admin.listen).await?;

    let address = listener.local_addr()?;
    let discovery = Discovery::open(&config.cluster, &drain).await?;
    let service = Arc::new(Service::new(drain.clone()));
    drain.spawn(admin::serve(admin, telemetry, readiness, drain.clone()));
    drain.spawn(rpc::serve(listener, tls, PEERS, service, drain.clone()));

    discovery.announce("im-router", address)?;
    tracing::info!(%address, "serving");
    drain::signal().await;
    let outcome = drain
        .finish(Duration::from_millis(config.drain.grace_ms))
        .await;
    tracing::info!(?outcome, "stopped");
    Ok(())
}
