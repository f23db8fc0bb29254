//! What of a conversation's history one account may see, a page at a time, forward or back.
//!
//! An account is entitled to what lies between its join and its leave entry, both included, and to
//! all before it where the group allows that. Every number is returned: what may not be seen, or has
//! expired, is a placeholder. Not here: SQL.

use bytes::Bytes;
use protocol::limits::{PULL_PAGE_BYTES_MAX, PULL_PAGE_ENTRIES_MAX};
use protocol::wire::{Entry, EntryKind, Pull};
use protocol::{ErrorCode, Refusal, SequenceNumber};

/// What is asked of a log: the entries between two numbers, from one of them on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Only entries after this one.
    pub after: SequenceNumber,
    /// Only entries before this one.
    pub before: SequenceNumber,
    /// The newest first.
    pub back: bool,
    /// At most so many.
    pub limit: u32,
}

impl Span {
    /// No number is as high, and SQL has it.
    pub const BEYOND: SequenceNumber = SequenceNumber(i64::MAX as u64);

    /// Forward from a number.
    #[must_use]
    pub fn forward(after: SequenceNumber, limit: u32) -> Self {
        Self {
            after: after.min(Self::BEYOND),
            before: Self::BEYOND,
            back: false,
            limit,
        }
    }

    /// Back from a number.
    #[must_use]
    pub fn back(before: SequenceNumber, limit: u32) -> Self {
        Self {
            before: before.min(Self::BEYOND),
            back: true,
            ..Self::forward(SequenceNumber::ZERO, limit)
        }
    }

    /// What a pull asks for.
    #[must_use]
    pub fn of(pull: &Pull) -> Self {
        let limit = page_limit(pull.limit);
        let forward = Self::forward(SequenceNumber(pull.after_sequence), limit);
        if pull.before_sequence == 0 {
            return forward;
        }
        Self {
            after: forward.after,
            ..Self::back(SequenceNumber(pull.before_sequence), limit)
        }
    }
}

/// One stay of an account in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    /// The entry by which it joined; zero in a pair.
    pub joined: SequenceNumber,
    /// The entry by which it left; `None` while it is in.
    pub left: Option<SequenceNumber>,
}

/// What one account may see of one conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entitlement {
    stays: Vec<Stay>,
    history_open: bool,
}

impl Entitlement {
    /// From all stays of the account.
    ///
    /// # Errors
    /// *Not a member* when it never was one.
    pub fn new(stays: Vec<Stay>, history_open: bool) -> Result<Self, Refusal> {
        if stays.is_empty() {
            return Err(Refusal::new(
                ErrorCode::NotAMember,
                "never a member of this conversation",
            ));
        }
        Ok(Self {
            stays,
            history_open,
        })
    }

    /// Whether the account may see this entry.
    #[must_use]
    pub fn covers(&self, sequence: SequenceNumber) -> bool {
        self.stays.iter().any(|stay| {
            let begun = self.history_open || stay.joined <= sequence;
            begun && stay.left.is_none_or(|left| sequence <= left)
        })
    }
}

/// How many entries a page has at most, given what was asked for.
#[must_use]
pub fn page_limit(asked: u32) -> u32 {
    if asked == 0 {
        PULL_PAGE_ENTRIES_MAX
    } else {
        asked.min(PULL_PAGE_ENTRIES_MAX)
    }
}

/// Hides what may not be seen, and ends the page before it grows too long, with the entries that
/// were read last. At least one stays, so that a reader always gets on. In rising order, whichever
/// way they were read.
#[must_use]
pub fn page(entries: Vec<Entry>, entitlement: &Entitlement, now_ms: u64) -> Vec<Entry> {
    let mut bytes = 0;
    let mut page = Vec::with_capacity(entries.len());
    for entry in entries {
        let entry = veiled(entry, entitlement, now_ms);
        bytes += entry.content.len();
        if bytes > PULL_PAGE_BYTES_MAX && !page.is_empty() {
            break;
        }
        page.push(entry);
    }
    page.sort_by_key(|entry| entry.sequence);
    page
}

/// The entry as the account sees it: what it may not see, or has expired, is a placeholder.
#[must_use]
pub fn veiled(entry: Entry, entitlement: &Entitlement, now_ms: u64) -> Entry {
    let expired = entry.deliver_before_ms != 0 && entry.deliver_before_ms <= now_ms;
    if entitlement.covers(SequenceNumber(entry.sequence)) && !expired {
        return entry;
    }
    Entry {
        conversation_id: entry.conversation_id,
        sequence: entry.sequence,
        kind: EntryKind::Placeholder.into(),
        content: Bytes::new(),
        committed_at_ms: entry.committed_at_ms,
        ..Entry::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sequence: u64, content_bytes: usize) -> Entry {
        Entry {
            sequence,
            sender: 1,
            kind: EntryKind::Text.into(),
            content: vec![b'x'; content_bytes].into(),
            ..Entry::default()
        }
    }

    fn stay(joined: u64, left: Option<u64>) -> Stay {
        Stay {
            joined: SequenceNumber(joined),
            left: left.map(SequenceNumber),
        }
    }

    fn seen(entitlement: &Entitlement) -> Vec<u64> {
        (1..=10)
            .filter(|n| entitlement.covers(SequenceNumber(*n)))
            .collect()
    }

    #[test]
    fn a_member_sees_from_its_join_to_its_leave_entry() {
        let twice = vec![stay(2, Some(4)), stay(8, None)];
        let closed = Entitlement::new(twice.clone(), false).unwrap();
        assert_eq!(seen(&closed), [2, 3, 4, 8, 9, 10]);
        let left_open = Entitlement::new(vec![stay(2, Some(4))], true).unwrap();
        assert_eq!(seen(&left_open), [1, 2, 3, 4]);
        let pair = Entitlement::new(vec![stay(0, None)], false).unwrap();
        assert_eq!(seen(&pair).len(), 10);
        assert_eq!(
            Entitlement::new(vec![], true).unwrap_err().code,
            ErrorCode::NotAMember
        );
    }

    #[test]
    fn hidden_and_expired_entries_keep_their_numbers_and_say_nothing() {
        let entitlement = Entitlement::new(vec![stay(2, None)], false).unwrap();
        let expired = Entry {
            deliver_before_ms: 99,
            ..entry(3, 5)
        };
        let page = page(vec![entry(1, 5), entry(2, 5), expired], &entitlement, 100);
        let told: Vec<_> = page
            .iter()
            .map(|e| (e.sequence, e.sender, e.content.len()))
            .collect();
        assert_eq!(told, [(1, 0, 0), (2, 1, 5), (3, 0, 0)]);
        assert_eq!(page[0].kind(), EntryKind::Placeholder);
    }

    #[test]
    fn a_page_back_has_the_newest_in_rising_order() {
        let entitlement = Entitlement::new(vec![stay(0, None)], false).unwrap();
        let half = PULL_PAGE_BYTES_MAX / 2;
        let newest_first = vec![entry(3, half), entry(2, half), entry(1, 1)];
        let page = page(newest_first, &entitlement, 0);
        assert_eq!(page.iter().map(|e| e.sequence).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_pull_names_a_span_and_nothing_overflows() {
        let pull = |after_sequence, before_sequence| {
            Span::of(&Pull {
                after_sequence,
                before_sequence,
                ..Pull::default()
            })
        };
        let forward = Span::forward(SequenceNumber(7), PULL_PAGE_ENTRIES_MAX);
        assert_eq!(pull(7, 0), forward);
        let between = pull(7, 9);
        let numbers = (between.after.0, between.before.0, between.back);
        assert_eq!(numbers, (7, 9, true));
        let whole = pull(u64::MAX, u64::MAX);
        assert_eq!((whole.after, whole.before), (Span::BEYOND, Span::BEYOND));
    }

    #[test]
    fn a_page_is_bounded_in_bytes_and_never_empty() {
        let entitlement = Entitlement::new(vec![stay(0, None)], false).unwrap();
        let half = PULL_PAGE_BYTES_MAX / 2;
        let entries = vec![entry(1, half), entry(2, half), entry(3, 1)];
        assert_eq!(page(entries, &entitlement, 0).len(), 2);
        assert_eq!(
            page(vec![entry(1, PULL_PAGE_BYTES_MAX + 1)], &entitlement, 0).len(),
            1
        );
        assert_eq!(page_limit(0), PULL_PAGE_ENTRIES_MAX);
        assert_eq!(page_limit(7), 7);
        assert_eq!(page_limit(u32::MAX), PULL_PAGE_ENTRIES_MAX);
    }
}
