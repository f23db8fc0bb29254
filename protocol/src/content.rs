//! What a message says, as a typed value with its kind.

use bytes::Bytes;
use prost::Message;

use crate::error::Refusal;
use crate::wire::{self, EntryKind};

pub use crate::wire::content::Content;

/// The kind that `Send.kind` and `Entry.kind` have for this content.
#[must_use]
pub const fn kind_of(content: &Content) -> EntryKind {
    match content {
        Content::Text(_) => EntryKind::Text,
        Content::Data(_) => EntryKind::Data,
        Content::Instruction(_) => EntryKind::Instruction,
        Content::Plan(_) => EntryKind::Plan,
        Content::Command(_) => EntryKind::Command,
        Content::StepUpdate(_) => EntryKind::StepUpdate,
        Content::Summary(_) => EntryKind::Summary,
        Content::Membership(_) => EntryKind::Membership,
    }
}

/// The bytes of `Send.content`.
#[must_use]
pub fn encode(content: Content) -> Bytes {
    wire::Content {
        content: Some(content),
    }
    .encode_to_vec()
    .into()
}

/// Parses `Entry.content`. A case that this build does not know is a refusal, not a panic.
pub fn decode(bytes: &[u8]) -> Result<Content, Refusal> {
    crate::error::decode_body::<wire::Content>(bytes)?
        .content
        .ok_or_else(|| Refusal::bad_request("content: empty, or of a kind not known here"))
}

/// A text.
pub fn text(text: impl Into<String>) -> Content {
    Content::Text(wire::Text { text: text.into() })
}

/// An instruction.
pub fn instruction(text: impl Into<String>) -> Content {
    Content::Instruction(wire::Instruction { text: text.into() })
}
