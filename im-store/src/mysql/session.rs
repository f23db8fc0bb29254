//! A connection as we want it: what the session is set to, and what the server must be set to.

use std::io;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use super::within;
use crate::engine::EngineError;

/// How long a statement waits for a row that another owner holds, in seconds (the server's unit).
/// Far below the senders' timeouts, so that a stuck owner is met with a retry.
pub const LOCK_WAIT_TIMEOUT_S: u32 = 1;

/// How long the server lets an owner hold rows without a word before it ends its session, in
/// seconds: an owner that is paused between INSERT and COMMIT. MariaDB only.
pub const IDLE_WRITE_TIMEOUT_S: u32 = 2;

/// A connection that does not come up in this time is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest packet that we send, in bytes: a statement of a whole batch, with room.
pub const PACKET_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// The writer decides against what is committed now; READ COMMITTED locks no gaps.
const WRITER: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// A reader's transaction is of one moment.
const READER: &str = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/// Connects the writer, and checks that the server keeps what it says it has stored.
pub(super) async fn writer(options: &MySqlConnectOptions) -> Result<MySqlConnection, EngineError> {
    let connecting = async {
        let mut connection = options.connect().await?;
        set(&mut connection, WRITER).await?;
        check(&mut connection).await?;
        Ok(connection)
    };
    within(CONNECT_TIMEOUT, connecting).await
}

/// Sets a reader's connection.
pub(super) async fn reader(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    set(connection, READER).await
}

/// Strict: what does not fit is an error, not cut.
async fn set(connection: &mut MySqlConnection, isolation: &'static str) -> Result<(), sqlx::Error> {
    let settings = format!(
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
         SESSION autocommit = 1, SESSION innodb_lock_wait_timeout = {LOCK_WAIT_TIMEOUT_S}"
    );
    sqlx::raw_sql(AssertSqlSafe(settings))
        .execute(&mut *connection)
        .await?;
    sqlx::raw_sql(isolation).execute(&mut *connection).await?;
    join_cluster(connection).await
}

/// On a node of a cluster every read waits until the node has what the others have committed; and a
/// node that is no part of the cluster now is left alone.
async fn join_cluster(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    let clustered = "SHOW GLOBAL VARIABLES WHERE Variable_name = 'wsrep_on' AND Value = 'ON'";
    let clustered = sqlx::raw_sql(clustered)
        .fetch_optional(&mut *connection)
        .await?;
    if clustered.is_none() {
        return Ok(());
    }
    let ready = "SHOW GLOBAL STATUS WHERE Variable_name = 'wsrep_ready' AND Value = 'ON'";
    let ready = sqlx::raw_sql(ready)
        .fetch_optional(&mut *connection)
        .await?;
    if ready.is_none() {
        let why = "this node takes no statements: it is no part of its cluster now";
        return Err(sqlx::Error::Io(io::Error::other(why)));
    }
    sqlx::raw_sql("SET SESSION wsrep_sync_wait = 1")
        .execute(&mut *connection)
        .await?;
    Ok(())
}

/// What a server does not have (another product of the same protocol) is not asked of it.
async fn check(connection: &mut MySqlConnection) -> Result<(), EngineError> {
    let rows = sqlx::raw_sql(
        "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
         ('innodb_flush_log_at_trx_commit', 'max_allowed_packet', 'idle_write_transaction_timeout')",
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in rows {
        let (name, value): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        match &name[..] {
            "innodb_flush_log_at_trx_commit" => flushes_every_commit(value)?,
            "max_allowed_packet" => takes_a_batch(value)?,
            _ => {
                let limit =
                    format!("SET SESSION idle_write_transaction_timeout = {IDLE_WRITE_TIMEOUT_S}");
                sqlx::raw_sql(AssertSqlSafe(limit))
                    .execute(&mut *connection)
                    .await?;
            }
        }
    }
    Ok(())
}

/// Refused, not warned of: with any other value a power loss takes acknowledged messages.
fn flushes_every_commit(found: String) -> Result<(), EngineError> {
    if found == "1" {
        return Ok(());
    }
    Err(EngineError::Setting {
        name: "innodb_flush_log_at_trx_commit",
        found,
        needed: "1".to_owned(),
    })
}

fn takes_a_batch(found: String) -> Result<(), EngineError> {
    if found
        .parse::<u64>()
        .is_ok_and(|bytes| bytes >= PACKET_BYTES_MIN)
    {
        return Ok(());
    }
    Err(EngineError::Setting {
        name: "max_allowed_packet",
        found,
        needed: format!("at least {PACKET_BYTES_MIN}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_would_lose_or_could_not_take_a_batch_is_refused() {
        assert!(flushes_every_commit("1".into()).is_ok());
        let error = flushes_every_commit("2".into()).unwrap_err().to_string();
        assert!(
            error.contains("innodb_flush_log_at_trx_commit = 2"),
            "{error}"
        );
        assert!(takes_a_batch("16777216".into()).is_ok());
        assert!(takes_a_batch("1048576".into()).is_err());
    }
}
