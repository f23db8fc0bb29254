//! The handle of the application: every verb of the protocol as a method. Retries, order and
//! reconnecting happen behind it.

mod credentials;
mod estops;
mod groups;
mod history;
mod requests;
mod search;
mod sending;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use protocol::limits::ESTOPS_MAX;
use protocol::{AccountId, ClientMessageId, ConversationId, SequenceNumber, SessionId};
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use self::credentials::{EnrolmentToken, NewEnrolment};
pub use self::estops::EstopHandle;
pub use self::groups::{Group, GroupUpdate, Member};
pub use self::requests::NewGroup;
pub use self::search::{Found, Search};
pub use self::sending::SendHandle;
use crate::config::{CaSource, ClientConfig, Credential};
use crate::driver;
use crate::error::{ConfigError, Error};
use crate::events::Stats;
use crate::incoming::Events;
use crate::journal::{Journal, JournalError, Kept, Writer};
use crate::message::Account;
use crate::renewal;
use crate::requests::REQUESTS_WAITING_MAX;
use crate::shared::{Call, PersistReply, Recovered, Shared};
use crate::tls;

/// Calls that come besides messages: requests, emergency stops and their releases, and a close.
const OTHER_CALLS_MAX: usize = REQUESTS_WAITING_MAX + ESTOPS_MAX + 1;

/// A connection to the fleet. Clones are the same client; when the last one is dropped, it closes.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
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
    /// Until they are asked for.
    recovered: Mutex<Vec<Recovered>>,
    shared: Arc<Shared>,
    /// For media, which go by HTTP: whom to trust and who this is, and what is made of it with the
    /// first of them.
    ca: CaSource,
    credential: Credential,
    http_tls: OnceLock<Arc<rustls::ClientConfig>>,
}

impl Inner {
    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Client {
    /// Connects, and waits for the first session. Fails at once when the server refuses for good;
    /// otherwise tries every address until `connect_timeout`.
    pub async fn connect(config: ClientConfig) -> Result<(Self, Events), Error> {
        Self::begin(config, None).await
    }

    /// The same with a journal, whose messages of an earlier run are sent again under their ids.
    /// What that guarantees and what not stands at [`journal`](crate::journal).
    ///
    /// Fails at once, and sends nothing, when the journal cannot be read or is another account's.
    /// The journal is closed when [`Client::close`] returns.
    pub async fn connect_with_journal(
        config: ClientConfig,
        journal: Box<dyn Journal>,
    ) -> Result<(Self, Events), Error> {
        let opened = Writer::open(journal).await.map_err(ConfigError::from)?;
        Self::begin(config, Some(opened)).await
    }

    async fn begin(
        config: ClientConfig,
        journal: Option<(Writer, Kept)>,
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
        let (ca, credential) = (config.ca.clone(), config.credential.clone());
        let started = driver::start(config, journal, Arc::clone(&shared), receiver)?;
        let account = match started.welcomed.await.unwrap_or(Err(Error::Closed)) {
            Ok(account) => account,
            Err(error) => {
                // Then the journal is closed, and may be opened again. A panic is told by now.
                drop(started.task.await);
                return Err(error);
            }
        };
        let inner = Inner {
            account,
            send_timeout,
            request_timeout,
            calls,
            room_messages,
            room_bytes,
            room_requests: room(REQUESTS_WAITING_MAX),
            recovered: Mutex::new(started.recovered),
            shared,
            ca,
            credential,
            http_tls: OnceLock::new(),
        };
        let inner = Arc::new(inner);
        renewal::start(&inner.credential, &inner, started.dialer);
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

    /// How far the server's clock is ahead of this machine's, in milliseconds, as the heartbeat has
    /// measured it.
    #[must_use]
    pub fn clock_offset_ms(&self) -> i64 {
        let (server, own) = (self.server_time_ms(), crate::clock::unix_ms());
        let ahead = i128::from(server) - i128::from(own);
        i64::try_from(ahead).unwrap_or(i64::MAX)
    }

    /// The server's clock, as of its last word, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn server_time_ms(&self) -> u64 {
        self.inner.shared.server_time_ms()
    }

    /// A fresh id of the server's time.
    pub(crate) fn new_message_id(&self) -> ClientMessageId {
        self.inner.shared.new_message_id()
    }

    pub(crate) fn http_tls(&self) -> Result<&Arc<rustls::ClientConfig>, ConfigError> {
        let inner = &self.inner;
        if let Some(made) = inner.http_tls.get() {
            return Ok(made);
        }
        let made = tls::for_http(&inner.ca, &inner.credential)?;
        Ok(inner.http_tls.get_or_init(|| made))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
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

    /// Asks the server for a sign of life now: after the machine slept, or its network changed. With
    /// none within 5 s the connection is given up and another made. The client does so by itself
    /// when it has asked something and hears nothing; this is for one that only listens.
    pub fn probe(&self) {
        self.inner.shared.want_probe();
    }

    /// The messages of an earlier run that the journal kept, in their order: they are on their way
    /// again, and each handle says what becomes of one. The first call has them, the next none.
    #[must_use]
    pub fn recovered(&self) -> Vec<SendHandle> {
        let recovered = std::mem::take(&mut *self.inner.recovered.lock());
        recovered.into_iter().map(SendHandle::from).collect()
    }

    /// Writes the marks down in the journal, all together, and waits until they are durable: how
    /// far the application has marked each conversation as delivered (under
    /// [`MarkPolicy::WhenTaken`](crate::MarkPolicy) how far it has taken them).
    ///
    /// A client that connects with this journal hands over each of these conversations from its
    /// mark on, whatever the server's mark is and whatever
    /// [`ClientConfig::start_from`](crate::ClientConfig) says. What the server holds for delivered
    /// is `redelivered`. So an application whose effects are durable before it calls this sees
    /// again, after a crash, only what came after.
    pub async fn persist_marks(&self) -> Result<(), JournalError> {
        let room = Arc::clone(&self.inner.room_requests);
        let room = room
            .acquire_owned()
            .await
            .map_err(|_| JournalError::Closed)?;
        let (outcome, done) = oneshot::channel();
        let call = Call::PersistMarks(PersistReply { outcome, room });
        self.inner
            .calls
            .try_send(call)
            .map_err(|_| JournalError::Closed)?;
        done.await.unwrap_or(Err(JournalError::Closed))
    }

    /// Ends the session: what is in flight is given a moment, marks are sent, the rest of the
    /// outbox ends without an answer. Returns when the connection is closed, and the journal.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.inner.calls.send(Call::Close(done)).await.is_ok() {
            // It is answered by being dropped.
            drop(closed.await);
        }
    }
}
