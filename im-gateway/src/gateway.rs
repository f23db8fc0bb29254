//! What sessions and the routers' links both do to the registry, and what follows from it on the
//! links: registrations, questions, re-reading.
//!
//! Order matters here: who is where is changed, and the routers told, by one caller at a time, so
//! that each hears of it in the order in which it happened.

pub(crate) mod credentials;
mod estop;
mod listed;
mod marking;
mod routes;
mod watching;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use parking_lot::Mutex;
use protocol::wire::Membership;
use protocol::wire::internal::MembershipsPage;
use protocol::{AccountId, ConversationId, GatewayId, Refusal, SequenceNumber, SessionId};
use service_kit::clock;
use service_kit::drain::Drain;
use service_kit::live::InstanceId;
use service_kit::peers::{LiveWatch, Peers};
use service_kit::registry;
use tokio::sync::Notify;

use crate::config::{LimitsConfig, SessionConfig};
use crate::credential::{Eviction, Revoked};
use crate::doors::Doors;
use crate::estop::Estops;
use crate::events;
use crate::handle::SessionHandle;
use crate::marks::Marks;
use crate::media::Media;
use crate::registry::{Overtaken, Question, Registry, Routes};
use crate::upstream::Upstream;

/// Accounts whose memberships are read at once after a resync.
const REFRESHES_MAX: usize = 64;

/// How often an account's memberships are read before its session is sent away to try again.
const READS_MAX: u32 = 8;

/// How long before what failed is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// The gateway's heart. Shared by all its tasks.
#[derive(Debug)]
pub struct Gateway {
    /// Who this process is to the router.
    pub id: GatewayId,
    /// What one session may do.
    pub rules: SessionConfig,
    /// What all may do.
    pub limits: LimitsConfig,
    /// How many connections there may be.
    pub doors: Arc<Doors>,
    /// How long sessions have to leave when the gateway is going down.
    pub leave_grace: Duration,
    /// Who is here.
    pub registry: Registry,
    /// Logic.
    pub upstream: Upstream,
    /// The media that it keeps.
    pub media: Option<Arc<Media>>,
    routers: Peers,
    live: LiveWatch,
    routes: Option<registry::Routes>,
    drain: Drain,
    /// Held by whoever changes who is where, until the router's link has its word of it.
    changing: Mutex<()>,
    marks: Mutex<Marks>,
    marked: Notify,
    /// What sessions have been told that their accounts have marked elsewhere: the newest of such
    /// words is the highest.
    shared_marks: Mutex<Marks>,
    resync: Notify,
    /// Routers that have not taken a registration.
    owing: Mutex<BTreeSet<InstanceId>>,
    unregistered: Notify,
    /// What is revoked. Held for a look, within no other lock.
    revoked: Mutex<Revoked>,
    /// Before any lock of the registry.
    estops: Mutex<Estops>,
    estop_news: Notify,
    /// Who watches the fleet.
    watches: Mutex<watching::FleetWatches>,
    watches_owed: Notify,
    /// Where those in force outlive this process.
    estop_file: Option<PathBuf>,
    last_session: AtomicU64,
}

/// Whom a gateway knows.
#[derive(Debug)]
pub struct Around {
    /// Logic.
    pub upstream: Upstream,
    /// The routers.
    pub routers: Peers,
    /// The gateways that clients may be told of.
    pub gateways: LiveWatch,
    /// Where others find its sessions, in a cluster.
    pub routes: Option<registry::Routes>,
    /// Where emergency stops in force are kept.
    pub estop_file: Option<PathBuf>,
    /// The media that it keeps.
    pub media: Option<Arc<Media>>,
}

impl Gateway {
    /// With nobody here. `id` is random, and so are the ids of its sessions. `live`: the gateways
    /// that clients can go to; empty if that is not known.
    #[must_use]
    pub fn new(
        id: GatewayId,
        (rules, limits, drain_grace): (SessionConfig, LimitsConfig, Duration),
        around: Around,
        drain: Drain,
    ) -> Arc<Self> {
        Arc::new(Self {
            rules,
            doors: Doors::new(&limits),
            limits,
            leave_grace: drain_grace * 3 / 4, // The rest is for the last words.
            registry: Registry::default(),
            upstream: around.upstream,
            media: around.media,
            routers: around.routers,
            live: around.gateways,
            routes: around.routes,
            drain,
            changing: Mutex::new(()),
            marks: Mutex::default(),
            marked: Notify::new(),
            shared_marks: Mutex::default(),
            resync: Notify::new(),
            owing: Mutex::default(),
            unregistered: Notify::new(),
            revoked: Mutex::default(),
            estops: Mutex::default(),
            estop_news: Notify::new(),
            watches: Mutex::default(),
            watches_owed: Notify::new(),
            estop_file: around.estop_file,
            // Another random start in another process: ids do not meet.
            last_session: AtomicU64::new(id.0 & !u64::from(u32::MAX)),
            id,
        })
    }

    /// What tells its tasks to end.
    #[must_use]
    pub const fn drain(&self) -> &Drain {
        &self.drain
    }

    /// Begins what it does until the drain, besides serving.
    pub fn begin(self: &Arc<Self>) {
        self.recall_estops();
        self.drain.spawn(Arc::clone(self).keep_estops());
        self.drain.spawn(Arc::clone(self).keep_in_sync());
        self.drain.spawn(Arc::clone(self).keep_revocations());
        self.drain.spawn(Arc::clone(self).pass_marks());
    }

    /// An id for a session.
    pub fn next_session(&self) -> SessionId {
        SessionId(self.last_session.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// A session begins: it is in the registry and known to the router before its memberships are
    /// read, so that nothing that is committed from then on is missed.
    pub async fn arrive(
        self: &Arc<Self>,
        handle: &Arc<SessionHandle>,
        history_generation: u64,
    ) -> Result<MembershipsPage, Refusal> {
        let registering = {
            let _changing = self.changing.lock();
            let most = self.limits.sessions_per_account_max;
            let (new, evicted) = self.registry.arrive(handle, most);
            if let Some(evicted) = evicted {
                evicted.evict(Eviction::TooMany);
            }
            self.settle_in(handle);
            self.register(&new)
        };
        if let Some(routes) = &self.routes {
            routes.keep(handle.account.0, handle.session.0, clock::unix_ms());
        }
        registering.or_later(self).await;
        self.refresh(handle.account, Some(handle.session), history_generation)
            .await
    }

    /// A session ends.
    pub fn leave(&self, handle: &SessionHandle) {
        self.watch_ends(handle.session);
        let _changing = self.changing.lock();
        let gone = self.registry.leave(handle);
        self.unregister(&gone);
        if let Some(routes) = &self.routes {
            routes.remove(handle.account.0, handle.session.0, clock::unix_ms());
        }
    }

    /// Reads an account's memberships, and makes the registry agree with them.
    pub async fn refresh(
        self: &Arc<Self>,
        account: AccountId,
        but: Option<SessionId>,
        history_generation: u64,
    ) -> Result<MembershipsPage, Refusal> {
        for _ in 0..READS_MAX {
            let asked_at = self.registry.next_tick();
            let page = self
                .upstream
                .memberships(account, history_generation)
                .await?;
            let registering = {
                let _changing = self.changing.lock();
                match self
                    .registry
                    .settle(account, &page.memberships, asked_at, but)
                {
                    Ok((new, gone)) => {
                        self.unregister(&gone);
                        self.register(&new)
                    }
                    Err(Overtaken) => continue,
                }
            };
            registering.or_later(self).await;
            self.ask_about(&page.memberships);
            return Ok(page);
        }
        Err(Refusal::unavailable(
            "the conversations of the account keep changing; try again",
        ))
    }

    /// Applies a change of who is where that the router told of. Whether the router took it is not
    /// awaited: the caller reads the very link that the answer comes on.
    pub fn change(self: &Arc<Self>, change: impl FnOnce(&Registry) -> (Routes, Routes)) {
        let _changing = self.changing.lock();
        let (new, gone) = change(&self.registry);
        self.unregister(&gone);
        self.register(&new);
    }

    /// A conversation has entries up to here that are not pushed.
    pub fn head(&self, conversation: ConversationId, head: SequenceNumber) {
        self.registry.head(conversation, head);
        self.tidy(conversation);
    }

    /// Forgets a group when the last who left it has been told, or when it is not ours at all.
    pub fn tidy(&self, conversation: ConversationId) {
        if self.registry.is_deserted(conversation) {
            let _changing = self.changing.lock();
            self.unregister(&self.registry.tidy(conversation));
        }
    }

    /// Changes of members may have been missed. From now on no view counts as known, and then the
    /// memberships are read again.
    pub fn resync(&self) {
        self.registry.doubt();
        self.watches_missed();
        self.resync.notify_one();
    }

    /// Runs until the drain: makes good what was missed on the way from and to the router, and
    /// tells who the gateways are.
    pub async fn keep_in_sync(self: Arc<Self>) {
        tokio::select! {
            () = self.read_again() => {}
            () = self.register_again() => {}
            () = self.tell_list() => {}
            () = self.watch_again() => {}
            () = self.drain.draining() => {}
        }
    }

    /// Reads the memberships of all accounts whenever changes may have been missed.
    async fn read_again(self: &Arc<Self>) {
        loop {
            self.resync.notified().await;
            let mut accounts = self.registry.accounts();
            while !accounts.is_empty() {
                events::resync(accounts.len());
                accounts = self.refresh_all(accounts).await;
                if accounts.is_empty() {
                    break;
                }
                let rested = async {
                    self.upstream.up().await;
                    tokio::time::sleep(RETRY_INTERVAL).await;
                };
                tokio::select! {
                    () = rested => {}
                    // However long some of them fail, the others are not held up.
                    () = self.resync.notified() => accounts = self.registry.accounts(),
                }
            }
        }
    }

    /// Asks who is a member, until the view of this group is known or logic does not answer: then
    /// the next entry asks again.
    pub fn ask(self: &Arc<Self>, conversation: ConversationId) {
        let Some(question) = self.registry.question(conversation) else {
            return;
        };
        let gateway = Arc::clone(self);
        self.drain.spawn(async move {
            tokio::select! {
                () = gateway.ask_until_known(question) => {}
                () = gateway.drain.draining() => {}
            }
        });
    }

    async fn ask_until_known(self: &Arc<Self>, mut question: Question) {
        loop {
            let (group, accounts) = (question.conversation, &question.accounts);
            match self.upstream.check(group, accounts).await {
                Ok(checked) => {
                    let members = checked.members.into_iter().map(AccountId).collect();
                    let as_of = SequenceNumber(checked.membership_sequence);
                    self.change(|registry| {
                        let gone = registry.answered(&question, members, as_of);
                        (Routes::default(), gone)
                    });
                }
                Err(refusal) => {
                    events::not_checked(question.conversation, &refusal);
                    self.registry.not_answered(&question);
                    return;
                }
            }
            match self.registry.question(question.conversation) {
                Some(next) => question = next,
                None => return,
            }
        }
    }

    async fn refresh_all(self: &Arc<Self>, accounts: Vec<AccountId>) -> Vec<AccountId> {
        let refreshes = accounts.into_iter().map(|account| async move {
            match self.refresh(account, None, 0).await {
                Ok(page) => {
                    self.tell_heads(account, &page.memberships);
                    None
                }
                Err(refusal) => {
                    events::not_refreshed(account, &refusal);
                    Some(account)
                }
            }
        });
        stream::iter(refreshes)
            .buffer_unordered(REFRESHES_MAX)
            .filter_map(std::future::ready)
            .collect()
            .await
    }

    /// What was committed while nobody told us is learnt from the heads.
    fn tell_heads(&self, account: AccountId, memberships: &[Membership]) {
        for membership in memberships {
            if let Ok(conversation) = ConversationId::from_slice(&membership.conversation_id) {
                let head = SequenceNumber(membership.head);
                self.registry.head_of(account, conversation, head);
            }
        }
    }

    fn ask_about(self: &Arc<Self>, memberships: &[Membership]) {
        for membership in memberships {
            if let Ok(conversation) = ConversationId::from_slice(&membership.conversation_id) {
                self.ask(conversation);
            }
        }
    }
}
