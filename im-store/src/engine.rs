//! What the store asks of a database, and the words for it. Two engines answer: [`crate::sqlite`]
//! and [`crate::mysql`]; one contract suite (`tests/contract`) runs against both.
//!
//! [`Engine`] is the writer's own, [`Readers`] are everybody's. Not here: SQL.

mod found;

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use protocol::estop::{Release, Stop};
use protocol::wire::{Account, AccountKind, CapabilityCard, Head, Membership};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal, SequenceNumber};
use thiserror::Error;

pub use self::found::{History, Lacking, LackingRows, MemberRows};
use crate::backup::BackupError;
use crate::command::{CommandChore, CommandDone, CommandReaders};
use crate::events;
use crate::read::Span;
use crate::retention::{Kept, Log};
use crate::shard::{Append, BatchPlan, ConversationState, Known};

/// The writer's hold on a database. After an error the same call may be made again: the engine
/// connects anew, and finds out what an attempt before it has left.
pub trait Engine: Send + 'static {
    /// What the planner needs to know of a batch. What is `kept` is not read again: if it is no
    /// longer true the commit loses. After an attempt that was lost or left unsettled it makes sure
    /// that that one is over, so that what it finds is final.
    fn look_up(
        &mut self,
        batch: &[Append],
        kept: &HashMap<ConversationId, ConversationState>,
    ) -> impl Future<Output = Result<Known, EngineError>> + Send;

    /// Makes the next look-up as final for these as after an attempt that was lost: no COMMIT that is
    /// under way, of whichever owner, changes what it finds. An engine of one owner needs nothing.
    fn settle(&mut self, _conversations: &BTreeSet<ConversationId>) {}

    /// Stores and syncs a planned batch, if every head still is what the plan was made from.
    fn commit(
        &mut self,
        batch: &[Append],
        plan: &BatchPlan,
        now_ms: u64,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Does these in one transaction; each finds done what an earlier attempt has done.
    fn chores(
        &mut self,
        chores: &[Chore],
        now_ms: u64,
    ) -> impl Future<Output = Result<Vec<Result<Done, Refusal>>, EngineError>> + Send;

    /// How many transactions with entries it has committed: each is one sync.
    fn commits(&self) -> u64;
}

/// Reads beside the writer. Clones share their connections.
pub trait Readers: CommandReaders + Clone + Send + Sync + 'static {
    /// Waits until nobody reads, and closes.
    fn close(&self) -> impl Future<Output = ()> + Send;

    /// The entries of a span, about a page's bytes of them, and what decides who may see them, all
    /// of the same moment. `None`: there is no such conversation.
    fn history(
        &self,
        conversation: ConversationId,
        account: AccountId,
        span: Span,
    ) -> impl Future<Output = Result<Option<History>, EngineError>> + Send;

    /// The members with a greater id than `after`, at most `limit`. `None`: no such conversation.
    fn members(
        &self,
        conversation: ConversationId,
        after: AccountId,
        limit: u32,
    ) -> impl Future<Output = Result<Option<MemberRows>, EngineError>> + Send;

    /// The conversations that the account is in, by rising id after `after` (16 bytes or none).
    fn memberships(
        &self,
        account: AccountId,
        after: &[u8],
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Membership>, EngineError>> + Send;

    /// The accounts with these names or these ids, by rising id; what is not there is left out.
    fn accounts(
        &self,
        fleet: &str,
        names: &[String],
        ids: &[u64],
    ) -> impl Future<Output = Result<Vec<Account>, EngineError>> + Send;

    /// The heads of conversations with entries, by rising id after `after` (16 bytes or none).
    fn heads(
        &self,
        after: &[u8],
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Head>, EngineError>> + Send;

    /// For how long a COMMIT of a store that has died may still be under way. `None`: it ends with
    /// the store.
    fn late_commits(&self) -> Option<Duration> {
        None
    }

    /// Who lacks an entry, and how many do not, all of the same moment. `None`: no such
    /// conversation.
    fn lacking(
        &self,
        conversation: ConversationId,
        asker: AccountId,
        question: Lacking,
    ) -> impl Future<Output = Result<Option<LackingRows>, EngineError>> + Send;

    /// Logs with entries, by rising conversation after `after` (16 bytes or none).
    fn logs(
        &self,
        after: &[u8],
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Log>, EngineError>> + Send;

    /// What the oldest entries after `after` weigh.
    fn oldest(
        &self,
        conversation: ConversationId,
        after: SequenceNumber,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Kept>, EngineError>> + Send;

    /// The generation of the history.
    fn generation(&self) -> impl Future<Output = Result<u64, EngineError>> + Send;

    /// Up to where each of these conversations is what it was in an earlier generation; `None`:
    /// this history does not come from that one.
    fn parted(
        &self,
        since: u64,
        conversations: &[Bytes],
    ) -> impl Future<Output = Result<Option<Vec<u64>>, EngineError>> + Send;

    /// The emergency stops in force, the oldest first, at most so many, and after them as many of
    /// those that were released last.
    fn estops(&self, limit: u32) -> impl Future<Output = Result<Vec<Stop>, EngineError>> + Send;

    /// These, as far as they are there.
    fn estops_of(
        &self,
        stops: &[ClientMessageId],
    ) -> impl Future<Output = Result<Vec<Stop>, EngineError>> + Send;

    /// The robots of the fleet with a greater id than `after`, without capabilities.
    fn robots(
        &self,
        after: AccountId,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Account>, EngineError>> + Send;

    /// The account of this name, if there is one. The inner error: it is of another kind.
    fn account_of_kind(
        &self,
        fleet: &str,
        name: &str,
        kind: AccountKind,
    ) -> impl Future<Output = Result<Option<Result<Account, Refusal>>, EngineError>> + Send {
        async move {
            let found = self.accounts(fleet, &[name.to_owned()], &[]).await?;
            Ok(found.into_iter().next().map(|found| of_kind(found, kind)))
        }
    }
}

/// A database that cannot be used, or a statement that failed.
#[derive(Debug, Error)]
pub enum EngineError {
    /// It belongs to something else.
    #[error("the database is not one of this server's: use another one")]
    Foreign,
    /// It was written by a newer build.
    #[error("the database has schema {found}, and this build knows up to {known}: upgrade it")]
    Newer {
        /// What it has.
        found: i64,
        /// What this build knows.
        known: i64,
    },
    /// A restore into it has begun and not ended.
    #[error("a restore into the database did not end: restore again, with --replace")]
    HalfRestored,
    /// The server would lose, or could not take, what we store.
    #[error("the database server has {name} = {found}, and this server needs {needed}")]
    Setting {
        /// The server's variable.
        name: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        needed: String,
    },
    /// There can be no lock beside the file.
    #[error("the file that says who owns the database cannot be locked")]
    Lock(#[source] std::io::Error),
    /// Nothing is stored until somebody makes room.
    #[error("there is no room left on the database's disk")]
    Full(#[source] sqlx::Error),
    /// Nothing can be stored in it.
    #[error("the database's file cannot be written: look at its path, permissions, and disk")]
    NotWritable(#[source] sqlx::Error),
    /// A row that no build of ours writes.
    #[error("the database is damaged: {0}")]
    Damaged(&'static str),
    /// Another owner was faster or in the way. Nothing is stored; look up again.
    #[error("another owner of the database was faster")]
    Lost,
    /// A COMMIT had no answer: all of it is stored, or nothing. The next look-up finds out.
    #[error("the answer to a COMMIT was lost")]
    Unsettled(#[source] sqlx::Error),
    /// A statement failed. Nothing is stored.
    #[error("the database failed")]
    Sql(#[from] sqlx::Error),
    /// A page of history could not be read.
    #[error("the database failed")]
    Page(#[from] rusqlite::Error),
}

impl From<sqlx::Error> for BackupError {
    fn from(error: sqlx::Error) -> Self {
        EngineError::from(error).into()
    }
}

/// One rare write.
#[derive(Debug, Clone, PartialEq)]
pub enum Chore {
    /// Makes the row of a group, unless this request made one before. Its first membership entry
    /// follows as an append.
    CreateGroup {
        /// Who asks.
        creator: AccountId,
        /// The id of the request.
        message_id: ClientMessageId,
        /// The id it gets if it is new.
        proposed: ConversationId,
        /// Its name.
        name: String,
        /// Whether a member may read what was before it joined.
        history_open: bool,
    },
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
    /// Drops ids that were made before this, by the time in them, the oldest first.
    ForgetIds {
        /// Milliseconds since the Unix epoch.
        made_before_ms: u64,
        /// At most so many.
        limit: u32,
    },
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
    /// Of [`Chore::ForgetIds`]: so many.
    Forgotten(u64),
    /// Of the others.
    Written,
}

/// An account keeps the kind it was made with: a name is one account's for ever.
pub(crate) fn of_kind(account: Account, kind: AccountKind) -> Result<Account, Refusal> {
    if account.kind() == kind {
        return Ok(account);
    }
    Err(Refusal::new(
        ErrorCode::Forbidden,
        format!("{} is the name of an account of another kind", account.name),
    ))
}

pub(crate) fn no_such_account(account: AccountId) -> Refusal {
    Refusal::new(
        ErrorCode::NoSuchAccount,
        format!("there is no account {account}"),
    )
}

/// SQL has signed integers only; the bits are kept, and ours stay far below 2^63.
pub(crate) const fn integer(number: u64) -> i64 {
    number.cast_signed()
}

pub(crate) const fn number(integer: i64) -> u64 {
    integer.cast_unsigned()
}

pub(crate) fn conversation_id(bytes: &[u8]) -> Result<ConversationId, EngineError> {
    ConversationId::from_slice(bytes).map_err(|_| EngineError::Damaged("a conversation id"))
}

pub(crate) fn message_id(bytes: &[u8]) -> Result<ClientMessageId, EngineError> {
    ClientMessageId::from_slice(bytes).map_err(|_| EngineError::Damaged("a message id"))
}
