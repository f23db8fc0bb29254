//! Robots that come back after the death of their gateway: SDK clients, each in a group to which
//! messages are sent while they are away. Complete is one that has them all.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use client_sdk::{AccountId, Client, Content, ConversationId, Event, Events};
use deploy::tiers::{Instance, Tier};
use futures_util::StreamExt as _;
use nix::sys::signal::Signal;
use protocol::wire::Data;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::processes::{Processes, Progress, Station, Work};
use super::row::Row;
use super::screen::Stage;
use super::site::{Access, NewGroup, Site, connect};
use crate::clock;

/// Members of each group, beside its publisher.
const MEMBERS: usize = 100;

/// Robots of one load process: whole SDK clients.
const ROBOTS_PER_PROCESS_MAX: usize = 2_500;

/// Clients of one load process that connect at once at first.
const CONNECTING_MAX: usize = 16;

/// Messages that every group gets while its members are away.
const MESSAGES: usize = 3;

/// What they are called.
const SCHEMA: &str = "im.bench.back.v1";

/// How long a fleet may take to be complete.
const BACK_WITHIN: Duration = Duration::from_secs(300);

/// Some of the robots.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Robots {
    access: Access,
    first: usize,
    count: usize,
}

/// When they were what, in microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// The last one that lost its connection had another.
    connected_us: u64,
    /// The last one had all messages.
    complete_us: u64,
    /// Robots that lost their connection.
    lost: usize,
}

impl Work for Robots {
    const NAME: &'static str = "back";
    type Outcome = Back;

    async fn run(self, mut station: Station) -> anyhow::Result<Back> {
        let numbers = self.first..self.first + self.count;
        let access = &self.access;
        let coming = numbers.map(|number| async move {
            // The publisher is number 0.
            connect(access, u32::try_from(number + 1)?).await
        });
        let mut coming = futures_util::stream::iter(coming).buffered(CONNECTING_MAX);
        let mut robots = Vec::with_capacity(self.count);
        while let Some(robot) = coming.next().await {
            robots.push(robot?);
            station.further(Progress {
                connected: robots.len() as u64,
                ..Progress::default()
            });
        }
        drop(coming);
        let ids: Vec<_> = robots
            .iter()
            .map(|(client, _)| client.account().id.0)
            .collect();
        let _groups_stand: bool = station.meet(&ids).await?;
        let (done, mut each) = mpsc::channel(self.count.max(1));
        let mut clients = Vec::with_capacity(robots.len());
        for (client, events) in robots {
            clients.push(client);
            tokio::spawn(complete(events, done.clone()));
        }
        drop(done);
        let _begin: bool = station.meet(&true).await?;
        let mut back = Back::default();
        let all = async {
            for _ in 0..clients.len() {
                let one = each.recv().await.context("a robot has ended")?;
                back.connected_us = back.connected_us.max(one.connected_us);
                back.complete_us = back.complete_us.max(one.complete_us);
                back.lost += one.lost;
            }
            anyhow::Ok(())
        };
        let all = tokio::time::timeout(BACK_WITHIN, all).await;
        all.context("robots are not complete in time")??;
        Ok(back)
    }
}

/// Ends when the robot has every message.
async fn complete(mut events: Events, done: mpsc::Sender<Back>) {
    let mut back = Back::default();
    // By their numbers: one that is handed over again after a reconnect is the same.
    let mut messages = BTreeSet::new();
    while messages.len() < MESSAGES
        && let Some(event) = events.next().await
    {
        if matches!(event, Event::Disconnected { .. }) {
            back.lost = 1;
        } else if matches!(event, Event::Connected) && back.lost > 0 {
            back.connected_us = clock::unix_us();
        } else if let Event::Message(message) = event
            && is_ours(&message.content)
        {
            messages.insert(message.sequence);
        }
    }
    back.complete_us = clock::unix_us();
    if done.send(back).await.is_ok() {
        // Until the process ends the robot goes on as robots do.
        while events.next().await.is_some() {}
    }
}

fn is_ours(content: &Content) -> bool {
    matches!(content, Content::Data(data) if data.schema == SCHEMA)
}

/// Connects so many, kills a gateway, says something to all while they are away, and waits until
/// all have it.
///
/// # Errors
/// When the cluster is not ours to strike, or robots do not come back in time.
pub async fn run(robots: usize, site: &mut Site) -> anyhow::Result<Row> {
    let share = robots.div_ceil(robots.div_ceil(ROBOTS_PER_PROCESS_MAX));
    let firsts = (0..robots).step_by(share);
    let works = firsts.map(|first| Robots {
        access: site.access.clone(),
        first,
        count: share.min(robots - first),
    });
    let mut processes = Processes::start(works.collect()).await?;
    let stage = Stage::new("robots", robots as u64);
    processes.watch(move |progress| {
        stage.at(progress.connected);
        Ok(())
    });
    let ids: Vec<u64> = processes.meet::<Vec<u64>>().await?.concat();
    let (publisher, _events) = connect(&site.access, 0).await?;
    let groups = groups(publisher.account().id, &ids);
    let groups = site.make_groups(groups).await?;
    processes.answer(&true).await?;
    processes.meet::<bool>().await?;
    processes.answer(&true).await?;

    let cluster = site.cluster_mut().context("the cluster is not ours")?;
    let gateway = Instance {
        tier: Tier::Gateway,
        number: 0,
    };
    let killed_us = clock::unix_us();
    cluster.signal_one(gateway, Signal::SIGKILL)?;
    let groups: Result<Vec<_>, _> = groups
        .iter()
        .map(|group| ConversationId::from_slice(&group.conversation))
        .collect();
    say(&publisher, &groups?).await?;
    let said_us = clock::unix_us();
    let each = processes.outcomes().await?;
    let last = |of: fn(&Back) -> u64| each.iter().map(of).max().unwrap_or(0);
    let lost = each.iter().map(|back| back.lost).sum::<usize>();
    ensure!(lost > 0, "the gateway that was killed had no robots");
    let since = |at_us: u64| seconds(at_us.saturating_sub(killed_us));
    let mut row = Row::new("back-after-death")
        .with("robots", robots)
        .with("lost_their_gateway", lost)
        .with("messages", robots * MESSAGES);
    row.put_exactly("last_send_acked_s", since(said_us));
    row.put_exactly("all_connected_s", since(last(|back| back.connected_us)));
    row.put_exactly("all_complete_s", since(last(|back| back.complete_us)));
    Ok(row)
}

fn groups(publisher: AccountId, robots: &[u64]) -> Vec<NewGroup> {
    let robots: Vec<_> = (1..).zip(robots.iter().map(|id| AccountId(*id))).collect();
    let groups = robots.chunks(MEMBERS).enumerate();
    groups
        .map(|(number, members)| NewGroup {
            name: format!("back {number}"),
            members: std::iter::once((0, publisher))
                .chain(members.iter().copied())
                .collect(),
        })
        .collect()
}

/// Says every message in every group, and waits until all are stored.
async fn say(publisher: &Client, groups: &[ConversationId]) -> anyhow::Result<()> {
    for _ in 0..MESSAGES {
        let sends = groups.iter().map(|group| {
            let content = Content::Data(Data {
                schema: SCHEMA.into(),
                payload: b"back".as_slice().into(),
            });
            publisher.send(*group, content)
        });
        let sent: Vec<_> = futures_util::stream::iter(sends)
            .buffer_unordered(CONNECTING_MAX)
            .collect()
            .await;
        for sent in sent {
            sent?;
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}
