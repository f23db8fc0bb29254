//! What the store asks of a database, and the words for it. Two engines answer: [`crate::sqlite`]
//! and [`crate::mysql`]; one contract suite (`tests/contract`) runs against both.
//!
//! [`Engine`] is the writer's own, [`Readers`] are everybody's. Not here: SQL.

mod answers;
mod chore;

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use protocol::estop::Stop;
use protocol::wire::internal::AuditRecord;
use protocol::wire::{Account, AccountKind, Head, Membership};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal, SequenceNumber};
use thiserror::Error;

pub use self::answers::{CardsAfter, Described, History, Lacking, LackingRows, MemberRows};
pub use self::chore::{Chore, Done, NewGroup, RaisedMark};
use crate::backup::BackupError;
use crate::command::CommandReaders;
use crate::credential::CredentialReaders;
use crate::media::MediaReaders;
use crate::read::Span;
use crate::retention::{Kept, Log};
use crate::search::Query;
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
pub trait Readers:
    CommandReaders + MediaReaders + CredentialReaders + Clone + Send + Sync + 'static
{
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

    /// What a group is, asked by one account.
    fn describe(
        &self,
        conversation: ConversationId,
        asker: AccountId,
    ) -> impl Future<Output = Result<Described, EngineError>> + Send;

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

    /// Conversations with entries that are not indexed, by rising id after `after` (16 bytes or
    /// none).
    fn unindexed(
        &self,
        after: &[u8],
        limit: u32,
    ) -> impl Future<Output = Result<Vec<ConversationId>, EngineError>> + Send;

    /// Up to where a conversation is indexed.
    fn indexed(
        &self,
        conversation: ConversationId,
    ) -> impl Future<Output = Result<SequenceNumber, EngineError>> + Send;

    /// The numbers of entries before `before` that the index finds, the newest first.
    fn candidates(
        &self,
        conversation: ConversationId,
        query: &Query,
        before: SequenceNumber,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<SequenceNumber>, EngineError>> + Send;

    /// The entries of these numbers that are there, and what [`Readers::history`] says beside them.
    fn numbered(
        &self,
        conversation: ConversationId,
        account: AccountId,
        numbers: &[SequenceNumber],
    ) -> impl Future<Output = Result<Option<History>, EngineError>> + Send;

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

    /// The records of the audit before this one, the newest first; 0: from the newest.
    fn audit(
        &self,
        before: u64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<AuditRecord>, EngineError>> + Send;

    /// The capability cards of a fleet that were written after one, in the order in which they
    /// were, with their revisions.
    fn cards(
        &self,
        fleet: &str,
        after: CardsAfter,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(Account, u64)>, EngineError>> + Send;

    /// Which of these have commands that are not over and whose deadline is after now.
    fn busy(
        &self,
        targets: &[AccountId],
        now_ms: u64,
    ) -> impl Future<Output = Result<Vec<AccountId>, EngineError>> + Send;

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

pub(crate) fn no_such_name(name: &str) -> Refusal {
    Refusal::new(
        ErrorCode::NoSuchAccount,
        format!("there is no such account: {name}"),
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
