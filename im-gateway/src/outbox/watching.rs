//! What waits for a session that watches: entries that fit its filter, and gaps in their place when
//! it reads too slowly. Nothing of it holds up anything else of the session.
//!
//! Pure. Not here: what fits of the fleet, which the routers decide.

use std::collections::VecDeque;

use prost::Message as _;
use protocol::id::ConversationKind;
use protocol::kind::client;
use protocol::limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES};
use protocol::watch::{Filter, Gaps};
use protocol::wire::{self, Entry, EntryKind, WatchGap, Watched};
use protocol::{ConversationId, Frame, SequenceNumber};

use super::{Outbox, Push};
use crate::events;

/// Entries that wait for one session that watches. When full: one more is told as a gap and counted.
const WATCHED_MAX: usize = 1024;

/// The same, in bytes.
const WATCHED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Entries, and gaps, in one frame.
const FRAME_ENTRIES_MAX: usize = 64;

/// Entries of one frame, in bytes; the rest is for its gaps. At least one is in it: no entry is as long
/// as a frame.
const FRAME_ENTRIES_BYTES_MAX: usize = FRAME_BYTES_MAX - 16 * 1024;

/// What an entry costs in a frame beyond itself, in bytes: its tag and its length.
const ENTRY_ENVELOPE_BYTES: usize = 5;

/// What one session watches.
#[derive(Debug)]
pub struct Watching {
    filter: Filter,
    /// Groups come from the routers, its members' pushes say nothing of them.
    of_fleet: bool,
    entries: VecDeque<Entry>,
    bytes: usize,
    gaps: Gaps,
}

impl Watching {
    /// Nothing waits yet.
    #[must_use]
    pub fn new(filter: Filter, of_fleet: bool) -> Self {
        Self {
            filter,
            of_fleet,
            entries: VecDeque::new(),
            bytes: 0,
            gaps: Gaps::default(),
        }
    }

    /// Entries of a conversation of the account.
    pub fn push(&mut self, push: &Push) {
        if !self.hears_as_member(&push.conversation) {
            return;
        }
        let plain = push.frame.bytes(false);
        let body = plain.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        match wire::Push::decode(body) {
            Ok(push) => {
                let fitting = push.entries.into_iter();
                let fitting = fitting.filter(|entry| self.filter.fits(entry));
                for entry in fitting.collect::<Vec<_>>() {
                    self.entry(entry);
                }
            }
            Err(_) => self.gaps.up_to(push.conversation, push.last),
        }
    }

    /// A conversation of the account has entries up to here that are not pushed.
    pub fn head(&mut self, conversation: ConversationId, head: SequenceNumber) {
        if self.hears_as_member(&conversation) {
            self.gaps.up_to(conversation, head);
        }
    }

    /// An entry that fits.
    pub fn entry(&mut self, entry: Entry) {
        let bytes = entry.encoded_len();
        if self.entries.len() < WATCHED_MAX && self.bytes + bytes <= WATCHED_BYTES_MAX {
            self.bytes += bytes;
            self.entries.push_back(entry);
            return;
        }
        events::watched_dropped();
        match ConversationId::from_slice(&entry.conversation_id) {
            Ok(conversation) => {
                self.gaps
                    .missed(conversation, SequenceNumber(entry.sequence));
            }
            Err(_) => self.gaps.anywhere(),
        }
    }

    /// What was missed on the way here.
    pub fn missed(&mut self, gaps: &[WatchGap]) {
        for gap in gaps {
            let of = ConversationId::from_slice(&gap.conversation_id);
            if of.map_or(true, |conversation| self.filter.is_about(&conversation)) {
                self.gaps.add(gap);
            }
        }
    }

    /// Anything may have been missed.
    pub fn missed_anything(&mut self) {
        self.gaps.anywhere();
    }

    /// The next frame. Gaps come before what waits, and so before what came after them.
    pub fn pop(&mut self, now_ms: u64) -> Option<Frame> {
        let gaps = self.gaps.take(FRAME_ENTRIES_MAX);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while entries.len() < FRAME_ENTRIES_MAX
            && let Some(next) = self.entries.front()
        {
            let length = next.encoded_len();
            let whole = length + ENTRY_ENVELOPE_BYTES;
            if bytes + whole > FRAME_ENTRIES_BYTES_MAX && !entries.is_empty() {
                break;
            }
            self.bytes -= length;
            bytes += whole;
            entries.extend(self.entries.pop_front().map(|entry| in_time(entry, now_ms)));
        }
        if gaps.is_empty() && entries.is_empty() {
            return None;
        }
        Some(Frame::notice(client::WATCHED, &Watched { entries, gaps }))
    }

    fn hears_as_member(&self, conversation: &ConversationId) -> bool {
        let is_pair = matches!(conversation.kind(), ConversationKind::Pair(..));
        (!self.of_fleet || is_pair) && self.filter.is_about(conversation)
    }
}

impl Outbox {
    /// From now on this is watched, and nothing else.
    pub fn watch(&mut self, watching: Option<Watching>) {
        self.watching = watching.map(Box::new);
    }

    /// What is watched.
    pub fn watching(&mut self) -> Option<&mut Watching> {
        self.watching.as_deref_mut()
    }
}

/// Past its deadline an entry has no content any more.
fn in_time(entry: Entry, now_ms: u64) -> Entry {
    if entry.deliver_before_ms == 0 || now_ms < entry.deliver_before_ms {
        return entry;
    }
    Entry {
        kind: EntryKind::Placeholder.into(),
        content: bytes::Bytes::new(),
        ..entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_frame::SharedFrame;
    use protocol::wire::{Priority, WatchFilter};
    use protocol::{AccountId, content};

    const GROUP: fn(u64) -> ConversationId = ConversationId::group;

    fn text(conversation: ConversationId, sequence: u64, words: &str) -> Entry {
        Entry {
            conversation_id: conversation.to_bytes(),
            sequence,
            kind: EntryKind::Text.into(),
            content: content::encode(content::text(words)),
            ..Entry::default()
        }
    }

    fn push(entry: Entry) -> Push {
        Push {
            conversation: ConversationId::from_slice(&entry.conversation_id).unwrap(),
            first: SequenceNumber(entry.sequence),
            last: SequenceNumber(entry.sequence),
            priority: Priority::Chat,
            deliver_before_ms: 0,
            frame: SharedFrame::from(&Frame::notice(
                client::PUSH,
                &wire::Push {
                    entries: vec![entry],
                },
            )),
        }
    }

    fn about(word: &str) -> Filter {
        let words = vec![word.into()];
        let filter = WatchFilter {
            words,
            ..WatchFilter::default()
        };
        Filter::parse(&filter).unwrap()
    }

    fn told(watching: &mut Watching) -> Watched {
        let frame = watching.pop(100).unwrap();
        assert_eq!((frame.kind, frame.correlation), (client::WATCHED, 0));
        Watched::decode(frame.body).unwrap()
    }

    #[test]
    fn what_fits_is_told_in_its_order() {
        let mut watching = Watching::new(about("托盘"), false);
        for (sequence, words) in [(1, "三号托盘"), (2, "电量"), (3, "托盘到了")] {
            watching.push(&push(text(GROUP(7), sequence, words)));
        }
        let numbers: Vec<_> = told(&mut watching)
            .entries
            .iter()
            .map(|e| e.sequence)
            .collect();
        assert_eq!(numbers, [1, 3]);
        assert!(watching.pop(100).is_none());
    }

    #[test]
    fn who_watches_the_fleet_hears_groups_from_routers_alone() {
        let mut watching = Watching::new(Filter::default(), true);
        watching.push(&push(text(GROUP(7), 1, "x")));
        watching.head(GROUP(7), SequenceNumber(9));
        assert!(watching.pop(100).is_none());
        let pair = ConversationId::pair(AccountId(1), AccountId(2));
        watching.push(&push(text(pair, 4, "x")));
        watching.entry(text(GROUP(7), 1, "x"));
        assert_eq!(told(&mut watching).entries.len(), 2);
    }

    #[test]
    fn who_reads_too_slowly_is_told_what_is_missing() {
        let mut watching = Watching::new(Filter::default(), false);
        for sequence in 1..=WATCHED_MAX as u64 + 3 {
            watching.entry(text(GROUP(7), sequence, "x"));
        }
        let first = told(&mut watching);
        let max = WATCHED_MAX as u64;
        let gap = (
            first.gaps[0].first,
            first.gaps[0].last,
            first.gaps[0].missed,
        );
        assert_eq!(gap, (max + 1, max + 3, 3));
        assert_eq!(first.entries.len(), FRAME_ENTRIES_MAX);
        let mut entries = first.entries.len();
        while let Some(frame) = watching.pop(100) {
            entries += Watched::decode(frame.body).unwrap().entries.len();
        }
        assert_eq!(entries, WATCHED_MAX);
        watching.entry(text(GROUP(7), max + 4, "x"));
        watching.head(GROUP(8), SequenceNumber(5));
        let later = told(&mut watching);
        assert_eq!((later.gaps.len(), later.entries.len()), (1, 1));
    }

    #[test]
    fn frames_stay_under_their_limit() {
        let mut watching = Watching::new(Filter::default(), false);
        for sequence in 1..=20 {
            watching.entry(text(GROUP(7), sequence, &"x".repeat(FRAME_BYTES_MAX / 5)));
        }
        let mut entries = 0;
        while let Some(frame) = watching.pop(100) {
            assert!(frame.to_bytes().len() <= FRAME_BYTES_MAX);
            entries += Watched::decode(frame.body).unwrap().entries.len();
        }
        assert_eq!(entries, 20);
    }

    #[test]
    fn a_long_text_is_told_and_a_late_one_is_empty() {
        let mut watching = Watching::new(Filter::default(), false);
        watching.entry(Entry {
            deliver_before_ms: 99,
            ..text(GROUP(7), 1, "x")
        });
        let late = &told(&mut watching).entries[0];
        assert_eq!(late.kind(), EntryKind::Placeholder);
        assert!(late.content.is_empty());
        let long = text(GROUP(7), 2, &"x".repeat(WATCHED_BYTES_MAX + 1));
        watching.entry(long);
        assert_eq!(told(&mut watching).gaps[0].last, 2);
    }
}
