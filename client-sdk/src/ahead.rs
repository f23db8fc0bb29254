//! Pages of a long catch-up, asked for before the inbox wants them, so that their ways to the server
//! and back overlap. Pure.
//!
//! The inbox reads a conversation page by page, each beginning where the last one ended; this
//! guesses where the next ones will begin. A page that was read ahead may be older than what was
//! heard of since, so it is of use only if the log goes on after it: the page that ends a catch-up
//! is always asked for when the inbox wants it. Not here: what a page means.

use std::collections::BTreeMap;

use protocol::limits::{PULL_PAGE_BYTES_MAX, PULL_PAGE_ENTRIES_MAX};
use protocol::{ConversationId, SequenceNumber};

use crate::message::PullPage;

/// Pages of one conversation that are on their way or kept. Enough to keep every tier at work.
const PAGES_AHEAD_MAX: usize = 3;

/// Conversations that are read ahead. More of them overlap by themselves.
const RUNS_MAX: usize = 2;

/// Pages of fewer entries are not guessed at: how many fit is told by their lengths alone.
const PAGE_ENTRIES_MIN: usize = 64;

/// The pages ahead of one account's inbox.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    runs: BTreeMap<ConversationId, Run>,
    /// On their way, those of runs that are given up included.
    in_flight: usize,
}

/// One conversation that is read ahead.
#[derive(Debug)]
struct Run {
    /// How many entries a page has.
    page_entries: u32,
    /// After which entry the next page to be asked for begins.
    next: SequenceNumber,
    /// The log goes on up to here at least.
    head: SequenceNumber,
    /// By the entry after which they begin; `None`: on its way.
    pages: BTreeMap<SequenceNumber, Option<PullPage>>,
    /// The one on its way that the inbox wants by now.
    wanted: Option<SequenceNumber>,
}

/// What there is of a page that the inbox wants.
#[derive(Debug, PartialEq)]
pub(crate) enum Found {
    /// It.
    Page(PullPage),
    /// It is on its way.
    Coming,
    /// Nothing: it must be asked for, with so many entries; 0: as many as fit.
    Nothing(u32),
}

/// What becomes of an answer.
#[derive(Debug, PartialEq)]
pub(crate) enum Answered {
    /// It is kept, or of no use.
    Settled,
    /// The inbox waits for it.
    Wanted(PullPage),
    /// The inbox waits for this page, and has to ask for it.
    AskAgain,
}

/// A page to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asking {
    pub(crate) conversation: ConversationId,
    pub(crate) after: SequenceNumber,
    pub(crate) limit: u32,
}

impl Ahead {
    /// The inbox gets this page of a conversation: where the next ones begin follows from it.
    pub(crate) fn passes(&mut self, conversation: ConversationId, page: &PullPage) {
        let Some(last) = goes_on_after(page) else {
            self.runs.remove(&conversation);
            return;
        };
        if let Some(run) = self.runs.get_mut(&conversation) {
            run.head = run.head.max(page.head);
            if run.has_room_for_more(page) {
                // The next page tells how many.
                self.runs.remove(&conversation);
            }
            return;
        }
        let entries = page.entries.len();
        if entries >= PAGE_ENTRIES_MIN && self.runs.len() < RUNS_MAX {
            let run = Run {
                page_entries: u32::try_from(entries).unwrap_or(PULL_PAGE_ENTRIES_MAX),
                next: last,
                head: page.head,
                pages: BTreeMap::new(),
                wanted: None,
            };
            self.runs.insert(conversation, run);
        }
    }

    /// The inbox wants the page after this entry.
    pub(crate) fn find(&mut self, conversation: ConversationId, after: SequenceNumber) -> Found {
        let Some(run) = self.runs.get_mut(&conversation) else {
            return Found::Nothing(0);
        };
        match run.pages.remove(&after) {
            Some(Some(page)) => Found::Page(page),
            Some(None) => {
                run.pages.insert(after, None);
                run.wanted = Some(after);
                Found::Coming
            }
            None if run.next == after => {
                run.next = SequenceNumber(after.0 + u64::from(run.page_entries));
                Found::Nothing(run.page_entries)
            }
            None => {
                // The guesses were wrong.
                self.runs.remove(&conversation);
                Found::Nothing(0)
            }
        }
    }

    /// The next page to ask for, which is on its way from now on.
    pub(crate) fn next(&mut self) -> Option<Asking> {
        let (conversation, run) = self
            .runs
            .iter_mut()
            .find(|(_, run)| run.pages.len() < PAGES_AHEAD_MAX && run.goes_on())?;
        let after = run.next;
        run.pages.insert(after, None);
        run.next = SequenceNumber(after.0 + u64::from(run.page_entries));
        self.in_flight += 1;
        Some(Asking {
            conversation: *conversation,
            after,
            limit: run.page_entries,
        })
    }

    /// How many are on their way.
    pub(crate) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The page after this entry has come; `None`: it was refused, or has not come in time.
    pub(crate) fn answered(
        &mut self,
        conversation: ConversationId,
        after: SequenceNumber,
        page: Option<PullPage>,
    ) -> Answered {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(run) = self.runs.get_mut(&conversation) else {
            return Answered::Settled;
        };
        // It may be of a run before this one, whose guesses were wrong.
        let Some(None) = run.pages.get(&after) else {
            return Answered::Settled;
        };
        let is_wanted = run.wanted.take_if(|wanted| *wanted == after).is_some();
        let page = page.filter(|page| goes_on_after(page).is_some() && !has_deadline(page));
        match page {
            Some(page) if is_wanted => {
                run.pages.remove(&after);
                Answered::Wanted(page)
            }
            Some(page) => {
                run.pages.insert(after, Some(page));
                Answered::Settled
            }
            None => {
                // With the run goes the page that the inbox waits for, if it is another one.
                let waits = is_wanted || run.wanted.is_some();
                self.runs.remove(&conversation);
                if waits {
                    Answered::AskAgain
                } else {
                    Answered::Settled
                }
            }
        }
    }

    /// Nothing more of this conversation is wanted.
    pub(crate) fn forget(&mut self, conversation: ConversationId) {
        self.runs.remove(&conversation);
    }

    /// What is on its way will not come, or is of another history.
    pub(crate) fn clear(&mut self) {
        self.runs.clear();
        self.in_flight = 0;
    }
}

impl Run {
    /// Whether a whole page follows, and the log goes on after it.
    fn goes_on(&self) -> bool {
        self.next.0 + u64::from(self.page_entries) < self.head.0
    }

    /// Whether the entries have become so short that many more of them fit into a page.
    fn has_room_for_more(&self, page: &PullPage) -> bool {
        let bytes: usize = page.entries.iter().map(|entry| entry.content_bytes).sum();
        self.page_entries < PULL_PAGE_ENTRIES_MAX && bytes < PULL_PAGE_BYTES_MAX / 2
    }
}

/// The last entry of a page, if the log goes on after it.
fn goes_on_after(page: &PullPage) -> Option<SequenceNumber> {
    let last = page.entries.last()?.sequence;
    (last < page.head).then_some(last)
}

/// Whether there is content in it that must not be handed over after some moment: it is not kept.
fn has_deadline(page: &PullPage) -> bool {
    page.entries
        .iter()
        .any(|entry| entry.deliver_before_ms != 0)
}

#[cfg(test)]
mod tests;
