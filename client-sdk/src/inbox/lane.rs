//! One conversation in the inbox: where it stands, what becomes of an entry that is next, and
//! whether it lacks something.

use protocol::content::Content;
use protocol::wire::{EntryKind, MemberChange};
use protocol::{AccountId, ConversationId, SequenceNumber};
use tokio::time::Instant;

use super::{Inbox, Output};
use crate::message::{Entry, Message};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PullState {
    Idle,
    Queued,
    InFlight,
    Resting(Instant),
}

/// One conversation.
#[derive(Debug)]
pub(super) struct Lane {
    /// The history that it was read from.
    pub(super) history: u64,
    pub(super) next: u64,
    pub(super) head: u64,
    /// The highest head heard of since the pull in flight was sent: its page may not know it.
    pub(super) heard_since: u64,
    pub(super) redelivered_up_to: u64,
    pub(super) backlog_up_to: u64,
    pub(super) pull: PullState,
    pub(super) gap: bool,
    /// The account has left, and what it was entitled to is still being read.
    pub(super) leaving: bool,
    /// The entry by which the account left, once it is handed over.
    pub(super) left_at: Option<u64>,
    pub(super) left: bool,
}

impl Lane {
    pub(super) const fn new(history: u64, next: u64, head: u64) -> Self {
        Self {
            history,
            next,
            head,
            heard_since: 0,
            redelivered_up_to: 0,
            backlog_up_to: 0,
            pull: PullState::Idle,
            gap: false,
            leaving: false,
            left_at: None,
            left: false,
        }
    }

    /// Whether the account is a member, as far as is known.
    pub(super) const fn is_in(&self) -> bool {
        !self.left && !self.leaving
    }

    pub(super) const fn lacks(&self) -> bool {
        self.head >= self.next && !self.left
    }
}

/// Whether this is the entry by which the account leaves.
fn leaves(entry: &Entry, account: AccountId) -> bool {
    let its_own = |change: &MemberChange| change.account_id == account.0 && !change.joined;
    match &entry.content {
        Some(Content::Membership(membership)) => membership.changes.iter().any(its_own),
        Some(Content::Group(change)) => change.dissolved,
        Some(_) | None => false,
    }
}

impl Inbox {
    pub(super) fn next_of(&self, conversation: ConversationId) -> u64 {
        self.lanes.get(&conversation).map_or(0, |lane| lane.next)
    }

    pub(super) fn raise_head(&mut self, conversation: ConversationId, head: u64) {
        if let Some(lane) = self.lanes.get_mut(&conversation) {
            lane.head = lane.head.max(head);
            lane.heard_since = lane.heard_since.max(head);
            if self.room && lane.head >= lane.next && lane.pull == PullState::Idle && !lane.gap {
                lane.gap = true;
                let gap = Output::Gap(conversation, SequenceNumber(lane.next), lane.head);
                self.outputs.push_back(gap);
            }
            self.want(conversation);
        }
    }

    /// Hands the entry over, which is the next of its conversation.
    pub(super) fn deliver(&mut self, entry: Entry) {
        let (conversation, sequence) = (entry.conversation, entry.sequence);
        let Some(lane) = self.lanes.get_mut(&conversation) else {
            return;
        };
        lane.next = sequence.0 + 1;
        lane.head = lane.head.max(sequence.0);
        if leaves(&entry, self.account) {
            lane.left_at = Some(sequence.0);
        }
        let (redelivered, backlog) = (
            sequence.0 <= lane.redelivered_up_to,
            sequence.0 <= lane.backlog_up_to,
        );
        if let (Some(content), Some(client_message_id)) = (entry.content, entry.client_message_id) {
            let message = Message {
                conversation,
                sequence,
                sender: entry.sender,
                client_message_id,
                content,
                refers: entry.refers,
                committed_at_ms: entry.committed_at_ms,
                priority: entry.priority,
                deliver_before_ms: entry.deliver_before_ms,
                redelivered,
                backlog,
            };
            self.outputs
                .push_back(Output::Message(message, entry.content_bytes));
        } else {
            if !matches!(entry.kind, EntryKind::Placeholder | EntryKind::Recalled) {
                self.outputs
                    .push_back(Output::ContentUnknown(conversation, sequence));
            }
            self.outputs.push_back(Output::Skip(conversation, sequence));
        }
        self.note_repaired(conversation);
        let is_last = |lane: &Lane| lane.leaving && lane.left_at == Some(sequence.0);
        if self.lanes.get(&conversation).is_some_and(is_last) {
            self.finish_leaving(conversation);
        }
    }

    /// Nothing more of this conversation is for this account.
    pub(super) fn finish_leaving(&mut self, conversation: ConversationId) {
        if let Some(lane) = self.lanes.get_mut(&conversation) {
            lane.leaving = false;
            lane.left = true;
            lane.gap = false;
            self.outputs.push_back(Output::Left(conversation));
        }
    }

    pub(super) fn note_repaired(&mut self, conversation: ConversationId) {
        if let Some(lane) = self.lanes.get_mut(&conversation)
            && lane.gap
            && lane.next > lane.head
        {
            lane.gap = false;
            self.outputs.push_back(Output::Repaired(conversation));
        }
    }

    /// Queues a pull if something is lacked and none is under way.
    pub(super) fn want(&mut self, conversation: ConversationId) {
        if let Some(lane) = self.lanes.get_mut(&conversation)
            && lane.pull == PullState::Idle
            && lane.lacks()
        {
            lane.pull = PullState::Queued;
            self.queued.push_back(conversation);
        }
    }

    pub(super) fn rest(&mut self, conversation: ConversationId, until: Instant) {
        if let Some(lane) = self.lanes.get_mut(&conversation)
            && lane.lacks()
        {
            lane.pull = PullState::Resting(until);
            self.resting.insert((until, conversation));
        }
    }

    /// The lane whose pull was in flight and has come to an end.
    pub(super) fn answered(&mut self, conversation: ConversationId) -> Option<&mut Lane> {
        let lane = self
            .lanes
            .get_mut(&conversation)
            .filter(|lane| lane.pull == PullState::InFlight)?;
        lane.pull = PullState::Idle;
        self.in_flight -= 1;
        (!lane.left).then_some(lane)
    }
}
