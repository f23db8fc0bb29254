//! The schema and its versions, in a table of its own.
//!
//! A definition commits by itself on this protocol, so a migration may be interrupted between two
//! statements, and two stores may run it at once: each statement finds done what is done, and the
//! version is written last.

use sqlx::mysql::MySqlConnection;

use super::is_conflict;
use crate::engine::EngineError;

/// What leads from each version to the next, beginning with an empty database.
const MIGRATIONS: [&str; 2] = [include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// Its name says whose database it is.
const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS im_store_schema (\
     version BIGINT NOT NULL PRIMARY KEY) \
     ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// Checks that the database is ours, and brings it to the version of this build.
pub(super) async fn migrate(connection: &mut MySqlConnection) -> Result<(), EngineError> {
    let tables: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT CAST(table_name AS BINARY) FROM information_schema.tables \
         WHERE table_schema = DATABASE()",
    )
    .fetch_all(&mut *connection)
    .await?;
    let ours = tables.iter().any(|table| table == b"im_store_schema");
    if !ours && !tables.is_empty() {
        return Err(EngineError::Foreign);
    }
    sqlx::raw_sql(VERSIONS).execute(&mut *connection).await?;
    let found: Option<i64> = sqlx::query_scalar("SELECT MAX(version) FROM im_store_schema")
        .fetch_one(&mut *connection)
        .await?;
    let found = found.unwrap_or(0);
    for (version, step) in (1..).zip(MIGRATIONS) {
        if version > found {
            sqlx::raw_sql(step).execute(&mut *connection).await?;
            write_version(connection, version).await?;
        }
    }
    let known = (1..).zip(MIGRATIONS).map(|(version, _)| version).max();
    match known {
        Some(known) if found > known => Err(EngineError::Newer { found, known }),
        _ => Ok(()),
    }
}

async fn write_version(connection: &mut MySqlConnection, version: i64) -> Result<(), EngineError> {
    let written = sqlx::query("INSERT INTO im_store_schema VALUES (?)")
        .bind(version)
        .execute(&mut *connection)
        .await;
    match written {
        // Another store that starts now has run the same step.
        Err(error) if is_conflict(&error) => Ok(()),
        written => Ok(written.map(|_| ())?),
    }
}
