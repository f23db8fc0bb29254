//! A batch: what the planner needs to know of it, and its rows. A statement serves many rows,
//! because each costs a way to the server and back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use protocol::id::ConversationKind;
use protocol::wire::Role;
use protocol::{AccountId, ConversationId, SequenceNumber};
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{MySql, QueryBuilder, Row as _};

use super::{ROWS_PER_STATEMENT_MAX, amend, groups, media};
use crate::engine::{EngineError, conversation_id, integer, message_id, number};
use crate::rows;
use crate::shard::{
    Append, BatchPlan, ConversationState, HeadMove, IdKey, Known, MemberChange, NewEntry, StoredId,
};

/// Keeps these heads until the transaction ends: on the same server nobody is faster.
pub(super) async fn hold_heads(
    connection: &mut MySqlConnection,
    conversations: &BTreeSet<ConversationId>,
) -> Result<(), EngineError> {
    let ids: Vec<_> = conversations.iter().copied().collect();
    for ids in ids.chunks(ROWS_PER_STATEMENT_MAX) {
        let mut query = QueryBuilder::<MySql>::new("SELECT head FROM conversations WHERE id IN (");
        push_ids(&mut query, ids);
        query.push(") ORDER BY id FOR UPDATE");
        query.build().fetch_all(&mut *connection).await?;
    }
    Ok(())
}

/// Raises the epochs of these heads, and makes the rows of pairs that have none. It waits for
/// whoever has them on the same server; once it has committed, nobody who began before can move
/// them on any.
pub(super) async fn fence(
    connection: &mut MySqlConnection,
    conversations: &BTreeSet<ConversationId>,
) -> Result<(), EngineError> {
    let ids: Vec<_> = conversations.iter().copied().collect();
    for ids in ids.chunks(ROWS_PER_STATEMENT_MAX) {
        let mut query = QueryBuilder::<MySql>::new(
            "UPDATE conversations SET owner_epoch = owner_epoch + 1 WHERE id IN (",
        );
        push_ids(&mut query, ids);
        query.push(") ORDER BY id");
        let raised = query.build().execute(&mut *connection).await?;
        if raised.rows_affected() < ids.len() as u64 {
            fence_new_pairs(connection, ids).await?;
        }
    }
    Ok(())
}

/// An empty row, of the first epoch that is not none: whoever makes the row after it finds it taken.
async fn fence_new_pairs(
    connection: &mut MySqlConnection,
    ids: &[ConversationId],
) -> Result<(), EngineError> {
    let mut query = QueryBuilder::<MySql>::new("SELECT id FROM conversations WHERE id IN (");
    push_ids(&mut query, ids);
    query.push(")");
    let mut found = BTreeSet::new();
    for row in query.build().fetch_all(&mut *connection).await? {
        found.insert(conversation_id(row.try_get(0)?)?);
    }
    let mut members = Vec::new();
    for id in ids.iter().filter(|id| !found.contains(id)) {
        if let ConversationKind::Pair(low, high) = id.kind() {
            sqlx::query(
                "INSERT INTO conversations \
                 (id, head, membership, owner_epoch, name, history_open, created_at_ms) \
                 VALUES (?, 0, 0, 1, '', FALSE, FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000))",
            )
            .bind(&id.as_bytes()[..])
            .execute(&mut *connection)
            .await?;
            members.extend([low, high].map(|member| (*id, member, SequenceNumber::ZERO)));
        }
    }
    if members.is_empty() {
        return Ok(());
    }
    groups::insert_members(connection, &members, Role::Member).await
}

fn push_ids(query: &mut QueryBuilder<MySql>, ids: &[ConversationId]) {
    let mut list = query.separated(", ");
    for id in ids {
        list.push_bind(id.as_bytes().to_vec());
    }
}

/// What the planner needs to know of a batch.
pub(super) async fn look_up(
    connection: &mut MySqlConnection,
    batch: &[Append],
    kept: &HashMap<ConversationId, ConversationState>,
) -> Result<Known, EngineError> {
    let mut known = Known::default();
    for rows in batch.chunks(ROWS_PER_STATEMENT_MAX) {
        look_up_ids(connection, rows, &mut known.ids).await?;
        amend::look_up(connection, rows, &mut known.targets).await?;
        media::look_up(connection, rows, &mut known.media).await?;
    }
    let mut to_read = BTreeSet::new();
    for append in batch {
        if let Some(state) = kept.get(&append.conversation) {
            let known = known.conversations.entry(append.conversation);
            known.or_insert_with(|| state.clone());
        } else {
            to_read.insert(append.conversation);
        }
    }
    let to_read: Vec<_> = to_read.into_iter().collect();
    for ids in to_read.chunks(ROWS_PER_STATEMENT_MAX) {
        read_conversations(connection, ids, &mut known.conversations).await?;
    }
    Ok(known)
}

async fn look_up_ids(
    connection: &mut MySqlConnection,
    batch: &[Append],
    ids: &mut HashMap<IdKey, StoredId>,
) -> Result<(), EngineError> {
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT conversation, sender, message_id, sequence, digest, committed_at_ms \
         FROM message_ids WHERE (message_id, conversation, sender) IN (",
    );
    let mut list = query.separated(", ");
    for append in batch {
        list.push("(")
            .push_bind_unseparated(&append.message_id.as_bytes()[..])
            .push_unseparated(", ")
            .push_bind_unseparated(&append.conversation.as_bytes()[..])
            .push_unseparated(", ")
            .push_bind_unseparated(integer(append.sender.0))
            .push_unseparated(")");
    }
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

/// The heads before the members: if members change in between, the head has moved, and the commit
/// loses.
async fn read_conversations(
    connection: &mut MySqlConnection,
    ids: &[ConversationId],
    states: &mut HashMap<ConversationId, ConversationState>,
) -> Result<(), EngineError> {
    let mut heads = QueryBuilder::<MySql>::new(
        "SELECT id, head, membership, owner_epoch, name, history_open, attributes, dissolved \
         FROM conversations WHERE id IN (",
    );
    push_ids(&mut heads, ids);
    heads.push(")");
    let heads = heads.build().fetch_all(&mut *connection).await?;
    if heads.is_empty() {
        return Ok(());
    }
    let mut members = QueryBuilder::<MySql>::new(
        "SELECT conversation, account, role FROM members WHERE `left` IS NULL AND conversation IN (",
    );
    push_ids(&mut members, ids);
    members.push(")");
    let mut by_conversation: BTreeMap<ConversationId, BTreeMap<AccountId, Role>> = BTreeMap::new();
    for row in members.build().fetch_all(&mut *connection).await? {
        let conversation = conversation_id(row.try_get(0)?)?;
        let of = by_conversation.entry(conversation).or_default();
        let account = AccountId(number(row.try_get(1)?));
        of.insert(account, rows::role(row.try_get(2)?));
    }
    for row in &heads {
        let conversation = conversation_id(row.try_get(0)?)?;
        let members = by_conversation.remove(&conversation).unwrap_or_default();
        states.insert(conversation, state(row, members)?);
    }
    Ok(())
}

fn state(
    row: &MySqlRow,
    members: BTreeMap<AccountId, Role>,
) -> Result<ConversationState, EngineError> {
    Ok(ConversationState {
        head: SequenceNumber(number(row.try_get(1)?)),
        membership: SequenceNumber(number(row.try_get(2)?)),
        owner_epoch: number(row.try_get(3)?),
        name: row.try_get::<&str, _>(4)?.into(),
        history_open: row.try_get(5)?,
        attributes: Arc::new(rows::attributes(row.try_get(6)?)?),
        dissolved: SequenceNumber(number(row.try_get(7)?)),
        members: Arc::new(members),
    })
}

/// Writes a planned batch into the open transaction, if every head still is what it was.
pub(super) async fn write(
    connection: &mut MySqlConnection,
    batch: &[Append],
    plan: &BatchPlan,
    now_ms: u64,
) -> Result<(), EngineError> {
    // By rising id, in both: owners that meet wait for each other in one order.
    let (new, moved): (Vec<_>, Vec<_>) = plan
        .heads
        .iter()
        .partition(|(conversation, head)| head.is_new_pair(**conversation));
    for heads in moved.chunks(ROWS_PER_STATEMENT_MAX) {
        move_heads(connection, heads).await?;
    }
    for heads in new.chunks(ROWS_PER_STATEMENT_MAX) {
        insert_pairs(connection, heads, now_ms).await?;
    }
    for rows in plan.entries.chunks(ROWS_PER_STATEMENT_MAX) {
        insert_messages(connection, batch, rows, now_ms).await?;
        insert_ids(connection, batch, rows, now_ms).await?;
    }
    for entry in &plan.entries {
        for changes in entry.changes.chunk_by(MemberChange::is_like) {
            let conversation = batch[entry.index].conversation;
            groups::change_members(connection, conversation, entry.sequence, changes).await?;
        }
    }
    for (conversation, head) in plan.heads.iter().filter(|(_, head)| head.regroups) {
        groups::regroup(connection, *conversation, &head.to).await?;
    }
    media::refer(connection, batch, plan).await?;
    amend::amend(connection, batch, plan, now_ms).await
}

/// Compare-and-set of many heads in one statement: it must find all of them as they were.
async fn move_heads(
    connection: &mut MySqlConnection,
    heads: &[(&ConversationId, &HeadMove)],
) -> Result<(), EngineError> {
    let mut query = QueryBuilder::<MySql>::new("UPDATE conversations c JOIN (");
    let mut rows = query.separated(" UNION ALL ");
    for (conversation, head) in heads {
        rows.push("SELECT CAST(")
            .push_bind_unseparated(&conversation.as_bytes()[..])
            .push_unseparated(" AS BINARY(16)) AS id, CAST(")
            .push_bind_unseparated(integer(head.from.head.0))
            .push_unseparated(" AS SIGNED) AS from_head, CAST(")
            .push_bind_unseparated(integer(head.from.membership.0))
            .push_unseparated(" AS SIGNED) AS from_membership, CAST(")
            .push_bind_unseparated(integer(head.from.owner_epoch))
            .push_unseparated(" AS SIGNED) AS epoch, CAST(")
            .push_bind_unseparated(integer(head.to.head.0))
            .push_unseparated(" AS SIGNED) AS to_head, CAST(")
            .push_bind_unseparated(integer(head.to.membership.0))
            .push_unseparated(" AS SIGNED) AS to_membership, CAST(")
            .push_bind_unseparated(integer(head.bytes))
            .push_unseparated(" AS SIGNED) AS added_bytes");
    }
    query.push(
        ") n ON c.id = n.id AND c.head = n.from_head \
         AND c.membership = n.from_membership AND c.owner_epoch = n.epoch \
         SET c.head = n.to_head, c.membership = n.to_membership, \
         c.bytes = c.bytes + n.added_bytes",
    );
    let moved = query.build().execute(connection).await?.rows_affected();
    if moved == heads.len() as u64 {
        Ok(())
    } else {
        Err(EngineError::Lost)
    }
}

async fn insert_pairs(
    connection: &mut MySqlConnection,
    heads: &[(&ConversationId, &HeadMove)],
    now_ms: u64,
) -> Result<(), EngineError> {
    let mut query = QueryBuilder::<MySql>::new(
        "INSERT INTO conversations \
         (id, head, membership, owner_epoch, name, history_open, created_at_ms, bytes) ",
    );
    query.push_values(heads, |mut row, (conversation, head)| {
        row.push_bind(&conversation.as_bytes()[..])
            .push_bind(integer(head.to.head.0))
            .push_bind(0_i64)
            .push_bind(0_i64)
            .push_bind("")
            .push_bind(false)
            .push_bind(integer(now_ms))
            .push_bind(integer(head.bytes));
    });
    query.build().execute(&mut *connection).await?;
    let mut members = Vec::with_capacity(2 * heads.len());
    for (conversation, head) in heads {
        for member in head.from.members.keys() {
            members.push((**conversation, *member, SequenceNumber::ZERO));
        }
    }
    groups::insert_members(connection, &members, Role::Member).await
}

async fn insert_messages(
    connection: &mut MySqlConnection,
    batch: &[Append],
    entries: &[NewEntry],
    now_ms: u64,
) -> Result<(), EngineError> {
    let mut query = QueryBuilder::<MySql>::new(
        "INSERT INTO messages (conversation, sequence, sender, message_id, kind, content, \
         priority, deliver_before_ms, committed_at_ms) ",
    );
    query.push_values(entries, |mut row, entry| {
        let append = &batch[entry.index];
        row.push_bind(&append.conversation.as_bytes()[..])
            .push_bind(integer(entry.sequence.0))
            .push_bind(integer(append.sender.0))
            .push_bind(&append.message_id.as_bytes()[..])
            .push_bind(append.kind as i32)
            .push_bind(&append.content[..])
            .push_bind(append.priority as i32)
            .push_bind(integer(append.deliver_before_ms))
            .push_bind(integer(now_ms));
    });
    query.build().execute(connection).await?;
    Ok(())
}

async fn insert_ids(
    connection: &mut MySqlConnection,
    batch: &[Append],
    entries: &[NewEntry],
    now_ms: u64,
) -> Result<(), EngineError> {
    let mut query = QueryBuilder::<MySql>::new(
        "INSERT INTO message_ids (conversation, sender, message_id, sequence, digest, \
         committed_at_ms) ",
    );
    query.push_values(entries, |mut row, entry| {
        let append = &batch[entry.index];
        row.push_bind(&append.conversation.as_bytes()[..])
            .push_bind(integer(append.sender.0))
            .push_bind(&append.message_id.as_bytes()[..])
            .push_bind(integer(entry.sequence.0))
            .push_bind(&entry.digest[..])
            .push_bind(integer(now_ms));
    });
    query.build().execute(connection).await?;
    Ok(())
}
