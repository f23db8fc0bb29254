//! What one member of a scenario has said and heard: its streams, its sends under way, and a tally
//! of each conversation, which checks the lean client's promise apart from it. Pure.

mod sending;

use std::collections::{BTreeSet, HashMap};

use prost::Message as _;
use protocol::content::{self, Content};
use protocol::wire::{Ephemeral, PullPage};
use protocol::{AccountId, ConversationId};

use crate::lean::{Entry, SCHEMA, Told};
use crate::scenarios::meter::Meter;
use crate::scenarios::pacing::Timing;
use crate::scenarios::workload::{Class, Pace, Stream, Through};
use crate::tally::Tally;

/// The moment at which a send was due stands at the start of its payload, in microseconds.
const STAMP_BYTES: usize = 8;

/// A stream and what is under way of it.
#[derive(Debug)]
struct Flow {
    stream: Stream,
    /// The member's place for it in [`Books::rooms`].
    room: usize,
    /// A number from 0 to 1 that differs from that of other streams.
    phase: f64,
    /// Sends begun in this round.
    begun: u64,
    /// Sends that are not through.
    under_way: u32,
    /// Numbers of sends that are acknowledged and have not come back.
    unreturned: BTreeSet<u64>,
}

/// A conversation that the member is in.
#[derive(Debug)]
struct Room {
    id: ConversationId,
    class: Class,
    tally: Tally,
    /// The streams of the member in it.
    flows: Vec<usize>,
    /// Its index among all conversations of the scenario.
    index: usize,
}

/// A send without an answer.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    flow: usize,
    due_us: u64,
}

/// A round that is under way.
#[derive(Debug, Clone, Copy)]
struct Round {
    timing: Timing,
    pace: Pace,
    through: Through,
}

/// One member's books.
#[derive(Debug)]
pub(super) struct Books {
    account: Option<AccountId>,
    rooms: Vec<Room>,
    /// Where the last entry was.
    last: usize,
    flows: Vec<Flow>,
    waiting: HashMap<u64, Waiting>,
    ticket: u64,
    round: Option<Round>,
    /// The server was the reason that nothing was sent until this moment.
    held_until_us: u64,
    /// The correlations of questions for heads, and of which conversation.
    asked: HashMap<u32, usize>,
    payload: Vec<u8>,
    heard: Vec<Heard>,
}

/// What the shell is to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// The session stands.
    Welcome(AccountId),
    /// A conversation has entries up to this one.
    Head { conversation: usize, head: u64 },
    /// The session cannot go on.
    Broken(String),
}

/// A conversation to enter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entered {
    /// Which.
    pub id: ConversationId,
    /// Its index among all conversations of the scenario.
    pub index: usize,
    /// Its entries after this one count.
    pub start: u64,
}

impl Books {
    pub(super) fn new(payload_bytes: usize) -> Self {
        Self {
            account: None,
            rooms: Vec::new(),
            last: 0,
            flows: Vec::new(),
            waiting: HashMap::new(),
            ticket: 0,
            round: None,
            held_until_us: 0,
            asked: HashMap::new(),
            payload: vec![b'.'; payload_bytes.max(STAMP_BYTES)],
            heard: Vec::new(),
        }
    }

    /// The member is in these, and has these streams, each with its phase.
    pub(super) fn enter(&mut self, rooms: &[Entered], streams: &[(Stream, usize, f64)]) {
        for entered in rooms {
            self.rooms.push(Room {
                id: entered.id,
                class: match entered.id.kind() {
                    protocol::id::ConversationKind::Group(_) => Class::Chat,
                    protocol::id::ConversationKind::Pair(..) => Class::Command,
                },
                tally: Tally::after(entered.start),
                flows: Vec::new(),
                index: entered.index,
            });
        }
        for (stream, conversation, phase) in streams {
            let room = self
                .rooms
                .iter()
                .position(|room| room.index == *conversation);
            // A member speaks where it is.
            let Some(room) = room else { continue };
            self.rooms[room].flows.push(self.flows.len());
            self.flows.push(Flow {
                stream: *stream,
                room,
                phase: *phase,
                begun: 0,
                under_way: 0,
                unreturned: BTreeSet::new(),
            });
        }
    }

    /// A round of load begins.
    pub(super) fn begin(&mut self, timing: Timing, pace: Pace, through: Through) {
        for flow in &mut self.flows {
            (flow.begun, flow.under_way) = (0, 0);
            flow.unreturned.clear();
        }
        self.waiting.clear();
        self.held_until_us = 0;
        self.round = Some(Round {
            timing,
            pace,
            through,
        });
    }

    /// How many sends have no answer.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Nothing could be written for a while: the server does not read.
    pub(super) const fn was_held_up(&mut self, until_us: u64) {
        self.held_until_us = until_us;
    }

    /// The lean client has heard something.
    pub(super) fn take(&mut self, told: Told<'_>, now_us: u64, meter: &mut Meter) {
        match told {
            Told::Welcome { account, .. } => {
                self.account = Some(account);
                self.heard.push(Heard::Welcome(account));
            }
            Told::Entry(entry) => self.entry(&entry, now_us, meter),
            Told::Acked { ticket, sequence } => self.acked(ticket, sequence, now_us, meter),
            Told::Refused { ticket, refusal } => {
                if let Some(waiting) = self.waiting.remove(&ticket) {
                    let flow = &mut self.flows[waiting.flow];
                    flow.under_way = flow.under_way.saturating_sub(1);
                    meter.refused(flow.stream.class, waiting.due_us, &refusal);
                }
            }
            Told::Ephemeral(body) => ephemeral(body, self.account, now_us, meter),
            Told::Answered {
                correlation,
                answer,
            } => self.answered(correlation, answer),
            Told::GoAway { .. } => {
                let why = "the server closes the connection".to_owned();
                self.heard.push(Heard::Broken(why));
            }
            Told::Membership { .. } | Told::Orders(_) => {}
        }
    }

    fn room(&mut self, conversation: &[u8]) -> Option<usize> {
        let is_it = |room: &Room| room.id.as_bytes() == conversation;
        if !self.rooms.get(self.last).is_some_and(is_it) {
            self.last = self.rooms.iter().position(is_it)?;
        }
        Some(self.last)
    }

    fn entry(&mut self, entry: &Entry<'_>, now_us: u64, meter: &mut Meter) {
        let Some(at) = self.room(entry.conversation) else {
            return;
        };
        let room = &mut self.rooms[at];
        room.tally.arrived(entry.sequence);
        match entry.payload() {
            Ok(Some(payload)) => {
                if let Some(due_us) = stamp(payload) {
                    meter.delivered(room.class, due_us, now_us);
                }
            }
            Ok(None) => {}
            Err(error) => self
                .heard
                .push(Heard::Broken(format!("an entry: {error:#}"))),
        }
        for flow in &room.flows {
            let flow = &mut self.flows[*flow];
            while flow
                .unreturned
                .first()
                .is_some_and(|first| *first <= entry.sequence)
            {
                flow.unreturned.pop_first();
                flow.under_way = flow.under_way.saturating_sub(1);
            }
        }
    }

    fn acked(&mut self, ticket: u64, sequence: u64, now_us: u64, meter: &mut Meter) {
        let Some(waiting) = self.waiting.remove(&ticket) else {
            return;
        };
        if self.held_until_us == u64::MAX {
            self.held_until_us = now_us;
        }
        let flow = &mut self.flows[waiting.flow];
        meter.acked(flow.stream.class, waiting.due_us, now_us);
        let returns = self
            .round
            .is_some_and(|round| round.through == Through::Returned);
        let has_come = self.rooms[flow.room].tally.highest() >= sequence;
        if returns && sequence > 0 && !has_come {
            flow.unreturned.insert(sequence);
        } else {
            flow.under_way = flow.under_way.saturating_sub(1);
        }
    }

    fn answered(&mut self, correlation: u32, answer: Result<(u16, &[u8]), protocol::Refusal>) {
        let Some(conversation) = self.asked.remove(&correlation) else {
            return;
        };
        let heard = match answer {
            // It is asked again.
            Err(refusal) if refusal.is_retryable() => return,
            Err(refusal) => Heard::Broken(format!("a head is not told: {refusal}")),
            Ok((_, body)) => match PullPage::decode(body) {
                Ok(page) => Heard::Head {
                    conversation,
                    head: page.head,
                },
                Err(error) => Heard::Broken(format!("a page: {error}")),
            },
        };
        self.heard.push(heard);
    }

    /// The answer to this question says how far a conversation is.
    pub(super) fn asks(&mut self, correlation: u32, conversation: usize) {
        self.asked.insert(correlation, conversation);
    }

    /// The conversation with this index, if the member is in it.
    pub(super) fn conversation(&self, index: usize) -> Option<ConversationId> {
        let room = self.rooms.iter().find(|room| room.index == index)?;
        Some(room.id)
    }

    /// What the shell does not know yet.
    pub(super) fn news(&mut self) -> Vec<Heard> {
        std::mem::take(&mut self.heard)
    }

    /// Whether something is missing of what there is up to these heads, by conversation.
    pub(super) fn lacks(&self, heads: &[u64]) -> bool {
        self.rooms
            .iter()
            .any(|room| room.tally.lost(heads[room.index]) > 0)
    }

    /// The round is over, with these heads: what was lost, repeated and out of order. The next one
    /// begins behind them.
    pub(super) fn close(&mut self, heads: &[u64], meter: &mut Meter) {
        self.round = None;
        self.waiting.clear();
        for room in &mut self.rooms {
            let head = heads[room.index];
            meter.lost += room.tally.lost(head);
            meter.duplicated += room.tally.duplicated;
            meter.out_of_order += room.tally.out_of_order;
            room.tally = Tally::after(head.max(room.tally.highest()));
        }
    }
}

fn ephemeral(body: &[u8], own: Option<AccountId>, now_us: u64, meter: &mut Meter) {
    let Ok(message) = Ephemeral::decode(body) else {
        return;
    };
    if own == Some(AccountId(message.sender)) {
        return;
    }
    if let Ok(Content::Data(data)) = content::decode(&message.content)
        && data.schema == SCHEMA
        && let Some(due_us) = stamp(&data.payload)
    {
        meter.delivered(Class::Telemetry, due_us, now_us);
    }
}

fn stamp(payload: &[u8]) -> Option<u64> {
    payload
        .first_chunk()
        .map(|bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;
