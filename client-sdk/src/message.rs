//! What travels, as the application sees it; the wire types stop here.

use std::time::Duration;

use protocol::content::{self, Content, References};
use protocol::wire::{self, AccountKind, CapabilityCard, EntryKind, Priority, Role};
use protocol::{AccountId, ClientMessageId, ConversationId, Refusal, SequenceNumber};

use crate::clock;

/// A fresh message id of this moment, as this machine's clock has it. A client that is left to
/// choose goes by the server's.
#[must_use]
pub fn new_message_id() -> ClientMessageId {
    ClientMessageId::new(clock::unix_ms(), rand::random())
}

/// A message to send.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// Where to.
    pub conversation: ConversationId,
    /// What it says.
    pub content: Content,
    /// Its id; `None`: a fresh one, of the server's time. A derived id makes a repeat after a crash the same message.
    pub client_message_id: Option<ClientMessageId>,
    /// What it may overtake on the way to its number.
    pub priority: Priority,
    /// Milliseconds since the Unix epoch after which it is no longer handed over; 0: never.
    pub deliver_before_ms: u64,
    /// How long to retry; `None`: the client's send timeout.
    pub timeout: Option<Duration>,
    /// Whom it mentions, and what it answers.
    pub refers: References,
}

impl Outgoing {
    /// A message of chat priority without a deadline.
    #[must_use]
    pub const fn new(conversation: ConversationId, content: Content) -> Self {
        Self {
            conversation,
            content,
            client_message_id: None,
            priority: Priority::Chat,
            deliver_before_ms: 0,
            timeout: None,
            refers: References {
                mentions: Vec::new(),
                reply_to: None,
            },
        }
    }

    /// Meant for these in particular, each once; at most 64.
    #[must_use]
    pub fn mentions(mut self, accounts: &[AccountId]) -> Self {
        self.refers.mentions = accounts.to_vec();
        self
    }

    /// In answer to this entry of the same conversation.
    #[must_use]
    pub const fn reply_to(mut self, entry: SequenceNumber) -> Self {
        self.refers.reply_to = Some(entry);
        self
    }

    /// With this id.
    #[must_use]
    pub const fn client_message_id(mut self, id: ClientMessageId) -> Self {
        self.client_message_id = Some(id);
        self
    }

    /// With this priority.
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Not handed over after this moment.
    #[must_use]
    pub const fn deliver_before_ms(mut self, unix_ms: u64) -> Self {
        self.deliver_before_ms = unix_ms;
        self
    }

    /// Retried for so long.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// The store's word that a message is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The message's id.
    pub client_message_id: ClientMessageId,
    /// Its place in the conversation.
    pub sequence: SequenceNumber,
    /// The server's clock at the commit, in milliseconds since the Unix epoch.
    pub committed_at_ms: u64,
    /// The id was stored before the request that this answers.
    pub duplicate: bool,
    /// How often this client sent it; with 1, a `duplicate` is the work of an earlier run.
    pub attempts: u32,
}

/// A message of a conversation, handed over once and in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The conversation.
    pub conversation: ConversationId,
    /// Its place in it.
    pub sequence: SequenceNumber,
    /// Who sent it; the client's own messages come back too.
    pub sender: AccountId,
    /// The id that the sender gave it.
    pub client_message_id: ClientMessageId,
    /// What it says.
    pub content: Content,
    /// Whom it mentions, and what it answers.
    pub refers: References,
    /// The server's clock at the commit, in milliseconds since the Unix epoch.
    pub committed_at_ms: u64,
    /// Its priority.
    pub priority: Priority,
    /// The sender's deadline; 0: none.
    pub deliver_before_ms: u64,
    /// The account's *delivered* mark covered it already: an earlier run has taken it.
    pub redelivered: bool,
    /// It was in the log before this client first connected, or before the account joined, so an
    /// earlier run may have seen it.
    pub backlog: bool,
}

/// An ephemeral message: no number, no history, and only the newest of a sender and key counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Ephemeral {
    /// The conversation.
    pub conversation: ConversationId,
    /// Who sent it.
    pub sender: AccountId,
    /// What it replaces.
    pub key: String,
    /// What it says.
    pub content: Content,
    /// The server's clock when it passed, in milliseconds since the Unix epoch.
    pub sent_at_ms: u64,
}

/// One entry of a log, as history shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The conversation.
    pub conversation: ConversationId,
    /// Its place in it.
    pub sequence: SequenceNumber,
    /// Who sent it; account 0 for what the server wrote.
    pub sender: AccountId,
    /// The id that the sender gave it; a placeholder may have none.
    pub client_message_id: Option<ClientMessageId>,
    /// What kind of entry it is.
    pub kind: EntryKind,
    /// What it says; `None` in a placeholder, in an entry that was recalled, and for content that
    /// this build does not know.
    pub content: Option<Content>,
    /// Whom it mentions, and what it answers.
    pub refers: References,
    /// The server's clock at the commit, in milliseconds since the Unix epoch.
    pub committed_at_ms: u64,
    /// Its priority.
    pub priority: Priority,
    /// The sender's deadline; 0: none.
    pub deliver_before_ms: u64,
    /// The content's length on the wire, in bytes.
    pub content_bytes: usize,
}

/// What an entry does to an earlier one of the same sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// It takes this one back.
    Recalled(SequenceNumber),
    /// It says this one anew; the original stays.
    Edited(SequenceNumber),
}

impl Relation {
    const fn of(content: &Content) -> Option<Self> {
        match content {
            Content::Recall(recall) => Some(Self::Recalled(SequenceNumber(recall.target_sequence))),
            Content::Edit(edit) => Some(Self::Edited(SequenceNumber(edit.target_sequence))),
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
            | Content::EstopRelease(_) => None,
        }
    }
}

impl Message {
    /// Whether it is meant for this account in particular.
    #[must_use]
    pub fn is_for(&self, account: AccountId) -> bool {
        self.refers.mentions.contains(&account)
    }

    /// What it does to an earlier one.
    #[must_use]
    pub const fn relation(&self) -> Option<Relation> {
        Relation::of(&self.content)
    }
}

impl Entry {
    /// What it does to an earlier one.
    #[must_use]
    pub fn relation(&self) -> Option<Relation> {
        self.content.as_ref().and_then(Relation::of)
    }

    /// From the wire.
    pub fn from_wire(entry: wire::Entry) -> Result<Self, Refusal> {
        let content_bytes = entry.content.len();
        let says = !matches!(entry.kind(), EntryKind::Placeholder | EntryKind::Recalled);
        let said = says.then(|| content::decode_with(&entry.content).ok());
        let (content, refers) = said.flatten().unzip();
        Ok(Self {
            conversation: ConversationId::from_slice(&entry.conversation_id)?,
            sequence: SequenceNumber(entry.sequence),
            sender: AccountId(entry.sender),
            client_message_id: ClientMessageId::from_slice(&entry.client_message_id).ok(),
            kind: entry.kind(),
            priority: entry.priority(),
            content,
            refers: refers.unwrap_or_default(),
            committed_at_ms: entry.committed_at_ms,
            deliver_before_ms: entry.deliver_before_ms,
            content_bytes,
        })
    }
}

/// A page of history.
#[derive(Debug, Clone, PartialEq)]
pub struct PullPage {
    /// Dense and in order.
    pub entries: Vec<Entry>,
    /// The conversation's newest number.
    pub head: SequenceNumber,
    /// Entries up to this one are gone by retention; zero: none.
    pub trimmed_up_to: SequenceNumber,
}

impl PullPage {
    /// From the wire.
    pub fn from_wire(page: wire::PullPage) -> Result<Self, Refusal> {
        Ok(Self {
            entries: page
                .entries
                .into_iter()
                .map(Entry::from_wire)
                .collect::<Result<_, _>>()?,
            head: SequenceNumber(page.head),
            trimmed_up_to: SequenceNumber(page.trimmed_up_to),
        })
    }
}

/// Some of the members who lack an entry, and how many do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LackingPage {
    /// By rising account id.
    pub members: Vec<MemberMarks>,
    /// There are more, with greater ids.
    pub more: bool,
    /// The members that are entitled to the entry, its sender among them.
    pub entitled: u32,
    /// Of these, the ones to whom it was delivered.
    pub delivered: u32,
    /// Of these, the ones who have read it.
    pub read: u32,
}

/// How far a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberMarks {
    /// Who.
    pub account: AccountId,
    /// Everything up to here was handed over.
    pub delivered: SequenceNumber,
    /// Everything up to here was read.
    pub read: SequenceNumber,
}

impl LackingPage {
    pub(crate) fn from_wire(page: wire::LackingPage) -> Self {
        let marks = |of: wire::MemberMarks| MemberMarks {
            account: AccountId(of.account_id),
            delivered: SequenceNumber(of.delivered),
            read: SequenceNumber(of.read),
        };
        Self {
            members: page.members.into_iter().map(marks).collect(),
            more: page.more,
            entitled: page.entitled,
            delivered: page.delivered,
            read: page.read,
        }
    }
}

/// An account, as others see it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Robot, operator or planner.
    pub kind: AccountKind,
    /// Unique within the fleet.
    pub name: String,
    /// What a robot can do.
    pub capabilities: Option<CapabilityCard>,
}

impl Account {
    pub(crate) fn from_wire(account: wire::Account) -> Self {
        Self {
            id: AccountId(account.account_id),
            kind: account.kind(),
            name: account.name,
            capabilities: account.capabilities,
        }
    }
}

/// A conversation that the account is in, as of a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// A group's name; empty for a pair.
    pub name: String,
    /// Its newest number.
    pub head: SequenceNumber,
    /// The first number that the account may read.
    pub readable_from: SequenceNumber,
    /// The account's *delivered* mark, as the store has it.
    pub delivered: SequenceNumber,
    /// The account's *read* mark.
    pub read: SequenceNumber,
    /// Entries after the *read* mark and the join that are still there, as of then. Every number
    /// counts: the account's own messages, changes of members, placeholders.
    pub unread: u64,
    /// What the account is in a group; [`Role::Unspecified`]: the server has not said.
    pub role: Role,
    /// Up to where an older history of the client's is this one.
    pub(crate) parted_at: SequenceNumber,
    /// The entry by which the account joined.
    pub(crate) joined: SequenceNumber,
}

impl Conversation {
    pub(crate) fn from_wire(membership: &wire::Membership) -> Result<Self, Refusal> {
        Ok(Self {
            id: ConversationId::from_slice(&membership.conversation_id)?,
            name: membership.name.clone(),
            head: SequenceNumber(membership.head),
            readable_from: SequenceNumber(membership.readable_from),
            delivered: SequenceNumber(membership.delivered),
            read: SequenceNumber(membership.read),
            unread: membership.unread,
            role: membership.role(),
            parted_at: SequenceNumber(membership.parted_at),
            joined: SequenceNumber(membership.joined_sequence),
        })
    }
}
