//! Rows as both engines select them, and what they mean. Pure: tuples go in, our types come out.
//! Not here: SQL, and columns whose type differs between the engines.

use std::collections::HashMap;

use bytes::Bytes;
use protocol::wire::{Entry, EntryKind, Head, MemberMarks, Membership};
use protocol::{AccountId, ConversationId, SequenceNumber};

use crate::engine::{EngineError, conversation_id, integer, number};
use crate::read::{Span, Stay};
use crate::retention::{Kept, Log};
use crate::shard::{Target, TargetKey};

/// head, trimmed, history_open.
pub(crate) type HeadRow = (i64, i64, bool);

/// joined, left.
pub(crate) type StayRow = (i64, Option<i64>);

/// sequence, sender, message_id, kind, content, priority, deliver_before_ms, committed_at_ms.
pub(crate) type EntryRow = (i64, i64, Vec<u8>, i32, Vec<u8>, i32, i64, i64);

/// id, name, head, trimmed, joined, history_open, delivered, read.
pub(crate) type MembershipRow = (
    Vec<u8>,
    String,
    i64,
    i64,
    i64,
    bool,
    Option<i64>,
    Option<i64>,
);

/// conversation, sequence, sender, kind.
pub(crate) type TargetRow = (Vec<u8>, i64, i64, i32);

/// id, head, trimmed, bytes.
pub(crate) type LogRow = (Vec<u8>, i64, i64, i64);

/// account, delivered, read.
pub(crate) type MarksRow = (i64, i64, i64);

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
    let (id, name, head, trimmed, joined, history_open, delivered, read) = row;
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
        parted_at: 0,
    })
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
