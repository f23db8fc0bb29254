//! How far a reader of one conversation is: what comes next is handed over, what it has is dropped,
//! and a gap is pulled. The same rules that an inbox has.
//!
//! Pure.

use protocol::Refusal;
use protocol::wire::Entry;

/// The last entry that was handed over, and the history that it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Its sequence number.
    pub(super) after: u64,
    /// 0: not known.
    pub(super) history_generation: u64,
}

/// What becomes of entries that were pushed.
#[derive(Debug, PartialEq)]
pub(super) enum Taken {
    /// These come next, in order.
    Next(Vec<Entry>),
    /// There is something in between.
    Gap,
}

impl Cursor {
    /// From the id of an event: `GENERATION-SEQUENCE`, or a sequence number alone.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let malformed =
            |_| Refusal::bad_request(format!("Last-Event-ID: {text} is no id of an event"));
        let (generation, after) = text.split_once('-').unwrap_or(("0", text));
        Ok(Self {
            after: after.parse().map_err(malformed)?,
            history_generation: generation.parse().map_err(malformed)?,
        })
    }

    /// The id of the event that hands over the last entry.
    pub(super) fn id(&self) -> String {
        format!("{}-{}", self.history_generation, self.after)
    }

    /// What is new of entries that were pushed.
    pub(super) fn check(&self, entries: Vec<Entry>) -> Taken {
        let after = self.after;
        let new: Vec<_> = entries
            .into_iter()
            .skip_while(|entry| entry.sequence <= after)
            .collect();
        let mut expected = after;
        for entry in &new {
            expected += 1;
            if entry.sequence != expected {
                return Taken::Gap;
            }
        }
        Taken::Next(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(sequences: &[u64]) -> Vec<Entry> {
        let entry = |sequence: &u64| Entry {
            sequence: *sequence,
            ..Entry::default()
        };
        sequences.iter().map(entry).collect()
    }

    #[test]
    fn what_is_next_is_new_and_a_gap_is_seen() {
        let cursor = Cursor::parse("7-4").unwrap();
        let check = |sequences: &[u64]| cursor.check(entries(sequences));
        assert_eq!(check(&[3, 4]), Taken::Next(entries(&[])));
        assert_eq!(check(&[4, 5, 6]), Taken::Next(entries(&[5, 6])));
        assert_eq!(check(&[6]), Taken::Gap);
        assert_eq!(check(&[5, 7]), Taken::Gap);
        assert_eq!(cursor.id(), "7-4");
    }

    #[test]
    fn an_id_comes_back() {
        let cursor = Cursor {
            after: 12,
            history_generation: u64::MAX,
        };
        assert_eq!(Cursor::parse(&cursor.id()).unwrap(), cursor);
        let plain = Cursor::parse("12").unwrap();
        assert_eq!((plain.after, plain.history_generation), (12, 0));
        for bad in ["", "x", "1-", "-1", "1-2-3"] {
            assert!(Cursor::parse(bad).is_err(), "{bad}");
        }
    }
}
