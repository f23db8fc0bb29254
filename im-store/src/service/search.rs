//! Searching a conversation, a page at a time: the index of words, or the log itself, names
//! candidates; what the asker may read and what was asked for decides.

use bytes::Bytes;
use protocol::limits::{FOUND_PER_PAGE_MAX, PULL_PAGE_BYTES_MAX, SEARCH_CONDITIONS_MAX};
use protocol::wire::{Entry, EntryKind, HistoryFound, SearchHistory, internal};
use protocol::{AccountId, ConversationId, ErrorCode, Refusal, SequenceNumber};
use service_kit::clock;
use service_kit::rpc;

use super::{Service, bounded, failed, unwritten};
use crate::engine::{History, Readers};
use crate::read::{self, Entitlement, Span};
use crate::search::{self, Query};

/// Candidates of the index that are read together.
const CANDIDATES_TOGETHER_MAX: u32 = 256;

/// Entries that one page looks at. More, and the page ends with what it has found.
const LOOKED_AT_MAX: usize = 4096;

/// What is asked for, once it makes sense.
struct Wanted {
    query: Option<Query>,
    asked: SearchHistory,
}

impl Wanted {
    fn parse(asked: SearchHistory) -> Result<Self, Refusal> {
        if asked.senders.len().max(asked.kinds.len()) > SEARCH_CONDITIONS_MAX {
            let why = format!("senders, kinds: at most {SEARCH_CONDITIONS_MAX}");
            return Err(Refusal::new(ErrorCode::LimitReached, why));
        }
        let query = (!asked.text.is_empty()).then(|| Query::parse(&asked.text));
        Ok(Self {
            query: query.transpose()?,
            asked,
        })
    }

    /// Of an entry that the asker may read.
    fn is_it(&self, entry: &Entry) -> bool {
        let SearchHistory {
            senders,
            kinds,
            committed_from_ms: from,
            committed_before_ms: before,
            ..
        } = &self.asked;
        let hidden = matches!(entry.kind(), EntryKind::Placeholder | EntryKind::Recalled);
        !hidden
            && (senders.is_empty() || senders.contains(&entry.sender))
            && (kinds.is_empty() || kinds.contains(&entry.kind))
            && entry.committed_at_ms >= *from
            && (*before == 0 || entry.committed_at_ms < *before)
            && self
                .query
                .as_ref()
                .is_none_or(|query| query.finds(&search::text(entry)))
    }

    /// Everything before an entry of that moment is older than what is asked for.
    const fn is_too_old(&self, entry: &Entry) -> bool {
        // Clocks of stores may differ by a little; what they say is not quite in order.
        const SLACK_MS: u64 = 60_000;
        entry.committed_at_ms.saturating_add(SLACK_MS) < self.asked.committed_from_ms
    }
}

/// A page that is being filled.
struct Page {
    found: HistoryFound,
    bytes: usize,
    looked_at: usize,
    limit: usize,
}

impl Page {
    const fn is_full(&self) -> bool {
        self.found.entries.len() >= self.limit || self.looked_at >= LOOKED_AT_MAX
    }

    /// False: it does not fit any more.
    fn take(&mut self, entry: Entry) -> bool {
        self.bytes += entry.content.len();
        let fits = self.bytes <= PULL_PAGE_BYTES_MAX || self.found.entries.is_empty();
        if fits {
            self.found.entries.push(entry);
        }
        fits
    }
}

impl<R: Readers> Service<R> {
    pub(super) async fn search(&self, request: internal::Search) -> Result<Bytes, Refusal> {
        let asked = request.search.unwrap_or_default();
        let conversation = ConversationId::from_slice(&asked.conversation_id)?;
        let account = AccountId(request.account_id);
        let before = match asked.before_sequence {
            0 => Span::BEYOND,
            number => SequenceNumber(number).min(Span::BEYOND),
        };
        let mut page = Page {
            limit: bounded(asked.limit, FOUND_PER_PAGE_MAX) as usize,
            found: HistoryFound::default(),
            bytes: 0,
            looked_at: 0,
        };
        let wanted = Wanted::parse(asked)?;
        page.found.indexed_up_to = self.readers.indexed(conversation).await.map_err(failed)?.0;
        self.fill(&mut page, &wanted, (conversation, account), before)
            .await?;
        Ok(rpc::encode(&page.found))
    }

    async fn fill(
        &self,
        page: &mut Page,
        wanted: &Wanted,
        (conversation, account): (ConversationId, AccountId),
        mut before: SequenceNumber,
    ) -> Result<(), Refusal> {
        loop {
            let (history, next) = match &wanted.query {
                Some(query) => {
                    self.by_words((conversation, account), query, before)
                        .await?
                }
                None => self.by_log((conversation, account), before).await?,
            };
            let Some(history) = history else {
                return unwritten(conversation, account);
            };
            let entitlement = Entitlement::new(history.stays, history.history_open)?;
            let now_ms = clock::unix_ms();
            for entry in history.entries {
                if page.is_full() {
                    page.found.next_before_sequence = entry.sequence + 1;
                    return Ok(());
                }
                if wanted.is_too_old(&entry) {
                    return Ok(());
                }
                page.looked_at += 1;
                let sequence = entry.sequence;
                let shown = read::veiled(entry, &entitlement, now_ms);
                if wanted.is_it(&shown) && !page.take(shown) {
                    page.found.next_before_sequence = sequence + 1;
                    return Ok(());
                }
            }
            match next {
                Some(next) => before = next,
                None => return Ok(()),
            }
        }
    }

    /// What the index finds before a number, and the number to go on with.
    async fn by_words(
        &self,
        (conversation, account): (ConversationId, AccountId),
        query: &Query,
        before: SequenceNumber,
    ) -> Result<(Option<History>, Option<SequenceNumber>), Refusal> {
        let limit = CANDIDATES_TOGETHER_MAX;
        let found = self.readers.candidates(conversation, query, before, limit);
        let found = found.await.map_err(failed)?;
        let history = self.readers.numbered(conversation, account, &found);
        let history = history.await.map_err(failed)?;
        let is_last = found.len() < limit as usize;
        Ok((history, found.last().copied().filter(|_| !is_last)))
    }

    /// The entries before a number, and the number to go on with.
    async fn by_log(
        &self,
        (conversation, account): (ConversationId, AccountId),
        before: SequenceNumber,
    ) -> Result<(Option<History>, Option<SequenceNumber>), Refusal> {
        let span = Span::back(before, read::page_limit(0));
        let history = self.readers.history(conversation, account, span);
        let history = history.await.map_err(failed)?;
        let last = history.as_ref().and_then(|history| history.entries.last());
        let next = last.map(|entry| SequenceNumber(entry.sequence));
        Ok((history, next.filter(|next| next.0 > 1)))
    }
}

#[cfg(test)]
mod tests {
    use protocol::content;

    use super::*;

    fn entry(kind: EntryKind, said: &str) -> Entry {
        Entry {
            sequence: 5,
            sender: 7,
            kind: kind.into(),
            content: content::encode(content::text(said)),
            committed_at_ms: 1_000_000,
            ..Entry::default()
        }
    }

    fn is_it(asked: SearchHistory) -> bool {
        let wanted = Wanted::parse(asked).unwrap();
        wanted.is_it(&entry(EntryKind::Text, "左边的箱子"))
    }

    #[test]
    fn every_condition_must_hold() {
        let text = |text: &str| SearchHistory {
            text: text.into(),
            ..SearchHistory::default()
        };
        assert!(is_it(text("")) && is_it(text("箱子")) && !is_it(text("右边")));
        let (mut all, mut one_wrong) = (text("箱子"), text("箱子"));
        all.senders = vec![3, 7];
        all.kinds = vec![EntryKind::Text.into()];
        all.committed_from_ms = 1_000_000;
        all.committed_before_ms = 1_000_001;
        assert!(is_it(all.clone()));
        one_wrong.senders = vec![3];
        assert!(!is_it(one_wrong));
        for change in [
            |it: &mut SearchHistory| it.kinds = vec![EntryKind::Plan.into()],
            |it: &mut SearchHistory| it.committed_from_ms = 1_000_001,
            |it: &mut SearchHistory| it.committed_before_ms = 1_000_000,
        ] {
            let mut other = all.clone();
            change(&mut other);
            assert!(!is_it(other));
        }
        let wanted = Wanted::parse(SearchHistory::default()).unwrap();
        assert!(
            !wanted.is_it(&entry(EntryKind::Placeholder, "")),
            "nothing to see"
        );
    }
}
