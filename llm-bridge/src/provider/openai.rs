//! `OpenAI`: chat completions and embeddings, from its published description of the interface.

use super::FormAbility;
use super::completions::Dialect;
use super::error::ModelError;
use super::told::Told;

pub(super) static DIALECT: Dialect = Dialect {
    tokens_max: "max_completion_tokens",
    form: FormAbility::Schema,
    // The arguments of an action are an object of any form, which strict schemas do not allow.
    is_strict: false,
    seed: true,
    embeddings_max: 2048,
    amend: None,
    error,
};

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
