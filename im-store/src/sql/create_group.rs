//! Groups are made, as many as one account may own. Compiled once for each engine.

use protocol::wire::Role;
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal};

use super::Connection;
use crate::engine::{EngineError, NewGroup, conversation_id, integer};

/// Groups that an account owns, as far as they are of interest.
const OWNED: &str = "SELECT COUNT(*) FROM (SELECT 1 FROM members \
     WHERE account = ? AND `left` IS NULL AND role = ? LIMIT ?) AS owned";

/// The group of this request: a new one, or that of the request that it repeats.
pub(super) async fn create(
    tx: &mut Connection,
    group: &NewGroup,
    now_ms: u64,
) -> Result<Result<ConversationId, Refusal>, EngineError> {
    if let Some(before) = made_before(tx, group.creator, group.message_id).await? {
        return Ok(Ok(before));
    }
    if group.owned_max > 0 && owned(tx, group.creator, group.owned_max).await? >= group.owned_max {
        return Ok(Err(too_many(group)));
    }
    // First what another owner of the database would meet in.
    sqlx::query("INSERT INTO created_groups (creator, message_id, conversation) VALUES (?, ?, ?)")
        .bind(integer(group.creator.0))
        .bind(group.message_id.as_bytes().to_vec())
        .bind(group.proposed.as_bytes().to_vec())
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "INSERT INTO conversations \
         (id, head, membership, owner_epoch, name, history_open, created_at_ms) \
         VALUES (?, 0, 0, 0, ?, ?, ?)",
    )
    .bind(group.proposed.as_bytes().to_vec())
    .bind(&group.name)
    .bind(group.history_open)
    .bind(integer(now_ms))
    .execute(&mut *tx)
    .await?;
    Ok(Ok(group.proposed))
}

async fn made_before(
    tx: &mut Connection,
    creator: AccountId,
    message_id: ClientMessageId,
) -> Result<Option<ConversationId>, EngineError> {
    let before: Option<Vec<u8>> = sqlx::query_scalar(
        "SELECT conversation FROM created_groups WHERE creator = ? AND message_id = ?",
    )
    .bind(integer(creator.0))
    .bind(message_id.as_bytes().to_vec())
    .fetch_optional(tx)
    .await?;
    before.map(|id| conversation_id(&id)).transpose()
}

async fn owned(tx: &mut Connection, account: AccountId, most: u32) -> Result<u32, EngineError> {
    let found: i64 = sqlx::query_scalar(OWNED)
        .bind(integer(account.0))
        .bind(Role::Owner as i32)
        .bind(i64::from(most))
        .fetch_one(tx)
        .await?;
    Ok(u32::try_from(found).unwrap_or(u32::MAX))
}

fn too_many(group: &NewGroup) -> Refusal {
    let most = group.owned_max;
    Refusal::new(
        ErrorCode::LimitReached,
        format!(
            "an account owns at most {most} groups: dissolve one, or make another its owner and \
             leave it"
        ),
    )
}
