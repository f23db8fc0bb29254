//! What the logic asks of the stores, typed: methods 101 to 112 of `internal.proto`.
//!
//! All stores have one database: the owner of a conversation alone numbers its messages without a
//! contest, and any of them answers the rest.
//!
//! Every question is queued before the function returns, so that questions leave in the order in
//! which they are asked. Not here: caches, and anything that is decided.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use prost::Message;
use protocol::{AccountId, ConversationId, Refusal, SessionId};
use service_kit::peers::Peers;
use service_kit::rpc::{self, Link, Request};
use tokio::time::Instant;

/// How long a request may take whose sender does not say.
const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// When the one who asked us stops waiting. What we ask in turn has the rest of the time.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// Of a request.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        let default = || Instant::now() + REQUEST_TIMEOUT_DEFAULT;
        Self(request.deadline.unwrap_or_else(default))
    }

    /// From now on.
    #[must_use]
    pub fn within(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// So long from now.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// How long that still is.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// On whose behalf something is asked. The gateway vouches for it.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// Who.
    pub account: AccountId,
    /// On which connection.
    pub session: SessionId,
    /// Until when it waits.
    pub deadline: Deadline,
}

/// Which store is asked.
#[derive(Debug, Clone, Copy)]
pub enum To<'k> {
    /// The owner of this conversation, and nobody else.
    Owner(ConversationId),
    /// The owner of what has this key.
    Key(&'k [u8]),
    /// Whoever is there; the same one for the same key as long as nobody comes or goes.
    Any(&'k [u8]),
}

/// The stores. Clones share the links.
#[derive(Debug, Clone)]
pub struct Store {
    stores: Peers,
}

impl Store {
    /// Over these links.
    #[must_use]
    pub const fn new(stores: Peers) -> Self {
        Self { stores }
    }

    /// Asks, and understands the answer.
    pub fn ask<'s, Q: Message, A: Message + Default>(
        &'s self,
        to: To<'_>,
        method: u16,
        question: &Q,
        deadline: Deadline,
    ) -> impl Future<Output = Result<A, Refusal>> + Send + use<'s, Q, A> {
        let answer = self.pass(to, method, rpc::encode(question), deadline);
        async move {
            let answer = answer.await?;
            A::decode(answer).map_err(|error| {
                Refusal::internal(format!("the store's answer does not parse: {error}"))
            })
        }
    }

    /// Asks, and passes the answer on as it is.
    pub fn pass(
        &self,
        to: To<'_>,
        method: u16,
        body: Bytes,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + use<> {
        match self.link(to) {
            Ok(link) => Either::Left(link.call(method, body, deadline.remaining())),
            Err(refusal) => Either::Right(std::future::ready(Err(refusal))),
        }
    }

    /// Tells one of them, if its link is up and has room.
    pub fn tell(&self, method: u16, body: Bytes) -> Result<(), Refusal> {
        self.link(To::Any(&[]))?.try_notify(method, body)
    }

    fn link(&self, to: To<'_>) -> Result<Link, Refusal> {
        match to {
            To::Owner(conversation) => self.stores.link_of(conversation.as_bytes()),
            To::Key(key) => self.stores.link_of(key),
            To::Any(key) => self.stores.any_link(key),
        }
    }
}
