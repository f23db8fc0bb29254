//! Recalls and edits: entries that change an earlier one of the same sender.
//!
//! Pure. What a recall does to the content of its target is the engine's work, in the transaction
//! that stores the recall. Only words can be taken back (a text, data, a media, an edit): the records
//! of a mission are its whole state, and a command that was carried out is not undone by forgetting
//! it.

use protocol::wire::EntryKind;
use protocol::{AccountId, ConversationId, ErrorCode, Refusal, SequenceNumber};

use super::Append;

/// Where the entry is that another is about.
pub type TargetKey = (ConversationId, SequenceNumber);

/// That entry as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Who sent it.
    pub sender: AccountId,
    /// What it is.
    pub kind: EntryKind,
}

/// Whether this recall or edit may change its target.
pub(super) fn check(append: &Append, target: Option<&Target>) -> Result<(), Refusal> {
    let Some(target) = target else {
        let why = "target_sequence: there is no such entry, or no longer";
        return Err(Refusal::new(ErrorCode::NoSuchEntry, why));
    };
    if target.kind == EntryKind::Recalled {
        let why = "target_sequence: the entry was recalled";
        return Err(Refusal::new(ErrorCode::NoSuchEntry, why));
    }
    if target.sender != append.sender {
        let why = "target_sequence: only its sender may recall or edit an entry";
        return Err(Refusal::new(ErrorCode::Forbidden, why));
    }
    let is_said = matches!(target.kind, EntryKind::Text | EntryKind::Data);
    let is_taken_back = matches!(target.kind, EntryKind::Edit | EntryKind::Media);
    if is_said || (is_taken_back && append.kind == EntryKind::Recall) {
        return Ok(());
    }
    let why = format!(
        "target_sequence: a {} takes no {}",
        target.kind.as_str_name(),
        append.kind.as_str_name()
    );
    Err(Refusal::new(ErrorCode::Forbidden, why))
}
