//! Decides what is written into the journal and when, and what waits for it: a message may leave
//! when it is written, and a refusal is told when the removal is. Pure: takes `now`, gives out one
//! batch of changes at a time and is told how it ended.
//!
//! What comes while a batch is being written makes the next one, so one message alone is written at
//! once and many are written together. Bounded in messages and bytes; one more is refused.

mod batch;
mod sent;
mod shelf;
mod stored;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use protocol::{ConversationId, SequenceNumber};
use tokio::time::Instant;

pub(crate) use self::batch::Outcome;
use self::batch::{Batch, Owed, doubted, not_written, unknown};
use self::sent::Sent;
use self::shelf::{Key, Shelf};
use crate::error::SendError;
use crate::journal::{Change, JournalEntry, JournalError, JournalOwner, Kept};
use crate::outbox::Letter;

/// How long removals wait for something to be written with.
const REMOVALS_WAIT: Duration = Duration::from_secs(1);

/// So many are written without waiting.
const REMOVALS_WAITING_MAX: usize = 256;

/// A journal that failed is left alone for so long.
const REST: Duration = Duration::from_millis(500);

/// How long a refusal waits for its removal before it is told as an unknown outcome.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(2);

/// A batch that is being written; its changes are with the writer too.
type Writing<R, W> = (Batch<R, W>, Arc<[Change]>);

/// What is written, what waits for that.
#[derive(Debug)]
pub(crate) struct Scribe<R, W> {
    shelf: Shelf,
    sent: Sent,
    next: Batch<R, W>,
    writing: Option<Writing<R, W>>,
    /// Since when removals wait.
    removals_since: Option<Instant>,
    rest_until: Option<Instant>,
    /// Not later than the first deadline of what is held or owed.
    due: Option<Instant>,
}

impl<R, W> Scribe<R, W> {
    /// A journal that keeps messages of an earlier run, of which the entries are on their way again.
    pub(crate) fn new(messages_max: usize, bytes_max: usize, kept: &Kept) -> Self {
        let mut scribe = Self {
            shelf: Shelf::new(messages_max, bytes_max),
            sent: Sent::default(),
            next: Batch::new(),
            writing: None,
            removals_since: None,
            rest_until: None,
            due: None,
        };
        for (entry, committed_at_ms) in &kept.sent {
            let key = (entry.conversation, entry.client_message_id);
            scribe.keep_sent(key, &entry.send, *committed_at_ms);
        }
        for entry in &kept.entries {
            scribe.shelf.keep(
                (entry.conversation, entry.client_message_id),
                entry.send.len(),
                true,
            );
        }
        scribe
    }

    /// Whose it is, which is written with the first message.
    pub(crate) fn owner(&mut self, owner: JournalOwner) {
        self.next.changes.push(Change::Own(owner));
        self.next.urgent = true;
    }

    /// Takes a letter in, which may leave when it is written.
    pub(crate) fn admit(&mut self, letter: Letter, reply: R) -> Result<(), (R, SendError)> {
        let key = (letter.conversation, letter.id);
        if !self.shelf.has_room(&key, letter.body.len()) {
            return Err((reply, not_written(letter.id, JournalError::Full)));
        }
        self.append(&letter);
        self.wake_at(letter.deadline);
        self.next.held.push((letter, Some(reply)));
        Ok(())
    }

    /// Takes in one that does not wait, nor is kept out by the bounds.
    pub(crate) fn admit_urgent(&mut self, letter: &Letter) {
        self.append(letter);
    }

    /// Certainly not stored, which is told when the removal is written; at once if there is none.
    pub(crate) fn ended(
        &mut self,
        letter: &Letter,
        reply: R,
        error: SendError,
        now: Instant,
    ) -> Option<(R, SendError)> {
        if !self.release(letter) {
            return Some((reply, error));
        }
        let until = now + REMOVAL_PATIENCE;
        self.wake_at(until);
        self.next.urgent = true;
        let id = letter.id;
        self.next.owed.push(Owed {
            reply,
            error,
            id,
            until,
        });
        None
    }

    /// Perhaps stored: it is kept.
    pub(crate) fn unknown(&mut self, letter: &Letter) {
        self.shelf.unknown(&(letter.conversation, letter.id));
    }

    /// Marks to be written together.
    pub(crate) fn persist(
        &mut self,
        marks: impl IntoIterator<Item = (ConversationId, SequenceNumber)>,
        waiting: W,
    ) {
        self.next.marks.extend(marks);
        self.next.persisting.push(waiting);
        self.next.urgent = true;
    }

    /// The next batch, if there is one to be written now; it is being written from now on.
    pub(crate) fn next_batch(&mut self, now: Instant, last: bool) -> Option<Arc<[Change]>> {
        let due = last
            || self.next.urgent
            || self.next.changes.len() >= REMOVALS_WAITING_MAX
            || self
                .removals_since
                .is_some_and(|since| since + REMOVALS_WAIT <= now);
        let rested = last || self.rest_until.is_none_or(|until| until <= now);
        if self.writing.is_some() || self.next.is_empty() || !due || !rested {
            return None;
        }
        self.removals_since = None;
        self.rest_until = None;
        let mut batch = std::mem::replace(&mut self.next, Batch::new());
        let changes: Arc<[Change]> = batch.take_changes().into();
        self.writing = Some((batch, Arc::clone(&changes)));
        Some(changes)
    }

    /// How the batch ended.
    pub(crate) fn written(
        &mut self,
        done: Result<(), JournalError>,
        now: Instant,
    ) -> Vec<Outcome<R, W>> {
        let Some((batch, changes)) = self.writing.take() else {
            return Vec::new();
        };
        match done {
            Ok(()) => self.succeeded(batch, &changes),
            Err(error) => self.failed(batch, &changes, &error, now),
        }
    }

    fn succeeded(&mut self, batch: Batch<R, W>, changes: &[Change]) -> Vec<Outcome<R, W>> {
        for change in changes {
            if let Change::Append(entry) = change {
                let key = (entry.conversation, entry.client_message_id);
                self.shelf.written(&key);
            }
        }
        let mut outcomes = Vec::new();
        for (letter, reply) in batch.held {
            match reply {
                Some(reply) => outcomes.push(Outcome::Accept(letter, reply)),
                None => self.unknown(&letter),
            }
        }
        let told = batch.owed.into_iter();
        outcomes.extend(told.map(|owed| Outcome::Settle(owed.reply, owed.error)));
        let persisted = batch.persisting.into_iter();
        outcomes.extend(persisted.map(|waiting| Outcome::Persisted(waiting, Ok(()))));
        outcomes
    }

    /// New messages are refused; everything else is written again when the journal has rested.
    fn failed(
        &mut self,
        batch: Batch<R, W>,
        changes: &[Change],
        error: &JournalError,
        now: Instant,
    ) -> Vec<Outcome<R, W>> {
        let mut outcomes = Vec::new();
        let mut refused: HashSet<Key> = HashSet::new();
        for (letter, reply) in batch.held {
            let key = (letter.conversation, letter.id);
            refused.insert(key);
            self.shelf.disown(&key);
            if let Some(reply) = reply {
                let error = not_written(letter.id, error.clone());
                outcomes.push(Outcome::Settle(reply, error));
            }
        }
        let mut again: Vec<Change> = Vec::new();
        for change in changes {
            match change {
                // Only an emergency is on its way already, and is still to be written.
                Change::Append(entry) => {
                    let key = (entry.conversation, entry.client_message_id);
                    if !refused.contains(&key) {
                        again.push(change.clone());
                    }
                }
                Change::Own(_)
                | Change::History(_)
                | Change::Acked { .. }
                | Change::Remove { .. } => again.push(change.clone()),
                Change::Mark { .. } => {}
            }
        }
        let may_wait =
            |change: &Change| matches!(change, Change::Remove { .. } | Change::Acked { .. });
        if again.iter().any(may_wait) {
            self.removals_since.get_or_insert(now);
        }
        self.next.urgent |= !again.iter().all(may_wait);
        again.append(&mut self.next.changes);
        self.next.changes = again;
        for (conversation, delivered) in batch.marks {
            self.next.marks.entry(conversation).or_insert(delivered);
        }
        self.next.urgent |= !batch.owed.is_empty();
        self.next.owed.extend(batch.owed);
        self.rest_until = Some(now + REST);
        let persisted = batch.persisting.into_iter();
        outcomes.extend(persisted.map(|w| Outcome::Persisted(w, Err(error.clone()))));
        outcomes
    }

    /// Sends whose time is over while they wait for the journal: not told as more than is known.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<Outcome<R, W>> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.due = None;
        let mut outcomes = Vec::new();
        let mut first: Option<Instant> = None;
        let mut later =
            |at: Instant| first = Some(first.map_or(at, |first: Instant| first.min(at)));
        let writing = self.writing.as_mut().map(|(batch, _)| batch);
        for batch in writing.into_iter().chain([&mut self.next]) {
            for (letter, reply) in &mut batch.held {
                if letter.deadline > now {
                    later(letter.deadline);
                } else if let Some(reply) = reply.take() {
                    outcomes.push(Outcome::Settle(reply, unknown(letter.id, None)));
                }
            }
            let owed = std::mem::take(&mut batch.owed);
            for owed in owed {
                if owed.until > now {
                    later(owed.until);
                    batch.owed.push(owed);
                } else {
                    outcomes.push(doubted(owed));
                }
            }
        }
        self.due = first;
        outcomes
    }

    /// When, after this moment, there is something to do that no end of a batch wakes for.
    pub(crate) fn next_wake(&self, after: Instant) -> Option<Instant> {
        let idle = self.writing.is_none() && !self.next.is_empty();
        let rested = self.rest_until.filter(|_| idle);
        let removals = self
            .removals_since
            .filter(|_| idle)
            .map(|since| since + REMOVALS_WAIT);
        [rested, removals, self.due]
            .into_iter()
            .flatten()
            .filter(|wake| *wake > after)
            .min()
    }

    /// Whether a letter waits for the journal.
    pub(crate) fn holds_letters(&self) -> bool {
        let writing = self.writing.as_ref().map(|(batch, _)| batch);
        writing
            .into_iter()
            .chain([&self.next])
            .any(|batch| !batch.held.is_empty() || !batch.owed.is_empty())
    }

    /// The client ends: letters that are not being written never will be. The last batches are
    /// still to be written.
    pub(crate) fn end(&mut self) -> Vec<Outcome<R, W>> {
        let held = std::mem::take(&mut self.next.held);
        let mut outcomes = Vec::new();
        for (letter, reply) in held {
            let key = (letter.conversation, letter.id);
            self.shelf.disown(&key);
            self.next.changes.retain(|change| match change {
                Change::Append(entry) => (entry.conversation, entry.client_message_id) != key,
                Change::Own(_)
                | Change::History(_)
                | Change::Acked { .. }
                | Change::Remove { .. }
                | Change::Mark { .. } => true,
            });
            let error = SendError::NotSent {
                client_message_id: letter.id,
                last: None,
                journal: None,
            };
            outcomes.extend(reply.map(|reply| Outcome::Settle(reply, error)));
        }
        outcomes
    }

    /// The journal is given up: whoever waits for it is told what is known.
    pub(crate) fn give_up(&mut self) -> Vec<Outcome<R, W>> {
        let writing = self.writing.take().map(|(batch, _)| batch);
        let next = std::mem::replace(&mut self.next, Batch::new());
        let batches = writing.into_iter().chain([next]);
        batches.flat_map(Batch::give_up).collect()
    }

    fn append(&mut self, letter: &Letter) {
        let key = (letter.conversation, letter.id);
        self.sent.forget(&key);
        self.shelf.keep(key, letter.body.len(), false);
        self.next.changes.push(Change::Append(JournalEntry {
            conversation: letter.conversation,
            client_message_id: letter.id,
            send: letter.body.clone(),
        }));
        self.next.urgent = true;
    }

    /// Returns whether a removal is to be written.
    fn release(&mut self, letter: &Letter) -> bool {
        let removed = self.shelf.release(&(letter.conversation, letter.id));
        if removed {
            self.next.changes.push(Change::Remove {
                conversation: letter.conversation,
                client_message_id: letter.id,
            });
        }
        removed
    }

    fn wake_at(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

#[cfg(test)]
mod tests;
