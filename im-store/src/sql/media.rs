//! Media: their rows, who has how much, and which message refers to which. Compiled once for each
//! engine.
//!
//! What refers to a media and what removes it change the same row under a condition: of two that
//! meet, one finds the row changed.

use std::collections::HashMap;

use protocol::media::MediaId;
use protocol::wire::{MediaItem, MediaState};
use protocol::{AccountId, ConversationId, Refusal, SequenceNumber};

use super::Connection;
use crate::engine::{Done, EngineError, integer, number};
use crate::media::{self, MediaChore, MediaDone, NewMedia, Record, Step};
use crate::shard::{Append, BatchPlan};

/// The row of all accounts together.
const ALL: AccountId = AccountId(0);

/// media, owner, bytes, sha256, media_type, name, state, refs, changed_at_ms.
type Row = (Vec<u8>, i64, i64, Vec<u8>, Vec<u8>, Vec<u8>, i64, i64, i64);

pub(super) async fn carry_out(
    connection: &mut Connection,
    chore: &MediaChore,
    now_ms: u64,
) -> Result<Result<Done, Refusal>, EngineError> {
    let done = match chore {
        MediaChore::Create(new) => create(connection, new, now_ms).await?.map(record),
        MediaChore::Step(id, step) => self::step(connection, *id, *step, now_ms)
            .await?
            .map(record),
        MediaChore::Sweep {
            gone,
            before_ms,
            limit,
        } => {
            for id in gone {
                forget(connection, *id).await?;
            }
            let doomed = doom(connection, *before_ms, *limit).await?;
            Ok(MediaDone::Doomed(doomed))
        }
    };
    Ok(done.map(Done::Media))
}

fn record(record: Record) -> MediaDone {
    MediaDone::Record(Box::new(record))
}

async fn create(
    connection: &mut Connection,
    new: &NewMedia,
    now_ms: u64,
) -> Result<Result<Record, Refusal>, EngineError> {
    if let Some(known) = find(connection, new.id).await? {
        return Ok(media::repeated(known, new));
    }
    let (create, quota) = (&new.create, &new.quota);
    // The room of all before one's own: whoever meets waits in one order.
    if !take(connection, ALL, create.bytes, quota.fleet_bytes_max).await? {
        return Ok(Err(media::over_quota("the fleet", quota.fleet_bytes_max)));
    }
    if !take(connection, new.owner, create.bytes, quota.account_bytes_max).await? {
        give_back(connection, ALL, create.bytes).await?;
        let whose = "the account";
        return Ok(Err(media::over_quota(whose, quota.account_bytes_max)));
    }
    let begun = sqlx::query(
        "UPDATE media_usage SET unfinished = unfinished + 1 WHERE owner = ? AND unfinished < ?",
    )
    .bind(integer(new.owner.0))
    .bind(integer(quota.unfinished_max))
    .execute(&mut *connection)
    .await?;
    if begun.rows_affected() == 0 {
        give_back(connection, ALL, create.bytes).await?;
        give_back(connection, new.owner, create.bytes).await?;
        return Ok(Err(media::too_many(quota.unfinished_max)));
    }
    sqlx::query(
        "INSERT INTO media (media, owner, bytes, sha256, media_type, name, state, refs, \
         created_at_ms, changed_at_ms) VALUES (?, ?, ?, ?, ?, ?, 1, 0, ?, ?)",
    )
    .bind(new.id.as_bytes().to_vec())
    .bind(integer(new.owner.0))
    .bind(integer(create.bytes))
    .bind(create.sha256.to_vec())
    .bind(create.media_type.as_bytes().to_vec())
    .bind(create.name.as_bytes().to_vec())
    .bind(integer(now_ms))
    .bind(integer(now_ms))
    .execute(&mut *connection)
    .await?;
    let made = find(connection, new.id).await?;
    Ok(made.ok_or_else(|| Refusal::internal("a media was made, and is not there")))
}

/// Takes room, if there is any.
async fn take(
    connection: &mut Connection,
    owner: AccountId,
    bytes: u64,
    allowed: u64,
) -> Result<bool, EngineError> {
    let known: Option<i64> = sqlx::query_scalar("SELECT bytes FROM media_usage WHERE owner = ?")
        .bind(integer(owner.0))
        .fetch_optional(&mut *connection)
        .await?;
    if known.is_none() {
        sqlx::query("INSERT INTO media_usage (owner, bytes, unfinished) VALUES (?, 0, 0)")
            .bind(integer(owner.0))
            .execute(&mut *connection)
            .await?;
    }
    let taken =
        sqlx::query("UPDATE media_usage SET bytes = bytes + ? WHERE owner = ? AND bytes <= ?")
            .bind(integer(bytes))
            .bind(integer(owner.0))
            .bind(
                i64::try_from(allowed)
                    .unwrap_or(i64::MAX)
                    .saturating_sub(integer(bytes)),
            )
            .execute(&mut *connection)
            .await?;
    Ok(taken.rows_affected() == 1)
}

async fn give_back(
    connection: &mut Connection,
    owner: AccountId,
    bytes: u64,
) -> Result<(), EngineError> {
    sqlx::query("UPDATE media_usage SET bytes = bytes - ? WHERE owner = ?")
        .bind(integer(bytes))
        .bind(integer(owner.0))
        .execute(&mut *connection)
        .await?;
    Ok(())
}

async fn ended(connection: &mut Connection, owner: AccountId) -> Result<(), EngineError> {
    sqlx::query("UPDATE media_usage SET unfinished = unfinished - 1 WHERE owner = ?")
        .bind(integer(owner.0))
        .execute(&mut *connection)
        .await?;
    Ok(())
}

async fn step(
    connection: &mut Connection,
    id: MediaId,
    step: Step,
    now_ms: u64,
) -> Result<Result<Record, Refusal>, EngineError> {
    // What is discarded is as old as can be: the next sweep takes it.
    let (state, at_ms) = match step {
        Step::Touch => (MediaState::Uploading, now_ms),
        Step::Finish => (MediaState::Complete, now_ms),
        Step::Discard => (MediaState::Doomed, 0),
    };
    let moved =
        sqlx::query("UPDATE media SET state = ?, changed_at_ms = ? WHERE media = ? AND state = 1")
            .bind(i64::from(state as i32))
            .bind(integer(at_ms))
            .bind(id.as_bytes().to_vec())
            .execute(&mut *connection)
            .await?;
    let known = find(connection, id).await?;
    if moved.rows_affected() == 1
        && step != Step::Touch
        && let Some(known) = &known
    {
        ended(connection, known.owner).await?;
    }
    if step == Step::Discard {
        return Ok(known.ok_or_else(media::no_such_media));
    }
    Ok(media::stepped(known))
}

/// One whose bytes are gone.
async fn forget(connection: &mut Connection, id: MediaId) -> Result<(), EngineError> {
    let Some(known) = find(connection, id).await? else {
        return Ok(());
    };
    let gone = sqlx::query("DELETE FROM media WHERE media = ? AND state = 3")
        .bind(id.as_bytes().to_vec())
        .execute(&mut *connection)
        .await?;
    if gone.rows_affected() == 1 {
        give_back(connection, ALL, known.item.bytes).await?;
        give_back(connection, known.owner, known.item.bytes).await?;
    }
    Ok(())
}

/// Dooms what no message refers to since before then; those that were doomed already are told
/// again.
async fn doom(
    connection: &mut Connection,
    before_ms: u64,
    limit: u32,
) -> Result<Vec<MediaId>, EngineError> {
    let found: Vec<(Vec<u8>, i64, i64)> = sqlx::query_as(
        "SELECT media, owner, state FROM media WHERE refs = 0 AND changed_at_ms < ? \
         ORDER BY changed_at_ms LIMIT ?",
    )
    .bind(integer(before_ms))
    .bind(limit)
    .fetch_all(&mut *connection)
    .await?;
    let mut doomed = Vec::with_capacity(found.len());
    for (media, owner, state) in found {
        let id = id(&media)?;
        if state == i64::from(MediaState::Doomed as i32) {
            doomed.push(id);
            continue;
        }
        let moved = sqlx::query(
            "UPDATE media SET state = 3 WHERE media = ? AND state = ? AND refs = 0 \
             AND changed_at_ms < ?",
        )
        .bind(media)
        .bind(state)
        .bind(integer(before_ms))
        .execute(&mut *connection)
        .await?;
        if moved.rows_affected() == 1 {
            if state == i64::from(MediaState::Uploading as i32) {
                ended(connection, AccountId(number(owner))).await?;
            }
            doomed.push(id);
        }
    }
    Ok(doomed)
}

/// What the messages of a batch refer to, as far as it is there.
pub(super) async fn look_up(
    connection: &mut Connection,
    batch: &[Append],
    known: &mut HashMap<MediaId, Record>,
) -> Result<(), EngineError> {
    for (id, _) in batch.iter().filter_map(Append::media) {
        if let Some(record) = find(connection, id).await? {
            known.insert(id, record);
        }
    }
    Ok(())
}

/// Writes down what the new entries of a batch refer to. One that is no longer complete loses the
/// batch, which is decided anew.
pub(super) async fn refer(
    connection: &mut Connection,
    batch: &[Append],
    plan: &BatchPlan,
) -> Result<(), EngineError> {
    for entry in &plan.entries {
        let append = &batch[entry.index];
        let Some((id, _)) = append.media() else {
            continue;
        };
        let held = sqlx::query("UPDATE media SET refs = refs + 1 WHERE media = ? AND state = 2")
            .bind(id.as_bytes().to_vec())
            .execute(&mut *connection)
            .await?;
        if held.rows_affected() != 1 {
            return Err(EngineError::Lost);
        }
        sqlx::query("INSERT INTO media_refs (conversation, sequence, media) VALUES (?, ?, ?)")
            .bind(append.conversation.as_bytes().to_vec())
            .bind(integer(entry.sequence.0))
            .bind(id.as_bytes().to_vec())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// These entries say nothing any more.
pub(super) async fn release(
    connection: &mut Connection,
    conversation: ConversationId,
    (from, up_to): (SequenceNumber, SequenceNumber),
    now_ms: u64,
) -> Result<(), EngineError> {
    let released: Vec<(Vec<u8>, i64)> = sqlx::query_as(
        "SELECT media, COUNT(*) FROM media_refs \
         WHERE conversation = ? AND sequence >= ? AND sequence <= ? GROUP BY media",
    )
    .bind(conversation.as_bytes().to_vec())
    .bind(integer(from.0))
    .bind(integer(up_to.0))
    .fetch_all(&mut *connection)
    .await?;
    if released.is_empty() {
        return Ok(());
    }
    for (media, count) in released {
        sqlx::query("UPDATE media SET refs = refs - ?, changed_at_ms = ? WHERE media = ?")
            .bind(count)
            .bind(integer(now_ms))
            .bind(media)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query(
        "DELETE FROM media_refs WHERE conversation = ? AND sequence >= ? AND sequence <= ?",
    )
    .bind(conversation.as_bytes().to_vec())
    .bind(integer(from.0))
    .bind(integer(up_to.0))
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// One media.
pub(super) async fn find(
    connection: &mut Connection,
    id: MediaId,
) -> Result<Option<Record>, EngineError> {
    let found: Option<Row> = sqlx::query_as(
        "SELECT media, owner, bytes, sha256, media_type, name, state, refs, changed_at_ms \
         FROM media WHERE media = ?",
    )
    .bind(id.as_bytes().to_vec())
    .fetch_optional(connection)
    .await?;
    found.map(of_row).transpose()
}

/// A page of an account's, and the bytes of all that it has.
pub(super) async fn list(
    connection: &mut Connection,
    owner: AccountId,
    after: &[u8],
    limit: u32,
) -> Result<(Vec<MediaItem>, u64), EngineError> {
    let found: Vec<Row> = sqlx::query_as(
        "SELECT media, owner, bytes, sha256, media_type, name, state, refs, changed_at_ms \
         FROM media WHERE owner = ? AND media > ? ORDER BY media LIMIT ?",
    )
    .bind(integer(owner.0))
    .bind(after.to_vec())
    .bind(limit)
    .fetch_all(&mut *connection)
    .await?;
    let used: Option<i64> = sqlx::query_scalar("SELECT bytes FROM media_usage WHERE owner = ?")
        .bind(integer(owner.0))
        .fetch_optional(connection)
        .await?;
    let items = found.into_iter().map(|row| of_row(row).map(|it| it.item));
    Ok((items.collect::<Result<_, _>>()?, number(used.unwrap_or(0))))
}

fn of_row(row: Row) -> Result<Record, EngineError> {
    let (media, owner, bytes, sha256, media_type, name, state, refs, changed_at) = row;
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes).map_err(|_| EngineError::Damaged("the words of a media"))
    };
    let state = i32::try_from(state).unwrap_or_default();
    Ok(Record {
        owner: AccountId(number(owner)),
        item: MediaItem {
            media_id: id(&media)?.to_bytes(),
            bytes: number(bytes),
            sha256: sha256.into(),
            media_type: text(media_type)?,
            name: text(name)?,
            state,
            messages: number(refs),
            changed_at_ms: number(changed_at),
        },
    })
}

fn id(bytes: &[u8]) -> Result<MediaId, EngineError> {
    MediaId::from_slice(bytes).map_err(|_| EngineError::Damaged("the id of a media"))
}
