//! What a mission asks of a model, and what comes of it. Pure data.

use protocol::ClientMessageId;
use protocol::wire;

use crate::prompt::Progress;
use crate::summary::Decline;

/// What the model is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The instruction.
    pub instruction: ClientMessageId,
    /// Which version the plan will be.
    pub version: u32,
    /// The words of the instruction.
    pub text: String,
    /// What became of the plans before.
    pub progress: Option<Progress>,
}

/// What asking the model came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// A checked plan, or why there is none.
    pub plan: Result<wire::Plan, Decline>,
    /// Tokens of all prompts.
    pub prompt_tokens: u64,
    /// Tokens of all answers.
    pub completion_tokens: u64,
}
