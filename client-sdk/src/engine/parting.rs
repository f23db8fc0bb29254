//! The server has another history than the one that the client's marks are of: a backup was
//! restored. The memberships say where the two parted; marks above are forgotten, and what the
//! journal has as stored is sent again. See [`crate::journal`].

use protocol::wire;
use protocol::{ConversationId, SequenceNumber};
use tokio::time::Instant;

use super::Engine;
use crate::message::Conversation;

impl Engine {
    /// What the hello says: the history that the marks are of; 0: there are none.
    pub(crate) const fn history_generation(&self) -> u64 {
        self.history_generation
    }

    /// The memberships are being read to learn where the histories parted. Until they are read
    /// nothing is said or asked about numbers.
    pub(super) fn is_parting(&self) -> bool {
        let theirs = self
            .session
            .as_ref()
            .map_or(0, |its| its.history_generation);
        theirs != 0 && self.history_generation != 0 && theirs != self.history_generation
    }

    /// A session begins, with the server's history.
    pub(super) fn enter_history(&mut self, welcome: &wire::Welcome, now: Instant) {
        let theirs = welcome.history_generation;
        self.inbox.enters(theirs);
        if self.is_parting() {
            self.send_what_may_be_lost(now);
        } else if self.history_generation == 0 && theirs != 0 {
            self.keep_history(theirs);
        }
    }

    /// One of the memberships by which the histories part.
    pub(super) fn part(&mut self, membership: &Conversation) {
        if self.is_parting() && !self.inbox.is_current(membership.id) {
            self.inbox.part(membership.id, membership.parted_at);
            self.forget_above(membership.id, membership.parted_at);
        }
    }

    /// All memberships are read.
    pub(super) fn memberships_end(&mut self) {
        if self.is_parting() {
            for conversation in self.inbox.stale() {
                self.inbox.part_unnamed(conversation);
                self.forget_above(conversation, SequenceNumber::ZERO);
            }
            let theirs = self
                .session
                .as_ref()
                .map_or(0, |its| its.history_generation);
            self.keep_history(theirs);
        }
        self.inbox.memberships_end();
    }

    fn forget_above(&mut self, conversation: ConversationId, at: SequenceNumber) {
        // Under the queue's lock, as the application takes: it marks before or after, not between.
        let mut queue = self.shared.queue.lock();
        queue.forget_above(conversation, at);
        self.shared.marks.lock().part(conversation, at);
        drop(queue);
        self.lower_journal(conversation, at);
    }

    fn keep_history(&mut self, history_generation: u64) {
        self.history_generation = history_generation;
        self.write_history(history_generation);
    }
}
