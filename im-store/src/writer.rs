//! The one owner of a shard: gathers what arrived while the previous commit ran, and commits it.
//!
//! Emergencies and commands have a queue of their own, so that no chat that waits delays them.
//!
//! No timer: a lone message is committed at once, load makes batches. What is committed goes into
//! the commit stream in the same order. Rare writes take their turn between two batches. Not here:
//! what is decided ([`crate::shard`]) and how it is stored (an [`Engine`]).

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use protocol::wire::Priority;
use protocol::{ConversationId, ErrorCode, Refusal, SequenceNumber};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::cache::{self, Cache, Kept};
use crate::engine::{Chore, Done, Engine, EngineError};
use crate::events;
use crate::shard::{self, Append, BatchPlan, ConversationState, Digest, Verdict};
use crate::stream::CommitSink;

/// Appends that wait for the writer. When full: the sender waits, up to its deadline.
const QUEUE_APPENDS_MAX: usize = 16 * 1024;

/// The same, of emergencies and commands, which wait for no chat. When full: the sender waits.
const QUEUE_URGENT_MAX: usize = 4 * 1024;

/// Of these in one transaction, as long as others wait: commands without end leave room for chat.
const BATCH_URGENT_MAX: usize = BATCH_APPENDS_MAX / 4 * 3;

/// Appends in one transaction: some ten milliseconds of work, so that a batch stays short beside
/// the senders' timeouts.
const BATCH_APPENDS_MAX: usize = 2048;

/// Contents in one transaction, in bytes.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Rare writes that wait for the writer. When full: the sender waits.
const QUEUE_CHORES_MAX: usize = 1024;

/// Rare writes in one transaction.
const CHORES_TOGETHER_MAX: usize = 256;

/// How often a batch is decided anew, after another owner won or a commit's answer was lost. Those
/// that another node of a cluster wins are over in milliseconds, and nothing makes it our turn.
const ATTEMPTS_MAX: usize = 64;

/// How often a write is attempted anew after the database itself failed.
const FAILURES_MAX: usize = 8;

/// For how long a write is attempted anew. Above the longest wait for a paused owner's rows, and
/// with the last attempt still below the senders' timeouts.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(6);

/// What a sender waits, in milliseconds, before it tries a store again whose disk is full.
const FULL_RETRY_AFTER_MS: u32 = 1000;

/// The answer to an append: it is stored and synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its number; zero for a membership entry that would have changed nothing.
    pub sequence: SequenceNumber,
    /// When, in Unix milliseconds.
    pub committed_at_ms: u64,
    /// Whether it was stored before this append.
    pub duplicate: bool,
}

type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

type Waiting = (Append, Answer<Stored>);

/// Appends to the shard. Clones share its writer.
#[derive(Debug, Clone)]
pub struct Writer {
    urgent: mpsc::Sender<Waiting>,
    appends: mpsc::Sender<Waiting>,
    chores: mpsc::Sender<(Chore, Answer<Done>)>,
}

/// The other half: runs until every [`Writer`] is gone.
#[derive(Debug)]
pub struct WriterTask<E, C = Kept> {
    engine: E,
    urgent: mpsc::Receiver<Waiting>,
    appends: mpsc::Receiver<Waiting>,
    chores: mpsc::Receiver<(Chore, Answer<Done>)>,
    sink: CommitSink,
    /// As of our last commits. Another owner's commit shows when ours loses.
    cache: C,
}

/// Takes the engine over; what it commits goes into `sink`.
#[must_use]
pub fn new<E: Engine>(engine: E, sink: CommitSink) -> (Writer, WriterTask<E>) {
    with_cache(engine, sink, Kept::default())
}

/// The same with another memory of its conversations.
#[must_use]
pub fn with_cache<E: Engine, C: Cache>(
    engine: E,
    sink: CommitSink,
    cache: C,
) -> (Writer, WriterTask<E, C>) {
    let (urgent, urgent_queue) = mpsc::channel(QUEUE_URGENT_MAX);
    let (appends, appends_queue) = mpsc::channel(QUEUE_APPENDS_MAX);
    let (chores, chores_queue) = mpsc::channel(QUEUE_CHORES_MAX);
    let task = WriterTask {
        engine,
        urgent: urgent_queue,
        appends: appends_queue,
        chores: chores_queue,
        sink,
        cache,
    };
    let writer = Writer {
        urgent,
        appends,
        chores,
    };
    (writer, task)
}

impl Writer {
    /// Stores one message. Cancelled, it may be stored all the same.
    ///
    /// # Errors
    /// The planner's refusal (final); *unavailable* (not stored); *outcome unknown*.
    pub async fn append(&self, append: Append) -> Result<Stored, Refusal> {
        let lane = match append.priority {
            Priority::Emergency | Priority::Command => &self.urgent,
            Priority::Chat | Priority::Telemetry | Priority::Unspecified => &self.appends,
        };
        ask(lane, append).await
    }

    /// Does one rare write. Cancelled, it may be done all the same.
    ///
    /// # Errors
    /// What the write refuses (final); *unavailable*; *outcome unknown*.
    pub async fn chore(&self, chore: Chore) -> Result<Done, Refusal> {
        ask(&self.chores, chore).await
    }
}

async fn ask<Q, T>(queue: &mpsc::Sender<(Q, Answer<T>)>, question: Q) -> Result<T, Refusal> {
    let (answer, outcome) = oneshot::channel();
    queue
        .send((question, answer))
        .await
        .map_err(|_| Refusal::unavailable("the store is stopping"))?;
    let unknown = |_| Refusal::new(ErrorCode::OutcomeUnknown, "the store stopped meanwhile");
    outcome.await.map_err(unknown)?
}

impl<E: Engine, C: Cache> WriterTask<E, C> {
    /// Commits batch after batch. `unix_ms` is the clock. Gives the engine back in the end.
    pub async fn run(mut self, unix_ms: impl Fn() -> u64) -> E {
        loop {
            tokio::select! {
                Some(first) = Self::first(&mut self.urgent, &mut self.appends) => {
                    let (appends, answers) = self.gather(first);
                    let outcomes = self.store(&appends, &unix_ms).await;
                    give(answers, outcomes);
                }
                Some((chore, answer)) = self.chores.recv() => {
                    self.do_chores(chore, answer, unix_ms()).await;
                }
                else => return self.engine,
            }
        }
    }

    /// Cancel-safe.
    async fn first(
        urgent: &mut mpsc::Receiver<Waiting>,
        others: &mut mpsc::Receiver<Waiting>,
    ) -> Option<Waiting> {
        tokio::select! {
            biased;
            Some(first) = urgent.recv() => Some(first),
            first = others.recv() => first,
        }
    }

    /// What is urgent first, up to its share, then the others, then what is left of it.
    fn gather(&mut self, first: Waiting) -> (Vec<Append>, Vec<Answer<Stored>>) {
        let mut bytes = first.0.content.len();
        let (mut appends, mut answers) = (vec![first.0], vec![first.1]);
        while appends.len() < BATCH_APPENDS_MAX && bytes < BATCH_BYTES_MAX {
            let mut next = None;
            if appends.len() < BATCH_URGENT_MAX {
                next = self.urgent.try_recv().ok();
            }
            let next = next
                .or_else(|| self.appends.try_recv().ok())
                .or_else(|| self.urgent.try_recv().ok());
            let Some((append, answer)) = next else {
                break;
            };
            bytes += append.content.len();
            appends.push(append);
            answers.push(answer);
        }
        (appends, answers)
    }

    /// Decides and commits until it is settled. A commit whose answer was lost is settled by the
    /// next look-up: what was stored is found by its id.
    async fn store(
        &mut self,
        appends: &[Append],
        unix_ms: &impl Fn() -> u64,
    ) -> Vec<Result<Stored, Refusal>> {
        let mut attempts = Attempts::new();
        while attempts.another() {
            let now_ms = unix_ms();
            match self.attempt(appends, now_ms).await {
                Ok(plan) => {
                    events::batch_committed(plan.entries.len());
                    self.sink.offer(appends, &plan, now_ms);
                    self.keep(&plan);
                    return plan.verdicts.iter().map(|v| outcome(v, now_ms)).collect();
                }
                Err(error) => attempts.failed(error, appends.len()),
            }
            self.cache.clear();
        }
        appends.iter().map(|_| Err(attempts.refusal())).collect()
    }

    /// What the plan refuses without moving a head is decided once more, from the database, in a
    /// transaction that no COMMIT under way can get past.
    async fn attempt(&mut self, appends: &[Append], now_ms: u64) -> Result<BatchPlan, EngineError> {
        let mut proven = BTreeSet::new();
        loop {
            let kept = self.remembered(appends);
            let known = self.engine.look_up(appends, &kept).await?;
            let plan = shard::plan(appends, digest, &known, now_ms);
            let unproven = cache::unproven(appends, &plan);
            if unproven.is_subset(&proven) {
                self.engine.commit(appends, &plan, now_ms).await?;
                return Ok(plan);
            }
            for conversation in &unproven {
                self.cache.forget(*conversation);
            }
            self.engine.settle(&unproven);
            proven.extend(unproven);
        }
    }

    fn remembered(&self, appends: &[Append]) -> HashMap<ConversationId, ConversationState> {
        let mut remembered = HashMap::new();
        for append in appends {
            if !remembered.contains_key(&append.conversation)
                && let Some(state) = self.cache.state(append.conversation)
            {
                remembered.insert(append.conversation, state);
            }
        }
        remembered
    }

    fn keep(&mut self, plan: &BatchPlan) {
        for (conversation, head) in &plan.heads {
            self.cache.keep(*conversation, head.to.clone());
        }
    }

    async fn do_chores(&mut self, first: Chore, answer: Answer<Done>, now_ms: u64) {
        let mut chores = vec![first];
        let mut answers = vec![answer];
        while chores.len() < CHORES_TOGETHER_MAX
            && let Ok((chore, answer)) = self.chores.try_recv()
        {
            chores.push(chore);
            answers.push(answer);
        }
        let outcomes = self.carry_out(&chores, now_ms).await;
        give(answers, outcomes);
    }

    async fn carry_out(&mut self, chores: &[Chore], now_ms: u64) -> Vec<Result<Done, Refusal>> {
        let mut attempts = Attempts::new();
        while attempts.another() {
            match self.engine.chores(chores, now_ms).await {
                Ok(outcomes) => return outcomes,
                Err(error) => attempts.failed(error, chores.len()),
            }
        }
        chores.iter().map(|_| Err(attempts.refusal())).collect()
    }
}

/// The attempts at one write: how many more, and what its senders are told if all fail.
#[derive(Debug)]
struct Attempts {
    left: usize,
    failures_left: usize,
    until: Instant,
    /// A COMMIT of this write had no answer, and no later one succeeded.
    unsettled: bool,
    lost: bool,
    /// The disk has no room, and will have none in a moment.
    full: bool,
}

impl Attempts {
    fn new() -> Self {
        Self {
            left: ATTEMPTS_MAX,
            failures_left: FAILURES_MAX,
            until: Instant::now() + SETTLE_TIMEOUT,
            unsettled: false,
            lost: false,
            full: false,
        }
    }

    fn another(&mut self) -> bool {
        let may = self.left > 0 && self.failures_left > 0 && !self.full;
        let more = may && Instant::now() < self.until;
        self.left = self.left.saturating_sub(1);
        more
    }

    fn failed(&mut self, error: EngineError, writes: usize) {
        self.lost = matches!(error, EngineError::Lost);
        self.unsettled |= matches!(error, EngineError::Unsettled(_));
        self.full = matches!(error, EngineError::Full(_));
        if self.lost {
            events::commit_lost();
        } else if self.full {
            events::commit_without_room();
        } else {
            self.failures_left = self.failures_left.saturating_sub(1);
            events::commit_failed(&error, writes);
        }
    }

    fn refusal(&self) -> Refusal {
        if self.unsettled {
            Refusal::new(ErrorCode::OutcomeUnknown, "the database failed meanwhile")
        } else if self.full {
            Refusal::unavailable("the store's disk is full").retry_after_ms(FULL_RETRY_AFTER_MS)
        } else if self.lost {
            Refusal::unavailable("other stores keep winning; try again")
        } else {
            Refusal::unavailable("the database failed")
        }
    }
}

fn give<T>(answers: Vec<Answer<T>>, outcomes: Vec<Result<T, Refusal>>) {
    for (answer, outcome) in answers.into_iter().zip(outcomes) {
        // Whoever asked may have stopped waiting; what is stored is stored all the same.
        drop(answer.send(outcome));
    }
}

fn outcome(verdict: &Verdict, now_ms: u64) -> Result<Stored, Refusal> {
    match verdict {
        Verdict::Store(sequence) => Ok(Stored {
            sequence: *sequence,
            committed_at_ms: now_ms,
            duplicate: false,
        }),
        Verdict::Duplicate {
            sequence,
            committed_at_ms,
        } => Ok(Stored {
            sequence: *sequence,
            committed_at_ms: *committed_at_ms,
            duplicate: true,
        }),
        Verdict::NothingToDo => Ok(Stored {
            sequence: SequenceNumber::ZERO,
            committed_at_ms: now_ms,
            duplicate: false,
        }),
        Verdict::Refuse(refusal) => Err(refusal.clone()),
    }
}

fn digest(append: &Append) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update((append.kind as i32).to_be_bytes());
    hasher.update(append.said());
    let whole = hasher.finalize();
    let mut digest = [0; 16];
    digest.copy_from_slice(&whole[..16]);
    digest
}
