//! Emergency stops: methods 125 to 127 of `internal.proto`.
//!
//! A stop is latched before its entry is appended, and a release is written before its own; each is
//! done once, so that whoever crashes in between does both again.

use bytes::Bytes;
use protocol::content::{self, Emergency};
use protocol::estop::{self, Release, Stop};
use protocol::limits::{ESTOP_MISSING_PER_PAGE_MAX, ESTOPS_MAX, ESTOPS_PER_FRAME_MAX};
use protocol::wire::internal;
use protocol::{AccountId, ErrorCode, Refusal};
use service_kit::{clock, rpc};

use super::groups::parse;
use super::{bounded, failed};
use crate::engine::{Chore, Readers};
use crate::events;
use crate::shard::Append;
use crate::writer::{Stored, Writer};

/// Latches a stop or releases stops, and then appends the entry.
pub(super) async fn write(writer: &Writer, write: internal::EstopWrite) -> Result<Bytes, Refusal> {
    let append = write
        .append
        .ok_or_else(|| Refusal::bad_request("append: missing"))?;
    let append = parse(append)?;
    let chore = chore(&append, write.sent_at_ms)?;
    let is_stop = matches!(chore, Chore::Latch(_));
    let now_ms = clock::unix_ms();
    writer.chore(chore).await?;
    events::estop_written(append.message_id, append.sender, is_stop);
    let stored = match writer.append(append).await {
        // Whoever is no longer in the group was when it stopped it, and it stays stopped.
        Err(refusal) if is_stop && is_gone(&refusal) => Stored {
            sequence: protocol::SequenceNumber::ZERO,
            committed_at_ms: now_ms,
            duplicate: false,
        },
        stored => stored?,
    };
    Ok(rpc::encode(&internal::Appended {
        sequence: stored.sequence.0,
        committed_at_ms: stored.committed_at_ms,
        duplicate: stored.duplicate,
    }))
}

/// The sender is not in the group any more, or the group is no more.
const fn is_gone(refusal: &Refusal) -> bool {
    matches!(
        refusal.code,
        ErrorCode::NotAMember | ErrorCode::GroupDissolved
    )
}

fn chore(append: &Append, sent_at_ms: u64) -> Result<Chore, Refusal> {
    match content::emergency(content::decode(&append.content)?) {
        Some(Emergency::Stop(stop)) => Ok(Chore::Latch(Stop {
            id: append.message_id,
            conversation: append.conversation,
            fleet: stop.fleet,
            sender: append.sender,
            reason: stop.reason,
            sent_at_ms,
            stored: true,
            release: None,
        })),
        Some(Emergency::Release(release)) => Ok(Chore::Release {
            stops: estop::ids(&release.stop_ids)?.into_iter().collect(),
            conversation: append.conversation,
            release: Release {
                at_ms: clock::unix_ms(),
                by: append.sender,
                reason: release.reason,
            },
        }),
        None => Err(Refusal::bad_request("content: neither stops nor releases")),
    }
}

/// Those in force and those released last, or those that are asked for.
pub(super) async fn list(
    readers: &impl Readers,
    asked: &internal::ListEstopRecords,
) -> Result<Bytes, Refusal> {
    let limit = u32::try_from(ESTOPS_MAX).unwrap_or(u32::MAX);
    let stops = if asked.stop_ids.is_empty() {
        readers.estops(limit + 1).await
    } else {
        let ids: Vec<_> = estop::ids(&asked.stop_ids)?.into_iter().collect();
        debug_assert!(ids.len() <= ESTOPS_PER_FRAME_MAX);
        readers.estops_of(&ids).await
    };
    let stops = stops.map_err(failed)?;
    let in_force = stops.iter().filter(|stop| stop.is_in_force()).count();
    Ok(rpc::encode(&internal::EstopList {
        more: in_force > ESTOPS_MAX,
        stops: stops.iter().map(Stop::to_wire).collect(),
    }))
}

/// A page of the fleet's robots.
pub(super) async fn robots(
    readers: &impl Readers,
    asked: &internal::EstopTargets,
) -> Result<Bytes, Refusal> {
    let limit = bounded(asked.limit, ESTOP_MISSING_PER_PAGE_MAX);
    let after = AccountId(asked.after_account_id);
    let found = readers.robots(after, limit + 1).await;
    let mut members = found.map_err(failed)?;
    let more = members.len() > limit as usize;
    members.truncate(limit as usize);
    Ok(rpc::encode(&internal::MembersPage {
        members,
        more,
        ..internal::MembersPage::default()
    }))
}
