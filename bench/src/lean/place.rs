//! How far a client is in one conversation: what comes next, what it lacks, what it has marked.
//! A push is a hint, the log is the truth: a gap is pulled. Pure.

use protocol::ConversationId;

/// What to do with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// It is the next one.
    HandOver,
    /// It came before.
    Drop,
    /// Others come first.
    Lack,
}

/// A client's place in a conversation.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub conversation: ConversationId,
    /// The sequence number that comes next.
    next: u64,
    /// The highest that is known to exist.
    head: u64,
    /// A pull is on its way.
    pulling: bool,
    /// What the server was told is delivered.
    marked: u64,
}

impl Place {
    pub(super) const fn new(conversation: ConversationId, next: u64) -> Self {
        Self {
            conversation,
            next,
            head: 0,
            pulling: false,
            marked: next.saturating_sub(1),
        }
    }

    pub(super) const fn taken_up_to(&self) -> u64 {
        self.next - 1
    }

    /// An entry came, pushed or pulled.
    pub(super) fn take(&mut self, sequence: u64) -> Take {
        self.head = self.head.max(sequence);
        match sequence.cmp(&self.next) {
            std::cmp::Ordering::Equal => {
                self.next += 1;
                Take::HandOver
            }
            std::cmp::Ordering::Less => Take::Drop,
            std::cmp::Ordering::Greater => Take::Lack,
        }
    }

    /// The conversation has entries up to this one.
    pub(super) fn hear_of(&mut self, head: u64) {
        self.head = self.head.max(head);
    }

    /// Whether entries are known to exist that have not come.
    pub(super) const fn lacks(&self) -> bool {
        self.head >= self.next
    }

    /// Entries up to this one are gone by retention.
    pub(super) fn pass(&mut self, trimmed_up_to: u64) {
        self.next = self.next.max(trimmed_up_to + 1);
    }

    /// After which entry to pull, when something lacks and no pull is on its way yet.
    pub(super) fn pull(&mut self) -> Option<u64> {
        let lacks = self.lacks() && !self.pulling;
        self.pulling |= lacks;
        lacks.then(|| self.taken_up_to())
    }

    /// The pull has been answered, or the connection is a new one.
    pub(super) const fn pulled(&mut self) {
        self.pulling = false;
    }

    /// What to mark as delivered, when it is more than was marked.
    pub(super) fn mark(&mut self) -> Option<u64> {
        let taken = self.taken_up_to();
        (taken > self.marked).then(|| {
            self.marked = taken;
            taken
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_pulled_once_and_what_came_before_is_dropped() {
        let mut place = Place::new(ConversationId::group(1), 5);
        assert_eq!((place.take(5), place.take(4)), (Take::HandOver, Take::Drop));
        assert_eq!(
            (place.take(8), place.pull(), place.pull()),
            (Take::Lack, Some(5), None)
        );
        assert_eq!(
            (place.take(6), place.take(7)),
            (Take::HandOver, Take::HandOver)
        );
        place.pulled();
        assert_eq!((place.pull(), place.take(8)), (Some(7), Take::HandOver));
        place.pulled();
        assert_eq!(
            (place.pull(), place.mark(), place.mark()),
            (None, Some(8), None)
        );
    }

    #[test]
    fn a_head_and_what_is_trimmed_are_believed() {
        let mut place = Place::new(ConversationId::group(1), 5);
        place.hear_of(4);
        assert_eq!(place.pull(), None);
        place.hear_of(9);
        assert_eq!(place.pull(), Some(4));
        place.pass(7);
        place.pulled();
        assert_eq!((place.pull(), place.take(8)), (Some(7), Take::HandOver));
    }
}
