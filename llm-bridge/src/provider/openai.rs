//! `OpenAI`: chat completions and embeddings, from its published description of the interface.

use super::chat::{ChatRequest, Embeddings};
use super::completions::{self, Dialect, Reader};
use super::embeddings;
use super::error::ModelError;
use super::told::Told;
use super::{Abilities, Call, FormAbility, Provider, ReadReply, ToolAbility};

/// Texts of one request for embeddings.
const EMBEDDINGS_MAX: usize = 2048;

const DIALECT: Dialect = Dialect {
    tokens_max: "max_completion_tokens",
    form: FormAbility::Schema,
    // The arguments of an action are an object of any form, which strict schemas do not allow.
    is_strict: false,
    seed: true,
};

/// `OpenAI`.
#[derive(Debug, Clone, Copy)]
pub struct OpenAi;

impl Provider for OpenAi {
    fn abilities(&self) -> Abilities {
        Abilities {
            form: FormAbility::Schema,
            tools: ToolAbility::Request,
            embeddings_max: EMBEDDINGS_MAX,
            sampling: true,
        }
    }

    fn chat(&self, model: &str, request: &ChatRequest) -> Result<Call, ModelError> {
        let body = completions::chat(model, request, &DIALECT);
        Ok(Call::post("/chat/completions", body))
    }

    fn reader(&self) -> Box<dyn ReadReply> {
        Box::new(Reader::new(error))
    }

    fn embed(&self, model: &str, texts: &[String]) -> Result<Call, ModelError> {
        Ok(embeddings::call(model, texts))
    }

    fn read_embeddings(&self, body: &[u8]) -> Result<Embeddings, ModelError> {
        embeddings::read(body, error)
    }

    fn error(&self, told: &Told) -> ModelError {
        error(told)
    }
}

/// What an error of `OpenAI`'s means, and of those who took its codes over.
pub(super) fn error(told: &Told) -> ModelError {
    if told.is(&["insufficient_quota", "billing_hard_limit_reached"]) {
        return ModelError::Quota;
    }
    if told.is(&["rate_limit_exceeded", "rate_limit_error"]) {
        return told.limited();
    }
    if told.is(&["context_length_exceeded", "string_above_max_length"]) {
        return told.too_long();
    }
    if told.is(&["content_filter", "content_policy_violation"]) {
        return told.refused();
    }
    if told.is(&["server_error", "overloaded", "engine_overloaded"]) {
        return told.unavailable();
    }
    if told.is(&["invalid_api_key"]) {
        return ModelError::Auth {
            status: told.status,
        };
    }
    told.by_status()
}
