//! A batch: what the planner needs to know of it, and its commit against the heads that were
//! looked up.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use protocol::{AccountId, ConversationId, SequenceNumber};
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::{amend, execute};
use crate::engine::{EngineError, conversation_id, integer, message_id, number};
use crate::shard::{
    Append, BatchPlan, ConversationState, HeadMove, IdKey, Known, NewEntry, StoredId,
};

/// Rows in one statement: SQLite binds at most 32,766 values, and a message has nine.
const ROWS_PER_STATEMENT_MAX: usize = 512;

/// What the planner needs to know of a batch. What is `kept` is not read again: if it is no
/// longer true the commit loses.
pub(super) async fn look_up(
    connection: &mut SqliteConnection,
    batch: &[Append],
    kept: &HashMap<ConversationId, ConversationState>,
) -> Result<Known, EngineError> {
    let mut known = Known::default();
    for rows in batch.chunks(ROWS_PER_STATEMENT_MAX) {
        look_up_ids(connection, rows, &mut known.ids).await?;
        amend::look_up(connection, rows, &mut known.targets).await?;
    }
    let conversations: BTreeSet<_> = batch.iter().map(|append| append.conversation).collect();
    for conversation in conversations {
        let state = match kept.get(&conversation) {
            Some(state) => Some(state.clone()),
            None => read_conversation(connection, conversation).await?,
        };
        if let Some(state) = state {
            known.conversations.insert(conversation, state);
        }
    }
    Ok(known)
}

async fn look_up_ids(
    connection: &mut SqliteConnection,
    batch: &[Append],
    ids: &mut HashMap<IdKey, StoredId>,
) -> Result<(), EngineError> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT conversation, sender, message_id, sequence, digest, committed_at_ms \
         FROM message_ids WHERE (conversation, sender, message_id) IN (",
    );
    query.push_values(batch, |mut row, append| {
        row.push_bind(append.conversation.as_bytes().to_vec())
            .push_bind(integer(append.sender.0))
            .push_bind(append.message_id.as_bytes().to_vec());
    });
    query.push(")");
    for row in query.build().fetch_all(&mut *connection).await? {
        let key = (
            conversation_id(row.try_get(0)?)?,
            AccountId(number(row.try_get(1)?)),
            message_id(row.try_get(2)?)?,
        );
        let digest: Vec<u8> = row.try_get(4)?;
        let stored = StoredId {
            sequence: SequenceNumber(number(row.try_get(3)?)),
            digest: digest
                .try_into()
                .map_err(|_| EngineError::Damaged("a digest"))?,
            committed_at_ms: number(row.try_get(5)?),
        };
        ids.insert(key, stored);
    }
    Ok(())
}

/// A conversation as it is now.
async fn read_conversation(
    connection: &mut SqliteConnection,
    conversation: ConversationId,
) -> Result<Option<ConversationState>, EngineError> {
    let id = &conversation.as_bytes()[..];
    let head = sqlx::query(
        "SELECT head, membership, owner_epoch, name, history_open \
             FROM conversations WHERE id = ?",
    )
    .bind(id)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(head) = head else {
        return Ok(None);
    };
    let members: Vec<i64> = sqlx::query_scalar(
        "SELECT account FROM members WHERE conversation = ? AND \"left\" IS NULL",
    )
    .bind(id)
    .fetch_all(&mut *connection)
    .await?;
    Ok(Some(ConversationState {
        head: SequenceNumber(number(head.try_get(0)?)),
        membership: SequenceNumber(number(head.try_get(1)?)),
        owner_epoch: number(head.try_get(2)?),
        name: head.try_get::<&str, _>(3)?.into(),
        history_open: head.try_get(4)?,
        members: Arc::new(
            members
                .into_iter()
                .map(|account| AccountId(number(account)))
                .collect(),
        ),
    }))
}

/// Begins a transaction and writes a planned batch, if every head still is what the plan was made
/// from.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    batch: &[Append],
    plan: &BatchPlan,
    now_ms: u64,
) -> Result<(), EngineError> {
    execute(connection, "BEGIN IMMEDIATE").await?;
    if !move_heads(connection, plan, now_ms).await? {
        return Err(EngineError::Lost);
    }
    for rows in plan.entries.chunks(ROWS_PER_STATEMENT_MAX) {
        insert_messages(connection, batch, rows, now_ms).await?;
        insert_ids(connection, batch, rows, now_ms).await?;
    }
    for entry in plan
        .entries
        .iter()
        .filter(|entry| !entry.changes.is_empty())
    {
        change_members(connection, batch[entry.index].conversation, entry).await?;
    }
    amend::amend(connection, batch, plan).await
}

/// Compare-and-set of every head of the batch. False: one of them is not what it was.
async fn move_heads(
    tx: &mut SqliteConnection,
    plan: &BatchPlan,
    now_ms: u64,
) -> Result<bool, EngineError> {
    for (conversation, head) in &plan.heads {
        let id = &conversation.as_bytes()[..];
        let moved = if head.is_new_pair(*conversation) {
            sqlx::query(
                "INSERT INTO conversations (id, head, membership, owner_epoch, name, \
                 history_open, created_at_ms, bytes) VALUES (?, ?, 0, 0, '', FALSE, ?, ?)",
            )
            .bind(id)
            .bind(integer(head.to.head.0))
            .bind(integer(now_ms))
            .bind(integer(head.bytes))
            .execute(&mut *tx)
            .await
        } else {
            sqlx::query(
                "UPDATE conversations SET head = ?, membership = ?, bytes = bytes + ? \
                 WHERE id = ? AND head = ? AND membership = ? AND owner_epoch = ?",
            )
            .bind(integer(head.to.head.0))
            .bind(integer(head.to.membership.0))
            .bind(integer(head.bytes))
            .bind(id)
            .bind(integer(head.from.head.0))
            .bind(integer(head.from.membership.0))
            .bind(integer(head.from.owner_epoch))
            .execute(&mut *tx)
            .await
        };
        match moved {
            Ok(done) if done.rows_affected() == 1 => {}
            Ok(_) => return Ok(false),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        if head.is_new_pair(*conversation) {
            insert_pair_members(tx, id, head).await?;
        }
    }
    Ok(true)
}

async fn insert_pair_members(
    tx: &mut SqliteConnection,
    id: &[u8],
    head: &HeadMove,
) -> Result<(), EngineError> {
    for member in head.from.members.iter() {
        sqlx::query("INSERT INTO members VALUES (?, ?, 0, NULL)")
            .bind(id)
            .bind(integer(member.0))
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

async fn insert_messages(
    tx: &mut SqliteConnection,
    batch: &[Append],
    entries: &[NewEntry],
    now_ms: u64,
) -> Result<(), EngineError> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO messages (conversation, sequence, sender, message_id, kind, content, \
         priority, deliver_before_ms, committed_at_ms) ",
    );
    query.push_values(entries, |mut row, entry| {
        let append = &batch[entry.index];
        row.push_bind(append.conversation.as_bytes().to_vec())
            .push_bind(integer(entry.sequence.0))
            .push_bind(integer(append.sender.0))
            .push_bind(append.message_id.as_bytes().to_vec())
            .push_bind(append.kind as i32)
            .push_bind(append.content.to_vec())
            .push_bind(append.priority as i32)
            .push_bind(integer(append.deliver_before_ms))
            .push_bind(integer(now_ms));
    });
    query.build().execute(tx).await?;
    Ok(())
}

async fn insert_ids(
    tx: &mut SqliteConnection,
    batch: &[Append],
    entries: &[NewEntry],
    now_ms: u64,
) -> Result<(), EngineError> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO message_ids (conversation, sender, message_id, sequence, digest, \
         committed_at_ms) ",
    );
    query.push_values(entries, |mut row, entry| {
        let append = &batch[entry.index];
        row.push_bind(append.conversation.as_bytes().to_vec())
            .push_bind(integer(append.sender.0))
            .push_bind(append.message_id.as_bytes().to_vec())
            .push_bind(integer(entry.sequence.0))
            .push_bind(entry.digest.to_vec())
            .push_bind(integer(now_ms));
    });
    query.build().execute(tx).await?;
    Ok(())
}

async fn change_members(
    tx: &mut SqliteConnection,
    conversation: ConversationId,
    entry: &NewEntry,
) -> Result<(), EngineError> {
    for change in &entry.changes {
        let statement = if change.joins {
            sqlx::query("INSERT INTO members (joined, conversation, account) VALUES (?, ?, ?)")
        } else {
            sqlx::query(
                "UPDATE members SET \"left\" = ? \
                 WHERE conversation = ? AND account = ? AND \"left\" IS NULL",
            )
        };
        statement
            .bind(integer(entry.sequence.0))
            .bind(&conversation.as_bytes()[..])
            .bind(integer(change.account.0))
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}
