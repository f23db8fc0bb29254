//! A lone send beside what it cannot do without: one round trip over bare TLS, and one sync of the
//! disk that the history is on. The three are measured in turn, one at a time, with nothing else
//! under way.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use client_sdk::{Client, content};
use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::bare::Bare;
use super::held::{Door, Held};
use super::row::{Row, Rows};
use crate::cluster::Cluster;

/// The longest time that is told apart, in microseconds.
const LONGEST_US: u64 = 60_000_000;

/// What is written before each sync, in bytes: a page of the database.
const BLOCK_BYTES: usize = 4096;

/// Blocks of the file that is synced. It is written whole before, as a log is that has been round.
const BLOCKS: u64 = 256;

/// How often each is done.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Sends, round trips and syncs in each round
    #[arg(long, default_value_t = 1_000)]
    pub times: u64,
    /// Rounds, in which the three take turns
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Bytes of a message's text
    #[arg(long, default_value_t = 128)]
    pub payload: usize,
}

/// A row for each round.
///
/// # Errors
/// When the cluster does not start, or a send is not acknowledged.
pub async fn run(options: &Options) -> anyhow::Result<Rows> {
    ensure!(options.times > 0, "--times: at least one");
    let cluster = Cluster::start().await?;
    let bare = Bare::start().await?;
    let door = Door::new(&bare.access.addresses, &bare.access.ca_pem)?;
    let mut knocker = door.knock(&door.visitor(0)).await?;
    let (client, _events) = Client::connect(cluster.operator("ana")?).await?;
    let group = client.create_group("lone", &[]).await?;
    let text = "x".repeat(options.payload);
    let mut rows = Vec::with_capacity(options.rounds);
    for _ in 0..options.rounds {
        let round_trips = round_trips(&mut knocker, options.times).await?;
        let syncs = syncs(cluster.state(), options.times).await?;
        let mut acks = times()?;
        for _ in 0..options.times {
            let begun = Instant::now();
            client.send(group, content::text(text.as_str())).await?;
            note(&mut acks, begun.elapsed());
        }
        rows.push(row(options, &acks, &round_trips, &syncs));
    }
    client.close().await;
    cluster.stop().await?;
    Ok(Rows(rows))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn row(
    options: &Options,
    acks: &Histogram<u64>,
    round_trips: &Histogram<u64>,
    syncs: &Histogram<u64>,
) -> Row {
    let p50 = |times: &Histogram<u64>| times.value_at_quantile(0.5);
    let bare_us = p50(round_trips) + p50(syncs);
    let mut row = Row::new("lone-send")
        .with("sends", options.times)
        .with("ack_p50_us", p50(acks))
        .with("ack_p99_us", acks.value_at_quantile(0.99))
        .with("tls_round_trip_p50_us", p50(round_trips))
        .with("fdatasync_p50_us", p50(syncs));
    row.put_exactly("times_both", p50(acks) as f64 / bare_us.max(1) as f64);
    row
}

async fn round_trips(knocker: &mut Held, times: u64) -> anyhow::Result<Histogram<u64>> {
    let mut round_trips = self::times()?;
    for _ in 0..times {
        let begun = Instant::now();
        knocker.knock().await?;
        note(&mut round_trips, begun.elapsed());
    }
    Ok(round_trips)
}

/// Where the history is, so that it is the same disk.
async fn syncs(folder: &Path, times: u64) -> anyhow::Result<Histogram<u64>> {
    let path = folder.join("synced-by-bench");
    tokio::task::spawn_blocking(move || {
        let block = [b'x'; BLOCK_BYTES];
        let file = File::create(&path)?;
        let at = |number: u64| number % BLOCKS * BLOCK_BYTES as u64;
        for number in 0..BLOCKS {
            file.write_all_at(&block, at(number))?;
        }
        file.sync_all()?;
        let mut syncs = self::times()?;
        for number in 0..times {
            let begun = Instant::now();
            file.write_all_at(&block, at(number))?;
            file.sync_data()?;
            note(&mut syncs, begun.elapsed());
        }
        std::fs::remove_file(&path)?;
        Ok(syncs)
    })
    .await?
}

fn times() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LONGEST_US, 3)?)
}

fn note(times: &mut Histogram<u64>, took: Duration) {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    times.saturating_record(us);
}
