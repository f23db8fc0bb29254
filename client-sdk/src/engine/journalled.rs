//! The way of a send around the journal: into it before it leaves, out of it at its end. Without a
//! journal it is the short way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use protocol::wire::{self, Priority};
use protocol::{ConversationId, SequenceNumber};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Engine;
use crate::clock;
use crate::config::ClientConfig;
use crate::error::SendError;
use crate::events;
use crate::journal::{Change, JournalEntry, JournalError, JournalOwner, Kept};
use crate::message::Account;
use crate::outbox::{Letter, Settled};
use crate::scribe::{Outcome, Scribe};
use crate::shared::{PersistReply, Recovered, SendReply};

/// A journal that was opened.
pub(crate) struct Opened {
    pub(crate) place: String,
    pub(crate) kept: Kept,
}

impl Opened {
    pub(super) fn marks(&self) -> impl Iterator<Item = (ConversationId, SequenceNumber)> {
        self.kept.marks.iter().copied()
    }

    pub(super) const fn history_generation(&self) -> u64 {
        self.kept.history_generation
    }
}

/// The journal's side of the engine.
pub(super) struct Desk {
    place: String,
    owner: Option<JournalOwner>,
    scribe: Scribe<SendReply, PersistReply>,
    recovered: Vec<Recovered>,
    /// The marks that it has been given to keep.
    marks: BTreeMap<ConversationId, SequenceNumber>,
    /// It failed and has not worked since: said once.
    is_failing: bool,
}

impl Desk {
    pub(super) fn holds_letters(&self) -> bool {
        self.scribe.holds_letters()
    }
}

impl Engine {
    /// The messages of an earlier run go again under their ids and before all others, for as long
    /// as it takes: nobody decides for them that it took too long.
    pub(super) fn recover(&mut self, config: &ClientConfig, opened: Opened, now: Instant) {
        let Opened { place, kept } = opened;
        let (messages_max, bytes_max) = (config.journal_messages_max, config.journal_bytes_max);
        let mut desk = Desk {
            place,
            scribe: Scribe::new(messages_max, bytes_max, &kept),
            owner: kept.owner,
            recovered: Vec::new(),
            marks: kept.marks.into_iter().collect(),
            is_failing: false,
        };
        for entry in kept.entries {
            let (sender, outcome) = oneshot::channel();
            desk.recovered.push(Recovered {
                conversation: entry.conversation,
                id: entry.client_message_id,
                outcome,
            });
            let reply = SendReply {
                outcome: Some(sender),
                room: None,
            };
            self.outbox.accept_again(letter(entry, now), reply);
            self.shared.counters.recovered_one();
        }
        self.desk = Some(desk);
    }

    /// A restore may have lost what the journal has as stored. It goes again, before all that waits;
    /// the store answers what it still has.
    pub(super) fn send_what_may_be_lost(&mut self, now: Instant) {
        let Some(desk) = &mut self.desk else {
            return;
        };
        // The last first, because each goes before the one before it.
        for entry in desk.scribe.unstore().into_iter().rev() {
            let reply = SendReply {
                outcome: None,
                room: None,
            };
            self.outbox.accept_before(letter(entry, now), reply);
            self.shared.counters.restored_one();
        }
    }

    /// The journal's mark is of another history above this.
    pub(super) fn lower_journal(&mut self, conversation: ConversationId, at: SequenceNumber) {
        if let Some(desk) = &mut self.desk
            && let Some(mark) = desk.marks.get_mut(&conversation)
            && *mark > at
        {
            *mark = at;
            desk.scribe.lower(conversation, at);
        }
    }

    /// The marks are of this history from now on.
    pub(super) fn write_history(&mut self, history_generation: u64) {
        if let Some(desk) = &mut self.desk {
            desk.scribe.history(history_generation);
        }
    }

    /// What is sent again, and what becomes of it. Once.
    pub(crate) fn take_recovered(&mut self) -> Vec<Recovered> {
        let desk = self.desk.as_mut();
        desk.map_or_else(Vec::new, |desk| std::mem::take(&mut desk.recovered))
    }

    /// A journal that nobody has used becomes this account's.
    pub(super) fn check_owner(&mut self, account: &Account) -> Result<(), JournalError> {
        let Some(desk) = &mut self.desk else {
            return Ok(());
        };
        let ours = JournalOwner::from(account);
        match &desk.owner {
            None => {
                desk.owner = Some(ours.clone());
                desk.scribe.owner(ours);
                Ok(())
            }
            Some(owner) if *owner == ours => Ok(()),
            Some(owner) => Err(JournalError::OtherOwner {
                place: desk.place.clone(),
                kept: Box::new(owner.clone()),
                ours: Box::new(ours),
            }),
        }
    }

    pub(crate) fn send(&mut self, letter: Letter, reply: SendReply) {
        let Some(desk) = &mut self.desk else {
            self.outbox.accept(letter, reply);
            return;
        };
        if letter.priority == Priority::Emergency {
            desk.scribe.admit_urgent(&letter);
            self.outbox.accept(letter, reply);
        } else if let Err((reply, error)) = desk.scribe.admit(letter, reply) {
            reply.settle(Err(error));
        }
    }

    pub(crate) fn persist_marks(&mut self, reply: PersistReply) {
        match &mut self.desk {
            Some(desk) => {
                let marks = self.shared.marks.lock().take_unwritten();
                desk.marks.extend(marks.iter().copied());
                desk.scribe.persist(marks, reply);
            }
            None => reply.settle(Err(JournalError::NoJournal)),
        }
    }

    /// What is to be written now, when nothing is being written.
    pub(crate) fn next_batch(&mut self, now: Instant, last: bool) -> Option<Arc<[Change]>> {
        self.desk.as_mut()?.scribe.next_batch(now, last)
    }

    /// How that ended.
    pub(crate) fn written(&mut self, done: Result<(), JournalError>, now: Instant) {
        let Some(desk) = &mut self.desk else {
            return;
        };
        match &done {
            Ok(()) => desk.is_failing = false,
            Err(error) => {
                self.shared.counters.journal_failed();
                if !std::mem::replace(&mut desk.is_failing, true) {
                    events::journal_failing(error);
                }
            }
        }
        let outcomes = desk.scribe.written(done, now);
        self.settle(outcomes);
    }

    pub(super) fn tick_journal(&mut self, now: Instant) {
        if let Some(desk) = &mut self.desk {
            let outcomes = desk.scribe.tick(now);
            self.settle(outcomes);
        }
    }

    pub(super) fn journal_wake(&self, after: Instant) -> Option<Instant> {
        self.desk.as_ref()?.scribe.next_wake(after)
    }

    pub(super) fn stored(&mut self, letter: &Letter, committed_at_ms: u64, now: Instant) {
        if let Some(desk) = &mut self.desk {
            desk.scribe.acked(letter, committed_at_ms, now);
        }
    }

    /// A send has come to an end without an ack.
    pub(super) fn gave_up(&mut self, settled: Settled<SendReply>, error: SendError, now: Instant) {
        let Settled { letter, reply, .. } = settled;
        if let (None, SendError::Refused(refusal)) = (&reply.outcome, &error) {
            let counters = &self.shared.counters;
            counters.lost_one(letter.conversation, refusal);
        }
        let told = match &mut self.desk {
            None => Some((reply, error)),
            Some(desk) if matches!(error, SendError::OutcomeUnknown { .. }) => {
                desk.scribe.unknown(&letter);
                Some((reply, error))
            }
            Some(desk) => desk.scribe.ended(&letter, reply, error, now),
        };
        if let Some((reply, error)) = told {
            reply.settle(Err(error));
        }
    }

    /// The client ends: no send goes on, and the last changes are still to be written.
    pub(crate) fn end_sends(&mut self, now: Instant) {
        if let Some(desk) = &mut self.desk {
            let outcomes = desk.scribe.end();
            self.settle(outcomes);
        }
        for (settled, error) in self.outbox.close() {
            self.gave_up(settled, error, now);
        }
    }

    /// Whoever still waits for the journal is told what is known.
    pub(crate) fn give_up_journal(&mut self) {
        if let Some(desk) = &mut self.desk {
            let outcomes = desk.scribe.give_up();
            self.settle(outcomes);
        }
    }

    fn settle(&mut self, outcomes: Vec<Outcome<SendReply, PersistReply>>) {
        for outcome in outcomes {
            match outcome {
                Outcome::Accept(letter, reply) => {
                    self.outbox.accept(letter, reply);
                }
                Outcome::Settle(reply, error) => reply.settle(Err(error)),
                Outcome::Persisted(reply, done) => reply.settle(done),
            }
        }
    }
}

/// One that the journal keeps goes for as long as it takes.
fn letter(entry: JournalEntry, now: Instant) -> Letter {
    let priority =
        wire::Send::decode(entry.send.clone()).map_or(Priority::Chat, |send| send.priority());
    Letter {
        conversation: entry.conversation,
        id: entry.client_message_id,
        body: entry.send,
        priority,
        deadline: clock::after(now, Duration::MAX),
    }
}
