//! Chat completions in the form of `OpenAI`, which most providers have with
//! differences of their own: what is sent, and what is made of chunks and whole answers. Pure.

use std::fmt;

use serde::Deserialize;
use serde_json::{Value, json};

use super::calls::{CallPart, Calls};
use super::chat::{ChatRequest, Embeddings, Finish, Form, Message, Reply, Sampling, Usage};
use super::embeddings;
use super::error::ModelError;
use super::sse::Event;
use super::told::Told;
use super::{Abilities, Call, FormAbility, Next, Provider, ReadReply, ToolAbility};
use crate::plan::ANSWER_BYTES_MAX;

/// The event after the last.
const DONE: &str = "[DONE]";

/// The longest name of a model that is kept, in characters.
const MODEL_CHARS_MAX: usize = 128;

/// What differs between the providers with this form.
#[derive(Debug)]
pub(super) struct Dialect {
    /// How the bound of an answer's tokens is called.
    pub tokens_max: &'static str,
    /// What `response_format` may be.
    pub form: FormAbility,
    /// Whether a schema is to be kept to in every detail.
    pub is_strict: bool,
    /// Whether a seed is taken.
    pub seed: bool,
    /// Texts of one request for embeddings.
    pub embeddings_max: usize,
    /// What is changed in a request before it is sent.
    pub amend: Option<fn(&ChatRequest, &mut Value)>,
    /// What an error means.
    pub error: fn(&Told) -> ModelError,
}

/// A provider with this form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Completions(pub &'static Dialect);

impl Provider for Completions {
    fn abilities(&self) -> Abilities {
        Abilities {
            form: self.0.form,
            tools: ToolAbility::Request,
            embeddings_max: self.0.embeddings_max,
            sampling: true,
        }
    }

    fn chat(&self, model: &str, request: &ChatRequest) -> Result<Call, ModelError> {
        let mut body = chat(model, request, self.0);
        if let Some(amend) = self.0.amend {
            amend(request, &mut body);
        }
        Ok(Call::post("/chat/completions", body))
    }

    fn reader(&self) -> Box<dyn ReadReply> {
        Box::new(Reader::new(self.0.error))
    }

    fn embed(&self, model: &str, texts: &[String]) -> Result<Call, ModelError> {
        Ok(embeddings::call(model, texts))
    }

    fn read_embeddings(&self, body: &[u8]) -> Result<Embeddings, ModelError> {
        embeddings::read(body, self.0.error)
    }

    fn error(&self, told: &Told) -> ModelError {
        (self.0.error)(told)
    }
}

/// The request for an answer.
fn chat(model: &str, request: &ChatRequest, dialect: &Dialect) -> Value {
    let mut body = json!({
        "model": model,
        "messages": request.messages.iter().map(message).collect::<Vec<_>>(),
        "stream": request.is_streamed,
    });
    if request.is_streamed {
        body["stream_options"] = json!({ "include_usage": true });
    }
    match (&request.form, dialect.form) {
        (Form::Text, _) | (_, FormAbility::Prompt) => {}
        (Form::Schema { name, schema }, FormAbility::Schema) => {
            body["response_format"] = json!({
                "type": "json_schema",
                "json_schema": { "name": name, "schema": schema, "strict": dialect.is_strict },
            });
        }
        (Form::Json | Form::Schema { .. }, FormAbility::Json | FormAbility::Schema) => {
            body["response_format"] = json!({ "type": "json_object" });
        }
    }
    if !request.tools.is_empty() {
        body["tools"] = tools(request);
    }
    sampling(&mut body, &request.sampling, dialect);
    body
}

fn sampling(body: &mut Value, sampling: &Sampling, dialect: &Dialect) {
    if let Some(temperature) = sampling.temperature {
        body["temperature"] = temperature.into();
    }
    if let Some(top_p) = sampling.top_p {
        body["top_p"] = top_p.into();
    }
    if let Some(tokens_max) = sampling.tokens_max {
        body[dialect.tokens_max] = tokens_max.into();
    }
    if let Some(seed) = sampling.seed.filter(|_| dialect.seed) {
        body["seed"] = seed.into();
    }
}

/// The tools of a request.
pub(super) fn tools(request: &ChatRequest) -> Value {
    let tools = request.tools.iter().map(|tool| {
        json!({
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
            },
        })
    });
    tools.collect()
}

/// A message.
pub(super) fn message(message: &Message) -> Value {
    let mut object = json!({ "role": message.role.as_str(), "content": message.content });
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(|call| {
            json!({
                "id": call.id,
                "type": "function",
                "function": { "name": call.name, "arguments": call.arguments },
            })
        });
        object["tool_calls"] = calls.collect();
    }
    if !message.tool_call_id.is_empty() {
        object["tool_call_id"] = message.tool_call_id.clone().into();
    }
    object
}

/// Reads an answer.
pub(super) struct Reader {
    error: fn(&Told) -> ModelError,
    reply: Reply,
    refusal: String,
    calls: Calls,
    has_thought: bool,
    is_filtered: bool,
    is_complete: bool,
    is_done: bool,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

#[derive(Debug, Deserialize)]
struct Chunk {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Option<UsagePart>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    /// "delta" in a chunk, "message" in a whole completion.
    #[serde(default, alias = "message")]
    delta: Option<Words>,
    #[serde(default)]
    finish_reason: Option<String>,
    /// Qianfan: not 0 if the content hit a list of words.
    #[serde(default)]
    flag: Option<i64>,
    /// Ark: how the content was found at fault.
    #[serde(default)]
    moderation_hit_type: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Words {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    /// Thoughts, under two names.
    #[serde(default, alias = "reasoning")]
    reasoning_content: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<CallPart>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct UsagePart {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

impl UsagePart {
    fn usage(self) -> Usage {
        let of = |details: Option<Details>| details.unwrap_or_default();
        Usage {
            prompt_tokens: self.prompt_tokens.unwrap_or_default(),
            completion_tokens: self.completion_tokens.unwrap_or_default(),
            cached_tokens: of(self.prompt_tokens_details)
                .cached_tokens
                .unwrap_or_default(),
            reasoning_tokens: of(self.completion_tokens_details)
                .reasoning_tokens
                .unwrap_or_default(),
        }
    }
}

impl Reader {
    /// A reader that gives errors the class that the provider says.
    pub(super) fn new(error: fn(&Told) -> ModelError) -> Self {
        Self {
            error,
            reply: Reply::default(),
            refusal: String::new(),
            calls: Calls::default(),
            has_thought: false,
            is_filtered: false,
            is_complete: false,
            is_done: false,
        }
    }

    fn push(&mut self, status: u16, data: &str) -> Result<(), ModelError> {
        let malformed = |error| ModelError::Malformed(format!("a chunk is not one: {error}"));
        let value: Value = serde_json::from_str(data).map_err(malformed)?;
        let chunk = Chunk::deserialize(&value).map_err(malformed)?;
        // Some servers lay their errors flat.
        let is_flat = chunk.choices.is_none()
            && (value["message"].is_string() || !value["error_code"].is_null());
        let is_error = chunk.error.is_some() || is_flat;
        if is_error {
            return Err((self.error)(&Told::of(status, None, &value)));
        }
        if let Some(model) = chunk.model {
            self.reply.model = model.chars().take(MODEL_CHARS_MAX).collect();
        }
        if let Some(usage) = chunk.usage {
            self.reply.usage = Some(usage.usage());
        }
        match chunk.choices.unwrap_or_default().into_iter().next() {
            Some(choice) => self.choice(choice),
            None => Ok(()),
        }
    }

    fn choice(&mut self, choice: Choice) -> Result<(), ModelError> {
        let words = choice.delta.unwrap_or_default();
        self.has_thought |= words
            .reasoning_content
            .is_some_and(|thought| !thought.is_empty());
        self.reply.text.push_str(&words.content.unwrap_or_default());
        self.refusal.push_str(&words.refusal.unwrap_or_default());
        self.calls.push(words.tool_calls.unwrap_or_default())?;
        if self.reply.text.len().max(self.refusal.len()) > ANSWER_BYTES_MAX {
            return Err(ModelError::TooLong);
        }
        self.is_filtered |= choice.flag.is_some_and(|flag| flag != 0)
            || choice
                .moderation_hit_type
                .is_some_and(|hit| !hit.is_empty());
        match choice.finish_reason.as_deref() {
            None | Some("" | "null") => return Ok(()),
            Some("content_filter") => self.is_filtered = true,
            Some("length") => self.reply.finish = Finish::Length,
            Some("tool_calls" | "function_call") => self.reply.finish = Finish::ToolCalls,
            Some(_) => {}
        }
        self.is_complete = true;
        Ok(())
    }
}

impl ReadReply for Reader {
    fn event(&mut self, event: &Event) -> Result<(), ModelError> {
        if event.data.trim() == DONE {
            self.is_done = true;
            return Ok(());
        }
        self.push(event.status.unwrap_or(200), &event.data)
    }

    fn whole(&mut self, body: &[u8]) -> Result<Next, ModelError> {
        let text = std::str::from_utf8(body)
            .map_err(|_| ModelError::Malformed("a completion that is not UTF-8".into()))?;
        self.push(200, text)?;
        Ok(Next::Done)
    }

    fn text(&self) -> &str {
        &self.reply.text
    }

    fn has_begun(&self) -> bool {
        let has_spoken = !self.reply.text.is_empty() || !self.refusal.is_empty();
        has_spoken || self.has_thought || !self.calls.is_empty()
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn finish(self: Box<Self>) -> Result<Reply, ModelError> {
        let Self {
            mut reply,
            refusal,
            calls,
            is_filtered,
            is_complete,
            is_done,
            ..
        } = *self;
        if is_filtered {
            return Err(ModelError::Refused("the provider's content filter".into()));
        }
        if !is_complete && !is_done {
            return Err(ModelError::Cut);
        }
        if reply.text.is_empty() && !refusal.is_empty() {
            return Err(ModelError::Refused(refusal));
        }
        reply.tool_calls = calls.finish();
        if reply.finish == Finish::Stop && !reply.tool_calls.is_empty() {
            // Not every server says why it stopped.
            reply.finish = Finish::ToolCalls;
        }
        Ok(reply)
    }
}

#[cfg(test)]
mod tests;
