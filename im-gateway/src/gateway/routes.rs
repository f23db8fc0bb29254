//! What the router is told of who is here: registrations, repeated until it has them, and what is
//! gone.
//!
//! Not here: who is where ([`crate::registry`]), and what is read again.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::kind::method;
use protocol::wire::internal::{Register, Registered, Unregister};
use protocol::{ConversationId, ErrorCode, Refusal, SequenceNumber};
use service_kit::rpc;
use tokio::task::JoinHandle;

use super::{Gateway, RETRY_INTERVAL};
use crate::events;
use crate::registry::Routes;

/// How long a registration may take.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(5);

/// Ids in one registration: some 1 MiB.
const REGISTER_IDS_MAX: usize = 50_000;

type RegisterCall = Pin<Box<dyn Future<Output = Result<Bytes, Refusal>> + Send>>;

/// A registration on its way.
pub(super) struct Registering(Option<JoinHandle<Result<(), Refusal>>>);

impl Registering {
    /// Ends when the router knows.
    pub(super) async fn ended(self) -> Result<(), Refusal> {
        match self.0 {
            Some(task) => task
                .await
                .unwrap_or_else(|error| Err(Refusal::internal(error.to_string()))),
            None => Ok(()),
        }
    }
}

impl Gateway {
    /// The router is new or back: it is told everything that is here, and then everything that may
    /// have been missed is read again.
    pub fn router_up(self: &Arc<Self>) {
        // Until then nobody is shown what has no place in the log.
        self.registry.doubt();
        let (everything, registering) = {
            let _changing = self.changing.lock();
            let everything = self.registry.everything();
            let registering = self.register(&everything, true);
            (everything, registering)
        };
        if everything == Routes::default() {
            // Nobody has missed anything; who comes now registers on this link, and reads after it.
            return;
        }
        let gateway = Arc::clone(self);
        self.drain.spawn(async move {
            // If it failed it is repeated.
            if registering.ended().await.is_ok() {
                gateway.resync();
            }
        });
    }

    /// Tells the router everything whenever it has not taken something.
    pub(super) async fn register_again(self: &Arc<Self>) {
        loop {
            self.unregistered.notified().await;
            tokio::time::sleep(RETRY_INTERVAL).await;
            self.router.up().await;
            self.router_up();
        }
    }

    /// Queues the registrations before it returns. `replace`: this is all that is here. Whoever asked
    /// for it may go away meanwhile: what is in the registry is registered all the same.
    pub(super) fn register(self: &Arc<Self>, new: &Routes, replace: bool) -> Registering {
        if *new == Routes::default() && !replace {
            return Registering(None);
        }
        let calls = self.register_calls(new, replace);
        let gateway = Arc::clone(self);
        Registering(Some(self.drain.spawn(async move {
            let registered = tokio::select! {
                registered = gateway.registered(calls) => registered,
                () = gateway.drain.draining() => {
                    return Err(Refusal::unavailable("the gateway is going down"));
                }
            };
            if let Err(refusal) = &registered {
                events::not_registered(refusal);
                gateway.unregistered.notify_one();
            }
            registered
        })))
    }

    fn register_calls(&self, new: &Routes, replace: bool) -> Vec<RegisterCall> {
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

    pub(super) fn unregister(&self, gone: &Routes) {
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

fn is_away(refusal: &Refusal) -> bool {
    matches!(
        refusal.code,
        ErrorCode::Unavailable | ErrorCode::OutcomeUnknown
    )
}
