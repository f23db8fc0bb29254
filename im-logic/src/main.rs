//! The logic's process: configuration, telemetry, wiring, serving, draining.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use im_logic::api;
use im_logic::config::{Config, DEFAULTS, ENV_PREFIX};
use im_logic::content::ContentRules;
use im_logic::credentials::Keys;
use im_logic::node::Node;
use im_logic::service::{PEERS, Parts, Service};
use service_kit::admin::Readiness;
use service_kit::discovery::Discovery;
use service_kit::drain::{self, Drain};
use service_kit::{admin, config, exit, listen, rpc, runtime, telemetry, tls};

fn main() -> ExitCode {
    exit::run("im-logic", || {
        let config: Config = config::from_process(ENV_PREFIX, DEFAULTS)?;
        runtime::build(&config.runtime, runtime::Work::Passing)?.block_on(run(config))
    })
}

async fn run(config: Config) -> anyhow::Result<()> {
    let telemetry = telemetry::init("im-logic", &config.log)?;
    let (drain, readiness) = (Drain::new(), Readiness::new());
    let server_tls = tls::internal_server(&config.internal_tls)?;
    let client_tls = tls::internal_client(&config.internal_tls)?;
    let keys = Keys::open(&config)?;
    let content = Arc::new(ContentRules::open(&config.content.rules)?);
    let listener = listen::bind("listen.address", config.listen.address).await?;
    let admin = listen::bind("admin.listen", config.admin.listen).await?;
    let address = listener.local_addr()?;
    let door = api::bind(&config).await?;
    let discovery = Discovery::open(&config.cluster, &drain).await?;
    let node = Node::take(&config.snowflake, &discovery).await?;
    let links = |tier, fixed: &str| discovery.links(tier, fixed, &client_tls, &readiness);
    let (stores, store_events) = links("im-store", &config.links.store);
    let (routers, router_events) = links("im-router", &config.links.router);
    let rules = Arc::clone(&content);
    let parts = Parts::of(&config, keys, rules, node.snowflakes(), (stores, routers));
    let service = Arc::new(Service::new(parts));
    drain.spawn(content.keep_up(drain.clone()));
    drain.spawn(Arc::clone(&service).keep_up(drain.clone()));
    let remembering = Arc::clone(&service);
    drain.spawn(store_events.watch(move || remembering.forget()));
    drain.spawn(router_events.watch(|| {}));
    drain.spawn(admin::serve(admin, telemetry, readiness, drain.clone()));
    api::spawn(door, config.api, Arc::clone(&service), &drain);
    let serving = rpc::serve(listener, server_tls, PEERS, service, drain.clone());
    drain.spawn(serving);
    discovery.announce("im-logic", address)?;
    tracing::info!(%address, "serving");
    node.lost_or(drain::signal()).await;
    let grace = Duration::from_millis(config.drain.grace_ms);
    let outcome = drain.finish(grace).await;
    tracing::info!(?outcome, "stopped");
    Ok(())
}
