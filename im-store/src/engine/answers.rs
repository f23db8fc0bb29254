//! What the readers answer with. Not here: what is made of it.

use protocol::wire::{Account, Entry, GroupDescription, MemberMarks, Role};
use protocol::{AccountId, SequenceNumber};

use crate::read::Stay;

/// What a page of history is made from.
#[derive(Debug)]
pub struct History {
    /// The entries of the span, dense and in its order, not yet veiled.
    pub entries: Vec<Entry>,
    /// The head of the conversation.
    pub head: SequenceNumber,
    /// Entries up to this one are gone by retention.
    pub trimmed: SequenceNumber,
    /// All stays of the account in it.
    pub stays: Vec<Stay>,
    /// Whether a member may read what was before it joined.
    pub history_open: bool,
}

/// Who is in a conversation, a page of it.
#[derive(Debug)]
pub struct MemberRows {
    /// By rising id, without capabilities; and what each is.
    pub members: Vec<(Account, Role)>,
    /// The newest membership entry.
    pub membership: SequenceNumber,
    /// The newest entry.
    pub head: SequenceNumber,
    /// It has been dissolved.
    pub is_dissolved: bool,
}

/// The answer to whoever asks what a group is.
#[derive(Debug)]
pub enum Described {
    /// There is no such conversation.
    Unknown,
    /// It has been dissolved.
    Dissolved,
    /// The asker is not a member.
    ToAStranger,
    /// To a member.
    ToAMember(Box<GroupDescription>),
}

/// Which entry, and who comes after whom.
#[derive(Debug, Clone, Copy)]
pub struct Lacking {
    /// The entry.
    pub sequence: SequenceNumber,
    /// Whether it is lacked as long as it is not read.
    pub read: bool,
    /// Members with a greater id.
    pub after: AccountId,
    /// At most so many.
    pub limit: u32,
}

/// Who lacks an entry.
#[derive(Debug)]
pub struct LackingRows {
    /// The head of the conversation.
    pub head: SequenceNumber,
    /// Whether the asker is a member.
    pub asker_is_member: bool,
    /// By rising id.
    pub members: Vec<MemberMarks>,
    /// How many are entitled to it, have marked it as delivered, and as read.
    pub counts: (u32, u32, u32),
}

/// A place in the order in which capability cards were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardsAfter {
    /// The revision of the last card that was read.
    pub revision: u64,
    /// Whose it is.
    pub account: AccountId,
}
