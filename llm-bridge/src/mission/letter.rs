//! The messages of a planner: plan, command, the end of a step that nobody else ends, summary. Each
//! has a derived id, so that a repeat is the same message. Pure.

use protocol::content::Content;
use protocol::identity::{self, CommandIdentity};
use protocol::wire::{self, Outcome, Priority, StepState};
use protocol::{AccountId, ClientMessageId, ConversationId};

use crate::execution::Execution;
use crate::language::Language;
use crate::summary::{self, Decline};

/// How long after a step became ready its time limit still counts from that moment, so that a
/// repeat after a crash is the same command. After a longer absence the limit counts from now.
pub(super) const REPEAT_WINDOW_MS: u64 = 20_000;

/// A message to send.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    /// To whom.
    pub to: Recipient,
    /// Derived: the same message has the same id.
    pub id: ClientMessageId,
    /// What it says.
    pub content: Content,
    /// How urgent it is.
    pub priority: Priority,
}

/// To whom a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// Everybody in the group.
    Group,
    /// The pair conversation with this robot.
    Robot(AccountId),
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendOutcome {
    /// It is in the log.
    Committed,
    /// A message with this id is in the log and says something else.
    CommittedOtherwise,
    /// Not known: it has to be sent again.
    Unknown,
    /// It will never be in the log.
    Refused(String),
}

/// The plan of this version.
pub(super) fn plan(instruction: ClientMessageId, plan: wire::Plan) -> Letter {
    Letter {
        to: Recipient::Group,
        id: identity::plan(instruction, plan.version),
        content: Content::Plan(plan),
        priority: Priority::Command,
    }
}

/// A step that is ready since then, to its robot.
pub(super) fn command(
    group: ConversationId,
    identity: &CommandIdentity,
    step: &wire::Step,
    since_ms: u64,
    now_ms: u64,
) -> Letter {
    let is_repeatable = now_ms.saturating_sub(since_ms) <= REPEAT_WINDOW_MS;
    let from_ms = if is_repeatable { since_ms } else { now_ms };
    Letter {
        to: Recipient::Robot(AccountId(step.robot)),
        id: identity.message_id(),
        content: Content::Command(wire::Command {
            instruction_id: identity.instruction.to_bytes(),
            plan_version: identity.plan_version,
            step_id: identity.step_id.clone(),
            attempt: identity.attempt,
            action: step.action.clone(),
            arguments_json: step.arguments_json.clone(),
            deadline_at_ms: from_ms.saturating_add(step.time_limit_ms),
            report_to: group.to_bytes(),
        }),
        priority: Priority::Command,
    }
}

/// The planner's own word that a step has ended.
pub(super) fn ended(identity: &CommandIdentity, state: StepState, reason: String) -> Letter {
    Letter {
        to: Recipient::Group,
        id: identity::step_update(identity.message_id(), state),
        content: Content::StepUpdate(wire::StepUpdate {
            instruction_id: identity.instruction.to_bytes(),
            plan_version: identity.plan_version,
            step_id: identity.step_id.clone(),
            attempt: identity.attempt,
            state: state.into(),
            reason,
            ..wire::StepUpdate::default()
        }),
        priority: Priority::Command,
    }
}

/// The end of an instruction. The tokens are those that this process knows of.
pub(super) fn summary(
    instruction: ClientMessageId,
    language: Language,
    plans: &[Execution],
    decline: Option<&Decline>,
    (prompt_tokens, completion_tokens): (u64, u64),
) -> Letter {
    let counts = summary::Counts::of(plans);
    let outcome = match (decline, plans.last()) {
        (_, None) => Outcome::Declined,
        (None, Some(newest)) if newest.is_finished() => Outcome::Done,
        (_, Some(_)) => Outcome::PartlyDone,
    };
    Letter {
        to: Recipient::Group,
        id: identity::summary(instruction),
        content: Content::Summary(wire::Summary {
            instruction_id: instruction.to_bytes(),
            outcome: outcome.into(),
            text: summary::text(language, outcome, plans, decline),
            steps_planned: counts.planned,
            steps_finished: counts.finished,
            steps_failed: counts.failed,
            prompt_tokens,
            completion_tokens,
        }),
        priority: Priority::Chat,
    }
}
