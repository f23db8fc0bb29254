//! Capability cards in the order in which they were written, and who is at work: methods 135 and 136
//! of `internal.proto`.

use bytes::Bytes;
use prost::Message as _;
use protocol::limits::COMMAND_TARGETS_MAX;
use protocol::wire::internal;
use protocol::{AccountId, Refusal};
use service_kit::{clock, rpc};

use super::{bounded, failed};
use crate::engine::{CardsAfter, Readers};

/// Cards in one page.
const CARDS_PER_PAGE_MAX: u32 = 256;

/// The cards of one page together, in bytes: half of what a frame between tiers holds. At least one
/// is always returned.
const CARD_PAGE_BYTES_MAX: usize = protocol::limits::INTERNAL_FRAME_BYTES_MAX / 2;

/// A page of those that were written after one.
pub(super) async fn since(
    readers: &impl Readers,
    asked: internal::CardsSince,
) -> Result<Bytes, Refusal> {
    let limit = bounded(asked.limit, CARDS_PER_PAGE_MAX);
    let after = CardsAfter {
        revision: asked.revision,
        account: AccountId(asked.account_id),
    };
    let found = readers.cards(&asked.fleet, after, limit + 1).await;
    let (mut page, mut bytes) = (internal::CardPage::default(), 0);
    for (account, revision) in found.map_err(failed)? {
        let row = internal::CardRow {
            account: Some(account),
            revision,
        };
        bytes += row.encoded_len();
        let is_full = page.cards.len() >= limit as usize || bytes > CARD_PAGE_BYTES_MAX;
        if is_full && !page.cards.is_empty() {
            page.more = true;
            break;
        }
        page.cards.push(row);
    }
    Ok(rpc::encode(&page))
}

/// Which of them have commands that are not over.
pub(super) async fn busy(
    readers: &impl Readers,
    asked: internal::BusyAmong,
) -> Result<Bytes, Refusal> {
    if asked.targets.len() > COMMAND_TARGETS_MAX {
        return Err(Refusal::bad_request("targets: too many in one question"));
    }
    let targets: Vec<_> = asked.targets.into_iter().map(AccountId).collect();
    let busy = readers.busy(&targets, clock::unix_ms()).await;
    Ok(rpc::encode(&internal::Reached {
        targets: busy.map_err(failed)?.iter().map(|robot| robot.0).collect(),
    }))
}
