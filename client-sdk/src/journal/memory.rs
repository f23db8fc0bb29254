//! A journal in memory: for tests, and for programs that connect again within one process.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::{ClientMessageId, ConversationId, SequenceNumber};

use super::{Change, Journal, JournalEntry, JournalError, JournalOwner, Kept, split};

/// A journal in memory: it outlives a client, and not the process. Clones share it.
///
/// Bounded by the client, as every journal is.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    owner: Option<JournalOwner>,
    last: u64,
    /// With the server's clock at the commit, if it is acknowledged.
    entries: BTreeMap<u64, (JournalEntry, Option<u64>)>,
    places: BTreeMap<(ConversationId, ClientMessageId), u64>,
    marks: BTreeMap<ConversationId, SequenceNumber>,
    history_generation: u64,
}

impl Journal for MemoryJournal {
    fn place(&self) -> String {
        "in memory".into()
    }

    fn load(&mut self) -> Result<Kept, JournalError> {
        let memory = self.0.lock();
        let (entries, sent) = split(memory.entries.values().cloned());
        Ok(Kept {
            owner: memory.owner.clone(),
            entries,
            sent,
            history_generation: memory.history_generation,
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
            Change::History(generation) => self.history_generation = *generation,
            Change::Append(entry) => {
                let key = (entry.conversation, entry.client_message_id);
                self.last += 1;
                let place = *self.places.entry(key).or_insert(self.last);
                self.entries.insert(place, (entry.clone(), None));
            }
            Change::Acked {
                conversation,
                client_message_id,
                committed_at_ms,
            } => {
                let place = self.places.get(&(*conversation, *client_message_id));
                if let Some((_, acked)) = place.and_then(|place| self.entries.get_mut(place)) {
                    *acked = Some(*committed_at_ms);
                }
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
