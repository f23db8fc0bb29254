//! Where messages wait until their fate is known, so that a process that restarts sends them again
//! under the same ids. Here are the trait and a journal in memory; with the cargo feature `journal`
//! `DiskJournal` is a file that outlives a loss of power.
//!
//! With a journal ([`Client::connect_with_journal`](crate::Client::connect_with_journal)):
//!
//! * A message is durable in the journal before it first leaves. Messages that wait at the same
//!   time are written together, in one commit; no timer holds them back.
//! * An ack ends it. That is written with the next messages, or within a second; if it is lost, it
//!   costs a repeat, which the store answers as a duplicate.
//! * What was acknowledged is kept for a while: the last 1,024 messages, 4 MiB and seven days. When
//!   the server has lost some of them, because it was restored from a backup, they are sent again
//!   under their ids, before all that waits ([`Event::Parted`](crate::Event::Parted)).
//! * A refusal for good, or [`SendError::NotSent`](crate::SendError::NotSent), removes it too, and
//!   is told only when the removal is durable: what was told not to be stored never is.
//! * [`SendError::OutcomeUnknown`](crate::SendError::OutcomeUnknown) keeps it. The next run finds
//!   out, or this one, when the application sends it again under its id.
//! * The next run sends what is kept under the same ids, in the order of their conversation and
//!   before anything new, until each ends in an ack or a refusal for good, however long that takes.
//!   [`Client::recovered`](crate::Client::recovered) tells what becomes of them.
//! * A journal belongs to the account that first used it. Account ids are unique over fleets, so one
//!   of another fleet is refused too, before anything of it is sent.
//! * It is bounded, in messages and in bytes
//!   ([`ClientConfig::journal_messages_max`](crate::ClientConfig)): one more is refused.
//! * A journal that cannot be written (a full disk) refuses new messages with its error, and the
//!   client stays up: it goes on with what it has, and tries the disk again with the next message.
//!
//! Not guaranteed:
//!
//! * A message whose outcome was unknown, and which is sent again later, may be stored after
//!   messages that were sent after it.
//! * An emergency does not wait for the disk: it is written while it is on its way.
//! * A message that is refused because the disk fails is not on its way in this run; but a disk that
//!   fails between writing and saying so may have it, and if the process ends before the disk works
//!   again, the next run sends it. Sending it again under its id is safe either way.
//! * A disk that says it has written what it has not.

#[cfg(feature = "journal")]
mod disk;
mod memory;
mod writer;

use std::fmt;

use bytes::Bytes;
use protocol::{AccountId, ClientMessageId, ConversationId, SequenceNumber};
use thiserror::Error;

#[cfg(feature = "journal")]
pub use self::disk::DiskJournal;
pub use self::memory::MemoryJournal;
pub(crate) use self::writer::Writer;
use crate::message::Account;

/// A journal that could not do what it was asked. `place` is what [`Journal::place`] says, for a
/// file its path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The client was connected without a journal.
    #[error("the client has no journal")]
    NoJournal,
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
    /// It holds as many messages, or bytes, as it may.
    #[error("the journal holds as many messages as it may")]
    Full,
    /// Something else is there. It is left as it is.
    #[error("{place} is no journal of this client: give another path, or move it away")]
    NotAJournal {
        /// Where.
        place: String,
    },
    /// It is damaged, and left as it is: what it holds cannot be trusted, and is not dropped
    /// silently.
    #[error(
        "the journal {place} is damaged ({what}): move it away to start with an empty one; \
         messages in it may not have been sent"
    )]
    Damaged {
        /// Where.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// A newer build wrote it.
    #[error(
        "the journal {place} has format {found}, which this build does not know: use the newer build"
    )]
    OtherFormat {
        /// Where.
        place: String,
        /// Its format.
        found: u64,
    },
    /// It belongs to another account, or to one of another fleet.
    #[error(
        "the journal {place} belongs to {kept}, and this client is {ours}: \
         give each account a journal of its own"
    )]
    OtherOwner {
        /// Where.
        place: String,
        /// Whose it is.
        kept: Box<JournalOwner>,
        /// Who the client is.
        ours: Box<JournalOwner>,
    },
    /// Another client has it open.
    #[error("the journal {place} is in use by another client")]
    InUse {
        /// Where.
        place: String,
    },
    /// There is no room left on its disk.
    #[error("no room for the journal {place}: the disk is full")]
    DiskFull {
        /// Where.
        place: String,
    },
    /// It cannot be read or written.
    #[error("the journal {place} cannot be read or written: {what}")]
    Io {
        /// Where.
        place: String,
        /// Why.
        what: String,
    },
}

/// Whose messages a journal keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalOwner {
    /// The account's id.
    pub account: AccountId,
    /// Its name within its fleet.
    pub name: String,
}

impl From<&Account> for JournalOwner {
    fn from(account: &Account) -> Self {
        Self {
            account: account.id,
            name: account.name.clone(),
        }
    }
}

impl fmt::Display for JournalOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (account {})", self.name, self.account)
    }
}

/// A message whose fate is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// Where it goes.
    pub conversation: ConversationId,
    /// Its id, the same over all attempts and restarts.
    pub client_message_id: ClientMessageId,
    /// An encoded `im.v1.Send`.
    pub send: Bytes,
}

/// Everything that a journal keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// Whose it is; `None`: nobody has used it.
    pub owner: Option<JournalOwner>,
    /// The messages, in the order in which they were appended.
    pub entries: Vec<JournalEntry>,
    /// The messages that were acknowledged last, in the order in which they were appended, each with
    /// the server's clock at its commit, in milliseconds since the Unix epoch.
    pub sent: Vec<(JournalEntry, u64)>,
    /// How far the application was in each conversation when it last said so.
    pub marks: Vec<(ConversationId, SequenceNumber)>,
    /// The history of the server that the marks are of; 0: not known.
    pub history_generation: u64,
}

/// Those that are on their way, and those that are acknowledged.
fn split(
    all: impl Iterator<Item = (JournalEntry, Option<u64>)>,
) -> (Vec<JournalEntry>, Vec<(JournalEntry, u64)>) {
    let (mut entries, mut sent) = (Vec::new(), Vec::new());
    for (entry, acked) in all {
        match acked {
            Some(committed_at_ms) => sent.push((entry, committed_at_ms)),
            None => entries.push(entry),
        }
    }
    (entries, sent)
}

/// One thing to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The journal belongs to this account.
    Own(JournalOwner),
    /// The marks are of this history of the server.
    History(u64),
    /// Keep this message; one of its conversation and id is replaced in its place.
    Append(JournalEntry),
    /// It is acknowledged, and kept as such; one that is not kept is nothing to do.
    Acked {
        /// Where it went.
        conversation: ConversationId,
        /// Its id.
        client_message_id: ClientMessageId,
        /// The server's clock at the commit, in milliseconds since the Unix epoch.
        committed_at_ms: u64,
    },
    /// It is not kept any more; one that is not kept is nothing to do.
    Remove {
        /// Where it went.
        conversation: ConversationId,
        /// Its id.
        client_message_id: ClientMessageId,
    },
    /// The application is so far.
    Mark {
        /// The conversation.
        conversation: ConversationId,
        /// The last number that it is done with.
        delivered: SequenceNumber,
    },
}

/// Keeps messages until their fate is known.
///
/// Its functions may block: the client calls them on a thread for that, one at a time. What waits
/// meanwhile is gathered into the next commit.
pub trait Journal: Send + 'static {
    /// What it is called in errors, for a file its path.
    fn place(&self) -> String;
    /// Everything that is kept. Called once, at the start.
    fn load(&mut self) -> Result<Kept, JournalError>;
    /// Makes these changes durable, in order, all or none. After a failure the journal may be asked
    /// again; messages of a commit that failed must be gone once a later one succeeds.
    fn commit(&mut self, changes: &[Change]) -> Result<(), JournalError>;
}
