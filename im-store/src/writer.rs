//! The one owner of a shard: gathers what arrived while the previous commit ran, and commits it.
//!
//! No timer: a lone message is committed at once, load makes batches. Not here: what is decided
//! ([`crate::shard`]) and how it is stored ([`crate::sqlite`]).

use protocol::{ErrorCode, Refusal, SequenceNumber};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

use crate::shard::{self, Append, BatchPlan, Digest, Verdict};
use crate::sqlite::{Committed, Engine, EngineError};

/// Appends that wait for the writer. When full: the sender waits, up to its deadline.
const QUEUE_APPENDS_MAX: usize = 16 * 1024;

/// Appends in one transaction: some ten milliseconds of work, so that a batch stays short beside
/// the senders' timeouts.
const BATCH_APPENDS_MAX: usize = 2048;

/// Contents in one transaction, in bytes.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How often a batch is decided anew, after another owner won or a commit's answer was lost.
const ATTEMPTS_MAX: usize = 8;

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

#[derive(Debug)]
struct Job {
    append: Append,
    answer: oneshot::Sender<Result<Stored, Refusal>>,
}

/// Appends to the shard. Clones share its writer.
#[derive(Debug, Clone)]
pub struct Writer {
    queue: mpsc::Sender<Job>,
}

/// The other half: runs until every [`Writer`] is gone.
#[derive(Debug)]
pub struct WriterTask {
    engine: Engine,
    queue: mpsc::Receiver<Job>,
}

/// Takes the engine over.
#[must_use]
pub fn new(engine: Engine) -> (Writer, WriterTask) {
    let (sender, queue) = mpsc::channel(QUEUE_APPENDS_MAX);
    (Writer { queue: sender }, WriterTask { engine, queue })
}

impl Writer {
    /// Stores one message. Cancelled, it may be stored all the same.
    ///
    /// # Errors
    /// The planner's refusal (final); *unavailable* (not stored); *outcome unknown*.
    pub async fn append(&self, append: Append) -> Result<Stored, Refusal> {
        let (answer, outcome) = oneshot::channel();
        let gone = || Refusal::unavailable("the store is stopping");
        self.queue
            .send(Job { append, answer })
            .await
            .map_err(|_| gone())?;
        let unknown = |_| Refusal::new(ErrorCode::OutcomeUnknown, "the store stopped meanwhile");
        outcome.await.map_err(unknown)?
    }
}

impl WriterTask {
    /// Commits batch after batch. `unix_ms` is the clock. Gives the engine back in the end.
    pub async fn run(mut self, unix_ms: impl Fn() -> u64) -> Engine {
        while let Some(first) = self.queue.recv().await {
            let (appends, answers) = self.gather(first);
            let outcomes = commit(&mut self.engine, &appends, &unix_ms).await;
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                // Whoever asked may have stopped waiting; the log has it all the same.
                drop(answer.send(outcome));
            }
        }
        self.engine
    }

    fn gather(
        &mut self,
        first: Job,
    ) -> (Vec<Append>, Vec<oneshot::Sender<Result<Stored, Refusal>>>) {
        let mut bytes = first.append.content.len();
        let mut appends = vec![first.append];
        let mut answers = vec![first.answer];
        while appends.len() < BATCH_APPENDS_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(job) = self.queue.try_recv() else {
                break;
            };
            bytes += job.append.content.len();
            appends.push(job.append);
            answers.push(job.answer);
        }
        (appends, answers)
    }
}

/// Decides and commits until it is settled. A commit whose answer was lost is settled by the next
/// look-up: what was stored is found by its id.
async fn commit(
    engine: &mut Engine,
    appends: &[Append],
    unix_ms: &impl Fn() -> u64,
) -> Vec<Result<Stored, Refusal>> {
    let mut refusal = Refusal::unavailable("other stores keep winning; try again");
    for _ in 0..ATTEMPTS_MAX {
        let now_ms = unix_ms();
        match attempt(engine, appends, now_ms).await {
            Ok(Some(plan)) => return plan.verdicts.iter().map(|v| outcome(v, now_ms)).collect(),
            Ok(None) => metrics::counter!("im_store_commits_lost_total").increment(1),
            Err(error) => {
                tracing::error!(%error, appends = appends.len(), "a batch failed");
                metrics::counter!("im_store_commits_failed_total").increment(1);
                refusal = Refusal::new(ErrorCode::OutcomeUnknown, "the database failed");
            }
        }
    }
    appends.iter().map(|_| Err(refusal.clone())).collect()
}

/// `None`: another owner was faster.
async fn attempt(
    engine: &mut Engine,
    appends: &[Append],
    now_ms: u64,
) -> Result<Option<BatchPlan>, EngineError> {
    let known = engine.look_up(appends).await?;
    let plan = shard::plan(appends, digest, &known, now_ms);
    let committed = engine.commit(appends, &plan, now_ms).await?;
    if !plan.entries.is_empty() {
        #[expect(clippy::cast_precision_loss, reason = "at most BATCH_APPENDS_MAX")]
        metrics::histogram!("im_store_batch_entries").record(plan.entries.len() as f64);
    }
    Ok((committed == Committed::Yes).then_some(plan))
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
