//! Waits for what a cluster is about to do: asks again until it has, or until too long.

use std::time::Duration;

use anyhow::ensure;
use deploy::tiers::Tier;
use tokio::time::Instant;

use crate::cluster::Cluster;

/// How long anything may take: a killed tier is back long before.
const WITHIN: Duration = Duration::from_secs(60);

/// How often is asked.
const POLL: Duration = Duration::from_millis(25);

/// Asks again until there is an answer.
///
/// # Errors
/// When it takes too long.
pub async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> anyhow::Result<T> {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        ensure!(Instant::now() < deadline, "no answer in time");
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until a counter of a tier, summed over its labels, has reached this.
///
/// # Errors
/// When it takes too long.
pub async fn metric_at_least(
    cluster: &Cluster,
    tier: Tier,
    name: &str,
    least: u64,
) -> anyhow::Result<()> {
    // The admin port is plain HTTP; the client wants a provider of TLS all the same. It fails when
    // there is one already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let deadline = Instant::now() + WITHIN;
    loop {
        let admin = tier.admin(&cluster.run_file()?.addresses);
        // A tier that is away is asked again.
        let text = match reqwest::get(format!("http://{admin}/metrics")).await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        #[expect(clippy::cast_precision_loss, reason = "a count for a test")]
        if sum(&text, name) >= least as f64 {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{name} stays below {least}: {}",
            cluster.log()
        );
        tokio::time::sleep(POLL).await;
    }
}

fn sum(text: &str, name: &str) -> f64 {
    text.lines()
        .filter(|line| line.split(['{', ' ']).next() == Some(name))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
