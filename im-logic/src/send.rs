//! May this sender send this into this conversation?
//!
//! Pure, and all of it: [`Outgoing::parse`] refuses what makes no sense whoever sends it,
//! [`decide`] what this sender may not send here. Not here: finding out who is a member
//! ([`crate::members`]), and sending ([`crate::dispatch`]).
//!
//! Whether a message that is *stored* comes from a member of its group, and in time, is the store's
//! to say, in the transaction that would store it: the message may be a repeat of one that was
//! stored long ago, and then "not stored" would be a lie. So most messages pass through here
//! without any question. Which roles may do what is the table's to say ([`crate::permission`]).

mod kinds;

use bytes::Bytes;
use protocol::content::{self, Content, References};
use protocol::id::ConversationKind;
use protocol::limits::{CONTENT_BYTES_MAX, EPHEMERAL_KEY_BYTES_MAX};
use protocol::wire::{self, AccountKind, EntryKind, Priority, Role};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal, SequenceNumber};

use crate::content::words_of;
use crate::permission::{self, Action};

/// A message that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub conversation: ConversationId,
    /// Whether it is stored.
    pub keeping: Keeping,
    /// What it is; the content is of this kind.
    pub kind: EntryKind,
    /// The encoded content.
    pub content: Bytes,
    /// Its lane.
    pub priority: Priority,
    /// Not handed over after this, in Unix milliseconds; 0: no deadline.
    pub deliver_before_ms: u64,
    /// Of a recall or an edit: the entry that it is about. The store knows whether it may.
    pub target: Option<SequenceNumber>,
    /// The words that people read in it, until the rules of the fleet have seen them.
    pub words: Option<String>,
    /// What its sender said, if the rules have masked it.
    pub original: Option<Bytes>,
    /// What the rules refuse it with: for good if it is not kept, else if it is new to the store.
    pub refusal: Option<Refusal>,
    /// The entry that it answers. The store knows whether it is there.
    pub reply_to: Option<SequenceNumber>,
}

/// Whether a message is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeping {
    /// An entry of the log.
    Stored(ClientMessageId),
    /// Passed on and forgotten; the newest of a key counts.
    Ephemeral {
        /// The key.
        key: String,
    },
}

/// What is known of a sender in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Of which kind it is, if that is known.
    pub kind: Option<AccountKind>,
    /// Whether it is a member.
    pub membership: Membership,
}

/// Whether somebody is a member of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// Not known here, or not lately enough.
    Unknown,
    /// Yes, and as this, by the store's word of a moment ago.
    Member(Role),
    /// No, by the store's word of just now. Never remembered: it may join at any moment.
    Stranger,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent.
    Allow,
    /// It is not, finally.
    Refuse(Refusal),
    /// Ask the store for the sender's standing, and decide again.
    NeedStanding,
}

/// Decides what becomes of a message.
#[must_use]
pub fn decide(message: &Outgoing, sender: AccountId, standing: Standing, now_ms: u64) -> Verdict {
    let conversation = message.conversation;
    let is_pair = matches!(conversation.kind(), ConversationKind::Pair(..));
    if is_pair && !conversation.is_pair_of(sender) {
        return Verdict::Refuse(not_a_member(sender, conversation));
    }
    if message.priority == Priority::Emergency {
        let Some(kind) = standing.kind else {
            return Verdict::NeedStanding;
        };
        if let Err(refusal) = permission::check_kind(Action::SendEmergency, kind) {
            return Verdict::Refuse(refusal);
        }
    }
    match &message.keeping {
        // The store has the last word on a group. A pair is new to it until its first entry, so
        // whether both accounts exist is found out here.
        Keeping::Stored(_) if !is_pair => return Verdict::Allow,
        Keeping::Stored(_) => {}
        // Nobody checks it again.
        Keeping::Ephemeral { .. } if message.refusal.is_some() => {
            return message
                .refusal
                .clone()
                .map_or(Verdict::Allow, Verdict::Refuse);
        }
        Keeping::Ephemeral { .. } if message.is_late(now_ms) => return Verdict::Refuse(late()),
        Keeping::Ephemeral { .. } => {}
    }
    match standing.membership {
        Membership::Member(role) if permission::senders().has(role) => Verdict::Allow,
        Membership::Member(_) => Verdict::Refuse(permission::forbidden(Action::SendMessage)),
        Membership::Stranger => Verdict::Refuse(not_a_member(sender, conversation)),
        Membership::Unknown => Verdict::NeedStanding,
    }
}

fn late() -> Refusal {
    Refusal::new(
        ErrorCode::Expired,
        "deliver_before_ms has passed; nothing was sent",
    )
}

/// The refusal of somebody who is not a member.
#[must_use]
pub fn not_a_member(account: AccountId, conversation: ConversationId) -> Refusal {
    Refusal::new(
        ErrorCode::NotAMember,
        format!("{account} is not a member of {conversation}"),
    )
}

impl Outgoing {
    /// From the wire.
    ///
    /// # Errors
    /// The field that makes no sense, and why.
    pub fn parse(send: wire::Send) -> Result<Self, Refusal> {
        let conversation = ConversationId::from_slice(&send.conversation_id)?;
        let keeping = if send.ephemeral_key.is_empty() {
            Keeping::Stored(ClientMessageId::from_slice(&send.client_message_id)?)
        } else {
            Keeping::Ephemeral {
                key: ephemeral_key(send.ephemeral_key)?,
            }
        };
        let (kind, mut said, refers) = said(send.kind, &send.content)?;
        kinds::check(&said)?;
        let reply_to = kinds::references(&refers)?;
        let target = target(&said)?;
        if !matches!(keeping, Keeping::Stored(_)) {
            if target.is_some() {
                let why = "ephemeral_key: what is not kept takes nothing back";
                return Err(Refusal::bad_request(why));
            }
            if reply_to.is_some() {
                let why = "reply_to: what is not kept answers no entry";
                return Err(Refusal::bad_request(why));
            }
        }
        Ok(Self {
            conversation,
            keeping,
            kind,
            target,
            reply_to,
            priority: priority(send.priority)?,
            content: send.content,
            deliver_before_ms: send.deliver_before_ms,
            words: words_of(&mut said).map(std::mem::take),
            original: None,
            refusal: None,
        })
    }

    const fn is_late(&self, now_ms: u64) -> bool {
        self.deliver_before_ms != 0 && self.deliver_before_ms <= now_ms
    }
}

fn ephemeral_key(key: String) -> Result<String, Refusal> {
    if key.len() > EPHEMERAL_KEY_BYTES_MAX {
        return Err(Refusal::bad_request(format!(
            "ephemeral_key: {} bytes, and at most {EPHEMERAL_KEY_BYTES_MAX} are allowed",
            key.len()
        )));
    }
    if key.chars().any(char::is_control) {
        return Err(Refusal::bad_request(
            "ephemeral_key: has control characters",
        ));
    }
    Ok(key)
}

/// The entry that this is about, if it changes one.
fn target(said: &Content) -> Result<Option<SequenceNumber>, Refusal> {
    let target = match said {
        Content::Recall(recall) => recall.target_sequence,
        Content::Edit(edit) if edit.content.is_none() => {
            return Err(Refusal::bad_request("edit: says nothing"));
        }
        Content::Edit(edit) => edit.target_sequence,
        Content::Text(_)
        | Content::Data(_)
        | Content::Instruction(_)
        | Content::Plan(_)
        | Content::Command(_)
        | Content::StepUpdate(_)
        | Content::Summary(_)
        | Content::Membership(_)
        | Content::Group(_)
        | Content::Media(_)
        | Content::Pose(_)
        | Content::Estop(_)
        | Content::EstopRelease(_) => return Ok(None),
    };
    if target == 0 {
        return Err(Refusal::bad_request("target_sequence: missing"));
    }
    Ok(Some(SequenceNumber(target)))
}

/// What is said, and its kind, which is one that clients may send.
fn said(kind: i32, content: &[u8]) -> Result<(EntryKind, Content, References), Refusal> {
    if content.len() > CONTENT_BYTES_MAX {
        return Err(Refusal::new(
            ErrorCode::ContentTooLong,
            format!(
                "content: {} bytes, and at most {CONTENT_BYTES_MAX} are allowed",
                content.len()
            ),
        ));
    }
    let kind = EntryKind::try_from(kind)
        .map_err(|_| Refusal::bad_request(format!("kind: {kind} is not known here")))?;
    match kind {
        EntryKind::Text
        | EntryKind::Data
        | EntryKind::Instruction
        | EntryKind::Plan
        | EntryKind::Command
        | EntryKind::StepUpdate
        | EntryKind::Summary
        | EntryKind::Recall
        | EntryKind::Edit
        | EntryKind::Media
        | EntryKind::Pose => {}
        EntryKind::Estop | EntryKind::EstopRelease => {
            let why = "kind: an emergency stop travels in a frame of kind 56";
            return Err(Refusal::bad_request(why));
        }
        EntryKind::Unspecified => return Err(Refusal::bad_request("kind: missing")),
        EntryKind::Membership | EntryKind::Placeholder | EntryKind::Recalled | EntryKind::Group => {
            let why = format!("kind: only the server writes {}", kind.as_str_name());
            return Err(Refusal::new(ErrorCode::Forbidden, why));
        }
    }
    let (said, refers) = content::decode_with(content)
        .map_err(|refusal| Refusal::bad_request(format!("content: {}", refusal.message)))?;
    let actual = content::kind_of(&said);
    if actual == kind {
        return Ok((kind, said, refers));
    }
    Err(Refusal::bad_request(format!(
        "kind: {}, but the content is {}",
        kind.as_str_name(),
        actual.as_str_name()
    )))
}

fn priority(priority: i32) -> Result<Priority, Refusal> {
    match Priority::try_from(priority) {
        Ok(Priority::Unspecified) => Ok(Priority::Chat),
        Ok(known) => Ok(known),
        Err(_) => Err(Refusal::bad_request(format!(
            "priority: {priority} is not known here"
        ))),
    }
}

#[cfg(test)]
mod tests;
