//! Live analysis: a copy of what is committed, as far as it fits a filter that the server applies.
//!
//! Live only: from the moment at which [`Client::watch`] returns. What was not told, because this end
//! or a server was too slow or away, is named as a [`Gap`], and is in the history. An entry may be
//! told twice, under the same number.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message as _;
use protocol::kind::client as kind;
use protocol::watch::Gaps;
use protocol::wire::{self, EntryKind, WatchGap, WatchScope};
use protocol::{AccountId, ConversationId, Refusal, SequenceNumber};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::client::Client;
use crate::error::Error;
use crate::message::Entry;
use crate::requests::Request;

/// Entries that wait for whoever watches. When full: one more is told as a gap.
const SEEN_MAX: usize = 4096;

/// Gaps that are taken at once.
const GAPS_TAKEN_MAX: usize = 64;

/// The pause after a watch could not be begun again.
const RETRY: Duration = Duration::from_millis(500);

/// What is looked for: each condition that is set must hold, by any one of its values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchFilter {
    /// Of one of these kinds.
    pub kinds: Vec<EntryKind>,
    /// Of one of these accounts.
    pub senders: Vec<AccountId>,
    /// In one of these conversations.
    pub conversations: Vec<ConversationId>,
    /// Mentions one of these.
    pub mentions: Vec<AccountId>,
    /// With one of these in it, in either case.
    pub words: Vec<String>,
    /// All groups of the fleet, for those who may; else the account's own conversations.
    pub fleet: bool,
}

impl WatchFilter {
    /// Everything in the account's own conversations.
    #[must_use]
    pub fn own() -> Self {
        Self::default()
    }

    /// Everything in all groups of the fleet, for those who may.
    #[must_use]
    pub fn fleet() -> Self {
        Self {
            fleet: true,
            ..Self::default()
        }
    }

    fn to_wire(&self) -> wire::Watch {
        let ids = |accounts: &[AccountId]| accounts.iter().map(|account| account.0).collect();
        let scope = if self.fleet {
            WatchScope::Fleet
        } else {
            WatchScope::Own
        };
        wire::Watch {
            filter: Some(wire::WatchFilter {
                kinds: self.kinds.iter().map(|kind| (*kind).into()).collect(),
                senders: ids(&self.senders),
                conversation_ids: self.conversations.iter().map(|id| id.to_bytes()).collect(),
                mentions: ids(&self.mentions),
                words: self.words.clone(),
            }),
            scope: scope.into(),
            stop: false,
        }
    }
}

/// What is heard.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// Something was committed that fits.
    Entry(Box<Entry>),
    /// Something may have been committed that was not told.
    Gap(Gap),
}

/// What may have been missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Where; `None`: anywhere.
    pub conversation: Option<ConversationId>,
    /// The first that is missing; zero: whatever comes after the last one that was told.
    pub first: SequenceNumber,
    /// The last; zero: nobody knows.
    pub last: SequenceNumber,
    /// How many of them are known to fit.
    pub missed: u64,
}

impl Gap {
    fn of(gap: &WatchGap) -> Self {
        Self {
            conversation: ConversationId::from_slice(&gap.conversation_id).ok(),
            first: SequenceNumber(gap.first),
            last: SequenceNumber(gap.last),
            missed: gap.missed,
        }
    }
}

/// What waits between the connection and whoever watches. Bounded.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    inner: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Which watch it is for; 0: none.
    watch: u64,
    last_watch: u64,
    entries: VecDeque<Entry>,
    gaps: Gaps,
}

impl Sight {
    /// From now on it is for this one.
    fn begin(&self) -> u64 {
        let mut waiting = self.inner.lock();
        waiting.last_watch += 1;
        waiting.watch = waiting.last_watch;
        waiting.entries.clear();
        waiting.gaps = Gaps::default();
        waiting.watch
    }

    /// Returns whether it was for this one.
    fn end(&self, watch: u64) -> bool {
        let mut waiting = self.inner.lock();
        let was = waiting.watch == watch;
        if was {
            waiting.watch = 0;
            waiting.entries = VecDeque::new();
        }
        was
    }

    /// Something was told.
    pub(crate) fn watched(&self, watched: wire::Watched) -> Result<(), Refusal> {
        let mut waiting = self.inner.lock();
        if waiting.watch == 0 {
            return Ok(());
        }
        watched.gaps.iter().for_each(|gap| waiting.gaps.add(gap));
        for entry in watched.entries {
            let entry = Entry::from_wire(entry)?;
            if waiting.entries.len() < SEEN_MAX {
                waiting.entries.push_back(entry);
            } else {
                waiting.gaps.missed(entry.conversation, entry.sequence);
            }
        }
        drop(waiting);
        self.arrived.notify_waiters();
        Ok(())
    }

    fn missed_anything(&self) {
        self.inner.lock().gaps.anywhere();
    }

    fn next(&self, watch: u64, taken: &mut VecDeque<Gap>) -> Result<Option<Seen>, Error> {
        if let Some(gap) = taken.pop_front() {
            return Ok(Some(Seen::Gap(gap)));
        }
        let mut waiting = self.inner.lock();
        if waiting.watch != watch {
            return Err(Error::Closed);
        }
        if !waiting.gaps.is_empty() {
            taken.extend(waiting.gaps.take(GAPS_TAKEN_MAX).iter().map(Gap::of));
            return Ok(taken.pop_front().map(Seen::Gap));
        }
        let entry = waiting.entries.pop_front();
        Ok(entry.map(|entry| Seen::Entry(Box::new(entry))))
    }
}

/// Watches. One at a time: a later one of the same client ends it. Dropped, nothing more is heard.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    watch: u64,
    asked: wire::Watch,
    taken: VecDeque<Gap>,
    session: watch::Receiver<u64>,
}

impl Client {
    /// Hears of everything that is committed from now on and fits the filter.
    ///
    /// # Errors
    /// When the account may not, or the filter makes no sense.
    pub async fn watch(&self, filter: WatchFilter) -> Result<Watch, Error> {
        let asked = filter.to_wire();
        let mut session = self.shared().sessions.subscribe();
        session.mark_unchanged();
        let watch = Watch {
            watch: self.shared().sight.begin(),
            client: self.clone(),
            asked,
            taken: VecDeque::new(),
            session,
        };
        watch.ask().await?;
        Ok(watch)
    }
}

impl Watch {
    /// The next that is heard. After a loss of the connection it is begun again, behind a gap.
    /// Cancel-safe.
    ///
    /// # Errors
    /// When the client is closed, another watch took its place, or the account may not any more.
    pub async fn next(&mut self) -> Result<Seen, Error> {
        let shared = Arc::clone(self.client.shared());
        loop {
            let news = shared.sight.arrived.notified();
            tokio::pin!(news);
            // Before looking, so that nothing comes in between.
            news.as_mut().enable();
            if let Some(seen) = shared.sight.next(self.watch, &mut self.taken)? {
                return Ok(seen);
            }
            tokio::select! {
                () = news => continue,
                changed = self.session.changed() => {
                    if changed.is_err() || *self.session.borrow() == u64::MAX {
                        return Err(Error::Closed);
                    }
                }
            }
            if shared.session().is_none() {
                continue;
            }
            // Another session, which watches nothing yet.
            match self.ask().await {
                Ok(()) => shared.sight.missed_anything(),
                Err(error @ (Error::Refused(_) | Error::Closed)) => return Err(error),
                Err(_) => {
                    tokio::time::sleep(RETRY).await;
                    self.session.mark_changed();
                }
            }
        }
    }

    async fn ask(&self) -> Result<(), Error> {
        let _: wire::Watched = self.client.request(kind::WATCH, &self.asked).await?;
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.client.shared().sight.end(self.watch) {
            return;
        }
        let stop = wire::Watch {
            stop: true,
            ..wire::Watch::default()
        };
        // Nobody waits for the answer; without a connection there is no watch.
        self.client.ask_and_forget(Request {
            kind: kind::WATCH,
            body: stop.encode_to_vec().into(),
            deadline: Instant::now() + RETRY,
            lasting: false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(sequences: std::ops::RangeInclusive<u64>) -> wire::Watched {
        let entry = |sequence| wire::Entry {
            conversation_id: ConversationId::group(7).to_bytes(),
            sequence,
            kind: EntryKind::Text.into(),
            content: protocol::content::encode(protocol::content::text("好")),
            ..wire::Entry::default()
        };
        wire::Watched {
            entries: sequences.map(entry).collect(),
            gaps: Vec::new(),
        }
    }

    #[test]
    fn what_does_not_fit_is_a_gap_before_the_rest() {
        let sight = Sight::default();
        sight.watched(told(1..=1)).unwrap();
        let (watch, mut taken) = (sight.begin(), VecDeque::new());
        assert_eq!(sight.next(watch, &mut taken).unwrap(), None);
        let most = SEEN_MAX as u64;
        sight.watched(told(1..=most + 2)).unwrap();
        let Some(Seen::Gap(gap)) = sight.next(watch, &mut taken).unwrap() else {
            panic!("a gap comes first");
        };
        assert_eq!(gap.conversation, Some(ConversationId::group(7)));
        assert_eq!(
            (gap.first.0, gap.last.0, gap.missed),
            (most + 1, most + 2, 2)
        );
        let mut entries = 0;
        while let Some(Seen::Entry(_)) = sight.next(watch, &mut taken).unwrap() {
            entries += 1;
        }
        assert_eq!(entries, SEEN_MAX);
    }

    #[test]
    fn a_later_watch_ends_the_one_before() {
        let (sight, mut taken) = (Sight::default(), VecDeque::new());
        let first = sight.begin();
        let second = sight.begin();
        assert!(sight.next(first, &mut taken).is_err());
        assert!(!sight.end(first) && sight.end(second));
    }
}
