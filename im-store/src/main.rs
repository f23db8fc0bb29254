//! The store's process: configuration, telemetry, wiring, serving, draining; or a task beside.

use std::process::ExitCode;

use anyhow::Context as _;
use im_store::backup::command::{self, Task};
use im_store::tier::{self, Wiring};
use im_store::{config::Config, stream::Ownership};
use service_kit::discovery::Discovery;
use service_kit::drain::{self, Drain};
use service_kit::peers::PeersConfig;
use service_kit::{admin, admin::Readiness, exit, listen, runtime, telemetry, tls};

fn main() -> ExitCode {
    exit::run("im-store", || {
        let (task, config) = command::from_process()?;
        runtime::build(&config.runtime, runtime::Work::Passing)?.block_on(run(task, config))
    })
}

async fn run(task: Task, config: Config) -> anyhow::Result<()> {
    if task != Task::Serve {
        return Ok(task.carry_out(&config.database.database()?).await?);
    }
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
        index_interval: config.search.interval(),
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
    let outcome = drain.finish(config.drain.grace()).await;
    close.await;
    tracing::info!(?outcome, "stopped");
    Ok(())
}
