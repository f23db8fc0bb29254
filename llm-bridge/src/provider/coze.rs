//! `ByteDance`'s Coze: a chat (version 3) with a bot that is configured at the provider, whose rules
//! and tools are the bot's. The model is the bot's id. Whole answers are asked for again until they
//! are there; an answer that waits for the results of its calls is kept at the provider.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::chat::{ChatRequest, Continuation, Embeddings, Finish, Reply, Role, ToolCall, Usage};
use super::error::ModelError;
use super::sse::Event;
use super::told::Told;
use super::{Abilities, Call, FormAbility, Next, Provider, ReadReply, ToolAbility};
use crate::plan::ANSWER_BYTES_MAX;

/// Who speaks with the bot: the provider keeps conversations apart by it, and we keep none there.
const USER: &str = "planner";

/// How long a chat is left alone before it is looked at again.
const POLL_PAUSE: Duration = Duration::from_millis(500);

/// What goes before words that a role of the provider's would say.
const SYSTEM_MARK: &str = "[system]\n";

/// Coze.
#[derive(Debug, Clone, Copy)]
pub struct Coze;

impl Provider for Coze {
    fn abilities(&self) -> Abilities {
        Abilities {
            form: FormAbility::Prompt,
            tools: ToolAbility::Bot,
            embeddings_max: 0,
            sampling: false,
        }
    }

    fn chat(&self, model: &str, request: &ChatRequest) -> Result<Call, ModelError> {
        if let Some(continues) = &request.continues {
            return Ok(submit(request, continues));
        }
        let body = json!({
            "bot_id": model,
            "user_id": USER,
            "additional_messages": messages(request),
            "stream": request.is_streamed,
            // A chat that is not streamed cannot be looked at again unless it is kept.
            "auto_save_history": true,
        });
        Ok(Call::post("/v3/chat", body))
    }

    fn reader(&self) -> Box<dyn ReadReply> {
        Box::new(Reader::default())
    }

    fn embed(&self, _model: &str, _texts: &[String]) -> Result<Call, ModelError> {
        Err(ModelError::Unsupported("embeddings"))
    }

    fn read_embeddings(&self, _body: &[u8]) -> Result<Embeddings, ModelError> {
        Err(ModelError::Unsupported("embeddings"))
    }

    fn error(&self, told: &Told) -> ModelError {
        error(told)
    }
}

/// The conversation: rules go before the first words of the user, because a bot takes none.
fn messages(request: &ChatRequest) -> Vec<Value> {
    let mut rules = String::new();
    let mut messages = Vec::new();
    for message in &request.messages {
        let (role, kind) = match message.role {
            Role::System => {
                rules.push_str(SYSTEM_MARK);
                rules.push_str(&message.content);
                rules.push_str("\n\n");
                continue;
            }
            Role::User | Role::Tool => ("user", "question"),
            Role::Assistant => ("assistant", "answer"),
        };
        let mut content = message.content.clone();
        if role == "user" {
            content.insert_str(0, &std::mem::take(&mut rules));
        }
        messages.push(json!({
            "role": role,
            "type": kind,
            "content": content,
            "content_type": "text",
        }));
    }
    messages
}

/// What came of the calls that an answer waits for.
fn submit(request: &ChatRequest, continues: &Continuation) -> Call {
    let results = request.messages.iter().rev();
    let mut outputs: Vec<Value> = results
        .take_while(|message| message.role == Role::Tool)
        .map(|its| json!({ "tool_call_id": its.tool_call_id, "output": its.content }))
        .collect();
    outputs.reverse();
    let path = format!("/v3/chat/submit_tool_outputs?{}", query(continues));
    let body = json!({ "tool_outputs": outputs, "stream": request.is_streamed });
    Call::post(path, body)
}

fn query(chat: &Continuation) -> String {
    let plain = |id: &str| -> String { id.chars().filter(char::is_ascii_alphanumeric).collect() };
    format!(
        "conversation_id={}&chat_id={}",
        plain(&chat.conversation),
        plain(&chat.chat)
    )
}

fn error(told: &Told) -> ModelError {
    match told.code.as_str() {
        "4100" | "4101" | "700012006" => ModelError::Auth {
            status: told.status,
        },
        "4028" | "4027" | "4026" => ModelError::Quota,
        "4013" | "4016" => told.limited(),
        "4000" | "4001" | "4009" | "4200" => told.bad(),
        "5000" | "700012" => told.unavailable(),
        _ if is_about_content(&told.message) => told.refused(),
        _ => told.by_status(),
    }
}

/// A chat that failed has no code for it.
fn is_about_content(message: &str) -> bool {
    let message = message.to_lowercase();
    let parts = [
        "sensitive",
        "content policy",
        "敏感",
        "违规",
        "not compliant",
    ];
    parts.iter().any(|part| message.contains(part))
}

/// What every answer that is no stream is wrapped in.
#[derive(Debug, Deserialize)]
struct Envelope {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    data: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Chat {
    id: String,
    conversation_id: String,
    status: String,
    usage: Option<UsagePart>,
    last_error: Option<Value>,
    required_action: Option<RequiredAction>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct UsagePart {
    output_count: u64,
    input_count: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RequiredAction {
    submit_tool_outputs: Outputs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Outputs {
    tool_calls: Vec<CallPart>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CallPart {
    id: String,
    function: FunctionPart,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FunctionPart {
    name: String,
    arguments: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Words {
    r#type: String,
    content: String,
    reasoning_content: Option<String>,
}

/// Reads an answer.
#[derive(Debug, Default)]
struct Reader {
    reply: Reply,
    chat: Option<Continuation>,
    has_thought: bool,
    is_complete: bool,
    is_done: bool,
}

impl Reader {
    fn say(&mut self, words: &Words) -> Result<(), ModelError> {
        if words.r#type == "answer" {
            self.reply.text.push_str(&words.content);
        }
        self.has_thought |= words
            .reasoning_content
            .as_deref()
            .is_some_and(|its| !its.is_empty());
        if self.reply.text.len() > ANSWER_BYTES_MAX {
            return Err(ModelError::TooLong);
        }
        Ok(())
    }

    /// What became of the chat.
    fn chat(&mut self, chat: Chat) -> Result<(), ModelError> {
        if let Some(usage) = chat.usage {
            self.reply.usage = Some(Usage {
                prompt_tokens: usage.input_count,
                completion_tokens: usage.output_count,
                ..Usage::default()
            });
        }
        let place = Continuation {
            conversation: chat.conversation_id,
            chat: chat.id,
        };
        match chat.status.as_str() {
            "failed" | "canceled" => {
                let why = chat.last_error.unwrap_or_default();
                return Err(error(&Told::of(200, None, &why)));
            }
            "requires_action" => {
                let calls = chat.required_action.unwrap_or_default().submit_tool_outputs;
                let calls = calls.tool_calls.into_iter().map(|call| ToolCall {
                    id: call.id,
                    name: call.function.name,
                    arguments: call.function.arguments,
                });
                self.reply.tool_calls = calls.collect();
                self.reply.finish = Finish::ToolCalls;
                self.reply.continues = Some(place.clone());
                self.is_complete = true;
            }
            "completed" => self.is_complete = true,
            _ => {}
        }
        self.chat = Some(place);
        Ok(())
    }

    /// A list of what was said, or what became of the chat.
    fn data(&mut self, data: Value) -> Result<Next, ModelError> {
        if let Value::Array(_) = data {
            let said = Vec::<Words>::deserialize(data).map_err(malformed)?;
            for words in &said {
                self.say(words)?;
            }
            self.is_done = true;
            return Ok(Next::Done);
        }
        self.chat(Chat::deserialize(data).map_err(malformed)?)?;
        let Some(chat) = &self.chat else {
            return Ok(Next::Done);
        };
        if self.reply.finish == Finish::ToolCalls {
            return Ok(Next::Done);
        }
        if self.is_complete {
            let path = format!("/v3/chat/message/list?{}", query(chat));
            return Ok(Next::Call(Duration::ZERO, Call::get(path)));
        }
        let path = format!("/v3/chat/retrieve?{}", query(chat));
        Ok(Next::Call(POLL_PAUSE, Call::post(path, json!({}))))
    }
}

fn malformed(error: serde_json::Error) -> ModelError {
    ModelError::Malformed(format!("no answer of a chat: {error}"))
}

impl ReadReply for Reader {
    fn event(&mut self, event: &Event) -> Result<(), ModelError> {
        let value = || serde_json::from_str::<Value>(&event.data).map_err(malformed);
        match event.name.as_str() {
            "conversation.message.delta" => {
                self.say(&Words::deserialize(value()?).map_err(malformed)?)
            }
            "conversation.chat.created"
            | "conversation.chat.in_progress"
            | "conversation.chat.completed"
            | "conversation.chat.requires_action" => {
                self.chat(Chat::deserialize(value()?).map_err(malformed)?)
            }
            "conversation.chat.failed" => {
                let why = value()?;
                Err(error(&Told::of(200, None, &why["last_error"])))
            }
            "error" => Err(error(&Told::of(200, None, &value()?))),
            "done" => {
                self.is_done = true;
                Ok(())
            }
            // Whole messages again, sound, and what is yet to come.
            _ => Ok(()),
        }
    }

    fn whole(&mut self, body: &[u8]) -> Result<Next, ModelError> {
        let value: Value = serde_json::from_slice(body).map_err(malformed)?;
        let envelope = Envelope::deserialize(&value).map_err(malformed)?;
        if envelope.code != 0 {
            return Err(error(&Told::of(200, None, &value)));
        }
        self.data(envelope.data)
    }

    fn text(&self) -> &str {
        &self.reply.text
    }

    fn has_begun(&self) -> bool {
        !self.reply.text.is_empty() || self.has_thought || self.reply.finish == Finish::ToolCalls
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn finish(self: Box<Self>) -> Result<Reply, ModelError> {
        if !self.is_complete {
            return Err(ModelError::Cut);
        }
        Ok(self.reply)
    }
}
