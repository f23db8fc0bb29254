//! Who watches the fleet, on which gateway, and which entries fit.
//!
//! Pure. It is decided here because every commit of a conversation passes its router, and what fits
//! nobody's filter goes no further. Not here: who may watch (logic), and the queues.

use std::collections::BTreeMap;

use prost::Message as _;
use protocol::id::ConversationKind;
use protocol::limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES};
use protocol::watch::{Filter, Gaps, is_of_the_fleet};
use protocol::wire::Entry;
use protocol::wire::internal::{self, WatchedEntries, WatchedEntry};
use protocol::{ConversationId, Refusal, SequenceNumber};

use crate::table::{Head, LinkId};

/// Watches of one gateway.
pub const WATCHES_MAX: usize = 256;

/// Entries in one notice, in bytes. One that is longer is not told: its number is.
const NOTICE_BYTES_MAX: usize = FRAME_BYTES_MAX - FRAME_HEADER_BYTES - 8 * 1024;

/// Heads at once that are named one by one; more are told as a gap of any conversation.
const HEADS_NAMED_MAX: usize = 64;

/// A session of a gateway, and what it wants to hear of.
pub type SessionWatch = (u64, Filter);

/// All watches.
#[derive(Debug, Default)]
pub struct Watches(BTreeMap<LinkId, (u64, Vec<SessionWatch>)>);

/// What a gateway says of its watches.
///
/// # Errors
/// When a filter makes no sense, or they are too many.
pub fn parse(watches: internal::Watches) -> Result<Vec<SessionWatch>, Refusal> {
    if watches.watches.len() > WATCHES_MAX {
        return Err(Refusal::bad_request(format!(
            "watches: more than {WATCHES_MAX}"
        )));
    }
    let watches = watches.watches.into_iter();
    watches
        .map(|watch| {
            let filter = Filter::parse(&watch.filter.unwrap_or_default())?;
            Ok((watch.session_id, filter))
        })
        .collect()
}

/// What was not streamed was not told either.
#[must_use]
pub fn missed(heads: &[Head], restarted: bool) -> WatchedEntries {
    let mut gaps = Gaps::default();
    if restarted || heads.len() > HEADS_NAMED_MAX {
        gaps.anywhere();
    } else {
        for (conversation, head) in heads {
            if matches!(conversation.kind(), ConversationKind::Group(_)) {
                gaps.up_to(*conversation, *head);
            }
        }
    }
    WatchedEntries {
        gaps: gaps.take(HEADS_NAMED_MAX),
        ..WatchedEntries::default()
    }
}

impl Watches {
    /// These are all that the gateway has, unless it has said something newer.
    pub fn set(&mut self, link: LinkId, version: u64, watches: Vec<SessionWatch>) {
        let known = self.0.entry(link).or_default();
        if version >= known.0 {
            *known = (version, watches);
        }
    }

    /// The gateway is gone.
    pub fn gone(&mut self, link: LinkId) {
        self.0.remove(&link);
    }

    /// Whether nobody watches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().map(|(_, watches)| watches.len()).sum()
    }

    /// The gateways on which somebody watches.
    #[must_use]
    pub fn links(&self) -> Vec<LinkId> {
        let some = self
            .0
            .iter()
            .filter(|(_, (_, watches))| !watches.is_empty());
        some.map(|(link, _)| *link).collect()
    }

    /// What each gateway is told of these entries, in notices that a frame holds.
    #[must_use]
    pub fn select(&self, entries: &[Entry]) -> Vec<(LinkId, WatchedEntries)> {
        let mut told = Vec::new();
        for (link, (_, watches)) in &self.0 {
            let (mut notice, mut bytes, mut gaps) = (WatchedEntries::default(), 0, Gaps::default());
            for entry in entries.iter().filter(|entry| is_of_the_fleet(entry)) {
                let fitting = watches.iter().filter(|(_, filter)| filter.fits(entry));
                let session_ids: Vec<_> = fitting.map(|(session, _)| *session).collect();
                if session_ids.is_empty() {
                    continue;
                }
                let length = entry.encoded_len() + 11 * session_ids.len();
                if length > NOTICE_BYTES_MAX {
                    if let Ok(conversation) = ConversationId::from_slice(&entry.conversation_id) {
                        gaps.missed(conversation, SequenceNumber(entry.sequence));
                    }
                    continue;
                }
                if bytes + length > NOTICE_BYTES_MAX {
                    told.push((*link, std::mem::take(&mut notice)));
                    bytes = 0;
                }
                bytes += length;
                notice.entries.push(WatchedEntry {
                    session_ids,
                    entry: Some(entry.clone()),
                });
            }
            notice.gaps = gaps.take(HEADS_NAMED_MAX);
            if !notice.entries.is_empty() || !notice.gaps.is_empty() {
                told.push((*link, notice));
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::content;
    use protocol::wire::{EntryKind, WatchFilter};

    fn text(group: u64, sequence: u64, words: &str) -> Entry {
        Entry {
            conversation_id: ConversationId::group(group).to_bytes(),
            sequence,
            kind: EntryKind::Text.into(),
            content: content::encode(content::text(words)),
            ..Entry::default()
        }
    }

    fn about(word: &str) -> Filter {
        let filter = WatchFilter {
            words: vec![word.into()],
            ..WatchFilter::default()
        };
        Filter::parse(&filter).unwrap()
    }

    #[test]
    fn each_gateway_is_told_what_fits_somebody_there_once() {
        let mut watches = Watches::default();
        assert!(watches.is_empty() && watches.select(&[text(1, 1, "x")]).is_empty());
        watches.set(
            LinkId(1),
            1,
            vec![(11, about("托盘")), (12, Filter::default())],
        );
        watches.set(LinkId(2), 1, vec![(21, about("托盘"))]);
        let entries = [text(7, 1, "三号托盘"), text(7, 2, "电量")];
        let told = watches.select(&entries);
        let plain: Vec<_> = told
            .iter()
            .map(|(link, notice)| {
                let of = |its: &WatchedEntry| its.session_ids.clone();
                (link.0, notice.entries.iter().map(of).collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(
            plain,
            [(1, vec![vec![11, 12], vec![12]]), (2, vec![vec![21]])]
        );
        // What was said before it is nothing any more, and what is older than that never was.
        watches.set(LinkId(1), 3, Vec::new());
        watches.set(LinkId(1), 2, vec![(11, Filter::default())]);
        assert_eq!(watches.links(), [LinkId(2)]);
        watches.gone(LinkId(2));
        assert!(watches.is_empty());
    }

    #[test]
    fn notices_fit_into_frames_and_what_does_not_is_a_gap() {
        let mut watches = Watches::default();
        watches.set(LinkId(1), 1, vec![(1, Filter::default())]);
        let large = |sequence| text(7, sequence, &"x".repeat(NOTICE_BYTES_MAX / 2));
        let told = watches.select(&[large(1), large(2), text(7, 3, &"x".repeat(FRAME_BYTES_MAX))]);
        assert_eq!(told.len(), 2);
        assert_eq!((told[1].1.gaps[0].first, told[1].1.gaps[0].last), (3, 3));
    }

    #[test]
    fn heads_are_gaps_by_name_unless_they_are_too_many() {
        let heads: Vec<_> = (1..=3)
            .map(|id| (ConversationId::group(id), SequenceNumber(9)))
            .collect();
        assert_eq!(missed(&heads, false).gaps.len(), 3);
        let [anywhere] = &missed(&heads, true).gaps[..] else {
            panic!("one gap of anything");
        };
        assert!(anywhere.conversation_id.is_empty());
    }
}
