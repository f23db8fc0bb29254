//! Where messages wait until their fate is known, so that a process that restarts sends them again
//! under the same ids. The one kept here is in memory; a durable one implements the same trait.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use protocol::{ClientMessageId, ConversationId};
use thiserror::Error;

/// A journal that could not do what it was asked.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct JournalError(
    /// Why.
    pub String,
);

/// A message whose fate is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// Where it goes.
    pub conversation: ConversationId,
    /// Its id, the same over all attempts and restarts.
    pub client_message_id: ClientMessageId,
    /// An encoded `im.v1.Send`.
    pub send: Bytes,
}

/// Keeps messages until their fate is known.
///
/// Called from the client's one task: `append` and `remove` only note; `sync` makes everything noted
/// durable in one go, and is called before a new message first leaves. So a journal on a disk pays
/// one flush for a batch.
pub trait Journal: Send + 'static {
    /// Everything that is kept, in the order in which it was appended. Called once, at the start.
    fn load(&mut self) -> Result<Vec<JournalEntry>, JournalError>;
    /// Notes a message.
    fn append(&mut self, entry: &JournalEntry) -> Result<(), JournalError>;
    /// Notes that a message's fate is known.
    fn remove(
        &mut self,
        conversation: ConversationId,
        id: ClientMessageId,
    ) -> Result<(), JournalError>;
    /// Makes what was noted durable.
    fn sync(&mut self) -> Result<(), JournalError>;
}

/// A journal in memory: it outlives a client, and not the process. Clones share it.
///
/// Bounded by the outbox, which holds the same messages.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    entries: BTreeMap<u64, JournalEntry>,
    places: BTreeMap<(ConversationId, ClientMessageId), u64>,
}

impl Journal for MemoryJournal {
    fn load(&mut self) -> Result<Vec<JournalEntry>, JournalError> {
        Ok(self.0.lock().entries.values().cloned().collect())
    }

    fn append(&mut self, entry: &JournalEntry) -> Result<(), JournalError> {
        let mut kept = self.0.lock();
        let key = (entry.conversation, entry.client_message_id);
        if kept.places.contains_key(&key) {
            return Ok(());
        }
        kept.last += 1;
        let place = kept.last;
        kept.places.insert(key, place);
        kept.entries.insert(place, entry.clone());
        Ok(())
    }

    fn remove(
        &mut self,
        conversation: ConversationId,
        id: ClientMessageId,
    ) -> Result<(), JournalError> {
        let mut kept = self.0.lock();
        if let Some(place) = kept.places.remove(&(conversation, id)) {
            kept.entries.remove(&place);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        Ok(())
    }
}
