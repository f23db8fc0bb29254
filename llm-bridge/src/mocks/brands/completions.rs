//! The shapes that most providers have taken over from `OpenAI`: requests, completions, chunks.

use serde_json::{Value, json};

use crate::mock::prompt::Message;
use crate::mocks::brand::{Incoming, Wanted};
use crate::mocks::scenario::End;
use crate::mocks::talk::{Asked, Said, content};

/// When the mocks' answers were made, in seconds since the epoch.
pub(super) const CREATED: u64 = 1_760_000_000;

/// What differs.
pub(super) struct Shape {
    pub roles: &'static [&'static str],
    pub formats: &'static [&'static str],
    pub tokens_max: &'static [&'static str],
    pub id_prefix: &'static str,
    /// Where thoughts are; empty if there are none.
    pub thoughts: &'static str,
    /// What a filtered answer has: its field in the choice, its value, its finish reason.
    pub filtered: (&'static str, fn() -> Value, &'static str),
    /// Whether a refusal has a field of its own.
    pub refusal: bool,
}

/// What is wrong: the field and words.
pub(super) type Wrong = (&'static str, String);

/// Reads a request of the paths `/chat/completions` and `/embeddings`; `None` for another path.
pub(super) fn read(incoming: &Incoming, shape: &Shape) -> Option<Result<Wanted, Wrong>> {
    match incoming.path.as_str() {
        "/chat/completions" => Some(chat(&incoming.body, shape).map(Wanted::Chat)),
        "/embeddings" => Some(embeddings(&incoming.body)),
        _ => None,
    }
}

fn chat(body: &Value, shape: &Shape) -> Result<Asked, Wrong> {
    let model = body["model"].as_str().unwrap_or_default();
    if model.is_empty() {
        return Err(("model", "model is empty".into()));
    }
    let list = body["messages"].as_array().filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| {
        let message = "messages must be an array with a message";
        ("messages", message.to_owned())
    })?;
    let mut messages = Vec::new();
    for message in list {
        let role = message["role"].as_str().unwrap_or_default();
        if !shape.roles.contains(&role) {
            return Err(("messages", format!("invalid role '{role}'")));
        }
        let has_calls = message["tool_calls"].is_array();
        let content = match content(&message["content"]) {
            Some(content) => content,
            None if has_calls => String::new(),
            None => return Err(("messages", "content is not a text".into())),
        };
        if role == "tool" && message["tool_call_id"].as_str().is_none_or(str::is_empty) {
            return Err(("messages", "a tool's message needs tool_call_id".into()));
        }
        messages.push(Message {
            role: role.into(),
            content,
        });
    }
    let is_streamed = body["stream"] == true;
    if !is_streamed && !body["stream_options"].is_null() {
        return Err((
            "stream_options",
            "only allowed when stream is enabled".into(),
        ));
    }
    check_format(&body["response_format"], shape)?;
    let bound = shape
        .tokens_max
        .iter()
        .find_map(|name| body[*name].as_u64());
    Ok(Asked {
        model: model.into(),
        messages,
        tool: first_tool(&body["tools"])?,
        is_streamed,
        include_usage: body["stream_options"]["include_usage"] == true,
        tokens_max: bound,
    })
}

fn check_format(format: &Value, shape: &Shape) -> Result<(), Wrong> {
    if format.is_null() {
        return Ok(());
    }
    let kind = format["type"].as_str().unwrap_or_default();
    if !shape.formats.contains(&kind) {
        return Err(("response_format", format!("unsupported type '{kind}'")));
    }
    let schema = &format["json_schema"];
    if kind == "json_schema" && !(schema["name"].is_string() && schema["schema"].is_object()) {
        return Err((
            "response_format",
            "json_schema needs name and schema".into(),
        ));
    }
    Ok(())
}

/// The name of the first tool, all of them being of the right form.
pub(super) fn first_tool(tools: &Value) -> Result<Option<String>, Wrong> {
    let Some(tools) = tools.as_array() else {
        return Ok(None);
    };
    let mut names = tools.iter().map(|tool| {
        let function = &tool["function"];
        let is_one = tool["type"] == "function" && function["parameters"].is_object();
        function["name"].as_str().filter(|_| is_one)
    });
    match names.next() {
        None => Ok(None),
        Some(Some(name)) if names.all(|name| name.is_some()) => Ok(Some(name.into())),
        Some(_) => Err(("tools", "a tool is not a function with parameters".into())),
    }
}

fn embeddings(body: &Value) -> Result<Wanted, Wrong> {
    let model = body["model"].as_str().unwrap_or_default().to_owned();
    if model.is_empty() {
        return Err(("model", "model is empty".into()));
    }
    let input = &body["input"];
    let texts = match input.as_str() {
        Some(text) => Some(vec![text.to_owned()]),
        None => input.as_array().and_then(|list| {
            let texts = list.iter().map(|text| text.as_str().map(str::to_owned));
            texts.collect()
        }),
    };
    match texts {
        Some(texts) if !texts.is_empty() => Ok(Wanted::Embeddings { model, texts }),
        Some(_) | None => Err(("input", "input is empty".into())),
    }
}

const fn reason(end: End, filtered: &'static str) -> &'static str {
    match end {
        End::Stop | End::Refusal => "stop",
        End::Length => "length",
        End::Filtered => filtered,
        End::ToolCalls => "tool_calls",
    }
}

/// The usage of an answer.
pub(super) fn usage(said: &Said) -> Value {
    json!({
        "prompt_tokens": said.prompt_tokens,
        "completion_tokens": said.completion_tokens,
        "total_tokens": said.prompt_tokens + said.completion_tokens,
        "prompt_tokens_details": { "cached_tokens": 0 },
        "completion_tokens_details": { "reasoning_tokens": 0 },
    })
}

/// A whole completion.
pub(super) fn whole(asked: &Asked, said: &Said, id: u64, shape: &Shape) -> Value {
    let mut message = json!({ "role": "assistant", "content": said.words });
    if shape.refusal {
        message["refusal"] = Value::Null;
        if said.end == End::Refusal {
            message["content"] = Value::Null;
            message["refusal"] = said.words.clone().into();
        }
    }
    if said.thinks && !shape.thoughts.is_empty() {
        message[shape.thoughts] = "先想一想。".into();
    }
    if let Some((tool, arguments)) = &said.call {
        message["content"] = Value::Null;
        message["tool_calls"] = json!([{
            "id": format!("call_{id}"),
            "type": "function",
            "function": { "name": tool, "arguments": arguments },
        }]);
    }
    let mut choice = json!({
        "index": 0,
        "message": message,
        "logprobs": null,
        "finish_reason": reason(said.end, shape.filtered.2),
    });
    mark_filtered(&mut choice, said, shape);
    json!({
        "id": format!("{}{id}", shape.id_prefix),
        "object": "chat.completion",
        "created": CREATED,
        "model": asked.model,
        "choices": [choice],
        "usage": usage(said),
    })
}

fn mark_filtered(choice: &mut Value, said: &Said, shape: &Shape) {
    if said.end == End::Filtered && !shape.filtered.0.is_empty() {
        choice[shape.filtered.0] = shape.filtered.1();
    }
}

/// The chunks of a stream, in order.
pub(super) fn chunks(
    asked: &Asked,
    said: &Said,
    id: u64,
    shape: &Shape,
    usage_last: bool,
) -> Vec<Value> {
    let mut deltas = vec![json!({ "role": "assistant", "content": "" })];
    if said.thinks && !shape.thoughts.is_empty() {
        deltas.push(json!({ "content": null, shape.thoughts: "先想一想。" }));
    }
    let is_refusal = shape.refusal && said.end == End::Refusal;
    let field = if is_refusal { "refusal" } else { "content" };
    deltas.extend(
        said.pieces()
            .into_iter()
            .map(|piece| json!({ field: piece })),
    );
    if let Some((tool, _)) = &said.call {
        let call = format!("call_{id}");
        let function = json!({ "name": tool, "arguments": "" });
        deltas.push(json!({ "tool_calls": [
            { "index": 0, "id": call, "type": "function", "function": function },
        ] }));
        deltas.extend(said.argument_pieces().into_iter().map(
            |piece| json!({ "tool_calls": [{ "index": 0, "function": { "arguments": piece } }] }),
        ));
    }
    let chunk = |choices: Value, usage: Value| {
        json!({
            "id": format!("{}{id}", shape.id_prefix),
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": asked.model,
            "choices": choices,
            "usage": usage,
        })
    };
    let choice = |delta: Value, finish: Value| {
        json!([
            { "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish },
        ])
    };
    let mut chunks: Vec<Value> = deltas
        .into_iter()
        .map(|delta| chunk(choice(delta, Value::Null), Value::Null))
        .collect();
    let mut last = chunk(
        choice(json!({}), reason(said.end, shape.filtered.2).into()),
        Value::Null,
    );
    mark_filtered(&mut last["choices"][0], said, shape);
    chunks.push(last);
    if asked.include_usage && usage_last {
        chunks.push(chunk(json!([]), usage(said)));
    }
    chunks
}

/// A chunk as an event, with a space after the colon.
pub(super) fn event(chunk: &Value) -> String {
    format!("data: {chunk}\n\n")
}

/// All chunks as events, and the one that says that nothing follows.
pub(super) fn stream(chunks: &[Value]) -> Vec<String> {
    let mut events: Vec<String> = chunks.iter().map(event).collect();
    events.push("data: [DONE]\n\n".into());
    events
}

/// A list of points.
pub(super) fn points(model: &str, texts: &[String]) -> Value {
    let data = texts.iter().enumerate().map(|(index, text)| {
        json!({
            "object": "embedding",
            "index": index,
            "embedding": crate::mocks::talk::embedding(text),
        })
    });
    let tokens = crate::mocks::talk::count(texts);
    json!({
        "object": "list",
        "data": data.collect::<Vec<_>>(),
        "model": model,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })
}
