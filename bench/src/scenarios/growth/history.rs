//! Whether a send costs more when there is a long history already.
//!
//! Each length of history is a cluster of its own, filled directly ([`im_store::testing`]); all of
//! them are measured in turn, several rounds, and the medians are told.

use std::str::FromStr;

use anyhow::{Context as _, ensure};
use client_sdk::{Client, Content, ConversationId, Events, Outgoing, StartFrom};
use deploy::tiers::Tier;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use im_store::testing::MariaDb;
use im_store::{mysql, sqlite};
use protocol::wire::Data;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::report::Latencies;
use crate::scenarios::catch_up::{database, filling, median, per_second};
use crate::scenarios::row::{Row, Rows};
use crate::scenarios::used::Cpu;

/// Bytes of a message's payload.
const PAYLOAD_BYTES: usize = 128;

/// Sends that wait for their ack at once, of each sender.
const WINDOW: usize = 16;

/// Members that all send.
const SENDERS: usize = 10;

/// Where the history is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// A file.
    #[default]
    Sqlite,
    /// A MariaDB server of its own, from Debian's package.
    MariaDb,
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "sqlite" => Ok(Self::Sqlite),
            "mariadb" => Ok(Self::MariaDb),
            other => Err(format!("{other}: sqlite or mariadb")),
        }
    }
}

/// What is measured. Each length is a cluster of its own, whose database is filled directly.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Messages that are there before
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "10,10000,1000000,10000000"
    )]
    pub history: Vec<u64>,
    /// Messages sent in each round, by ten members, sixteen of each on their way
    #[arg(long, default_value_t = 20_000)]
    pub sends: u64,
    /// Sends of each round one after the other, for their latency
    #[arg(long, default_value_t = 1000)]
    pub lone_sends: u64,
    /// How often each length is measured, in turn
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// sqlite or mariadb
    #[arg(long, default_value = "sqlite")]
    pub engine: Engine,
}

/// Measures each length in turn.
///
/// # Errors
/// When a cluster does not start, or a send fails.
pub async fn run(asked: &Options) -> anyhow::Result<Rows> {
    ensure!(asked.rounds > 0, "--rounds: at least one");
    let server = match asked.engine {
        Engine::Sqlite => None,
        Engine::MariaDb => Some(MariaDb::start().await?),
    };
    let mut logs = Vec::with_capacity(asked.history.len());
    for entries in &asked.history {
        logs.push(Log::make(*entries, server.as_ref()).await?);
    }
    let mut measured = vec![Vec::new(); logs.len()];
    for _ in 0..asked.rounds {
        for (log, rows) in logs.iter().zip(&mut measured) {
            rows.push(log.measure(asked).await?);
        }
    }
    for log in logs {
        log.cluster.stop().await?;
    }
    Ok(Rows(measured.iter().map(|rounds| middle(rounds)).collect()))
}

/// One round at one length.
#[derive(Debug, Clone)]
struct Round {
    history: u64,
    acked_per_s: f64,
    store_cpu_us: f64,
    server_cpu_us: f64,
    lone_p50_us: f64,
    lone_p99_us: f64,
}

/// A cluster with a conversation that is so long.
struct Log {
    cluster: Cluster,
    conversation: ConversationId,
    entries: u64,
}

impl Log {
    async fn make(entries: u64, server: Option<&MariaDb>) -> anyhow::Result<Self> {
        let url = match server {
            Some(server) => {
                let name = format!("history_{entries}");
                let make = format!("CREATE DATABASE {name}");
                server.execute_on("mysql", &make).await?;
                Some(server.url(&name))
            }
            None => None,
        };
        let words: Vec<_> = url
            .iter()
            .flat_map(|url| ["--store", url.as_str()])
            .collect();
        let words: Vec<_> = words.into_iter().map(str::to_owned).collect();
        let cluster = Cluster::start_with(tempfile::tempdir()?, &words).await?;
        let members = members(&cluster).await?;
        let ids: Vec<_> = members.iter().map(|(its, _)| its.account().id).collect();
        let conversation = members[0].0.create_group("history", &ids[1..]).await?;
        for (member, _) in members {
            member.close().await;
        }
        let (_, folder) = cluster.stop().await?;
        let filling = filling(conversation, ids[0], entries, PAYLOAD_BYTES);
        match &url {
            Some(url) => mysql::testing::fill(&url.parse()?, &filling).await?,
            None => {
                let file = database(&folder.path().join("state"));
                sqlite::testing::fill(&file, &filling).await?
            }
        };
        Ok(Self {
            cluster: Cluster::start_with(folder, &words).await?,
            conversation,
            entries,
        })
    }

    async fn measure(&self, asked: &Options) -> anyhow::Result<Round> {
        let members = members(&self.cluster).await?;
        let mut latencies = Latencies::default();
        for _ in 0..asked.lone_sends {
            let started = Instant::now();
            members[0].0.send(self.conversation, message()).await?;
            latencies.record(u64::try_from(started.elapsed().as_micros())?);
        }
        let before = Cpu::of(&self.cluster)?;
        let started = Instant::now();
        let each = asked.sends / SENDERS as u64;
        let sending = members
            .iter()
            .map(|(member, _)| send(member, self.conversation, each));
        futures_util::future::try_join_all(sending).await?;
        let sends = each * SENDERS as u64;
        let acked_per_s = per_second(sends, started.elapsed());
        let used = before.until(&Cpu::of(&self.cluster)?);
        for (member, _) in members {
            member.close().await;
        }
        Ok(Round {
            history: self.entries,
            acked_per_s,
            store_cpu_us: used.of_tier_us(Tier::Store, sends),
            server_cpu_us: used.of_server_us(sends),
            lone_p50_us: f64::from(u32::try_from(latencies.at(0.5))?),
            lone_p99_us: f64::from(u32::try_from(latencies.at(0.99))?),
        })
    }
}

/// Connected, and caught up with nothing.
async fn members(cluster: &Cluster) -> anyhow::Result<Vec<(Client, Events)>> {
    let mut members = Vec::with_capacity(SENDERS);
    for place in 0..SENDERS {
        let mut config = cluster.operator(&format!("member-{place}"))?;
        config.start_from = StartFrom::Head;
        members.push(Client::connect(config).await?);
    }
    Ok(members)
}

async fn send(member: &Client, to: ConversationId, sends: u64) -> anyhow::Result<()> {
    let mut waiting = FuturesUnordered::new();
    for _ in 0..sends {
        if waiting.len() >= WINDOW {
            waiting.next().await.context("nothing waits")??;
        }
        waiting.push(member.send_nowait(Outgoing::new(to, message())));
    }
    while let Some(sent) = waiting.next().await {
        sent?;
    }
    Ok(())
}

fn message() -> Content {
    Content::Data(Data {
        schema: "im.bench.v1".to_owned(),
        payload: vec![b'.'; PAYLOAD_BYTES].into(),
    })
}

/// The medians of the rounds of one length.
fn middle(rounds: &[Round]) -> Row {
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
    Row::new("growth of history")
        .with("history", rounds.first().map_or(0, |round| round.history))
        .with("acked_per_s", of(|round| round.acked_per_s))
        .with("store_cpu_us_per_send", of(|round| round.store_cpu_us))
        .with("server_cpu_us_per_send", of(|round| round.server_cpu_us))
        .with("lone_p50_us", of(|round| round.lone_p50_us))
        .with("lone_p99_us", of(|round| round.lone_p99_us))
}
