//! What goes from a log: the content of what a recall takes back, the oldest entries by retention,
//! ids beyond their horizon. The weight of the conversation goes with it.

use std::collections::HashMap;

use protocol::wire::EntryKind;
use protocol::{ClientMessageId, ConversationId, SequenceNumber};
use sqlx::mysql::MySqlConnection;
use sqlx::{MySql, QueryBuilder};

use super::{ROWS_PER_STATEMENT_MAX, media, search};
use crate::engine::{Done, EngineError, integer};
use crate::rows;
use crate::shard::{Append, BatchPlan, Target, TargetKey};

/// The entries that the recalls and edits of a batch are about.
pub(super) async fn look_up(
    connection: &mut MySqlConnection,
    batch: &[Append],
    targets: &mut HashMap<TargetKey, Target>,
) -> Result<(), EngineError> {
    let keys: Vec<_> = batch.iter().filter_map(Append::target_key).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT conversation, sequence, sender, kind FROM messages \
         WHERE (conversation, sequence) IN (",
    );
    let mut list = query.separated(", ");
    for (conversation, sequence) in &keys {
        list.push("(")
            .push_bind_unseparated(&conversation.as_bytes()[..])
            .push_unseparated(", ")
            .push_bind_unseparated(integer(sequence.0))
            .push_unseparated(")");
    }
    query.push(")");
    for row in query.build_query_as().fetch_all(&mut *connection).await? {
        let (key, target) = rows::target(row)?;
        targets.insert(key, target);
    }
    Ok(())
}

/// What the recalls and edits of a batch do to earlier entries, in their order.
pub(super) async fn amend(
    connection: &mut MySqlConnection,
    batch: &[Append],
    plan: &BatchPlan,
    now_ms: u64,
) -> Result<(), EngineError> {
    for entry in &plan.entries {
        let append = &batch[entry.index];
        let Some((conversation, target)) = append.target_key() else {
            continue;
        };
        if append.kind == EntryKind::Recall {
            recall(connection, conversation, target).await?;
            media::release(connection, conversation, (target, target), now_ms).await?;
        } else {
            sqlx::query("INSERT INTO edits (conversation, target, sequence) VALUES (?, ?, ?)")
                .bind(&conversation.as_bytes()[..])
                .bind(integer(target.0))
                .bind(integer(entry.sequence.0))
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

/// The entry and its edits say nothing any more.
async fn recall(
    connection: &mut MySqlConnection,
    conversation: ConversationId,
    target: SequenceNumber,
) -> Result<(), EngineError> {
    let id = &conversation.as_bytes()[..];
    let edits = "SELECT sequence FROM edits WHERE conversation = ? AND target = ?";
    let mut numbers: Vec<i64> = sqlx::query_scalar(edits)
        .bind(id)
        .bind(integer(target.0))
        .fetch_all(&mut *connection)
        .await?;
    numbers.push(integer(target.0));
    for numbers in numbers.chunks(ROWS_PER_STATEMENT_MAX) {
        let mut lighter = QueryBuilder::<MySql>::new(
            "UPDATE conversations SET bytes = bytes - (SELECT COALESCE(SUM(LENGTH(content)), 0) \
             FROM messages WHERE conversation = ",
        );
        lighter.push_bind(id).push(" AND sequence IN (");
        push_list(&mut lighter, numbers);
        lighter.push(")) WHERE id = ").push_bind(id);
        lighter.build().execute(&mut *connection).await?;

        let mut silent = QueryBuilder::<MySql>::new("UPDATE messages SET content = '', kind = ");
        silent
            .push_bind(EntryKind::Recalled as i32)
            .push(" WHERE conversation = ")
            .push_bind(id)
            .push(" AND sequence IN (");
        push_list(&mut silent, numbers);
        silent.push(")");
        silent.build().execute(&mut *connection).await?;
    }
    search::forget(connection, conversation, &numbers).await
}

fn push_list(query: &mut QueryBuilder<MySql>, numbers: &[i64]) {
    let mut list = query.separated(", ");
    for number in numbers {
        list.push_bind(*number);
    }
}

/// Drops the oldest entries, unless another was faster.
pub(super) async fn trim(
    connection: &mut MySqlConnection,
    conversation: ConversationId,
    (from, up_to): (SequenceNumber, SequenceNumber),
    now_ms: u64,
) -> Result<(), EngineError> {
    let id = &conversation.as_bytes()[..];
    let moved = sqlx::query(
        "UPDATE conversations SET trimmed = ?, bytes = bytes - \
         (SELECT COALESCE(SUM(LENGTH(content)), 0) FROM messages \
         WHERE conversation = ? AND sequence <= ?) WHERE id = ? AND trimmed = ?",
    )
    .bind(integer(up_to.0))
    .bind(id)
    .bind(integer(up_to.0))
    .bind(id)
    .bind(integer(from.0))
    .execute(&mut *connection)
    .await?;
    if moved.rows_affected() == 0 {
        return Ok(());
    }
    let gone = [
        "DELETE FROM messages WHERE conversation = ? AND sequence <= ?",
        "DELETE FROM edits WHERE conversation = ? AND target <= ?",
    ];
    for statement in gone {
        sqlx::query(statement)
            .bind(id)
            .bind(integer(up_to.0))
            .execute(&mut *connection)
            .await?;
    }
    media::release(connection, conversation, (from, up_to), now_ms).await?;
    search::trim(connection, conversation, up_to).await
}

/// Drops old ids.
pub(super) async fn forget_ids(
    connection: &mut MySqlConnection,
    made_before_ms: u64,
    limit: u32,
) -> Result<Done, EngineError> {
    let gone =
        sqlx::query("DELETE FROM message_ids WHERE message_id < ? ORDER BY message_id LIMIT ?")
            .bind(&ClientMessageId::least_of(made_before_ms)[..])
            .bind(limit)
            .execute(&mut *connection)
            .await?;
    Ok(Done::Forgotten(gone.rows_affected()))
}
