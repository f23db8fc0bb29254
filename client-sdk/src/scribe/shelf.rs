//! Which messages the journal keeps, and whether there is room for one more.

use std::collections::HashMap;

use protocol::{ClientMessageId, ConversationId};

pub(super) type Key = (ConversationId, ClientMessageId);

/// A message in the journal.
#[derive(Debug)]
struct Kept {
    bytes: usize,
    /// Sends of this id that have not ended in this run.
    live: usize,
    /// It was written; what never was is not kept when its batch fails.
    written: bool,
}

/// All of them, with those that are about to be written.
#[derive(Debug)]
pub(super) struct Shelf {
    messages_max: usize,
    bytes_max: usize,
    kept: HashMap<Key, Kept>,
    bytes: usize,
}

impl Shelf {
    pub(super) fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self {
            messages_max,
            bytes_max,
            kept: HashMap::new(),
            bytes: 0,
        }
    }

    /// One that is kept already needs no more room than it grows by.
    pub(super) fn has_room(&self, key: &Key, bytes: usize) -> bool {
        let (messages, before) = match self.kept.get(key) {
            Some(kept) => (0, kept.bytes),
            None => (1, 0),
        };
        self.kept.len() + messages <= self.messages_max
            && self.bytes - before + bytes <= self.bytes_max
    }

    pub(super) fn keep(&mut self, key: Key, bytes: usize, written: bool) {
        let kept = self.kept.entry(key).or_insert(Kept {
            bytes: 0,
            live: 0,
            written,
        });
        self.bytes = self.bytes - kept.bytes + bytes;
        kept.bytes = bytes;
        kept.live += 1;
    }

    pub(super) fn written(&mut self, key: &Key) {
        if let Some(kept) = self.kept.get_mut(key) {
            kept.written = true;
        }
    }

    /// One send of this id has come to its end. Returns whether it was the last, and so is no longer
    /// kept.
    pub(super) fn release(&mut self, key: &Key) -> bool {
        let Some(kept) = self.kept.get_mut(key) else {
            return false;
        };
        kept.live = kept.live.saturating_sub(1);
        kept.live == 0 && self.forget(key)
    }

    /// One send of this id has come to an end that is not known.
    pub(super) fn unknown(&mut self, key: &Key) {
        if let Some(kept) = self.kept.get_mut(key) {
            kept.live = kept.live.saturating_sub(1);
        }
    }

    /// One send of this id was not written.
    pub(super) fn disown(&mut self, key: &Key) {
        self.unknown(key);
        if self
            .kept
            .get(key)
            .is_some_and(|kept| kept.live == 0 && !kept.written)
        {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: &Key) -> bool {
        let forgotten = self.kept.remove(key);
        self.bytes -= forgotten.as_ref().map_or(0, |kept| kept.bytes);
        forgotten.is_some()
    }
}
