//! What the routers are told of who is here: registrations, repeated until they have them, and what
//! is gone. A group is registered with the router that it belongs to; an account with all of them,
//! because any may have its pairs, or a group that it joins.
//!
//! Not here: who is where ([`crate::registry`]), and what is read again.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::kind::method;
use protocol::wire::internal::{Register, Registered, Unregister};
use protocol::{ConversationId, ErrorCode, Refusal, SequenceNumber};
use service_kit::live::InstanceId;
use service_kit::rpc::{self, Link};
use tokio::task::JoinHandle;

use super::{Gateway, RETRY_INTERVAL};
use crate::events;
use crate::registry::Routes;

/// How long a registration may take.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long somebody who comes waits for its registration: a router that does not answer is made up
/// for later.
const REGISTER_PATIENCE: Duration = Duration::from_secs(1);

/// Ids in one registration: some 1 MiB.
const REGISTER_IDS_MAX: usize = 50_000;

type RegisterAnswer = Pin<Box<dyn Future<Output = Result<Bytes, Refusal>> + Send>>;

/// A registration with one router.
struct RegisterCall {
    router: InstanceId,
    link: Link,
    answer: RegisterAnswer,
}

/// Registrations on their way. The task says whether all routers know.
pub(super) struct Registering(Option<JoinHandle<bool>>);

impl Registering {
    /// Ends when the routers know. False: not all of them do, and they are told everything again.
    async fn ended(self) -> bool {
        match self.0 {
            Some(task) => task.await.unwrap_or(false),
            None => true,
        }
    }

    /// Ends when the routers know, or have taken too long: when they do at last, what may have been
    /// missed until then is read again.
    pub(super) async fn or_later(self, gateway: &Arc<Gateway>) {
        let Some(mut task) = self.0 else {
            return;
        };
        if tokio::time::timeout(REGISTER_PATIENCE, &mut task)
            .await
            .is_ok()
        {
            return;
        }
        events::register_late();
        let later = Arc::clone(gateway);
        gateway.drain.spawn(async move {
            tokio::select! {
                known = Self(Some(task)).ended() => if known {
                    later.resync.notify_one();
                },
                () = later.drain.draining() => {}
            }
        });
    }
}

impl Gateway {
    /// A router is new or back: it is told everything that is its own, and then everything that may
    /// have been missed is read again.
    pub fn router_up(self: &Arc<Self>, router: InstanceId) {
        // Until then nobody is shown what has no place in the log.
        self.registry
            .doubt_those(|group| self.routers.owner(group.as_bytes()) == Some(router));
        self.tell_everything(&[router]);
    }

    /// Groups may belong to other routers now.
    pub fn routers_moved(self: &Arc<Self>) {
        self.registry.doubt();
        self.tell_everything(&self.routers.ids());
    }

    fn tell_everything(self: &Arc<Self>, routers: &[InstanceId]) {
        let (everything, registering) = {
            let _changing = self.changing.lock();
            let everything = self.registry.everything();
            let calls = routers
                .iter()
                .flat_map(|router| self.register_calls(*router, &everything, true));
            (everything.clone(), self.carry_out(calls.collect()))
        };
        if everything == Routes::default() {
            // Nobody has missed anything; who comes now registers on these links, and reads after it.
            return;
        }
        let gateway = Arc::clone(self);
        self.drain.spawn(async move {
            // If it failed it is repeated.
            if registering.ended().await {
                gateway.resync();
            }
        });
    }

    /// Tells a router everything whenever it has not taken something.
    pub(super) async fn register_again(self: &Arc<Self>) {
        loop {
            self.unregistered.notified().await;
            tokio::time::sleep(RETRY_INTERVAL).await;
            let owing = std::mem::take(&mut *self.owing.lock());
            for router in owing {
                self.router_up(router);
            }
        }
    }

    /// Queues the registrations of what is new before it returns. Whoever asked for it may go away
    /// meanwhile: what is in the registry is registered all the same.
    pub(super) fn register(self: &Arc<Self>, new: &Routes) -> Registering {
        if *new == Routes::default() {
            return Registering(None);
        }
        let routers = self.routers.ids();
        let calls = routers
            .iter()
            .flat_map(|router| self.register_calls(*router, new, false));
        self.carry_out(calls.collect())
    }

    fn carry_out(self: &Arc<Self>, calls: Vec<RegisterCall>) -> Registering {
        if calls.is_empty() {
            return Registering(None);
        }
        let gateway = Arc::clone(self);
        Registering(Some(self.drain.spawn(async move {
            tokio::select! {
                registered = gateway.registered(calls) => registered,
                () = gateway.drain.draining() => false,
            }
        })))
    }

    /// What belongs to one router, in frames. `replace`: this is all that it has of us.
    fn register_calls(&self, router: InstanceId, new: &Routes, replace: bool) -> Vec<RegisterCall> {
        let Some(link) = self.routers.link(router) else {
            return Vec::new();
        };
        let is_its_own =
            |group: &&ConversationId| self.routers.owner(group.as_bytes()) == Some(router);
        let groups: Vec<_> = new.groups.iter().filter(is_its_own).copied().collect();
        let (mut groups, mut accounts) = (&groups[..], &new.accounts[..]);
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
            let answer = link.call(method::REGISTER, body, REGISTER_TIMEOUT);
            calls.push(RegisterCall {
                router,
                link: link.clone(),
                answer: Box::pin(answer),
            });
        }
        calls
    }

    /// Waits until the routers know, and tells the heads that they know in turn. False: not all of
    /// those that are there do.
    async fn registered(&self, calls: Vec<RegisterCall>) -> bool {
        let mut all_know = true;
        for call in calls {
            let told = match call.answer.await {
                Ok(body) => self.tell_registered(body),
                Err(refusal) => Err(refusal),
            };
            match told {
                Ok(()) => {}
                // When the router is back it is told everything that is its own.
                Err(refusal) if is_away(&refusal) && !call.link.is_up() => {}
                Err(refusal) => {
                    events::not_registered(&refusal);
                    self.owing.lock().insert(call.router);
                    self.unregistered.notify_one();
                    all_know = false;
                }
            }
        }
        all_know
    }

    fn tell_registered(&self, body: Bytes) -> Result<(), Refusal> {
        let registered: Registered = rpc::decode(body)?;
        for head in registered.heads {
            let conversation = ConversationId::from_slice(&head.conversation_id)?;
            self.head(conversation, SequenceNumber(head.head));
        }
        Ok(())
    }

    pub(super) fn unregister(&self, gone: &Routes) {
        if *gone == Routes::default() {
            return;
        }
        let unregister = Unregister {
            groups: gone.groups.iter().map(|group| group.to_bytes()).collect(),
            accounts: gone.accounts.iter().map(|account| account.0).collect(),
        };
        let body = rpc::encode(&unregister);
        let links = self.routers.ids().into_iter();
        for link in links.filter_map(|router| self.routers.link(router)) {
            if let Err(refusal) = link.try_notify(method::UNREGISTER, body.clone()) {
                // What the router then still sends finds nobody here.
                events::not_unregistered(&refusal);
            }
        }
    }
}

fn is_away(refusal: &Refusal) -> bool {
    matches!(
        refusal.code,
        ErrorCode::Unavailable | ErrorCode::OutcomeUnknown
    )
}
