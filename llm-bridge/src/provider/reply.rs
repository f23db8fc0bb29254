//! A chat completion, collected from the chunks of a stream or read as a whole. Pure.

use serde::Deserialize;

use super::error::ModelError;
use crate::plan::ANSWER_BYTES_MAX;

/// The event after the last.
const DONE: &str = "[DONE]";

/// The longest name of a model that is kept, in characters.
const MODEL_CHARS_MAX: usize = 128;

/// What a model has said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Its words.
    pub text: String,
    /// How it names itself; empty if it does not.
    pub model: String,
    /// Tokens of the prompt; 0 if the provider does not count.
    pub prompt_tokens: u64,
    /// Tokens of the words.
    pub completion_tokens: u64,
}

/// Collects a stream.
#[derive(Debug, Default)]
pub struct Collector {
    reply: Reply,
    refusal: String,
    is_complete: bool,
    is_done: bool,
}

#[derive(Debug, Deserialize)]
struct Chunk {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    /// "delta" in a chunk, "message" in a whole completion.
    #[serde(default, alias = "message")]
    delta: Words,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Words {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

impl Collector {
    /// The data of the next event.
    pub fn push(&mut self, data: &str) -> Result<(), ModelError> {
        if data.trim() == DONE {
            self.is_done = true;
            return Ok(());
        }
        let chunk: Chunk = serde_json::from_str(data)
            .map_err(|error| ModelError::Malformed(format!("a chunk is not one: {error}")))?;
        if chunk.error.is_some() {
            return Err(ModelError::Unavailable("an error in the stream".into()));
        }
        if let Some(model) = chunk.model {
            self.reply.model = model.chars().take(MODEL_CHARS_MAX).collect();
        }
        if let Some(usage) = chunk.usage {
            self.reply.prompt_tokens = usage.prompt_tokens;
            self.reply.completion_tokens = usage.completion_tokens;
        }
        let Some(choice) = chunk.choices.into_iter().next() else {
            return Ok(());
        };
        self.reply
            .text
            .push_str(&choice.delta.content.unwrap_or_default());
        self.refusal
            .push_str(&choice.delta.refusal.unwrap_or_default());
        if self.reply.text.len().max(self.refusal.len()) > ANSWER_BYTES_MAX {
            return Err(ModelError::TooLong);
        }
        match choice.finish_reason.as_deref() {
            None => {}
            Some("content_filter") => {
                return Err(ModelError::Refused("its content filter".into()));
            }
            // Cut by a bound of the provider's: what came is no plan, and its mending is asked for.
            Some(_) => self.is_complete = true,
        }
        Ok(())
    }

    /// Whether the model has begun to speak.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        !self.reply.text.is_empty() || !self.refusal.is_empty()
    }

    /// Whether nothing more comes.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.is_done
    }

    /// The reply, once the stream has ended.
    pub fn finish(self) -> Result<Reply, ModelError> {
        if !self.is_complete && !self.is_done {
            return Err(ModelError::Cut);
        }
        if self.reply.text.is_empty() && !self.refusal.is_empty() {
            return Err(ModelError::Refused(self.refusal));
        }
        Ok(self.reply)
    }
}

/// Reads a completion that came as one object.
pub fn whole(body: &[u8]) -> Result<Reply, ModelError> {
    let text = std::str::from_utf8(body)
        .map_err(|_| ModelError::Malformed("a completion that is not UTF-8".into()))?;
    let mut collector = Collector::default();
    collector.push(text)?;
    collector.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(events: &[&str]) -> Result<Reply, ModelError> {
        let mut collector = Collector::default();
        for event in events {
            collector.push(event)?;
        }
        collector.finish()
    }

    #[test]
    fn a_stream_is_collected_with_its_model_and_usage() {
        let reply = collect(&[
            r#"{"model":"m-1","choices":[{"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"model":"m-1","choices":[{"delta":{"content":"搬"}}],"usage":null}"#,
            r#"{"model":"m-1","choices":[{"delta":{"content":"箱子"}}]}"#,
            r#"{"model":"m-1","choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#,
            "[DONE]",
        ]);
        let expected = Reply {
            text: "搬箱子".into(),
            model: "m-1".into(),
            prompt_tokens: 7,
            completion_tokens: 3,
        };
        assert_eq!(reply, Ok(expected));
    }

    #[test]
    fn a_stream_that_just_ends_is_cut() {
        let begun = r#"{"choices":[{"delta":{"content":"a"}}]}"#;
        assert_eq!(collect(&[begun]), Err(ModelError::Cut));
        assert_eq!(collect(&[]), Err(ModelError::Cut));
        assert_eq!(collect(&[begun, "[DONE]"]).unwrap().text, "a");
    }

    #[test]
    fn refusals_errors_and_nonsense_have_their_class() {
        let refused = r#"{"choices":[{"delta":{"refusal":"No."},"finish_reason":"stop"}]}"#;
        let filtered = r#"{"choices":[{"delta":{},"finish_reason":"content_filter"}]}"#;
        let broken = r#"{"error":{"message":"overloaded"}}"#;
        let long = format!(
            r#"{{"choices":[{{"delta":{{"content":"{}"}}}}]}}"#,
            "x".repeat(ANSWER_BYTES_MAX + 1)
        );
        for (event, class) in [
            (refused, "refused"),
            (filtered, "refused"),
            (broken, "unavailable"),
            ("{", "malformed"),
            ("7", "malformed"),
            (&long, "too_long"),
        ] {
            assert_eq!(collect(&[event]).unwrap_err().class(), class, "{event:.60}");
        }
    }

    #[test]
    fn a_whole_completion_is_read_too() {
        let body =
            r#"{"model":"m","choices":[{"message":{"content":"ok"},"finish_reason":"stop"}]}"#;
        assert_eq!(whole(body.as_bytes()).unwrap().text, "ok");
        assert_eq!(whole(b"{\"choices\":[]}"), Err(ModelError::Cut));
        assert_eq!(whole(b"<html>").unwrap_err().class(), "malformed");
    }
}
