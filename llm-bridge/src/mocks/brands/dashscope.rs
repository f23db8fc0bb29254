//! Alibaba's `DashScope`, compatible mode (help.aliyun.com, the page on compatibility, and the page of
//! errors).

use serde_json::{Value, json};

use super::completions::{self, Shape};
use crate::mocks::brand::{BrandForm, Documented, Incoming, Refusal, Wanted, documented};
use crate::mocks::talk::{Asked, Said};

const INVALID: &str = "invalid_request_error";

const ERRORS: [Documented; 11] = [
    documented(
        "invalid_parameter_error",
        400,
        INVALID,
        "<400> InternalError.Algo.InvalidParameter: Range of top_p should be (0.0, 1.0]",
    ),
    documented(
        "invalid_parameter_error.length",
        400,
        INVALID,
        "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 129024]",
    ),
    documented(
        "data_inspection_failed",
        400,
        "data_inspection_failed",
        "Input data may contain inappropriate content.",
    ),
    documented(
        "Arrearage",
        400,
        "Arrearage",
        "Access denied, please make sure your account is in good standing.",
    ),
    documented(
        "invalid_api_key",
        401,
        INVALID,
        "Incorrect API key provided. ",
    ),
    documented("access_denied", 403, "access_denied", "Access denied."),
    documented(
        "AllocationQuota.FreeTierOnly",
        403,
        "AllocationQuota.FreeTierOnly",
        "The free tier of the model has been exhausted.",
    ),
    documented(
        "model_not_found",
        404,
        INVALID,
        "The model `qwen-x` does not exist or you do not have access to it.",
    ),
    documented(
        "limit_requests",
        429,
        "limit_requests",
        "You exceeded your current requests list.",
    ),
    documented(
        "insufficient_quota",
        429,
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    documented(
        "internal_server_error",
        500,
        "internal_server_error",
        "An internal error has occurred, please try again later.",
    ),
];

const SHAPE: Shape = Shape {
    roles: &["system", "user", "assistant", "tool"],
    formats: &["text", "json_object"],
    tokens_max: &["max_tokens"],
    id_prefix: "chatcmpl-",
    thoughts: "reasoning_content",
    filtered: ("", || Value::Null, "content_filter"),
    refusal: false,
};

/// Texts of one request for embeddings.
const EMBEDDINGS_MAX: usize = 10;

const NO_JSON_WORD: &str = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.";

pub(in crate::mocks) struct DashScope;

impl BrandForm for DashScope {
    fn errors(&self) -> &'static [Documented] {
        &ERRORS
    }

    fn error(&self, its: &Documented) -> Refusal {
        let code = its.name.strip_suffix(".length").unwrap_or(its.name);
        (its.status, body(its.message, its.kind, code))
    }

    fn stream_error(&self, its: &Documented) -> Vec<String> {
        vec![completions::event(&self.error(its).1)]
    }

    fn wrong_key(&self, _incoming: &Incoming) -> Refusal {
        self.error(&ERRORS[4])
    }

    fn read(&self, incoming: &Incoming) -> Result<Wanted, Refusal> {
        let Some(read) = completions::read(incoming, &SHAPE).filter(|_| incoming.is_post) else {
            return Err((404, Value::Null));
        };
        let bad = |message: &str| (400, body(message, INVALID, "invalid_parameter_error"));
        let wanted = read.map_err(|(_, message)| bad(&message))?;
        match &wanted {
            Wanted::Chat(asked) => {
                let is_json = incoming.body["response_format"]["type"] == "json_object";
                let mut texts = asked
                    .messages
                    .iter()
                    .map(|message| message.content.to_lowercase());
                if is_json && !texts.any(|text| text.contains("json")) {
                    return Err(bad(NO_JSON_WORD));
                }
            }
            Wanted::Embeddings { texts, .. } if texts.len() > EMBEDDINGS_MAX => {
                return Err(bad(
                    "batch size is invalid, it should not be larger than 10.",
                ));
            }
            Wanted::Embeddings { .. } | Wanted::Plain(_) | Wanted::Kept { .. } => {}
        }
        Ok(wanted)
    }

    fn whole(&self, asked: &Asked, said: &Said, id: u64) -> Value {
        completions::whole(asked, said, id, &SHAPE)
    }

    fn events(&self, asked: &Asked, said: &Said, id: u64, usage: bool) -> Vec<String> {
        completions::stream(&completions::chunks(asked, said, id, &SHAPE, usage))
    }

    fn embeddings(&self, model: &str, texts: &[String], id: u64) -> Value {
        let mut list = completions::points(model, texts);
        list["id"] = format!("73591b79-d194-9bca-8bb5-{id:012}").into();
        list
    }
}

fn body(message: &str, kind: &str, code: &str) -> Value {
    json!({
        "error": { "message": message, "type": kind, "param": null, "code": code },
        "request_id": "74712d74-b5da-9a3b-9a83-9f6b60a7c74a",
    })
}
