//! The rare writes, and what becomes of them.

use protocol::estop::{Release, Stop};
use protocol::wire::internal::AuditRecord;
use protocol::wire::{Account, AccountKind, CapabilityCard};
use protocol::{AccountId, ClientMessageId, ConversationId, SequenceNumber};

use crate::command::{CommandChore, CommandDone};
use crate::credential::{CredentialChore, CredentialDone};
use crate::events;
use crate::media::{MediaChore, MediaDone};

/// One rare write.
#[derive(Debug, Clone, PartialEq)]
pub enum Chore {
    /// Makes the row of a group, unless this request made one before. Its first membership entry
    /// follows as an append.
    CreateGroup(NewGroup),
    /// Makes an account, unless there is one of this name.
    EnsureAccount {
        /// Whose it is.
        fleet: String,
        /// What it is.
        kind: AccountKind,
        /// Unique in the fleet.
        name: String,
        /// The id it gets if it is new.
        proposed: AccountId,
    },
    /// Replaces a capability card.
    SetCapabilities {
        /// Whose.
        account: AccountId,
        /// What it says.
        card: CapabilityCard,
    },
    /// Of commands.
    Command(CommandChore),
    /// Of media.
    Media(MediaChore),
    /// Of credentials.
    Credential(CredentialChore),
    /// Raises marks. They only rise, belong to members only, and never pass the head.
    RaiseMarks(Vec<RaisedMark>),
    /// Drops the oldest entries, if `from` still is the last that is gone. The head stays.
    Trim {
        /// Of which conversation.
        conversation: ConversationId,
        /// The last entry that is gone.
        from: SequenceNumber,
        /// The last one that goes.
        up_to: SequenceNumber,
    },
    /// Adds lines to the index of words, if `from` still is up to where it goes.
    Index {
        /// Of which conversation.
        conversation: ConversationId,
        /// Up to where it is indexed.
        from: SequenceNumber,
        /// Up to where it is then.
        up_to: SequenceNumber,
        /// The words of the entries between that have any.
        lines: Vec<(SequenceNumber, String)>,
    },
    /// Latches an emergency stop, unless it is there, in force or released.
    Latch(Stop),
    /// Releases stops of one scope; one that nobody has latched is released in advance.
    Release {
        /// The stops.
        stops: Vec<ClientMessageId>,
        /// Where they were sent to.
        conversation: ConversationId,
        /// By whom, and why.
        release: Release,
    },
    /// Writes a record of the audit, or the end of one that is there.
    Audit(AuditRecord),
    /// Drops the oldest records of the audit.
    ForgetAudit {
        /// Those from before this, in milliseconds since the Unix epoch.
        before_ms: u64,
        /// At most so many.
        limit: u32,
    },
    /// Drops ids that were made before this, by the time in them, the oldest first.
    ForgetIds {
        /// Milliseconds since the Unix epoch.
        made_before_ms: u64,
        /// At most so many.
        limit: u32,
    },
}

/// A group that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGroup {
    /// Who asks.
    pub creator: AccountId,
    /// The id of the request.
    pub message_id: ClientMessageId,
    /// The id it gets if it is new.
    pub proposed: ConversationId,
    /// Its name.
    pub name: String,
    /// Whether a member may read what was before it joined.
    pub history_open: bool,
    /// With so many groups of its own the creator makes no other; 0: no limit.
    pub owned_max: u32,
}

/// A member's marks of one conversation, both cumulative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaisedMark {
    /// Of which conversation.
    pub conversation: ConversationId,
    /// Whose.
    pub account: AccountId,
    /// Handed to the application up to here.
    pub delivered: u64,
    /// Read up to here.
    pub read: u64,
}

impl RaisedMark {
    /// Not above the head: what a client marks beyond it is counted, and taken for the head.
    pub(crate) fn at_most(mut self, head: u64) -> Self {
        if self.delivered.max(self.read) > head {
            events::mark_above_head();
            self.delivered = self.delivered.min(head);
            self.read = self.read.min(head);
        }
        self
    }
}

/// What became of a chore.
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    /// Of [`Chore::CreateGroup`]: the group, of this request or of the one that it repeats.
    Group(ConversationId),
    /// Of [`Chore::EnsureAccount`].
    Account(Account),
    /// Of [`Chore::Command`].
    Command(CommandDone),
    /// Of [`Chore::Media`].
    Media(MediaDone),
    /// Of [`Chore::Credential`].
    Credential(Box<CredentialDone>),
    /// Of [`Chore::ForgetIds`] and [`Chore::ForgetAudit`]: so many.
    Forgotten(u64),
    /// Of the others.
    Written,
}
