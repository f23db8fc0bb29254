//! What becomes of conversations when the server has another history than the one that they were
//! read from: a backup was restored. Up to the parting both are one; what was read above is not
//! there, and is forgotten.
//!
//! A lane belongs to the history that it was last read from. Until the list of memberships says
//! where it parted, nothing that comes of its conversation is taken: the numbers mean something else.

use protocol::{ConversationId, SequenceNumber};

use super::lane::PullState;
use super::{Inbox, Output};

impl Inbox {
    /// The server has this history (0: it does not say). What was read before it ever said so is
    /// taken to be of it.
    pub(crate) fn enters(&mut self, history: u64) {
        if history == 0 {
            return;
        }
        if self.history == 0 {
            for lane in self.lanes.values_mut() {
                lane.history = history;
            }
        }
        self.history = history;
    }

    /// Whether the conversation was read from another history, and not parted from it yet.
    pub(crate) fn is_stale(&self, conversation: ConversationId) -> bool {
        let lane = self.lanes.get(&conversation);
        lane.is_some_and(|lane| lane.history != self.history)
    }

    /// Whether the conversation was read from the server's history.
    pub(crate) fn is_current(&self, conversation: ConversationId) -> bool {
        let lane = self.lanes.get(&conversation);
        lane.is_some_and(|lane| lane.history == self.history)
    }

    /// The conversations that no membership has parted: the server's history does not have them.
    pub(crate) fn stale(&self) -> Vec<ConversationId> {
        let lanes = self.lanes.iter();
        lanes
            .filter(|(_, lane)| lane.history != self.history)
            .map(|(conversation, _)| *conversation)
            .collect()
    }

    /// Above this entry the histories differ.
    pub(crate) fn part(&mut self, conversation: ConversationId, at: SequenceNumber) {
        if let Some(mark) = self.resume.get_mut(&conversation) {
            *mark = (*mark).min(at);
        }
        let Some(lane) = self.lanes.get_mut(&conversation) else {
            return;
        };
        let was_above = lane.next > at.0 + 1;
        lane.history = self.history;
        lane.next = lane.next.min(at.0 + 1);
        lane.head = lane.next - 1;
        lane.heard_since = 0;
        lane.redelivered_up_to = lane.redelivered_up_to.min(at.0);
        lane.backlog_up_to = lane.backlog_up_to.min(at.0);
        lane.gap = false;
        lane.left_at = lane.left_at.filter(|left_at| *left_at <= at.0);
        if let PullState::Resting(until) = lane.pull {
            self.resting.remove(&(until, conversation));
            lane.pull = PullState::Idle;
        }
        if was_above {
            self.outputs.push_back(Output::Parted(conversation, at));
        }
    }

    /// The server's history does not have this conversation: a group is left, a pair begins anew.
    pub(crate) fn part_unnamed(&mut self, conversation: ConversationId) {
        self.part(conversation, SequenceNumber::ZERO);
        let is_in_group = self
            .lanes
            .get(&conversation)
            .is_some_and(|lane| !lane.left && !conversation.is_pair_of(self.account));
        if is_in_group {
            self.finish_leaving(conversation);
        }
    }
}
