//! What was asked, as far as a mock has to know, and what is said: by a scenario, by the rules of
//! the planning mock where the request asks for a plan, else as the request asks.

use serde_json::{Value, json};

use super::scenario::{End, Scenario};
use crate::mock::prompt::Message;
use crate::mock::{planner, prompt, tokens};

/// Characters of a piece of words in a stream.
const PIECE_CHARS: usize = 7;

/// The length of the mocks' embeddings.
const EMBEDDING_LENGTH: usize = 8;

/// What was asked.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The model, or the bot.
    pub model: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// The name of the first tool, if there is one.
    pub tool: Option<String>,
    /// Whether the answer comes as a stream.
    pub is_streamed: bool,
    /// Whether the stream is to have a usage.
    pub include_usage: bool,
    /// The most tokens of an answer.
    pub tokens_max: Option<u64>,
}

/// What is said.
#[derive(Debug, Clone)]
pub struct Said {
    /// The words; for a refusal, what it says.
    pub words: String,
    /// How it ends.
    pub end: End,
    /// The call: a tool and its arguments.
    pub call: Option<(String, String)>,
    /// Tokens of the conversation.
    pub prompt_tokens: u64,
    /// Tokens of the words.
    pub completion_tokens: u64,
    /// Whether thoughts come first.
    pub thinks: bool,
}

impl Said {
    /// The answer to what was asked, as the scenario wants it.
    #[must_use]
    pub fn to(asked: &Asked, scenario: &Scenario) -> Self {
        let mut words = match (&scenario.say, scenario.end) {
            (Some(words), _) => words.clone(),
            (None, End::Refusal) => "I can't help with that.".into(),
            (None, _) => own_words(asked),
        };
        let mut end = scenario.end;
        if end == End::Stop
            && asked
                .tokens_max
                .is_some_and(|max| tokens::count(&words) > max)
        {
            end = End::Length;
        }
        if end == End::Length {
            let half = words.chars().count() / 2;
            words = words.chars().take(half).collect();
        }
        let call = (end == End::ToolCalls).then(|| {
            let tool = asked.tool.clone().unwrap_or_else(|| "look".into());
            (
                tool,
                "{\"where\": \"A区 \\\"1\\\"\", \"count\": 2}".to_owned(),
            )
        });
        if call.is_some() {
            words.clear();
        }
        let texts = asked.messages.iter().map(|message| &message.content);
        Self {
            completion_tokens: tokens::count(&words).max(1),
            prompt_tokens: texts.map(|text| tokens::count(text)).sum(),
            words,
            end,
            call,
            thinks: scenario.thinks,
        }
    }

    /// The words in pieces.
    #[must_use]
    pub fn pieces(&self) -> Vec<String> {
        split(&self.words)
    }

    /// The call's arguments in pieces.
    #[must_use]
    pub fn argument_pieces(&self) -> Vec<String> {
        self.call
            .as_ref()
            .map_or_else(Vec::new, |(_, arguments)| split(arguments))
    }
}

fn split(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters
        .chunks(PIECE_CHARS)
        .map(|piece| piece.iter().collect())
        .collect()
}

/// A plan, the JSON object that the last message shows, or that it was heard.
fn own_words(asked: &Asked) -> String {
    let found = prompt::find(&asked.messages);
    if found.is_some() {
        return planner::answer(found).to_json();
    }
    let last = asked
        .messages
        .last()
        .map_or("", |message| message.content.as_str());
    match shown(last) {
        Some(shown) => shown.to_owned(),
        None => format!("ok: {last}"),
    }
}

/// The JSON object at the end of a text, words after it aside.
fn shown(text: &str) -> Option<&str> {
    let end = text.rfind('}')?;
    let mut starts = text.match_indices('{').map(|(start, _)| start);
    let object = |start: usize| text.get(start..=end);
    let start = starts.find(|start| {
        let object = object(*start);
        object.is_some_and(|object| serde_json::from_str::<Value>(object).is_ok())
    });
    object(start?)
}

/// A point for a text: the same for the same text.
#[must_use]
pub fn embedding(text: &str) -> Vec<f64> {
    let mut sums = [0.0; EMBEDDING_LENGTH];
    for (place, byte) in text.bytes().enumerate() {
        sums[place % EMBEDDING_LENGTH] += f64::from(byte) / 255.0;
    }
    let length = sums
        .iter()
        .map(|x| x * x)
        .sum::<f64>()
        .sqrt()
        .max(f64::MIN_POSITIVE);
    sums.iter().map(|x| x / length).collect()
}

/// Tokens of texts.
#[must_use]
pub fn count(texts: &[String]) -> u64 {
    texts.iter().map(|text| tokens::count(text)).sum()
}

/// The content of a message: a text, or parts with texts.
#[must_use]
pub fn content(value: &Value) -> Option<String> {
    if let Some(parts) = value.as_array() {
        let texts = parts.iter().map(|part| part["text"].as_str());
        return texts
            .collect::<Option<Vec<_>>>()
            .map(|texts| texts.concat());
    }
    value.as_str().map(str::to_owned)
}

/// An error in the shape of `OpenAI`, which others have taken over.
#[must_use]
pub fn error(message: &str, kind: &str, code: Option<&str>) -> Value {
    json!({ "error": { "message": message, "type": kind, "param": null, "code": code } })
}
