//! Any server with the interface of `OpenAI`: vLLM, Ollama, the mock, a proxy. Only what all have
//! is relied on.

use super::chat::{ChatRequest, Embeddings};
use super::completions::{self, Dialect, Reader};
use super::embeddings;
use super::error::ModelError;
use super::openai;
use super::told::Told;
use super::{Abilities, Call, FormAbility, Provider, ReadReply, ToolAbility};

/// Texts of one request for embeddings: servers of one's own have no stated bound, but a time limit.
const EMBEDDINGS_MAX: usize = 64;

const DIALECT: Dialect = Dialect {
    // The older name: all servers know it.
    tokens_max: "max_tokens",
    form: FormAbility::Schema,
    is_strict: false,
    seed: true,
};

/// A server with the interface of `OpenAI`.
#[derive(Debug, Clone, Copy)]
pub struct Compatible;

impl Provider for Compatible {
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

fn error(told: &Told) -> ModelError {
    // vLLM says it in words only.
    if told.status == 400 && told.message.contains("maximum context length") {
        return told.too_long();
    }
    openai::error(told)
}
