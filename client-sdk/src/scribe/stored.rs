//! What the journal does with messages that are stored: they are kept for a while, and sent again when
//! a restore of the server may have lost them. Pure.

use bytes::Bytes;
use protocol::{ConversationId, SequenceNumber};
use tokio::time::Instant;

use super::Scribe;
use super::shelf::Key;
use crate::journal::{Change, JournalEntry};
use crate::outbox::Letter;

impl<R, W> Scribe<R, W> {
    /// Stored: it is kept for a while, as such.
    pub(crate) fn acked(&mut self, letter: &Letter, committed_at_ms: u64, now: Instant) {
        let key = (letter.conversation, letter.id);
        if self.shelf.release(&key) {
            self.next.changes.push(Change::Acked {
                conversation: letter.conversation,
                client_message_id: letter.id,
                committed_at_ms,
            });
            self.keep_sent(key, &letter.body, committed_at_ms);
            self.removals_since.get_or_insert(now);
        }
    }

    /// What is kept as stored is not known to be: all of it, in the order of its acks, kept from now
    /// on until it is acked again.
    pub(crate) fn unstore(&mut self) -> Vec<JournalEntry> {
        let entries = self.sent.take().into_iter().map(|(key, send)| {
            let (conversation, client_message_id) = key;
            self.shelf.keep(key, send.len(), true);
            let entry = JournalEntry {
                conversation,
                client_message_id,
                send,
            };
            self.next.changes.push(Change::Append(entry.clone()));
            entry
        });
        let entries: Vec<_> = entries.collect();
        self.next.urgent |= !entries.is_empty();
        entries
    }

    /// A mark that is of another history above this.
    pub(crate) fn lower(&mut self, conversation: ConversationId, at: SequenceNumber) {
        self.next.marks.insert(conversation, at);
    }

    /// The marks are of this history, which is written with those that were lowered for it.
    pub(crate) fn history(&mut self, generation: u64) {
        self.next.changes.push(Change::History(generation));
        self.next.urgent = true;
    }

    pub(super) fn keep_sent(&mut self, key: Key, send: &Bytes, committed_at_ms: u64) {
        for (conversation, client_message_id) in self.sent.keep(key, send.clone(), committed_at_ms)
        {
            self.next.changes.push(Change::Remove {
                conversation,
                client_message_id,
            });
        }
    }
}
