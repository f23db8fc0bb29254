//! What a message says, as a typed value with its kind.

use bytes::Bytes;
use prost::Message;

use crate::error::Refusal;
use crate::id::{AccountId, SequenceNumber};
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
        Content::Recall(_) => EntryKind::Recall,
        Content::Edit(_) => EntryKind::Edit,
        Content::Group(_) => EntryKind::Group,
        Content::Media(_) => EntryKind::Media,
        Content::Pose(_) => EntryKind::Pose,
        Content::Estop(_) => EntryKind::Estop,
        Content::EstopRelease(_) => EntryKind::EstopRelease,
    }
}

/// What a message refers to beside what it says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct References {
    /// Accounts that it is meant for in particular.
    pub mentions: Vec<AccountId>,
    /// The entry of the same conversation that it answers.
    pub reply_to: Option<SequenceNumber>,
}

/// The bytes of `Send.content`, of a message that refers to nothing.
#[must_use]
pub fn encode(content: Content) -> Bytes {
    encode_with(content, &References::default())
}

/// The bytes of `Send.content`.
#[must_use]
pub fn encode_with(content: Content, refers: &References) -> Bytes {
    wire::Content {
        content: Some(content),
        mentions: refers.mentions.iter().map(|account| account.0).collect(),
        reply_to: refers.reply_to.map_or(0, |entry| entry.0),
    }
    .encode_to_vec()
    .into()
}

/// Parses `Entry.content`. A case that this build does not know is a refusal, not a panic.
pub fn decode(bytes: &[u8]) -> Result<Content, Refusal> {
    decode_with(bytes).map(|(content, _)| content)
}

/// The same with what it refers to.
pub fn decode_with(bytes: &[u8]) -> Result<(Content, References), Refusal> {
    let whole = crate::error::decode_body::<wire::Content>(bytes)?;
    let said = whole
        .content
        .ok_or_else(|| Refusal::bad_request("content: empty, or of a kind not known here"))?;
    let refers = References {
        mentions: whole.mentions.into_iter().map(AccountId).collect(),
        reply_to: (whole.reply_to != 0).then_some(SequenceNumber(whole.reply_to)),
    };
    Ok((said, refers))
}

/// A text.
pub fn text(text: impl Into<String>) -> Content {
    Content::Text(wire::Text { text: text.into() })
}

/// Takes an entry back.
#[must_use]
pub const fn recall(target: SequenceNumber) -> Content {
    Content::Recall(wire::Recall {
        target_sequence: target.0,
    })
}

/// Says an entry anew; `None`: this content cannot take an entry's place.
#[must_use]
pub fn edit(target: SequenceNumber, content: Content) -> Option<Content> {
    let content = match content {
        Content::Text(text) => wire::edit::Content::Text(text),
        Content::Data(data) => wire::edit::Content::Data(data),
        Content::Instruction(_)
        | Content::Plan(_)
        | Content::Command(_)
        | Content::StepUpdate(_)
        | Content::Summary(_)
        | Content::Membership(_)
        | Content::Recall(_)
        | Content::Edit(_)
        | Content::Group(_)
        | Content::Media(_)
        | Content::Pose(_)
        | Content::Estop(_)
        | Content::EstopRelease(_) => return None,
    };
    Some(Content::Edit(wire::Edit {
        target_sequence: target.0,
        content: Some(content),
    }))
}

/// What an edit says; `None`: something that this build does not know.
#[must_use]
pub fn edited(edit: &wire::Edit) -> Option<Content> {
    Some(match edit.content.clone()? {
        wire::edit::Content::Text(text) => Content::Text(text),
        wire::edit::Content::Data(data) => Content::Data(data),
    })
}

/// What is said in an emergency.
#[derive(Debug, Clone, PartialEq)]
pub enum Emergency {
    /// Stop.
    Stop(wire::Estop),
    /// Go on.
    Release(wire::EstopRelease),
}

/// What an entry says of emergency stops, if it is one or its release.
#[must_use]
pub fn emergency(content: Content) -> Option<Emergency> {
    match content {
        Content::Estop(stop) => Some(Emergency::Stop(stop)),
        Content::EstopRelease(release) => Some(Emergency::Release(release)),
        Content::Text(_)
        | Content::Data(_)
        | Content::Instruction(_)
        | Content::Plan(_)
        | Content::Command(_)
        | Content::StepUpdate(_)
        | Content::Summary(_)
        | Content::Membership(_)
        | Content::Recall(_)
        | Content::Edit(_)
        | Content::Group(_)
        | Content::Media(_)
        | Content::Pose(_) => None,
    }
}

/// An instruction.
pub fn instruction(text: impl Into<String>) -> Content {
    Content::Instruction(wire::Instruction { text: text.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_refers_to_comes_back_and_costs_nothing_when_there_is_nothing() {
        let refers = References {
            mentions: vec![AccountId(7), AccountId(9)],
            reply_to: Some(SequenceNumber(3)),
        };
        let bytes = encode_with(text("看这里"), &refers);
        assert_eq!(decode_with(&bytes).unwrap(), (text("看这里"), refers));
        assert_eq!(decode(&bytes).unwrap(), text("看这里"));
        let plain = encode(text("看这里"));
        assert_eq!(plain.len(), 2 + 2 + "看这里".len());
        assert_eq!(decode_with(&plain).unwrap().1, References::default());
    }
}
