//! The gateways that are linked: the table of routes, and a queue to each.
//!
//! One lock over both keeps the order of a conversation from the store's link to every gateway's
//! queue. Nothing waits under it: notices are encoded before, and a queue that is full turns its
//! gateway into one that is told later ([`crate::owed`]).

mod credentials;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use protocol::kind::method;
use protocol::wire::Entry;
use protocol::wire::internal::{HeadHints, Registered, TellAccounts, WatchedEntries};
use protocol::{AccountId, ConversationId, Refusal, SequenceNumber};
use service_kit::drain::Drain;
use service_kit::rpc::{self, NotifyError, Peer};

use crate::events;
use crate::fanout::{self, Run};
use crate::owed::{self, Notice, Owed};
use crate::table::{Head, LinkId, Passed, Registration, Table};
use crate::watch::{self, Watches};

/// Heads in the answer to a registration: some 2 MiB. The others follow as notices.
const REGISTERED_HEADS_MAX: usize = 64 * 1024;

/// Routes and queues. Clones share them.
#[derive(Debug, Clone)]
pub struct Gateways {
    inner: Arc<Mutex<Inner>>,
    /// Whether anybody watches the fleet: when nobody does, that costs nothing but this.
    is_watched: Arc<AtomicBool>,
    drain: Drain,
}

#[derive(Debug, Default)]
struct Inner {
    table: Table,
    watches: Watches,
    outlets: HashMap<LinkId, Outlet>,
}

/// The way to one gateway.
#[derive(Debug)]
struct Outlet {
    /// Its queue is bounded by the link. When full: see `owed`.
    peer: Peer,
    owed: Owed,
    /// A task waits for room to tell what is owed. Until it is done, all else is owed too, so that
    /// nothing overtakes.
    is_behind: bool,
}

/// What takes a notice's place when there is no room for it.
enum Instead<'a> {
    Heads(&'a [Head]),
    Resync,
    Gaps(&'a WatchedEntries),
    Nothing,
}

impl Gateways {
    /// None yet. Its tasks are of this drain.
    #[must_use]
    pub fn new(drain: Drain) -> Self {
        Self {
            inner: Arc::default(),
            is_watched: Arc::default(),
            drain,
        }
    }

    /// A gateway says what it has.
    #[must_use]
    pub fn register(&self, peer: &Peer, registration: &Registration) -> Registered {
        let link = link(peer);
        let mut inner = self.inner.lock();
        let heads = inner.table.register(link, registration);
        let outlet = inner.outlets.entry(link);
        let outlet = outlet.or_insert_with(|| Outlet::new(peer));
        let told = heads.len().min(REGISTERED_HEADS_MAX);
        let (now, later) = heads.split_at(told);
        if !later.is_empty() {
            outlet.owe(&Instead::Heads(later));
            self.catch_up(link, outlet);
        }
        events::registered(registration, inner.table.gateways().count());
        Registered {
            heads: wire_heads(now),
        }
    }

    /// A gateway says what it no longer has.
    pub fn unregister(&self, peer: &Peer, groups: &[ConversationId], accounts: &[AccountId]) {
        let table = &mut self.inner.lock().table;
        table.unregister(link(peer), groups, accounts);
    }

    /// Accounts with sessions on any gateway.
    #[must_use]
    pub fn online(&self, after: AccountId, limit: usize) -> (Vec<AccountId>, bool) {
        self.inner.lock().table.online(after, limit)
    }

    /// A gateway is gone.
    pub fn gone(&self, peer: &Peer) {
        let mut inner = self.inner.lock();
        inner.table.gone(link(peer));
        inner.outlets.remove(&link(peer));
        inner.watches.gone(link(peer));
        self.is_watched
            .store(!inner.watches.is_empty(), Ordering::Relaxed);
        events::gateways(inner.table.gateways().count());
    }

    /// A gateway says who watches the fleet there.
    ///
    /// # Errors
    /// When a filter makes no sense.
    pub fn watch(
        &self,
        peer: &Peer,
        watches: protocol::wire::internal::Watches,
    ) -> Result<(), Refusal> {
        let (version, watches) = (watches.version, watch::parse(watches)?);
        let mut inner = self.inner.lock();
        let outlet = inner.outlets.entry(link(peer));
        outlet.or_insert_with(|| Outlet::new(peer));
        inner.watches.set(link(peer), version, watches);
        self.is_watched
            .store(!inner.watches.is_empty(), Ordering::Relaxed);
        events::watches(inner.watches.len());
        Ok(())
    }

    /// Whether anybody watches the fleet.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    /// The same entries, for those who watch the fleet.
    pub fn pass_watched(&self, entries: &[Entry]) {
        let mut inner = self.inner.lock();
        for (link, watched) in inner.watches.select(entries) {
            events::watched(watched.entries.len());
            let told = Notice {
                method: method::WATCHED_ENTRIES,
                body: rpc::encode(&watched),
            };
            self.tell(&mut inner, link, told, &Instead::Gaps(&watched));
        }
    }

    /// What those who watch the fleet may have missed.
    fn pass_gaps(&self, inner: &mut Inner, heads: &[Head], restarted: bool) {
        let watched = watch::missed(heads, restarted);
        if watched.gaps.is_empty() {
            return;
        }
        for link in inner.watches.links() {
            let told = Notice {
                method: method::WATCHED_ENTRIES,
                body: rpc::encode(&watched),
            };
            self.tell(inner, link, told, &Instead::Gaps(&watched));
        }
    }

    /// Entries were committed.
    pub fn pass(&self, runs: &[Run]) {
        let mut inner = self.inner.lock();
        for run in runs {
            self.pass_run(&mut inner, run);
        }
        events::heads_known(inner.table.heads_len());
    }

    fn pass_run(&self, inner: &mut Inner, run: &Run) {
        let (joined, left) = run
            .moves
            .as_ref()
            .map_or((&[][..], &[][..]), |moves| (&moves.joined, &moves.left));
        let passed = inner.table.commit(run.conversation, run.last, joined, left);
        let to = match passed {
            Passed::To(to) => to,
            Passed::Stale => return events::stale_dropped(run),
            Passed::Late(to) => {
                // Another store had the group meanwhile: the move is no longer one that follows.
                events::late_move(run, to.len());
                for link in to {
                    self.tell(inner, link, owed::resync(), &Instead::Resync);
                }
                return;
            }
        };
        events::passed(run, to.len());
        let head = [(run.conversation, run.last)];
        for link in to {
            if let Some(moves) = &run.moves {
                let moved = notice(method::MEMBERSHIP_MOVED, &moves.notice);
                self.tell(inner, link, moved, &Instead::Resync);
            }
            let entries = match &run.fanout {
                Some(fanout) => notice(method::FANOUT, fanout),
                None => hints(&head),
            };
            self.tell(inner, link, entries, &Instead::Heads(&head));
        }
    }

    /// Conversations have these heads, whose entries are not pushed. `restarted`: what was streamed
    /// before may be lost, changes of members included.
    pub fn raise_heads(&self, heads: &[Head], restarted: bool) {
        let mut inner = self.inner.lock();
        if restarted {
            let links: Vec<_> = inner.table.gateways().collect();
            events::resync(links.len());
            for link in links {
                self.tell(&mut inner, link, owed::resync(), &Instead::Resync);
            }
        }
        if self.is_watched() {
            self.pass_gaps(&mut inner, heads, restarted);
        }
        for (link, heads) in inner.table.raise_heads(heads) {
            events::heads_told(heads.len());
            for heads in heads.chunks(owed::HEADS_PER_NOTICE_MAX) {
                self.tell(&mut inner, link, hints(heads), &Instead::Heads(heads));
            }
        }
    }

    /// An ephemeral message, for which there is no later: a gateway without room misses it.
    pub fn pass_ephemeral(&self, conversation: ConversationId, message: &Bytes) {
        let mut inner = self.inner.lock();
        let to = inner.table.routes(conversation);
        events::ephemeral_passed(conversation, to.len());
        for link in to {
            let ephemeral = notice(method::FANOUT_EPHEMERAL, message);
            self.tell(&mut inner, link, ephemeral, &Instead::Nothing);
        }
    }

    /// What a gateway knows of emergency stops, to all others, however much waits for them: nothing
    /// here decides whom they concern. Whoever has no room even in the urgent lane misses it; it is
    /// said again.
    pub fn pass_estop(&self, from: &Peer, gossip: &Bytes) {
        let inner = self.inner.lock();
        let others = inner.outlets.iter().filter(|(to, _)| **to != link(from));
        let mut told = 0;
        for (_, outlet) in others {
            let notified = outlet.peer.notify(method::ESTOP_GOSSIP, gossip.clone());
            told += usize::from(notified.is_ok());
        }
        events::estop_passed(told);
    }

    /// A frame for these accounts, wherever they are: a gateway without room misses it, and whoever
    /// sent it says it again.
    pub fn tell_accounts(&self, accounts: &[AccountId], tell: &TellAccounts) {
        let mut inner = self.inner.lock();
        let by_gateway = inner.table.by_gateway(accounts);
        events::accounts_told(by_gateway.values().map(Vec::len).sum());
        for (link, accounts) in by_gateway {
            let body = rpc::encode(&TellAccounts {
                account_ids: accounts.iter().map(|account| account.0).collect(),
                ..tell.clone()
            });
            let told = notice(method::TELL_SESSIONS, &body);
            self.tell(&mut inner, link, told, &Instead::Nothing);
        }
    }

    fn tell(&self, inner: &mut Inner, link: LinkId, notice: Notice, instead: &Instead<'_>) {
        let Some(outlet) = inner.outlets.get_mut(&link) else {
            return;
        };
        if !outlet.is_behind {
            match outlet.peer.notify(notice.method, notice.body) {
                Ok(()) => return,
                Err(NotifyError::Full) => {}
                // It is on its way out of the table.
                Err(NotifyError::Closed) => return,
            }
        }
        events::withheld(instead_name(instead));
        outlet.owe(instead);
        self.catch_up(link, outlet);
    }

    /// Starts the task that tells what is owed, unless it runs.
    fn catch_up(&self, link: LinkId, outlet: &mut Outlet) {
        if !outlet.is_behind {
            outlet.is_behind = true;
            events::behind(&outlet.peer);
            let (gateways, peer) = (self.clone(), outlet.peer.clone());
            self.drain
                .spawn(async move { gateways.tell_owed(link, peer).await });
        }
    }

    /// Ends when nothing is owed any more, or the gateway is gone.
    async fn tell_owed(self, link: LinkId, peer: Peer) {
        while let Some(notice) = self.next_owed(link) {
            if peer.notify_wait(notice.method, notice.body).await.is_err() {
                return;
            }
        }
        events::caught_up(&peer);
    }

    fn next_owed(&self, link: LinkId) -> Option<Notice> {
        let mut inner = self.inner.lock();
        let outlet = inner.outlets.get_mut(&link)?;
        let notice = outlet.owed.take();
        outlet.is_behind = notice.is_some();
        notice
    }
}

impl Outlet {
    fn new(peer: &Peer) -> Self {
        Self {
            peer: peer.clone(),
            owed: Owed::default(),
            is_behind: false,
        }
    }

    fn owe(&mut self, instead: &Instead<'_>) {
        match instead {
            Instead::Heads(heads) => {
                for (conversation, head) in *heads {
                    self.owed.head(*conversation, *head);
                }
            }
            Instead::Resync => self.owed.resync(),
            Instead::Gaps(watched) => self.owed.watched(watched),
            Instead::Nothing => {}
        }
    }
}

const fn instead_name(instead: &Instead<'_>) -> &'static str {
    match instead {
        Instead::Heads(_) => "head",
        Instead::Resync => "resync",
        Instead::Gaps(_) => "gap",
        Instead::Nothing => "nothing",
    }
}

const fn link(peer: &Peer) -> LinkId {
    LinkId(peer.id())
}

fn notice(method: u16, body: &Bytes) -> Notice {
    Notice {
        method,
        body: body.clone(),
    }
}

fn hints(heads: &[Head]) -> Notice {
    let hints = HeadHints {
        heads: wire_heads(heads),
    };
    Notice {
        method: method::HEAD_HINTS,
        body: rpc::encode(&hints),
    }
}

fn wire_heads(heads: &[(ConversationId, SequenceNumber)]) -> Vec<protocol::wire::Head> {
    heads
        .iter()
        .map(|(conversation, head)| fanout::head(*conversation, *head))
        .collect()
}
