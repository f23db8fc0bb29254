//! Which conversations the inbox follows: the list of memberships, read page by page, and the
//! notices and hints that come meanwhile.
//!
//! A page is as of the moment when it was read. What is heard while a list is being read is newer
//! than its pages, and is not undone by them.

use std::collections::{BTreeMap, HashSet};

use protocol::id::ConversationKind;
use protocol::limits::CONVERSATIONS_PER_ACCOUNT_MAX;
use protocol::{AccountId, ConversationId, SequenceNumber};

use super::lane::{Lane, PullState};
use super::{Inbox, Output};
use crate::config::StartFrom;
use crate::message::Conversation;

/// Heads remembered of conversations that are not known yet; one more is dropped, and counted as a
/// forgotten push: the list of memberships that is asked for then has the head.
const UNKNOWN_HEADS_MAX: usize = 1024;

/// The list while it is being read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    named: HashSet<ConversationId>,
    /// Left since it began.
    left: HashSet<ConversationId>,
}

/// Hints of conversations that are not known.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    heads: BTreeMap<ConversationId, Hint>,
    /// More was heard of than could be remembered.
    overflowed: bool,
}

#[derive(Debug, Default)]
struct Hint {
    head: u64,
    /// Heard after the reading began, whose pages may be older.
    late: bool,
}

impl Inbox {
    /// A session begins, and the list of memberships with it.
    pub(crate) fn connected(&mut self, account: AccountId) {
        self.account = account;
        self.memberships_begin();
    }

    pub(crate) fn memberships_begin(&mut self) {
        self.reading = Some(Reading::default());
        self.unknown.overflowed = false;
        for hint in self.unknown.heads.values_mut() {
            hint.late = false;
        }
    }

    /// How far an earlier run was in a conversation that this one has not seen yet. A log that was
    /// set back goes on below its mark.
    pub(crate) fn resumes(&self, membership: &Conversation) -> Option<SequenceNumber> {
        let mark = self.resume.get(&membership.id)?;
        Some(membership.head.min(*mark))
    }

    /// One of the memberships that are being read.
    pub(crate) fn membership(&mut self, membership: &Conversation) {
        if let Some(reading) = &mut self.reading {
            if reading.left.contains(&membership.id) {
                return;
            }
            reading.named.insert(membership.id);
        }
        let first = !self.read_once;
        let is_new = !self.lanes.contains_key(&membership.id);
        let was_left = self.enter(membership, first);
        self.announce(membership, (is_new && !first) || was_left);
    }

    /// All memberships are read: a group that was not named is left, and a pair of which something
    /// was heard has just begun.
    pub(crate) fn memberships_end(&mut self) {
        let Some(reading) = self.reading.take() else {
            return;
        };
        self.read_once = true;
        let gone: Vec<_> = self
            .lanes
            .iter()
            .filter(|(id, lane)| lane.is_in() && is_group(id) && !reading.named.contains(id))
            .map(|(id, _)| *id)
            .collect();
        gone.into_iter().for_each(|id| self.leave(id));
        let mut unsure = self.unknown.overflowed;
        for (id, hint) in std::mem::take(&mut self.unknown.heads) {
            if id.is_pair_of(self.account) {
                self.lanes.insert(id, Lane::new(self.history, 1, hint.head));
                self.want(id);
            } else if hint.late {
                unsure = true;
                self.unknown.heads.insert(id, hint);
            }
        }
        if unsure {
            self.outputs.push_back(Output::MembershipsUnsure);
        }
    }

    /// The account joined a conversation, or is in it, says a notice that may be older than the list.
    pub(crate) fn joined(&mut self, membership: &Conversation) {
        let id = membership.id;
        let is_new = !self.lanes.contains_key(&id);
        if let Some(reading) = &mut self.reading {
            reading.left.remove(&id);
        }
        // A change of members is told without marks. Where an earlier stay may have one, and before
        // anything is known of earlier runs, only the list says where to begin.
        let knows_no_mark = membership.delivered.0 == 0;
        let has_past = knows_no_mark && membership.readable_from < membership.head;
        if self.is_stale(id) || is_new && (has_past || !self.read_once) {
            self.is_known(id, membership.head.0);
            return;
        }
        if let Some(reading) = &mut self.reading {
            reading.named.insert(id);
        }
        let was_left = self.enter(membership, false);
        self.announce(membership, is_new || was_left);
    }

    /// The account left a conversation.
    pub(crate) fn left(&mut self, conversation: ConversationId) {
        if let Some(reading) = &mut self.reading {
            reading.named.remove(&conversation);
            reading.left.insert(conversation);
        }
        let is_in = self.lanes.get(&conversation).is_some_and(Lane::is_in);
        if is_in && !self.is_stale(conversation) {
            self.leave(conversation);
        }
    }

    /// Whether a hint can be followed at once. Makes the lane of a pair that begins; remembers the
    /// head of what is not known.
    pub(super) fn is_known(&mut self, conversation: ConversationId, head: u64) -> bool {
        if self.lanes.get(&conversation).is_some_and(|lane| !lane.left) {
            return true;
        }
        // While the list is being read, where a pair begins may still be on a later page.
        if self.reading.is_none() && conversation.is_pair_of(self.account) {
            self.lanes
                .insert(conversation, Lane::new(self.history, 1, 0));
            return true;
        }
        let heads = &mut self.unknown.heads;
        if heads.len() < UNKNOWN_HEADS_MAX || heads.contains_key(&conversation) {
            let hint = heads.entry(conversation).or_default();
            hint.head = hint.head.max(head);
            hint.late = self.reading.is_some();
        } else {
            self.unknown.overflowed |= self.reading.is_some();
            self.outputs.push_back(Output::Forgotten(conversation));
        }
        if self.reading.is_none() {
            self.outputs.push_back(Output::MembershipsUnsure);
        }
        false
    }

    /// The account is in this conversation. `first`: as of the client's first sight of its list.
    /// Returns whether it had left it.
    fn enter(&mut self, membership: &Conversation, first: bool) -> bool {
        let id = membership.id;
        let readable_from = membership.readable_from.0.max(1);
        let hint = self.unknown.heads.remove(&id).map_or(0, |hint| hint.head);
        let head = membership.head.0.max(hint);
        let resume = self.resumes(membership);
        self.resume.remove(&id);
        let was_left = match self.lanes.get_mut(&id) {
            Some(lane) => {
                lane.head = lane.head.max(head);
                lane.heard_since = lane.heard_since.max(head);
                lane.left_at = None;
                if std::mem::replace(&mut lane.leaving, false) {
                    // It is back before its leave was read: that stands between what it reads.
                    self.outputs.push_back(Output::Left(id));
                    true
                } else {
                    lane.next = lane.next.max(readable_from);
                    std::mem::replace(&mut lane.left, false)
                }
            }
            None => {
                let after_mark = (membership.delivered.0 + 1).max(readable_from);
                let next = match self.start_from {
                    _ if let Some(mark) = resume => (mark.0 + 1).max(readable_from),
                    StartFrom::Beginning if first => readable_from,
                    StartFrom::Head if first => membership.head.0 + 1,
                    StartFrom::Mark | StartFrom::Beginning | StartFrom::Head => after_mark,
                };
                let mut lane = Lane::new(self.history, next, head);
                lane.backlog_up_to = membership.joined.0.saturating_sub(1);
                if first {
                    lane.redelivered_up_to = membership.delivered.0;
                    lane.backlog_up_to = membership.head.0;
                }
                self.lanes.insert(id, lane);
                false
            }
        };
        self.want(id);
        was_left
    }

    fn announce(&mut self, membership: &Conversation, is_news: bool) {
        if is_news && is_group(&membership.id) {
            let name = membership.name.clone();
            self.outputs.push_back(Output::Joined(membership.id, name));
        }
    }

    /// What lies before the leave entry is still handed over, then that it has left. The lane
    /// stays, so that what was handed over is not handed over again after a return.
    fn leave(&mut self, conversation: ConversationId) {
        if self.lanes.len() > CONVERSATIONS_PER_ACCOUNT_MAX
            && let Some(lane) = self.lanes.remove(&conversation)
        {
            if lane.pull == PullState::InFlight {
                self.in_flight -= 1;
            }
            self.outputs.push_back(Output::Left(conversation));
            return;
        }
        let Some(lane) = self.lanes.get_mut(&conversation) else {
            return;
        };
        if lane.left_at.is_some_and(|left_at| left_at + 1 == lane.next) {
            return self.finish_leaving(conversation);
        }
        lane.leaving = true;
        // There is at least its leave entry to be read.
        lane.head = lane.head.max(lane.next);
        lane.heard_since = lane.head;
        self.want(conversation);
    }

    /// Whether the log has nothing more for an account that has left.
    pub(super) fn has_read_to_its_leave(&self, conversation: ConversationId) -> bool {
        let lane = self.lanes.get(&conversation);
        lane.is_some_and(|lane| lane.leaving && lane.next > lane.head)
    }

    /// Whether the account has left, and knows it.
    pub(super) fn has_left(&self, conversation: ConversationId) -> bool {
        self.lanes.get(&conversation).is_some_and(|lane| lane.left)
    }
}

fn is_group(conversation: &ConversationId) -> bool {
    match conversation.kind() {
        ConversationKind::Group(_) => true,
        ConversationKind::Pair(..) => false,
    }
}

#[cfg(test)]
mod tests;
