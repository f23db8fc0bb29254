//! The commit stream: what was committed, on its way to the routers, in commit order.
//!
//! Each conversation belongs to one router, and each router has a lane of its own, so that one that
//! does not read holds up no other. A lane is a hint and never in the writer's way: what does not
//! fit into it is told by head alone. All heads that a router has to know are told when its link
//! comes up and whenever others own conversations: what was streamed before may have been lost, also
//! with the store that streamed it. Not here: fan-out.

mod lane;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use protocol::ConversationId;
use protocol::wire::internal::Commit;
use protocol::wire::{Entry, MemberChange};
use service_kit::drain::Drain;
use service_kit::live::{InstanceId, LiveSet};
use service_kit::peers::{LiveWatch, PeerEvent, PeerEvents, Peers};
use tokio::sync::watch;
use tokio::time::Instant;

use self::lane::Lane;
use crate::engine::Readers;
use crate::events;
use crate::indexing::Noted;
use crate::shard::{self, Append, BatchPlan, NewEntry};

/// Where the writer puts what it has committed.
#[derive(Debug, Clone, Default)]
pub struct CommitSink {
    lanes: Arc<RwLock<Lanes>>,
    noted: Noted,
}

/// The other half: looks after the lanes.
#[derive(Debug)]
pub struct CommitStream {
    lanes: Arc<RwLock<Lanes>>,
}

/// Which store this is, and which others there are.
#[derive(Debug, Clone)]
pub struct Ownership {
    /// This process.
    pub me: InstanceId,
    /// All of them.
    pub stores: LiveWatch,
}

#[derive(Debug, Default)]
struct Lanes {
    /// The routers that the lanes are to.
    live: Arc<LiveSet>,
    by_router: BTreeMap<InstanceId, Lane>,
}

/// Both halves.
#[must_use]
pub fn new() -> (CommitSink, CommitStream) {
    let sink = CommitSink::default();
    let lanes = Arc::clone(&sink.lanes);
    (sink, CommitStream { lanes })
}

impl CommitSink {
    /// Which conversations had commits: for the index of words.
    #[must_use]
    pub fn noted(&self) -> Noted {
        self.noted.clone()
    }

    /// Takes a committed batch. Never waits. Where there is no router yet nothing is kept: one that
    /// comes is told the heads.
    pub fn offer(&self, appends: &[Append], plan: &BatchPlan, committed_at_ms: u64) {
        self.noted.note(plan.heads.keys());
        let lanes = self.lanes.read();
        let mut by_router: BTreeMap<InstanceId, Vec<Commit>> = BTreeMap::new();
        for entry in &plan.entries {
            let conversation = appends[entry.index].conversation;
            if let Some(router) = lanes.live.owner(conversation.as_bytes()) {
                let commits = by_router.entry(router).or_default();
                commits.push(commit(appends, plan, entry, committed_at_ms));
            }
        }
        for (router, commits) in by_router {
            if let Some(lane) = lanes.by_router.get(&router) {
                lane.offer(commits);
            }
        }
    }
}

fn commit(appends: &[Append], plan: &BatchPlan, entry: &NewEntry, committed_at_ms: u64) -> Commit {
    let append = &appends[entry.index];
    let state = plan.heads.get(&append.conversation).map(|head| &head.to);
    let changes = entry.changes.iter().filter_map(to_or_fro);
    let moves = entry.moves();
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
        moves,
    }
}

/// Another role moves nobody.
fn to_or_fro(change: &shard::MemberChange) -> Option<MemberChange> {
    let joined = match change {
        shard::MemberChange::Joins(..) => true,
        shard::MemberChange::Leaves(_) => false,
        shard::MemberChange::Becomes(..) => return None,
    };
    Some(MemberChange {
        account_id: change.account().0,
        joined,
        ..MemberChange::default()
    })
}

impl CommitStream {
    /// Until the drain. What is committed after it is still sent.
    pub async fn run(
        self,
        readers: impl Readers,
        (routers, mut events): (Peers, PeerEvents),
        mut ownership: Ownership,
        drain: Drain,
    ) {
        let settle = readers.late_commits();
        let again = || settle.map(|settle| Instant::now() + settle);
        // The store before this one may have died just now.
        let mut again_at = again();
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(PeerEvent::Moved) => {
                        // Those that are new are told when their links come up.
                        for router in self.take(&readers, &routers, &ownership, &drain) {
                            self.tell(router);
                        }
                    }
                    Some(PeerEvent::Up(router)) => self.tell(router),
                    Some(PeerEvent::Notice { method, .. }) => events::notice_unknown(method),
                    None => return,
                },
                () = moved(&mut ownership.stores) => {
                    self.tell_all();
                    again_at = again();
                }
                () = at(again_at) => {
                    again_at = None;
                    self.tell_all();
                }
            }
        }
    }

    /// Makes the lanes agree with the routers that live. Returns those that had one before.
    fn take(
        &self,
        readers: &impl Readers,
        routers: &Peers,
        ownership: &Ownership,
        drain: &Drain,
    ) -> Vec<InstanceId> {
        let mut lanes = self.lanes.write();
        lanes.live = routers.live();
        let live = Arc::clone(&lanes.live);
        lanes
            .by_router
            .retain(|router, _| live.iter().any(|instance| instance.id == *router));
        let kept = lanes.by_router.keys().copied().collect();
        for router in live.iter().map(|instance| instance.id) {
            let Some(link) = routers.link(router) else {
                continue; // It has gone meanwhile, and its end is about to be told.
            };
            lanes.by_router.entry(router).or_insert_with(|| {
                let (lane, task) = lane::new();
                let (routers, ownership) = (routers.clone(), ownership.clone());
                let is_told = move |id: &ConversationId| {
                    let key = id.as_bytes();
                    routers.owner(key) == Some(router) && ownership.is_ours(key)
                };
                drain.spawn(task.run(readers.clone(), link, is_told));
                lane
            });
        }
        kept
    }

    fn tell(&self, router: InstanceId) {
        if let Some(lane) = self.lanes.read().by_router.get(&router) {
            lane.tell_all();
        }
    }

    fn tell_all(&self) {
        for lane in self.lanes.read().by_router.values() {
            lane.tell_all();
        }
    }
}

impl Ownership {
    /// Of the only store of its database.
    #[must_use]
    pub fn sole() -> Self {
        Self {
            me: InstanceId::SOLE,
            stores: watch::channel(Arc::new(LiveSet::fixed(String::new()))).1,
        }
    }

    /// Ends when other stores live. Cancel-safe.
    pub(crate) async fn moved(&mut self) {
        moved(&mut self.stores).await;
    }

    pub(crate) fn is_ours(&self, key: &[u8]) -> bool {
        self.stores.borrow().owner(key) == Some(self.me)
    }
}

/// Ends when other stores live. Cancel-safe.
async fn moved(stores: &mut LiveWatch) {
    if stores.changed().await.is_err() {
        // Nobody tells us any more: it stays as it is.
        std::future::pending().await
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
