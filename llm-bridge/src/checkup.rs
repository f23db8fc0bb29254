//! Checking a provider with a key, against the live service: what a person runs before trusting it.
//! Auth, streaming, form, usage and embeddings, each with what mends its failure. The report is in
//! [`report`].

pub mod report;

use serde_json::{Value, json};

use crate::provider::chat::{Finish, Message, Role, Sampling};
use crate::provider::service::Listener;
use crate::provider::{ChatRequest, FormAbility, ModelError, Service, structured};

/// The most tokens of one answer.
const ANSWER_TOKENS_MAX: u32 = 256;

/// More than any prompt here has, whatever the tokenizer.
const PROMPT_TOKENS_MAX: u32 = 400;

/// Questions at most, one to mend included; embeddings are one more request.
const QUESTIONS_MAX: u32 = 4;

/// Requests to mend an answer.
const REPAIRS_MAX: u32 = 1;

/// What is put in space.
const TEXTS: [&str; 2] = ["move the box to zone B", "把箱子搬到 B区"];

/// The largest that a check can cost, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargestCost {
    /// Of prompts, embeddings included.
    pub prompt_tokens: u32,
    /// Of answers; a provider that takes no bound may go beyond it.
    pub answer_tokens: u32,
    /// Whether the provider is held to the bound of answers.
    pub is_bounded: bool,
}

impl LargestCost {
    /// Of a check of this provider.
    #[must_use]
    pub fn of(service: &Service) -> Self {
        Self {
            prompt_tokens: (QUESTIONS_MAX + 1) * PROMPT_TOKENS_MAX,
            answer_tokens: QUESTIONS_MAX * ANSWER_TOKENS_MAX,
            is_bounded: service.abilities().sampling,
        }
    }

    /// In money, at these prices for a million tokens.
    #[must_use]
    pub fn at(&self, prompt_price: f64, answer_price: f64) -> f64 {
        let prompt = f64::from(self.prompt_tokens) * prompt_price;
        (prompt + f64::from(self.answer_tokens) * answer_price) / 1_000_000.0
    }
}

/// What became of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What was checked.
    pub name: &'static str,
    /// How it ended.
    pub verdict: Verdict,
}

/// How a part ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Well, with what was seen.
    Passed(String),
    /// Badly.
    Failed {
        /// What was seen.
        seen: String,
        /// What mends it.
        mend: String,
    },
    /// Not checked, and why.
    Skipped(String),
}

impl Part {
    const fn new(name: &'static str, verdict: Verdict) -> Self {
        Self { name, verdict }
    }

    /// Whether it ended badly.
    #[must_use]
    pub const fn has_failed(&self) -> bool {
        match self.verdict {
            Verdict::Failed { .. } => true,
            Verdict::Passed(_) | Verdict::Skipped(_) => false,
        }
    }
}

#[derive(Debug, Default)]
struct Ear {
    pieces: usize,
}

impl Listener for Ear {
    fn hear(&mut self, _words: &str) {
        self.pieces += 1;
    }

    fn restart(&mut self) {
        self.pieces = 0;
    }
}

fn question(words: &str, is_streamed: bool) -> ChatRequest {
    ChatRequest {
        messages: vec![Message::new(Role::User, words)],
        is_streamed,
        sampling: Sampling {
            tokens_max: Some(ANSWER_TOKENS_MAX),
            ..Sampling::default()
        },
        ..ChatRequest::default()
    }
}

/// Checks all parts. Without auth the others are passed over.
pub async fn check(service: &Service) -> Vec<Part> {
    let asked = service
        .ask(&question("Say \"ready\" and nothing else.", false))
        .await;
    let whole_usage = asked.as_ref().ok().and_then(|reply| reply.usage);
    let auth = match &asked {
        Ok(reply) => Verdict::Passed(format!(
            "the model {} answered",
            named(service, &reply.model)
        )),
        Err(error) => failed(error),
    };
    let mut parts = vec![Part::new("auth", auth)];
    if parts[0].has_failed() {
        let why = || Verdict::Skipped("no answer to the first question".into());
        let others = ["streaming", "structured output", "usage", "embeddings"];
        parts.extend(others.map(|name| Part::new(name, why())));
        return parts;
    }
    let (streaming, streamed_usage) = streaming(service).await;
    parts.push(Part::new("streaming", streaming));
    parts.push(Part::new("structured output", form(service).await));
    let usage = usage(whole_usage.is_some(), streamed_usage);
    parts.push(Part::new("usage", usage));
    parts.push(Part::new("embeddings", embeddings(service).await));
    parts
}

fn named(service: &Service, told: &str) -> String {
    if told.is_empty() {
        service.model().into()
    } else {
        told.into()
    }
}

async fn streaming(service: &Service) -> (Verdict, bool) {
    let mut ear = Ear::default();
    let request = question("Count from 1 to 20 in words, 用中文.", true);
    let reply = match service.attempt(&request, &mut ear).await {
        Ok(reply) => reply,
        Err(error) => return (failed(&error), false),
    };
    let has_usage = reply.usage.is_some();
    let verdict = if ear.pieces > 1 || reply.finish == Finish::Length {
        Verdict::Passed(format!(
            "{} pieces, {} characters",
            ear.pieces,
            reply.text.chars().count()
        ))
    } else {
        Verdict::Failed {
            seen: "the answer came at once".into(),
            mend:
                "a proxy between here and the provider gathers the answer: turn its buffering off"
                    .into(),
        }
    };
    (verdict, has_usage)
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "robot": { "type": "string" },
            "boxes": { "type": "integer" },
        },
        "required": ["robot", "boxes"],
        "additionalProperties": false,
    })
}

async fn form(service: &Service) -> Verdict {
    let words = "The robot lift-1 carries 3 boxes. Answer with JSON in the form of \
                 {\"robot\": \"lift-1\", \"boxes\": 3} and nothing else.";
    let request = question(words, true);
    match structured::ask(service, request, "carrying", &schema(), REPAIRS_MAX).await {
        Ok(asked) => {
            let how = match service.form() {
                FormAbility::Schema => "held to the schema",
                FormAbility::Json => "held to JSON",
                FormAbility::Prompt => "asked for in words",
            };
            let repairs = asked.replies.len() - 1;
            Verdict::Passed(format!("{how}, mended {repairs} times: {}", asked.value))
        }
        Err(ModelError::Malformed(seen)) => Verdict::Failed {
            seen,
            mend: "the model does not keep to a form: choose a stronger one (`name`), or a lesser \
                   `response_format`"
                .into(),
        },
        Err(error @ ModelError::BadRequest { .. }) => Verdict::Failed {
            seen: error.to_string(),
            mend: "the model may not know this form: set `response_format` to \"json_object\" or \
                   \"text\""
                .into(),
        },
        Err(error) => failed(&error),
    }
}

fn usage(in_whole: bool, in_stream: bool) -> Verdict {
    match (in_whole, in_stream) {
        (true, true) => Verdict::Passed("told for whole and for streamed answers".into()),
        (in_whole, _) => Verdict::Failed {
            seen: format!(
                "not told for {} answers",
                if in_whole { "streamed" } else { "whole" }
            ),
            mend: "tokens are counted as 0 with this server: a newer version, or a proxy that \
                   passes `stream_options` on, may tell them"
                .into(),
        },
    }
}

async fn embeddings(service: &Service) -> Verdict {
    if service.abilities().embeddings_max == 0 {
        return Verdict::Skipped("the provider has none".into());
    }
    if service.embeddings_model().is_empty() {
        return Verdict::Skipped("no `embeddings_name` is set".into());
    }
    match service.embed(&TEXTS.map(str::to_owned)).await {
        Ok(points) => Verdict::Passed(format!(
            "{} texts, {} numbers each, {} tokens",
            points.vectors.len(),
            points.vectors.first().map_or(0, Vec::len),
            points.tokens
        )),
        Err(error @ ModelError::BadRequest { .. }) => Verdict::Failed {
            seen: error.to_string(),
            mend: "set `embeddings_name` to a model of embeddings that your account has".into(),
        },
        Err(error) => failed(&error),
    }
}

fn failed(error: &ModelError) -> Verdict {
    let mend = match error {
        ModelError::Auth { .. } => {
            "the key is wrong, expired, or of another region or project: look at `key_file` and \
             `base_url`"
        }
        ModelError::Quota => "the account needs money or a raised limit, at the provider's console",
        ModelError::RateLimited { .. } => "wait a minute; ask the provider for a higher limit",
        ModelError::BadRequest { status: 404, .. } => {
            "there is no such model or path: look at `name` and `base_url`; some models have to be \
             activated at the provider's console"
        }
        ModelError::BadRequest { .. } | ModelError::PromptTooLong(_) => {
            "the model does not take this request: look at `name` and `kind`"
        }
        ModelError::Unavailable(_) => {
            "nothing answers at `base_url`, or the provider is broken: look at it, at the network, \
             and at the provider's page of status"
        }
        ModelError::Timeout(_) => {
            "the provider is slow or far: raise `first_token_timeout_ms` and `total_timeout_ms`"
        }
        ModelError::Cut => "the connection breaks: look at proxies and firewalls in between",
        ModelError::Malformed(_) | ModelError::TooLong => {
            "what answers is no such interface: look at `kind` and `base_url`"
        }
        ModelError::Refused(_) => "the provider's filter refuses harmless words: ask its support",
        ModelError::Unsupported(_) => "nothing: the provider has no such thing",
    };
    Verdict::Failed {
        seen: error.to_string(),
        mend: mend.into(),
    }
}
