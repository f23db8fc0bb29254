//! What goes from a log: the content of what a recall takes back, the oldest entries by retention,
//! ids beyond their horizon. The weight of the conversation goes with it.

use std::collections::HashMap;

use protocol::wire::EntryKind;
use protocol::{ClientMessageId, ConversationId, SequenceNumber};
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

use super::many::Many;
use super::{media, search};
use crate::engine::{Done, EngineError, integer};
use crate::rows;
use crate::shard::{Append, BatchPlan, Target, TargetKey};

/// Sequence numbers in one statement.
const NUMBERS_PER_STATEMENT_MAX: usize = 512;

/// Which of these entries there are. CROSS JOIN for the reason of [`super::batch`].
pub(super) static LOOK_UP_TARGETS: Many = Many::new(&[(
    "SELECT m.conversation, m.sequence, m.sender, m.kind FROM ",
    2,
    " CROSS JOIN messages AS m ON m.conversation = n.column1 AND m.sequence = n.column2",
)]);

pub(super) const FORGET_IDS: &str = "DELETE FROM message_ids \
     WHERE (message_id, conversation, sender) IN \
     (SELECT message_id, conversation, sender FROM message_ids \
     WHERE message_id < ? ORDER BY message_id LIMIT ?)";

/// The entries that the recalls and edits of a batch are about.
pub(super) async fn look_up(
    connection: &mut SqliteConnection,
    batch: &[Append],
    targets: &mut HashMap<TargetKey, Target>,
) -> Result<(), EngineError> {
    let keys: Vec<_> = batch.iter().filter_map(Append::target_key).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let mut query = sqlx::query_as(LOOK_UP_TARGETS.of(keys.len()));
    for (conversation, sequence) in keys {
        query = query
            .bind(conversation.as_bytes().to_vec())
            .bind(integer(sequence.0));
    }
    for row in query.fetch_all(&mut *connection).await? {
        let (key, target) = rows::target(row)?;
        targets.insert(key, target);
    }
    Ok(())
}

/// What the recalls and edits of a batch do to earlier entries, in their order.
pub(super) async fn amend(
    tx: &mut SqliteConnection,
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
            recall(tx, conversation, target).await?;
            media::release(tx, conversation, (target, target), now_ms).await?;
        } else {
            sqlx::query("INSERT INTO edits (conversation, target, sequence) VALUES (?, ?, ?)")
                .bind(&conversation.as_bytes()[..])
                .bind(integer(target.0))
                .bind(integer(entry.sequence.0))
                .execute(&mut *tx)
                .await?;
        }
    }
    Ok(())
}

/// The entry and its edits say nothing any more.
async fn recall(
    tx: &mut SqliteConnection,
    conversation: ConversationId,
    target: SequenceNumber,
) -> Result<(), EngineError> {
    let id = &conversation.as_bytes()[..];
    let edits = "SELECT sequence FROM edits WHERE conversation = ? AND target = ?";
    let mut numbers: Vec<i64> = sqlx::query_scalar(edits)
        .bind(id)
        .bind(integer(target.0))
        .fetch_all(&mut *tx)
        .await?;
    numbers.push(integer(target.0));
    for numbers in numbers.chunks(NUMBERS_PER_STATEMENT_MAX) {
        let mut lighter = QueryBuilder::<Sqlite>::new(
            "UPDATE conversations SET bytes = bytes - (SELECT COALESCE(SUM(LENGTH(content)), 0) \
             FROM messages WHERE conversation = ",
        );
        lighter.push_bind(id).push(" AND sequence IN (");
        push_list(&mut lighter, numbers);
        lighter.push(")) WHERE id = ").push_bind(id);
        lighter.build().execute(&mut *tx).await?;

        let mut silent = QueryBuilder::<Sqlite>::new("UPDATE messages SET content = X'', kind = ");
        silent
            .push_bind(EntryKind::Recalled as i32)
            .push(" WHERE conversation = ")
            .push_bind(id)
            .push(" AND sequence IN (");
        push_list(&mut silent, numbers);
        silent.push(")");
        silent.build().execute(&mut *tx).await?;
    }
    search::forget(tx, conversation, &numbers).await
}

fn push_list(query: &mut QueryBuilder<Sqlite>, numbers: &[i64]) {
    let mut list = query.separated(", ");
    for number in numbers {
        list.push_bind(*number);
    }
}

/// Drops the oldest entries, unless another was faster.
pub(super) async fn trim(
    tx: &mut SqliteConnection,
    conversation: ConversationId,
    (from, up_to): (SequenceNumber, SequenceNumber),
    now_ms: u64,
) -> Result<(), EngineError> {
    let id = &conversation.as_bytes()[..];
    let moved = sqlx::query(
        "UPDATE conversations SET trimmed = ?2, bytes = bytes - \
         (SELECT COALESCE(SUM(LENGTH(content)), 0) FROM messages \
         WHERE conversation = ?1 AND sequence <= ?2) WHERE id = ?1 AND trimmed = ?3",
    )
    .bind(id)
    .bind(integer(up_to.0))
    .bind(integer(from.0))
    .execute(&mut *tx)
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
            .execute(&mut *tx)
            .await?;
    }
    media::release(tx, conversation, (from, up_to), now_ms).await?;
    search::trim(tx, conversation, up_to).await
}

/// Drops old ids.
pub(super) async fn forget_ids(
    tx: &mut SqliteConnection,
    made_before_ms: u64,
    limit: u32,
) -> Result<Done, EngineError> {
    let gone = sqlx::query(FORGET_IDS)
        .bind(&ClientMessageId::least_of(made_before_ms)[..])
        .bind(limit)
        .execute(&mut *tx)
        .await?;
    Ok(Done::Forgotten(gone.rows_affected()))
}
