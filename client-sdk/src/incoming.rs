//! What the application is told, and the bounded queue between it and the connection.
//!
//! The queue's overflow policy: when it is full the client stops pulling and forgets pushes (it
//! remembers the heads and pulls later), so that no message is lost and no memory grows. Ephemeral
//! messages keep the newest of each key. News of the link and of memberships replace older news.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use protocol::{AccountId, ConversationId, Refusal, SequenceNumber};

use crate::config::MarkPolicy;
use crate::estop::Stop;
use crate::message::{Ephemeral, Message};
use crate::shared::Shared;

/// Senders and keys of ephemeral messages that wait at once; one more is dropped and counted, and so
/// is one whose content does not fit beside the others.
const EPHEMERAL_KEYS_MAX: usize = 4096;

/// One thing that the application is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A message: in order within its conversation, once.
    Message(Message),
    /// An ephemeral message: the newest of its sender and key.
    Ephemeral(Ephemeral),
    /// The account is in this group from now on.
    Joined {
        /// The group.
        conversation: ConversationId,
        /// Its name.
        name: String,
    },
    /// The account is no longer in this group.
    Left {
        /// The group.
        conversation: ConversationId,
    },
    /// Retention has dropped these entries before this client had them.
    Trimmed {
        /// The conversation.
        conversation: ConversationId,
        /// The first that is missing.
        from: SequenceNumber,
        /// The last that is missing.
        up_to: SequenceNumber,
    },
    /// The server was restored from a backup: what this client has of the conversation above this
    /// entry is not in its history any more. Numbers above are given anew, and messages that were
    /// handed over may come again under them, with the ids that they had.
    Parted {
        /// The conversation.
        conversation: ConversationId,
        /// The last entry that is as it was.
        at: SequenceNumber,
    },
    /// Somebody has stopped a group that the account is in, or the fleet. Told at once, before
    /// everything that waits on the way, and once: its entry in the log is passed over. See
    /// [`estop`](crate::estop).
    EmergencyStop(Stop),
    /// It is released.
    EmergencyReleased(Stop),
    /// Another session of this account has marked so much as delivered and read: the same person on
    /// another device. What this client has is not changed by it.
    Marked {
        /// The conversation.
        conversation: ConversationId,
        /// Delivered there up to here.
        delivered: SequenceNumber,
        /// Read there up to here.
        read: SequenceNumber,
    },
    /// There is a session: the first one, or one after a loss.
    Connected,
    /// The connection is lost; another is being made.
    Disconnected {
        /// For people.
        reason: String,
    },
    /// The client has ended; nothing comes after this.
    Closed {
        /// Why.
        reason: CloseReason,
    },
}

/// Why a client ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// The application closed it or dropped its last handle.
    ByApplication,
    /// The server refused the client for good, for example because its token has expired.
    Refused(Refusal),
    /// The server asked the client not to come back, for example because a newer session of the
    /// same account took its place.
    SentAway(String),
}

/// The stream of events of one client. Dropped, nothing is handed over and nothing marked any more,
/// and the client goes on sending.
#[derive(Debug)]
pub struct Events {
    shared: Arc<Shared>,
    policy: MarkPolicy,
}

impl Events {
    pub(crate) const fn new(shared: Arc<Shared>, policy: MarkPolicy) -> Self {
        Self { shared, policy }
    }

    /// The next event; `None` once [`Event::Closed`] was handed over. Cancel-safe.
    ///
    /// Under [`MarkPolicy::WhenTaken`] a message counts as delivered when this returns it.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.take() {
                Some(event) => return Some(event),
                None if self.shared.queue.lock().is_finished() => return None,
                None => self.shared.arrived.notified().await,
            }
        }
    }

    /// The next event, if there is one.
    pub(crate) fn take(&mut self) -> Option<Event> {
        loop {
            let mut queue = self.shared.queue.lock();
            let popped = queue.pop()?;
            if let Some((conversation, sequence)) = popped.passed {
                let mut marks = self.shared.marks.lock();
                marks.handed_over(conversation, sequence);
                if self.policy == MarkPolicy::WhenTaken
                    && marks.raise_delivered(conversation, sequence)
                {
                    self.shared.nudge.notify_one();
                }
            }
            drop(queue);
            if popped.has_room_again {
                self.shared.nudge.notify_one();
            }
            if popped.event.is_some() {
                return popped.event;
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.shared.queue.lock().abandon();
    }
}

/// Who an ephemeral message replaces.
type EphemeralKey = (ConversationId, AccountId, String);

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all of them are the largest"
)]
enum Item {
    Event(Event),
    /// The newest of this key, at the place of the first that still waits.
    Ephemeral(EphemeralKey),
    /// A number that says nothing.
    Skip(ConversationId, SequenceNumber),
}

/// The bounded queue. Pure: the shell locks it and wakes whom it must.
#[derive(Debug)]
pub(crate) struct EventQueue {
    items: VecDeque<(Item, usize)>,
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
    ephemerals: HashMap<EphemeralKey, (Ephemeral, usize)>,
    /// Of these, apart from `bytes`: they must not keep messages out.
    ephemeral_bytes: usize,
    /// Was full, and is not yet half empty.
    stalled: bool,
    finished: bool,
    abandoned: bool,
}

/// What leaving the queue brings about.
#[derive(Debug, Default)]
pub(crate) struct Popped {
    pub(crate) event: Option<Event>,
    /// Everything up to here is handed over.
    pub(crate) passed: Option<(ConversationId, SequenceNumber)>,
    pub(crate) has_room_again: bool,
}

impl EventQueue {
    pub(crate) fn new(events_max: usize, bytes_max: usize) -> Self {
        Self {
            items: VecDeque::new(),
            bytes: 0,
            events_max: events_max.max(1),
            bytes_max: bytes_max.max(1),
            ephemerals: HashMap::new(),
            ephemeral_bytes: 0,
            stalled: false,
            finished: false,
            abandoned: false,
        }
    }

    /// Whether messages may be pushed. Once full it stays without room until half of it was taken,
    /// so that a slow application costs one pull a page and not one an entry.
    pub(crate) fn has_room(&mut self) -> bool {
        if self.items.len() >= self.events_max || self.bytes >= self.bytes_max {
            self.stalled = true;
        }
        !self.stalled && !self.abandoned
    }

    /// The caller has seen [`EventQueue::has_room`]; one page may go over the bound.
    pub(crate) fn push_message(&mut self, message: Message, content_bytes: usize) {
        if self.abandoned {
            return;
        }
        let bytes = content_bytes + size_of::<Message>();
        self.bytes += bytes;
        self.items
            .push_back((Item::Event(Event::Message(message)), bytes));
    }

    pub(crate) fn push_skip(&mut self, conversation: ConversationId, sequence: SequenceNumber) {
        if self.abandoned {
            return;
        }
        if let Some((Item::Skip(last, up_to), _)) = self.items.back_mut()
            && *last == conversation
        {
            *up_to = sequence;
            return;
        }
        self.items
            .push_back((Item::Skip(conversation, sequence), 0));
    }

    /// Returns whether it is kept.
    pub(crate) fn push_ephemeral(&mut self, ephemeral: Ephemeral, content_bytes: usize) -> bool {
        if self.abandoned {
            return false;
        }
        let key = (
            ephemeral.conversation,
            ephemeral.sender,
            ephemeral.key.clone(),
        );
        let replaced = self.ephemerals.get(&key).map(|(_, bytes)| *bytes);
        let bytes = content_bytes + size_of::<Ephemeral>();
        let total = self.ephemeral_bytes - replaced.unwrap_or(0) + bytes;
        let is_one_too_many = replaced.is_none() && self.ephemerals.len() >= EPHEMERAL_KEYS_MAX;
        if total > self.bytes_max || is_one_too_many {
            return false;
        }
        self.ephemeral_bytes = total;
        self.ephemerals.insert(key.clone(), (ephemeral, bytes));
        if replaced.is_none() {
            self.items.push_back((Item::Ephemeral(key), 0));
        }
        true
    }

    /// News of the link, a membership or retention. While the queue has no room, the newest
    /// replaces the one that waits.
    pub(crate) fn push_news(&mut self, event: Event) {
        if self.abandoned {
            return;
        }
        if !self.has_room()
            && let Some((Item::Event(waiting), _)) = self
                .items
                .iter_mut()
                .rev()
                .find(|(item, _)| matches!(item, Item::Event(old) if replaces(&event, old)))
        {
            *waiting = event;
            return;
        }
        self.items.push_back((Item::Event(event), 0));
    }

    /// Forgets what waits of this conversation above this: it is of another history.
    pub(crate) fn forget_above(&mut self, conversation: ConversationId, at: SequenceNumber) {
        self.items.retain(|(item, bytes)| {
            let passes = match item {
                Item::Event(Event::Message(message)) => {
                    Some((message.conversation, message.sequence))
                }
                Item::Skip(its, up_to) => Some((*its, *up_to)),
                Item::Event(_) | Item::Ephemeral(_) => None,
            };
            let stays = passes.is_none_or(|(its, up_to)| its != conversation || up_to <= at);
            if !stays {
                self.bytes -= bytes;
            }
            stays
        });
    }

    /// The last event.
    pub(crate) fn finish(&mut self, reason: CloseReason) {
        if !self.finished {
            self.finished = true;
            self.items
                .push_back((Item::Event(Event::Closed { reason }), 0));
        }
    }

    /// How many wait.
    #[cfg(feature = "simulation")]
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether the last event was taken too.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished && self.items.is_empty()
    }

    fn abandon(&mut self) {
        self.abandoned = true;
        self.items = VecDeque::new();
        self.ephemerals = HashMap::new();
        self.ephemeral_bytes = 0;
        self.bytes = 0;
    }

    fn pop(&mut self) -> Option<Popped> {
        let (item, bytes) = self.items.pop_front()?;
        self.bytes -= bytes;
        let mut popped = Popped::default();
        if self.stalled
            && self.items.len() <= self.events_max / 2
            && self.bytes <= self.bytes_max / 2
        {
            self.stalled = false;
            popped.has_room_again = true;
        }
        match item {
            Item::Event(event) => {
                if let Event::Message(message) = &event {
                    popped.passed = Some((message.conversation, message.sequence));
                }
                popped.event = Some(event);
            }
            Item::Ephemeral(key) => {
                popped.event = self.ephemerals.remove(&key).map(|(ephemeral, bytes)| {
                    self.ephemeral_bytes -= bytes;
                    Event::Ephemeral(ephemeral)
                });
            }
            Item::Skip(conversation, sequence) => popped.passed = Some((conversation, sequence)),
        }
        Some(popped)
    }
}

/// Whether the newer of two pieces of news makes the older pointless.
fn replaces(new: &Event, old: &Event) -> bool {
    let place = |event: &Event| match event {
        Event::Connected | Event::Disconnected { .. } => Some((0, None)),
        Event::Joined { conversation, .. } | Event::Left { conversation } => {
            Some((1, Some(*conversation)))
        }
        Event::Parted { conversation, .. } => Some((2, Some(*conversation))),
        Event::Marked { conversation, .. } => Some((3, Some(*conversation))),
        // None of them is ever forgotten; they are as many as stops.
        Event::EmergencyStop(_) | Event::EmergencyReleased(_) => None,
        // Each names other entries; they come with pages, which are pulled when there is room.
        Event::Trimmed { .. } | Event::Message(_) | Event::Ephemeral(_) | Event::Closed { .. } => {
            None
        }
    };
    place(new).is_some() && place(new) == place(old)
}

#[cfg(test)]
mod tests;
