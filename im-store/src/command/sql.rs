//! The statements that both engines understand, and the rows that they select.

use protocol::command::{self, CommandKey};
use protocol::wire::{OutcomeCounts, OutcomeState};
use protocol::{AccountId, ClientMessageId};

use super::{Command, Outcome};
use crate::engine::{EngineError, message_id, number};

/// The columns of a [`CommandRow`], of the table `c`.
macro_rules! command_columns {
    () => {
        "c.plan_id, c.step, c.attempt, c.epoch, c.issuer, c.action, c.arguments, c.digest, \
         c.deadline_ms, c.created_at_ms, c.is_cancelled, c.cancel_reason"
    };
}

pub(crate) type CommandRow = (
    Vec<u8>,
    String,
    i64,
    i64,
    i64,
    String,
    String,
    Vec<u8>,
    i64,
    i64,
    bool,
    String,
);

/// account, state, reason, result, changed_at_ms.
pub(crate) type OutcomeRow = (i64, i64, String, String, i64);

pub(crate) const COMMAND: &str = concat!(
    "SELECT ",
    command_columns!(),
    " FROM commands c WHERE c.command = ?"
);

pub(crate) const OPEN_COMMANDS: &str = concat!(
    "SELECT ",
    command_columns!(),
    " FROM commands c WHERE c.is_open AND c.command > ? ORDER BY c.command LIMIT ?"
);

pub(crate) const COMMANDS_BEFORE: &str = concat!(
    "SELECT ",
    command_columns!(),
    " FROM commands c WHERE c.command < ? AND (c.issuer = ? OR ? = 0) \
     ORDER BY c.command DESC LIMIT ?"
);

/// No id is greater.
pub(crate) const LAST_ID: [u8; 16] = [0xff; 16];

/// Its command's row and its state, of a robot's outcomes.
pub(crate) const ORDERS: &str = "SELECT o.command, o.state FROM outcomes o \
     WHERE o.account = ? AND o.deadline_ms > ? AND o.state <= ? AND o.command > ? \
     ORDER BY o.command LIMIT ?";

pub(crate) const OUTCOMES: &str = "SELECT account, state, reason, result, changed_at_ms \
     FROM outcomes WHERE command = ? AND state >= ? AND state <= ? AND account > ? \
     ORDER BY account LIMIT ?";

pub(crate) const OUTCOME_COUNTS: &str =
    "SELECT state, COUNT(*) FROM outcomes WHERE command = ? GROUP BY state";

pub(crate) const INSERT_COMMAND: &str = "INSERT INTO commands (command, plan_id, step, attempt, \
     epoch, issuer, action, arguments, digest, deadline_ms, created_at_ms, is_cancelled, \
     cancel_reason, is_open) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, FALSE, '', TRUE)";

pub(crate) const ADOPT_EPOCH: &str = "UPDATE commands SET epoch = ? WHERE command = ?";

pub(crate) const OLDER_ATTEMPTS: &str = "SELECT command FROM commands \
     WHERE plan_id = ? AND step = ? AND attempt < ? AND is_open ORDER BY command";

pub(crate) const MARK_CANCELLED: &str =
    "UPDATE commands SET is_cancelled = TRUE, cancel_reason = ? WHERE command = ?";

pub(crate) const INSERT_EPOCH: &str = "INSERT INTO plan_epochs \
     (plan_id, epoch, holder, request, commands, changed_at_ms) VALUES (?, ?, ?, ?, 0, ?)";

pub(crate) const NEXT_EPOCH: &str = "UPDATE plan_epochs \
     SET epoch = ?, holder = ?, request = ?, changed_at_ms = ? WHERE plan_id = ? AND epoch = ?";

/// Moves the row, so that no other owner takes the next epoch meanwhile.
pub(crate) const COUNT_COMMAND: &str = "UPDATE plan_epochs SET commands = commands + 1, \
     changed_at_ms = ? WHERE plan_id = ? AND epoch = ?";

pub(crate) const END_OUTCOMES: &str = "UPDATE outcomes \
     SET state = ?, reason = ?, changed_at_ms = ? WHERE command = ? AND state <= ?";

pub(crate) const CLOSE: &str = "UPDATE commands SET is_open = FALSE WHERE command = ? AND is_open \
     AND NOT EXISTS (SELECT 1 FROM outcomes o WHERE o.command = commands.command AND o.state <= ?)";

/// One: its outcomes may be ten thousand.
pub(crate) const OVER_BEFORE: &str = "SELECT command FROM commands \
     WHERE is_open = FALSE AND deadline_ms < ? ORDER BY deadline_ms LIMIT 1";

pub(crate) const DELETE_OUTCOMES: &str = "DELETE FROM outcomes WHERE command = ?";

pub(crate) const DELETE_COMMAND: &str = "DELETE FROM commands WHERE command = ?";

pub(crate) const EPOCHS_BEFORE: &str = "SELECT plan_id FROM plan_epochs \
     WHERE changed_at_ms < ? ORDER BY changed_at_ms LIMIT 256";

pub(crate) const DELETE_EPOCH: &str = "DELETE FROM plan_epochs WHERE plan_id = ? \
     AND NOT EXISTS (SELECT 1 FROM commands c WHERE c.plan_id = plan_epochs.plan_id)";

/// From a row.
pub(crate) fn command(row: CommandRow) -> Result<Command, EngineError> {
    let (plan, step_id, attempt, epoch, issuer, action, arguments, digest, deadline, created) = (
        row.0, row.1, row.2, row.3, row.4, row.5, row.6, row.7, row.8, row.9,
    );
    Ok(Command {
        key: CommandKey {
            plan: message_id(&plan)?,
            step_id,
            attempt: u32::try_from(attempt).map_err(|_| EngineError::Damaged("an attempt"))?,
        },
        epoch: number(epoch),
        issuer: AccountId(number(issuer)),
        action,
        arguments,
        digest: digest[..]
            .try_into()
            .map_err(|_| EngineError::Damaged("a command's digest"))?,
        deadline_ms: number(deadline),
        created_at_ms: number(created),
        is_cancelled: row.10,
        cancel_reason: row.11,
    })
}

/// From the number of a state.
pub(crate) fn state(number: i64) -> Result<OutcomeState, EngineError> {
    let state = i32::try_from(number).ok();
    let state = state.and_then(|number| OutcomeState::try_from(number).ok());
    state.ok_or(EngineError::Damaged("the state of an outcome"))
}

/// From a row.
pub(crate) fn outcome(row: OutcomeRow) -> Result<Outcome, EngineError> {
    Ok(Outcome {
        account: AccountId(number(row.0)),
        state: state(row.1)?,
        reason: row.2,
        result: row.3,
        changed_at_ms: number(row.4),
    })
}

/// From rows of state and number.
pub(crate) fn counts(rows: Vec<(i64, i64)>) -> Result<OutcomeCounts, EngineError> {
    let mut counts = OutcomeCounts::default();
    for (its, targets) in rows {
        let targets = u32::try_from(targets).unwrap_or(u32::MAX);
        command::add(&mut counts, state(its)?, targets);
    }
    Ok(counts)
}

/// From rows of one id.
pub(crate) fn ids(rows: Vec<Vec<u8>>) -> Result<Vec<ClientMessageId>, EngineError> {
    rows.iter().map(|row| message_id(row)).collect()
}
