//! The schema and its versions, in the header of the file.

use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row as _};

use crate::backup::{Column, ColumnKind, Table};
use crate::engine::EngineError;

/// What leads from each version to the next, beginning with an empty file.
pub(super) const MIGRATIONS: &[&str] = &[
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

/// Names our databases in their header (`PRAGMA application_id`): "IMST".
const APPLICATION_ID: i64 = 0x494d_5354;

/// The version of its tables; none when there are no tables.
pub(super) async fn version(connection: &mut SqliteConnection) -> Result<Option<i64>, EngineError> {
    let header = sqlx::query(
        "SELECT a.application_id, v.user_version, (SELECT count(*) FROM sqlite_schema) \
         FROM pragma_application_id a, pragma_user_version v",
    )
    .fetch_one(connection)
    .await?;
    let (application, tables): (i64, i64) = (header.try_get(0)?, header.try_get(2)?);
    if application == APPLICATION_ID {
        Ok(Some(header.try_get(1)?))
    } else if tables == 0 {
        Ok(None)
    } else {
        Err(EngineError::Foreign)
    }
}

/// Checks that the database is ours, and brings it up to this version.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    up_to: i64,
) -> Result<(), EngineError> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    let found = version(&mut tx).await?.unwrap_or(0);
    if found > SCHEMA_VERSION {
        return Err(EngineError::Newer {
            found,
            known: SCHEMA_VERSION,
        });
    }
    for (version, step) in (1..=up_to).zip(MIGRATIONS) {
        if version > found {
            sqlx::raw_sql(*step).execute(&mut *tx).await?;
            let header = format!(
                "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}"
            );
            sqlx::raw_sql(AssertSqlSafe(header))
                .execute(&mut *tx)
                .await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

/// Every table but those of the index of words, as the database itself describes it.
pub(super) async fn tables(connection: &mut SqliteConnection) -> Result<Vec<Table>, EngineError> {
    let rows = sqlx::query(
        "SELECT s.name, c.name, c.type FROM sqlite_schema s JOIN pragma_table_info(s.name) c \
         WHERE s.type = 'table' AND s.name NOT LIKE 'sqlite%' \
         AND s.name NOT LIKE 'search%' ORDER BY s.name, c.cid",
    )
    .fetch_all(connection)
    .await?;
    let mut tables: Vec<Table> = Vec::new();
    for row in &rows {
        let name: String = row.try_get(0)?;
        let column = Column {
            name: row.try_get(1)?,
            kind: ColumnKind::of(row.try_get(2)?),
        };
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
