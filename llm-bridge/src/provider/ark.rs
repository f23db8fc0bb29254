//! `ByteDance`'s Doubao, formerly Skylark (Volcengine Ark): the form of `OpenAI` with codes of its
//! own. The model is a model's id or an endpoint's (`ep-...`).

use super::chat::{ChatRequest, Embeddings};
use super::completions::{self, Dialect, Reader};
use super::embeddings;
use super::error::ModelError;
use super::told::Told;
use super::{Abilities, Call, FormAbility, Provider, ReadReply, ToolAbility};

/// Texts of one request for embeddings.
const EMBEDDINGS_MAX: usize = 256;

/// JSON is taken by the newer models; a schema by fewer, as a trial.
const DIALECT: Dialect = Dialect {
    tokens_max: "max_tokens",
    form: FormAbility::Json,
    is_strict: false,
    seed: false,
};

/// Ark.
#[derive(Debug, Clone, Copy)]
pub struct Ark;

impl Provider for Ark {
    fn abilities(&self) -> Abilities {
        Abilities {
            form: FormAbility::Json,
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
