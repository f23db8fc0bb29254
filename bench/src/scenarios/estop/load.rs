//! As much of everything else as a cluster takes: chat to groups of all robots, commands to each,
//! telemetry to all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client_sdk::{AccountId, Client, Content, ConversationId, Outgoing, Priority, SendHandle};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use protocol::wire::Data;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cluster::Cluster;

/// Robots of one group.
const MEMBERS: usize = 50;

/// Sends of one client that wait for their ack.
const WINDOW: usize = 100;

/// Telemetry of one client that is on its way.
const EPHEMERAL_WINDOW: usize = 16;

/// What each says, in bytes.
const PAYLOAD_BYTES: usize = 200;

/// How long the last sends may take to end.
const END_WITHIN: Duration = Duration::from_secs(5);

/// The load under way. Dropped, it ends.
pub(super) struct Load {
    tasks: JoinSet<()>,
    sent: Arc<AtomicU64>,
    begun: Instant,
}

/// Begins it.
pub(super) async fn start(cluster: &Cluster, robots: &[AccountId]) -> anyhow::Result<Load> {
    let mut load = Load {
        tasks: JoinSet::new(),
        sent: Arc::default(),
        begun: Instant::now(),
    };
    let (chat, events) = Client::connect(cluster.operator("estop-chat")?).await?;
    drop(events);
    let mut groups = Vec::new();
    for members in robots.chunks(MEMBERS) {
        groups.push(chat.create_group("estop", members).await?);
    }
    let (commands, events) = Client::connect(cluster.operator("estop-commands")?).await?;
    drop(events);
    let pairs: Vec<_> = robots.iter().map(|id| commands.pair_with(*id)).collect();
    load.say(chat.clone(), groups.clone(), Priority::Chat);
    load.say(commands, pairs, Priority::Command);
    load.tell(chat, groups);
    load.begun = Instant::now();
    Ok(load)
}

fn content() -> Content {
    Content::Data(Data {
        schema: "im.bench.estop.v1".into(),
        payload: vec![7; PAYLOAD_BYTES].into(),
    })
}

impl Load {
    /// Sends to these in turn, as fast as they are acknowledged.
    fn say(&mut self, client: Client, to: Vec<ConversationId>, priority: Priority) {
        let sent = Arc::clone(&self.sent);
        self.tasks.spawn(async move {
            let mut turns = to.iter().cycle();
            let mut next = || {
                let to = turns.next()?;
                let outgoing = Outgoing::new(*to, content()).priority(priority);
                Some(client.send_nowait(outgoing))
            };
            let mut window = FuturesUnordered::<SendHandle>::new();
            loop {
                while window.len() < WINDOW
                    && let Some(handle) = next()
                {
                    window.push(handle);
                }
                window.next().await;
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// The same, of what is not kept.
    fn tell(&mut self, client: Client, to: Vec<ConversationId>) {
        for first in 0..EPHEMERAL_WINDOW.min(to.len()) {
            let (client, sent) = (client.clone(), Arc::clone(&self.sent));
            let to: Vec<_> = to
                .iter()
                .skip(first)
                .step_by(EPHEMERAL_WINDOW)
                .copied()
                .collect();
            self.tasks.spawn(async move {
                for group in to.iter().cycle() {
                    let told = client.send_ephemeral(*group, "pose", content()).await;
                    sent.fetch_add(u64::from(told.is_ok()), Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            });
        }
    }

    /// Ends it. Returns how much was sent, and in how many seconds.
    pub(super) async fn stop(mut self) -> (u64, u64) {
        let seconds = self.begun.elapsed().as_secs();
        self.tasks.abort_all();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        drop(tokio::time::timeout(END_WITHIN, ended).await);
        (self.sent.load(Ordering::Relaxed), seconds)
    }
}
