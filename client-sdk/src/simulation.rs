//! The client without its sockets and tasks, for a simulation that moves its frames under virtual
//! time. Only with the feature `simulation`.
//!
//! [`Machine`] is what the client's task drives: the same engine, the same queue of events. Not
//! here: connections, and when one is made.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use protocol::wire;
use protocol::{ClientMessageId, Frame, content};
use rand::Rng;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use crate::attempts::Attempts;
use crate::clock;
use crate::config::ClientConfig;
use crate::engine::{Engine, Opened, Verdict, is_final};
use crate::error::{Error, SendError};
use crate::incoming::{CloseReason, Event, Events};
use crate::journal::Journal;
use crate::message::{Account, Outgoing, Receipt};
use crate::outbox::Letter;
use crate::requests::{REQUESTS_WAITING_MAX, Request};
use crate::shared::{PersistReply, RequestReply, SendReply, Shared};

/// What becomes of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Stay,
    /// It is closed, and another made.
    Reconnect(String),
    /// It is closed, and none made.
    End(CloseReason),
}

/// A client under virtual time.
pub struct Machine {
    engine: Engine,
    journal: Box<dyn Journal>,
    events: Events,
    shared: Arc<Shared>,
    send_timeout: Duration,
    places: Arc<Semaphore>,
    attempts: Attempts,
}

impl Machine {
    /// As at the start of a client. `seed` is all of its randomness.
    ///
    /// # Panics
    /// If the journal cannot be read.
    #[must_use]
    pub fn new(
        config: &ClientConfig,
        mut journal: Box<dyn Journal>,
        seed: u64,
        now: Instant,
    ) -> Self {
        let shared = Arc::new(Shared::new(config));
        let opened = Opened {
            place: journal.place(),
            kept: journal.load().expect("a simulated journal can be read"),
        };
        Self {
            engine: Engine::new(config, Arc::clone(&shared), Some(opened), seed, now),
            journal,
            events: Events::new(Arc::clone(&shared), config.mark_policy),
            shared,
            send_timeout: config.send_timeout,
            places: Arc::new(Semaphore::new(REQUESTS_WAITING_MAX)),
            attempts: Attempts::new(config.addresses.clone()),
        }
    }

    /// Accepts a message; its outcome comes out of what is returned.
    pub fn send(
        &mut self,
        outgoing: Outgoing,
        id: ClientMessageId,
        now: Instant,
    ) -> oneshot::Receiver<Result<Receipt, SendError>> {
        let send = wire::Send {
            conversation_id: outgoing.conversation.to_bytes(),
            client_message_id: id.to_bytes(),
            kind: content::kind_of(&outgoing.content).into(),
            content: content::encode_with(outgoing.content, &outgoing.refers),
            priority: outgoing.priority.into(),
            deliver_before_ms: outgoing.deliver_before_ms,
            ephemeral_key: String::new(),
        };
        let timeout = outgoing.timeout.unwrap_or(self.send_timeout);
        let letter = Letter {
            conversation: outgoing.conversation,
            id,
            body: send.encode_to_vec().into(),
            priority: outgoing.priority,
            deadline: clock::after(now, timeout),
        };
        let (sender, outcome) = oneshot::channel();
        let reply = SendReply {
            outcome: Some(sender),
            room: None,
        };
        self.engine.send(letter, reply);
        self.write(now);
        outcome
    }

    /// Asks; `None` when as many requests wait as may.
    pub fn request(
        &mut self,
        kind: u16,
        body: Bytes,
        deadline: Instant,
    ) -> Option<oneshot::Receiver<Result<Bytes, Error>>> {
        let room = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let (sender, outcome) = oneshot::channel();
        let request = Request {
            kind,
            body,
            deadline,
            lasting: true,
        };
        let reply = RequestReply {
            outcome: sender,
            room,
        };
        self.engine.request(request, reply);
        Some(outcome)
    }

    /// A session begins, with the gateway of this address.
    ///
    /// # Panics
    ///
    /// If the journal is another account's.
    pub fn connected(&mut self, address: &str, welcome: &wire::Welcome, now: Instant) -> Account {
        let account = self.engine.connected(welcome, now);
        self.attempts.connected(address);
        self.write(now);
        account.expect("the journal is this account's")
    }

    /// Writes the application's marks into the journal. Returns whether they are there.
    pub fn persist_marks(&mut self, now: Instant) -> bool {
        let Ok(room) = Arc::clone(&self.places).try_acquire_owned() else {
            return false;
        };
        let (outcome, mut written) = oneshot::channel();
        self.engine.persist_marks(PersistReply { outcome, room });
        self.write(now);
        matches!(written.try_recv(), Ok(Ok(())))
    }

    /// The connection is gone, which held so long: how long to wait before the next attempt.
    pub fn lost(&mut self, reason: &str, held: Duration, rng: &mut impl Rng) -> Duration {
        self.engine.lost(reason.to_owned());
        self.attempts.lost(held, rng)
    }

    /// A frame has come.
    pub fn frame(&mut self, frame: Frame, now: Instant) {
        self.engine.frame(frame, now);
        self.write(now);
    }

    /// Whatever time alone brings about.
    pub fn tick(&mut self, now: Instant) -> Fate {
        let verdict = self.engine.tick(now);
        if let Some(list) = self.engine.take_listed() {
            self.attempts.listed(list);
        }
        self.write(now);
        match verdict {
            Verdict::Stay => Fate::Stay,
            Verdict::Reconnect(reason) => Fate::Reconnect(reason),
            Verdict::End(reason) => Fate::End(reason),
        }
    }

    /// The next frame to write; the caller has room for one.
    pub fn next_frame(&mut self, now: Instant) -> Option<Frame> {
        self.engine.next_frame(now)
    }

    /// When time alone brings something about that was not due at `tried`.
    #[must_use]
    pub fn next_wake(&self, tried: Instant) -> Option<Instant> {
        self.engine.next_wake(tried)
    }

    /// The application takes an event; the engine then knows of the room.
    pub fn take(&mut self) -> Option<Event> {
        let event = self.events.take();
        self.engine.nudged();
        event
    }

    /// Events that wait for the application.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.queue.lock().len()
    }

    /// Which gateway is tried now, and for how long.
    ///
    /// # Panics
    /// If the configuration has no address.
    pub fn attempt(&mut self, rng: &mut impl Rng) -> (String, Duration) {
        let attempt = self.attempts.next(rng).expect("there is an address");
        (attempt.address, attempt.patience)
    }

    /// That failed: how long to wait before the next attempt.
    pub fn attempt_failed(&mut self, rng: &mut impl Rng) -> Duration {
        self.attempts.failed(rng)
    }

    /// Whether a refused hello is refused for good.
    #[must_use]
    pub fn is_final(refusal: &protocol::Refusal) -> bool {
        is_final(refusal)
    }

    /// Writes what is due, which takes no time here.
    fn write(&mut self, now: Instant) {
        while let Some(changes) = self.engine.next_batch(now, false) {
            let done = self.journal.commit(&changes);
            self.engine.written(done, now);
        }
    }
}
