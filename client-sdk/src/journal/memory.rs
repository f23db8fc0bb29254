//! A journal in memory: for tests, and for programs that connect again within one process.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::{ClientMessageId, ConversationId, SequenceNumber};

use super::{Change, Journal, JournalEntry, JournalError, JournalOwner, Kept};

/// A journal in memory: it outlives a client, and not the process. Clones share it.
///
/// Bounded by the client, as every journal is.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    owner: Option<JournalOwner>,
    last: u64,
    entries: BTreeMap<u64, JournalEntry>,
    places: BTreeMap<(ConversationId, ClientMessageId), u64>,
    marks: BTreeMap<ConversationId, SequenceNumber>,
}

impl Journal for MemoryJournal {
    fn place(&self) -> String {
        "in memory".into()
    }

    fn load(&mut self) -> Result<Kept, JournalError> {
        let memory = self.0.lock();
        Ok(Kept {
            owner: memory.owner.clone(),
            entries: memory.entries.values().cloned().collect(),
            marks: memory.marks.iter().map(|(at, to)| (*at, *to)).collect(),
        })
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), JournalError> {
        let mut memory = self.0.lock();
        for change in changes {
            memory.apply(change);
        }
        Ok(())
    }
}

impl Memory {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Own(owner) => self.owner = Some(owner.clone()),
            Change::Append(entry) => {
                let key = (entry.conversation, entry.client_message_id);
                self.last += 1;
                let place = *self.places.entry(key).or_insert(self.last);
                self.entries.insert(place, entry.clone());
            }
            Change::Remove {
                conversation,
                client_message_id,
            } => {
                if let Some(place) = self.places.remove(&(*conversation, *client_message_id)) {
                    self.entries.remove(&place);
                }
            }
            Change::Mark {
                conversation,
                delivered,
            } => {
                self.marks.insert(*conversation, *delivered);
            }
        }
    }
}
