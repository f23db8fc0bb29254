//! A client that was away for long reads what it missed, beside the database's own read rate: the
//! same rows, by the same statement, from the same file, in the same run and in turn with it.
//!
//! The history is put into the database directly ([`im_store::testing`]); it is read through the
//! SDK's own catch-up, with everything as by default.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use client_sdk::{
    Client, ClientConfig, Content, ConversationId, EntryKind, Event, SequenceNumber, StartFrom,
    content,
};
use deploy::tiers::Tier;
use im_store::sqlite::testing as sqlite;
use im_store::testing::Filling;
use protocol::AccountId;
use protocol::wire::Data;
use service_kit::clock;
use tokio::time::Instant;

use super::row::{Row, Rows};
use super::used::Cpu;
use crate::cluster::Cluster;
use crate::tally::Tally;

/// What the filled-in messages are called.
const SCHEMA: &str = "im.bench.v1";

/// How long nothing may arrive before a catch-up counts as stuck.
const QUIET: Duration = Duration::from_secs(30);

/// What is caught up with. The cluster is one of its own, whose database is filled directly.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Messages that were missed, in one conversation
    #[arg(long, default_value_t = 1_000_000)]
    pub messages: u64,
    /// Bytes of a message's payload
    #[arg(long, default_value_t = 128)]
    pub payload: usize,
    /// How often the catch-up and the database are measured, in turn
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
}

/// A row for each round.
///
/// # Errors
/// When the cluster does not start, or a catch-up sticks.
pub async fn run(options: &Options) -> anyhow::Result<Rows> {
    let history = History::make(options).await?;
    let mut rows = Vec::with_capacity(options.rounds);
    for _ in 0..options.rounds {
        rows.push(history.round(options).await?);
    }
    history.cluster.stop().await?;
    Ok(Rows(rows))
}

/// A cluster with a long conversation, that somebody has missed.
struct History {
    cluster: Cluster,
    conversation: ConversationId,
    /// The first entry that is missed.
    first: SequenceNumber,
    head: SequenceNumber,
}

impl History {
    async fn make(options: &Options) -> anyhow::Result<Self> {
        let cluster = Cluster::start().await?;
        let (ana, _) = Client::connect(cluster.operator("ana")?).await?;
        let (bo, _) = Client::connect(cluster.operator("bo")?).await?;
        let conversation = ana.create_group("missed", &[bo.account().id]).await?;
        let first = ana.pull(conversation, SequenceNumber::ZERO, 1).await?.head;
        let sender = ana.account().id;
        ana.close().await;
        bo.close().await;
        let (_, folder) = cluster.stop().await?;
        let file = database(&folder.path().join("state"));
        let filling = filling(conversation, sender, options.messages, options.payload);
        let head = sqlite::fill(&file, &filling).await?;
        let cluster = Cluster::start_in(folder, 1).await?;
        Ok(Self {
            cluster,
            conversation,
            first: first.next(),
            head: SequenceNumber(head),
        })
    }

    async fn round(&self, options: &Options) -> anyhow::Result<Row> {
        let missed = self.head.0 - self.first.0 + 1;
        let file = database(self.cluster.state());
        let started = Instant::now();
        let conversation = self.conversation;
        let read = {
            let file = file.clone();
            tokio::task::spawn_blocking(move || sqlite::read(&file, conversation))
        };
        let (rows, _) = read.await??;
        let database_rows_per_s = per_second(rows, started.elapsed());
        let started = Instant::now();
        sqlite::read_by_sqlx(&file, conversation).await?;
        let driver_rows_per_s = per_second(rows, started.elapsed());
        ensure!(rows >= missed, "the database has {rows} entries");

        let mut config = self.cluster.operator("bo")?;
        config.start_from = StartFrom::Beginning;
        let before = Cpu::of(&self.cluster)?;
        let started = Instant::now();
        let tally = self.pull(config).await?;
        let messages_per_s = per_second(missed, started.elapsed());
        let used = before.until(&Cpu::of(&self.cluster)?);
        let row = Row::new("catch-up")
            .with("messages", missed)
            .with("payload_bytes", options.payload)
            .with("messages_per_s", messages_per_s)
            .with("database_rows_per_s", database_rows_per_s)
            .with("driver_rows_per_s", driver_rows_per_s)
            .with(
                "percent_of_database",
                100.0 * messages_per_s / database_rows_per_s,
            )
            .with(
                "percent_of_driver",
                100.0 * messages_per_s / driver_rows_per_s,
            )
            .with("lost", tally.lost(self.head.0))
            .with("duplicated", tally.duplicated)
            .with("out_of_order", tally.out_of_order);
        Ok(row
            .with(
                "store_cpu_ns",
                1000.0 * used.of_tier_us(Tier::Store, missed),
            )
            .with(
                "logic_cpu_ns",
                1000.0 * used.of_tier_us(Tier::Logic, missed),
            )
            .with(
                "gateway_cpu_ns",
                1000.0 * used.of_tier_us(Tier::Gateway, missed),
            )
            .with("client_cpu_ns", 1000.0 * used.of_load_us(missed)))
    }

    async fn pull(&self, config: ClientConfig) -> anyhow::Result<Tally> {
        let (client, mut events) = Client::connect(config).await?;
        let mut tally = Tally::after(self.first.0 - 1);
        while tally.highest() < self.head.0 {
            let next = tokio::time::timeout(QUIET, events.next()).await;
            match next.context("nothing comes any more")? {
                Some(Event::Message(message)) if message.conversation == self.conversation => {
                    tally.arrived(message.sequence.0);
                }
                Some(_) => {}
                None => anyhow::bail!("the client has ended"),
            }
        }
        client.close().await;
        Ok(tally)
    }
}

/// Messages of one sender, as the load's are.
pub(super) fn filling(
    conversation: ConversationId,
    sender: AccountId,
    entries: u64,
    payload: usize,
) -> Filling {
    let content = Content::Data(Data {
        schema: SCHEMA.to_owned(),
        payload: Bytes::from(vec![b'.'; payload]),
    });
    Filling {
        conversation,
        sender,
        entries,
        kind: EntryKind::Data,
        content: content::encode(content),
        now_ms: clock::unix_ms(),
    }
}

/// The file of a cluster's history.
pub(super) fn database(state: &Path) -> PathBuf {
    state.join("data").join("history.db")
}

#[expect(clippy::cast_precision_loss, reason = "rates are for reading")]
pub(super) fn per_second(count: u64, time: Duration) -> f64 {
    (count as f64 / time.as_secs_f64()).round()
}

pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
