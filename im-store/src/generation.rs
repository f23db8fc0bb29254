//! The generation of the history, and what becomes of what is said of another one: a backup was
//! restored since. Pure. Not here: what a generation is kept as.

use protocol::wire::{Membership, internal};
use protocol::{AccountId, ConversationId, ErrorCode, Refusal};

use crate::engine::RaisedMark;
use crate::events;

/// Names a history. A restore makes another one, while no store is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(pub u64);

impl Generation {
    /// Whether what is said of this history (0: of whichever there is) is true of ours.
    pub(crate) const fn is(self, said: u64) -> bool {
        said == 0 || said == self.0
    }

    pub(crate) fn check(self, said: u64) -> Result<(), Refusal> {
        if self.is(said) {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::OtherHistory,
            "a backup was restored since: connect again",
        ))
    }

    /// Those of another history would say that its entries had been had of this one.
    pub(crate) fn marks(self, marks: internal::AccountMarks) -> Result<Vec<RaisedMark>, Refusal> {
        let (ours, others): (Vec<_>, Vec<_>) = marks
            .marks
            .into_iter()
            .partition(|mark| self.is(mark.history_generation));
        events::marks_of_another_history(others.len());
        ours.into_iter()
            .map(|of| {
                let mark = of.mark.unwrap_or_default();
                Ok(RaisedMark {
                    conversation: ConversationId::from_slice(&mark.conversation_id)?,
                    account: AccountId(of.account_id),
                    delivered: mark.delivered,
                    read: mark.read,
                })
            })
            .collect()
    }
}

/// Says where the history of a client parted from this one, given the heads up to which they are
/// one. Of a history that this one does not come from nothing is known: its client is where the
/// store's own marks are.
pub(crate) fn part(memberships: &mut [Membership], heads: Option<Vec<u64>>) {
    match heads {
        Some(heads) => memberships
            .iter_mut()
            .zip(heads)
            .for_each(|(membership, head)| membership.parted_at = head),
        None => memberships
            .iter_mut()
            .for_each(|membership| membership.parted_at = membership.delivered),
    }
}
