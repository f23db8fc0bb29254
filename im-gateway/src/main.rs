//! The gateway's process: configuration, telemetry, wiring, serving, draining.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use im_gateway::config::{Config, DEFAULTS, ENV_PREFIX};
use im_gateway::gateway::{Around, Gateway};
use im_gateway::upstream::Upstream;
use im_gateway::{http, listener, media, router_link};
use protocol::GatewayId;
use service_kit::admin::Readiness;
use service_kit::discovery::Discovery;
use service_kit::drain::{self, Drain};
use service_kit::{admin, config, exit, listen, runtime, telemetry, tls};

fn main() -> ExitCode {
    exit::run("im-gateway", || {
        let config: Config = config::from_process(ENV_PREFIX, DEFAULTS)?;
        config.check()?;
        runtime::build(&config.runtime, runtime::Work::Connections)?.block_on(run(config))
    })
}

async fn run(config: Config) -> anyhow::Result<()> {
    let telemetry = telemetry::init("im-gateway", &config.log)?;
    let (drain, readiness) = (Drain::new(), Readiness::new());
    let public_tls = config.public_tls.server()?;
    let tls = tls::internal_client(&config.internal_tls)?;
    let clients = listen::bind("listen.address", config.listen.address).await?;
    let web = http::bind(&config.http).await?;
    let admin = listen::bind("admin.listen", config.admin.listen).await?;
    let discovery = Discovery::open(&config.cluster, &drain).await?;
    let links = |tier, fixed: &str| discovery.links(tier, fixed, &tls, &readiness);
    let (logics, logic_events) = links("im-logic", &config.links.logic);
    let (routers, router_events) = links("im-router", &config.links.router);
    let grace = Duration::from_millis(config.drain.grace_ms);
    let around = Around {
        media: media::begin(&config, &logics, &drain)?,
        upstream: Upstream::new(logics),
        routers,
        gateways: discovery.live("im-gateway", ""),
        routes: discovery.routes(),
        estop_file: config.estop.file(),
    };
    let rules = (config.session, config.limits, grace);
    let gateway = Gateway::new(GatewayId(rand::random()), rules, around, drain.clone());
    let address = clients.local_addr()?;
    drain.spawn(logic_events.watch(|| {}));
    drain.spawn(router_link::run(Arc::clone(&gateway), router_events));
    drain.spawn(admin::serve(admin, telemetry, readiness, drain.clone()));
    gateway.begin();
    http::spawn(web, &public_tls, &gateway, config.http);
    drain.spawn(listener::serve(clients, public_tls, gateway, drain.clone()));
    discovery.announce("im-gateway", address)?;
    tracing::info!(%address, "serving");
    drain::signal().await;
    tracing::info!(outcome = ?drain.finish(grace).await, "stopped");
    Ok(())
}
