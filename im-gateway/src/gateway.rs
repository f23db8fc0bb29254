//! What sessions and the router's link both do to the registry, and what follows from it on the
//! links: registrations, questions, re-reading.
//!
//! Order matters here: who is where is changed, and the router told, by one caller at a time, so
//! that the router hears of it in the order in which it happened.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use parking_lot::Mutex;
use protocol::kind::method;
use protocol::wire::internal::{Register, Registered, Unregister};
use protocol::wire::{Mark, Membership};
use protocol::{
    AccountId, ConversationId, ErrorCode, GatewayId, Refusal, SequenceNumber, SessionId,
};
use service_kit::drain::Drain;
use service_kit::rpc::{self, Link};
use tokio::sync::Notify;

use crate::config::{LimitsConfig, SessionConfig};
use crate::events;
use crate::handle::SessionHandle;
use crate::marks::Marks;
use crate::registry::{Overtaken, Registry, Routes};
use crate::upstream::Upstream;

/// Accounts whose memberships are read at once after a resync.
const REFRESHES_MAX: usize = 64;

/// How often an account's memberships are read before its session is sent away to try again.
const READS_MAX: u32 = 4;

/// How long a registration may take.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(5);

/// Ids in one registration: some 1 MiB.
const REGISTER_IDS_MAX: usize = 50_000;

/// How long marks are gathered before they are passed on.
const MARKS_INTERVAL: Duration = Duration::from_millis(100);

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
    /// How long sessions have to leave when the gateway is going down.
    pub leave_grace: Duration,
    /// Who is here.
    pub registry: Registry,
    /// Logic.
    pub upstream: Upstream,
    router: Link,
    drain: Drain,
    /// Held by whoever changes who is where, until the router's link has its word of it.
    changing: Mutex<()>,
    marks: Mutex<Marks>,
    marked: Notify,
    resync: Notify,
    last_session: AtomicU64,
}

impl Gateway {
    /// With nobody here. `id` is random, and so are the ids of its sessions.
    #[must_use]
    pub fn new(
        id: GatewayId,
        (rules, limits, drain_grace): (SessionConfig, LimitsConfig, Duration),
        upstream: Upstream,
        router: Link,
        drain: Drain,
    ) -> Arc<Self> {
        Arc::new(Self {
            rules,
            limits,
            leave_grace: drain_grace * 3 / 4, // The rest is for the last words.
            registry: Registry::default(),
            upstream,
            router,
            drain,
            changing: Mutex::new(()),
            marks: Mutex::default(),
            marked: Notify::new(),
            resync: Notify::new(),
            // Another random start in another process: ids do not meet.
            last_session: AtomicU64::new(id.0 & !u64::from(u32::MAX)),
            id,
        })
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
    ) -> Result<Vec<Membership>, Refusal> {
        let registered = {
            let _changing = self.changing.lock();
            let most = self.limits.sessions_per_account_max;
            let (new, evicted) = self.registry.arrive(handle, most);
            if let Some(evicted) = evicted {
                evicted.evict("too many sessions of this account; the oldest makes room");
            }
            self.register(&new, false)
        };
        self.registered(registered).await?;
        self.refresh(handle.account, Some(handle.session)).await
    }

    /// A session ends.
    pub fn leave(&self, handle: &SessionHandle) {
        let _changing = self.changing.lock();
        let gone = self.registry.leave(handle);
        self.unregister(&gone);
    }

    /// Reads an account's memberships, and makes the registry agree with them.
    pub async fn refresh(
        self: &Arc<Self>,
        account: AccountId,
        but: Option<SessionId>,
    ) -> Result<Vec<Membership>, Refusal> {
        for _ in 0..READS_MAX {
            let asked_at = self.registry.tick();
            let memberships = self.upstream.memberships(account).await?;
            let registered = {
                let _changing = self.changing.lock();
                match self.registry.settle(account, &memberships, asked_at, but) {
                    Ok((new, gone)) => {
                        self.unregister(&gone);
                        self.register(&new, false)
                    }
                    Err(Overtaken) => continue,
                }
            };
            self.registered(registered).await?;
            self.ask_about(&memberships);
            return Ok(memberships);
        }
        Err(Refusal::unavailable(
            "the conversations of the account keep changing; try again",
        ))
    }

    /// Applies a change of who is where that the router told of.
    pub fn change(self: &Arc<Self>, change: impl FnOnce(&Registry) -> (Routes, Routes)) {
        let registered = {
            let _changing = self.changing.lock();
            let (new, gone) = change(&self.registry);
            self.unregister(&gone);
            if new == Routes::default() {
                return;
            }
            self.register(&new, false)
        };
        // Not awaited: the caller reads the very link that the answer comes on.
        let gateway = Arc::clone(self);
        self.drain.spawn(async move {
            if let Err(refusal) = gateway.registered(registered).await {
                events::not_registered(&refusal);
            }
        });
    }

    /// A conversation has entries up to here that are not pushed.
    pub fn head(&self, conversation: ConversationId, head: SequenceNumber) {
        self.registry.head(conversation, head);
        self.tidy(conversation);
    }

    /// Forgets a group when the last who left it has been told.
    pub fn tidy(&self, conversation: ConversationId) {
        if self.registry.is_deserted(conversation) {
            let _changing = self.changing.lock();
            self.unregister(&self.registry.tidy(conversation));
        }
    }

    /// The router is new or back: it is told everything that is here, and then everything that may
    /// have been missed is read again.
    pub fn router_up(self: &Arc<Self>) {
        let registered = {
            let _changing = self.changing.lock();
            self.register(&self.registry.everything(), true)
        };
        let gateway = Arc::clone(self);
        self.drain.spawn(async move {
            match gateway.registered(registered).await {
                Ok(()) => gateway.resync(),
                // The link went down again; when it is up this is repeated.
                Err(refusal) => events::not_registered(&refusal),
            }
        });
    }

    /// Changes of members may have been missed.
    pub fn resync(&self) {
        self.resync.notify_one();
    }

    /// Runs until the drain: reads the memberships of all accounts again whenever it has to be.
    pub async fn keep_in_sync(self: Arc<Self>) {
        let work = async {
            loop {
                self.resync.notified().await;
                let mut accounts = self.registry.doubt();
                events::resync(accounts.len());
                while !accounts.is_empty() {
                    accounts = self.refresh_all(accounts).await;
                    if !accounts.is_empty() {
                        self.upstream.up().await;
                        tokio::time::sleep(RETRY_INTERVAL).await;
                    }
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = self.drain.draining() => {}
        }
    }

    /// Asks who is a member, until the view of this group is known or logic does not answer: then
    /// the next entry asks again.
    pub fn ask(self: &Arc<Self>, conversation: ConversationId) {
        let Some(mut question) = self.registry.question(conversation) else {
            return;
        };
        let gateway = Arc::clone(self);
        self.drain.spawn(async move {
            loop {
                match gateway.upstream.check(&question).await {
                    Ok(checked) => {
                        let members = checked.members.into_iter().map(AccountId).collect();
                        let as_of = SequenceNumber(checked.membership_sequence);
                        gateway.change(|registry| {
                            let gone = registry.answered(&question, members, as_of);
                            (Routes::default(), gone)
                        });
                    }
                    Err(refusal) => {
                        events::not_checked(conversation, &refusal);
                        gateway.registry.not_answered(&question);
                        return;
                    }
                }
                match gateway.registry.question(conversation) {
                    Some(next) => question = next,
                    None => return,
                }
            }
        });
    }

    /// An account has these marks.
    pub fn mark(&self, account: AccountId, marks: &[Mark]) {
        let mut waiting = self.marks.lock();
        let dropped = marks
            .iter()
            .filter(|mark| !waiting.raise(account, mark))
            .count();
        drop(waiting);
        events::marks_dropped(dropped);
        self.marked.notify_one();
    }

    /// Runs until every session has ended: passes marks on, newest only.
    pub async fn pass_marks(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.marked.notified() => {}
                () = self.drain.drained() => {
                    self.flush_marks();
                    return;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(MARKS_INTERVAL) => {}
                () = self.drain.drained() => {}
            }
            if !self.flush_marks() {
                self.marked.notify_one();
            }
        }
    }

    /// Returns `false` when some had to stay.
    fn flush_marks(&self) -> bool {
        loop {
            let Some(marks) = self.marks.lock().take() else {
                return true;
            };
            if self.upstream.marks(&marks).is_err() {
                // Logic is away or slow: they stay, and are conflated with what comes.
                let dropped = self.marks.lock().put_back(marks);
                events::marks_dropped(dropped);
                return false;
            }
        }
    }

    async fn refresh_all(self: &Arc<Self>, accounts: Vec<AccountId>) -> Vec<AccountId> {
        let refreshes = accounts.into_iter().map(|account| async move {
            match self.refresh(account, None).await {
                Ok(memberships) => {
                    self.tell_heads(account, &memberships);
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

    /// Queues the registrations before it returns. `replace`: this is all that is here.
    fn register(&self, new: &Routes, replace: bool) -> Vec<RegisterCall> {
        let (mut groups, mut accounts) = (&new.groups[..], &new.accounts[..]);
        let mut calls = Vec::new();
        while !groups.is_empty() || !accounts.is_empty() || (replace && calls.is_empty()) {
            let (these_groups, later) = groups.split_at(groups.len().min(REGISTER_IDS_MAX));
            groups = later;
            let (these_accounts, later) = accounts.split_at(accounts.len().min(REGISTER_IDS_MAX));
            accounts = later;
            let body = rpc::encode(&Register {
                gateway_id: self.id.0,
                replace: replace && calls.is_empty(),
                groups: these_groups.iter().map(|group| group.to_bytes()).collect(),
                accounts: these_accounts.iter().map(|account| account.0).collect(),
            });
            let call = self.router.call(method::REGISTER, body, REGISTER_TIMEOUT);
            calls.push(Box::pin(call) as RegisterCall);
        }
        calls
    }

    /// Waits until the router knows, and tells the heads that it knows in turn.
    async fn registered(&self, calls: Vec<RegisterCall>) -> Result<(), Refusal> {
        for call in calls {
            match call.await {
                Ok(body) => {
                    let registered: Registered = rpc::decode(body)?;
                    for head in registered.heads {
                        let conversation = ConversationId::from_slice(&head.conversation_id)?;
                        self.head(conversation, SequenceNumber(head.head));
                    }
                }
                // When the router is back it is told everything that is here.
                Err(refusal) if is_away(&refusal) && !self.router.is_up() => return Ok(()),
                Err(refusal) => return Err(Refusal::unavailable(refusal.message)),
            }
        }
        Ok(())
    }

    fn unregister(&self, gone: &Routes) {
        if *gone == Routes::default() {
            return;
        }
        let unregister = Unregister {
            groups: gone.groups.iter().map(|group| group.to_bytes()).collect(),
            accounts: gone.accounts.iter().map(|account| account.0).collect(),
        };
        let body = rpc::encode(&unregister);
        if let Err(refusal) = self.router.try_notify(method::UNREGISTER, body) {
            // What the router then still sends finds nobody here.
            events::not_unregistered(&refusal);
        }
    }
}

type RegisterCall =
    std::pin::Pin<Box<dyn Future<Output = Result<bytes::Bytes, Refusal>> + Send + 'static>>;

fn is_away(refusal: &Refusal) -> bool {
    matches!(
        refusal.code,
        ErrorCode::Unavailable | ErrorCode::OutcomeUnknown
    )
}
