//! The way of a send around the journal: into it before it leaves, out of it at its end. Without a
//! journal it is the short way.

use std::sync::Arc;

use prost::Message as _;
use protocol::wire::{self, Priority};
use protocol::{ConversationId, SequenceNumber};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Engine;
use crate::clock;
use crate::config::ClientConfig;
use crate::error::SendError;
use crate::events;
use crate::journal::{Change, JournalError, JournalOwner, Kept};
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
}

/// The journal's side of the engine.
pub(super) struct Desk {
    place: String,
    owner: Option<JournalOwner>,
    scribe: Scribe<SendReply, PersistReply>,
    recovered: Vec<Recovered>,
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
            owner: kept.owner,
            scribe: Scribe::new(messages_max, bytes_max, &kept.entries),
            recovered: Vec::new(),
            is_failing: false,
        };
        for entry in kept.entries {
            let priority = wire::Send::decode(entry.send.clone())
                .map_or(Priority::Chat, |send| send.priority());
            let (sender, outcome) = oneshot::channel();
            desk.recovered.push(Recovered {
                conversation: entry.conversation,
                id: entry.client_message_id,
                outcome,
            });
            let letter = Letter {
                conversation: entry.conversation,
                id: entry.client_message_id,
                body: entry.send,
                priority,
                deadline: clock::after(now, Duration::MAX),
            };
            let reply = SendReply {
                outcome: Some(sender),
                room: None,
            };
            self.outbox.accept_again(letter, reply);
            self.shared.counters.recovered_one();
        }
        self.desk = Some(desk);
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

    pub(super) fn stored(&mut self, letter: &Letter, now: Instant) {
        if let Some(desk) = &mut self.desk {
            desk.scribe.acked(letter, now);
        }
    }

    /// A send has come to an end without an ack.
    pub(super) fn gave_up(&mut self, settled: Settled<SendReply>, error: SendError, now: Instant) {
        let Settled { letter, reply, .. } = settled;
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
