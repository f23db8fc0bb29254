//! What waits for one client, in lanes: emergency stops first, then answers, then orders, then entries
//! by priority, then ephemeral messages, then what is watched. Bounded: a client that does not read as fast as its conversations run is told their
//! heads instead of their entries, and pulls. Pushes of a conversation leave in strictly rising
//! order: an older one is dropped, a gap is passed on.
//!
//! Pure. Not here: the socket.

mod ephemeral;
mod orders;
mod told;
mod urgent;
mod waiting;
mod watching;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use protocol::kind::client;
use protocol::wire::{Pong, Priority};
use protocol::{AccountId, ConversationId, Frame, SequenceNumber};

pub use self::orders::Order;
use self::orders::Orders;
use self::told::{Order as PushOrder, Told};
use self::urgent::Urgent;
pub use self::urgent::UrgentKey;
use self::waiting::{Item, LANES, Waiting, lane};
pub use self::watching::Watching;
use crate::shared_frame::SharedFrame;

/// Pushes that wait for one session, in frames. When full: the conversation whose push does not
/// fit is told by its head.
pub const PUSHES_MAX: usize = 4096;

/// The same, in bytes.
pub const PUSH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Ephemeral messages that wait for one session, one for each sender, conversation and key. When
/// full: the oldest is dropped and counted.
pub const EPHEMERAL_MAX: usize = 256;

/// The same, in bytes.
pub const EPHEMERAL_BYTES_MAX: usize = 1024 * 1024;

/// Answers that wait for one session, in bytes, before nothing more is read from its socket.
pub const ANSWER_BYTES_HIGH: usize = 1024 * 1024;

/// Entries of one conversation on their way.
#[derive(Debug, Clone)]
pub struct Push {
    /// Where they are.
    pub conversation: ConversationId,
    /// The first of them.
    pub first: SequenceNumber,
    /// The last of them.
    pub last: SequenceNumber,
    /// How urgent they are.
    pub priority: Priority,
    /// After this moment the content is not handed over; 0: none. Milliseconds since the epoch.
    pub deliver_before_ms: u64,
    /// A frame of kind Push.
    pub frame: SharedFrame,
}

/// Which ephemeral messages replace each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EphemeralKey {
    /// Where it was sent.
    pub conversation: ConversationId,
    /// Who sent it.
    pub sender: AccountId,
    /// What it is about.
    pub key: Arc<str>,
}

/// What became of something that was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It waits.
    Queued,
    /// It waits, and so many others were dropped for it.
    Replaced(usize),
    /// It does not fit: its conversation, and so many pushes that waited already, are now told by
    /// the head.
    Lagging(usize),
    /// It is dropped: it, or a later one, went out before.
    Stale,
}

/// Everything that waits for one session.
#[derive(Debug, Default)]
pub struct Outbox {
    limits: Limits,
    /// Nothing but answers goes out before the session is welcomed.
    is_open: bool,
    /// Goes before everything.
    welcome: Option<SharedFrame>,
    /// Emergency stops: each waits once, however often it is told.
    urgent: Urgent,
    answers: VecDeque<SharedFrame>,
    answer_bytes: usize,
    lanes: [VecDeque<ConversationId>; LANES],
    conversations: HashMap<ConversationId, Waiting>,
    told: Told,
    orders: Orders,
    pushes: usize,
    push_bytes: usize,
    /// The newest list of gateways; an older one is no news any more.
    gateways: Option<SharedFrame>,
    ephemeral_order: VecDeque<EphemeralKey>,
    ephemeral: HashMap<EphemeralKey, SharedFrame>,
    ephemeral_bytes: usize,
    /// What this session watches, if it does.
    watching: Option<Box<Watching>>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    pushes: usize,
    bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pushes: PUSHES_MAX,
            bytes: PUSH_BYTES_MAX,
        }
    }
}

impl Outbox {
    /// For answers only until it is opened, with room for so many pushes, in frames and in bytes.
    #[must_use]
    pub fn with_limits(pushes: usize, bytes: usize) -> Self {
        Self {
            limits: Limits { pushes, bytes },
            ..Self::default()
        }
    }

    /// The session is welcomed: from now on everything may go out.
    pub fn welcome(&mut self, welcome: &Frame) {
        // The client learns from it whether there is compression.
        self.welcome = Some(SharedFrame::uncompressed(welcome.to_bytes()));
        self.is_open = true;
    }

    /// Of an emergency stop: goes before all that waits. Returns whether it waits from now on. They
    /// are as many as stops are in force, which is bounded.
    pub fn urgent(&mut self, key: UrgentKey, frame: SharedFrame) -> bool {
        self.urgent.put(key, frame)
    }

    /// An answer, or another frame that goes before all conversations.
    pub fn answer(&mut self, frame: &Frame) {
        let frame = SharedFrame::from(frame);
        self.answer_bytes += frame.len();
        self.answers.push_back(frame);
    }

    /// The answer to a heartbeat. It says how far conversations are that had entries since the last
    /// one, so that whatever was lost on the way is noticed without a new entry. What still waits
    /// here is not lost, and is left to the next one.
    ///
    /// It is also the moment at which an idle session gives back the memory of its last messages.
    pub fn pong(&mut self, correlation: u32, pong: Pong) {
        let waits = |conversation: &ConversationId| self.conversations.contains_key(conversation);
        let heads = self.told.take_news(waits);
        let pong = Frame::notice(client::PONG, &Pong { heads, ..pong });
        self.answer(&Frame {
            correlation,
            ..pong
        });
        self.rest();
    }

    /// Gives back the room of what does not wait. Rarely, so that a busy session does not pay for it
    /// with every message.
    fn rest(&mut self) {
        if self.conversations.is_empty() {
            self.conversations = HashMap::new();
            self.lanes = Default::default();
        }
        self.urgent.rest();
        if self.ephemeral.is_empty() {
            self.ephemeral = HashMap::new();
            self.ephemeral_order = VecDeque::new();
        }
        self.orders.rest();
        self.told.rest();
    }

    /// Where gateways live from now on.
    pub fn gateways(&mut self, list: SharedFrame) {
        self.gateways = Some(list);
    }

    /// Whether so much waits that no more requests should be read.
    #[must_use]
    pub const fn is_congested(&self) -> bool {
        self.answer_bytes > ANSWER_BYTES_HIGH
    }

    /// Entries of a conversation.
    pub fn push(&mut self, push: Push) -> Put {
        let lane = lane(push.priority);
        let full = self.pushes >= self.limits.pushes
            || self.push_bytes + push.frame.len() > self.limits.bytes;
        let (conversation, last) = (push.conversation, push.last);
        let order = self.told.push(conversation, push.first, last);
        if let Some(watching) = &mut self.watching
            && !matches!(order, PushOrder::Stale)
        {
            watching.push(&push);
        }
        match order {
            PushOrder::Rising => {}
            PushOrder::Stale => return Put::Stale,
            PushOrder::HeadOnly => {
                self.tell_head(conversation, last);
                return Put::Lagging(0);
            }
        }
        let waiting = self.waiting(conversation, lane);
        if let Some(head) = &mut waiting.head {
            *head = last.max(*head);
            return Put::Lagging(0);
        }
        if full {
            return Put::Lagging(self.lag(conversation, last));
        }
        let bytes = push.frame.len();
        waiting.items.push_back(Item::Push(push));
        if let Some(pushes) = waiting.pushes.get_mut(lane) {
            *pushes += 1;
        }
        self.pushes += 1;
        self.push_bytes += bytes;
        Put::Queued
    }

    /// A conversation has entries up to here that are not pushed to this session.
    pub fn head(&mut self, conversation: ConversationId, head: SequenceNumber) {
        if let Some(watching) = &mut self.watching {
            watching.head(conversation, head);
        }
        self.tell_head(conversation, head);
    }

    fn tell_head(&mut self, conversation: ConversationId, head: SequenceNumber) {
        self.told.head(conversation, head);
        let waiting = self.waiting(conversation, lane(Priority::Chat));
        waiting.head = waiting.head.max(Some(head));
    }

    /// The account joined or left this conversation.
    pub fn notice(&mut self, conversation: ConversationId, notice: SharedFrame) {
        let items = &mut self.waiting(conversation, lane(Priority::Chat)).items;
        // What it was in between is no news any more, and would grow without bound.
        while let Some(Item::Notice(_)) = items.back() {
            items.pop_back();
        }
        items.push_back(Item::Notice(notice));
    }

    /// The account is in this conversation, of which the Welcome had no room to speak: older than
    /// whatever waits of it already.
    pub fn membership(&mut self, conversation: ConversationId, notice: SharedFrame) {
        let items = &mut self.waiting(conversation, lane(Priority::Chat)).items;
        if !items.iter().any(|item| matches!(item, Item::Notice(_))) {
            items.push_front(Item::Notice(notice));
        }
    }

    /// The next frame to write, as it travels. `now_ms` is the clock since the epoch.
    pub fn pop(&mut self, now_ms: u64, zstd: bool) -> Option<Bytes> {
        if self.is_open
            && let Some(frame) = self.welcome.take().or_else(|| self.urgent.pop())
        {
            return Some(frame.bytes(zstd).clone());
        }
        if let Some(frame) = self.answers.pop_front() {
            self.answer_bytes -= frame.len();
            return Some(frame.bytes(zstd).clone());
        }
        if !self.is_open {
            return None;
        }
        if let Some(list) = self.gateways.take() {
            return Some(list.bytes(zstd).clone());
        }
        if let Some(order) = self.orders.pop(now_ms, zstd) {
            return Some(order);
        }
        if let Some(frame) = self.pop_conversation(now_ms) {
            return Some(frame.bytes(zstd).clone());
        }
        if let Some(frame) = self.pop_ephemeral() {
            return Some(frame.bytes(zstd).clone());
        }
        let frame = self.watching.as_mut()?.pop(now_ms)?;
        Some(SharedFrame::from(&frame).bytes(zstd).clone())
    }

    /// Drops everything but the answers, for a session that ends. Returns how many frames.
    pub fn drop_all_but_answers(&mut self) -> usize {
        let dropped = self.pushes + self.ephemeral.len() + self.orders.clear();
        let answers = std::mem::take(&mut self.answers);
        *self = Self {
            answer_bytes: self.answer_bytes,
            answers,
            is_open: self.welcome.is_some(),
            welcome: self.welcome.take(),
            limits: self.limits,
            ..Self::default()
        };
        dropped
    }

    /// The place of a conversation, in this lane at least.
    fn waiting(&mut self, conversation: ConversationId, lane: usize) -> &mut Waiting {
        let lanes = &mut self.lanes;
        let waiting = self.conversations.entry(conversation).or_insert_with(|| {
            place(lanes, lane, conversation);
            Waiting {
                lane,
                items: VecDeque::new(),
                pushes: [0; LANES],
                head: None,
            }
        });
        if lane < waiting.lane {
            if let Some(old) = lanes.get_mut(waiting.lane) {
                old.retain(|other| *other != conversation);
            }
            waiting.lane = lane;
            place(lanes, lane, conversation);
        }
        waiting
    }

    fn lag(&mut self, conversation: ConversationId, head: SequenceNumber) -> usize {
        let Some(waiting) = self.conversations.get_mut(&conversation) else {
            return 0;
        };
        let (mut notice, mut dropped) = (None, 0);
        for item in waiting.items.drain(..) {
            match item {
                Item::Notice(_) => notice = Some(item),
                Item::Push(push) => {
                    dropped += 1;
                    self.push_bytes -= push.frame.len();
                }
            }
        }
        waiting.items.extend(notice);
        waiting.pushes = [0; LANES];
        waiting.head = Some(head);
        self.pushes -= dropped;
        dropped
    }

    fn pop_conversation(&mut self, now_ms: u64) -> Option<SharedFrame> {
        for lane in 0..LANES {
            while let Some(conversation) = self.lanes.get_mut(lane)?.pop_front() {
                let Some(waiting) = self.conversations.get_mut(&conversation) else {
                    continue;
                };
                let Some(frame) =
                    waiting.take(conversation, now_ms, &mut self.pushes, &mut self.push_bytes)
                else {
                    self.conversations.remove(&conversation);
                    continue;
                };
                if waiting.items.is_empty() && waiting.head.is_none() {
                    self.conversations.remove(&conversation);
                } else {
                    waiting.lane = waiting.urgency();
                    place(&mut self.lanes, waiting.lane, conversation);
                }
                return Some(frame);
            }
        }
        None
    }
}

fn place(lanes: &mut [VecDeque<ConversationId>; LANES], lane: usize, conversation: ConversationId) {
    if let Some(lane) = lanes.get_mut(lane) {
        lane.push_back(conversation);
    }
}

#[cfg(test)]
mod tests;
