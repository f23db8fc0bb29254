//! What the writer does for commands, and what is read of them beside it.

use protocol::wire::{OutcomeCounts, OutcomeState};
use protocol::{AccountId, ClientMessageId};

use super::{Change, Command, Opening, Outcome, Report, Settled};
use crate::engine::EngineError;

/// One rare write of commands.
#[derive(Debug, Clone, PartialEq)]
pub enum CommandChore {
    /// Stores a command and an outcome for each target.
    Open(Box<Opening>),
    /// Takes reports, all together.
    Settle(Vec<Report>),
    /// Ends what has not begun, and remembers that the rest is to end.
    Cancel {
        /// Which command.
        command: ClientMessageId,
        /// Why.
        reason: String,
    },
    /// Says of the outcomes up to this state that they have expired.
    Expire {
        /// Of which command.
        command: ClientMessageId,
        /// [`NOT_BEGUN`](super::NOT_BEGUN) or [`NOT_OVER`](super::NOT_OVER).
        up_to: OutcomeState,
        /// Why.
        reason: &'static str,
    },
    /// Nothing more is expected of it, if that is so.
    Close(ClientMessageId),
    /// Takes the next epoch of a plan, if it still is the expected one.
    TakeEpoch {
        /// Of which plan.
        plan: ClientMessageId,
        /// The present one, as the caller knows it.
        expected: u64,
        /// Who takes it.
        holder: AccountId,
        /// The same in a repeat.
        request: ClientMessageId,
    },
    /// Drops what is over and older, a little of it.
    Forget {
        /// Commands whose deadline was before, and epochs that were taken before, in Unix
        /// milliseconds.
        before_ms: u64,
    },
}

/// What became of such a write.
#[derive(Debug, Clone, PartialEq)]
pub enum CommandDone {
    /// Of [`CommandChore::Open`].
    Opened(Box<Opened>),
    /// Of [`CommandChore::Settle`].
    Settled(Settled),
    /// Of [`CommandChore::Cancel`] and [`CommandChore::Expire`]: what has changed.
    Ended(Vec<Change>),
    /// Of [`CommandChore::Close`]: whether it is closed.
    Closed(bool),
    /// Of [`CommandChore::TakeEpoch`].
    Epoch {
        /// Whether it was taken.
        taken: bool,
        /// The plan's epoch now.
        epoch: u64,
    },
    /// Of [`CommandChore::Forget`]: so many rows.
    Forgotten(u64),
}

/// A command that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// As it is kept.
    pub command: Command,
    /// Whether it was stored before.
    pub duplicate: bool,
    /// To whom, if it was not.
    pub targets: Vec<AccountId>,
    /// Commands whose place it takes, and what has changed of them.
    pub superseded: Vec<(ClientMessageId, Vec<Change>)>,
}

/// What is read of commands beside the writer.
pub trait CommandReaders {
    /// The command of this id.
    fn command(
        &self,
        id: ClientMessageId,
    ) -> impl Future<Output = Result<Option<Command>, EngineError>> + Send;

    /// How many of its targets are in each state.
    fn outcome_counts(
        &self,
        id: ClientMessageId,
    ) -> impl Future<Output = Result<OutcomeCounts, EngineError>> + Send;

    /// The outcomes from this state up to that one of targets with a greater id than `after`, by
    /// rising id.
    fn outcomes(
        &self,
        id: ClientMessageId,
        states: (OutcomeState, OutcomeState),
        after: AccountId,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Outcome>, EngineError>> + Send;

    /// The commands to a robot that are not over and whose deadline is after this, by rising id
    /// after `after` (16 bytes or none).
    fn orders(
        &self,
        account: AccountId,
        deadline_after_ms: u64,
        after: &[u8],
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(Command, OutcomeState)>, EngineError>> + Send;

    /// Commands of which more is expected, by rising id after `after` (16 bytes or none).
    fn open_commands(
        &self,
        after: &[u8],
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Command>, EngineError>> + Send;

    /// The commands with a lesser id than `before` (16 bytes or none), the greatest first; of one
    /// issuer, or of all (0).
    fn commands_before(
        &self,
        issuer: AccountId,
        before: &[u8],
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Command>, EngineError>> + Send;

    /// Which of these are robots that are in a group with this account.
    fn reach(
        &self,
        account: AccountId,
        targets: &[AccountId],
    ) -> impl Future<Output = Result<Vec<AccountId>, EngineError>> + Send;
}
