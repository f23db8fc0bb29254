//! What is asked of a model and what it answers, in no provider's form.

use serde_json::Value;

/// A conversation that a model is to go on with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChatRequest {
    /// The conversation, at least one message.
    pub messages: Vec<Message>,
    /// Of what form the answer must be.
    pub form: Form,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether the answer comes piece by piece.
    pub is_streamed: bool,
    /// What shapes the answer.
    pub sampling: Sampling,
    /// The answer that this request goes on with, where the provider keeps one.
    pub continues: Option<Continuation>,
}

/// What shapes an answer; what is not set is the provider's default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sampling {
    /// From 0, the likeliest words, to 2.
    pub temperature: Option<f64>,
    /// The share of likely words that are considered.
    pub top_p: Option<f64>,
    /// The most tokens of an answer.
    pub tokens_max: Option<u32>,
    /// The same seed gives the same answer, as far as the provider can.
    pub seed: Option<u32>,
}

/// One message of the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// What the model called; only of [`Role::Assistant`].
    pub tool_calls: Vec<ToolCall>,
    /// The call that this is the result of; only of [`Role::Tool`].
    pub tool_call_id: String,
}

impl Message {
    /// A message without tools.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            tool_calls: Vec::new(),
            tool_call_id: String::new(),
        }
    }

    /// What came of a call.
    pub fn result(call: &ToolCall, content: impl Into<String>) -> Self {
        Self {
            tool_call_id: call.id.clone(),
            ..Self::new(Role::Tool, content)
        }
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The rules.
    System,
    /// Who asks.
    User,
    /// The model.
    Assistant,
    /// A tool that the model called.
    Tool,
}

impl Role {
    /// As all providers write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// Of what form an answer must be.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Form {
    /// Any words.
    #[default]
    Text,
    /// JSON, whatever its form.
    Json,
    /// JSON that satisfies a schema.
    Schema {
        /// The name of the schema.
        name: String,
        /// The schema.
        schema: Value,
    },
}

/// Something that a model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// How the model names it.
    pub name: String,
    /// What it does.
    pub description: String,
    /// The JSON schema of its arguments.
    pub parameters: Value,
}

/// A call that a model wants made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// The provider's id of the call.
    pub id: String,
    /// The tool.
    pub name: String,
    /// A JSON object, if the model has kept to the schema.
    pub arguments: String,
}

/// Where a provider keeps an answer that waits for the results of its calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation {
    /// The provider's conversation.
    pub conversation: String,
    /// The answer in it.
    pub chat: String,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Finish {
    /// The model had said everything.
    #[default]
    Stop,
    /// A bound of tokens was reached: the answer ends in its middle.
    Length,
    /// The model waits for the results of its calls.
    ToolCalls,
}

/// What an answer cost, as the provider counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the conversation.
    pub prompt_tokens: u64,
    /// Tokens of the answer, thoughts included.
    pub completion_tokens: u64,
    /// Those of the conversation that the provider had kept.
    pub cached_tokens: u64,
    /// Those of the answer that were thoughts.
    pub reasoning_tokens: u64,
}

/// What a model has said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Its words.
    pub text: String,
    /// How it names itself; empty if it does not.
    pub model: String,
    /// How it ended.
    pub finish: Finish,
    /// What it wants called.
    pub tool_calls: Vec<ToolCall>,
    /// What it cost, if the provider says.
    pub usage: Option<Usage>,
    /// What a request with the results of its calls goes on with, if the provider keeps it.
    pub continues: Option<Continuation>,
}

impl Reply {
    /// What it cost; nothing where the provider does not say.
    #[must_use]
    pub fn cost(&self) -> Usage {
        self.usage.unwrap_or_default()
    }
}

/// Texts as points in a space where what means alike is near.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Embeddings {
    /// One for each text, in their order.
    pub vectors: Vec<Vec<f32>>,
    /// The provider's name of the model; empty if it does not say.
    pub model: String,
    /// Tokens of the texts; 0 if the provider does not say.
    pub tokens: u64,
}
