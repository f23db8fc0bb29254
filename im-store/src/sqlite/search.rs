//! The index of words: an FTS5 table without the texts, and which of its lines is which entry.

use protocol::wire::EntryKind;
use protocol::{AccountId, ConversationId, SequenceNumber};
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

use crate::engine::{EngineError, History, integer};
use crate::rows::{self, EntryRow, HeadRow, StayRow};
use crate::search::Query;

/// By the index, and then by the key.
pub(super) const CANDIDATES: &str = "SELECT e.sequence FROM search_words w \
     CROSS JOIN search_entries e ON e.id = w.rowid \
     WHERE w.search_words MATCH ?1 AND e.conversation = ?2 AND e.sequence < ?3 \
     ORDER BY e.sequence DESC LIMIT ?4";

pub(super) const UNINDEXED: &str = "SELECT c.id FROM conversations c \
     LEFT JOIN search_progress p ON p.conversation = c.id \
     WHERE c.id > ? AND c.head > c.trimmed AND c.head > COALESCE(p.indexed, 0) \
     ORDER BY c.id LIMIT ?";

/// Adds lines, unless another was faster.
pub(super) async fn index(
    tx: &mut SqliteConnection,
    conversation: ConversationId,
    (from, up_to): (SequenceNumber, SequenceNumber),
    lines: &[(SequenceNumber, String)],
) -> Result<(), EngineError> {
    let id = &conversation.as_bytes()[..];
    let moved = sqlx::query(
        "INSERT INTO search_progress (conversation, indexed) VALUES (?1, ?2) \
         ON CONFLICT (conversation) DO UPDATE SET indexed = ?2 WHERE indexed = ?3",
    )
    .bind(id)
    .bind(integer(up_to.0))
    .bind(integer(from.0))
    .execute(&mut *tx)
    .await?;
    if moved.rows_affected() == 0 {
        return Ok(());
    }
    for (sequence, words) in lines {
        // It may have been taken back, or dropped, since it was read.
        let added = sqlx::query(
            "INSERT INTO search_entries (conversation, sequence) SELECT ?1, ?2 WHERE EXISTS \
             (SELECT 1 FROM messages WHERE conversation = ?1 AND sequence = ?2 AND kind <> ?3)",
        )
        .bind(id)
        .bind(integer(sequence.0))
        .bind(EntryKind::Recalled as i32)
        .execute(&mut *tx)
        .await?;
        if added.rows_affected() == 1 {
            sqlx::query("INSERT INTO search_words (rowid, words) VALUES (?, ?)")
                .bind(added.last_insert_rowid())
                .bind(words)
                .execute(&mut *tx)
                .await?;
        }
    }
    Ok(())
}

/// What is gone from the log up to a number is gone from the index.
pub(super) async fn trim(
    tx: &mut SqliteConnection,
    conversation: ConversationId,
    up_to: SequenceNumber,
) -> Result<(), EngineError> {
    for statement in [
        "DELETE FROM search_words WHERE rowid IN \
         (SELECT id FROM search_entries WHERE conversation = ? AND sequence <= ?)",
        "DELETE FROM search_entries WHERE conversation = ? AND sequence <= ?",
    ] {
        sqlx::query(statement)
            .bind(&conversation.as_bytes()[..])
            .bind(integer(up_to.0))
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// So is what was taken back.
pub(super) async fn forget(
    tx: &mut SqliteConnection,
    conversation: ConversationId,
    numbers: &[i64],
) -> Result<(), EngineError> {
    for number in numbers {
        for statement in [
            "DELETE FROM search_words WHERE rowid IN \
             (SELECT id FROM search_entries WHERE conversation = ? AND sequence = ?)",
            "DELETE FROM search_entries WHERE conversation = ? AND sequence = ?",
        ] {
            sqlx::query(statement)
                .bind(&conversation.as_bytes()[..])
                .bind(number)
                .execute(&mut *tx)
                .await?;
        }
    }
    Ok(())
}

pub(super) async fn candidates(
    connection: &mut SqliteConnection,
    conversation: ConversationId,
    query: &Query,
    (before, limit): (SequenceNumber, u32),
) -> Result<Vec<SequenceNumber>, EngineError> {
    let found: Vec<i64> = sqlx::query_scalar(CANDIDATES)
        .bind(query.fts5(conversation))
        .bind(&conversation.as_bytes()[..])
        .bind(integer(before.0))
        .bind(limit)
        .fetch_all(connection)
        .await?;
    Ok(found.into_iter().map(rows::sequence).collect())
}

pub(super) async fn numbered(
    tx: &mut SqliteConnection,
    conversation: ConversationId,
    account: AccountId,
    numbers: &[SequenceNumber],
) -> Result<Option<History>, EngineError> {
    let id = &conversation.as_bytes()[..];
    let head: Option<HeadRow> =
        sqlx::query_as("SELECT head, trimmed, history_open FROM conversations WHERE id = ?")
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?;
    let Some((head, trimmed, history_open)) = head else {
        return Ok(None);
    };
    let stays: Vec<StayRow> = sqlx::query_as(
        "SELECT joined, \"left\" FROM members WHERE conversation = ? AND account = ?",
    )
    .bind(id)
    .bind(integer(account.0))
    .fetch_all(&mut *tx)
    .await?;
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT sequence, sender, message_id, kind, content, priority, deliver_before_ms, \
         committed_at_ms FROM messages WHERE conversation = ",
    );
    query.push_bind(id).push(" AND sequence IN (NULL");
    for number in numbers {
        query.push(", ").push_bind(integer(number.0));
    }
    query.push(") ORDER BY sequence DESC");
    let found: Vec<EntryRow> = query.build_query_as().fetch_all(&mut *tx).await?;
    let entry = |row| rows::entry(conversation, row);
    Ok(Some(History {
        entries: found.into_iter().map(entry).collect(),
        head: rows::sequence(head),
        trimmed: rows::sequence(trimmed),
        stays: stays.into_iter().map(rows::stay).collect(),
        history_open,
    }))
}
