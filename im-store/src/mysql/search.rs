//! The index of words: a FULLTEXT key over words that we have made.

use protocol::wire::EntryKind;
use protocol::{AccountId, ConversationId, SequenceNumber};
use sqlx::mysql::MySqlConnection;
use sqlx::{MySql, QueryBuilder};

use super::ROWS_PER_STATEMENT_MAX;
use crate::engine::{EngineError, History, integer};
use crate::rows::{self, EntryRow, HeadRow, StayRow};

pub(super) const CANDIDATES: &str = "SELECT sequence FROM search_entries \
     WHERE MATCH (words) AGAINST (? IN BOOLEAN MODE) AND conversation = ? AND sequence < ? \
     ORDER BY sequence DESC LIMIT ?";

pub(super) const UNINDEXED: &str = "SELECT c.id FROM conversations c \
     LEFT JOIN search_progress p ON p.conversation = c.id \
     WHERE c.id > ? AND c.head > c.trimmed AND c.head > COALESCE(p.indexed, 0) \
     ORDER BY c.id LIMIT ?";

pub(super) const INDEXED: &str = "SELECT indexed FROM search_progress WHERE conversation = ?";

/// Adds lines, unless another was faster.
pub(super) async fn index(
    connection: &mut MySqlConnection,
    conversation: ConversationId,
    (from, up_to): (SequenceNumber, SequenceNumber),
    lines: &[(SequenceNumber, String)],
) -> Result<(), EngineError> {
    let id = &conversation.as_bytes()[..];
    let moved = if from == SequenceNumber::ZERO {
        // A row that another has made meanwhile is a key that is taken: then all is done anew.
        let known: Option<i64> = sqlx::query_scalar(INDEXED)
            .bind(id)
            .fetch_optional(&mut *connection)
            .await?;
        if known.is_some() {
            return Ok(());
        }
        sqlx::query("INSERT INTO search_progress (indexed, conversation) VALUES (?, ?)")
            .bind(integer(up_to.0))
            .bind(id)
    } else {
        sqlx::query("UPDATE search_progress SET indexed = ? WHERE conversation = ? AND indexed = ?")
            .bind(integer(up_to.0))
            .bind(id)
            .bind(integer(from.0))
    };
    if moved.execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(());
    }
    for lines in lines.chunks(ROWS_PER_STATEMENT_MAX) {
        let mut query = QueryBuilder::<MySql>::new(
            "INSERT INTO search_entries (conversation, sequence, words) \
             SELECT n.conversation, n.sequence, n.words FROM (",
        );
        let mut rows = query.separated(" UNION ALL ");
        for (sequence, words) in lines {
            rows.push("SELECT CAST(")
                .push_bind_unseparated(id)
                .push_unseparated(" AS BINARY(16)) AS conversation, CAST(")
                .push_bind_unseparated(integer(sequence.0))
                .push_unseparated(" AS SIGNED) AS sequence, ")
                .push_bind_unseparated(&words[..])
                .push_unseparated(" AS words");
        }
        // One may have been taken back, or dropped, since it was read.
        query
            .push(
                ") n JOIN messages m ON m.conversation = n.conversation \
                 AND m.sequence = n.sequence WHERE m.kind <> ",
            )
            .push_bind(EntryKind::Recalled as i32);
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// What is gone from the log up to a number is gone from the index.
pub(super) async fn trim(
    connection: &mut MySqlConnection,
    conversation: ConversationId,
    up_to: SequenceNumber,
) -> Result<(), EngineError> {
    sqlx::query("DELETE FROM search_entries WHERE conversation = ? AND sequence <= ?")
        .bind(&conversation.as_bytes()[..])
        .bind(integer(up_to.0))
        .execute(connection)
        .await?;
    Ok(())
}

/// So is what was taken back.
pub(super) async fn forget(
    connection: &mut MySqlConnection,
    conversation: ConversationId,
    numbers: &[i64],
) -> Result<(), EngineError> {
    for number in numbers {
        sqlx::query("DELETE FROM search_entries WHERE conversation = ? AND sequence = ?")
            .bind(&conversation.as_bytes()[..])
            .bind(number)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

pub(super) async fn numbered(
    tx: &mut MySqlConnection,
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
    let stays: Vec<StayRow> =
        sqlx::query_as("SELECT joined, `left` FROM members WHERE conversation = ? AND account = ?")
            .bind(id)
            .bind(integer(account.0))
            .fetch_all(&mut *tx)
            .await?;
    let mut query = QueryBuilder::<MySql>::new(
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
