//! Writes the index of words behind the messages: their commits never wait for it.
//!
//! What was committed is noted, by conversation, and indexed a moment later in transactions of its
//! own, between two batches of messages. How far a conversation is indexed stands in the database;
//! what a store left when it died is found by the next scan. Several stores may index the same at
//! once: one of them wins. Not here: what the words are ([`crate::search`]).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use protocol::{AccountId, ConversationId, Refusal, SequenceNumber};
use service_kit::drain::Drain;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::engine::{Chore, EngineError, Readers};
use crate::events;
use crate::read::Span;
use crate::search;
use crate::writer::Writer;

/// Conversations that are noted. When full: none are, and a scan finds them.
const NOTED_MAX: usize = 64 * 1024;

/// Entries in one transaction: some milliseconds, which messages wait for.
const ENTRIES_TOGETHER_MAX: u32 = 256;

/// Entries in one sweep; the rest waits for the next.
const ENTRIES_PER_SWEEP_MAX: u32 = 4096;

/// How often all conversations are looked at.
const SCAN_INTERVAL: Duration = Duration::from_secs(600);

/// Conversations that are looked up together.
const LOGS_TOGETHER_MAX: u32 = 1024;

/// Conversations with entries that are not indexed. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Noted(Arc<Mutex<Notes>>);

#[derive(Debug, Default)]
struct Notes {
    /// Somebody takes them.
    wanted: bool,
    conversations: BTreeSet<ConversationId>,
    /// There were too many.
    overflowed: bool,
}

impl Noted {
    /// These had commits. Never waits.
    pub fn note<'a>(&self, conversations: impl Iterator<Item = &'a ConversationId>) {
        let mut notes = self.0.lock();
        if !notes.wanted || notes.overflowed {
            return;
        }
        notes.conversations.extend(conversations);
        if notes.conversations.len() > NOTED_MAX {
            notes.conversations.clear();
            notes.overflowed = true;
        }
    }

    fn take(&self) -> (BTreeSet<ConversationId>, bool) {
        let mut notes = self.0.lock();
        notes.wanted = true;
        let overflowed = std::mem::take(&mut notes.overflowed);
        (std::mem::take(&mut notes.conversations), overflowed)
    }
}

/// Indexes until the drain, each sweep this long after the one before began.
pub async fn run(
    noted: Noted,
    every: Duration,
    readers: impl Readers,
    writer: Writer,
    drain: Drain,
) {
    let mut indexing = Indexing {
        noted,
        readers,
        writer,
        behind: BTreeSet::new(),
        scan_at: Instant::now(),
    };
    let sweeping = async {
        let mut due = interval(every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            if let Err(refusal) = indexing.sweep().await {
                events::indexing_ended_early(&refusal);
            }
        }
    };
    tokio::select! {
        () = sweeping => {}
        () = drain.draining() => {}
    }
}

struct Indexing<R> {
    noted: Noted,
    readers: R,
    writer: Writer,
    /// What is left of the sweeps before.
    behind: BTreeSet<ConversationId>,
    scan_at: Instant,
}

impl<R: Readers> Indexing<R> {
    async fn sweep(&mut self) -> Result<(), Refusal> {
        let (noted, overflowed) = self.noted.take();
        self.behind.extend(noted);
        if overflowed || Instant::now() >= self.scan_at {
            self.scan_at = Instant::now() + SCAN_INTERVAL;
            self.scan().await?;
        }
        let mut left = ENTRIES_PER_SWEEP_MAX;
        while left > 0
            && let Some(conversation) = self.behind.pop_first()
        {
            if let Err(refusal) = self.index(conversation, &mut left).await {
                self.behind.insert(conversation);
                return Err(refusal);
            }
        }
        events::indexing_behind(self.behind.len());
        Ok(())
    }

    async fn scan(&mut self) -> Result<(), Refusal> {
        let mut after = Vec::new();
        loop {
            let found = self.readers.unindexed(&after, LOGS_TOGETHER_MAX).await;
            let found = found.map_err(failed)?;
            let Some(last) = found.last() else {
                return Ok(());
            };
            after = last.to_bytes().to_vec();
            self.behind.extend(found);
        }
    }

    /// All of it, as far as there is room in this sweep.
    async fn index(&mut self, conversation: ConversationId, left: &mut u32) -> Result<(), Refusal> {
        let mut from = self.readers.indexed(conversation).await.map_err(failed)?;
        loop {
            let span = Span::forward(from, ENTRIES_TOGETHER_MAX);
            let nobody = AccountId(0);
            let read = self.readers.history(conversation, nobody, span).await;
            let Some(history) = read.map_err(failed)? else {
                return Ok(());
            };
            let Some(last) = history.entries.last() else {
                return Ok(());
            };
            let up_to = SequenceNumber(last.sequence);
            let line = |entry: &protocol::wire::Entry| {
                let line = search::line(conversation, &search::text(entry));
                (!line.is_empty()).then_some((SequenceNumber(entry.sequence), line))
            };
            let chore = Chore::Index {
                conversation,
                from,
                up_to,
                lines: history.entries.iter().filter_map(line).collect(),
            };
            self.writer.chore(chore).await?;
            events::indexed(history.entries.len());
            *left = left.saturating_sub(u32::try_from(history.entries.len()).unwrap_or(u32::MAX));
            if up_to >= history.head {
                return Ok(());
            }
            if *left == 0 {
                self.behind.insert(conversation);
                return Ok(());
            }
            from = up_to;
        }
    }
}

fn failed(error: EngineError) -> Refusal {
    events::read_failed(&error);
    Refusal::unavailable("the database failed")
}
