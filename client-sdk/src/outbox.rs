//! The messages that are on their way: each keeps one id over all its attempts, until its fate is
//! known or its time is over. Pure: takes `now`, says what to send next.
//!
//! The order of one conversation's messages holds because one at a time is in flight until the
//! first ack on a connection; then the window opens. After a loss or a retryable refusal it closes
//! again, and what was in flight goes first; an ack of what was sent before it closed does not open
//! it. Emergencies wait for no window, and for none of the other letters of their conversation.

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use protocol::wire::Priority;
use protocol::{ClientMessageId, ConversationId, Refusal};
use tokio::time::Instant;

use crate::error::SendError;

/// One message, with all that does not change over its attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) conversation: ConversationId,
    pub(crate) id: ClientMessageId,
    /// An encoded `im.v1.Send`.
    pub(crate) body: Bytes,
    pub(crate) priority: Priority,
    /// When the sender gives up.
    pub(crate) deadline: Instant,
}

/// The order in which letters were accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(u64);

/// A letter whose fate is known.
#[derive(Debug)]
pub(crate) struct Settled<R> {
    pub(crate) letter: Letter,
    pub(crate) reply: R,
    pub(crate) attempts: u32,
}

#[derive(Debug)]
struct Waiting<R> {
    letter: Letter,
    reply: R,
    attempts: u32,
    in_flight: bool,
    /// The lane's round when it was last sent.
    round: u64,
    /// An attempt may have taken effect without our knowing.
    doubtful: bool,
    last: Option<Refusal>,
}

/// A conversation, and whether it is its lane of emergencies: these wait for nothing else in it.
type LaneKey = (ConversationId, bool);

fn lane_of(letter: &Letter) -> LaneKey {
    let is_emergency = letter.priority == Priority::Emergency;
    (letter.conversation, is_emergency)
}

/// One lane.
#[derive(Debug, Default)]
struct Lane {
    queued: BTreeSet<Ticket>,
    in_flight: usize,
    /// Something sent in this round is acked: more than one may be in flight.
    open: bool,
    /// Rises each time the window closes.
    round: u64,
    /// A retryable refusal asks for a pause.
    rest_until: Option<Instant>,
    /// Its entry in `ready`.
    listed: Option<(u8, Ticket)>,
}

/// All letters. `R` is whoever waits for the fate of one.
///
/// Its bound is kept by whoever accepts letters: one too many is refused, none is dropped.
#[derive(Debug)]
pub(crate) struct Outbox<R> {
    waiting: HashMap<Ticket, Waiting<R>>,
    lanes: HashMap<LaneKey, Lane>,
    /// The first letter of each lane that may send now, the most urgent first.
    ready: BTreeSet<(u8, Ticket)>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    resting: HashSet<LaneKey>,
    in_flight: usize,
    window: usize,
    last_ticket: u64,
    /// Tickets that go before all others count down from the middle.
    first_ticket: u64,
}

impl<R> Outbox<R> {
    pub(crate) fn new() -> Self {
        Self {
            waiting: HashMap::new(),
            lanes: HashMap::new(),
            ready: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            resting: HashSet::new(),
            in_flight: 0,
            window: 0,
            last_ticket: u64::MAX / 2,
            first_ticket: u64::MAX / 2 + 1,
        }
    }

    pub(crate) fn accept(&mut self, letter: Letter, reply: R) -> Ticket {
        self.last_ticket += 1;
        self.accept_as(Ticket(self.last_ticket), letter, reply)
    }

    /// One that goes before all that wait, and that was sent before.
    pub(crate) fn accept_before(&mut self, letter: Letter, reply: R) {
        self.first_ticket -= 1;
        let ticket = self.accept_as(Ticket(self.first_ticket), letter, reply);
        self.doubt(ticket);
    }

    fn accept_as(&mut self, ticket: Ticket, letter: Letter, reply: R) -> Ticket {
        let conversation = lane_of(&letter);
        self.deadlines.insert((letter.deadline, ticket));
        self.lanes
            .entry(conversation)
            .or_default()
            .queued
            .insert(ticket);
        let waiting = Waiting {
            letter,
            reply,
            attempts: 0,
            in_flight: false,
            round: 0,
            doubtful: false,
            last: None,
        };
        self.waiting.insert(ticket, waiting);
        self.list(conversation);
        ticket
    }

    /// One of an earlier run, which may have sent it.
    pub(crate) fn accept_again(&mut self, letter: Letter, reply: R) {
        let ticket = self.accept(letter, reply);
        self.doubt(ticket);
    }

    fn doubt(&mut self, ticket: Ticket) {
        if let Some(waiting) = self.waiting.get_mut(&ticket) {
            waiting.doubtful = true;
        }
    }

    /// A session begins: so many may be in flight at once.
    pub(crate) fn connected(&mut self, window: usize) {
        self.window = window.max(1);
    }

    /// What was in flight may or may not have arrived, and goes again.
    pub(crate) fn connection_lost(&mut self) {
        self.window = 0;
        self.in_flight = 0;
        for (ticket, waiting) in &mut self.waiting {
            if waiting.in_flight {
                waiting.in_flight = false;
                waiting.doubtful = true;
                if let Some(lane) = self.lanes.get_mut(&lane_of(&waiting.letter)) {
                    lane.queued.insert(*ticket);
                }
            }
        }
        self.lanes.retain(|_, lane| {
            lane.in_flight = 0;
            lane.open = false;
            lane.rest_until = None;
            !lane.queued.is_empty()
        });
        self.resting.clear();
        let lanes: Vec<_> = self.lanes.keys().copied().collect();
        lanes.into_iter().for_each(|lane| self.list(lane));
    }

    /// The next letter to send, which is in flight from now on.
    pub(crate) fn next(&mut self) -> Option<(Ticket, &Letter, u32)> {
        let (_, ticket) = self.ready.first().copied()?;
        if self.window == 0 || (self.in_flight >= self.window && !self.is_urgent()) {
            return None;
        }
        let waiting = self.waiting.get_mut(&ticket)?;
        waiting.in_flight = true;
        waiting.attempts += 1;
        self.in_flight += 1;
        let conversation = lane_of(&waiting.letter);
        if let Some(lane) = self.lanes.get_mut(&conversation) {
            lane.queued.remove(&ticket);
            lane.in_flight += 1;
            waiting.round = lane.round;
        }
        self.list(conversation);
        let waiting = self.waiting.get(&ticket)?;
        Some((ticket, &waiting.letter, waiting.attempts))
    }

    /// The next to send.
    pub(crate) fn first(&self) -> Option<&Letter> {
        let (_, ticket) = self.ready.first()?;
        self.waiting.get(ticket).map(|waiting| &waiting.letter)
    }

    /// Whether an emergency is the next to send.
    pub(crate) fn is_urgent(&self) -> bool {
        self.ready
            .first()
            .is_some_and(|(rank, _)| *rank == Priority::Emergency as u8)
    }

    /// Stored: the window of its conversation opens.
    pub(crate) fn acked(&mut self, ticket: Ticket) -> Option<Settled<R>> {
        let waiting = self.waiting.get(&ticket)?;
        if let Some(lane) = self.lanes.get_mut(&lane_of(&waiting.letter))
            && lane.round == waiting.round
        {
            lane.open = true;
        }
        self.settle(ticket)
    }

    /// Refused for good.
    pub(crate) fn refused(&mut self, ticket: Ticket) -> Option<Settled<R>> {
        self.settle(ticket)
    }

    /// Refused for now, or unanswered (`refusal` is none): again, when the lane has rested.
    /// `doubtful`: this attempt may have taken effect.
    pub(crate) fn again(
        &mut self,
        ticket: Ticket,
        refusal: Option<Refusal>,
        doubtful: bool,
        rest_until: Instant,
    ) {
        let Some(waiting) = self.waiting.get_mut(&ticket).filter(|w| w.in_flight) else {
            return;
        };
        waiting.in_flight = false;
        waiting.doubtful |= doubtful;
        waiting.last = refusal.or_else(|| waiting.last.take());
        self.in_flight -= 1;
        let conversation = lane_of(&waiting.letter);
        let lane = self.lanes.entry(conversation).or_default();
        lane.in_flight = lane.in_flight.saturating_sub(1);
        lane.queued.insert(ticket);
        lane.open = false;
        lane.round += 1;
        lane.rest_until = lane.rest_until.max(Some(rest_until));
        self.resting.insert(conversation);
        self.list(conversation);
    }

    /// Letters whose time is over, with what is known of them; and lanes that have rested.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<(Settled<R>, SendError)> {
        let rested: Vec<_> = self
            .resting
            .iter()
            .copied()
            .filter(|lane| self.rest_of(lane).is_none_or(|until| until <= now))
            .collect();
        for conversation in rested {
            self.resting.remove(&conversation);
            if let Some(lane) = self.lanes.get_mut(&conversation) {
                lane.rest_until = None;
            }
            self.list(conversation);
        }
        let mut over = Vec::new();
        while let Some((deadline, ticket)) = self.deadlines.first().copied()
            && deadline <= now
        {
            self.deadlines.pop_first();
            over.extend(self.give_up(ticket));
        }
        over
    }

    /// Everything, because the client ends.
    pub(crate) fn close(&mut self) -> Vec<(Settled<R>, SendError)> {
        let mut tickets: Vec<_> = self.waiting.keys().copied().collect();
        tickets.sort_unstable();
        tickets
            .into_iter()
            .filter_map(|ticket| self.give_up(ticket))
            .collect()
    }

    /// When [`Outbox::tick`] has something to do.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let rested = self.resting.iter().filter_map(|lane| self.rest_of(lane));
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        rested.chain(deadline).min()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn rest_of(&self, lane: &LaneKey) -> Option<Instant> {
        self.lanes.get(lane).and_then(|lane| lane.rest_until)
    }

    fn give_up(&mut self, ticket: Ticket) -> Option<(Settled<R>, SendError)> {
        let waiting = self.waiting.get(&ticket)?;
        let (client_message_id, last) = (waiting.letter.id, waiting.last.clone());
        let error = if waiting.doubtful || waiting.in_flight {
            SendError::OutcomeUnknown {
                client_message_id,
                last,
            }
        } else {
            SendError::NotSent {
                client_message_id,
                last,
                journal: None,
            }
        };
        Some((self.settle(ticket)?, error))
    }

    fn settle(&mut self, ticket: Ticket) -> Option<Settled<R>> {
        let waiting = self.waiting.remove(&ticket)?;
        let conversation = lane_of(&waiting.letter);
        self.deadlines.remove(&(waiting.letter.deadline, ticket));
        if let Some(lane) = self.lanes.get_mut(&conversation) {
            if waiting.in_flight {
                self.in_flight -= 1;
                lane.in_flight = lane.in_flight.saturating_sub(1);
            }
            lane.queued.remove(&ticket);
        }
        self.list(conversation);
        self.forget_idle(conversation);
        Some(Settled {
            letter: waiting.letter,
            reply: waiting.reply,
            attempts: waiting.attempts,
        })
    }

    /// A lane that is empty and not open says nothing, and its rest was that of its letters. So there are as many as there are letters
    /// and conversations that took one: refused ones leave nothing behind.
    fn forget_idle(&mut self, conversation: LaneKey) {
        if let Some(lane) = self.lanes.get(&conversation)
            && lane.queued.is_empty()
            && lane.in_flight == 0
            && !lane.open
        {
            self.lanes.remove(&conversation);
            self.resting.remove(&conversation);
        }
    }

    /// Brings the lane's entry in `ready` up to date.
    fn list(&mut self, conversation: LaneKey) {
        let Some(lane) = self.lanes.get_mut(&conversation) else {
            return;
        };
        if let Some(listed) = lane.listed.take() {
            self.ready.remove(&listed);
        }
        let Some(first) = lane.queued.first().copied() else {
            return;
        };
        let Some(waiting) = self.waiting.get(&first) else {
            return;
        };
        let urgent = waiting.letter.priority == Priority::Emergency;
        let may_send = lane.rest_until.is_none() && (lane.in_flight == 0 || lane.open);
        if may_send || (urgent && lane.rest_until.is_none()) {
            let entry = (rank(waiting.letter.priority), first);
            lane.listed = Some(entry);
            self.ready.insert(entry);
        }
    }
}

/// Lower goes first.
fn rank(priority: Priority) -> u8 {
    match priority {
        Priority::Emergency => 1,
        Priority::Command => 2,
        Priority::Unspecified | Priority::Chat => 3,
        Priority::Telemetry => 4,
    }
}

#[cfg(test)]
mod tests;
