//! The one owner of a shard: gathers what arrived while the previous commit ran, and commits it.
//!
//! No timer: a lone message is committed at once, load makes batches. What is committed goes into
//! the commit stream in the same order. Rare writes take their turn between two batches. Not here:
//! what is decided ([`crate::shard`]) and how it is stored (an [`Engine`]).

use std::collections::HashMap;
use std::time::Duration;

use protocol::{ConversationId, ErrorCode, Refusal, SequenceNumber};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::engine::{Chore, Done, Engine, EngineError};
use crate::events;
use crate::shard::{self, Append, BatchPlan, ConversationState, Digest, Known, Verdict};
use crate::stream::CommitSink;

/// Appends that wait for the writer. When full: the sender waits, up to its deadline.
const QUEUE_APPENDS_MAX: usize = 16 * 1024;

/// Appends in one transaction: some ten milliseconds of work, so that a batch stays short beside
/// the senders' timeouts.
const BATCH_APPENDS_MAX: usize = 2048;

/// Contents in one transaction, in bytes.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Rare writes that wait for the writer. When full: the sender waits.
const QUEUE_CHORES_MAX: usize = 1024;

/// Rare writes in one transaction.
const CHORES_TOGETHER_MAX: usize = 256;

/// How often a batch is decided anew, after another owner won or a commit's answer was lost.
const ATTEMPTS_MAX: usize = 8;

/// For how long a write is attempted anew. Above the longest wait for a paused owner's rows, and
/// with the last attempt still below the senders' timeouts.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(6);

/// Conversations whose state is kept between batches. When full: all are forgotten and read again.
const CONVERSATIONS_KEPT_MAX: usize = 64 * 1024;

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

/// Appends to the shard. Clones share its writer.
#[derive(Debug, Clone)]
pub struct Writer {
    appends: mpsc::Sender<(Append, Answer<Stored>)>,
    chores: mpsc::Sender<(Chore, Answer<Done>)>,
}

/// The other half: runs until every [`Writer`] is gone.
#[derive(Debug)]
pub struct WriterTask<E> {
    engine: E,
    appends: mpsc::Receiver<(Append, Answer<Stored>)>,
    chores: mpsc::Receiver<(Chore, Answer<Done>)>,
    sink: CommitSink,
    /// As of our last commit. Another owner's commit shows when ours loses.
    conversations: HashMap<ConversationId, ConversationState>,
}

/// Takes the engine over; what it commits goes into `sink`.
#[must_use]
pub fn new<E: Engine>(engine: E, sink: CommitSink) -> (Writer, WriterTask<E>) {
    let (appends, appends_queue) = mpsc::channel(QUEUE_APPENDS_MAX);
    let (chores, chores_queue) = mpsc::channel(QUEUE_CHORES_MAX);
    let task = WriterTask {
        engine,
        appends: appends_queue,
        chores: chores_queue,
        sink,
        conversations: HashMap::new(),
    };
    (Writer { appends, chores }, task)
}

impl Writer {
    /// Stores one message. Cancelled, it may be stored all the same.
    ///
    /// # Errors
    /// The planner's refusal (final); *unavailable* (not stored); *outcome unknown*.
    pub async fn append(&self, append: Append) -> Result<Stored, Refusal> {
        ask(&self.appends, append).await
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

impl<E: Engine> WriterTask<E> {
    /// Commits batch after batch. `unix_ms` is the clock. Gives the engine back in the end.
    pub async fn run(mut self, unix_ms: impl Fn() -> u64) -> E {
        loop {
            tokio::select! {
                Some((append, answer)) = self.appends.recv() => {
                    let (appends, answers) = self.gather(append, answer);
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

    fn gather(
        &mut self,
        first: Append,
        answer: Answer<Stored>,
    ) -> (Vec<Append>, Vec<Answer<Stored>>) {
        let mut bytes = first.content.len();
        let mut appends = vec![first];
        let mut answers = vec![answer];
        while appends.len() < BATCH_APPENDS_MAX && bytes < BATCH_BYTES_MAX {
            let Ok((append, answer)) = self.appends.try_recv() else {
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
            match self.attempt(appends, now_ms, &mut attempts).await {
                Ok(plan) => {
                    events::batch_committed(plan.entries.len());
                    self.sink.offer(appends, &plan, now_ms);
                    self.keep(&plan);
                    return plan.verdicts.iter().map(|v| outcome(v, now_ms)).collect();
                }
                Err(error) => attempts.failed(error, appends.len()),
            }
            self.conversations.clear();
        }
        appends.iter().map(|_| Err(attempts.refusal())).collect()
    }

    async fn attempt(
        &mut self,
        appends: &[Append],
        now_ms: u64,
        attempts: &mut Attempts,
    ) -> Result<BatchPlan, EngineError> {
        let known: Known = self.engine.look_up(appends, &self.conversations).await?;
        attempts.settled();
        let plan = shard::plan(appends, digest, &known, now_ms);
        self.engine.commit(appends, &plan, now_ms).await?;
        Ok(plan)
    }

    fn keep(&mut self, plan: &BatchPlan) {
        if self.conversations.len() + plan.heads.len() > CONVERSATIONS_KEPT_MAX {
            self.conversations.clear();
        }
        let moved = plan.heads.iter().map(|(id, head)| (*id, head.to.clone()));
        self.conversations.extend(moved);
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
    until: Instant,
    /// A COMMIT of this write had no answer, and nothing was read back since.
    unsettled: bool,
    lost: bool,
}

impl Attempts {
    fn new() -> Self {
        Self {
            left: ATTEMPTS_MAX,
            until: Instant::now() + SETTLE_TIMEOUT,
            unsettled: false,
            lost: false,
        }
    }

    fn another(&mut self) -> bool {
        let more = self.left > 0 && Instant::now() < self.until;
        self.left = self.left.saturating_sub(1);
        more
    }

    fn failed(&mut self, error: EngineError, writes: usize) {
        self.lost = matches!(error, EngineError::Lost);
        self.unsettled |= matches!(error, EngineError::Unsettled(_));
        if self.lost {
            events::commit_lost();
        } else {
            events::commit_failed(&error, writes);
        }
    }

    const fn settled(&mut self) {
        self.unsettled = false;
    }

    fn refusal(&self) -> Refusal {
        if self.unsettled {
            Refusal::new(ErrorCode::OutcomeUnknown, "the database failed meanwhile")
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
    hasher.update(&append.content);
    let whole = hasher.finalize();
    let mut digest = [0; 16];
    digest.copy_from_slice(&whole[..16]);
    digest
}
