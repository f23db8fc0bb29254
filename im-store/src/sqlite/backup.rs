//! SQLite's half of a backup: rows out of the running store's file, read as of one moment beside it;
//! and rows into a new file, which takes its place when it is whole.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use sqlx::sqlite::{SqliteConnection, SqliteJournalMode, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, QueryBuilder, Row as _, Sqlite};

use super::{Owner, SCHEMA_VERSION, options, schema};
use crate::backup::file::{Head, Next, Reader, Row, Value, Writer, matching, rename};
use crate::backup::{BackupError, ColumnKind, Summary, Table};
use crate::engine::{EngineError, integer, number};
use crate::rows::{self, PartedRow};

/// Begins the next generation, with the heads as they are.
const NEXT_GENERATION: &str = "INSERT INTO generations \
    SELECT max(ordinal) + 1, (random() & 1152921504606846975) + 1, ? FROM generations";

const ITS_PARTINGS: &str = "INSERT INTO partings (conversation, ordinal, head) \
    SELECT id, (SELECT max(ordinal) FROM generations), head FROM conversations WHERE head > 0";

pub(crate) async fn back_up(
    path: &Path,
    mut writer: Writer,
    made_at_ms: u64,
) -> Result<Summary, BackupError> {
    let nothing = || BackupError::NoHistory(path.display().to_string());
    if !path.exists() {
        return Err(nothing());
    }
    let reading = options(path)
        .create_if_missing(false)
        .pragma("query_only", "ON");
    let mut connection = reading.connect().await?;
    let mut tx = connection.begin().await?;
    match schema::version(&mut tx).await?.ok_or_else(nothing)? {
        SCHEMA_VERSION => {}
        found if found > SCHEMA_VERSION => {
            let known = SCHEMA_VERSION;
            return Err(EngineError::Newer { found, known }.into());
        }
        found => {
            let known = SCHEMA_VERSION;
            return Err(BackupError::Older { found, known });
        }
    }
    let head = Head {
        engine: "sqlite".into(),
        schema: SCHEMA_VERSION,
        history_generation: generation(&mut tx).await?,
        made_at_ms,
    };
    writer.head(&head)?;
    for table in schema::tables(&mut tx).await? {
        writer.table(&table)?;
        let select = format!("SELECT {} FROM \"{}\"", names(&table), table.name);
        let mut rows = sqlx::query(AssertSqlSafe(select)).fetch(&mut *tx);
        while let Some(row) = rows.try_next().await? {
            writer.row(values(&table, &row)?)?;
        }
    }
    tx.rollback().await?;
    connection.close().await?;
    writer.finish(head)
}

pub(crate) async fn restore(
    path: &Path,
    reader: Reader,
    replace: bool,
    now_ms: u64,
) -> Result<(), BackupError> {
    let Some(_owner) = Owner::try_take(path)? else {
        return Err(BackupError::InUse(path.display().to_string()));
    };
    if !is_empty(path).await? && !replace {
        return Err(BackupError::NotEmpty(path.display().to_string()));
    }
    let unfinished = beside(path, ".restoring");
    remove(&unfinished)?;
    remove(&beside(&unfinished, "-journal"))?;
    // Without a log beside it, so that it is whole when it is closed.
    let new = options(&unfinished).journal_mode(SqliteJournalMode::Delete);
    let mut connection = new.connect().await?;
    schema::migrate(&mut connection, reader.head.schema).await?;
    let mut tx = connection.begin().await?;
    fill(&mut tx, reader).await?;
    tx.commit().await?;
    schema::migrate(&mut connection, SCHEMA_VERSION).await?;
    let mut tx = connection.begin().await?;
    sqlx::query(NEXT_GENERATION)
        .bind(integer(now_ms))
        .execute(&mut *tx)
        .await?;
    sqlx::query(ITS_PARTINGS).execute(&mut *tx).await?;
    tx.commit().await?;
    connection.close().await?;
    // The log of a database that is replaced would be taken for the new one's.
    remove(&beside(path, "-wal"))?;
    remove(&beside(path, "-shm"))?;
    rename(&unfinished, path)
}

/// The newest generation.
pub(super) async fn generation(connection: &mut SqliteConnection) -> Result<u64, EngineError> {
    let newest = "SELECT generation FROM generations ORDER BY ordinal DESC LIMIT 1";
    let newest: Option<i64> = sqlx::query_scalar(newest)
        .fetch_optional(connection)
        .await?;
    newest
        .map(number)
        .ok_or(EngineError::Damaged("no generation"))
}

/// Up to where these conversations are what they were in that generation.
pub(super) async fn parted(
    connection: &mut SqliteConnection,
    since: u64,
    conversations: &[Bytes],
) -> Result<Option<Vec<u64>>, EngineError> {
    let known = "SELECT ordinal, (SELECT MAX(ordinal) FROM generations) FROM generations \
                 WHERE generation = ?";
    let known = sqlx::query(known)
        .bind(integer(since))
        .fetch_optional(&mut *connection)
        .await?;
    let Some(known) = known else {
        return Ok(None);
    };
    let (ordinal, newest): (i64, i64) = (known.try_get(0)?, known.try_get(1)?);
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT conversation, MIN(head), COUNT(*) FROM partings WHERE ordinal > ",
    );
    query.push_bind(ordinal).push(" AND conversation IN (NULL");
    for conversation in conversations {
        query.push(", ").push_bind(&conversation[..]);
    }
    query.push(") GROUP BY conversation");
    let found: Vec<PartedRow> = query.build_query_as().fetch_all(&mut *connection).await?;
    Ok(Some(rows::parted(found, newest - ordinal, conversations)))
}

async fn is_empty(path: &Path) -> Result<bool, BackupError> {
    if !path.exists() {
        return Ok(true);
    }
    let mut connection = options(path).connect().await?;
    if schema::version(&mut connection).await?.is_none() {
        return Ok(true);
    }
    let rows = "SELECT (SELECT count(*) FROM accounts) + (SELECT count(*) FROM conversations)";
    let rows: i64 = sqlx::query_scalar(rows).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(rows == 0)
}

async fn fill(connection: &mut SqliteConnection, mut reader: Reader) -> Result<(), BackupError> {
    let tables = schema::tables(connection).await?;
    for table in &tables {
        // What the migrations have put there is in the backup, too.
        let delete = format!("DELETE FROM \"{}\"", table.name);
        sqlx::raw_sql(AssertSqlSafe(delete))
            .execute(&mut *connection)
            .await?;
    }
    let mut into = None;
    while let Some(next) = reader.next()? {
        match next {
            Next::Table(name, columns) => {
                let table = matching(&reader, &tables, &name, &columns)?;
                let places = vec!["?"; columns.len()].join(", ");
                let names = names(&table);
                let insert = format!("INSERT INTO \"{name}\" ({names}) VALUES ({places})");
                into = Some((table, insert));
            }
            Next::Row(row) => {
                let (table, insert) = into.as_ref().ok_or_else(|| reader.damaged("a stray row"))?;
                let mut query = sqlx::query(AssertSqlSafe(insert.clone()));
                for (column, value) in table.columns.iter().zip(row.values) {
                    query = match (column.kind, value) {
                        (
                            ColumnKind::Text,
                            Value {
                                bytes: Some(bytes), ..
                            },
                        ) => {
                            let text = String::from_utf8(bytes);
                            query.bind(text.map_err(|error| reader.damaged(error))?)
                        }
                        (
                            _,
                            Value {
                                bytes: Some(bytes), ..
                            },
                        ) => query.bind(bytes),
                        (_, Value { integer, .. }) => query.bind(integer),
                    };
                }
                query.execute(&mut *connection).await?;
            }
        }
    }
    Ok(())
}

fn values(table: &Table, row: &SqliteRow) -> Result<Row, EngineError> {
    let mut values = Vec::with_capacity(table.columns.len());
    for (at, column) in table.columns.iter().enumerate() {
        values.push(match column.kind {
            ColumnKind::Integer => Value {
                integer: row.try_get(at)?,
                bytes: None,
            },
            ColumnKind::Text | ColumnKind::Bytes => Value {
                integer: None,
                bytes: row.try_get(at)?,
            },
        });
    }
    Ok(Row { values })
}

fn names(table: &Table) -> String {
    let names = table.columns.iter();
    let names: Vec<_> = names.map(|column| format!("\"{}\"", column.name)).collect();
    names.join(", ")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn remove(path: &Path) -> Result<(), BackupError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(BackupError::File {
            path: path.to_owned(),
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}
