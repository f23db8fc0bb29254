//! How long history is kept: which of a conversation's oldest entries have to go.
//!
//! Pure: what is kept and `now_ms` go in, a cut comes out. Ids are kept apart from entries and for
//! their own horizon, so that a late repeat is a duplicate also when its entry is gone, and *too
//! old* afterwards also when its entry is still there. Not here: dropping them ([`crate::upkeep`]).

use protocol::{ConversationId, SequenceNumber};

/// Entries that go in one transaction: some milliseconds of work, which messages wait for.
pub const TRIM_ENTRIES_MAX: u32 = 256;

/// The same, in bytes of content, unless a single entry is longer.
pub const TRIM_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What is kept of each conversation; `None`: everything. What is beyond any of them goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// For how long after the commit, in milliseconds.
    pub age_ms: Option<u64>,
    /// How many entries.
    pub entries: Option<u64>,
    /// How many bytes of content.
    pub bytes: Option<u64>,
    /// Of the audit, which is of no conversation: for how long a record is kept, in milliseconds.
    pub audit_age_ms: Option<u64>,
}

/// A conversation's log, as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// Which.
    pub conversation: ConversationId,
    /// The newest entry.
    pub head: SequenceNumber,
    /// Entries up to this one are gone.
    pub trimmed: SequenceNumber,
    /// The contents of the others, in bytes.
    pub bytes: u64,
}

/// An entry that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub sequence: SequenceNumber,
    /// Its content, in bytes.
    pub bytes: u64,
    /// When, in Unix milliseconds.
    pub committed_at_ms: u64,
}

impl Retention {
    /// Whether anything is ever dropped.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.age_ms.is_some() || self.entries.is_some() || self.bytes.is_some()
    }

    /// Whether entries of this log may have to go. With an age only the entries themselves tell.
    #[must_use]
    pub fn concerns(&self, log: &Log) -> bool {
        self.age_ms.is_some() || self.is_too_long(log)
    }

    fn is_too_long(&self, log: &Log) -> bool {
        let entries = log.head.0.saturating_sub(log.trimmed.0);
        self.entries.is_some_and(|most| entries > most)
            || self.bytes.is_some_and(|most| log.bytes > most)
    }

    /// The log as it is once the first of these has gone that have to, as many as go together.
    /// `None`: all may stay. `oldest` are its oldest entries.
    #[must_use]
    pub fn cut(&self, log: &Log, oldest: &[Kept], now_ms: u64) -> Option<Log> {
        let mut left = *log;
        for entry in oldest {
            let is_old = self
                .age_ms
                .is_some_and(|most| entry.committed_at_ms.saturating_add(most) < now_ms);
            if !is_old && !self.is_too_long(&left) {
                break;
            }
            let going = log.bytes.saturating_sub(left.bytes) + entry.bytes;
            if going > TRIM_BYTES_MAX && left != *log {
                break;
            }
            left.trimmed = entry.sequence;
            left.bytes = left.bytes.saturating_sub(entry.bytes);
        }
        (left != *log).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn log(trimmed: u64, head: u64, bytes: u64) -> Log {
        Log {
            conversation: ConversationId::group(7),
            head: SequenceNumber(head),
            trimmed: SequenceNumber(trimmed),
            bytes,
        }
    }

    /// Each a second younger than the one before; the head is of now.
    fn oldest(log: &Log, bytes: u64) -> Vec<Kept> {
        let entry = |n| Kept {
            sequence: SequenceNumber(n),
            bytes,
            committed_at_ms: NOW_MS - 1000 * (log.head.0 - n),
        };
        (log.trimmed.0 + 1..=log.head.0).map(entry).collect()
    }

    fn trimmed(retention: Retention, log: &Log) -> Option<u64> {
        let cut = retention.cut(log, &oldest(log, 10), NOW_MS)?;
        assert_eq!(cut.bytes, log.bytes - 10 * (cut.trimmed.0 - log.trimmed.0));
        Some(cut.trimmed.0)
    }

    #[test]
    fn what_is_beyond_any_of_the_three_goes_and_the_rest_stays() {
        let log = log(5, 25, 200);
        let (all, off) = (Some(u64::MAX), Retention::default());
        let by = |age_ms, entries, bytes| Retention {
            age_ms,
            entries,
            bytes,
            audit_age_ms: None,
        };
        let cases = [
            (off, None),
            (by(all, all, all), None),
            (by(None, Some(20), None), None),
            (by(None, Some(12), None), Some(13)),
            (by(None, None, Some(75)), Some(18)),
            (by(Some(4500), None, None), Some(20)),
            (by(Some(4500), Some(3), Some(75)), Some(22)),
            (by(None, Some(0), None), Some(25)),
        ];
        for (retention, expected) in cases {
            assert_eq!(trimmed(retention, &log), expected, "{retention:?}");
        }
        assert!(!off.is_on() && !off.concerns(&log));
    }

    #[test]
    fn what_goes_together_is_bounded_in_bytes_and_never_nothing() {
        let none = Retention {
            entries: Some(0),
            ..Retention::default()
        };
        let third = TRIM_BYTES_MAX / 3;
        let some = log(0, 9, 9 * third);
        let cut = none.cut(&some, &oldest(&some, third), NOW_MS).unwrap();
        assert_eq!(cut.trimmed.0, 3);
        let long = log(0, 2, 4 * TRIM_BYTES_MAX);
        let entries = oldest(&long, 2 * TRIM_BYTES_MAX);
        assert_eq!(none.cut(&long, &entries, NOW_MS).unwrap().trimmed.0, 1);
    }

    #[test]
    fn an_empty_log_is_left_alone() {
        let all = Retention {
            age_ms: Some(0),
            entries: Some(0),
            bytes: Some(0),
            audit_age_ms: None,
        };
        assert_eq!(all.cut(&log(9, 9, 0), &[], NOW_MS), None);
    }
}
