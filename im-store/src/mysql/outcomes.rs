//! A batch of reports: the states before it, and those after it.

use protocol::{AccountId, ClientMessageId};
use sqlx::mysql::MySqlConnection;
use sqlx::{MySql, QueryBuilder};

use super::ROWS_PER_STATEMENT_MAX;
use crate::command::sql;
use crate::command::{self, Change, CommandDone, Report, States};
use crate::engine::{EngineError, integer, message_id, number};

/// Takes reports in the open transaction.
pub(super) async fn settle(
    tx: &mut MySqlConnection,
    reports: &[Report],
    now_ms: u64,
) -> Result<CommandDone, EngineError> {
    let mut keys: Vec<_> = reports.iter().map(|r| (r.command, r.account)).collect();
    // In the order of the rows: two owners that lock the same ones wait, and do not deadlock.
    keys.sort_unstable();
    keys.dedup();
    let mut states = States::new();
    for keys in keys.chunks(ROWS_PER_STATEMENT_MAX) {
        read_states(tx, keys, &mut states).await?;
    }
    let settled = command::settle(reports, states, now_ms);
    for changes in settled.changes.chunks(ROWS_PER_STATEMENT_MAX) {
        write_states(tx, changes).await?;
    }
    Ok(CommandDone::Settled(settled))
}

async fn read_states(
    tx: &mut MySqlConnection,
    keys: &[(ClientMessageId, AccountId)],
    states: &mut States,
) -> Result<(), EngineError> {
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT command, account, state FROM outcomes WHERE (command, account) IN (",
    );
    let mut list = query.separated(", ");
    for (command, account) in keys {
        list.push("(")
            .push_bind_unseparated(&command.as_bytes()[..])
            .push_unseparated(", ")
            .push_bind_unseparated(integer(account.0))
            .push_unseparated(")");
    }
    query.push(") FOR UPDATE");
    let rows: Vec<(Vec<u8>, i64, i64)> = query.build_query_as().fetch_all(tx).await?;
    for (command, account, state) in rows {
        let key = (message_id(&command)?, AccountId(number(account)));
        states.insert(key, sql::state(state)?);
    }
    Ok(())
}

/// The rows are there, and locked: each is a key that is taken, and is updated.
async fn write_states(tx: &mut MySqlConnection, changes: &[Change]) -> Result<(), EngineError> {
    let mut query = QueryBuilder::<MySql>::new(
        "INSERT INTO outcomes \
         (command, account, deadline_ms, state, reason, result, changed_at_ms) ",
    );
    query.push_values(changes, |mut row, Change { command, outcome }| {
        row.push_bind(&command.as_bytes()[..])
            .push_bind(integer(outcome.account.0))
            .push("0")
            .push_bind(outcome.state as i32)
            .push_bind(&outcome.reason)
            .push_bind(&outcome.result)
            .push_bind(integer(outcome.changed_at_ms));
    });
    query.push(
        " ON DUPLICATE KEY UPDATE state = VALUES(state), reason = VALUES(reason), \
         result = VALUES(result), changed_at_ms = VALUES(changed_at_ms)",
    );
    query.build().execute(tx).await?;
    Ok(())
}
