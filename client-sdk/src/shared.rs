//! What the handles of a client and its one task share, and what the handles ask of the task.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use protocol::{ClientMessageId, ConversationId, SessionId};
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};

use crate::clock;
use crate::config::ClientConfig;
use crate::error::{Error, SendError};
use crate::events::Counters;
use crate::incoming::EventQueue;
use crate::journal::JournalError;
use crate::marks::Marks;
use crate::message::Receipt;
use crate::outbox::Letter;
use crate::requests::Request;

/// Shared by value; every lock is held for a few instructions and never across an await.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) counters: Counters,
    pub(crate) queue: Mutex<EventQueue>,
    pub(crate) marks: Mutex<Marks>,
    /// Wakes the application: there is an event.
    pub(crate) arrived: Notify,
    /// Wakes the task: the queue has room again, or there are marks to send.
    pub(crate) nudge: Notify,
    /// 0: not connected.
    session: AtomicU64,
    /// The server's clock less ours, in milliseconds.
    clock_offset_ms: AtomicI64,
}

impl Shared {
    pub(crate) fn new(config: &ClientConfig) -> Self {
        Self {
            counters: Counters::default(),
            queue: Mutex::new(EventQueue::new(config.events_max, config.events_bytes_max)),
            marks: Mutex::default(),
            arrived: Notify::new(),
            nudge: Notify::new(),
            session: AtomicU64::new(0),
            clock_offset_ms: AtomicI64::new(0),
        }
    }

    pub(crate) fn session(&self) -> Option<SessionId> {
        match self.session.load(Ordering::Relaxed) {
            0 => None,
            id => Some(SessionId(id)),
        }
    }

    pub(crate) fn set_session(&self, session: Option<SessionId>) {
        self.session
            .store(session.map_or(0, |id| id.0), Ordering::Relaxed);
    }

    pub(crate) fn server_time_ms(&self) -> u64 {
        clock::unix_ms().saturating_add_signed(self.clock_offset_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn set_server_time_ms(&self, server_ms: u64) {
        let offset = i128::from(server_ms) - i128::from(clock::unix_ms());
        self.clock_offset_ms
            .store(i64::try_from(offset).unwrap_or(0), Ordering::Relaxed);
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
