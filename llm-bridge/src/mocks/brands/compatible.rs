//! A server of one's own, in the manner of vLLM: errors with a number for a code, ids and comments
//! of its own, `max_tokens`.

use serde_json::{Value, json};

use super::completions::{self, Shape};
use crate::mocks::brand::{BrandForm, Documented, Incoming, Refusal, Wanted, documented};
use crate::mocks::talk::{Asked, Said};

const ERRORS: [Documented; 6] = [
    documented(
        "too long",
        400,
        "BadRequestError",
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
    ),
    documented(
        "bad request",
        400,
        "BadRequestError",
        "1 validation error for list[...]",
    ),
    documented("no key", 401, "AuthenticationError", "Unauthorized"),
    documented(
        "no model",
        404,
        "NotFoundError",
        "The model `x` does not exist.",
    ),
    documented(
        "internal",
        500,
        "InternalServerError",
        "EngineCore encountered an issue.",
    ),
    documented(
        "loading",
        503,
        "ServiceUnavailable",
        "The model is loading.",
    ),
];

const SHAPE: Shape = Shape {
    roles: &["developer", "system", "user", "assistant", "tool"],
    formats: &["text", "json_object", "json_schema"],
    tokens_max: &["max_completion_tokens", "max_tokens"],
    id_prefix: "chatcmpl-",
    thoughts: "reasoning",
    filtered: ("", || Value::Null, "content_filter"),
    refusal: true,
};

pub(in crate::mocks) struct Compatible;

impl BrandForm for Compatible {
    fn errors(&self) -> &'static [Documented] {
        &ERRORS
    }

    fn error(&self, its: &Documented) -> Refusal {
        (its.status, body(its.status, its.kind, its.message))
    }

    fn stream_error(&self, its: &Documented) -> Vec<String> {
        let error = completions::event(&body(its.status, its.kind, its.message));
        vec![error, "data: [DONE]\n\n".into()]
    }

    fn wrong_key(&self, _incoming: &Incoming) -> Refusal {
        (401, json!({ "error": "Unauthorized" }))
    }

    fn read(&self, incoming: &Incoming) -> Result<Wanted, Refusal> {
        match completions::read(incoming, &SHAPE).filter(|_| incoming.is_post) {
            None => Err((404, json!({ "detail": "Not Found" }))),
            Some(read) => {
                read.map_err(|(_, message)| (400, body(400, "BadRequestError", &message)))
            }
        }
    }

    fn whole(&self, asked: &Asked, said: &Said, id: u64) -> Value {
        completions::whole(asked, said, id, &SHAPE)
    }

    fn events(&self, asked: &Asked, said: &Said, id: u64, usage: bool) -> Vec<String> {
        let mut events = completions::stream(&completions::chunks(asked, said, id, &SHAPE, usage));
        events.insert(0, ": ping\n\n".into());
        events
    }

    fn embeddings(&self, model: &str, texts: &[String], _id: u64) -> Value {
        completions::points(model, texts)
    }
}

fn body(status: u16, kind: &str, message: &str) -> Value {
    json!({ "error": { "message": message, "type": kind, "param": null, "code": status } })
}
