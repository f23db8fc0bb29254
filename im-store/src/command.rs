//! Commands as the store keeps them: what becomes of one that is opened, and of what robots say.
//!
//! Pure: what was read goes in, what is to be written comes out. Not here: SQL, and the states
//! themselves ([`protocol::command`]).

mod chore;
pub(crate) mod sql;

use std::collections::HashMap;

use protocol::command::{self, CommandKey};
use protocol::limits::COMMAND_TARGETS_MAX;
use protocol::wire::{self, OutcomeState};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal};
use sha2::{Digest as _, Sha256};

pub use self::chore::{CommandChore, CommandDone, CommandReaders, Opened};
use crate::shard::{Digest, ID_HORIZON_MS};

/// The last state in which a robot has not begun; those up to it have lower numbers.
pub const NOT_BEGUN: OutcomeState = OutcomeState::Delivered;

/// The last state in which more is expected; those up to it have lower numbers.
pub const NOT_OVER: OutcomeState = OutcomeState::Running;

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What it is.
    pub key: CommandKey,
    /// The newest epoch that it was sent under.
    pub epoch: u64,
    /// Who sent it first.
    pub issuer: AccountId,
    /// What is to be done.
    pub action: String,
    /// And how, in JSON.
    pub arguments: String,
    /// Of what makes a repeat the same.
    pub digest: Digest,
    /// Not begun after this, in Unix milliseconds.
    pub deadline_ms: u64,
    /// When it was stored, in Unix milliseconds.
    pub created_at_ms: u64,
    /// Whether it was cancelled, or a newer attempt has its place.
    pub is_cancelled: bool,
    /// Why.
    pub cancel_reason: String,
}

/// To whom a command goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// These.
    Named(Vec<AccountId>),
    /// The robots that are members when it is stored.
    Group(ConversationId),
}

/// A command that is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The command; epoch 0: an operator's own, which takes the first epoch of its plan.
    pub command: Command,
    /// To whom.
    pub targets: Targets,
}

/// What is there already.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Present {
    /// The plan's epoch.
    pub epoch: Option<u64>,
    /// The command of this key.
    pub command: Option<Command>,
}

/// What becomes of a command that is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// It is stored under this epoch.
    New {
        /// The epoch.
        epoch: u64,
        /// The plan has none yet: it gets this one.
        is_first: bool,
    },
    /// It was stored before; it is of this epoch from now on.
    Known(Command),
}

/// What a robot says of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Of which command.
    pub command: ClientMessageId,
    /// Which robot.
    pub account: AccountId,
    /// What it says.
    pub state: OutcomeState,
    /// Why.
    pub reason: String,
    /// What the action returned, in JSON.
    pub result: String,
}

/// What has become of a command at one robot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Which robot.
    pub account: AccountId,
    /// What.
    pub state: OutcomeState,
    /// Why.
    pub reason: String,
    /// What the action returned, in JSON.
    pub result: String,
    /// Since when, in Unix milliseconds.
    pub changed_at_ms: u64,
}

/// An outcome that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Of which command.
    pub command: ClientMessageId,
    /// What it is now.
    pub outcome: Outcome,
}

/// The states of outcomes before a batch of reports; what is not there has none.
pub type States = HashMap<(ClientMessageId, AccountId), OutcomeState>;

/// What becomes of a batch of reports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settled {
    /// The state after each report, in their order.
    pub states: Vec<OutcomeState>,
    /// The last change of each outcome that has changed.
    pub changes: Vec<Change>,
}

impl Command {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> ClientMessageId {
        self.key.id()
    }
}

/// What makes a repeat of a command the same: all but its epoch and its deadline.
#[must_use]
pub fn digest(send: &wire::SendCommand) -> Digest {
    let mut hasher = Sha256::new();
    for part in [&send.action, &send.arguments_json] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.update(&send.group_id);
    if let Some(selection) = &send.selection {
        // Whom it chose is not part of it: a repeat would choose others.
        let query = selection.query.as_bytes();
        hasher.update(b"selection");
        hasher.update((query.len() as u64).to_be_bytes());
        hasher.update(query);
        hasher.update(selection.count.to_be_bytes());
        hasher.update(&selection.group_id);
        return shortened(hasher);
    }
    let mut targets = send.targets.clone();
    targets.sort_unstable();
    targets.dedup();
    for target in targets {
        hasher.update(target.to_be_bytes());
    }
    shortened(hasher)
}

fn shortened(hasher: Sha256) -> Digest {
    let whole = hasher.finalize();
    let mut digest = [0; 16];
    digest.copy_from_slice(&whole[..16]);
    digest
}

/// Decides what becomes of a command that is opened.
///
/// # Errors
/// *Stale epoch*, *conflict*, *too old*, *expired*: nothing is stored.
pub fn judge(opening: &Opening, present: Present, now_ms: u64) -> Result<Judged, Refusal> {
    let asked = &opening.command;
    let epoch = asked.epoch.max(1);
    let plans = present.epoch.unwrap_or(0);
    if epoch < plans {
        return Err(Refusal::new(
            ErrorCode::StaleEpoch,
            format!("the plan is in epoch {plans}, and this command is of {epoch}"),
        ));
    }
    // What was never taken cannot be commanded under, but for the first of an operator's own.
    if epoch > plans && !(plans == 0 && asked.epoch == 0) {
        return Err(Refusal::bad_request(format!(
            "epoch: the plan's is {plans}; take the next one first"
        )));
    }
    if let Some(known) = present.command {
        if known.digest != asked.digest {
            return Err(Refusal::new(
                ErrorCode::Conflict,
                "a command of this key was stored with another action, arguments or targets",
            ));
        }
        return Ok(Judged::Known(Command { epoch, ..known }));
    }
    if asked.key.plan.made_at_ms() + ID_HORIZON_MS < now_ms {
        let why = "plan_id: its time is beyond the horizon for which commands are kept";
        return Err(Refusal::new(ErrorCode::TooOld, why));
    }
    if asked.deadline_ms <= now_ms {
        let why = "deadline_at_ms has passed; nothing was stored";
        return Err(Refusal::new(ErrorCode::Expired, why));
    }
    Ok(Judged::New {
        epoch,
        is_first: plans == 0,
    })
}

/// Checks how many targets a command would have.
///
/// # Errors
/// None, or more than are allowed.
pub fn check_targets(targets: usize) -> Result<(), Refusal> {
    if targets == 0 {
        return Err(Refusal::bad_request(
            "targets: there is no robot among them",
        ));
    }
    if targets > COMMAND_TARGETS_MAX {
        return Err(Refusal::new(
            ErrorCode::LimitReached,
            format!("targets: {targets}, and at most {COMMAND_TARGETS_MAX} are allowed"),
        ));
    }
    Ok(())
}

/// Whether an epoch is taken, given the plan's present one and who took it with which request.
#[must_use]
pub fn take_epoch(
    present: Option<(u64, ClientMessageId)>,
    expected: u64,
    request: ClientMessageId,
) -> (Taking, u64) {
    match present {
        Some((epoch, by)) if epoch == expected + 1 && by == request => (Taking::Repeated, epoch),
        Some((epoch, _)) if epoch == expected => (Taking::Next, epoch + 1),
        Some((epoch, _)) => (Taking::Refused, epoch),
        None if expected == 0 => (Taking::First, 1),
        None => (Taking::Refused, 0),
    }
}

/// What becomes of the wish for an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// The plan gets its first.
    First,
    /// It gets the next.
    Next,
    /// It was given to this request before.
    Repeated,
    /// Somebody else was faster.
    Refused,
}

/// Applies reports in their order.
#[must_use]
pub fn settle(reports: &[Report], mut states: States, now_ms: u64) -> Settled {
    let mut changes: Vec<Change> = Vec::new();
    let mut at = HashMap::new();
    let mut after = Vec::with_capacity(reports.len());
    for report in reports {
        let key = (report.command, report.account);
        let Some(state) = states.get_mut(&key) else {
            after.push(OutcomeState::Unspecified);
            continue;
        };
        let next = command::after_report(*state, report.state);
        after.push(next);
        if next == *state {
            continue;
        }
        *state = next;
        let change = Change {
            command: report.command,
            outcome: Outcome {
                account: report.account,
                state: next,
                reason: report.reason.clone(),
                result: report.result.clone(),
                changed_at_ms: now_ms,
            },
        };
        match at.get(&key).and_then(|at: &usize| changes.get_mut(*at)) {
            Some(before) => *before = change,
            None => {
                at.insert(key, changes.len());
                changes.push(change);
            }
        }
    }
    Settled {
        states: after,
        changes,
    }
}

/// The wire form.
#[must_use]
pub fn wire_outcome(outcome: &Outcome) -> wire::TargetOutcome {
    wire::TargetOutcome {
        account_id: outcome.account.0,
        state: outcome.state.into(),
        progress_percent: 0,
        reason: outcome.reason.clone(),
        result_json: outcome.result.clone(),
        changed_at_ms: outcome.changed_at_ms,
    }
}

/// The command as its robot gets it.
#[must_use]
pub fn wire_order(command: &Command, state: OutcomeState, now_ms: u64) -> wire::Order {
    wire::Order {
        order_id: command.id().to_bytes(),
        key: Some(command.key.to_wire()),
        epoch: command.epoch,
        issuer: command.issuer.0,
        action: command.action.clone(),
        arguments_json: command.arguments.clone(),
        deadline_at_ms: command.deadline_ms,
        remaining_ms: command.deadline_ms.saturating_sub(now_ms),
        state: state.into(),
        cancelled: command.is_cancelled,
        cancel_reason: command.cancel_reason.clone(),
    }
}

#[cfg(test)]
mod tests;
