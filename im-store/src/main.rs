//! The store's process: configuration, telemetry, wiring, serving, draining.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use im_store::config::{Config, DEFAULTS, ENV_PREFIX};
use im_store::stream::Ownership;
use im_store::tier::{self, Wiring};
use service_kit::admin::Readiness;
use service_kit::discovery::Discovery;
use service_kit::drain::{self, Drain};
use service_kit::peers::PeersConfig;
use service_kit::{admin, config, exit, listen, telemetry, tls};

fn main() -> ExitCode {
    exit::run("im-store", || {
        let config: Config = config::from_process(ENV_PREFIX, DEFAULTS)?;
        tokio::runtime::Runtime::new()?.block_on(run(config))
    })
}

async fn run(config: Config) -> anyhow::Result<()> {
    let telemetry = telemetry::init("im-store", &config.log)?;
    let (drain, readiness) = (Drain::new(), Readiness::new());
    let database = config.database.database()?;
    let discovery = Discovery::open(&config.cluster, &drain).await?;
    let wiring = Wiring {
        routers: PeersConfig {
            name: "im-router",
            tls: tls::internal_client(&config.internal_tls)?,
            live: discovery.live("im-router", &config.links.router),
        },
        ownership: Ownership {
            me: discovery.me(),
            stores: discovery.live("im-store", "this one"),
        },
        server_tls: tls::internal_server(&config.internal_tls)?,
        listener: listen::bind("listen.address", config.listen.address).await?,
        retention: config.retention.retention(),
        sweep_interval: config.retention.interval()?,
    };
    let admin = listen::bind("admin.listen", config.admin.listen).await?;

    let address = wiring.listener.local_addr()?;
    drain.spawn(admin::serve(admin, telemetry, readiness, drain.clone()));
    let close = tokio::select! {
        started = tier::start(&database, wiring, &drain) => started
            .with_context(|| format!("database.url: cannot use {database}"))?,
        () = drain::signal() => return Ok(()),
    };
    discovery.announce("im-store", address)?;
    tracing::info!(%address, %database, "serving");
    drain::signal().await;
    let grace = Duration::from_millis(config.drain.grace_ms);
    let outcome = drain.finish(grace).await;
    close.await;
    tracing::info!(?outcome, "stopped");
    Ok(())
}
