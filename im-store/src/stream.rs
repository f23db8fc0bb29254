//! The commit stream: what was committed, on its way to the router, in commit order.
//!
//! It is a hint and never in the writer's way: what does not fit into its queue is told by head
//! alone, and a router that connects anew is told all heads. Not here: fan-out.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prost::Message as _;
use protocol::ConversationId;
use protocol::kind::method;
use protocol::wire::internal::{Commit, Commits, Heads};
use protocol::wire::{Entry, Head, MemberChange};
use service_kit::rpc::{self, Link, LinkEvent, LinkEvents};
use tokio::sync::mpsc;

use crate::engine::Readers;
use crate::events;
use crate::shard::{Append, BatchPlan, NewEntry};

/// Batches that wait for the link. When full: only their heads are told, see [`Missed`].
const QUEUE_BATCHES_MAX: usize = 256;

/// Conversations whose heads are owed. When full: all heads of the store are told.
const HEADS_MISSED_MAX: usize = 16 * 1024;

/// Commits in one frame, in bytes, unless a single one is longer.
const FRAME_COMMITS_BYTES_MAX: usize = 512 * 1024;

/// Heads in one frame.
const FRAME_HEADS_MAX: u32 = 8 * 1024;

/// Where the writer puts what it has committed.
#[derive(Debug, Clone)]
pub struct CommitSink {
    queue: mpsc::Sender<Vec<Commit>>,
    missed: Arc<Mutex<Missed>>,
}

/// The other half: sends it to the router.
#[derive(Debug)]
pub struct CommitStream {
    queue: mpsc::Receiver<Vec<Commit>>,
    missed: Arc<Mutex<Missed>>,
}

/// What did not fit into the queue.
#[derive(Debug, Default)]
struct Missed {
    heads: HashMap<ConversationId, u64>,
    /// A membership entry is among it, or there are too many heads: all must be told.
    all: bool,
}

/// Both halves.
#[must_use]
pub fn new() -> (CommitSink, CommitStream) {
    let (sender, queue) = mpsc::channel(QUEUE_BATCHES_MAX);
    let missed = Arc::default();
    let sink = CommitSink {
        queue: sender,
        missed: Arc::clone(&missed),
    };
    (sink, CommitStream { queue, missed })
}

impl CommitSink {
    /// Takes a committed batch. Never waits.
    pub fn offer(&self, appends: &[Append], plan: &BatchPlan, committed_at_ms: u64) {
        if plan.entries.is_empty() {
            return;
        }
        if let Ok(room) = self.queue.try_reserve() {
            let commit = |entry| commit(appends, plan, entry, committed_at_ms);
            room.send(plan.entries.iter().map(commit).collect());
            return;
        }
        events::stream_overflowed(plan.entries.len());
        self.missed.lock().note(plan);
    }
}

impl Missed {
    fn note(&mut self, plan: &BatchPlan) {
        self.all |= plan.entries.iter().any(|entry| !entry.changes.is_empty());
        for (conversation, head) in &plan.heads {
            self.heads.insert(*conversation, head.to.head.0);
        }
        if self.all || self.heads.len() > HEADS_MISSED_MAX {
            self.all = true;
            self.heads.clear();
        }
    }
}

fn commit(appends: &[Append], plan: &BatchPlan, entry: &NewEntry, committed_at_ms: u64) -> Commit {
    let append = &appends[entry.index];
    let state = plan.heads.get(&append.conversation).map(|head| &head.to);
    let changes = entry.changes.iter().map(|change| MemberChange {
        account_id: change.account.0,
        joined: change.joins,
        ..MemberChange::default()
    });
    let moves = !entry.changes.is_empty();
    Commit {
        entry: Some(Entry {
            conversation_id: append.conversation.to_bytes(),
            sequence: entry.sequence.0,
            sender: append.sender.0,
            client_message_id: append.message_id.to_bytes(),
            kind: append.kind.into(),
            content: append.content.clone(),
            committed_at_ms,
            priority: append.priority.into(),
            deliver_before_ms: append.deliver_before_ms,
        }),
        membership_sequence: entry.membership.0,
        changes: changes.collect(),
        previous_membership_sequence: entry.previous_membership.0,
        history_open: state.is_some_and(|state| state.history_open),
        name: state
            .filter(|_| moves)
            .map_or_else(String::new, |state| state.name.to_string()),
    }
}

impl CommitStream {
    /// Sends until the writer is gone. Whenever the link comes up, all heads are told first: what
    /// was sent on the link before may be lost.
    pub async fn run(mut self, readers: impl Readers, link: Link, mut events: LinkEvents) {
        let mut watching = true;
        loop {
            tokio::select! {
                biased;
                event = events.next(), if watching => match event {
                    Some(LinkEvent::Up) => self.tell_all(&readers, &link).await,
                    Some(LinkEvent::Down) => {}
                    Some(LinkEvent::Notice { method, .. }) => events::notice_unknown(method),
                    // The drain has begun: what is still committed is still sent.
                    None => watching = false,
                },
                batch = self.queue.recv() => match batch {
                    Some(batch) => {
                        send(&link, batch).await;
                        self.tell_missed(&readers, &link).await;
                    }
                    None => return,
                },
            }
        }
    }

    async fn tell_missed(&self, readers: &impl Readers, link: &Link) {
        let missed = std::mem::take(&mut *self.missed.lock());
        if missed.all {
            self.tell_all(readers, link).await;
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
    async fn tell_all(&self, readers: &impl Readers, link: &Link) {
        drop(std::mem::take(&mut *self.missed.lock()));
        let mut after = Vec::new();
        let mut restarted = true;
        loop {
            let heads = match readers.heads(&after, FRAME_HEADS_MAX).await {
                Ok(heads) => heads,
                Err(error) => {
                    events::read_failed(&error);
                    // Told again with the next batch.
                    self.missed.lock().all = true;
                    return;
                }
            };
            let last = heads.last().map(|head| head.conversation_id.to_vec());
            let heads = Heads { heads, restarted };
            if !(restarted || last.is_some()) || !notify(link, method::HEADS, &heads, 0).await {
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
