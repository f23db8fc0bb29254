//! How far the application is in each conversation, and what the server has yet to hear of it.
//! Cumulative, only rising, conflated: the newest of each conversation. Pure.

use std::collections::{HashMap, HashSet};

use protocol::limits::MARKS_PER_FRAME_MAX;
use protocol::wire;
use protocol::{ConversationId, SequenceNumber};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Mark {
    delivered: SequenceNumber,
    read: SequenceNumber,
}

/// The marks of one account. As many as it has conversations.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    ours: HashMap<ConversationId, Mark>,
    unsent: HashSet<ConversationId>,
    /// How far the application itself is, which the server may be ahead of: an earlier run told it
    /// more than it wrote down.
    done: HashMap<ConversationId, SequenceNumber>,
    /// Of these, what was raised since they were last taken for the journal.
    unwritten: HashSet<ConversationId>,
    /// Conversations whose history is another one since: how far that was handed over. A mark above
    /// is still of the one that is gone.
    parted: HashMap<ConversationId, SequenceNumber>,
}

impl Marks {
    /// Returns whether there was nothing to send before, and now there is.
    pub(crate) fn raise_delivered(&mut self, at: ConversationId, to: SequenceNumber) -> bool {
        if self.is_of_another_history(at, to) {
            return false;
        }
        self.note_done(at, to);
        let mark = self.ours.entry(at).or_default();
        if to <= mark.delivered {
            return false;
        }
        mark.delivered = to;
        self.note(at)
    }

    /// What is read is delivered too. Returns as [`Marks::raise_delivered`] does.
    pub(crate) fn raise_read(&mut self, at: ConversationId, to: SequenceNumber) -> bool {
        if self.is_of_another_history(at, to) {
            return false;
        }
        self.note_done(at, to);
        let mark = self.ours.entry(at).or_default();
        if to <= mark.read {
            return false;
        }
        mark.read = to;
        mark.delivered = mark.delivered.max(to);
        self.note(at)
    }

    /// What the store has. Where it lags it is told again: marks have no answer, so those of a lost
    /// connection may not have arrived.
    pub(crate) fn server_has(
        &mut self,
        at: ConversationId,
        delivered: SequenceNumber,
        read: SequenceNumber,
    ) {
        let mark = self.ours.entry(at).or_default();
        if mark.delivered > delivered || mark.read > read {
            self.unsent.insert(at);
        }
        mark.delivered = mark.delivered.max(delivered);
        mark.read = mark.read.max(read);
    }

    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// The next frame's worth, which counts as sent from now on.
    pub(crate) fn take(&mut self) -> Option<Vec<wire::Mark>> {
        let some: Vec<_> = self
            .unsent
            .iter()
            .copied()
            .take(MARKS_PER_FRAME_MAX)
            .collect();
        let marks: Vec<_> = some
            .into_iter()
            .map(|at| {
                self.unsent.remove(&at);
                let mark = self.ours.get(&at).copied().unwrap_or_default();
                wire::Mark {
                    conversation_id: at.to_bytes(),
                    delivered: mark.delivered.0,
                    read: mark.read.0,
                }
            })
            .collect();
        (!marks.is_empty()).then_some(marks)
    }

    /// What the application has raised since the last time, to be written.
    pub(crate) fn take_unwritten(&mut self) -> Vec<(ConversationId, SequenceNumber)> {
        let some: Vec<_> = self.unwritten.drain().collect();
        some.into_iter()
            .filter_map(|at| Some((at, *self.done.get(&at)?)))
            .collect()
    }

    /// An earlier run was so far, by what it wrote down; the server is told if it does not know.
    pub(crate) fn resume(&mut self, at: ConversationId, to: SequenceNumber) {
        self.raise_delivered(at, to);
        self.done.insert(at, to);
        self.unwritten.remove(&at);
    }

    /// Above this entry the history is another one: what was marked there is forgotten.
    pub(crate) fn part(&mut self, conversation: ConversationId, at: SequenceNumber) {
        if let Some(mark) = self.ours.get_mut(&conversation) {
            mark.delivered = mark.delivered.min(at);
            mark.read = mark.read.min(at);
        }
        if let Some(done) = self.done.get_mut(&conversation) {
            *done = (*done).min(at);
        }
        self.parted.insert(conversation, at);
    }

    /// The application was handed this.
    pub(crate) fn handed_over(&mut self, conversation: ConversationId, sequence: SequenceNumber) {
        if let Some(handed) = self.parted.get_mut(&conversation) {
            *handed = (*handed).max(sequence);
        }
    }

    fn is_of_another_history(&self, at: ConversationId, to: SequenceNumber) -> bool {
        self.parted.get(&at).is_some_and(|handed| to > *handed)
    }

    fn note_done(&mut self, at: ConversationId, to: SequenceNumber) {
        let done = self.done.entry(at).or_default();
        if to > *done {
            *done = to;
            self.unwritten.insert(at);
        }
    }

    fn note(&mut self, at: ConversationId) -> bool {
        let first = self.unsent.is_empty();
        self.unsent.insert(at);
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_of_a_history_that_is_gone_is_not_taken_for_the_new_one() {
        let mut marks = Marks::default();
        let at = ConversationId::group(1);
        marks.raise_read(at, SequenceNumber(50));
        marks.take_unwritten();
        marks.part(at, SequenceNumber(20));
        marks.server_has(at, SequenceNumber(18), SequenceNumber(10));
        // The application marks late what it had taken before.
        assert!(!marks.raise_delivered(at, SequenceNumber(51)));
        assert!(!marks.raise_read(at, SequenceNumber(50)));
        let sent = marks.take().unwrap();
        assert_eq!((sent[0].delivered, sent[0].read), (20, 20));
        marks.handed_over(at, SequenceNumber(21));
        assert!(marks.raise_delivered(at, SequenceNumber(21)));
        assert!(!marks.raise_delivered(at, SequenceNumber(50)));
        assert_eq!(marks.take_unwritten(), [(at, SequenceNumber(21))]);
    }

    #[test]
    fn marks_only_rise_and_the_newest_is_sent_once() {
        let mut marks = Marks::default();
        let at = ConversationId::group(1);
        assert!(marks.raise_delivered(at, SequenceNumber(3)));
        assert!(!marks.raise_delivered(at, SequenceNumber(5)));
        assert!(!marks.raise_delivered(at, SequenceNumber(4)));
        assert!(!marks.raise_read(at, SequenceNumber(2)));
        let sent = marks.take().unwrap();
        assert_eq!((sent.len(), sent[0].delivered, sent[0].read), (1, 5, 2));
        assert!(marks.take().is_none());
    }

    #[test]
    fn a_server_that_lags_is_told_again_and_one_that_leads_is_believed() {
        let mut marks = Marks::default();
        let at = ConversationId::group(1);
        marks.raise_delivered(at, SequenceNumber(5));
        marks.take();
        marks.server_has(at, SequenceNumber(4), SequenceNumber::ZERO);
        assert_eq!(marks.take().unwrap()[0].delivered, 5);
        marks.server_has(at, SequenceNumber(9), SequenceNumber::ZERO);
        assert!(marks.take().is_none());
        assert!(!marks.raise_delivered(at, SequenceNumber(7)));
    }
}
