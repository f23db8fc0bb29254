//! Who is in a conversation and as what, and what else there is to a group.

use protocol::wire::Role;
use protocol::{AccountId, ConversationId, SequenceNumber};
use sqlx::mysql::MySqlConnection;
use sqlx::{MySql, QueryBuilder};

use super::ROWS_PER_STATEMENT_MAX;
use crate::engine::{Described, EngineError, integer};
use crate::rows::{self, GroupRow, RolesRow};
use crate::shard::{ConversationState, MemberChange};

/// What a group is.
const GROUP: &str = "SELECT name, attributes, history_open, created_at_ms, head, membership, \
     dissolved FROM conversations WHERE id = ?";

/// How many are in it, as what, and as what the asker.
const ROLES: &str = "SELECT COUNT(*), COUNT(CASE WHEN role = 1 THEN 1 END), \
     COUNT(CASE WHEN role = 2 THEN 1 END), COUNT(CASE WHEN role = 4 THEN 1 END), \
     MAX(CASE WHEN account = ? THEN role END) \
     FROM members WHERE conversation = ? AND `left` IS NULL";

pub(super) async fn describe(
    connection: &mut MySqlConnection,
    conversation: ConversationId,
    asker: AccountId,
) -> Result<Described, EngineError> {
    let id = &conversation.as_bytes()[..];
    let group: Option<GroupRow> = sqlx::query_as(GROUP)
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(group) = group else {
        return Ok(Described::Unknown);
    };
    let roles: RolesRow = sqlx::query_as(ROLES)
        .bind(integer(asker.0))
        .bind(id)
        .fetch_one(&mut *connection)
        .await?;
    rows::description(conversation, group, roles)
}

pub(super) async fn insert_members(
    connection: &mut MySqlConnection,
    members: &[(ConversationId, AccountId, SequenceNumber)],
    role: Role,
) -> Result<(), EngineError> {
    let mut query =
        QueryBuilder::<MySql>::new("INSERT INTO members (conversation, account, joined, role) ");
    query.push_values(members, |mut row, (conversation, account, joined)| {
        row.push_bind(&conversation.as_bytes()[..])
            .push_bind(integer(account.0))
            .push_bind(integer(joined.0))
            .push_bind(role as i32);
    });
    query.build().execute(&mut *connection).await?;
    Ok(())
}

/// Changes of one entry that are all of one kind.
pub(super) async fn change_members(
    connection: &mut MySqlConnection,
    conversation: ConversationId,
    sequence: SequenceNumber,
    changes: &[MemberChange],
) -> Result<(), EngineError> {
    for changes in changes.chunks(ROWS_PER_STATEMENT_MAX) {
        let mut query = match changes[0] {
            MemberChange::Joins(_, role) => {
                let join = |change: &MemberChange| (conversation, change.account(), sequence);
                let joins: Vec<_> = changes.iter().map(join).collect();
                insert_members(connection, &joins, role).await?;
                continue;
            }
            MemberChange::Leaves(_) => {
                let mut query = QueryBuilder::<MySql>::new("UPDATE members SET `left` = ");
                query.push_bind(integer(sequence.0));
                query
            }
            MemberChange::Becomes(_, role) => {
                let mut query = QueryBuilder::<MySql>::new("UPDATE members SET role = ");
                query.push_bind(role as i32);
                query
            }
        };
        query
            .push(" WHERE conversation = ")
            .push_bind(&conversation.as_bytes()[..])
            .push(" AND `left` IS NULL AND account IN (");
        let mut list = query.separated(", ");
        for change in changes {
            list.push_bind(integer(change.account().0));
        }
        query.push(")");
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// The name, the attributes and the end of a group.
pub(super) async fn regroup(
    connection: &mut MySqlConnection,
    conversation: ConversationId,
    to: &ConversationState,
) -> Result<(), EngineError> {
    sqlx::query("UPDATE conversations SET name = ?, attributes = ?, dissolved = ? WHERE id = ?")
        .bind(to.name.to_string())
        .bind(rows::stored_attributes(&to.attributes))
        .bind(integer(to.dissolved.0))
        .bind(&conversation.as_bytes()[..])
        .execute(connection)
        .await?;
    Ok(())
}
