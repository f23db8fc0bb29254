//! The handle of the application: every verb of the protocol as a method. Retries, order and
//! reconnecting happen behind it.

mod requests;
mod sending;

use std::sync::Arc;
use std::time::Duration;

use protocol::{AccountId, ConversationId, SequenceNumber, SessionId};
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use self::requests::NewGroup;
pub use self::sending::SendHandle;
use crate::config::ClientConfig;
use crate::driver;
use crate::error::Error;
use crate::events::Stats;
use crate::incoming::Events;
use crate::journal::{Journal, MemoryJournal};
use crate::message::Account;
use crate::requests::REQUESTS_WAITING_MAX;
use crate::shared::{Call, Shared};

/// Calls that come besides messages: requests, and a close.
const OTHER_CALLS_MAX: usize = REQUESTS_WAITING_MAX + 1;

/// A connection to the fleet. Clones are the same client; when the last one is dropped, it closes.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    account: Account,
    send_timeout: Duration,
    request_timeout: Duration,
    /// Holds everything that the semaphores let in, and so is never full.
    calls: mpsc::Sender<Call>,
    /// The outbox's bound, in messages: one too many is refused.
    room_messages: Arc<Semaphore>,
    /// The outbox's bound, in bytes.
    room_bytes: Arc<Semaphore>,
    /// The bound of the other requests: one too many is refused.
    room_requests: Arc<Semaphore>,
    shared: Arc<Shared>,
}

impl Client {
    /// Connects, and waits for the first session. Fails at once when the server refuses for good;
    /// otherwise tries every address until `connect_timeout`.
    pub async fn connect(config: ClientConfig) -> Result<(Self, Events), Error> {
        Self::connect_with_journal(config, Box::new(MemoryJournal::default())).await
    }

    /// The same with a journal, whose messages of an earlier run are sent again under their ids.
    pub async fn connect_with_journal(
        config: ClientConfig,
        journal: Box<dyn Journal>,
    ) -> Result<(Self, Events), Error> {
        let shared = Arc::new(Shared::new(&config));
        let messages_max = config
            .outbox_messages_max
            .min(Semaphore::MAX_PERMITS - OTHER_CALLS_MAX);
        let (calls, receiver) = mpsc::channel(messages_max + OTHER_CALLS_MAX);
        let events = Events::new(Arc::clone(&shared), config.mark_policy);
        let (send_timeout, request_timeout) = (config.send_timeout, config.request_timeout);
        let room = |n: usize| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS)));
        let room_messages = room(messages_max);
        let room_bytes = room(config.outbox_bytes_max);
        let welcomed = driver::start(config, journal, Arc::clone(&shared), receiver)?;
        let account = welcomed.await.unwrap_or(Err(Error::Closed))?;
        let inner = Inner {
            account,
            send_timeout,
            request_timeout,
            calls,
            room_messages,
            room_bytes,
            room_requests: room(REQUESTS_WAITING_MAX),
            shared,
        };
        let inner = Arc::new(inner);
        Ok((Self { inner }, events))
    }

    /// Who the server takes this client to be.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.inner.account
    }

    /// The present session; `None` while not connected.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.inner.shared.session()
    }

    /// The server's clock, as of its last word, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn server_time_ms(&self) -> u64 {
        self.inner.shared.server_time_ms()
    }

    /// What the client has counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.shared.counters.stats()
    }

    /// The conversation with another account, or with oneself. Needs no set-up.
    #[must_use]
    pub fn pair_with(&self, other: AccountId) -> ConversationId {
        ConversationId::pair(self.inner.account.id, other)
    }

    /// Everything up to here was handed over. Conflated; sent within a quarter of a second.
    pub fn mark_delivered(&self, conversation: ConversationId, sequence: SequenceNumber) {
        let shared = &self.inner.shared;
        if shared.marks.lock().raise_delivered(conversation, sequence) {
            shared.nudge.notify_one();
        }
    }

    /// Everything up to here was read, and so delivered.
    pub fn mark_read(&self, conversation: ConversationId, sequence: SequenceNumber) {
        let shared = &self.inner.shared;
        if shared.marks.lock().raise_read(conversation, sequence) {
            shared.nudge.notify_one();
        }
    }

    /// Ends the session: what is in flight is given a moment, marks are sent, the rest of the
    /// outbox ends without an answer. Returns when the connection is closed.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.inner.calls.send(Call::Close(done)).await.is_ok() {
            // It is answered by being dropped.
            drop(closed.await);
        }
    }
}
