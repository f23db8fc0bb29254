//! Emergency stops of a fleet under load: how long until the last robot has acted.
//!
//! Robots are whole SDK clients with certificates, in load processes; the load, from the
//! coordinator, is as much chat, telemetry and commands as the cluster takes, to all of them. A stop
//! begins when the operator's client is asked for it, and ends when the last robot's handler was
//! called, all by the clock of one machine.

mod load;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use client_sdk::estop::Scope;
use client_sdk::{AccountId, Client, ClientConfig, ClientMessageId, Credential, new_message_id};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use service_kit::clock as wall;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::processes::{Processes, Progress, Station, Work};
use super::row::{Row, Rows};
use super::screen::Stage;
use super::site::{Place, Site};
use crate::clock;

/// Robots of one load process.
const ROBOTS_PER_PROCESS_MAX: usize = 1_000;

/// Robots of one load process that connect at once.
const CONNECTING_MAX: usize = 16;

/// Stops that robots have acted on and that are not counted yet, for each. When full: one is not
/// counted, and so missed.
const ACTS_PER_ROBOT_MAX: usize = 4;

/// How long a robot may take to act on a stop before it counts as missed.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Robots
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    pub robots: usize,
    /// Stops, one after the other, each released before the next
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub stops: usize,
    /// Between a release and the next stop, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pub pause_ms: u64,
    /// Without the load
    #[arg(long)]
    pub calm: bool,
    /// On which cluster; one of this machine.
    #[command(flatten)]
    pub place: Place,
}

/// Some of the robots.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stopping {
    addresses: Vec<String>,
    ca_pem: String,
    /// The certificate and the key of each, in PEM.
    credentials: Vec<(String, String)>,
}

/// When robots of a process acted on a stop, in microseconds since the Unix epoch.
type Acted = Vec<u64>;

impl Work for Stopping {
    const NAME: &'static str = "estop";
    type Outcome = bool;

    async fn run(self, mut station: Station) -> anyhow::Result<bool> {
        let (acts, mut acted) = mpsc::channel(ACTS_PER_ROBOT_MAX * self.credentials.len().max(1));
        let connecting = self.credentials.iter().map(|credential| {
            let (config, acts) = (self.config(credential), acts.clone());
            async move {
                let (client, mut events) = Client::connect(config).await?;
                client.on_estop(move |stop| {
                    acts.try_send((stop.id, clock::unix_us())).ok();
                    std::future::ready(())
                });
                tokio::spawn(async move { while events.next().await.is_some() {} });
                anyhow::Ok(client)
            }
        });
        let mut connecting = futures_util::stream::iter(connecting).buffered(CONNECTING_MAX);
        let mut robots = Vec::with_capacity(self.credentials.len());
        while let Some(robot) = connecting.next().await {
            robots.push(robot?);
            station.further(Progress {
                connected: robots.len() as u64,
                ..Progress::default()
            });
        }
        drop(connecting);
        let ids: Vec<_> = robots.iter().map(|robot| robot.account().id.0).collect();
        let mut next: Option<String> = station.meet(&ids).await?;
        while let Some(stop) = next {
            let stop: ClientMessageId = stop.parse()?;
            let _begins: bool = station.meet(&true).await?;
            let times = acted_on(stop, robots.len(), &mut acted).await;
            next = station.meet(&times).await?;
        }
        Ok(true)
    }
}

impl Stopping {
    fn config(&self, (certificate, key): &(String, String)) -> ClientConfig {
        let credential = Credential::Certificate {
            certificate_pem: certificate.clone().into_bytes(),
            key_pem: key.clone().into_bytes(),
        };
        let ca = self.ca_pem.clone().into_bytes();
        let mut config = ClientConfig::new(self.addresses.iter().cloned(), ca, credential);
        config.client_name = "im-bench".into();
        config
    }
}

/// The times of all robots that act on it in time. Each does once.
async fn acted_on(
    stop: ClientMessageId,
    robots: usize,
    acted: &mut mpsc::Receiver<(ClientMessageId, u64)>,
) -> Acted {
    let mut times = Vec::with_capacity(robots);
    let until = Instant::now() + STOPPED_WITHIN;
    while times.len() < robots {
        match tokio::time::timeout_at(until, acted.recv()).await {
            Ok(Some((id, at_us))) if id == stop => times.push(at_us),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    times
}

/// Stops and releases the fleet so many times, under load.
///
/// # Errors
/// When the cluster is not of this machine, or fails.
pub async fn run(options: &Options, site: &mut Site) -> anyhow::Result<Rows> {
    ensure!(options.robots > 0 && options.stops > 0, "0 of something");
    let works = works(options.robots, site)?;
    let mut processes = Processes::start(works).await?;
    let stage = Stage::new("robots", options.robots as u64);
    let bar = stage.clone();
    processes.watch(move |progress| {
        bar.at(progress.connected);
        Ok(())
    });
    let robots: Vec<u64> = processes.meet::<Vec<u64>>().await?.concat();
    stage.over();
    let robots: Vec<_> = robots.into_iter().map(AccountId).collect();
    let cluster = site.cluster().context("robots need a cluster of ours")?;
    let (operator, _events) = Client::connect(cluster.operator("estop")?).await?;
    let load = match options.calm {
        true => None,
        false => Some(load::start(cluster, &robots).await?),
    };
    let mut figures = Figures::default();
    let stage = Stage::new("stops", options.stops as u64);
    for stop in 0..options.stops {
        tokio::time::sleep(Duration::from_millis(options.pause_ms)).await;
        let (asked_us, times) = one(&operator, &mut processes).await?;
        figures.add(asked_us, robots.len(), times);
        stage.at(stop as u64 + 1);
    }
    stage.over();
    processes.answer(&None::<String>).await?;
    processes.outcomes().await?;
    let mut row = figures.row(options.robots, options.stops);
    if let Some(load) = load {
        let (sent, seconds) = load.stop().await;
        row.put("load_sends_per_second", sent / seconds.max(1));
    }
    operator.close().await;
    Ok(row.into())
}

/// One stop and its release. Returns when it was asked for, and when robots acted.
async fn one(
    operator: &Client,
    processes: &mut Processes<Stopping>,
) -> anyhow::Result<(u64, Acted)> {
    let id = new_message_id();
    processes.answer(&Some(id.to_string())).await?;
    processes.meet::<bool>().await?;
    processes.answer(&true).await?;
    let asked_us = clock::unix_us();
    let stored = operator.estop_as(id, Scope::Fleet, "im-bench").stored();
    let times = processes.meet::<Acted>().await?.concat();
    stored.await?;
    operator.release(Scope::Fleet, &[id], "im-bench").await?;
    Ok((asked_us, times))
}

fn works(robots: usize, site: &Site) -> anyhow::Result<Vec<Stopping>> {
    let cluster = site.cluster().context("robots need a cluster of ours")?;
    let names: Vec<_> = (0..robots).map(|n| format!("estop-{n}")).collect();
    let credentials = cluster
        .authority()
        .passing_robots(&names, wall::unix_ms())?;
    let share = robots.div_ceil(robots.div_ceil(ROBOTS_PER_PROCESS_MAX));
    let some = credentials.chunks(share).map(|some| Stopping {
        addresses: site.access.addresses.clone(),
        ca_pem: site.access.ca_pem.clone(),
        credentials: some.to_vec(),
    });
    Ok(some.collect())
}

/// What stops took.
#[derive(Debug, Default)]
struct Figures {
    /// Until the last robot had it, of each stop, in microseconds.
    last_us: Vec<u64>,
    /// Until a robot had it, of each, in microseconds.
    each_us: Vec<u64>,
    missed: usize,
}

impl Figures {
    fn add(&mut self, asked_us: u64, robots: usize, times: Acted) {
        self.missed += robots.saturating_sub(times.len());
        let took = times.into_iter().map(|at| at.saturating_sub(asked_us));
        let took: Vec<_> = took.collect();
        self.last_us.extend(took.iter().max());
        self.each_us.extend(took);
    }

    fn row(mut self, robots: usize, stops: usize) -> Row {
        self.last_us.sort_unstable();
        self.each_us.sort_unstable();
        Row::new("estop")
            .with("robots", robots)
            .with("stops", stops)
            .with("missed", self.missed)
            .with("p50_us", at(&self.last_us, 500))
            .with("p999_us", at(&self.last_us, 999))
            .with("each_p50_us", at(&self.each_us, 500))
            .with("each_p999_us", at(&self.each_us, 999))
    }
}

/// The value that so many in a thousand are not above.
fn at(sorted: &[u64], per_mille: usize) -> u64 {
    let rank = (sorted.len() * per_mille).div_ceil(1000);
    let found = sorted.get(rank.max(1) - 1);
    found.copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_robot_of_each_stop_counts() {
        let mut figures = Figures::default();
        figures.add(100, 3, vec![110, 150, 120]);
        figures.add(1_000, 3, vec![1_020, 1_030]);
        let row = figures.row(3, 2);
        let figure = |key: &str| row.get(key).unwrap().as_u64().unwrap();
        assert_eq!((figure("p50_us"), figure("p999_us")), (30, 50));
        assert_eq!(figure("missed"), 1);
        assert_eq!(figure("each_p50_us"), 20);
    }

    #[test]
    fn a_share_of_few_is_the_highest() {
        let sorted: Vec<u64> = (1..=10).collect();
        assert_eq!([at(&sorted, 500), at(&sorted, 999)], [5, 10]);
        assert_eq!(at(&[], 999), 0);
    }
}
