//! What of all that is committed somebody wants to hear of: a small typed filter.
//!
//! Pure. The same filter decides for those who watch and for hooks. Not here: who may see what.

use std::collections::{BTreeMap, BTreeSet};

use crate::content::{self, Content};
use crate::error::Refusal;
use crate::id::{ConversationId, ConversationKind, SequenceNumber};
use crate::limits::{WATCH_CONDITIONS_MAX, WATCH_GAPS_MAX, WATCH_WORD_BYTES_MAX};
use crate::wire::{self, Entry, EntryKind, WatchFilter, WatchGap};

/// A filter that makes sense. The default lets everything through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    kinds: BTreeSet<i32>,
    senders: BTreeSet<u64>,
    conversations: BTreeSet<ConversationId>,
    mentions: BTreeSet<u64>,
    /// In lower case.
    words: Vec<String>,
}

impl Filter {
    /// From its wire form.
    ///
    /// # Errors
    /// When it has too many conditions, or one that is none.
    pub fn parse(filter: &WatchFilter) -> Result<Self, Refusal> {
        let lengths = [
            ("kinds", filter.kinds.len()),
            ("senders", filter.senders.len()),
            ("conversation_ids", filter.conversation_ids.len()),
            ("mentions", filter.mentions.len()),
            ("words", filter.words.len()),
        ];
        if let Some((field, _)) = lengths.iter().find(|(_, n)| *n > WATCH_CONDITIONS_MAX) {
            let why = format!("filter.{field}: more than {WATCH_CONDITIONS_MAX}");
            return Err(Refusal::bad_request(why));
        }
        let is_word = |word: &String| !word.is_empty() && word.len() <= WATCH_WORD_BYTES_MAX;
        if !filter.words.iter().all(is_word) {
            let why = format!("filter.words: 1 to {WATCH_WORD_BYTES_MAX} bytes each");
            return Err(Refusal::bad_request(why));
        }
        let known = |kind: &i32| EntryKind::try_from(*kind).is_ok_and(|kind| kind as i32 != 0);
        if !filter.kinds.iter().all(known) {
            return Err(Refusal::bad_request("filter.kinds: no kind of entry"));
        }
        let conversations = filter.conversation_ids.iter();
        Ok(Self {
            kinds: filter.kinds.iter().copied().collect(),
            senders: filter.senders.iter().copied().collect(),
            conversations: conversations
                .map(|id| ConversationId::from_slice(id))
                .collect::<Result<_, _>>()?,
            mentions: filter.mentions.iter().copied().collect(),
            words: filter
                .words
                .iter()
                .map(|word| word.to_lowercase())
                .collect(),
        })
    }

    /// Its wire form.
    #[must_use]
    pub fn to_wire(&self) -> WatchFilter {
        WatchFilter {
            kinds: self.kinds.iter().copied().collect(),
            senders: self.senders.iter().copied().collect(),
            conversation_ids: self.conversations.iter().map(|id| id.to_bytes()).collect(),
            mentions: self.mentions.iter().copied().collect(),
            words: self.words.clone(),
        }
    }

    /// Whether an entry of this conversation can fit.
    #[must_use]
    pub fn is_about(&self, conversation: &ConversationId) -> bool {
        self.conversations.is_empty() || self.conversations.contains(conversation)
    }

    /// Whether the entry fits. What it says is looked into only if a condition is about that.
    #[must_use]
    pub fn fits(&self, entry: &Entry) -> bool {
        let about = || {
            let id = ConversationId::from_slice(&entry.conversation_id);
            id.is_ok_and(|id| self.conversations.contains(&id))
        };
        (self.kinds.is_empty() || self.kinds.contains(&entry.kind))
            && (self.senders.is_empty() || self.senders.contains(&entry.sender))
            && (self.conversations.is_empty() || about())
            && (self.looks_not_inside() || self.fits_inside(entry))
    }

    fn looks_not_inside(&self) -> bool {
        self.mentions.is_empty() && self.words.is_empty()
    }

    fn fits_inside(&self, entry: &Entry) -> bool {
        let Ok((said, refers)) = content::decode_with(&entry.content) else {
            return false;
        };
        let mentioned = || {
            refers
                .mentions
                .iter()
                .any(|who| self.mentions.contains(&who.0))
        };
        let worded = || {
            let words = words(&said).to_lowercase();
            self.words.iter().any(|word| words.contains(word))
        };
        (self.mentions.is_empty() || mentioned()) && (self.words.is_empty() || worded())
    }
}

/// Whether whoever may analyse the fleet sees this entry: what is said in groups, and stops of the
/// fleet, which are in the log of whoever stopped it.
#[must_use]
pub fn is_of_the_fleet(entry: &Entry) -> bool {
    let Ok(conversation) = ConversationId::from_slice(&entry.conversation_id) else {
        return false;
    };
    match conversation.kind() {
        ConversationKind::Group(_) => true,
        ConversationKind::Pair(..) => {
            matches!(entry.kind(), EntryKind::Estop | EntryKind::EstopRelease)
        }
    }
}

/// What somebody who watches has missed, by conversation. Bounded: beyond it nobody can tell any
/// more where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gaps {
    of: BTreeMap<ConversationId, Gap>,
    /// Something may be missing anywhere; so many are known to.
    anywhere: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap {
    /// `None`: whatever comes after the last one that was told.
    first: Option<SequenceNumber>,
    last: SequenceNumber,
    missed: u64,
}

impl Gaps {
    /// An entry that fits is not told.
    pub fn missed(&mut self, conversation: ConversationId, sequence: SequenceNumber) {
        self.put(conversation, Some(sequence), sequence, 1);
    }

    /// Entries up to here may not have been told.
    pub fn up_to(&mut self, conversation: ConversationId, head: SequenceNumber) {
        self.put(conversation, None, head, 0);
    }

    /// Nobody knows what.
    pub fn anywhere(&mut self) {
        self.anywhere.get_or_insert(0);
    }

    /// What somebody else has missed is missed here too. One that makes no sense is anywhere.
    pub fn add(&mut self, gap: &WatchGap) {
        match ConversationId::from_slice(&gap.conversation_id) {
            Ok(conversation) => {
                let first = (gap.first > 0).then_some(SequenceNumber(gap.first));
                self.put(conversation, first, SequenceNumber(gap.last), gap.missed);
            }
            Err(_) => *self.anywhere.get_or_insert(0) += gap.missed,
        }
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.of.is_empty() && self.anywhere.is_none()
    }

    /// At most so many, which are told now.
    pub fn take(&mut self, most: usize) -> Vec<WatchGap> {
        let mut gaps = Vec::new();
        if let Some(missed) = self.anywhere.take() {
            gaps.push(WatchGap {
                missed,
                ..WatchGap::default()
            });
        }
        while gaps.len() < most
            && let Some((conversation, gap)) = self.of.pop_first()
        {
            gaps.push(WatchGap {
                conversation_id: conversation.to_bytes(),
                first: gap.first.map_or(0, |first| first.0),
                last: gap.last.0,
                missed: gap.missed,
            });
        }
        gaps
    }

    fn put(
        &mut self,
        conversation: ConversationId,
        first: Option<SequenceNumber>,
        last: SequenceNumber,
        missed: u64,
    ) {
        let gap = self.of.entry(conversation).or_insert(Gap {
            first,
            last,
            missed: 0,
        });
        // `None` is the least.
        gap.first = gap.first.min(first);
        gap.last = gap.last.max(last);
        gap.missed += missed;
        if self.of.len() > WATCH_GAPS_MAX {
            let missed: u64 = self.of.values().map(|gap| gap.missed).sum();
            self.of.clear();
            *self.anywhere.get_or_insert(0) += missed;
        }
    }
}

/// What people read of a content.
fn words(said: &Content) -> String {
    match said {
        Content::Text(text) => text.text.clone(),
        Content::Instruction(instruction) => instruction.text.clone(),
        Content::Summary(summary) => summary.text.clone(),
        Content::Plan(plan) => plan.note.clone(),
        Content::StepUpdate(update) => update.reason.clone(),
        Content::Media(media) => format!("{} {}", media.name, media.caption),
        Content::Group(group) => group.name.clone(),
        Content::Estop(stop) => stop.reason.clone(),
        Content::EstopRelease(release) => release.reason.clone(),
        Content::Edit(edit) => match &edit.content {
            Some(wire::edit::Content::Text(text)) => text.text.clone(),
            Some(wire::edit::Content::Data(_)) | None => String::new(),
        },
        Content::Data(_)
        | Content::Command(_)
        | Content::Membership(_)
        | Content::Recall(_)
        | Content::Pose(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::References;
    use crate::id::AccountId;

    fn entry(sender: u64, said: Content, mentions: &[u64]) -> Entry {
        let refers = References {
            mentions: mentions.iter().copied().map(AccountId).collect(),
            reply_to: None,
        };
        Entry {
            conversation_id: ConversationId::group(7).to_bytes(),
            sequence: 1,
            sender,
            kind: content::kind_of(&said).into(),
            content: content::encode_with(said, &refers),
            ..Entry::default()
        }
    }

    fn filter(change: impl FnOnce(&mut WatchFilter)) -> Filter {
        let mut wire = WatchFilter::default();
        change(&mut wire);
        Filter::parse(&wire).unwrap()
    }

    #[test]
    fn each_condition_that_is_set_must_hold_by_any_of_its_values() {
        let text = entry(5, content::text("三号托盘 Pallet 在 B 区"), &[9]);
        assert!(Filter::default().fits(&text));
        let kinds = [EntryKind::Plan.into(), EntryKind::Text.into()];
        assert!(filter(|f| f.kinds = kinds.into()).fits(&text));
        assert!(!filter(|f| f.kinds = vec![EntryKind::Plan.into()]).fits(&text));
        assert!(filter(|f| f.senders = vec![4, 5]).fits(&text));
        assert!(!filter(|f| f.senders = vec![4]).fits(&text));
        assert!(filter(|f| f.mentions = vec![9]).fits(&text));
        assert!(!filter(|f| f.mentions = vec![5]).fits(&text));
        assert!(filter(|f| f.words = vec!["托盘".into()]).fits(&text));
        assert!(filter(|f| f.words = vec!["x".into(), "PALLET".into()]).fits(&text));
        assert!(!filter(|f| f.words = vec!["四号".into()]).fits(&text));
        let group =
            |id| filter(|f| f.conversation_ids = vec![ConversationId::group(id).to_bytes()]);
        assert!(group(7).fits(&text) && !group(8).fits(&text));
        let both = |sender| {
            filter(|f| {
                f.senders = vec![sender];
                f.words = vec!["托盘".into()];
            })
        };
        assert!(both(5).fits(&text) && !both(4).fits(&text));
    }

    #[test]
    fn what_cannot_be_read_fits_no_condition_about_what_it_says() {
        let mut broken = entry(5, content::text("x"), &[]);
        broken.content = bytes::Bytes::from_static(&[0xff]);
        assert!(filter(|f| f.senders = vec![5]).fits(&broken));
        assert!(!filter(|f| f.words = vec!["x".into()]).fits(&broken));
    }

    #[test]
    fn a_filter_goes_over_the_wire_and_back_and_nonsense_is_refused() {
        let all = filter(|f| {
            f.kinds = vec![1];
            f.senders = vec![3, 2];
            f.conversation_ids = vec![ConversationId::group(7).to_bytes()];
            f.mentions = vec![9];
            f.words = vec!["急".into()];
        });
        assert_eq!(Filter::parse(&all.to_wire()).unwrap(), all);
        let wrong: [fn(&mut WatchFilter); 5] = [
            |f| f.kinds = vec![0],
            |f| f.kinds = vec![99],
            |f| f.words = vec![String::new()],
            |f| f.senders = vec![1; WATCH_CONDITIONS_MAX + 1],
            |f| f.conversation_ids = vec![bytes::Bytes::from_static(b"x")],
        ];
        for change in wrong {
            let mut wire = WatchFilter::default();
            change(&mut wire);
            assert!(Filter::parse(&wire).is_err(), "{wire:?}");
        }
    }

    #[test]
    fn what_is_missed_is_named_by_conversation_as_long_as_it_is_known() {
        let mut gaps = Gaps::default();
        let group = ConversationId::group;
        for sequence in [5, 9, 7] {
            gaps.missed(group(1), SequenceNumber(sequence));
        }
        gaps.missed(group(2), SequenceNumber(3));
        gaps.up_to(group(2), SequenceNumber(4));
        let told = gaps.take(8);
        let plain: Vec<_> = told.iter().map(|g| (g.first, g.last, g.missed)).collect();
        assert_eq!(plain, [(5, 9, 3), (0, 4, 1)]);
        assert!(gaps.is_empty());

        let mut here = Gaps::default();
        told.iter().for_each(|gap| here.add(gap));
        here.anywhere();
        assert_eq!(here.take(2).len(), 2);
        assert_eq!(here.take(2), told[1..]);

        for id in 0..=WATCH_GAPS_MAX as u64 {
            gaps.missed(group(id + 1), SequenceNumber(1));
        }
        let told = gaps.take(8);
        assert_eq!(told.len(), 1);
        assert!(told[0].conversation_id.is_empty());
        assert_eq!(told[0].missed, WATCH_GAPS_MAX as u64 + 1);
    }

    #[test]
    fn the_fleet_is_its_groups_and_its_stops() {
        let text = entry(5, content::text("x"), &[]);
        assert!(is_of_the_fleet(&text));
        let pair = ConversationId::pair(AccountId(5), AccountId(5)).to_bytes();
        let private = Entry {
            conversation_id: pair.clone(),
            ..text
        };
        assert!(!is_of_the_fleet(&private));
        let stop = Content::Estop(wire::Estop::default());
        let stop = Entry {
            conversation_id: pair,
            ..entry(5, stop, &[])
        };
        assert!(is_of_the_fleet(&stop));
    }
}
