//! Emergency stops: latched once, released once. Compiled once for each engine.

use protocol::estop::{Release, Stop};
use protocol::id::ConversationKind;
use protocol::wire::{Account, AccountKind};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal};

use super::Connection;
use super::chores::account;
use crate::engine::{Done, EngineError, integer};
use crate::rows::{self, StopRow};

/// A stop that is there stays as it is.
pub(super) async fn latch(
    connection: &mut Connection,
    stop: &Stop,
    now_ms: u64,
) -> Result<Result<Done, Refusal>, EngineError> {
    if let Some(known) = find(connection, stop.id).await? {
        return Ok(if rows::is_same_stop(&known, stop) {
            Ok(Done::Written)
        } else {
            Err(rows::other_stop())
        });
    }
    insert(connection, stop, now_ms).await?;
    Ok(Ok(Done::Written))
}

/// All of them, or none: whoever releases must be in the group, and the stops of that group.
pub(super) async fn release(
    connection: &mut Connection,
    stops: &[ClientMessageId],
    conversation: ConversationId,
    release: &Release,
    now_ms: u64,
) -> Result<Result<Done, Refusal>, EngineError> {
    let is_group = matches!(conversation.kind(), ConversationKind::Group(_));
    if is_group && !is_member(connection, conversation, release.by).await? {
        let why = format!("{} is not a member of {conversation}", release.by);
        return Ok(Err(Refusal::new(ErrorCode::NotAMember, why)));
    }
    let mut found = Vec::with_capacity(stops.len());
    for id in stops {
        let known = find(connection, *id).await?;
        // Whoever stopped the fleet, its release is in the log of whoever released it.
        let is_here = |stop: &Stop| match (stop.fleet, is_group) {
            (true, false) => true,
            (false, true) => stop.conversation == conversation,
            (true, true) | (false, false) => false,
        };
        if known.as_ref().is_some_and(|stop| !is_here(stop)) {
            return Ok(Err(rows::other_stop()));
        }
        found.push((*id, known.is_some()));
    }
    for (id, is_known) in found {
        if is_known {
            end(connection, id, release).await?;
        } else {
            let ended = Stop {
                id,
                conversation,
                fleet: !is_group,
                sender: AccountId(0),
                reason: String::new(),
                sent_at_ms: 0,
                stored: true,
                release: Some(release.clone()),
            };
            insert(connection, &ended, now_ms).await?;
        }
    }
    Ok(Ok(Done::Written))
}

/// The robots of the fleet, by rising id.
pub(super) async fn robots(
    connection: &mut Connection,
    after: AccountId,
    limit: u32,
) -> Result<Vec<Account>, EngineError> {
    let found = sqlx::query(rows::ROBOTS)
        .bind(AccountKind::Robot as i32)
        .bind(integer(after.0))
        .bind(limit)
        .fetch_all(connection)
        .await?;
    found.iter().map(account).collect()
}

async fn find(
    connection: &mut Connection,
    id: ClientMessageId,
) -> Result<Option<Stop>, EngineError> {
    let row: Option<StopRow> = sqlx::query_as(rows::STOP)
        .bind(id.as_bytes().to_vec())
        .fetch_optional(connection)
        .await?;
    row.map(rows::stop).transpose()
}

async fn insert(connection: &mut Connection, stop: &Stop, now_ms: u64) -> Result<(), EngineError> {
    let release = stop.release.as_ref();
    sqlx::query(rows::NEW_STOP)
        .bind(stop.id.as_bytes().to_vec())
        .bind(stop.conversation.as_bytes().to_vec())
        .bind(i64::from(stop.fleet))
        .bind(integer(stop.sender.0))
        .bind(stop.reason.as_bytes().to_vec())
        .bind(integer(stop.sent_at_ms))
        .bind(integer(now_ms))
        .bind(release.map_or(0, |release| integer(release.at_ms)))
        .bind(release.map_or(0, |release| integer(release.by.0)))
        .bind(release.map_or_else(Vec::new, |release| release.reason.as_bytes().to_vec()))
        .execute(connection)
        .await?;
    Ok(())
}

async fn end(
    connection: &mut Connection,
    id: ClientMessageId,
    release: &Release,
) -> Result<(), EngineError> {
    sqlx::query(rows::END_STOP)
        .bind(integer(release.at_ms))
        .bind(integer(release.by.0))
        .bind(release.reason.as_bytes().to_vec())
        .bind(id.as_bytes().to_vec())
        .execute(connection)
        .await?;
    Ok(())
}

async fn is_member(
    connection: &mut Connection,
    conversation: ConversationId,
    account: AccountId,
) -> Result<bool, EngineError> {
    let found: Option<i64> = sqlx::query_scalar(
        "SELECT joined FROM members WHERE conversation = ? AND account = ? AND `left` IS NULL",
    )
    .bind(conversation.as_bytes().to_vec())
    .bind(integer(account.0))
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}
