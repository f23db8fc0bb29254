//! What one process heard and when: every message that each of its clients was handed, and when
//! those were sent that it sent itself. Only written down here; judged in [`crate::audit`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use client_sdk::{AccountId, ClientMessageId, ConversationId, Event, SequenceNumber};
use parking_lot::Mutex;
use service_kit::clock;

use crate::audit::{Heard, Stream};

/// A recording. Clones are the same.
#[derive(Debug, Clone)]
pub struct Recorder {
    began: Instant,
    recording: Arc<Mutex<Recording>>,
}

#[derive(Debug, Default)]
struct Recording {
    streams: BTreeMap<(AccountId, ConversationId), Vec<Heard>>,
    said_at_us: BTreeMap<ClientMessageId, u64>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            began: clock::now(),
            recording: Arc::default(),
        }
    }
}

impl Recorder {
    /// The listener was handed this.
    pub fn heard(&self, listener: AccountId, event: &Event) {
        let Event::Message(message) = event else {
            return;
        };
        let heard = Heard {
            sequence: message.sequence,
            id: message.client_message_id,
            at_us: self.now_us(),
        };
        let mut recording = self.recording.lock();
        let stream = recording.streams.entry((listener, message.conversation));
        stream.or_default().push(heard);
    }

    /// A message of this id is on its way from this moment.
    pub fn said(&self, id: ClientMessageId) {
        let now_us = self.now_us();
        self.recording.lock().said_at_us.entry(id).or_insert(now_us);
    }

    /// Whether the listener was handed this number, or a later one.
    #[must_use]
    pub fn has_reached(
        &self,
        listener: AccountId,
        conversation: ConversationId,
        sequence: SequenceNumber,
    ) -> bool {
        let recording = self.recording.lock();
        let stream = recording.streams.get(&(listener, conversation));
        stream.is_some_and(|heard| heard.iter().any(|heard| heard.sequence >= sequence))
    }

    /// What a listener was handed of a conversation, in the order in which it was.
    #[must_use]
    pub fn stream(&self, listener: AccountId, conversation: ConversationId) -> Stream {
        let recording = self.recording.lock();
        let heard = recording.streams.get(&(listener, conversation));
        Stream {
            conversation,
            heard: heard.cloned().unwrap_or_default(),
        }
    }

    /// When what was sent here was sent.
    #[must_use]
    pub fn said_at_us(&self) -> BTreeMap<ClientMessageId, u64> {
        self.recording.lock().said_at_us.clone()
    }

    fn now_us(&self) -> u64 {
        let since = clock::now().saturating_duration_since(self.began);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}
