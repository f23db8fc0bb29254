//! Where commands are carried out, one at a time and in order, and reported.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use protocol::content::Content;
use protocol::identity;
use protocol::wire::{self, Priority, StepState};
use protocol::{ClientMessageId, ConversationId, SequenceNumber};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ledger::Ledger;
use super::{Action, ActionContext, Ending, STOPPED, Stop, carry_out};
use crate::client::Client;
use crate::error::{Error, SendError};
use crate::events;
use crate::message::{Outgoing, Receipt};

/// Commands remembered as seen in this run, so that one that comes by two ways runs once.
const SEEN_MAX: usize = 1024;

/// How long a command without a deadline may take.
const NO_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

/// The pause before asking again when the client itself is too busy.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// The states after which nothing more is said of a command.
const ENDS: [StepState; 5] = [
    StepState::Finished,
    StepState::Failed,
    StepState::Rejected,
    StepState::Cancelled,
    StepState::Expired,
];

/// A command, where it stands, and whether an earlier run may have seen it.
pub(super) struct Order {
    pub(super) command: Arc<wire::Command>,
    pub(super) id: ClientMessageId,
    pub(super) conversation: ConversationId,
    pub(super) sequence: SequenceNumber,
    pub(super) backlog: bool,
}

pub(super) struct Desk {
    pub(super) client: Client,
    pub(super) actions: HashMap<String, Action>,
    pub(super) stop: Stop,
    pub(super) ledger: Arc<Mutex<Ledger>>,
}

/// What became of the word that a command is taken.
enum Acceptance {
    /// Committed, by this run.
    Mine,
    /// An earlier run took the command.
    Earlier(SequenceNumber),
    /// It could not be said in time.
    TooLate,
    /// It may not be said, or the client is closed.
    Never(SendError),
}

impl Desk {
    /// Until the robot stops: what is then left comes again in the next run.
    pub(super) async fn work(self: Arc<Self>, mut orders: mpsc::Receiver<Order>) {
        let mut seen = Seen::default();
        while let Some(order) = orders.recv().await {
            if self.stop.all.is_cancelled() {
                return;
            }
            if !seen.first_sight(order.id) || self.handle(&order).await {
                self.done(&order);
            }
        }
    }

    /// Says no to a command that was not begun.
    pub(super) async fn reject(self: Arc<Self>, order: Order, reason: String) {
        if let Some(report_to) = readable(&order)
            && self
                .report(&order, report_to, Ending::Rejected(reason))
                .await
        {
            self.done(&order);
        }
    }

    /// Returns whether the command's end is committed, or can never be.
    async fn handle(&self, order: &Order) -> bool {
        let Some(report_to) = readable(order) else {
            return true;
        };
        let deadline = self.deadline(&order.command);
        // An earlier run may have ended it: then nothing else may be said of it.
        if !order.backlog
            && let Err(ending) = self.check(order, deadline)
        {
            return self.report(order, report_to, ending).await;
        }
        let ending = match self.accept(order, report_to, deadline).await {
            Acceptance::Mine => self.run(order, report_to, deadline).await,
            Acceptance::Earlier(at) => match self.is_ended(order, report_to, at).await {
                Ok(true) => return true,
                Ok(false) => Ending::Failed("interrupted: the robot restarted meanwhile".into()),
                Err(_) => return false,
            },
            Acceptance::TooLate => Ending::Expired("it could not be accepted in time".into()),
            Acceptance::Never(SendError::Closed) => return false,
            Acceptance::Never(error) => {
                events::report_refused(report_to, &error);
                return true;
            }
        };
        self.report(order, report_to, ending).await
    }

    /// What speaks against a command before it is accepted.
    fn check(&self, order: &Order, deadline: Instant) -> Result<(), Ending> {
        if Instant::now() >= deadline {
            let reason = "the deadline passed before it was started";
            return Err(Ending::Expired(reason.into()));
        }
        if self.client.is_stopped() {
            return Err(Ending::Rejected(STOPPED.into()));
        }
        self.action(order)?
            .check(&order.command.arguments_json)
            .map_err(|error| Ending::from(Err(error)))
    }

    fn action(&self, order: &Order) -> Result<&Action, Ending> {
        self.actions.get(&order.command.action).ok_or_else(|| {
            Ending::Rejected(format!(
                "this robot has no action {:?}",
                order.command.action
            ))
        })
    }

    /// Writes down that the command is taken, before anything moves.
    async fn accept(
        &self,
        order: &Order,
        report_to: ConversationId,
        deadline: Instant,
    ) -> Acceptance {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut update = update(order, StepState::Accepted, report_to);
            if !order.backlog {
                if left.is_zero() {
                    return Acceptance::TooLate;
                }
                update.timeout = Some(left.min(NO_DEADLINE));
            }
            match self.client.send_with(update).await {
                Ok(receipt) if is_of_earlier_run(order, &receipt) => {
                    return Acceptance::Earlier(receipt.sequence);
                }
                Ok(_) => return Acceptance::Mine,
                Err(error @ (SendError::OutcomeUnknown { .. } | SendError::NotSent { .. })) => {
                    if self.stop.all.is_cancelled() {
                        return Acceptance::Never(SendError::Closed);
                    }
                    pause_for_journal(&error).await;
                }
                Err(SendError::QueueFull) => tokio::time::sleep(BUSY_PAUSE).await,
                Err(error @ (SendError::Refused(_) | SendError::Closed)) => {
                    return Acceptance::Never(error);
                }
            }
        }
    }

    async fn run(&self, order: &Order, report_to: ConversationId, deadline: Instant) -> Ending {
        if let Err(ending) = self.check(order, deadline) {
            return ending;
        }
        let cancel = CancellationToken::new();
        let (progress, reached) = watch::channel(0);
        let context = ActionContext::new(
            Arc::clone(&order.command),
            deadline,
            cancel.clone(),
            move |percent| {
                progress.send_replace(percent);
            },
        );
        let work = match self.action(order).map(|action| action.begin(context)) {
            Ok(Ok(work)) => work,
            Ok(Err(error)) => return Ending::from(Err(error)),
            Err(ending) => return ending,
        };
        self.stop.begin(cancel.clone());
        if self.client.is_stopped() {
            // It came after the check, and there was nothing to cancel yet.
            self.stop.cancel_action(STOPPED);
        }
        let ending = tokio::select! {
            ending = carry_out(work, deadline, cancel) => ending,
            () = self.tell_progress(order, report_to, reached) => {
                unreachable!("it never ends by itself")
            }
        };
        if ending == Ending::Cancelled(String::new()) {
            return Ending::Cancelled(self.stop.reason());
        }
        ending
    }

    /// Ephemeral, and conflated: while one is on its way only the newest waits.
    async fn tell_progress(
        &self,
        order: &Order,
        report_to: ConversationId,
        mut reached: watch::Receiver<u32>,
    ) {
        let key = format!("step/{}", order.command.step_id);
        while reached.changed().await.is_ok() {
            let percent = *reached.borrow_and_update();
            let running = wire::StepUpdate {
                progress_percent: percent,
                ..step_update(order, StepState::Running)
            };
            let content = Content::StepUpdate(running);
            // Whoever misses one sees the next, or the end.
            drop(self.client.send_ephemeral(report_to, &key, content).await);
        }
        std::future::pending().await
    }

    /// Whether an earlier run has written the end of the command after its acceptance.
    async fn is_ended(
        &self,
        order: &Order,
        report_to: ConversationId,
        accepted_at: SequenceNumber,
    ) -> Result<bool, Error> {
        let ends = ENDS.map(|state| identity::step_update(order.id, state));
        let own = self.client.account().id;
        loop {
            match self.client.history(report_to, accepted_at).await {
                Ok(entries) => {
                    return Ok(entries.iter().any(|entry| {
                        entry.sender == own
                            && entry.client_message_id.is_some_and(|id| ends.contains(&id))
                    }));
                }
                Err(Error::TimedOut { .. }) if !self.stop.all.is_cancelled() => {}
                Err(Error::QueueFull) => tokio::time::sleep(BUSY_PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes the end of a command. Returns whether it is committed, or can never be.
    async fn report(&self, order: &Order, report_to: ConversationId, ending: Ending) -> bool {
        let state = ending.state();
        let (reason, result) = ending.into_words();
        let content = Content::StepUpdate(wire::StepUpdate {
            reason,
            result_json: result.map_or_else(String::new, |result| result.to_string()),
            ..step_update(order, state)
        });
        loop {
            let outgoing = Outgoing {
                content: content.clone(),
                ..update(order, state, report_to)
            };
            match self.client.send_with(outgoing).await {
                Ok(_) => return true,
                Err(SendError::Refused(refusal)) => {
                    events::report_refused(report_to, &refusal);
                    return true;
                }
                Err(error @ (SendError::OutcomeUnknown { .. } | SendError::NotSent { .. })) => {
                    if self.stop.all.is_cancelled() {
                        return false;
                    }
                    pause_for_journal(&error).await;
                }
                Err(SendError::QueueFull) => tokio::time::sleep(BUSY_PAUSE).await,
                Err(SendError::Closed) => return false,
            }
        }
    }

    fn done(&self, order: &Order) {
        let ended = self.ledger.lock().ended(order.conversation, order.sequence);
        let Some(mark) = ended else { return };
        self.client.mark_delivered(order.conversation, mark);
    }

    /// The command's deadline on this machine's monotonic clock.
    fn deadline(&self, command: &wire::Command) -> Instant {
        let left = match command.deadline_at_ms {
            0 => NO_DEADLINE,
            at => Duration::from_millis(at.saturating_sub(self.client.server_time_ms())),
        };
        Instant::now() + left.min(NO_DEADLINE)
    }
}

/// A journal that takes nothing says so at once, and may take something later.
async fn pause_for_journal(error: &SendError) {
    if matches!(
        error,
        SendError::NotSent {
            journal: Some(_),
            ..
        }
    ) {
        tokio::time::sleep(BUSY_PAUSE).await;
    }
}

/// The newest commands of this run. Bounded: the oldest is forgotten first.
#[derive(Default)]
struct Seen {
    ids: HashSet<ClientMessageId>,
    order: VecDeque<ClientMessageId>,
}

impl Seen {
    fn first_sight(&mut self, id: ClientMessageId) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

/// Where the reports go; `None` when the command does not say it so that it can be read.
fn readable(order: &Order) -> Option<ConversationId> {
    let report_to = ConversationId::from_slice(&order.command.report_to);
    let instruction = ClientMessageId::from_slice(&order.command.instruction_id);
    match (report_to, instruction) {
        (Ok(report_to), Ok(_)) => Some(report_to),
        (Err(error), _) | (_, Err(error)) => {
            events::command_ignored(order.conversation, order.sequence, &error.to_string());
            None
        }
    }
}

/// A word that this run sent more than once may be its own duplicate; then only a command of before
/// this run can have been taken by another.
const fn is_of_earlier_run(order: &Order, receipt: &Receipt) -> bool {
    receipt.duplicate && (order.backlog || receipt.attempts == 1)
}

fn update(order: &Order, state: StepState, report_to: ConversationId) -> Outgoing {
    Outgoing::new(report_to, Content::StepUpdate(step_update(order, state)))
        .client_message_id(identity::step_update(order.id, state))
        .priority(Priority::Command)
}

fn step_update(order: &Order, state: StepState) -> wire::StepUpdate {
    wire::StepUpdate {
        instruction_id: order.command.instruction_id.clone(),
        plan_version: order.command.plan_version,
        step_id: order.command.step_id.clone(),
        attempt: order.command.attempt,
        state: state.into(),
        ..Default::default()
    }
}
