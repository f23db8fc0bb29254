//! Alibaba's Qwen (`DashScope`), by its own interface: the stream is asked for by a header, its
//! events carry a status, and no event says that it has ended.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::calls::{CallPart, Calls};
use super::chat::{ChatRequest, Embeddings, Finish, Form, Reply, Usage};
use super::completions;
use super::dashscope::{self, error, is_error};
use super::embeddings::in_order;
use super::error::ModelError;
use super::sse::Event;
use super::told::Told;
use super::{Abilities, Call, FormAbility, Next, Provider, ReadReply, ToolAbility};
use crate::plan::ANSWER_BYTES_MAX;

const CHAT: &str = "/services/aigc/text-generation/generation";
const EMBEDDINGS: &str = "/services/embeddings/text-embedding/text-embedding";

/// What asks for a stream: a field of the body does not.
const STREAM_HEADERS: [(&str, &str); 2] = [
    ("x-dashscope-sse", "enable"),
    ("accept", "text/event-stream"),
];

/// `DashScope`, its own mode.
#[derive(Debug, Clone, Copy)]
pub struct DashScopeNative;

impl Provider for DashScopeNative {
    fn abilities(&self) -> Abilities {
        Abilities {
            form: FormAbility::Json,
            tools: ToolAbility::Request,
            embeddings_max: dashscope::EMBEDDINGS_MAX,
            sampling: true,
        }
    }

    fn chat(&self, model: &str, request: &ChatRequest) -> Result<Call, ModelError> {
        let mut messages: Vec<Value> = request.messages.iter().map(completions::message).collect();
        if !dashscope::says_json(request) {
            messages.insert(0, completions::message(&dashscope::json_message()));
        }
        let body = json!({
            "model": model,
            "input": { "messages": messages },
            "parameters": parameters(request),
        });
        let mut call = Call::post(CHAT, body);
        if request.is_streamed {
            call.headers = STREAM_HEADERS.into();
        }
        Ok(call)
    }

    fn reader(&self) -> Box<dyn ReadReply> {
        Box::new(Reader::default())
    }

    fn embed(&self, model: &str, texts: &[String]) -> Result<Call, ModelError> {
        let body = json!({
            "model": model,
            "input": { "texts": texts },
            "parameters": { "text_type": "document" },
        });
        Ok(Call::post(EMBEDDINGS, body))
    }

    fn read_embeddings(&self, body: &[u8]) -> Result<Embeddings, ModelError> {
        let malformed = |error| ModelError::Malformed(format!("no embeddings: {error}"));
        let value: Value = serde_json::from_slice(body).map_err(malformed)?;
        if is_error(&value) {
            return Err(error(&Told::of(200, None, &value)));
        }
        let answer = EmbeddingAnswer::deserialize(&value).map_err(malformed)?;
        let parts = answer.output.embeddings.into_iter();
        Ok(Embeddings {
            vectors: in_order(
                parts
                    .map(|part| (part.text_index, part.embedding))
                    .collect(),
            )?,
            model: String::new(),
            tokens: answer.usage.total_tokens,
        })
    }

    fn error(&self, told: &Told) -> ModelError {
        error(told)
    }
}

fn parameters(request: &ChatRequest) -> Map<String, Value> {
    let mut parameters = Map::new();
    let mut set = |key: &str, value: Value| parameters.insert(key.into(), value);
    set("result_format", "message".into());
    if request.is_streamed {
        set("incremental_output", true.into());
    }
    if request.form != Form::Text {
        set("response_format", json!({ "type": "json_object" }));
    }
    if !request.tools.is_empty() {
        set("tools", completions::tools(request));
    }
    let sampling = request.sampling;
    for (key, value) in [
        ("temperature", sampling.temperature.map(Value::from)),
        ("top_p", sampling.top_p.map(Value::from)),
        ("max_tokens", sampling.tokens_max.map(Value::from)),
        ("seed", sampling.seed.map(Value::from)),
    ] {
        if let Some(value) = value {
            set(key, value);
        }
    }
    parameters
}

#[derive(Debug, Deserialize)]
struct EmbeddingAnswer {
    output: EmbeddingOutput,
    #[serde(default)]
    usage: UsagePart,
}

#[derive(Debug, Deserialize)]
struct EmbeddingOutput {
    embeddings: Vec<EmbeddingPart>,
}

#[derive(Debug, Deserialize)]
struct EmbeddingPart {
    text_index: usize,
    embedding: Vec<f32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct UsagePart {
    input_tokens: u64,
    output_tokens: u64,
    total_tokens: u64,
}

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    output: Output,
    #[serde(default)]
    usage: Option<UsagePart>,
}

/// In either of the two result formats.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Output {
    choices: Option<Vec<Choice>>,
    text: Option<String>,
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Choice {
    message: Words,
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Words {
    content: Option<String>,
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<CallPart>>,
}

/// Reads an answer.
#[derive(Debug, Default)]
struct Reader {
    reply: Reply,
    calls: Calls,
    has_thought: bool,
    is_complete: bool,
}

impl Reader {
    fn push(&mut self, status: u16, data: &str, is_error_event: bool) -> Result<(), ModelError> {
        let malformed = |error| ModelError::Malformed(format!("an answer is not one: {error}"));
        let value: Value = serde_json::from_str(data).map_err(malformed)?;
        if is_error_event || status >= 400 || is_error(&value) {
            return Err(error(&Told::of(status, None, &value)));
        }
        let answer = Answer::deserialize(&value).map_err(malformed)?;
        if let Some(usage) = answer.usage {
            // Each event has it, and the last the whole.
            self.reply.usage = Some(Usage {
                prompt_tokens: usage.input_tokens,
                completion_tokens: usage.output_tokens,
                ..Usage::default()
            });
        }
        let output = answer.output;
        let choice = match output.choices.unwrap_or_default().into_iter().next() {
            Some(choice) => choice,
            None => Choice {
                message: Words {
                    content: output.text,
                    ..Words::default()
                },
                finish_reason: output.finish_reason,
            },
        };
        let words = choice.message;
        self.has_thought |= words
            .reasoning_content
            .is_some_and(|thought| !thought.is_empty());
        self.reply.text.push_str(&words.content.unwrap_or_default());
        self.calls.push(words.tool_calls.unwrap_or_default())?;
        if self.reply.text.len() > ANSWER_BYTES_MAX {
            return Err(ModelError::TooLong);
        }
        match choice.finish_reason.as_deref() {
            // While the answer goes on, the reason is the word.
            None | Some("" | "null") => return Ok(()),
            Some("length") => self.reply.finish = Finish::Length,
            Some("tool_calls") => self.reply.finish = Finish::ToolCalls,
            Some(_) => {}
        }
        self.is_complete = true;
        Ok(())
    }
}

impl ReadReply for Reader {
    fn event(&mut self, event: &Event) -> Result<(), ModelError> {
        self.push(
            event.status.unwrap_or(200),
            &event.data,
            event.name == "error",
        )
    }

    fn whole(&mut self, body: &[u8]) -> Result<Next, ModelError> {
        let text = std::str::from_utf8(body)
            .map_err(|_| ModelError::Malformed("an answer that is not UTF-8".into()))?;
        self.push(200, text, false)?;
        Ok(Next::Done)
    }

    fn text(&self) -> &str {
        &self.reply.text
    }

    fn has_begun(&self) -> bool {
        !self.reply.text.is_empty() || self.has_thought || !self.calls.is_empty()
    }

    fn is_done(&self) -> bool {
        // No event says so, and the usage may come with the last.
        false
    }

    fn finish(self: Box<Self>) -> Result<Reply, ModelError> {
        let Self {
            mut reply,
            calls,
            is_complete,
            ..
        } = *self;
        if !is_complete {
            return Err(ModelError::Cut);
        }
        reply.tool_calls = calls.finish();
        Ok(reply)
    }
}
