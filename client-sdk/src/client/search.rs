//! Searching a conversation.

use protocol::kind::client as kind;
use protocol::wire::{self, EntryKind};
use protocol::{AccountId, ConversationId, SequenceNumber};

use super::Client;
use super::requests::nonsense;
use crate::error::Error;
use crate::message::Entry;

/// What is looked for: each condition that is set must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Search {
    /// Words, all of which must be there: letters from the beginning of a word, Chinese anywhere.
    pub text: String,
    /// Of one of these; none: of anybody.
    pub senders: Vec<AccountId>,
    /// Of one of these kinds; none: of any.
    pub kinds: Vec<EntryKind>,
    /// Committed at this moment or later, in milliseconds since the Unix epoch; 0: whenever.
    pub committed_from_ms: u64,
    /// And before this one; 0: whenever.
    pub committed_before_ms: u64,
    /// Before this entry, for the next page; `None`: from the newest.
    pub before: Option<SequenceNumber>,
    /// At most so many; 0: as many as the server puts into a page.
    pub limit: u32,
}

impl Search {
    /// For words.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }
}

/// A page of what was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The newest first.
    pub entries: Vec<Entry>,
    /// Where to go on ([`Search::before`]), also after a page with few entries or none; `None`: that
    /// was all.
    pub next: Option<SequenceNumber>,
    /// Up to here words are searched: the server's index is a second or so behind.
    pub indexed_up_to: SequenceNumber,
}

impl Client {
    /// Searches a conversation that the account is in, or was: it finds what the account may read.
    pub async fn search(
        &self,
        conversation: ConversationId,
        search: Search,
    ) -> Result<Found, Error> {
        let request = wire::SearchHistory {
            conversation_id: conversation.to_bytes(),
            text: search.text,
            senders: search.senders.iter().map(|account| account.0).collect(),
            kinds: search.kinds.iter().map(|kind| (*kind).into()).collect(),
            committed_from_ms: search.committed_from_ms,
            committed_before_ms: search.committed_before_ms,
            before_sequence: search.before.map_or(0, |before| before.0),
            limit: search.limit,
        };
        let found: wire::HistoryFound = self.request(kind::SEARCH_HISTORY, &request).await?;
        let entries = found.entries.into_iter().map(Entry::from_wire);
        let next = SequenceNumber(found.next_before_sequence);
        Ok(Found {
            entries: entries.collect::<Result<_, _>>().map_err(nonsense)?,
            next: (next > SequenceNumber::ZERO).then_some(next),
            indexed_up_to: SequenceNumber(found.indexed_up_to),
        })
    }
}
