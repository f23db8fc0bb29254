//! What gateways, stores and logic say to the router: methods 301 to 319, 346 and 348 of
//! `internal.proto`, and 350 of `watch.proto`.
//!
//! A shell: it parses, and tells [`Gateways`]. Everything happens before the first wait, so that
//! what one link says is done in the order in which it is said.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use protocol::kind::method;
use protocol::wire::internal::{
    Commits, Heads, LiveSince, Online, OnlineAccounts, PassEphemeral, PassLive, Register,
    TellAccounts, Unregister,
};
use protocol::{AccountId, ConversationId, ErrorCode, GatewayId, Refusal, SequenceNumber};
use service_kit::drain::Drain;
use service_kit::rpc::{self, Handler, Peer, Request};

use tokio::time::Instant;

use crate::gateways::Gateways;
use crate::live::{Live, Said};
use crate::table::{Head, Registration};
use crate::{events, fanout};

/// A peer of this name registers what it has.
pub const GATEWAY: &str = "im-gateway";
/// A peer of this name tells what it has committed.
pub const STORE: &str = "im-store";
/// A peer of this name passes on ephemeral messages.
pub const LOGIC: &str = "im-logic";

/// Who may link to a router.
pub const PEERS: &[&str] = &[GATEWAY, STORE, LOGIC];

/// Answers on the links of a router.
#[derive(Debug)]
pub struct Service {
    gateways: Gateways,
    live: Mutex<Live>,
}

impl Handler for Service {
    fn call(
        self: &Arc<Self>,
        peer: &Peer,
        request: Request,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + 'static {
        let (service, peer) = (Arc::clone(self), peer.clone());
        async move { service.answer(&peer, request) }
    }

    fn notice(
        self: &Arc<Self>,
        peer: &Peer,
        method: u16,
        body: Bytes,
    ) -> impl Future<Output = ()> + Send {
        if let Err(refusal) = self.take(peer, method, body) {
            events::notice_refused(peer, method, &refusal);
        }
        std::future::ready(())
    }

    fn closed(self: &Arc<Self>, peer: &Peer) {
        self.gateways.gone(peer);
    }
}

impl Service {
    /// With no routes yet. Its tasks are of this drain.
    #[must_use]
    pub fn new(drain: Drain) -> Self {
        Self {
            gateways: Gateways::new(drain),
            // A fresh name, which need not be a secret.
            live: Mutex::new(Live::new(RandomState::new().hash_one("a router"))),
        }
    }

    fn answer(&self, peer: &Peer, request: Request) -> Result<Bytes, Refusal> {
        match (peer.name(), request.method) {
            (GATEWAY, method::REGISTER) => {
                let registration = registration(rpc::decode(request.body)?)?;
                Ok(rpc::encode(&self.gateways.register(peer, &registration)))
            }
            (GATEWAY, method::WATCHES) => {
                self.gateways.watch(peer, rpc::decode(request.body)?)?;
                Ok(Bytes::new())
            }
            (LOGIC, method::ONLINE) => {
                let question: Online = rpc::decode(request.body)?;
                let limit = usize::try_from(question.limit).unwrap_or(usize::MAX);
                let after = AccountId(question.after_account_id);
                let (accounts, more) = self.gateways.online(after, limit);
                Ok(rpc::encode(&OnlineAccounts {
                    account_ids: accounts.iter().map(|account| account.0).collect(),
                    more,
                }))
            }
            (LOGIC, method::LIVE_SINCE) => {
                let asked: LiveSince = rpc::decode(request.body)?;
                Ok(rpc::encode(&self.live.lock().since(&asked, Instant::now())))
            }
            (_, other) => Err(unknown(peer, other)),
        }
    }

    fn take(&self, peer: &Peer, method: u16, body: Bytes) -> Result<(), Refusal> {
        match (peer.name(), method) {
            (STORE, method::COMMITS) => self.commits(peer, rpc::decode(body)?),
            (STORE, method::HEADS) => self.heads(rpc::decode(body)?)?,
            (LOGIC, method::PASS_LIVE) => self.say(rpc::decode(body)?),
            (STORE | LOGIC, method::TELL_ACCOUNTS) => self.tell_accounts(rpc::decode(body)?),
            (LOGIC | GATEWAY, method::PASS_CUT) => self.gateways.pass_cut(peer, &body)?,
            (GATEWAY, method::PASS_SHARED_MARKS) => self.gateways.pass_marks(peer, &body)?,
            (LOGIC, method::PASS_EPHEMERAL) => self.ephemeral(rpc::decode(body)?)?,
            (GATEWAY, method::PASS_ESTOP) => self.gateways.pass_estop(peer, &body),
            (GATEWAY, method::UNREGISTER) => self.unregister(peer, rpc::decode(body)?)?,
            (_, other) => return Err(unknown(peer, other)),
        }
        Ok(())
    }

    fn commits(&self, peer: &Peer, commits: Commits) {
        let entries = commits.commits.iter().filter_map(|its| its.entry.as_ref());
        let watched: Option<Vec<_>> = self
            .gateways
            .is_watched()
            .then(|| entries.cloned().collect());
        let mut runs = Vec::new();
        for run in fanout::runs(commits.commits) {
            match run {
                Ok(run) => runs.push(run),
                Err(refusal) => events::notice_refused(peer, method::COMMITS, &refusal),
            }
        }
        self.gateways.pass(&runs);
        if let Some(entries) = watched {
            self.gateways.pass_watched(&entries);
        }
    }

    fn heads(&self, heads: Heads) -> Result<(), Refusal> {
        let restarted = heads.restarted;
        let heads = heads
            .heads
            .iter()
            .map(|head| {
                let conversation = ConversationId::from_slice(&head.conversation_id)?;
                Ok((conversation, SequenceNumber(head.head)))
            })
            .collect::<Result<Vec<Head>, Refusal>>()?;
        self.gateways.raise_heads(&heads, restarted);
        Ok(())
    }

    fn ephemeral(&self, pass: PassEphemeral) -> Result<(), Refusal> {
        let message = pass
            .ephemeral
            .ok_or_else(|| Refusal::bad_request("ephemeral: missing"))?;
        let (conversation, notice) = fanout::ephemeral(message)?;
        self.gateways.pass_ephemeral(conversation, &notice);
        Ok(())
    }

    fn say(&self, said: PassLive) {
        let mut live = self.live.lock();
        let is_full = live.say(said, Instant::now()) == Said::KeptForAnother;
        events::live_said(live.robots(), is_full);
    }

    fn tell_accounts(&self, mut tell: TellAccounts) {
        let to = accounts(&std::mem::take(&mut tell.account_ids));
        self.gateways.tell_accounts(&to, &tell);
    }

    fn unregister(&self, peer: &Peer, gone: Unregister) -> Result<(), Refusal> {
        let groups = groups(&gone.groups)?;
        self.gateways
            .unregister(peer, &groups, &accounts(&gone.accounts));
        Ok(())
    }
}

fn registration(register: Register) -> Result<Registration, Refusal> {
    Ok(Registration {
        gateway: GatewayId(register.gateway_id),
        replace: register.replace,
        groups: groups(&register.groups)?,
        accounts: accounts(&register.accounts),
    })
}

fn groups(ids: &[Bytes]) -> Result<Vec<ConversationId>, Refusal> {
    ids.iter()
        .map(|id| Ok(ConversationId::from_slice(id)?))
        .collect()
}

fn accounts(ids: &[u64]) -> Vec<AccountId> {
    ids.iter().copied().map(AccountId).collect()
}

fn unknown(peer: &Peer, method: u16) -> Refusal {
    let message = format!("the router has no method {method} for {}", peer.name());
    Refusal::new(ErrorCode::UnknownKind, message)
}
