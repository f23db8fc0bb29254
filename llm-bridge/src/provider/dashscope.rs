//! Alibaba's Qwen (`DashScope`), by its interface that is compatible with `OpenAI`'s.

use serde_json::Value;

use super::FormAbility;
use super::chat::{ChatRequest, Form, Message, Role};
use super::completions::{self, Dialect};
use super::error::ModelError;
use super::told::Told;

/// Texts of one request for embeddings (text-embedding-v3 and v4).
pub(super) const EMBEDDINGS_MAX: usize = 10;

/// A schema is taken by a few models only; JSON by most.
pub(super) static DIALECT: Dialect = Dialect {
    tokens_max: "max_tokens",
    form: FormAbility::Json,
    is_strict: false,
    seed: true,
    embeddings_max: EMBEDDINGS_MAX,
    amend: Some(ask_for_json),
    error,
};

/// What JSON mode wants to read somewhere in the messages.
const JSON_WORD: &str = "json";

/// What is said where nobody says it.
pub(super) const ANSWER_IN_JSON: &str = "Answer in JSON.";

fn ask_for_json(request: &ChatRequest, body: &mut Value) {
    if !says_json(request)
        && let Some(messages) = body["messages"].as_array_mut()
    {
        messages.insert(0, completions::message(&json_message()));
    }
}

/// Whether JSON mode is not asked for, or the messages have the word that it is refused without.
pub(super) fn says_json(request: &ChatRequest) -> bool {
    let says = |message: &Message| message.content.to_lowercase().contains(JSON_WORD);
    request.form == Form::Text || request.messages.iter().any(says)
}

/// The message with that word.
pub(super) fn json_message() -> Message {
    Message::new(Role::System, ANSWER_IN_JSON)
}

/// What an error means, in either of the two interfaces: the codes are the same but for their form.
pub(super) fn error(told: &Told) -> ModelError {
    if told.has(&["data_inspection", "datainspection"]) {
        return told.refused();
    }
    let unpaid = [
        "arrearage",
        "billoverdue",
        "freetieronly",
        "unpurchased",
        "notpurchased",
    ];
    if told.has(&unpaid) {
        return ModelError::Quota;
    }
    // Tokens a minute, unlike the code of the same name at OpenAI.
    if told.is(&["insufficient_quota"])
        || told.has(&["throttling", "limit_requests", "limitrequests"])
    {
        return told.limited();
    }
    let is_length = told.has(&["invalidparameter", "invalid_parameter"])
        && (told.message.contains("input length") || told.message.contains("context length"));
    if is_length || told.is(&["context_length_exceeded"]) {
        return told.too_long();
    }
    if told.has(&["invalid_api_key", "invalidapikey"]) {
        return ModelError::Auth {
            status: told.status,
        };
    }
    if told.has(&["internal", "timeout", "unavailable"]) {
        return told.unavailable();
    }
    if told.status < 400 && told.has(&["invalid", "badrequest", "notfound", "not_found"]) {
        // In a body or stream that began well.
        return told.bad();
    }
    told.by_status()
}

/// A code that is there and is not empty makes a body with status 200 an error.
pub(super) fn is_error(body: &Value) -> bool {
    body["code"].as_str().is_some_and(|code| !code.is_empty())
}
