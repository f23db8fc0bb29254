//! A session as the rest of the gateway sees it: who it is, and its outbox.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use protocol::wire::{AccountKind, Pong};
use protocol::{AccountId, ConversationId, Frame, SequenceNumber, SessionId};

use service_kit::clock;
use tokio::time::Instant;

use crate::credential::{Eviction, Held};
use crate::events;
use crate::outbox::{EphemeralKey, Order, Outbox, Push, Put, UrgentKey, Watching};
use crate::shared_frame::SharedFrame;

/// One session. Everybody may put something into its outbox; its connection alone takes it out.
#[derive(Debug)]
pub struct SessionHandle {
    /// Which session.
    pub session: SessionId,
    /// Whose.
    pub account: AccountId,
    /// What it is.
    pub kind: AccountKind,
    zstd: bool,
    outbox: Mutex<Outbox>,
    /// Set when the session has to end, with what it is told.
    evicted: OnceLock<Eviction>,
    /// What it came in with.
    pub held: Held,
    /// Whether it is a client of its own, and not one request by HTTP that listens.
    pub is_device: bool,
    /// Whether the account's other sessions are told what it has marked.
    pub shares_marks: bool,
    /// When it began.
    pub began_at: Instant,
    /// The same, in milliseconds since the Unix epoch.
    pub began_at_ms: u64,
    /// Until when its credential is good, in milliseconds since the Unix epoch; 0: not known.
    good_until_ms: AtomicU64,
    /// The connection: there is something to write, or the session has to end.
    connection: AtomicWaker,
}

impl SessionHandle {
    /// Of a session that is not welcomed yet.
    #[must_use]
    pub fn new(session: SessionId, account: AccountId, zstd: bool) -> Self {
        Self::with_outbox(session, account, zstd, Outbox::default())
    }

    /// The same, over this outbox.
    #[must_use]
    pub fn with_outbox(session: SessionId, account: AccountId, zstd: bool, outbox: Outbox) -> Self {
        Self {
            session,
            account,
            kind: AccountKind::Unspecified,
            zstd,
            outbox: Mutex::new(outbox),
            evicted: OnceLock::new(),
            held: Held::default(),
            is_device: true,
            shares_marks: false,
            began_at: Instant::now(),
            began_at_ms: clock::unix_ms(),
            good_until_ms: AtomicU64::new(0),
            connection: AtomicWaker::new(),
        }
    }

    /// The same, of an account of this kind.
    #[must_use]
    pub const fn of_kind(mut self, kind: AccountKind) -> Self {
        self.kind = kind;
        self
    }

    /// The same, having come in with this.
    #[must_use]
    pub fn holding(mut self, held: Held) -> Self {
        self.good_until_ms = AtomicU64::new(held.good_until_ms);
        self.held = held;
        self
    }

    /// The same, of an account whose other sessions are told what this one has marked.
    #[must_use]
    pub const fn sharing_marks(mut self, shares: bool) -> Self {
        self.shares_marks = shares;
        self
    }

    /// The same, of one who only listens, by HTTP.
    #[must_use]
    pub const fn listening(mut self) -> Self {
        self.is_device = false;
        self
    }

    /// Until when its credential is good, in milliseconds since the Unix epoch; 0: not known.
    pub fn good_until_ms(&self) -> u64 {
        self.good_until_ms.load(Ordering::Relaxed)
    }

    /// Its credential is good until then.
    pub fn extend(&self, good_until_ms: u64) {
        self.good_until_ms.store(good_until_ms, Ordering::Relaxed);
    }

    /// Of an emergency stop, before all that waits.
    pub fn urgent(&self, key: UrgentKey, frame: SharedFrame) {
        if self.outbox.lock().urgent(key, frame) {
            self.connection.wake();
        }
    }

    /// The session is welcomed: from now on everything may go out.
    pub fn welcome(&self, welcome: &Frame) {
        self.outbox.lock().welcome(welcome);
        self.connection.wake();
    }

    /// An answer, or a word before all conversations.
    pub fn answer(&self, frame: &Frame) {
        self.outbox.lock().answer(frame);
        self.connection.wake();
    }

    /// The answer to a heartbeat.
    pub fn pong(&self, correlation: u32, pong: Pong) {
        self.outbox.lock().pong(correlation, pong);
        self.connection.wake();
    }

    /// Where gateways live from now on.
    pub fn gateways(&self, list: SharedFrame) {
        self.outbox.lock().gateways(list);
        self.connection.wake();
    }

    /// An order, or news of one.
    pub fn order(&self, order: Order) {
        if !self.outbox.lock().order(order) {
            events::orders_dropped();
        }
        self.connection.wake();
    }

    /// Entries of a conversation.
    pub fn push(&self, push: Push) {
        let put = self.outbox.lock().push(push);
        match put {
            Put::Queued | Put::Replaced(_) => {}
            Put::Lagging(dropped) => events::lagging(self, dropped),
            Put::Stale => events::stale_push(),
        }
        self.connection.wake();
    }

    /// Entries that are not pushed.
    pub fn head(&self, conversation: ConversationId, head: SequenceNumber) {
        self.outbox.lock().head(conversation, head);
        self.connection.wake();
    }

    /// The account joined or left.
    pub fn notice(&self, conversation: ConversationId, notice: SharedFrame) {
        self.outbox.lock().notice(conversation, notice);
        self.connection.wake();
    }

    /// The account is in this conversation, of which the Welcome had no room to speak.
    pub fn membership(&self, conversation: ConversationId, notice: SharedFrame) {
        self.outbox.lock().membership(conversation, notice);
        self.connection.wake();
    }

    /// An ephemeral message.
    pub fn ephemeral(&self, key: EphemeralKey, frame: SharedFrame) {
        let put = self.outbox.lock().ephemeral(key, frame);
        if let Put::Replaced(dropped) = put {
            events::ephemeral_replaced(dropped);
        }
        self.connection.wake();
    }

    /// From now on this is watched, and nothing else.
    pub fn begin_watch(&self, watching: Option<Watching>) {
        self.outbox.lock().watch(watching);
    }

    /// Tells what is watched, if something is.
    pub fn watched(&self, tell: impl FnOnce(&mut Watching)) {
        if let Some(watching) = self.outbox.lock().watching() {
            tell(watching);
        }
        self.connection.wake();
    }

    /// Appends frames that wait to the buffer until it has this many bytes. Returns whether there
    /// were any. `now_ms` is the clock since the epoch.
    pub fn take_into(&self, buffer: &mut bytes::BytesMut, bytes_max: usize, now_ms: u64) -> bool {
        let before = buffer.len();
        let mut outbox = self.outbox.lock();
        while buffer.len() < bytes_max
            && let Some(frame) = outbox.pop(now_ms, self.zstd)
        {
            buffer.extend_from_slice(&frame);
        }
        buffer.len() > before
    }

    /// Wakes whoever asks, from now on, when there is something to write, and when the session has
    /// to end. One at a time: its connection.
    pub fn watch(&self, connection: &Waker) {
        self.connection.register(connection);
    }

    /// Whether answers wait for room.
    pub fn is_congested(&self) -> bool {
        self.outbox.lock().is_congested()
    }

    /// The session has to end.
    pub fn evict(&self, why: Eviction) {
        if self.evicted.set(why).is_ok() {
            self.connection.wake();
        }
    }

    /// Why the session has to end, if it has to.
    pub fn evicted(&self) -> Option<Eviction> {
        self.evicted.get().copied()
    }

    /// The session ends: this is the last frame after the answers; entries are given up.
    pub fn close(&self, last_word: &Frame) {
        let mut outbox = self.outbox.lock();
        let dropped = outbox.drop_all_but_answers();
        outbox.answer(last_word);
        drop(outbox);
        events::pushes_given_up(dropped);
    }
}
