//! Reads what an answer cost out of the bytes that pass: from its usage, or, where that is missing
//! or the answer was cut, by an estimate of what has passed. Pure.

use serde_json::Value;

use crate::provider::chat::Usage;
use crate::provider::sse::Events;

/// The longest answer that is kept whole to read its usage, in bytes; a stream is not kept.
const WHOLE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Characters of a token, where they are of an alphabet.
const CHARS_PER_TOKEN: u64 = 4;

/// Watches an answer pass.
#[derive(Debug)]
pub struct Tap {
    form: Form,
    usage: Option<Usage>,
    answer_tokens: Estimate,
}

#[derive(Debug)]
enum Form {
    Stream(Box<Events>),
    Whole(Vec<u8>),
    /// It is no answer, or cannot be read.
    Blind,
}

/// Tokens by their characters: never fewer than a tokenizer is likely to count.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    ascii: u64,
    other: u64,
}

impl Estimate {
    /// Counts a text.
    pub fn add(&mut self, text: &str) {
        for character in text.chars() {
            if character.is_ascii() {
                self.ascii += 1;
            } else {
                self.other += 1;
            }
        }
    }

    /// The tokens.
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.other + self.ascii.div_ceil(CHARS_PER_TOKEN)
    }

    /// Of a text.
    #[must_use]
    pub fn of(text: &str) -> u64 {
        let mut estimate = Self::default();
        estimate.add(text);
        estimate.tokens()
    }
}

impl Tap {
    /// Of an answer with this status that is or is not a stream.
    #[must_use]
    pub fn new(is_success: bool, is_stream: bool) -> Self {
        let form = match (is_success, is_stream) {
            (false, _) => Form::Blind,
            (true, true) => Form::Stream(Box::default()),
            (true, false) => Form::Whole(Vec::new()),
        };
        Self {
            form,
            usage: None,
            answer_tokens: Estimate::default(),
        }
    }

    /// These bytes pass.
    pub fn pass(&mut self, bytes: &[u8]) {
        match &mut self.form {
            Form::Stream(events) => match events.push(bytes) {
                Ok(read) => {
                    for event in read {
                        self.take(&event.data);
                    }
                }
                Err(_) => self.form = Form::Blind,
            },
            Form::Whole(body) if body.len() + bytes.len() <= WHOLE_BYTES_MAX => {
                body.extend_from_slice(bytes);
            }
            Form::Whole(_) => self.form = Form::Blind,
            Form::Blind => {}
        }
    }

    /// What the answer cost, and whether the provider has told it; the tokens of the prompt are
    /// estimated by who has it.
    #[must_use]
    pub fn finish(mut self, prompt_tokens: u64) -> (Usage, bool) {
        if let Form::Whole(body) = &self.form {
            let body = String::from_utf8_lossy(body).into_owned();
            self.take(&body);
        }
        match self.usage {
            Some(usage) => (usage, true),
            None => {
                let estimate = Usage {
                    prompt_tokens,
                    completion_tokens: self.answer_tokens.tokens(),
                    ..Usage::default()
                };
                (estimate, false)
            }
        }
    }

    fn take(&mut self, data: &str) {
        let Ok(value) = serde_json::from_str::<Value>(data) else {
            return;
        };
        let usage = &value["usage"];
        if let Some(prompt_tokens) = usage["prompt_tokens"].as_u64() {
            self.usage = Some(Usage {
                prompt_tokens,
                completion_tokens: usage["completion_tokens"].as_u64().unwrap_or_default(),
                ..Usage::default()
            });
        }
        let choice = &value["choices"][0];
        for part in ["delta", "message"] {
            for field in ["content", "reasoning_content", "refusal"] {
                if let Some(text) = choice[part][field].as_str() {
                    self.answer_tokens.add(text);
                }
            }
            if choice[part]["tool_calls"].is_array() {
                self.answer_tokens
                    .add(&choice[part]["tool_calls"].to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"箱子 abcd\"}}],\"usage\":null}\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":5}}\n\ndata: [DONE]\n\n";

    fn pass(text: &str, is_stream: bool, size: usize) -> (u64, u64, bool) {
        let mut tap = Tap::new(true, is_stream);
        for piece in text.as_bytes().chunks(size) {
            tap.pass(piece);
        }
        let (usage, is_told) = tap.finish(7);
        (usage.prompt_tokens, usage.completion_tokens, is_told)
    }

    #[test]
    fn usage_is_told_or_estimated_and_never_nothing() {
        for size in [1, 2, 7, 1000] {
            assert_eq!(pass(STREAM, true, size), (9, 5, true), "pieces of {size}");
        }
        let cut = &STREAM[..STREAM.find("\n\ndata: {\"choices\":[],").unwrap() + 2];
        assert_eq!(pass(cut, true, 5), (7, 4, false));
        let whole = r#"{"choices":[{"message":{"content":"ok"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
        assert_eq!(pass(whole, false, 10), (3, 1, true));
        assert_eq!(pass("<html>", false, 10), (7, 0, false));
    }
}
