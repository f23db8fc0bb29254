//! The way from a store to one router: its bounded queue, and the heads that make good what did not
//! fit or may be lost. What `stream/lane.rs` of `im-store` does in a task is done here in steps.

use std::collections::{BTreeMap, VecDeque};

use protocol::ConversationId;
use protocol::kind::method;
use protocol::wire::Head;
use protocol::wire::internal::{Commit, Commits, Heads};

use crate::link::Link;
use crate::log::Log;
use crate::net::{ConnId, Host, Net, Timer};

/// Batches that wait for the link. When full: only their heads are told.
const STREAM_QUEUE_MAX: usize = 2;

pub(super) struct Lane {
    store: usize,
    router: usize,
    link: Link<()>,
    queue: VecDeque<Vec<Commit>>,
    /// What did not fit into it.
    missed: BTreeMap<ConversationId, u64>,
    missed_all: bool,
    /// All heads are to be told, and are not read yet.
    tells_all: bool,
    is_reading_heads: bool,
}

impl Lane {
    pub(super) const fn new(store: usize, router: usize) -> Self {
        Self {
            store,
            router,
            link: Link::new(Host::Store(store), Host::Router(router)),
            queue: VecDeque::new(),
            missed: BTreeMap::new(),
            missed_all: false,
            tells_all: false,
            is_reading_heads: false,
        }
    }

    pub(super) fn dial(&self, net: &mut Net) {
        self.link.dial(net);
    }

    pub(super) fn opened(&mut self, net: &mut Net, conn: ConnId) {
        self.link.conn = Some(conn);
        self.tell_all(net);
    }

    pub(super) fn closed(&mut self, net: &mut Net, conn: ConnId) {
        if self.link.conn == Some(conn) {
            self.link.lost(net);
        }
    }

    /// All heads are told, as they are from now on.
    pub(super) fn tell_all(&mut self, net: &mut Net) {
        self.tells_all = true;
        self.pump(net);
    }

    /// `false`: it did not fit.
    pub(super) fn offer(&mut self, net: &mut Net, commits: Vec<Commit>) -> bool {
        let fits = self.queue.len() < STREAM_QUEUE_MAX;
        if fits {
            self.queue.push_back(commits);
        } else {
            for commit in commits {
                self.missed_all |= !commit.changes.is_empty();
                let entry = commit.entry.unwrap();
                let at = ConversationId::from_slice(&entry.conversation_id).unwrap();
                self.missed.insert(at, entry.sequence);
            }
        }
        self.pump(net);
        fits
    }

    pub(super) fn pump(&mut self, net: &mut Net) {
        while !self.is_reading_heads {
            if std::mem::take(&mut self.tells_all) {
                return self.read_heads(net);
            }
            if let Some(conn) = self.link.conn
                && !net.has_room(conn, Host::Store(self.store))
            {
                return;
            }
            let Some(commits) = self.queue.pop_front() else {
                return;
            };
            // Without a link they are lost; the next link is told the heads.
            let commits = Commits { commits };
            self.link.notify(net, method::COMMITS, &commits);
            self.tell_missed(net);
        }
    }

    /// The heads are read: those that this router has to know of this store.
    pub(super) fn tell_heads(&mut self, net: &mut Net, log: &Log) {
        self.is_reading_heads = false;
        let me = Host::Store(self.store);
        let mut heads = log.heads();
        heads.retain(|head| {
            let key = &head.conversation_id[..];
            net.live.router(me, key) == Some(self.router)
                && net.live.store(me, key) == Some(self.store)
        });
        let restarted = true;
        let heads = Heads { heads, restarted };
        self.link.notify(net, method::HEADS, &heads);
        self.pump(net);
    }

    fn tell_missed(&mut self, net: &mut Net) {
        if self.missed_all {
            return self.read_heads(net);
        }
        let missed = std::mem::take(&mut self.missed);
        if !missed.is_empty() {
            let heads = missed.into_iter().map(|(at, head)| Head {
                conversation_id: at.to_bytes(),
                head,
            });
            let heads = Heads {
                heads: heads.collect(),
                restarted: false,
            };
            self.link.notify(net, method::HEADS, &heads);
        }
    }

    fn read_heads(&mut self, net: &mut Net) {
        self.missed.clear();
        self.missed_all = false;
        self.is_reading_heads = true;
        let wait = net.micros(100, 40_000);
        let heads = Timer::Heads(self.router);
        net.timer(Host::Store(self.store), wait, heads);
    }
}
