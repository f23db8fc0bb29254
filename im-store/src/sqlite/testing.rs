//! For tests and measurements alone: an engine that does not sync, SQLite's own judgement of a file,
//! long histories without the time to send them, and how fast the database itself reads them.
//! Nothing that a store runs with.

use std::path::Path;

use futures_util::TryStreamExt as _;
use protocol::ConversationId;
use protocol::wire::Priority;
use sqlx::sqlite::SqliteSynchronous;
use sqlx::{ConnectOptions as _, Connection as _};

use super::pages::{self, FORWARD};
use super::{SqliteEngine, options};
use crate::engine::{EngineError, integer, number};
use crate::rows::EntryRow;
use crate::testing::Filling;

/// The control: an engine that leaves it to the kernel when what it commits reaches the disk.
pub async fn open_unsynced(path: &Path) -> Result<SqliteEngine, EngineError> {
    SqliteEngine::open_with(&options(path).synchronous(SqliteSynchronous::Off)).await
}

/// What SQLite's `integrity_check` says of the file; `["ok"]` if all is well.
pub async fn integrity(path: &Path) -> Result<Vec<String>, EngineError> {
    let mut connection = options(path).connect().await?;
    let said = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_all(&mut connection)
        .await?;
    Ok(said)
}

/// Appends `entries` entries of one sender and content to a conversation's log, as if they had come
/// one by one, a millisecond apart, the last of them at `now_ms`. The store must not run. Returns
/// the head.
pub async fn fill(path: &Path, filling: &Filling) -> Result<u64, EngineError> {
    let unsynced = options(path).synchronous(SqliteSynchronous::Off);
    let mut connection = unsynced.connect().await?;
    let id = filling.conversation.as_bytes().to_vec();
    let head: i64 = sqlx::query_scalar("SELECT head FROM conversations WHERE id = ?")
        .bind(&id)
        .fetch_one(&mut connection)
        .await?;
    let last = head + integer(filling.entries);
    let mut from = head;
    while from < last {
        let up_to = last.min(from + FILLED_TOGETHER_MAX);
        let mut tx = connection.begin().await?;
        for statement in [FILL_MESSAGES, FILL_IDS, FILL_HEAD] {
            sqlx::query(statement)
                .bind(&id)
                .bind(from)
                .bind(up_to)
                .bind(integer(filling.now_ms) - last)
                .bind(integer(filling.sender.0))
                .bind(filling.kind as i32)
                .bind(&filling.content[..])
                .bind(Priority::Chat as i32)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        from = up_to;
    }
    connection.close().await?;
    Ok(number(last))
}

/// Rows of one transaction of [`fill`], which the log beside the file has to hold.
const FILLED_TOGETHER_MAX: i64 = 250_000;

/// ?1 the conversation, ?2 from, ?3 up to, ?4 what is added to a number for its time, ?5 the sender,
/// ?6 the kind, ?7 the content, ?8 the priority. The ids are UUIDv7.
const FILL_MESSAGES: &str = "WITH RECURSIVE n (i) AS \
     (SELECT ?2 + 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?3) \
     INSERT INTO messages (conversation, sequence, sender, message_id, kind, content, priority, \
     deliver_before_ms, committed_at_ms) \
     SELECT ?1, i, ?5, unhex(printf('%012x70008%015x', ?4 + i, i)), ?6, ?7, ?8, 0, ?4 + i FROM n";

const FILL_IDS: &str = "INSERT INTO message_ids (conversation, sender, message_id, sequence, digest, \
     committed_at_ms) SELECT conversation, sender, message_id, sequence, randomblob(16), \
     committed_at_ms FROM messages WHERE conversation = ?1 AND sequence > ?2 AND sequence <= ?3";

const FILL_HEAD: &str = "UPDATE conversations SET head = ?3, bytes = bytes + (?3 - ?2) * length(?7) \
     WHERE id = ?1";

/// Reads a log as a page is read, in one statement and on this thread: what SQLite gives when nothing
/// is between. Returns the entries and the bytes of their contents.
pub fn read(path: &Path, conversation: ConversationId) -> Result<(u64, u64), EngineError> {
    let connection = pages::connect(path)?;
    let (mut entries, mut bytes) = (0, 0);
    let mut statement = connection.prepare(FORWARD)?;
    let id = &conversation.as_bytes()[..];
    let mut rows = statement.query(rusqlite::params![id, 0, i64::MAX, i64::MAX])?;
    while let Some(row) = rows.next()? {
        for number in [0_usize, 1, 3, 5, 6, 7] {
            row.get::<_, i64>(number)?;
        }
        for blob in [2_usize, 4] {
            let blob = row.get_ref(blob)?.as_blob();
            bytes += blob.map_err(|_| EngineError::Damaged("an entry"))?.len() as u64;
        }
        entries += 1;
    }
    Ok((entries, bytes))
}

/// The same through sqlx, whose rows pass from its thread to ours.
pub async fn read_by_sqlx(
    path: &Path,
    conversation: ConversationId,
) -> Result<(u64, u64), EngineError> {
    let mut connection = options(path).connect().await?;
    let (mut entries, mut bytes) = (0, 0);
    let mut rows = sqlx::query_as::<_, EntryRow>(FORWARD)
        .bind(conversation.as_bytes().to_vec())
        .bind(0_i64)
        .bind(i64::MAX)
        .bind(i64::MAX)
        .fetch(&mut connection);
    while let Some(row) = rows.try_next().await? {
        entries += 1;
        bytes += (row.2.len() + row.4.len()) as u64;
    }
    drop(rows);
    connection.close().await?;
    Ok((entries, bytes))
}
