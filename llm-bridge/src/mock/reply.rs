//! What is sent back, in OpenAI's shapes: completions, their chunks, lists of models, errors.

use serde_json::{Value, json};

use super::behaviour::Fail;
use super::tokens;

/// The name of the model in every reply, whatever was asked for.
pub const MODEL: &str = "mock-planner";

/// Characters of a chunk's piece of content.
const CHUNK_CHARS: usize = 24;

/// What a client is told to wait after a 429, in seconds.
pub const RETRY_AFTER_S: u64 = 1;

/// A reply, apart from the form in which it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Which request of this process it answers, the first being 1.
    pub nth: u64,
    /// Seconds since the Unix epoch.
    pub created: u64,
    /// The text.
    pub content: String,
    /// Estimated tokens of the prompt.
    pub prompt_tokens: u64,
}

impl Reply {
    /// Estimated tokens of the text.
    #[must_use]
    pub fn completion_tokens(&self) -> u64 {
        tokens::count(&self.content)
    }

    /// The reply as one object.
    #[must_use]
    pub fn completion(&self) -> Value {
        json!({
            "id": self.id(),
            "object": "chat.completion",
            "created": self.created,
            "model": MODEL,
            "choices": [{
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": self.content,
                    "refusal": null,
                    "annotations": [],
                },
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": self.usage(),
            "service_tier": "default",
            "system_fingerprint": null,
        })
    }

    /// The reply as events: the role, the content piece by piece, the end, the usage if it is
    /// asked for, and `[DONE]`.
    #[must_use]
    pub fn events(&self, include_usage: bool) -> Vec<String> {
        let mut deltas = vec![(json!({ "role": "assistant", "content": "" }), None)];
        let characters: Vec<char> = self.content.chars().collect();
        for piece in characters.chunks(CHUNK_CHARS) {
            let piece: String = piece.iter().collect();
            deltas.push((json!({ "content": piece }), None));
        }
        deltas.push((json!({}), Some("stop")));

        let mut events: Vec<String> = deltas
            .into_iter()
            .map(|(delta, finish_reason)| {
                let choice = json!({
                    "index": 0,
                    "delta": delta,
                    "logprobs": null,
                    "finish_reason": finish_reason,
                });
                self.chunk(&json!([choice]), include_usage.then_some(Value::Null))
            })
            .collect();
        if include_usage {
            events.push(self.chunk(&json!([]), Some(self.usage())));
        }
        events.push("data: [DONE]\n\n".into());
        events
    }

    fn chunk(&self, choices: &Value, usage: Option<Value>) -> String {
        let mut chunk = json!({
            "id": self.id(),
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": MODEL,
            "choices": choices,
            "service_tier": "default",
            "system_fingerprint": null,
        });
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        format!("data: {chunk}\n\n")
    }

    fn id(&self) -> String {
        format!("chatcmpl-mock-{}", self.nth)
    }

    fn usage(&self) -> Value {
        let completion_tokens = self.completion_tokens();
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
            "prompt_tokens_details": { "cached_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": 0 },
        })
    }
}

/// The models there are: this one.
#[must_use]
pub fn models(created: u64) -> Value {
    json!({
        "object": "list",
        "data": [{ "id": MODEL, "object": "model", "created": created, "owned_by": "mock-model" }],
    })
}

/// An error's body.
#[must_use]
pub fn error(message: &str, kind: &str, param: Option<&str>, code: Option<&str>) -> Value {
    json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
}

/// The status and body of a failure that is an answer; `None` for those that are not.
#[must_use]
pub fn failure(fail: Fail) -> Option<(u16, Value)> {
    let (status, message, kind, code) = match fail {
        Fail::None | Fail::Hang | Fail::Cut => return None,
        Fail::Unauthorized => (
            401,
            "Incorrect API key provided.",
            "invalid_request_error",
            Some("invalid_api_key"),
        ),
        Fail::RateLimited => (
            429,
            "Rate limit reached for requests.",
            "requests",
            Some("rate_limit_exceeded"),
        ),
        Fail::ServerError => (
            500,
            "The server had an error while processing your request.",
            "server_error",
            None,
        ),
        Fail::Unavailable => (
            503,
            "The engine is currently overloaded, please try again later.",
            "server_error",
            Some("overloaded"),
        ),
    };
    let message = format!("[mock model] {message}");
    Some((status, error(&message, kind, None, code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> Reply {
        Reply {
            nth: 3,
            created: 1_700_000_000,
            content: "计划：".repeat(20),
            prompt_tokens: 5,
        }
    }

    #[test]
    fn chunks_together_are_the_whole() {
        let events = reply().events(true);
        assert_eq!(events.last().unwrap(), "data: [DONE]\n\n");
        let chunks: Vec<Value> = events[..events.len() - 1]
            .iter()
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
            .collect();
        let text: String = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(text, reply().content);
        assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
        assert!(chunks[0]["usage"].is_null());
        assert_eq!(
            chunks[chunks.len() - 2]["choices"][0]["finish_reason"],
            "stop"
        );
        let usage = &chunks[chunks.len() - 1];
        assert_eq!(usage["choices"], json!([]));
        assert_eq!(usage["usage"]["total_tokens"], 65);
        assert!(chunks.iter().all(|chunk| chunk["model"] == MODEL));
    }

    #[test]
    fn usage_comes_only_when_asked_for() {
        let events = reply().events(false);
        assert!(events.iter().all(|event| !event.contains("usage")));
        assert_eq!(reply().completion()["usage"]["completion_tokens"], 60);
    }
}
