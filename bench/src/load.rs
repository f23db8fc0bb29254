//! Load through the SDK, as robots offer it: groups of members, some of which publish.
//!
//! Every receiver counts for itself what it got ([`crate::tally`]); what should have come is asked
//! of the log afterwards. Not here: where the cluster runs, and what the figures are compared with.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use client_sdk::{
    Client, ClientConfig, Content, ConversationId, Event, Events, Outgoing, SequenceNumber,
    StartFrom,
};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use protocol::wire::Data;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock;
use crate::report::{Counts, Latencies, Report, Span};
use crate::tally::Tally;

/// What the load's messages are called, to tell them from the server's own entries.
const SCHEMA: &str = "im.bench.v1";

/// The time of sending stands at the start of the payload, in microseconds.
const STAMP_BYTES: usize = 8;

/// Connections that are being made at once: a TLS handshake is work for both ends.
const CONNECTING_MAX: usize = 16;

/// How long receivers may take to catch up with nothing arriving, once no load is offered.
const QUIET: Duration = Duration::from_secs(10);

/// What is offered.
#[derive(Debug, Clone, clap::Args)]
pub struct Load {
    /// Members of each group.
    #[arg(long, default_value_t = 10)]
    pub members: usize,
    /// How many of them publish.
    #[arg(long, default_value_t = 1)]
    pub publishers: usize,
    /// Groups, with members of their own.
    #[arg(long, default_value_t = 1)]
    pub groups: usize,
    /// Sends of a publisher that may wait for their ack.
    #[arg(long, default_value_t = 16)]
    pub window: usize,
    /// Messages a second of each publisher; 0: as many as the window lets through.
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
    /// For how long load is offered.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Bytes of a message's content, at least eight.
    #[arg(long, default_value_t = 256)]
    pub payload: usize,
}

/// Whose latency the report tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// From the send to its ack.
    Ack,
    /// From the send to the hand-over at a receiver.
    Delivery,
}

/// One publisher's count.
#[derive(Debug, Default)]
struct Published {
    sent: u64,
    acked: u64,
    failed: u64,
    latencies: Latencies,
}

/// One receiver's count.
#[derive(Debug)]
struct Received {
    tally: Tally,
    latencies: Latencies,
    last_at: Instant,
}

/// A group that stands, with its members connected.
struct Group {
    conversation: ConversationId,
    /// The entry after which load begins.
    start: SequenceNumber,
    members: Vec<(Client, Events)>,
}

/// Connects everybody, offers the load, waits for what is on its way, and counts.
pub async fn run(
    load: &Load,
    measure: Measure,
    config: impl Fn(&str) -> anyhow::Result<ClientConfig>,
) -> anyhow::Result<Report> {
    let mut groups = Vec::with_capacity(load.groups);
    for number in 0..load.groups {
        groups.push(make_group(load, number, &config).await?);
    }
    let (heads, heads_known) = watch::channel(None);
    let until = Instant::now() + Duration::from_secs(load.seconds);
    let mut publishers = Vec::new();
    let mut receivers = Vec::new();
    let mut askers = Vec::new();
    for (number, group) in groups.into_iter().enumerate() {
        askers.push((group.members[0].0.clone(), group.conversation));
        for (place, (client, events)) in group.members.into_iter().enumerate() {
            let receiver = receive(
                events,
                group.conversation,
                group.start,
                number,
                heads_known.clone(),
            );
            receivers.push((number, client.clone(), tokio::spawn(receiver)));
            if place < load.publishers {
                let publisher = publish(client, group.conversation, load.clone(), until);
                publishers.push(tokio::spawn(publisher));
            }
        }
    }
    let started = Instant::now();
    let mut counts = Counts::default();
    let mut latencies = Latencies::default();
    for publisher in publishers {
        let published = publisher.await??;
        counts.sent += published.sent;
        counts.acked += published.acked;
        anyhow::ensure!(published.failed == 0, "{} sends failed", published.failed);
        if measure == Measure::Ack {
            latencies.add(&published.latencies);
        }
    }
    let mut span = Span {
        offered: started.elapsed(),
        delivered: started.elapsed(),
    };
    let mut ends = Vec::new();
    for (client, conversation) in &askers {
        ends.push(
            client
                .pull(*conversation, SequenceNumber::ZERO, 1)
                .await?
                .head
                .0,
        );
    }
    heads.send_replace(Some(Arc::from(ends.clone())));
    for (number, client, receiver) in receivers {
        let received = receiver.await?;
        counts.delivered += received.tally.delivered;
        span.delivered = span.delivered.max(received.last_at - started);
        counts.lost += received.tally.lost(ends[number]);
        counts.duplicated += received.tally.duplicated;
        counts.out_of_order += received.tally.out_of_order;
        if measure == Measure::Delivery {
            latencies.add(&received.latencies);
        }
        client.close().await;
    }
    Ok(Report::new(&counts, &latencies, span))
}

async fn make_group(
    load: &Load,
    number: usize,
    config: &impl Fn(&str) -> anyhow::Result<ClientConfig>,
) -> anyhow::Result<Group> {
    let configs = (0..load.members)
        .map(|place| {
            let mut config = config(&format!("bench-{number}-{place}"))?;
            config.start_from = StartFrom::Head;
            config.in_flight_max = load.window;
            config.outbox_messages_max = config.outbox_messages_max.max(load.window);
            Ok(config)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut members: Vec<(Client, Events)> = Vec::with_capacity(load.members);
    for some in configs.chunks(CONNECTING_MAX) {
        let connecting = some.iter().map(|config| Client::connect(config.clone()));
        for connected in futures_util::future::join_all(connecting).await {
            members.push(connected.context("a member cannot connect")?);
        }
    }
    let ids: Vec<_> = members
        .iter()
        .map(|(client, _)| client.account().id)
        .collect();
    let creator = &members[0].0;
    let conversation = creator
        .create_group(&format!("bench {number}"), &ids[1..])
        .await
        .context("the group cannot be made")?;
    let start = creator
        .pull(conversation, SequenceNumber::ZERO, 1)
        .await?
        .head;
    Ok(Group {
        conversation,
        start,
        members,
    })
}

/// Publishes until the time is over, then waits for the acks that are owed.
///
/// With a rate, a message counts from the moment it was due: a server that stalls is not spared
/// those that could not even be sent meanwhile.
async fn publish(
    client: Client,
    conversation: ConversationId,
    load: Load,
    until: Instant,
) -> anyhow::Result<Published> {
    let mut published = Published::default();
    let mut waiting = FuturesUnordered::new();
    let mut due = Instant::now();
    let gap = (load.rate > 0)
        .then(|| Duration::from_secs(1) / u32::try_from(load.rate).unwrap_or(u32::MAX));
    loop {
        let now = Instant::now();
        if now >= until {
            break;
        }
        let may_send = waiting.len() < load.window && (gap.is_none() || due <= now);
        if may_send {
            let late = gap.map_or(Duration::ZERO, |_| now - due);
            let stamp = clock::unix_us().saturating_sub(micros(late));
            let handle =
                client.send_nowait(Outgoing::new(conversation, message(stamp, load.payload)));
            waiting.push(async move { (stamp, handle.await) });
            published.sent += 1;
            due += gap.unwrap_or_default();
            continue;
        }
        let wake = if waiting.len() < load.window {
            due.min(until)
        } else {
            until
        };
        tokio::select! {
            Some((stamp, outcome)) = waiting.next() => count(&mut published, stamp, outcome.is_ok()),
            () = tokio::time::sleep_until(wake) => {}
        }
    }
    while let Some((stamp, outcome)) = waiting.next().await {
        count(&mut published, stamp, outcome.is_ok());
    }
    Ok(published)
}

fn count(published: &mut Published, stamp: u64, acked: bool) {
    if acked {
        published.acked += 1;
        published
            .latencies
            .record(clock::unix_us().saturating_sub(stamp));
    } else {
        published.failed += 1;
    }
}

/// Counts what arrives, until all that the log has has come, or nothing comes any more.
async fn receive(
    mut events: Events,
    conversation: ConversationId,
    start: SequenceNumber,
    number: usize,
    mut heads: watch::Receiver<Option<Arc<[u64]>>>,
) -> Received {
    let mut received = Received {
        tally: Tally::after(start.0),
        latencies: Latencies::default(),
        last_at: Instant::now(),
    };
    let mut end = None;
    let mut quiet_at = None;
    while end.is_none_or(|end| received.tally.lost(end) > 0) {
        let quiet = async {
            match quiet_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { break };
                if let Event::Message(message) = event
                    && message.conversation == conversation
                {
                    if let Content::Data(data) = &message.content
                        && let Some(stamp) = stamp(data)
                    {
                        received.latencies.record(clock::unix_us().saturating_sub(stamp));
                    }
                    received.tally.arrived(message.sequence.0);
                    received.last_at = Instant::now();
                    quiet_at = quiet_at.map(|_| received.last_at + QUIET);
                }
            }
            Ok(()) = heads.changed(), if end.is_none() => {
                end = heads.borrow_and_update().as_ref().map(|heads| heads[number]);
                quiet_at = Some(Instant::now() + QUIET);
            }
            () = quiet => break,
        }
    }
    received
}

fn message(stamp: u64, bytes: usize) -> Content {
    let mut payload = vec![b'.'; bytes.max(STAMP_BYTES)];
    payload[..STAMP_BYTES].copy_from_slice(&stamp.to_be_bytes());
    Content::Data(Data {
        schema: SCHEMA.to_owned(),
        payload: Bytes::from(payload),
    })
}

fn stamp(data: &Data) -> Option<u64> {
    let bytes = data
        .payload
        .get(..STAMP_BYTES)
        .filter(|_| data.schema == SCHEMA)?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
