//! The way to one router: batches in commit order, and heads for what did not fit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message as _;
use protocol::ConversationId;
use protocol::kind::method;
use protocol::wire::Head;
use protocol::wire::internal::{Commit, Commits, Heads};
use service_kit::rpc::{self, Link};
use tokio::sync::{Notify, mpsc};

use crate::engine::Readers;
use crate::events;

/// Batches that wait for the link. When full: only their heads are told, see [`Missed`].
const QUEUE_BATCHES_MAX: usize = 256;

/// Conversations whose heads are owed. When full: all heads are told.
const HEADS_MISSED_MAX: usize = 16 * 1024;

/// Commits in one frame, in bytes, unless a single one is longer.
const FRAME_COMMITS_BYTES_MAX: usize = 512 * 1024;

/// Heads that are read at once, and go into one frame.
const FRAME_HEADS_MAX: u32 = 8 * 1024;

/// How long before heads that could not be read are read again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Where batches for one router go. Dropped, what waits is still sent.
#[derive(Debug)]
pub(super) struct Lane {
    queue: mpsc::Sender<Vec<Commit>>,
    shared: Arc<Shared>,
}

/// The other end: sends them.
#[derive(Debug)]
pub(super) struct LaneTask {
    queue: mpsc::Receiver<Vec<Commit>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    missed: Mutex<Missed>,
    /// All heads have to be told.
    tell_all: Notify,
}

/// What did not fit into the queue.
#[derive(Debug, Default)]
struct Missed {
    heads: HashMap<ConversationId, u64>,
    /// A membership entry is among it, or there are too many heads: all must be told.
    all: bool,
}

/// Both ends.
pub(super) fn new() -> (Lane, LaneTask) {
    let (sender, queue) = mpsc::channel(QUEUE_BATCHES_MAX);
    let shared = Arc::<Shared>::default();
    let lane = Lane {
        queue: sender,
        shared: Arc::clone(&shared),
    };
    (lane, LaneTask { queue, shared })
}

impl Lane {
    /// Takes what was committed together. Never waits.
    pub(super) fn offer(&self, commits: Vec<Commit>) {
        if let Ok(room) = self.queue.try_reserve() {
            room.send(commits);
            return;
        }
        events::stream_overflowed(commits.len());
        self.shared.missed.lock().note(&commits);
    }

    /// All heads have to be told, as they are from now on.
    pub(super) fn tell_all(&self) {
        self.shared.tell_all.notify_one();
    }
}

impl Missed {
    fn note(&mut self, commits: &[Commit]) {
        for commit in commits {
            self.all |= !commit.changes.is_empty();
            let entry = commit.entry.as_ref();
            let at = entry
                .and_then(|it| Some((ConversationId::from_slice(&it.conversation_id).ok()?, it)));
            if let Some((conversation, entry)) = at {
                self.heads.insert(conversation, entry.sequence);
            }
        }
        if self.all || self.heads.len() > HEADS_MISSED_MAX {
            self.all = true;
            self.heads.clear();
        }
    }
}

impl LaneTask {
    /// Sends until the lane is gone. `is_told` says whose heads this router is told by this store.
    pub(super) async fn run(
        mut self,
        readers: impl Readers,
        link: Link,
        is_told: impl Fn(&ConversationId) -> bool + Send,
    ) {
        let shared = Arc::clone(&self.shared);
        loop {
            tokio::select! {
                biased;
                () = shared.tell_all.notified() => self.tell_all(&readers, &link, &is_told).await,
                batch = self.queue.recv() => match batch {
                    Some(batch) => {
                        send(&link, batch).await;
                        self.tell_missed(&readers, &link, &is_told).await;
                    }
                    None => return,
                },
            }
        }
    }

    async fn tell_missed(
        &self,
        readers: &impl Readers,
        link: &Link,
        is_told: &(impl Fn(&ConversationId) -> bool + Send),
    ) {
        let missed = std::mem::take(&mut *self.shared.missed.lock());
        if missed.all {
            self.tell_all(readers, link, is_told).await;
        } else if !missed.heads.is_empty() {
            let heads = missed.heads.into_iter().map(|(conversation, head)| Head {
                conversation_id: conversation.to_bytes(),
                head,
            });
            let heads = Heads {
                heads: heads.collect(),
                restarted: false,
            };
            notify(link, method::HEADS, &heads, 0).await;
        }
    }

    /// Reads the heads after whatever is owed was taken: nothing falls between.
    async fn tell_all(
        &self,
        readers: &impl Readers,
        link: &Link,
        is_told: &(impl Fn(&ConversationId) -> bool + Send),
    ) {
        drop(std::mem::take(&mut *self.shared.missed.lock()));
        let mut after = Vec::new();
        let mut restarted = true;
        loop {
            let mut heads = match readers.heads(&after, FRAME_HEADS_MAX).await {
                Ok(heads) => heads,
                Err(error) if link.is_up() => {
                    events::read_failed(&error);
                    tokio::time::sleep(RETRY_INTERVAL).await;
                    continue;
                }
                // They are told when the router is back.
                Err(error) => return events::read_failed(&error),
            };
            let last = heads.last().map(|head| head.conversation_id.to_vec());
            heads.retain(|head| {
                ConversationId::from_slice(&head.conversation_id).is_ok_and(|id| is_told(&id))
            });
            let is_news = restarted || !heads.is_empty();
            let heads = Heads { heads, restarted };
            if is_news && !notify(link, method::HEADS, &heads, 0).await {
                return;
            }
            let Some(last) = last else { return };
            (after, restarted) = (last, false);
        }
    }
}

async fn send(link: &Link, batch: Vec<Commit>) {
    let mut commits = Vec::new();
    let mut bytes = 0;
    for commit in batch {
        let len = commit.encoded_len();
        if bytes + len > FRAME_COMMITS_BYTES_MAX && !commits.is_empty() {
            send_frame(link, std::mem::take(&mut commits)).await;
            bytes = 0;
        }
        bytes += len;
        commits.push(commit);
    }
    send_frame(link, commits).await;
}

async fn send_frame(link: &Link, commits: Vec<Commit>) {
    let entries = commits.len();
    notify(link, method::COMMITS, &Commits { commits }, entries).await;
}

/// False: the link is down, and the heads are told when it is up again.
async fn notify(link: &Link, method: u16, message: &impl prost::Message, entries: usize) -> bool {
    let sent = link.notify(method, rpc::encode(message)).await;
    if sent.is_err() {
        events::stream_dropped(entries);
    }
    sent.is_ok()
}
