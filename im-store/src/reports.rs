//! What robots say of their orders, on its way into the database: gathered while the write before it
//! runs, and written together.
//!
//! No timer: a lone report is written at once, ten thousand at once are a handful of writes. An
//! answer means written. Not here: what becomes of a report ([`crate::command`]).

use protocol::wire::OutcomeState;
use protocol::{ErrorCode, Refusal};
use tokio::sync::{mpsc, oneshot};

use crate::command::{CommandChore, CommandDone, Report};
use crate::desk::{DeskSink, News};
use crate::engine::{Chore, Done};
use crate::events;
use crate::writer::Writer;

/// Requests with reports that wait. When full: the robot's request waits, up to its deadline.
const QUEUE_REQUESTS_MAX: usize = 16 * 1024;

/// Reports in one write: some tens of milliseconds of work, which messages wait for.
pub const REPORTS_TOGETHER_MAX: usize = 2048;

type Answer = oneshot::Sender<Result<Vec<OutcomeState>, Refusal>>;

/// Where reports go. Clones share their writer.
#[derive(Debug, Clone)]
pub struct ReportSink {
    queue: mpsc::Sender<(Vec<Report>, Answer)>,
}

/// Writes them.
#[derive(Debug)]
pub struct ReportTask {
    queue: mpsc::Receiver<(Vec<Report>, Answer)>,
}

/// Both halves.
#[must_use]
pub fn new() -> (ReportSink, ReportTask) {
    let (sender, queue) = mpsc::channel(QUEUE_REQUESTS_MAX);
    (ReportSink { queue: sender }, ReportTask { queue })
}

impl ReportSink {
    /// Writes these, and says in which states they leave their outcomes.
    ///
    /// # Errors
    /// *Unavailable*, or *outcome unknown*: the same may be said again.
    pub async fn report(&self, reports: Vec<Report>) -> Result<Vec<OutcomeState>, Refusal> {
        let (answer, outcome) = oneshot::channel();
        self.queue
            .send((reports, answer))
            .await
            .map_err(|_| Refusal::unavailable("the store is stopping"))?;
        let unknown = |_| Refusal::new(ErrorCode::OutcomeUnknown, "the store stopped meanwhile");
        outcome.await.map_err(unknown)?
    }
}

impl ReportTask {
    /// Writes until every sink is gone.
    pub async fn run(mut self, writer: Writer, desk: DeskSink) {
        while let Some((mut reports, answer)) = self.queue.recv().await {
            let mut answers = vec![(reports.len(), answer)];
            while reports.len() < REPORTS_TOGETHER_MAX
                && let Ok((more, answer)) = self.queue.try_recv()
            {
                answers.push((more.len(), answer));
                reports.extend(more);
            }
            events::reports_gathered(reports.len());
            let chore = Chore::Command(CommandChore::Settle(reports));
            let settled = match writer.chore(chore).await {
                Ok(Done::Command(CommandDone::Settled(settled))) => Ok(settled),
                Ok(_) => Err(Refusal::internal(
                    "reports were written, and no states came",
                )),
                Err(refusal) => Err(refusal),
            };
            match settled {
                Ok(settled) => {
                    let mut states = settled.states.into_iter();
                    for (reports, answer) in answers {
                        // Who asked may have stopped waiting; it is written all the same.
                        drop(answer.send(Ok(states.by_ref().take(reports).collect())));
                    }
                    desk.tell(News::Changed(settled.changes)).await;
                }
                Err(refusal) => {
                    for (_, answer) in answers {
                        drop(answer.send(Err(refusal.clone())));
                    }
                }
            }
        }
    }
}
