//! What the handles of a client and its one task share, and what the handles ask of the task.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use protocol::{ClientMessageId, ConversationId, SessionId};
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot, watch};
use tokio::time::Instant;

use crate::clock;
use crate::command::news::News;
use crate::config::ClientConfig;
use crate::error::{Error, SendError};
use crate::estop::{Handler, Latch, Sent};
use crate::events::Counters;
use crate::incoming::EventQueue;
use crate::journal::JournalError;
use crate::marks::Marks;
use crate::message::Receipt;
use crate::outbox::Letter;
use crate::registry::RobotNews;
use crate::requests::Request;
use crate::watch::Sight;

/// Shared by value; every lock is held for a few instructions and never across an await.
pub(crate) struct Shared {
    pub(crate) counters: Counters,
    pub(crate) queue: Mutex<EventQueue>,
    pub(crate) marks: Mutex<Marks>,
    /// Wakes the application: there is an event.
    pub(crate) arrived: Notify,
    /// Wakes the task: the queue has room again, there are marks to send, or a probe is wanted.
    pub(crate) nudge: Notify,
    /// The emergency stops in force.
    pub(crate) latch: Mutex<Latch>,
    pub(crate) estop_handler: Mutex<Option<Handler>>,
    /// There is one that the handler has not been given.
    has_waiting_stops: AtomicBool,
    /// Whoever waits for a stop of its own to go out.
    stops_to_go: Mutex<HashMap<ClientMessageId, oneshot::Sender<Sent>>>,
    wants_probe: AtomicBool,
    /// What is pushed of commands and orders.
    pub(crate) commands: News,
    /// What is pushed of watched queries.
    pub(crate) robots: RobotNews,
    /// What is told to whoever watches.
    pub(crate) sight: Sight,
    /// The present session, for whoever waits for the next; 0: none; `u64::MAX`: the client has
    /// ended.
    pub(crate) sessions: watch::Sender<u64>,
    /// 0: not connected.
    session: AtomicU64,
    /// Where the gateway of the last session is, as HOST:PORT.
    gateway: Mutex<String>,
    started: Instant,
    /// The server's clock at `started`, in milliseconds since the Unix epoch; ours until it has
    /// said it. A clock of ours that jumps moves nothing after that.
    started_at_ms: AtomicU64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(config: &ClientConfig) -> Self {
        Self {
            counters: Counters::default(),
            queue: Mutex::new(EventQueue::new(config.events_max, config.events_bytes_max)),
            marks: Mutex::default(),
            arrived: Notify::new(),
            nudge: Notify::new(),
            latch: Mutex::default(),
            estop_handler: Mutex::new(None),
            has_waiting_stops: AtomicBool::new(false),
            stops_to_go: Mutex::default(),
            wants_probe: AtomicBool::new(false),
            commands: News::default(),
            robots: RobotNews::default(),
            sight: Sight::default(),
            sessions: watch::channel(0).0,
            session: AtomicU64::new(0),
            gateway: Mutex::default(),
            started: Instant::now(),
            started_at_ms: AtomicU64::new(clock::unix_ms()),
        }
    }

    pub(crate) fn session(&self) -> Option<SessionId> {
        match self.session.load(Ordering::Relaxed) {
            0 => None,
            id => Some(SessionId(id)),
        }
    }

    pub(crate) fn gateway(&self) -> String {
        self.gateway.lock().clone()
    }

    pub(crate) fn set_gateway(&self, address: &str) {
        address.clone_into(&mut self.gateway.lock());
    }

    pub(crate) fn set_session(&self, session: Option<SessionId>) {
        let id = session.map_or(0, |id| id.0);
        self.session.store(id, Ordering::Relaxed);
        self.sessions.send_replace(id);
    }

    /// There is no session any more, and will be none.
    pub(crate) fn end_sessions(&self) {
        self.set_session(None);
        self.sessions.send_replace(u64::MAX);
    }

    /// There are stops for the handler.
    pub(crate) fn stops_wait(&self) {
        self.has_waiting_stops.store(true, Ordering::Release);
    }

    /// Gives the handler what waits for it, if there is one. Each runs on its own, and is confirmed
    /// when it has returned; one that panics is not.
    pub(crate) fn act_on_stops(self: &Arc<Self>) {
        let handler = self.estop_handler.lock().clone();
        let Some(handler) = handler.filter(|_| self.has_waiting_stops.load(Ordering::Acquire))
        else {
            return;
        };
        self.has_waiting_stops.store(false, Ordering::Release);
        for stop in self.latch.lock().take_waiting() {
            let (shared, id) = (Arc::clone(self), stop.id);
            let acting = handler(stop);
            tokio::spawn(async move {
                acting.await;
                shared.latch.lock().handled(id);
                shared.nudge.notify_one();
            });
        }
    }

    /// A stop of our own is about to be sent.
    pub(crate) fn await_estop_sent(&self, id: ClientMessageId) -> oneshot::Receiver<Sent> {
        let (told, sent) = oneshot::channel();
        let mut to_go = self.stops_to_go.lock();
        to_go.retain(|_, waiting| !waiting.is_closed());
        to_go.insert(id, told);
        sent
    }

    /// It went out.
    pub(crate) fn estop_sent(&self, sent: Sent) {
        if let Some(told) = self.stops_to_go.lock().remove(&sent.id) {
            // Whoever gave up waiting does not want it.
            told.send(sent).ok();
        }
    }

    /// The task is to ask for a sign of life.
    pub(crate) fn want_probe(&self) {
        self.wants_probe.store(true, Ordering::Release);
        self.nudge.notify_one();
    }

    pub(crate) fn take_probe(&self) -> bool {
        self.wants_probe.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn server_time_ms(&self) -> u64 {
        self.started_at_ms
            .load(Ordering::Relaxed)
            .saturating_add(self.since_start_ms())
    }

    pub(crate) fn set_server_time_ms(&self, server_ms: u64) {
        let started_at_ms = server_ms.saturating_sub(self.since_start_ms());
        self.started_at_ms.store(started_at_ms, Ordering::Relaxed);
    }

    fn since_start_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A fresh id, which the server does not find too old or ahead, whatever our clock says.
    pub(crate) fn new_message_id(&self) -> ClientMessageId {
        ClientMessageId::new(self.server_time_ms(), rand::random())
    }
}

/// What a handle asks of the task.
#[derive(Debug)]
pub(crate) enum Call {
    Send(Letter, SendReply),
    Request(Request, RequestReply),
    PersistMarks(PersistReply),
    /// Answered by dropping it, when everything is over.
    Close(oneshot::Sender<()>),
}

/// Whoever waits for a send, and the room that the message takes in the outbox until then.
#[derive(Debug)]
pub(crate) struct SendReply {
    pub(crate) outcome: Option<oneshot::Sender<Result<Receipt, SendError>>>,
    pub(crate) room: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl SendReply {
    pub(crate) fn settle(self, outcome: Result<Receipt, SendError>) {
        drop(self.room);
        if let Some(sender) = self.outcome {
            // Whoever gave up waiting does not want it.
            drop(sender.send(outcome));
        }
    }
}

/// Whoever waits for a request, and its place among those that wait.
#[derive(Debug)]
pub(crate) struct RequestReply {
    pub(crate) outcome: oneshot::Sender<Result<Bytes, Error>>,
    pub(crate) room: OwnedSemaphorePermit,
}

impl RequestReply {
    pub(crate) fn settle(self, outcome: Result<Bytes, Error>) {
        drop(self.room);
        // Whoever gave up waiting does not want it.
        drop(self.outcome.send(outcome));
    }
}

/// Whoever waits for marks to be written, and its place among those that wait.
#[derive(Debug)]
pub(crate) struct PersistReply {
    pub(crate) outcome: oneshot::Sender<Result<(), JournalError>>,
    pub(crate) room: OwnedSemaphorePermit,
}

impl PersistReply {
    pub(crate) fn settle(self, outcome: Result<(), JournalError>) {
        drop(self.room);
        // Whoever gave up waiting does not want it.
        drop(self.outcome.send(outcome));
    }
}

/// A message of an earlier run, and what becomes of it.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) conversation: ConversationId,
    pub(crate) id: ClientMessageId,
    pub(crate) outcome: oneshot::Receiver<Result<Receipt, SendError>>,
}
