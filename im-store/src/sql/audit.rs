//! The audit of what is administered: written when something begins and when it has ended. Compiled
//! once for each engine.

use protocol::wire::internal::{AuditRecord, AuditState};

use super::Connection;
use crate::engine::{EngineError, integer, number};

/// audit, at_ms, account, action, target, request, address, state, code, message.
type Row = (
    i64,
    i64,
    i64,
    String,
    String,
    Vec<u8>,
    String,
    i64,
    i64,
    Vec<u8>,
);

const LIST: &str = "SELECT audit, at_ms, account, action, target, request, address, state, code, \
     message FROM audit WHERE audit < ? ORDER BY audit DESC LIMIT ?";

const INSERT: &str = "INSERT INTO audit (audit, at_ms, account, action, target, request, address, \
     state, code, message) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Only what was begun can end.
const END: &str =
    "UPDATE audit SET target = ?, state = ?, code = ?, message = ? WHERE audit = ? AND state = ?";

/// A record that is there gets its end, if it has none.
pub(super) async fn write(tx: &mut Connection, record: &AuditRecord) -> Result<(), EngineError> {
    let id = integer(record.audit_id);
    let found: Option<i64> = sqlx::query_scalar("SELECT audit FROM audit WHERE audit = ?")
        .bind(id)
        .fetch_optional(&mut *tx)
        .await?;
    if found.is_some() {
        sqlx::query(END)
            .bind(&record.target)
            .bind(i64::from(record.state))
            .bind(i64::from(record.code))
            .bind(record.message.as_bytes())
            .bind(id)
            .bind(i64::from(AuditState::Begun as i32))
            .execute(&mut *tx)
            .await?;
        return Ok(());
    }
    sqlx::query(INSERT)
        .bind(id)
        .bind(integer(record.at_ms))
        .bind(integer(record.account_id))
        .bind(&record.action)
        .bind(&record.target)
        .bind(record.request.as_bytes())
        .bind(&record.address)
        .bind(i64::from(record.state))
        .bind(i64::from(record.code))
        .bind(record.message.as_bytes())
        .execute(&mut *tx)
        .await?;
    Ok(())
}

/// The records before this one, the newest first.
pub(super) async fn list(
    connection: &mut Connection,
    before: u64,
    limit: u32,
) -> Result<Vec<AuditRecord>, EngineError> {
    let before = if before == 0 {
        i64::MAX
    } else {
        integer(before)
    };
    let rows: Vec<Row> = sqlx::query_as(LIST)
        .bind(before)
        .bind(limit)
        .fetch_all(connection)
        .await?;
    rows.into_iter().map(record).collect()
}

/// Drops at most so many of the oldest, as far as they are from before. Returns how many.
pub(super) async fn forget(
    tx: &mut Connection,
    before_ms: u64,
    limit: u32,
) -> Result<u64, EngineError> {
    let oldest: Vec<(i64, i64)> =
        sqlx::query_as("SELECT audit, at_ms FROM audit ORDER BY audit LIMIT ?")
            .bind(limit)
            .fetch_all(&mut *tx)
            .await?;
    let gone = oldest
        .iter()
        .take_while(|(_, at_ms)| number(*at_ms) < before_ms);
    let Some((last, _)) = gone.last() else {
        return Ok(0);
    };
    let dropped = sqlx::query("DELETE FROM audit WHERE audit <= ?")
        .bind(last)
        .execute(&mut *tx)
        .await?;
    Ok(dropped.rows_affected())
}

fn record(row: Row) -> Result<AuditRecord, EngineError> {
    let small = |number: i64| i32::try_from(number).map_err(|_| EngineError::Damaged("an audit"));
    let text = |bytes| String::from_utf8(bytes).map_err(|_| EngineError::Damaged("an audit"));
    let (audit, at_ms, account, action, target, request, address, state, code, message) = row;
    Ok(AuditRecord {
        audit_id: number(audit),
        at_ms: number(at_ms),
        account_id: number(account),
        action,
        target,
        request: text(request)?,
        address,
        state: small(state)?,
        code: small(code)?,
        message: text(message)?,
    })
}
