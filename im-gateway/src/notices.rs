//! What the router's notices mean, as values of the gateway's own.
//!
//! Pure. Not here: what follows from them ([`crate::router_link`]).

use protocol::wire::internal::{Fanout, MembershipMoved};
use protocol::wire::{MemberChange, Membership};
use protocol::{AccountId, ConversationId, Refusal, SequenceNumber};

use crate::outbox::Push;
use crate::shared_frame::SharedFrame;
use crate::view::Move;

/// Entries, and the membership entry that they were committed under.
pub fn entries(fanout: Fanout) -> Result<(Push, SequenceNumber), Refusal> {
    let push = Push {
        conversation: ConversationId::from_slice(&fanout.conversation_id)?,
        first: SequenceNumber(fanout.first_sequence),
        last: SequenceNumber(fanout.last_sequence),
        priority: fanout.priority(),
        deliver_before_ms: fanout.deliver_before_ms,
        frame: SharedFrame::new(fanout.frame),
    };
    Ok((push, SequenceNumber(fanout.membership_sequence)))
}

/// A change of members, and the membership of those who join by it.
pub fn moved(notice: MembershipMoved) -> Result<(ConversationId, Move, Membership), Refusal> {
    let conversation = ConversationId::from_slice(&notice.conversation_id)?;
    let moved = Move {
        previous: SequenceNumber(notice.previous_membership_sequence),
        sequence: SequenceNumber(notice.membership_sequence),
        joined: accounts(&notice.changes, true),
        left: accounts(&notice.changes, false),
    };
    let sequence = notice.membership_sequence;
    let membership = Membership {
        conversation_id: notice.conversation_id,
        name: notice.name,
        head: sequence,
        joined_sequence: sequence,
        readable_from: if notice.history_open { 1 } else { sequence },
        ..Membership::default()
    };
    Ok((conversation, moved, membership))
}

fn accounts(changes: &[MemberChange], joined: bool) -> Vec<AccountId> {
    changes
        .iter()
        .filter(|change| change.joined == joined)
        .map(|change| AccountId(change.account_id))
        .collect()
}
