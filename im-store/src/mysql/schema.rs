//! The schema and its versions, in a table of its own.
//!
//! A definition commits by itself on this protocol, so a migration may be interrupted between two
//! statements, and two stores may run it at once: each statement finds done what is done, and the
//! version is written last.

use sqlx::Row as _;
use sqlx::mysql::MySqlConnection;

use super::is_conflict;
use crate::backup::{Column, ColumnKind, Table};
use crate::engine::EngineError;

/// What leads from each version to the next, beginning with an empty database.
const MIGRATIONS: &[&str] = &[
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
    include_str!("schema/7.sql"),
    include_str!("schema/8.sql"),
    include_str!("schema/9.sql"),
    include_str!("schema/10.sql"),
    include_str!("schema/11.sql"),
    include_str!("schema/12.sql"),
];

/// The version that this build writes.
#[expect(clippy::cast_possible_wrap, reason = "a handful")]
pub const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

/// Its name says whose database it is.
const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS im_store_schema (\
     version BIGINT NOT NULL PRIMARY KEY) \
     ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// The version of its tables; none when there are no tables.
pub(super) async fn version(connection: &mut MySqlConnection) -> Result<Option<i64>, EngineError> {
    let tables: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT CAST(table_name AS BINARY) FROM information_schema.tables \
         WHERE table_schema = DATABASE()",
    )
    .fetch_all(&mut *connection)
    .await?;
    let ours = tables.iter().any(|table| table == b"im_store_schema");
    if !ours {
        let empty = tables.is_empty();
        return empty.then_some(None).ok_or(EngineError::Foreign);
    }
    let found: Option<i64> = sqlx::query_scalar("SELECT MAX(version) FROM im_store_schema")
        .fetch_one(connection)
        .await?;
    Ok(Some(found.unwrap_or(0)))
}

/// Checks that the database is ours, and brings it up to this version.
pub(super) async fn migrate(
    connection: &mut MySqlConnection,
    up_to: i64,
) -> Result<(), EngineError> {
    let found = version(connection).await?.unwrap_or(0);
    if found > SCHEMA_VERSION {
        return Err(EngineError::Newer {
            found,
            known: SCHEMA_VERSION,
        });
    }
    sqlx::raw_sql(VERSIONS).execute(&mut *connection).await?;
    for (version, step) in (1..=up_to).zip(MIGRATIONS) {
        if version > found {
            sqlx::raw_sql(*step).execute(&mut *connection).await?;
            write_version(connection, version).await?;
        }
    }
    Ok(())
}

/// Refuses a database into which a restore has begun and not ended.
pub(super) async fn is_whole(connection: &mut MySqlConnection) -> Result<(), EngineError> {
    let marked: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM generations WHERE ordinal < 0")
        .fetch_one(connection)
        .await?;
    if marked == 0 {
        Ok(())
    } else {
        Err(EngineError::HalfRestored)
    }
}

/// Every table but that of the versions and those of the index of words, as the database itself
/// describes it.
pub(super) async fn tables(connection: &mut MySqlConnection) -> Result<Vec<Table>, EngineError> {
    let rows = sqlx::query(
        "SELECT CAST(table_name AS BINARY), CAST(column_name AS BINARY), \
         CAST(data_type AS BINARY) FROM information_schema.columns \
         WHERE table_schema = DATABASE() AND table_name <> 'im_store_schema' \
         AND table_name NOT LIKE 'search%' \
         ORDER BY table_name, ordinal_position",
    )
    .fetch_all(connection)
    .await?;
    let mut tables: Vec<Table> = Vec::new();
    for row in &rows {
        let text = |at| -> Result<String, EngineError> {
            let bytes: Vec<u8> = row.try_get(at)?;
            String::from_utf8(bytes).map_err(|_| EngineError::Damaged("the name of a table"))
        };
        let (name, column, kind) = (text(0)?, text(1)?, ColumnKind::of(&text(2)?));
        let column = Column { name: column, kind };
        match tables.last_mut().filter(|table| table.name == name) {
            Some(table) => table.columns.push(column),
            None => tables.push(Table {
                name,
                columns: vec![column],
            }),
        }
    }
    Ok(tables)
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
