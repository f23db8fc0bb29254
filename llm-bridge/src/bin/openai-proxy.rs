//! The process of the proxy: configuration, telemetry, serving, draining; and making keys for it.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use llm_bridge::proxy::config::{Config, DEFAULTS, ENV_PREFIX};
use llm_bridge::proxy::server::Proxy;
use llm_bridge::proxy::{SUBJECT_PREFIX, tls};
use service_kit::admin::{self, Readiness};
use service_kit::config::ConfigError;
use service_kit::drain::{self, Drain};
use service_kit::token::{TokenSigner, generate_key_pair};
use service_kit::{clock, config, exit, listen, telemetry};

/// How long a key that was made by hand is good, in milliseconds.
const HAND_MADE_MS: u64 = 60 * 60 * 1000;

fn main() -> ExitCode {
    exit::run("openai-proxy", || {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match arguments.as_slice() {
            ["--new-keys", folder] => new_keys(Path::new(folder)),
            ["--sign", key, client] => sign(Path::new(key), client),
            ["--new-keys" | "--sign", ..] => {
                let text = "--new-keys DIR, or --sign PRIVATE_KEY CLIENT";
                Err(ConfigError::Usage(text.into()).into())
            }
            _ => {
                let config: Config = config::from_process(ENV_PREFIX, DEFAULTS)?;
                tokio::runtime::Runtime::new()?.block_on(run(config))
            }
        }
    })
}

async fn run(config: Config) -> anyhow::Result<()> {
    let telemetry = telemetry::init("openai-proxy", &config.log)?;
    let (drain, readiness) = (Drain::new(), Readiness::new());
    let tls = tls::server_config(&config.listen)?;
    let proxy = Proxy::new(&config, &drain)?;
    let listener = listen::bind("listen.address", config.listen.address).await?;
    let admin = listen::bind("admin.listen", config.admin.listen).await?;
    let address = listener.local_addr()?;
    drain.spawn(admin::serve(admin, telemetry, readiness, drain.clone()));
    let (end, router) = (drain.clone(), proxy.router());
    let stop = async move { end.draining().await };
    match tls {
        Some(tls) => {
            let listener = tls::TlsListener::new(listener, tls, &drain)?;
            let serving = axum::serve(listener, router).with_graceful_shutdown(stop);
            drain.spawn(IntoFuture::into_future(serving));
        }
        None => {
            let serving = axum::serve(listener, router).with_graceful_shutdown(stop);
            drain.spawn(IntoFuture::into_future(serving));
        }
    }
    tracing::info!(%address, upstream = config.upstream.base_url, "passing on");
    drain::signal().await;
    let outcome = drain
        .finish(Duration::from_millis(config.drain.grace_ms))
        .await;
    tracing::info!(?outcome, "stopped");
    Ok(())
}

/// A pair of keys: the private one for bridges, the public one for the proxy.
fn new_keys(folder: &Path) -> anyhow::Result<()> {
    let (private, public) = generate_key_pair();
    for (name, text, mode) in [
        ("proxy-signing.pem", private, 0o600),
        ("proxy-signing.pub.pem", public, 0o644),
    ] {
        let path = folder.join(name);
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(mode).open(&path);
        let mut file = file.with_context(|| format!("cannot make {}", path.display()))?;
        file.write_all(text.as_bytes())?;
        writeln!(std::io::stdout(), "{}", path.display())?;
    }
    Ok(())
}

/// A key of an hour, for trying the proxy out by hand.
fn sign(key: &Path, client: &str) -> anyhow::Result<()> {
    let signer = TokenSigner::from_pem(key)?;
    let subject = format!("{SUBJECT_PREFIX}{client}");
    let token = signer.sign(&subject, clock::unix_ms(), HAND_MADE_MS);
    writeln!(std::io::stdout(), "{token}")?;
    Ok(())
}
