//! `ByteDance`'s Doubao, formerly Skylark (Volcengine Ark): the form of `OpenAI` with codes of its
//! own. The model is a model's id or an endpoint's (`ep-...`).

use super::FormAbility;
use super::completions::Dialect;
use super::error::ModelError;
use super::told::Told;

/// JSON is taken by the newer models; a schema by fewer, as a trial.
pub(super) static DIALECT: Dialect = Dialect {
    tokens_max: "max_tokens",
    form: FormAbility::Json,
    is_strict: false,
    seed: false,
    embeddings_max: 256,
    amend: None,
    error,
};

/// By parts of the codes: the names drift.
fn error(told: &Told) -> ModelError {
    if told.has(&["sensitivecontent", "riskdetection"]) {
        return told.refused();
    }
    if told.has(&["overdue", "quotaexceeded", "setlimitexceeded"]) {
        return ModelError::Quota;
    }
    let limits = [
        "ratelimit",
        "rpm",
        "tpm",
        "bursttoofast",
        "inflightbatchsize",
    ];
    if told.has(&limits) {
        return told.limited();
    }
    if told.has(&["overloaded", "internalservice"]) {
        return told.unavailable();
    }
    if told.has(&["authentication"]) {
        return ModelError::Auth {
            status: told.status,
        };
    }
    let is_length = [
        "context length",
        "input length",
        "maximum context",
        "max message tokens",
    ];
    if told.has(&["invalidparameter"]) && is_length.iter().any(|part| told.message.contains(part)) {
        return told.too_long();
    }
    if told.status < 400 && told.has(&["invalid", "missing", "notfound", "notopen"]) {
        return told.bad();
    }
    told.by_status()
}
