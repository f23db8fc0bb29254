//! The log is the truth, a push is a hint: makes of whatever arrives each conversation's entries in
//! order and without duplicates, and says what to pull. Pure: takes `now`, never waits.
//!
//! Nothing is kept out of order: an entry beyond the next expected one only raises the head, and
//! what lies between is pulled, by one pull a conversation at a time. So the state is a few numbers
//! a conversation, however slow the application.

mod lane;
mod memberships;
mod parting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::{AccountId, ConversationId, ErrorCode, Refusal, SequenceNumber};
use tokio::time::Instant;

use self::lane::{Lane, PullState};
use self::memberships::{Reading, Unknown};
use crate::config::StartFrom;
use crate::message::{Entry, Message, PullPage};

/// Pulls in flight at once: enough to hide the way to the server and back, and few beside sends.
pub(crate) const PULLS_IN_FLIGHT_MAX: usize = 8;

/// What the inbox brings about, in order.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all of them are the largest"
)]
pub(crate) enum Output {
    /// Hand this over; the content's length in bytes.
    Message(Message, usize),
    /// The number says nothing.
    Skip(ConversationId, SequenceNumber),
    Trimmed {
        conversation: ConversationId,
        from: SequenceNumber,
        up_to: SequenceNumber,
    },
    Joined(ConversationId, String),
    Left(ConversationId),
    /// Another history: what was handed over above is not in it.
    Parted(ConversationId, SequenceNumber),
    /// Something came of a group that is not known: the memberships must be read again.
    MembershipsUnsure,
    /// To be counted.
    Duplicate(ConversationId, SequenceNumber),
    Gap(ConversationId, SequenceNumber, u64),
    Repaired(ConversationId),
    Forgotten(ConversationId),
    ContentUnknown(ConversationId, SequenceNumber),
}

/// All conversations of one account.
#[derive(Debug)]
pub(crate) struct Inbox {
    account: AccountId,
    /// The history that the server has; 0: it does not say.
    history: u64,
    start_from: StartFrom,
    /// How far an earlier run was, by its own word.
    resume: BTreeMap<ConversationId, SequenceNumber>,
    /// In a fixed order, so that the same frames at the same times bring about the same.
    lanes: BTreeMap<ConversationId, Lane>,
    /// Lanes that lack something, in the order in which that was found.
    queued: VecDeque<ConversationId>,
    resting: BTreeSet<(Instant, ConversationId)>,
    in_flight: usize,
    unknown: Unknown,
    /// Present while the memberships are being read.
    reading: Option<Reading>,
    /// The memberships were read before: what is new in them is new.
    read_once: bool,
    room: bool,
    outputs: VecDeque<Output>,
}

impl Inbox {
    pub(crate) fn new(start_from: StartFrom) -> Self {
        Self {
            account: AccountId(0),
            history: 0,
            start_from,
            resume: BTreeMap::new(),
            lanes: BTreeMap::new(),
            queued: VecDeque::new(),
            resting: BTreeSet::new(),
            in_flight: 0,
            unknown: Unknown::default(),
            reading: None,
            read_once: false,
            room: true,
            outputs: VecDeque::new(),
        }
    }

    /// Conversations of which an earlier run has written down how far it was.
    pub(crate) fn resuming(
        mut self,
        marks: impl IntoIterator<Item = (ConversationId, SequenceNumber)>,
    ) -> Self {
        self.resume = marks.into_iter().collect();
        self
    }

    /// Answers to pulls in flight will not come.
    pub(crate) fn connection_lost(&mut self) {
        self.in_flight = 0;
        self.reading = None;
        let in_flight: Vec<_> = self
            .lanes
            .iter_mut()
            .filter(|(_, lane)| lane.pull == PullState::InFlight)
            .map(|(conversation, lane)| {
                lane.pull = PullState::Idle;
                *conversation
            })
            .collect();
        in_flight.into_iter().for_each(|lane| self.want(lane));
    }

    /// Whether the application has room for messages.
    pub(crate) fn set_room(&mut self, room: bool) {
        self.room = room;
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        let (conversation, sequence) = (entry.conversation, entry.sequence);
        if self.is_stale(conversation) || !self.is_known(conversation, sequence.0) {
            return;
        }
        let Some(lane) = self.lanes.get_mut(&conversation) else {
            return;
        };
        if sequence.0 < lane.next {
            self.outputs
                .push_back(Output::Duplicate(conversation, sequence));
        } else if sequence.0 == lane.next && self.room {
            self.deliver(entry);
        } else {
            if sequence.0 == lane.next {
                self.outputs.push_back(Output::Forgotten(conversation));
            }
            self.raise_head(conversation, sequence.0);
        }
    }

    pub(crate) fn head(&mut self, conversation: ConversationId, head: u64) {
        if !self.is_stale(conversation) && self.is_known(conversation, head) {
            self.raise_head(conversation, head);
        }
    }

    /// The answer to a pull. `rest_until`: when to ask again if it brought nothing.
    pub(crate) fn page(
        &mut self,
        conversation: ConversationId,
        page: PullPage,
        rest_until: Instant,
    ) {
        let room = self.room;
        let Some(lane) = self.answered(conversation) else {
            return;
        };
        // What was heard before the log was read, and is not in it, is not true.
        lane.head = lane.heard_since.max(page.head.0);
        if !room {
            self.outputs.push_back(Output::Forgotten(conversation));
            return self.want(conversation);
        }
        let before = lane.next;
        if page.trimmed_up_to.0 >= lane.next {
            let (from, up_to) = (SequenceNumber(lane.next), page.trimmed_up_to);
            lane.next = up_to.0 + 1;
            self.outputs.push_back(Output::Trimmed {
                conversation,
                from,
                up_to,
            });
            self.outputs.push_back(Output::Skip(conversation, up_to));
        }
        for entry in page.entries {
            if entry.conversation != conversation {
                break;
            }
            let next = self.next_of(conversation);
            if entry.sequence.0 < next {
                let sequence = entry.sequence;
                self.outputs
                    .push_back(Output::Duplicate(conversation, sequence));
            } else if entry.sequence.0 == next {
                self.deliver(entry);
            } else {
                break;
            }
            if self.has_left(conversation) {
                return;
            }
        }
        self.note_repaired(conversation);
        if self.has_read_to_its_leave(conversation) {
            self.finish_leaving(conversation);
        } else if self.next_of(conversation) > before {
            self.want(conversation);
        } else {
            self.rest(conversation, rest_until);
        }
    }

    /// A pull was refused, or (`refusal` is none) not answered in time.
    pub(crate) fn pull_failed(
        &mut self,
        conversation: ConversationId,
        refusal: Option<&Refusal>,
        rest_until: Instant,
    ) {
        let Some(lane) = self.answered(conversation) else {
            return;
        };
        if refusal.is_none_or(|r| r.is_retryable() || r.code == ErrorCode::Internal) {
            return self.rest(conversation, rest_until);
        }
        // What may not be read is not lacked; the next hint asks again.
        lane.head = lane.next - 1;
        lane.gap = false;
        if lane.leaving {
            self.finish_leaving(conversation);
        }
    }

    /// The next pull to send, which is in flight from now on: of this conversation, after this.
    pub(crate) fn next_pull(&mut self, now: Instant) -> Option<(ConversationId, SequenceNumber)> {
        while let Some((until, conversation)) = self.resting.first().copied()
            && until <= now
        {
            self.resting.pop_first();
            if let Some(lane) = self.lanes.get_mut(&conversation) {
                lane.pull = PullState::Idle;
            }
            self.want(conversation);
        }
        while self.room && self.in_flight < PULLS_IN_FLIGHT_MAX {
            let conversation = self.queued.pop_front()?;
            let Some(lane) = self.lanes.get_mut(&conversation) else {
                continue;
            };
            lane.pull = PullState::Idle;
            if lane.lacks() {
                lane.pull = PullState::InFlight;
                lane.heard_since = 0;
                self.in_flight += 1;
                return Some((conversation, SequenceNumber(lane.next - 1)));
            }
        }
        None
    }

    /// When the next lane after this moment has rested.
    pub(crate) fn next_wake(&self, after: Instant) -> Option<Instant> {
        self.resting
            .iter()
            .map(|(until, _)| *until)
            .find(|until| *until > after)
    }

    /// How many more pages may be asked for before they are wanted.
    pub(crate) const fn spare_pulls(&self) -> usize {
        if self.room {
            PULLS_IN_FLIGHT_MAX.saturating_sub(self.in_flight)
        } else {
            0
        }
    }

    pub(crate) fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}

#[cfg(test)]
mod tests;
