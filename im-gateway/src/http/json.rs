//! What travels as JSON, and what it is on the protocol's wire.
//!
//! Ids of accounts are strings, because a reader of JSON may not keep 64 bits of a number; sequence
//! numbers and times stay below 2^53.

use bytes::Bytes;
use protocol::wire::{self, Priority as WirePriority};
use protocol::{ClientMessageId, ConversationId, Refusal};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::content::Content;

/// A message to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SendBody {
    /// Where to: `g17` is a group, `p3-9` the pair of the accounts 3 and 9.
    conversation_id: String,
    /// A UUIDv7, chosen once for the message and all its repeats. Not needed with `ephemeral_key`.
    #[serde(default)]
    client_message_id: String,
    /// What is said.
    content: Content,
    /// How urgent it is.
    #[serde(default)]
    priority: Priority,
    /// After this moment the content is not handed over, in milliseconds since the Unix epoch; 0:
    /// no deadline.
    #[serde(default)]
    deliver_before_ms: u64,
    /// Not empty: the message is not stored, and only the newest of a key counts.
    #[serde(default)]
    ephemeral_key: String,
}

/// The message is stored.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SentBody {
    /// Its number in the conversation; 0: it was ephemeral.
    sequence: u64,
    /// When it was stored, in milliseconds since the Unix epoch.
    committed_at_ms: u64,
    /// It was stored before this request: this is the first answer again.
    duplicate: bool,
}

/// How urgent a message is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Priority {
    /// For operators only.
    Emergency,
    /// What a robot must do.
    Command,
    /// What is said.
    #[default]
    Chat,
    /// What is measured.
    Telemetry,
}

/// One entry of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Entry {
    /// Dense from 1.
    pub(super) sequence: u64,
    /// The sender's account; absent in a placeholder.
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<String>,
    /// The id that its sender gave it; absent in a placeholder.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_message_id: Option<String>,
    /// What it says.
    content: Content,
    /// When it was stored, in milliseconds since the Unix epoch.
    committed_at_ms: u64,
    /// How urgent it is.
    priority: Priority,
    /// As it was sent; 0: no deadline.
    deliver_before_ms: u64,
}

/// A message that is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Ephemeral {
    /// The sender's account.
    sender: String,
    /// The newest of a sender and key counts.
    key: String,
    /// What it says.
    content: Content,
    /// When it was sent, in milliseconds since the Unix epoch.
    sent_at_ms: u64,
}

/// Entries that retention has dropped: they were there, and are not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Trimmed {
    /// The first of them that was asked for.
    pub(super) from: u64,
    /// The last of them.
    pub(super) to: u64,
}

/// A page of history.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page {
    /// In rising order, without gaps.
    pub(super) entries: Vec<Entry>,
    /// The newest sequence number of the conversation. Below `after`: the server's history was
    /// restored from a backup since; begin again from here.
    pub(super) head: u64,
    /// What is missing before the entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trimmed: Option<Trimmed>,
    /// What `after` is in the request for the next page.
    pub(super) next_after: u64,
}

/// The caller's conversations.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Conversations {
    /// In the order of their ids.
    conversations: Vec<Conversation>,
    /// There are more: `after` is the last of these.
    more: bool,
}

/// One conversation of the caller.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Conversation {
    /// `g17` or `p3-9`.
    conversation_id: String,
    /// A group's name.
    name: String,
    /// The newest sequence number.
    head: u64,
    /// The first sequence number that the caller may read.
    readable_from: u64,
    /// How many entries the caller has not marked as read.
    unread: u64,
}

impl SendBody {
    /// From the text of a body.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(text).map_err(|error| Refusal::bad_request(error.to_string()))
    }

    /// The request of the protocol.
    pub(super) fn to_wire(&self) -> Result<wire::Send, Refusal> {
        let (kind, content) = self.content.to_wire()?;
        let client_message_id = match &self.client_message_id[..] {
            "" => Bytes::new(),
            text => text.parse::<ClientMessageId>()?.to_bytes(),
        };
        Ok(wire::Send {
            conversation_id: conversation(&self.conversation_id)?.to_bytes(),
            client_message_id,
            kind: kind.into(),
            content,
            priority: WirePriority::from(self.priority).into(),
            deliver_before_ms: self.deliver_before_ms,
            ephemeral_key: self.ephemeral_key.clone(),
        })
    }
}

impl From<wire::SendAck> for SentBody {
    fn from(ack: wire::SendAck) -> Self {
        Self {
            sequence: ack.sequence,
            committed_at_ms: ack.committed_at_ms,
            duplicate: ack.duplicate,
        }
    }
}

impl From<Priority> for WirePriority {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Emergency => Self::Emergency,
            Priority::Command => Self::Command,
            Priority::Chat => Self::Chat,
            Priority::Telemetry => Self::Telemetry,
        }
    }
}

impl From<WirePriority> for Priority {
    fn from(priority: WirePriority) -> Self {
        match priority {
            WirePriority::Emergency => Self::Emergency,
            WirePriority::Command => Self::Command,
            WirePriority::Chat | WirePriority::Unspecified => Self::Chat,
            WirePriority::Telemetry => Self::Telemetry,
        }
    }
}

impl From<wire::Entry> for Entry {
    fn from(entry: wire::Entry) -> Self {
        let id = ClientMessageId::from_slice(&entry.client_message_id).ok();
        Self {
            sequence: entry.sequence,
            sender: (entry.sender != 0).then(|| entry.sender.to_string()),
            client_message_id: id.map(|id| id.to_string()),
            content: Content::from_wire(entry.kind, &entry.content),
            committed_at_ms: entry.committed_at_ms,
            priority: entry.priority().into(),
            deliver_before_ms: entry.deliver_before_ms,
        }
    }
}

impl From<wire::Ephemeral> for Ephemeral {
    fn from(message: wire::Ephemeral) -> Self {
        Self {
            sender: message.sender.to_string(),
            key: message.key,
            content: Content::from_wire(message.kind, &message.content),
            sent_at_ms: message.sent_at_ms,
        }
    }
}

impl Page {
    /// What was asked for with this `after`.
    pub(super) fn of(page: wire::PullPage, after: u64) -> Self {
        let trimmed = (page.trimmed_up_to > after).then_some(Trimmed {
            from: after + 1,
            to: page.trimmed_up_to,
        });
        let last = page.entries.last().map(|entry| entry.sequence);
        Self {
            next_after: last.unwrap_or(0).max(after).max(page.trimmed_up_to),
            entries: page.entries.into_iter().map(Into::into).collect(),
            head: page.head,
            trimmed,
        }
    }
}

impl Conversations {
    /// Of a page of the protocol.
    pub(super) fn of(page: wire::ConversationPage) -> Self {
        let conversations = page.memberships.into_iter().filter_map(|its| {
            let id = ConversationId::from_slice(&its.conversation_id).ok()?;
            Some(Conversation {
                conversation_id: id.to_string(),
                name: its.name,
                head: its.head,
                readable_from: its.readable_from,
                unread: its.unread,
            })
        });
        Self {
            conversations: conversations.collect(),
            more: page.more,
        }
    }
}

/// A conversation's id as it is written.
pub(super) fn conversation(text: &str) -> Result<ConversationId, Refusal> {
    Ok(text.parse::<ConversationId>()?)
}

#[cfg(test)]
mod tests;
