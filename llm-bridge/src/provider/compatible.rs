//! Any server with the interface of `OpenAI`: vLLM, Ollama, the mock, a proxy. Only what all have
//! is relied on.

use super::completions::Dialect;
use super::error::ModelError;
use super::told::Told;
use super::{FormAbility, openai};

pub(super) static DIALECT: Dialect = Dialect {
    // The older name: all servers know it.
    tokens_max: "max_tokens",
    form: FormAbility::Schema,
    is_strict: false,
    seed: true,
    // Servers of one's own have no stated bound, but a time limit.
    embeddings_max: 64,
    amend: None,
    error,
};

fn error(told: &Told) -> ModelError {
    // vLLM says it in words only.
    if told.status == 400 && told.message.contains("maximum context length") {
        return told.too_long();
    }
    openai::error(told)
}
