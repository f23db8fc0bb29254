//! What is written together, and who waits for it.

use std::collections::BTreeMap;

use protocol::{ClientMessageId, ConversationId, Refusal, SequenceNumber};
use tokio::time::Instant;

use crate::error::SendError;
use crate::journal::{Change, JournalError};
use crate::outbox::Letter;

/// What a batch, or time, brings about. `R` waits for a send, `W` for marks to be written.
#[derive(Debug)]
pub(crate) enum Outcome<R, W> {
    /// Written: it may leave.
    Accept(Letter, R),
    /// The end of a send.
    Settle(R, SendError),
    /// The marks are written, or not.
    Persisted(W, Result<(), JournalError>),
}

#[derive(Debug)]
pub(super) struct Owed<R> {
    pub(super) reply: R,
    pub(super) error: SendError,
    pub(super) id: ClientMessageId,
    pub(super) until: Instant,
}

#[derive(Debug)]
pub(super) struct Batch<R, W> {
    pub(super) changes: Vec<Change>,
    /// The newest of each conversation.
    pub(super) marks: BTreeMap<ConversationId, SequenceNumber>,
    /// Letters that may leave when this is written; without a reply their time is over.
    pub(super) held: Vec<(Letter, Option<R>)>,
    pub(super) owed: Vec<Owed<R>>,
    pub(super) persisting: Vec<W>,
    /// Somebody waits for it.
    pub(super) urgent: bool,
}

impl<R, W> Batch<R, W> {
    pub(super) const fn new() -> Self {
        Self {
            changes: Vec::new(),
            marks: BTreeMap::new(),
            held: Vec::new(),
            owed: Vec::new(),
            persisting: Vec::new(),
            urgent: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
            && self.marks.is_empty()
            && self.persisting.is_empty()
            && self.owed.is_empty()
    }

    /// Everything to write, in order.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        let mut changes = std::mem::take(&mut self.changes);
        let marks = self
            .marks
            .iter()
            .map(|(conversation, delivered)| Change::Mark {
                conversation: *conversation,
                delivered: *delivered,
            });
        changes.extend(marks);
        changes
    }

    /// It will not be written as far as anybody will know.
    pub(super) fn give_up(self) -> Vec<Outcome<R, W>> {
        let mut outcomes = Vec::new();
        for (letter, reply) in self.held {
            let error = unknown(letter.id, None);
            outcomes.extend(reply.map(|reply| Outcome::Settle(reply, error)));
        }
        outcomes.extend(self.owed.into_iter().map(doubted));
        let persisting = self.persisting.into_iter();
        outcomes.extend(persisting.map(|w| Outcome::Persisted(w, Err(JournalError::Closed))));
        outcomes
    }
}

/// The removal is not written in time: the next run may send it after all.
pub(super) fn doubted<R, W>(owed: Owed<R>) -> Outcome<R, W> {
    let last = match owed.error {
        SendError::Refused(refusal) => Some(refusal),
        SendError::NotSent { last, .. } | SendError::OutcomeUnknown { last, .. } => last,
        SendError::QueueFull | SendError::Closed => None,
    };
    Outcome::Settle(owed.reply, unknown(owed.id, last))
}

pub(super) const fn unknown(
    client_message_id: ClientMessageId,
    last: Option<Refusal>,
) -> SendError {
    SendError::OutcomeUnknown {
        client_message_id,
        last,
    }
}

pub(super) fn not_written(client_message_id: ClientMessageId, error: JournalError) -> SendError {
    SendError::NotSent {
        client_message_id,
        last: None,
        journal: Some(error),
    }
}
