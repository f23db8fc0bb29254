//! An append from the wire, with what it changes of a group.

use protocol::role::or_member;
use protocol::wire::{self, EntryKind, internal};
use protocol::{AccountId, ClientMessageId, ConversationId, Refusal, Rights, SequenceNumber};

use crate::shard::{Append, GroupChange, MemberChange, Ruled};

/// From the wire.
pub(super) fn parse(append: internal::Append) -> Result<Append, Refusal> {
    let kind = EntryKind::try_from(append.kind)
        .map_err(|_| Refusal::bad_request(format!("kind: {} is unknown", append.kind)))?;
    let mut changes: Vec<_> = append.changes.iter().map(change).collect();
    changes.extend(append.roles.iter().map(becomes));
    Ok(Append {
        conversation: ConversationId::from_slice(&append.conversation_id)?,
        sender: AccountId(append.sender),
        message_id: ClientMessageId::from_slice(&append.client_message_id)?,
        kind,
        priority: append.priority(),
        deliver_before_ms: append.deliver_before_ms,
        rights: Rights::from_wire(append.sender_roles, &append.over_roles, &append.given_roles),
        changes,
        group: append.group.map(regroups),
        reply_to: (append.reply_to != 0).then_some(SequenceNumber(append.reply_to)),
        target: (append.target_sequence != 0).then_some(SequenceNumber(append.target_sequence)),
        content: append.content,
        ruled: Ruled {
            original: (!append.original.is_empty()).then_some(append.original),
            refusal: append.refusal.map(Refusal::from_wire),
        },
    })
}

/// One who joins or leaves.
pub(super) fn change(change: &wire::MemberChange) -> MemberChange {
    let account = AccountId(change.account_id);
    if change.joined {
        MemberChange::Joins(account, or_member(change.role()))
    } else {
        MemberChange::Leaves(account)
    }
}

fn becomes(change: &wire::RoleChange) -> MemberChange {
    MemberChange::Becomes(AccountId(change.account_id), or_member(change.role()))
}

fn regroups(change: wire::GroupChange) -> GroupChange {
    let set = change.set.into_iter().map(|its| (its.key, its.value));
    GroupChange {
        name: (!change.name.is_empty()).then_some(change.name),
        set: set.collect(),
        unset: change.unset,
        dissolves: change.dissolved,
    }
}
