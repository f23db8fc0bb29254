//! How far a robot is done in each conversation: everything before its oldest open command. Pure.

use std::collections::{BTreeSet, HashMap};

use protocol::{ConversationId, SequenceNumber};

/// Open commands and the newest entry seen. One a conversation; open ones are bounded by the
/// robot's queue.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    tracks: HashMap<ConversationId, Track>,
}

#[derive(Debug, Default)]
struct Track {
    seen: SequenceNumber,
    open: BTreeSet<SequenceNumber>,
}

impl Ledger {
    /// A command that must come again if the robot ends before it is done.
    pub(super) fn begin(&mut self, at: ConversationId, sequence: SequenceNumber) {
        let track = self.tracks.entry(at).or_default();
        track.seen = track.seen.max(sequence);
        track.open.insert(sequence);
    }

    /// Something is done. Returns up to where everything is.
    pub(super) fn done(&mut self, at: ConversationId, sequence: SequenceNumber) -> SequenceNumber {
        let track = self.tracks.entry(at).or_default();
        track.seen = track.seen.max(sequence);
        track.open.remove(&sequence);
        match track.open.first() {
            Some(oldest) => SequenceNumber(oldest.0 - 1),
            None => track.seen,
        }
    }

    /// A command that was begun is done. `None`: it was of a history that is gone since.
    pub(super) fn ended(
        &mut self,
        at: ConversationId,
        sequence: SequenceNumber,
    ) -> Option<SequenceNumber> {
        let track = self.tracks.get(&at)?;
        let is_open = track.open.contains(&sequence);
        is_open.then(|| self.done(at, sequence))
    }

    /// The history is another one above this.
    pub(super) fn part(&mut self, conversation: ConversationId, at: SequenceNumber) {
        if let Some(track) = self.tracks.get_mut(&conversation) {
            track.seen = track.seen.min(at);
            track.open.retain(|open| *open <= at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stays_before_the_oldest_open_command() {
        let at = ConversationId::group(1);
        let mut ledger = Ledger::default();
        let n = SequenceNumber;
        assert_eq!(ledger.done(at, n(1)), n(1));
        ledger.begin(at, n(2));
        ledger.begin(at, n(4));
        assert_eq!(ledger.done(at, n(3)), n(1));
        assert_eq!(ledger.done(at, n(4)), n(1));
        assert_eq!(ledger.done(at, n(2)), n(4));

        ledger.begin(at, n(5));
        ledger.begin(at, n(9));
        ledger.part(at, n(5));
        assert_eq!(ledger.ended(at, n(9)), None);
        assert_eq!(ledger.ended(at, n(5)), Some(n(5)));
    }
}
