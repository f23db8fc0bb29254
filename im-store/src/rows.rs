//! Rows as both engines select them, and what they mean. Pure: tuples go in, our types come out.
//! Not here: SQL, and columns whose type differs between the engines.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message as _;
use protocol::estop::{Release, Stop};
use protocol::wire::{
    Attribute, Entry, EntryKind, GroupDescription, Head, MemberMarks, Membership, Role, internal,
};
use protocol::{AccountId, ConversationId, ErrorCode, Refusal, SequenceNumber};

use crate::engine::{Described, EngineError, conversation_id, integer, message_id, number};
use crate::read::{Span, Stay};
use crate::retention::{Kept, Log};
use crate::shard::{Attributes, Target, TargetKey};

/// head, trimmed, history_open.
pub(crate) type HeadRow = (i64, i64, bool);

/// joined, left.
pub(crate) type StayRow = (i64, Option<i64>);

/// sequence, sender, message_id, kind, content, priority, deliver_before_ms, committed_at_ms.
pub(crate) type EntryRow = (i64, i64, Vec<u8>, i32, Vec<u8>, i32, i64, i64);

/// id, name, head, trimmed, joined, history_open, delivered, read, role.
pub(crate) type MembershipRow = (
    Vec<u8>,
    String,
    i64,
    i64,
    i64,
    bool,
    Option<i64>,
    Option<i64>,
    i32,
);

/// name, attributes, history_open, created_at_ms, head, membership, dissolved.
pub(crate) type GroupRow = (String, Option<Vec<u8>>, bool, i64, i64, i64, i64);

/// All members, the owners, the admins, the observers of them, and the role of the asker.
pub(crate) type RolesRow = (i64, i64, i64, i64, Option<i32>);

/// conversation, sequence, sender, kind.
pub(crate) type TargetRow = (Vec<u8>, i64, i64, i32);

/// id, head, trimmed, bytes.
pub(crate) type LogRow = (Vec<u8>, i64, i64, i64);

/// account, delivered, read.
pub(crate) type MarksRow = (i64, i64, i64);

/// stop, conversation, fleet, sender, reason, sent_at_ms, released_at_ms, released_by,
/// release_reason.
pub(crate) type StopRow = (Vec<u8>, Vec<u8>, i64, i64, Vec<u8>, i64, i64, i64, Vec<u8>);

/// The columns of a stop.
macro_rules! stop_columns {
    () => {
        "stop, conversation, fleet, sender, reason, sent_at_ms, released_at_ms, released_by, \
         release_reason"
    };
}

/// Those in force.
pub(crate) const STOPS_IN_FORCE: &str = concat!(
    "SELECT ",
    stop_columns!(),
    " FROM estops WHERE released_at_ms = 0 ORDER BY stop LIMIT ?"
);

/// Those that were released last.
pub(crate) const STOPS_RELEASED: &str = concat!(
    "SELECT ",
    stop_columns!(),
    " FROM estops WHERE released_at_ms > 0 ORDER BY released_at_ms DESC LIMIT ?"
);

/// One.
pub(crate) const STOP: &str = concat!("SELECT ", stop_columns!(), " FROM estops WHERE stop = ?");

/// A new one: stop, conversation, fleet, sender, reason, sent_at_ms, stored_at_ms, released_at_ms,
/// released_by, release_reason.
pub(crate) const NEW_STOP: &str = "INSERT INTO estops (stop, conversation, fleet, sender, reason, \
     sent_at_ms, stored_at_ms, released_at_ms, released_by, release_reason) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// The end of one.
pub(crate) const END_STOP: &str = "UPDATE estops SET released_at_ms = ?, released_by = ?, \
     release_reason = ? WHERE stop = ? AND released_at_ms = 0";

/// The robots of the fleet.
pub(crate) const ROBOTS: &str = "SELECT account, kind, name, NULL FROM accounts \
     WHERE kind = ? AND account > ? ORDER BY account LIMIT ?";

pub(crate) fn stop(row: StopRow) -> Result<Stop, EngineError> {
    let (id, conversation, fleet, sender, reason, sent_at, released_at, by, why) = row;
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes).map_err(|_| EngineError::Damaged("why somebody stopped"))
    };
    Ok(Stop {
        id: message_id(&id)?,
        conversation: conversation_id(&conversation)?,
        fleet: fleet != 0,
        sender: AccountId(number(sender)),
        reason: text(reason)?,
        sent_at_ms: number(sent_at),
        stored: true,
        release: match released_at {
            0 => None,
            at => Some(Release {
                at_ms: number(at),
                by: AccountId(number(by)),
                reason: text(why)?,
            }),
        },
    })
}

/// Whether this stop may be latched beside the one of its id that is there.
pub(crate) fn is_same_stop(known: &Stop, new: &Stop) -> bool {
    // Account 0: it was released before anybody knew it.
    known.sender == AccountId(0) || (known.sender, known.scope()) == (new.sender, new.scope())
}

/// Of a stop that is there already under this id, and is another.
pub(crate) fn other_stop() -> Refusal {
    Refusal::new(
        ErrorCode::Conflict,
        "client_message_id: it is the id of another stop, or of one of another place",
    )
}

/// The numbers of a span as SQL has them: after, before.
pub(crate) const fn bounds(span: &Span) -> (i64, i64) {
    (integer(span.after.0), integer(span.before.0))
}

pub(crate) const fn sequence(integer: i64) -> SequenceNumber {
    SequenceNumber(number(integer))
}

pub(crate) fn stay((joined, left): StayRow) -> Stay {
    Stay {
        joined: sequence(joined),
        left: left.map(sequence),
    }
}

pub(crate) fn entry(conversation: ConversationId, row: EntryRow) -> Entry {
    let (sequence, sender, message_id, kind, content, priority, deliver_before, committed_at) = row;
    Entry {
        conversation_id: conversation.to_bytes(),
        sequence: number(sequence),
        sender: number(sender),
        client_message_id: message_id.into(),
        kind,
        content: content.into(),
        priority,
        deliver_before_ms: number(deliver_before),
        committed_at_ms: number(committed_at),
    }
}

/// What is before the join, or gone, is not unread.
pub(crate) fn membership(row: MembershipRow) -> Result<Membership, EngineError> {
    let (id, name, head, trimmed, joined, history_open, delivered, read, role) = row;
    let (head, trimmed, joined) = (number(head), number(trimmed), number(joined));
    let read = read.map_or(0, number);
    Ok(Membership {
        conversation_id: conversation_id(&id)?.to_bytes(),
        name,
        head,
        joined_sequence: joined,
        readable_from: if history_open { 1 } else { joined.max(1) },
        delivered: delivered.map_or(0, number),
        read,
        unread: head.saturating_sub(read.max(joined).max(trimmed)),
        role,
        parted_at: 0,
    })
}

/// A role that no build of ours writes is the least.
pub(crate) fn role(role: i32) -> Role {
    match Role::try_from(role) {
        Ok(Role::Unspecified) | Err(_) => Role::Observer,
        Ok(role) => role,
    }
}

/// The attributes of a group as they are stored.
pub(crate) fn attributes(stored: Option<&[u8]>) -> Result<Attributes, EngineError> {
    let stored = stored.map(internal::Attributes::decode).transpose();
    let stored = stored.map_err(|_| EngineError::Damaged("the attributes of a group"))?;
    let attributes = stored.unwrap_or_default().attributes.into_iter();
    Ok(attributes.map(|its| (its.key, its.value)).collect())
}

/// And to be stored.
pub(crate) fn stored_attributes(attributes: &Attributes) -> Option<Vec<u8>> {
    let stored = internal::Attributes {
        attributes: wire_attributes(attributes),
    };
    (!attributes.is_empty()).then(|| stored.encode_to_vec())
}

fn wire_attributes(attributes: &Attributes) -> Vec<Attribute> {
    let attribute = |(key, value): (&String, &String)| Attribute {
        key: key.clone(),
        value: value.clone(),
    };
    attributes.iter().map(attribute).collect()
}

/// What the asker is told of a group.
pub(crate) fn description(
    conversation: ConversationId,
    group: GroupRow,
    (members, owners, admins, observers, asker): RolesRow,
) -> Result<Described, EngineError> {
    let (name, stored, history_open, created_at_ms, head, membership, dissolved) = group;
    if dissolved != 0 {
        return Ok(Described::Dissolved);
    }
    let Some(asker) = asker else {
        return Ok(Described::ToAStranger);
    };
    let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(Described::ToAMember(Box::new(GroupDescription {
        conversation_id: conversation.to_bytes(),
        name,
        attributes: wire_attributes(&attributes(stored.as_deref())?),
        history_open,
        created_at_ms: number(created_at_ms),
        head: number(head),
        membership_sequence: number(membership),
        members: count(members),
        owners: count(owners),
        admins: count(admins),
        observers: count(observers),
        role: role(asker).into(),
    })))
}

pub(crate) fn target(row: TargetRow) -> Result<(TargetKey, Target), EngineError> {
    let (conversation, at, sender, kind) = row;
    let kind = EntryKind::try_from(kind).map_err(|_| EngineError::Damaged("a kind"))?;
    let sender = AccountId(number(sender));
    let key = (conversation_id(&conversation)?, sequence(at));
    Ok((key, Target { sender, kind }))
}

/// Weights that went wrong are none, rather than reason to drop everything.
pub(crate) fn log((id, head, trimmed, bytes): LogRow) -> Result<Log, EngineError> {
    Ok(Log {
        conversation: conversation_id(&id)?,
        head: sequence(head),
        trimmed: sequence(trimmed),
        bytes: u64::try_from(bytes).unwrap_or(0),
    })
}

/// From sequence, bytes, committed_at_ms.
pub(crate) fn kept((at, bytes, committed_at_ms): (i64, i64, i64)) -> Kept {
    Kept {
        sequence: sequence(at),
        bytes: number(bytes),
        committed_at_ms: number(committed_at_ms),
    }
}

pub(crate) fn marks((account, delivered, read): MarksRow) -> MemberMarks {
    MemberMarks {
        account_id: number(account),
        delivered: number(delivered),
        read: number(read),
    }
}

/// A group has at most some thousands of members.
pub(crate) fn counts((all, delivered, read): (i64, i64, i64)) -> (u32, u32, u32) {
    let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    (count(all), count(delivered), count(read))
}

pub(crate) fn head((id, head): (Vec<u8>, i64)) -> Result<Head, EngineError> {
    Ok(Head {
        conversation_id: conversation_id(&id)?.to_bytes(),
        head: number(head),
    })
}

/// A conversation, the least head that restores since a generation have of it, and how many of them
/// name it.
pub(crate) type PartedRow = (Vec<u8>, i64, i64);

/// Where each of these parted. A conversation that one of the restores does not name had no entries
/// at that restore.
pub(crate) fn parted(found: Vec<PartedRow>, restores: i64, of: &[Bytes]) -> Vec<u64> {
    let by_all = found.into_iter().filter(|(_, _, named)| *named == restores);
    let heads: HashMap<_, _> = by_all.map(|(id, head, _)| (id, number(head))).collect();
    let head = |conversation: &Bytes| heads.get(&conversation[..]).copied().unwrap_or(0);
    of.iter().map(head).collect()
}
