//! What the logic asks of the store, typed: methods 101 to 109 of `internal.proto`.
//!
//! Every question is queued before the function returns, so that questions leave in the order in
//! which they are asked. Not here: caches, and anything that is decided.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use protocol::{AccountId, Refusal, SessionId};
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

    fn remaining(self) -> Duration {
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

/// The store at the other end of a link. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    link: Link,
}

impl Store {
    /// Over this link.
    #[must_use]
    pub const fn new(link: Link) -> Self {
        Self { link }
    }

    /// Asks, and understands the answer.
    pub fn ask<'s, Q: Message, A: Message + Default>(
        &'s self,
        method: u16,
        question: &Q,
        deadline: Deadline,
    ) -> impl Future<Output = Result<A, Refusal>> + Send + use<'s, Q, A> {
        let answer = self.pass(method, rpc::encode(question), deadline);
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
        method: u16,
        body: Bytes,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + use<'_> {
        self.link.call(method, body, deadline.remaining())
    }

    /// Tells, if the link is up and has room.
    pub fn tell(&self, method: u16, body: Bytes) -> Result<(), Refusal> {
        self.link.try_notify(method, body)
    }
}
