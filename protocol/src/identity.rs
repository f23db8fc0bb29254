//! The message ids that follow from what a message is, so that a repeat after a crash is the same
//! message: plan, command, step update and summary. `docs/PROTOCOL.md` states the derivation.

use crate::id::ClientMessageId;
use crate::wire::StepState;

/// Which run of a step a command asks for. Two commands with the same identity are the same command.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandIdentity {
    /// The id of the instruction.
    pub instruction: ClientMessageId,
    /// The version of the plan.
    pub plan_version: u32,
    /// The step within the plan.
    pub step_id: String,
    /// 1, then one more for each repeat of the step within the same plan.
    pub attempt: u32,
}

impl CommandIdentity {
    /// The id of the command's message.
    #[must_use]
    pub fn message_id(&self) -> ClientMessageId {
        self.instruction.derive(&[
            b"command",
            &self.plan_version.to_be_bytes(),
            self.step_id.as_bytes(),
            &self.attempt.to_be_bytes(),
        ])
    }
}

/// The id of the plan of this version.
#[must_use]
pub fn plan(instruction: ClientMessageId, version: u32) -> ClientMessageId {
    instruction.derive(&[b"plan", &version.to_be_bytes()])
}

/// The id of the one summary of an instruction.
#[must_use]
pub fn summary(instruction: ClientMessageId) -> ClientMessageId {
    instruction.derive(&[b"summary"])
}

/// The id of a robot's word that a command has reached this state.
#[must_use]
pub fn step_update(command: ClientMessageId, state: StepState) -> ClientMessageId {
    command.derive(&[b"update", &(state as u32).to_be_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These cannot change while a plan is running anywhere.
    #[test]
    fn golden_identities() {
        let instruction = ClientMessageId::new(1_700_000_000_123, [7; 10]);
        let command = CommandIdentity {
            instruction,
            plan_version: 1,
            step_id: "s1".into(),
            attempt: 1,
        }
        .message_id();
        let update = step_update(command, StepState::Finished);
        let ids = [plan(instruction, 1), command, update, summary(instruction)];
        assert_eq!(
            ids.map(|id| id.to_string()),
            [
                "018bcfe5-687b-829b-85dc-905096412341",
                "018bcfe5-687b-8919-a629-9de710ea3306",
                "018bcfe5-687b-8d82-aee1-52623f942dd6",
                "018bcfe5-687b-865f-90b0-ac2bf3ab2e7d",
            ]
        );
    }
}
