//! A batch: what the planner needs to know of it, and its commit against the heads that were
//! looked up.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use protocol::{AccountId, ConversationId, SequenceNumber};
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::many::{Many, ROWS_MAX};
use super::{amend, execute, media};
use crate::engine::{EngineError, conversation_id, integer, message_id, number};
use crate::rows;
use crate::shard::{
    Append, BatchPlan, ConversationState, HeadMove, IdKey, Known, MemberChange, NewEntry, StoredId,
};

/// The ids of a batch that are stored. CROSS JOIN: each row looks its id up, whatever SQLite makes of
/// a list of rows after IN, for which some of its releases read the whole table.
pub(super) static LOOK_UP_IDS: Many = Many::new(&[(
    "SELECT m.conversation, m.sender, m.message_id, m.sequence, m.digest, m.committed_at_ms FROM ",
    3,
    " CROSS JOIN message_ids AS m ON m.message_id = n.column1 \
     AND m.conversation = n.column2 AND m.sender = n.column3",
)]);

/// Compare-and-set of heads. OR ROLLBACK, here and below: nothing of a batch stays when a part of it
/// fails, so SQLite need not keep what each page was before the statement.
macro_rules! move_heads {
    ($before:literal) => {
        Many::new(&[(
            concat!(
                $before,
                "UPDATE OR ROLLBACK conversations AS c SET head = n.column5, \
                 membership = n.column6, bytes = c.bytes + n.column7 FROM "
            ),
            7,
            " WHERE c.id = n.column1 AND c.head = n.column2 AND c.membership = n.column3 \
             AND c.owner_epoch = n.column4 RETURNING 1",
        )])
    };
}

/// What a batch begins with.
pub(super) static BEGIN_MOVE_HEADS: Many = move_heads!("BEGIN IMMEDIATE; ");

/// What is over of a batch with more heads than rows fit into a statement.
pub(super) static MOVE_HEADS: Many = move_heads!("");

const VALUES_OF_A_MESSAGE: usize = 9;

/// The messages, and the ids by which they are known.
pub(super) static INSERT: Many = Many::new(&[
    (
        "INSERT OR ROLLBACK INTO messages (conversation, sequence, sender, message_id, kind, \
         content, priority, deliver_before_ms, committed_at_ms) SELECT * FROM ",
        VALUES_OF_A_MESSAGE,
        " WHERE n.column1 IS NOT NULL",
    ),
    (
        "INSERT OR ROLLBACK INTO message_ids (conversation, sender, message_id, sequence, digest, \
         committed_at_ms) SELECT * FROM ",
        6,
        " WHERE n.column1 IS NOT NULL",
    ),
]);

/// What the planner needs to know of a batch. What is `kept` is not read again: if it is no
/// longer true the commit loses.
pub(super) async fn look_up(
    connection: &mut SqliteConnection,
    batch: &[Append],
    kept: &HashMap<ConversationId, ConversationState>,
) -> Result<Known, EngineError> {
    let mut known = Known::default();
    for rows in batch.chunks(ROWS_MAX) {
        look_up_ids(connection, rows, &mut known.ids).await?;
        amend::look_up(connection, rows, &mut known.targets).await?;
        media::look_up(connection, rows, &mut known.media).await?;
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
    let mut query = sqlx::query(LOOK_UP_IDS.of(batch.len()));
    for append in batch {
        query = query
            .bind(append.message_id.as_bytes().to_vec())
            .bind(append.conversation.as_bytes().to_vec())
            .bind(integer(append.sender.0));
    }
    for row in query.fetch_all(&mut *connection).await? {
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
        "SELECT head, membership, owner_epoch, name, history_open, attributes, dissolved \
             FROM conversations WHERE id = ?",
    )
    .bind(id)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(head) = head else {
        return Ok(None);
    };
    let members: Vec<(i64, i32)> = sqlx::query_as(
        "SELECT account, role FROM members WHERE conversation = ? AND \"left\" IS NULL",
    )
    .bind(id)
    .fetch_all(&mut *connection)
    .await?;
    let member = |(account, role)| (AccountId(number(account)), rows::role(role));
    Ok(Some(ConversationState {
        head: SequenceNumber(number(head.try_get(0)?)),
        membership: SequenceNumber(number(head.try_get(1)?)),
        owner_epoch: number(head.try_get(2)?),
        name: head.try_get::<&str, _>(3)?.into(),
        history_open: head.try_get(4)?,
        attributes: Arc::new(rows::attributes(head.try_get(5)?)?),
        dissolved: SequenceNumber(number(head.try_get(6)?)),
        members: Arc::new(members.into_iter().map(member).collect()),
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
    if !begin(connection, plan, now_ms).await? {
        return Err(EngineError::Lost);
    }
    for rows in plan.entries.chunks(ROWS_MAX) {
        insert(connection, batch, rows, now_ms).await?;
    }
    for entry in plan
        .entries
        .iter()
        .filter(|entry| !entry.changes.is_empty())
    {
        change_members(connection, batch[entry.index].conversation, entry).await?;
    }
    for (conversation, head) in plan.heads.iter().filter(|(_, head)| head.regroups) {
        regroup(connection, *conversation, &head.to).await?;
    }
    media::refer(connection, batch, plan).await?;
    amend::amend(connection, batch, plan, now_ms).await
}

/// Compare-and-set of every head of the batch, in a transaction that is new. False: one of them is
/// not what it was.
async fn begin(
    tx: &mut SqliteConnection,
    plan: &BatchPlan,
    now_ms: u64,
) -> Result<bool, EngineError> {
    let (new, moved): (Vec<_>, Vec<_>) = plan
        .heads
        .iter()
        .partition(|(conversation, head)| head.is_new_pair(**conversation));
    if moved.is_empty() {
        execute(tx, "BEGIN IMMEDIATE").await?;
    }
    for (heads, nth) in moved.chunks(ROWS_MAX).zip(0..) {
        let statement = if nth == 0 {
            &BEGIN_MOVE_HEADS
        } else {
            &MOVE_HEADS
        };
        let mut query = sqlx::query(statement.of(heads.len()));
        for (conversation, head) in heads {
            query = query
                .bind(conversation.as_bytes().to_vec())
                .bind(integer(head.from.head.0))
                .bind(integer(head.from.membership.0))
                .bind(integer(head.from.owner_epoch))
                .bind(integer(head.to.head.0))
                .bind(integer(head.to.membership.0))
                .bind(integer(head.bytes));
        }
        // Rows, not the count of changes: BEGIN repeats that of the statement before it.
        if query.fetch_all(&mut *tx).await?.len() != heads.len() {
            return Ok(false);
        }
    }
    for (conversation, head) in new {
        if !insert_pair(tx, *conversation, head, now_ms).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// False: another was faster.
async fn insert_pair(
    tx: &mut SqliteConnection,
    conversation: ConversationId,
    head: &HeadMove,
    now_ms: u64,
) -> Result<bool, EngineError> {
    let id = &conversation.as_bytes()[..];
    let made = sqlx::query(
        "INSERT INTO conversations (id, head, membership, owner_epoch, name, \
         history_open, created_at_ms, bytes) VALUES (?, ?, 0, 0, '', FALSE, ?, ?)",
    )
    .bind(id)
    .bind(integer(head.to.head.0))
    .bind(integer(now_ms))
    .bind(integer(head.bytes))
    .execute(&mut *tx)
    .await;
    match made {
        Ok(_) => insert_pair_members(tx, id, head).await.map(|()| true),
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn insert_pair_members(
    tx: &mut SqliteConnection,
    id: &[u8],
    head: &HeadMove,
) -> Result<(), EngineError> {
    for member in head.from.members.keys() {
        sqlx::query("INSERT INTO members (conversation, account, joined) VALUES (?, ?, 0)")
            .bind(id)
            .bind(integer(member.0))
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

async fn insert(
    tx: &mut SqliteConnection,
    batch: &[Append],
    entries: &[NewEntry],
    now_ms: u64,
) -> Result<(), EngineError> {
    let mut query = sqlx::query(INSERT.of(entries.len()));
    for entry in entries {
        let append = &batch[entry.index];
        query = query
            .bind(append.conversation.as_bytes().to_vec())
            .bind(integer(entry.sequence.0))
            .bind(integer(append.sender.0))
            .bind(append.message_id.as_bytes().to_vec())
            .bind(append.kind as i32)
            .bind(append.content.to_vec())
            .bind(append.priority as i32)
            .bind(integer(append.deliver_before_ms))
            .bind(integer(now_ms));
    }
    for _ in 0..VALUES_OF_A_MESSAGE * (Many::rows(entries.len()) - entries.len()) {
        query = query.bind(None::<i64>);
    }
    for entry in entries {
        let append = &batch[entry.index];
        query = query
            .bind(append.conversation.as_bytes().to_vec())
            .bind(integer(append.sender.0))
            .bind(append.message_id.as_bytes().to_vec())
            .bind(integer(entry.sequence.0))
            .bind(entry.digest.to_vec())
            .bind(integer(now_ms));
    }
    query.execute(tx).await?;
    Ok(())
}

async fn change_members(
    tx: &mut SqliteConnection,
    conversation: ConversationId,
    entry: &NewEntry,
) -> Result<(), EngineError> {
    for change in &entry.changes {
        let first = match change {
            MemberChange::Joins(..) | MemberChange::Leaves(_) => integer(entry.sequence.0),
            MemberChange::Becomes(_, role) => i64::from(*role as i32),
        };
        let mut statement = sqlx::query(match change {
            MemberChange::Joins(..) => {
                "INSERT INTO members (joined, conversation, account, role) VALUES (?, ?, ?, ?)"
            }
            MemberChange::Leaves(_) => {
                "UPDATE members SET \"left\" = ? \
                 WHERE conversation = ? AND account = ? AND \"left\" IS NULL"
            }
            MemberChange::Becomes(..) => {
                "UPDATE members SET role = ? \
                 WHERE conversation = ? AND account = ? AND \"left\" IS NULL"
            }
        })
        .bind(first)
        .bind(&conversation.as_bytes()[..])
        .bind(integer(change.account().0));
        if let MemberChange::Joins(_, role) = change {
            statement = statement.bind(*role as i32);
        }
        statement.execute(&mut *tx).await?;
    }
    Ok(())
}

async fn regroup(
    tx: &mut SqliteConnection,
    conversation: ConversationId,
    to: &ConversationState,
) -> Result<(), EngineError> {
    sqlx::query("UPDATE conversations SET name = ?, attributes = ?, dissolved = ? WHERE id = ?")
        .bind(to.name.to_string())
        .bind(rows::stored_attributes(&to.attributes))
        .bind(integer(to.dissolved.0))
        .bind(&conversation.as_bytes()[..])
        .execute(tx)
        .await?;
    Ok(())
}
