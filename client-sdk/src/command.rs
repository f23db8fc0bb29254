//! Commands to many robots, from the side of whoever sends them: one send, and what becomes of it at
//! each target. The robot's side is [`orders`](crate::orders).
//!
//! What the server pushes is a hint; a [`CommandWatch`] asks whenever the counts do not agree with
//! what it has heard, and after every loss of the connection.

pub(crate) mod news;
mod watch;

use std::time::Duration;

use protocol::kind::client as kind;
use protocol::wire;
use protocol::{AccountId, ClientMessageId, ConversationId};

pub use protocol::command::CommandKey;
pub use protocol::wire::{OutcomeCounts, OutcomeState};

pub use self::watch::CommandWatch;
use crate::client::Client;
use crate::error::Error;

/// To whom a command goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// These robots; at most 10,000.
    Robots(Vec<AccountId>),
    /// The robots of this group, as they are when the command is stored.
    Group(ConversationId),
    /// Any so many robots that meet a condition, as [`Client::query_robots`] has it; 0: all of them.
    /// Those that are online and have nothing to do come first. Who they are is decided when the
    /// command is stored, and a repeat goes to the same.
    Any {
        /// The condition.
        query: String,
        /// Among the members of this group; `None`: among all that the sender shares a group with.
        group: Option<ConversationId>,
        /// How many. Fewer that meet the condition are refused with
        /// [`ErrorCode::Query`](crate::ErrorCode::Query), which says how many there are.
        count: u32,
    },
}

/// A command to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCommand {
    /// What makes it the command that it is.
    pub key: CommandKey,
    /// The plan's epoch; 0: an operator's own command under a plan id of its own.
    pub epoch: u64,
    /// To whom.
    pub targets: Targets,
    /// What is to be done.
    pub action: String,
    /// And how, in JSON.
    pub arguments_json: String,
    /// Within which time it has to be begun.
    pub time_limit: Duration,
}

/// What has become of a command at one robot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Which robot.
    pub account: AccountId,
    /// What.
    pub state: OutcomeState,
    /// 0 to 100, while it runs, as far as it was heard.
    pub progress_percent: u32,
    /// Why, with FAILED, REJECTED, CANCELLED, EXPIRED and SUPERSEDED.
    pub reason: String,
    /// What the action returned, in JSON.
    pub result_json: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub changed_at_ms: u64,
}

impl Outcome {
    pub(crate) fn from_wire(outcome: wire::TargetOutcome) -> Self {
        Self {
            account: AccountId(outcome.account_id),
            state: outcome.state(),
            progress_percent: outcome.progress_percent,
            reason: outcome.reason,
            result_json: outcome.result_json,
            changed_at_ms: outcome.changed_at_ms,
        }
    }
}

/// A page of what has become of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandPage {
    /// The newest epoch that it was sent under.
    pub epoch: u64,
    /// By the server's clock, in milliseconds since the Unix epoch.
    pub deadline_at_ms: u64,
    /// Of all targets.
    pub counts: OutcomeCounts,
    /// By rising account.
    pub outcomes: Vec<Outcome>,
    /// Whether there are more.
    pub more: bool,
}

/// The next epoch of a plan was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epoch {
    /// It is the caller's now.
    Taken(u64),
    /// Somebody else's is this one already.
    Other(u64),
}

impl NewCommand {
    /// An operator's own command, under a fresh plan id.
    #[must_use]
    pub fn new(targets: Targets, action: &str, time_limit: Duration) -> Self {
        Self {
            key: CommandKey::new(crate::new_message_id(), "1"),
            epoch: 0,
            targets,
            action: action.to_owned(),
            arguments_json: "{}".to_owned(),
            time_limit,
        }
    }

    /// With these arguments, in JSON.
    #[must_use]
    pub fn arguments(mut self, json: impl Into<String>) -> Self {
        self.arguments_json = json.into();
        self
    }

    /// Of a plan, under its epoch.
    #[must_use]
    pub fn of_plan(mut self, key: CommandKey, epoch: u64) -> Self {
        self.key = key;
        self.epoch = epoch;
        self
    }
}

impl Client {
    /// Sends one command to many robots. Returns when it is stored; the same key is the same
    /// command, and then the watch tells what has become of it.
    pub async fn send_command(&self, command: NewCommand) -> Result<CommandWatch, Error> {
        let limit_ms = u64::try_from(command.time_limit.as_millis()).unwrap_or(u64::MAX);
        let mut request = wire::SendCommand {
            key: Some(command.key.to_wire()),
            epoch: command.epoch,
            action: command.action,
            arguments_json: command.arguments_json,
            deadline_at_ms: self.server_time_ms().saturating_add(limit_ms),
            ..wire::SendCommand::default()
        };
        match command.targets {
            Targets::Robots(robots) => {
                request.targets = robots.iter().map(|robot| robot.0).collect();
            }
            Targets::Group(group) => request.group_id = group.to_bytes(),
            Targets::Any {
                query,
                group,
                count,
            } => {
                request.selection = Some(wire::RobotSelection {
                    query,
                    group_id: group.map_or_else(bytes::Bytes::new, ConversationId::to_bytes),
                    count,
                });
            }
        }
        // From before it is stored, so that nothing is missed.
        let mut watch = CommandWatch::new(self.clone(), command.key);
        let sent: wire::CommandSent = self.request(kind::SEND_COMMAND, &request).await?;
        watch.sent(&sent);
        Ok(watch)
    }

    /// Follows a command that was sent before.
    pub async fn watch_command(&self, key: &CommandKey) -> Result<CommandWatch, Error> {
        let mut watch = CommandWatch::new(self.clone(), key.clone());
        watch.ask().await?;
        Ok(watch)
    }

    /// A page of what has become of a command, of targets with a greater id than `after`. For its
    /// issuer and operators.
    pub async fn command_status(
        &self,
        key: &CommandKey,
        after: AccountId,
        limit: u32,
    ) -> Result<CommandPage, Error> {
        let request = wire::GetCommand {
            key: Some(key.to_wire()),
            after_account_id: after.0,
            limit,
            counts_only: false,
        };
        let status: wire::CommandStatus = self.request(kind::GET_COMMAND, &request).await?;
        Ok(CommandPage {
            epoch: status.epoch,
            deadline_at_ms: status.deadline_at_ms,
            counts: status.counts.unwrap_or_default(),
            outcomes: status
                .outcomes
                .into_iter()
                .map(Outcome::from_wire)
                .collect(),
            more: status.more,
        })
    }

    /// Ends a command where it has not begun, and tells the robots that have begun to end.
    pub async fn cancel_command(
        &self,
        key: &CommandKey,
        reason: &str,
    ) -> Result<OutcomeCounts, Error> {
        let request = wire::CancelCommand {
            key: Some(key.to_wire()),
            reason: reason.to_owned(),
        };
        let cancelled: wire::CommandCancelled =
            self.request(kind::CANCEL_COMMAND, &request).await?;
        Ok(cancelled.counts.unwrap_or_default())
    }

    /// Takes the next epoch of a plan, if its present one still is `expected` (0: none was taken):
    /// from then on nobody commands under an older one.
    pub async fn take_epoch(&self, plan: ClientMessageId, expected: u64) -> Result<Epoch, Error> {
        let request = wire::TakeEpoch {
            plan_id: plan.to_bytes(),
            expected,
            request_id: self.new_message_id().to_bytes(),
        };
        let answer: wire::EpochTaken = self.request(kind::TAKE_EPOCH, &request).await?;
        Ok(if answer.taken {
            Epoch::Taken(answer.epoch)
        } else {
            Epoch::Other(answer.epoch)
        })
    }
}
