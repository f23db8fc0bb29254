//! The store's process: configuration, telemetry, wiring, serving, draining.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use im_store::config::{Config, DEFAULTS, ENV_PREFIX};
use im_store::service::Service;
use im_store::sqlite::{Engine, Readers};
use im_store::{marks, stream, writer};
use service_kit::admin::Readiness;
use service_kit::drain::{self, Drain};
use service_kit::rpc::LinkConfig;
use service_kit::{admin, clock, config, exit, listen, rpc, telemetry, tls};

fn main() -> ExitCode {
    exit::run("im-store", || {
        let config: Config = config::from_process(ENV_PREFIX, DEFAULTS)?;
        tokio::runtime::Runtime::new()?.block_on(run(config))
    })
}

async fn run(config: Config) -> anyhow::Result<()> {
    let telemetry = telemetry::init("im-store", &config.log)?;
    let (drain, readiness) = (Drain::new(), Readiness::new());
    let path = config.database.sqlite_path()?;
    let server_tls = tls::internal_server(&config.internal_tls)?;
    let client_tls = tls::internal_client(&config.internal_tls)?;
    let listener = listen::bind("listen.address", config.listen.address).await?;
    let admin = listen::bind("admin.listen", config.admin.listen).await?;

    let open = || format!("database.url: cannot use {}", path.display());
    let engine = Engine::open(&path).await.with_context(open)?;
    let readers = Readers::open(&path).await.with_context(open)?;
    let to_router = LinkConfig {
        name: "im-router",
        address: config.links.router,
        tls: client_tls,
    };
    let (link, link_events) = rpc::connect(to_router, drain.clone());
    let (sink, commits) = stream::new();
    let (writer, writing) = writer::new(engine, sink);
    let (mark_sink, marking) = marks::new();
    drain.spawn(writing.run(clock::unix_ms));
    drain.spawn(commits.run(readers.clone(), link, link_events));
    drain.spawn(marking.run(writer.clone()));
    drain.spawn(admin::serve(admin, telemetry, readiness, drain.clone()));
    let service = Arc::new(Service::new(writer, readers.clone(), mark_sink));
    let serving = rpc::serve(listener, server_tls, &["im-logic"], service, drain.clone());
    drain.spawn(serving);

    tracing::info!(address = %config.listen.address, database = %path.display(), "serving");
    drain::signal().await;
    let grace = Duration::from_millis(config.drain.grace_ms);
    let outcome = drain.finish(grace).await;
    readers.close().await;
    tracing::info!(?outcome, "stopped");
    Ok(())
}
