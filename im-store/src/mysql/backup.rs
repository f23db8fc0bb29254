//! The MySQL protocol's half of a backup: rows read in one transaction, which is of one moment and
//! in nobody's way; and rows into an empty database. Tables cannot be made and filled in one
//! transaction here, so a mark says that a restore has begun, and goes when it has ended: no store
//! serves a half of it.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, MySql, QueryBuilder, Row as _};

use super::{Address, ROWS_PER_STATEMENT_MAX, SCHEMA_VERSION, execute, schema, session};
use crate::backup::file::{Head, Next, Reader, Row, Value, Writer, matching};
use crate::backup::{BackupError, ColumnKind, Summary, Table};
use crate::engine::{EngineError, integer, number};
use crate::rows::{self, PartedRow};

/// Rows of one statement, in bytes: far below the server's `max_allowed_packet`.
const STATEMENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A restore has begun and not ended.
const MARK: &str = "INSERT INTO generations VALUES (-1, -1, 0)";

const NO_MARK: &str = "DELETE FROM generations WHERE ordinal < 0";

/// Begins the next generation, with the heads as they are.
const NEXT_GENERATION: &str = "INSERT INTO generations \
    SELECT MAX(ordinal) + 1, CAST(CONV(LEFT(MD5(UUID()), 15), 16, 10) AS SIGNED) + 1, ? \
    FROM generations";

const ITS_PARTINGS: &str = "INSERT INTO partings (conversation, ordinal, head) \
    SELECT id, (SELECT MAX(ordinal) FROM generations), head FROM conversations WHERE head > 0";

pub(crate) async fn back_up(
    address: &Address,
    mut writer: Writer,
    made_at_ms: u64,
) -> Result<Summary, BackupError> {
    let mut connection = reader_of(address).await?;
    execute(
        &mut connection,
        "START TRANSACTION WITH CONSISTENT SNAPSHOT",
    )
    .await?;
    let nothing = || BackupError::NoHistory(address.to_string());
    let found = schema::version(&mut connection)
        .await?
        .ok_or_else(nothing)?;
    let known = SCHEMA_VERSION;
    if found > known {
        return Err(EngineError::Newer { found, known }.into());
    }
    if found < known {
        return Err(BackupError::Older { found, known });
    }
    schema::is_whole(&mut connection).await?;
    let head = Head {
        engine: "mysql".into(),
        schema: SCHEMA_VERSION,
        history_generation: generation(&mut connection).await?,
        made_at_ms,
    };
    writer.head(&head)?;
    for table in schema::tables(&mut connection).await? {
        writer.table(&table)?;
        let select = select(&table);
        let mut rows = sqlx::query(AssertSqlSafe(select)).fetch(&mut connection);
        while let Some(row) = rows.try_next().await? {
            writer.row(values(&table, &row)?)?;
        }
    }
    execute(&mut connection, "ROLLBACK").await?;
    connection.close().await?;
    writer.finish(head)
}

pub(crate) async fn restore(
    address: &Address,
    reader: Reader,
    replace: bool,
    now_ms: u64,
) -> Result<(), BackupError> {
    let mut connection = writer_of(address).await?;
    if schema::version(&mut connection).await?.is_some() {
        if !replace && !is_empty(&mut connection).await? {
            return Err(BackupError::NotEmpty(address.to_string()));
        }
        drop_tables(&mut connection).await?;
    }
    schema::migrate(&mut connection, reader.head.schema).await?;
    fill(&mut connection, reader).await?;
    schema::migrate(&mut connection, SCHEMA_VERSION).await?;
    execute(&mut connection, "START TRANSACTION").await?;
    execute(&mut connection, NO_MARK).await?;
    sqlx::query(NEXT_GENERATION)
        .bind(integer(now_ms))
        .execute(&mut connection)
        .await?;
    execute(&mut connection, ITS_PARTINGS).await?;
    execute(&mut connection, "COMMIT").await?;
    connection.close().await?;
    Ok(())
}

/// Of the first host that takes us.
async fn reader_of(address: &Address) -> Result<MySqlConnection, EngineError> {
    let mut failed = EngineError::Damaged("an address without a host");
    for host in address.hosts() {
        match host.connect().await {
            Ok(mut connection) => {
                session::reader(&mut connection).await?;
                return Ok(connection);
            }
            Err(error) => failed = error.into(),
        }
    }
    Err(failed)
}

async fn writer_of(address: &Address) -> Result<MySqlConnection, EngineError> {
    let mut failed = EngineError::Damaged("an address without a host");
    for host in address.hosts() {
        match session::writer(host).await {
            Ok(connection) => return Ok(connection),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The newest generation.
pub(super) async fn generation(connection: &mut MySqlConnection) -> Result<u64, EngineError> {
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
    connection: &mut MySqlConnection,
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
    let mut query = QueryBuilder::<MySql>::new(
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

/// Tables without anybody in them, and without a restore that has begun.
async fn is_empty(connection: &mut MySqlConnection) -> Result<bool, EngineError> {
    let tables = schema::tables(connection).await?;
    for (name, rows) in [
        ("accounts", "SELECT COUNT(*) FROM accounts"),
        ("conversations", "SELECT COUNT(*) FROM conversations"),
        (
            "generations",
            "SELECT COUNT(*) FROM generations WHERE ordinal < 0",
        ),
    ] {
        if tables.iter().any(|table| table.name == name) {
            let rows: i64 = sqlx::query_scalar(rows).fetch_one(&mut *connection).await?;
            if rows > 0 {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

async fn drop_tables(connection: &mut MySqlConnection) -> Result<(), EngineError> {
    let tables = schema::tables(connection).await?;
    // The table that says whose database it is goes last.
    let names = tables.iter().map(|table| &table.name[..]);
    let index = ["search_entries", "search_progress"];
    for name in names.chain(index).chain(["im_store_schema"]) {
        let sql = format!("DROP TABLE IF EXISTS `{name}`");
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn fill(connection: &mut MySqlConnection, mut reader: Reader) -> Result<(), BackupError> {
    let tables = schema::tables(connection).await?;
    for table in &tables {
        // What the migrations have put there is in the backup, too.
        let delete = format!("DELETE FROM `{}`", table.name);
        sqlx::raw_sql(AssertSqlSafe(delete))
            .execute(&mut *connection)
            .await?;
    }
    execute(connection, MARK).await?;
    let mut table = None;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(next) = reader.next()? {
        match next {
            Next::Table(name, columns) => {
                insert(connection, table.as_ref(), std::mem::take(&mut rows)).await?;
                bytes = 0;
                table = Some(matching(&reader, &tables, &name, &columns)?);
            }
            Next::Row(row) => {
                bytes += row.bytes();
                rows.push(row);
                if rows.len() >= ROWS_PER_STATEMENT_MAX || bytes >= STATEMENT_BYTES_MAX {
                    insert(connection, table.as_ref(), std::mem::take(&mut rows)).await?;
                    bytes = 0;
                }
            }
        }
    }
    insert(connection, table.as_ref(), rows).await?;
    Ok(())
}

async fn insert(
    connection: &mut MySqlConnection,
    table: Option<&Table>,
    rows: Vec<Row>,
) -> Result<(), EngineError> {
    let Some(table) = table.filter(|_| !rows.is_empty()) else {
        return Ok(());
    };
    let names = names(table).join(", ");
    let insert = format!("INSERT INTO `{}` ({names}) ", table.name);
    let mut query = QueryBuilder::<MySql>::new(insert);
    query.push_values(rows, |mut places, row| {
        for Value { integer, bytes } in row.values {
            match bytes {
                Some(bytes) => places.push_bind(bytes),
                None => places.push_bind(integer),
            };
        }
    });
    query.build().execute(connection).await?;
    Ok(())
}

/// Every value as one of the two kinds that a backup has.
fn select(table: &Table) -> String {
    let values = table.columns.iter().zip(names(table));
    let values = values.map(|(column, name)| match column.kind {
        ColumnKind::Integer => format!("CAST({name} AS SIGNED)"),
        ColumnKind::Text | ColumnKind::Bytes => format!("CAST({name} AS BINARY)"),
    });
    let values: Vec<_> = values.collect();
    format!("SELECT {} FROM `{}`", values.join(", "), table.name)
}

fn values(table: &Table, row: &MySqlRow) -> Result<Row, EngineError> {
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

fn names(table: &Table) -> Vec<String> {
    let names = table.columns.iter();
    names.map(|column| format!("`{}`", column.name)).collect()
}
