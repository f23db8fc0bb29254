//! `OpenAI`, by its description of the interface (openai-openapi, version 2.3.0).

use serde_json::{Value, json};

use super::completions::{self, Shape};
use crate::mocks::brand::{BrandForm, Documented, Incoming, Refusal, Wanted, documented};
use crate::mocks::talk::{Asked, Said, error};

const INVALID: &str = "invalid_request_error";

/// The codes of the description and of its guide to errors.
const ERRORS: [Documented; 11] = [
    documented(
        "context_length_exceeded",
        400,
        INVALID,
        "This model's maximum context length is 128000 tokens.",
    ),
    documented(
        "invalid_value",
        400,
        INVALID,
        "Invalid value for 'temperature'.",
    ),
    documented(
        "content_policy_violation",
        400,
        INVALID,
        "Your request was rejected by our safety system.",
    ),
    documented(
        "invalid_api_key",
        401,
        INVALID,
        "Incorrect API key provided.",
    ),
    documented(
        "unsupported_country_region_territory",
        403,
        "request_forbidden",
        "Country, region, or territory not supported",
    ),
    documented(
        "model_not_found",
        404,
        INVALID,
        "The model `gpt-x` does not exist or you do not have access to it.",
    ),
    documented(
        "rate_limit_exceeded",
        429,
        "requests",
        "Rate limit reached for gpt-4.1-mini. Please try again in 20ms.",
    ),
    documented(
        "insufficient_quota",
        429,
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    documented(
        "server_error",
        500,
        "server_error",
        "The server had an error while processing your request.",
    ),
    documented(
        "overloaded",
        503,
        "server_error",
        "The engine is currently overloaded, please try again later.",
    ),
    documented("slow_down", 503, "service_unavailable_error", "Slow down"),
];

const SHAPE: Shape = Shape {
    roles: &[
        "developer",
        "system",
        "user",
        "assistant",
        "tool",
        "function",
    ],
    formats: &["text", "json_object", "json_schema"],
    tokens_max: &["max_completion_tokens", "max_tokens"],
    id_prefix: "chatcmpl-",
    thoughts: "",
    filtered: ("", || Value::Null, "content_filter"),
    refusal: true,
};

pub(in crate::mocks) struct OpenAi;

impl BrandForm for OpenAi {
    fn errors(&self) -> &'static [Documented] {
        &ERRORS
    }

    fn error(&self, its: &Documented) -> Refusal {
        (its.status, error(its.message, its.kind, Some(its.name)))
    }

    fn stream_error(&self, its: &Documented) -> Vec<String> {
        vec![completions::event(&error(
            its.message,
            its.kind,
            Some(its.name),
        ))]
    }

    fn wrong_key(&self, _incoming: &Incoming) -> Refusal {
        self.error(&ERRORS[3])
    }

    fn read(&self, incoming: &Incoming) -> Result<Wanted, Refusal> {
        if incoming.path == "/models" && !incoming.is_post {
            return Ok(Wanted::Plain(json!({ "object": "list", "data": [
                { "id": "gpt-4.1-mini", "object": "model", "created": completions::CREATED, "owned_by": "system" },
            ] })));
        }
        let read = completions::read(incoming, &SHAPE).filter(|_| incoming.is_post);
        let Some(read) = read else {
            let message = format!("Invalid URL (POST {})", incoming.path);
            return Err((404, error(&message, INVALID, None)));
        };
        read.map_err(|(param, message)| {
            let mut body = error(&message, INVALID, None);
            body["error"]["param"] = param.into();
            (400, body)
        })
    }

    fn whole(&self, asked: &Asked, said: &Said, id: u64) -> Value {
        completions::whole(asked, said, id, &SHAPE)
    }

    fn events(&self, asked: &Asked, said: &Said, id: u64, usage: bool) -> Vec<String> {
        let mut chunks = completions::chunks(asked, said, id, &SHAPE, usage);
        // A field that clients do not expect and have to pass over.
        for chunk in &mut chunks {
            chunk["obfuscation"] = "xK3".into();
        }
        completions::stream(&chunks)
    }

    fn embeddings(&self, model: &str, texts: &[String], _id: u64) -> Value {
        completions::points(model, texts)
    }
}
