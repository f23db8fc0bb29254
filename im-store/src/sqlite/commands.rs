//! Commands: each a few statements, and statements of many rows for its outcomes.

use protocol::limits::COMMAND_TARGETS_MAX;
use protocol::wire::{AccountKind, OutcomeState};
use protocol::{AccountId, ClientMessageId, Refusal};
use sqlx::sqlite::SqliteConnection;

use super::many::{Many, ROWS_MAX};
use crate::command::sql::{self, CommandRow};
use crate::command::{
    self, Change, CommandChore, CommandDone, Judged, NOT_BEGUN, NOT_OVER, Opened, Opening, Outcome,
    Present, Report, States, Taking, Targets,
};
use crate::engine::{Done, EngineError, integer, message_id, number};

pub(super) static INSERT_OUTCOMES: Many = Many::new(&[(
    "INSERT INTO outcomes (command, account, deadline_ms, state, reason, result, changed_at_ms) \
     SELECT n.column1, n.column2, n.column3, 1, '', '', n.column4 FROM ",
    4,
    " WHERE n.column1 IS NOT NULL",
)]);

/// By the place of the report.
pub(super) static READ_STATES: Many = Many::new(&[(
    "SELECT n.column3, o.state FROM ",
    3,
    " CROSS JOIN outcomes AS o ON o.command = n.column1 AND o.account = n.column2",
)]);

pub(super) static WRITE_STATES: Many = Many::new(&[(
    "INSERT INTO outcomes (command, account, deadline_ms, state, reason, result, changed_at_ms) \
     SELECT n.column1, n.column2, 0, n.column3, n.column4, n.column5, n.column6 FROM ",
    6,
    " WHERE n.column1 IS NOT NULL ON CONFLICT (command, account) DO UPDATE SET \
     state = excluded.state, reason = excluded.reason, result = excluded.result, \
     changed_at_ms = excluded.changed_at_ms",
)]);

const GROUP_ROBOTS: &str = "SELECT m.account FROM members m \
     JOIN accounts a ON a.account = m.account AND a.kind = ? \
     WHERE m.conversation = ? AND m.\"left\" IS NULL ORDER BY m.account LIMIT ?";

type Carried = Result<Result<Done, Refusal>, EngineError>;

/// Does one in the open transaction. What is refused has written nothing.
pub(super) async fn carry_out(
    tx: &mut SqliteConnection,
    chore: &CommandChore,
    now_ms: u64,
) -> Carried {
    let done = match chore {
        CommandChore::Open(opening) => return open(tx, opening, now_ms).await,
        CommandChore::Settle(reports) => settle(tx, reports, now_ms).await?,
        CommandChore::Cancel { command, reason } => {
            mark_cancelled(tx, *command, reason).await?;
            let end = (NOT_BEGUN, OutcomeState::Cancelled, &reason[..]);
            CommandDone::Ended(end_those(tx, *command, end, now_ms).await?)
        }
        CommandChore::Expire {
            command,
            up_to,
            reason,
        } => {
            let end = (*up_to, OutcomeState::Expired, *reason);
            CommandDone::Ended(end_those(tx, *command, end, now_ms).await?)
        }
        CommandChore::Close(command) => {
            let closed = sqlx::query(sql::CLOSE)
                .bind(&command.as_bytes()[..])
                .bind(NOT_OVER as i32)
                .execute(&mut *tx)
                .await?;
            CommandDone::Closed(closed.rows_affected() == 1)
        }
        CommandChore::TakeEpoch {
            plan,
            expected,
            holder,
            request,
        } => take_epoch(tx, (*plan, *expected), (*holder, *request), now_ms).await?,
        CommandChore::Forget { before_ms } => forget(tx, *before_ms).await?,
    };
    Ok(Ok(Done::Command(done)))
}

async fn open(tx: &mut SqliteConnection, opening: &Opening, now_ms: u64) -> Carried {
    let asked = &opening.command;
    let (id, plan) = (asked.id(), asked.key.plan);
    let row: Option<CommandRow> = sqlx::query_as(sql::COMMAND)
        .bind(&id.as_bytes()[..])
        .fetch_optional(&mut *tx)
        .await?;
    let present = Present {
        epoch: epoch(tx, plan).await?.map(|(epoch, _)| epoch),
        command: row.map(sql::command).transpose()?,
    };
    let (epoch, is_first) = match command::judge(opening, present, now_ms) {
        Err(refusal) => return Ok(Err(refusal)),
        Ok(Judged::Known(command)) => {
            sqlx::query(sql::ADOPT_EPOCH)
                .bind(integer(command.epoch))
                .bind(&id.as_bytes()[..])
                .execute(&mut *tx)
                .await?;
            return Ok(Ok(opened(command, true, Vec::new(), Vec::new())));
        }
        Ok(Judged::New { epoch, is_first }) => (epoch, is_first),
    };
    let targets = targets(tx, &opening.targets).await?;
    if let Err(refusal) = command::check_targets(targets.len()) {
        return Ok(Err(refusal));
    }
    if is_first {
        insert_epoch(tx, (plan, epoch), (asked.issuer, id), now_ms).await?;
    }
    sqlx::query(sql::COUNT_COMMAND)
        .bind(integer(now_ms))
        .bind(&plan.as_bytes()[..])
        .bind(integer(epoch))
        .execute(&mut *tx)
        .await?;
    let command = command::Command {
        epoch,
        ..asked.clone()
    };
    insert(tx, &command, &targets, now_ms).await?;
    let superseded = supersede(tx, &command, now_ms).await?;
    Ok(Ok(opened(command, false, targets, superseded)))
}

fn opened(
    command: command::Command,
    duplicate: bool,
    targets: Vec<AccountId>,
    superseded: Vec<(ClientMessageId, Vec<Change>)>,
) -> Done {
    Done::Command(CommandDone::Opened(Box::new(Opened {
        command,
        duplicate,
        targets,
        superseded,
    })))
}

async fn targets(
    tx: &mut SqliteConnection,
    targets: &Targets,
) -> Result<Vec<AccountId>, EngineError> {
    let group = match targets {
        Targets::Named(named) => {
            let mut named = named.clone();
            named.sort_unstable();
            named.dedup();
            return Ok(named);
        }
        Targets::Group(group) => group,
    };
    let rows: Vec<i64> = sqlx::query_scalar(GROUP_ROBOTS)
        .bind(AccountKind::Robot as i32)
        .bind(&group.as_bytes()[..])
        .bind(i64::try_from(COMMAND_TARGETS_MAX + 1).unwrap_or(i64::MAX))
        .fetch_all(&mut *tx)
        .await?;
    Ok(rows.into_iter().map(|row| AccountId(number(row))).collect())
}

async fn insert(
    tx: &mut SqliteConnection,
    command: &command::Command,
    targets: &[AccountId],
    now_ms: u64,
) -> Result<(), EngineError> {
    let id = command.id();
    sqlx::query(sql::INSERT_COMMAND)
        .bind(&id.as_bytes()[..])
        .bind(&command.key.plan.as_bytes()[..])
        .bind(&command.key.step_id)
        .bind(i64::from(command.key.attempt))
        .bind(integer(command.epoch))
        .bind(integer(command.issuer.0))
        .bind(&command.action)
        .bind(&command.arguments)
        .bind(&command.digest[..])
        .bind(integer(command.deadline_ms))
        .bind(integer(now_ms))
        .execute(&mut *tx)
        .await?;
    for targets in targets.chunks(ROWS_MAX) {
        let mut query = sqlx::query(INSERT_OUTCOMES.of(targets.len()));
        for target in targets {
            query = query
                .bind(id.as_bytes().to_vec())
                .bind(integer(target.0))
                .bind(integer(command.deadline_ms))
                .bind(integer(now_ms));
        }
        query.execute(&mut *tx).await?;
    }
    Ok(())
}

/// A newer attempt takes the place of those before it.
async fn supersede(
    tx: &mut SqliteConnection,
    command: &command::Command,
    now_ms: u64,
) -> Result<Vec<(ClientMessageId, Vec<Change>)>, EngineError> {
    let older: Vec<Vec<u8>> = sqlx::query_scalar(sql::OLDER_ATTEMPTS)
        .bind(&command.key.plan.as_bytes()[..])
        .bind(&command.key.step_id)
        .bind(i64::from(command.key.attempt))
        .fetch_all(&mut *tx)
        .await?;
    let reason = format!("attempt {} has its place", command.key.attempt);
    let mut superseded = Vec::new();
    for older in sql::ids(older)? {
        mark_cancelled(tx, older, &reason).await?;
        let end = (NOT_BEGUN, OutcomeState::Superseded, &reason[..]);
        superseded.push((older, end_those(tx, older, end, now_ms).await?));
    }
    Ok(superseded)
}

async fn mark_cancelled(
    tx: &mut SqliteConnection,
    command: ClientMessageId,
    reason: &str,
) -> Result<(), EngineError> {
    sqlx::query(sql::MARK_CANCELLED)
        .bind(reason)
        .bind(&command.as_bytes()[..])
        .execute(&mut *tx)
        .await?;
    Ok(())
}

/// Ends the outcomes up to a state in another one, for a reason.
async fn end_those(
    tx: &mut SqliteConnection,
    command: ClientMessageId,
    (up_to, to, reason): (OutcomeState, OutcomeState, &str),
    now_ms: u64,
) -> Result<Vec<Change>, EngineError> {
    let accounts: Vec<i64> =
        sqlx::query_scalar("SELECT account FROM outcomes WHERE command = ? AND state <= ?")
            .bind(&command.as_bytes()[..])
            .bind(up_to as i32)
            .fetch_all(&mut *tx)
            .await?;
    if accounts.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query(sql::END_OUTCOMES)
        .bind(to as i32)
        .bind(reason)
        .bind(integer(now_ms))
        .bind(&command.as_bytes()[..])
        .bind(up_to as i32)
        .execute(&mut *tx)
        .await?;
    let change = |account| Change {
        command,
        outcome: Outcome {
            account: AccountId(number(account)),
            state: to,
            reason: reason.to_owned(),
            result: String::new(),
            changed_at_ms: now_ms,
        },
    };
    Ok(accounts.into_iter().map(change).collect())
}

async fn settle(
    tx: &mut SqliteConnection,
    reports: &[Report],
    now_ms: u64,
) -> Result<CommandDone, EngineError> {
    let mut states = States::new();
    for reports in reports.chunks(ROWS_MAX) {
        let mut query = sqlx::query_as(READ_STATES.of(reports.len()));
        for (report, place) in reports.iter().zip(0_i64..) {
            query = query
                .bind(report.command.as_bytes().to_vec())
                .bind(integer(report.account.0))
                .bind(place);
        }
        let found: Vec<(i64, i64)> = query.fetch_all(&mut *tx).await?;
        for (place, state) in found {
            let report = usize::try_from(place).ok().and_then(|at| reports.get(at));
            let report = report.ok_or(EngineError::Damaged("the place of a report"))?;
            let key = (report.command, report.account);
            states.insert(key, sql::state(state)?);
        }
    }
    let settled = command::settle(reports, states, now_ms);
    for changes in settled.changes.chunks(ROWS_MAX) {
        let mut query = sqlx::query(WRITE_STATES.of(changes.len()));
        for Change { command, outcome } in changes {
            query = query
                .bind(command.as_bytes().to_vec())
                .bind(integer(outcome.account.0))
                .bind(outcome.state as i32)
                .bind(&outcome.reason)
                .bind(&outcome.result)
                .bind(integer(outcome.changed_at_ms));
        }
        query.execute(&mut *tx).await?;
    }
    Ok(CommandDone::Settled(settled))
}

/// The plan's epoch, and the request that took it.
async fn epoch(
    tx: &mut SqliteConnection,
    plan: ClientMessageId,
) -> Result<Option<(u64, ClientMessageId)>, EngineError> {
    let row: Option<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT epoch, request FROM plan_epochs WHERE plan_id = ?")
            .bind(&plan.as_bytes()[..])
            .fetch_optional(&mut *tx)
            .await?;
    row.map(|(epoch, by)| Ok((number(epoch), message_id(&by)?)))
        .transpose()
}

async fn insert_epoch(
    tx: &mut SqliteConnection,
    (plan, epoch): (ClientMessageId, u64),
    (holder, request): (AccountId, ClientMessageId),
    now_ms: u64,
) -> Result<(), EngineError> {
    sqlx::query(sql::INSERT_EPOCH)
        .bind(&plan.as_bytes()[..])
        .bind(integer(epoch))
        .bind(integer(holder.0))
        .bind(&request.as_bytes()[..])
        .bind(integer(now_ms))
        .execute(&mut *tx)
        .await?;
    Ok(())
}

async fn take_epoch(
    tx: &mut SqliteConnection,
    (plan, expected): (ClientMessageId, u64),
    (holder, request): (AccountId, ClientMessageId),
    now_ms: u64,
) -> Result<CommandDone, EngineError> {
    let present = epoch(tx, plan).await?;
    let (taking, epoch) = command::take_epoch(present, expected, request);
    match taking {
        Taking::First => insert_epoch(tx, (plan, epoch), (holder, request), now_ms).await?,
        Taking::Next => {
            sqlx::query(sql::NEXT_EPOCH)
                .bind(integer(epoch))
                .bind(integer(holder.0))
                .bind(&request.as_bytes()[..])
                .bind(integer(now_ms))
                .bind(&plan.as_bytes()[..])
                .bind(integer(expected))
                .execute(&mut *tx)
                .await?;
        }
        Taking::Repeated | Taking::Refused => {}
    }
    let taken = taking != Taking::Refused;
    Ok(CommandDone::Epoch { taken, epoch })
}

async fn forget(tx: &mut SqliteConnection, before_ms: u64) -> Result<CommandDone, EngineError> {
    let mut rows = 0;
    let over: Vec<Vec<u8>> = sqlx::query_scalar(sql::OVER_BEFORE)
        .bind(integer(before_ms))
        .fetch_all(&mut *tx)
        .await?;
    for command in over {
        for statement in [sql::DELETE_OUTCOMES, sql::DELETE_COMMAND] {
            let deleted = sqlx::query(statement)
                .bind(&command)
                .execute(&mut *tx)
                .await?;
            rows += deleted.rows_affected();
        }
    }
    let plans: Vec<Vec<u8>> = sqlx::query_scalar(sql::EPOCHS_BEFORE)
        .bind(integer(before_ms))
        .fetch_all(&mut *tx)
        .await?;
    for plan in plans {
        let deleted = sqlx::query(sql::DELETE_EPOCH)
            .bind(&plan)
            .execute(&mut *tx)
            .await?;
        rows += deleted.rows_affected();
    }
    Ok(CommandDone::Forgotten(rows))
}
