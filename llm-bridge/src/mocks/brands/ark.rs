//! Volcengine's Ark (volcengine.com/docs/82379, the page of errors; the runtime of the SDK).

use serde_json::{Value, json};

use super::completions::{self, Shape};
use crate::mocks::brand::{BrandForm, Documented, Incoming, Refusal, Wanted, documented};
use crate::mocks::talk::{Asked, Said};

const BAD: &str = "BadRequest";
const LIMIT: &str = "TooManyRequests";

const ERRORS: [Documented; 18] = [
    documented(
        "MissingParameter",
        400,
        BAD,
        "The request failed because it is missing one or multiple required parameters.",
    ),
    documented(
        "InvalidParameter",
        400,
        BAD,
        "One or more parameters specified in the request are not valid.",
    ),
    documented(
        "InvalidParameter.length",
        400,
        BAD,
        "Total tokens of image and text exceed max message tokens.",
    ),
    documented(
        "InvalidEndpoint.ClosedEndpoint",
        400,
        BAD,
        "The request targeted an endpoint that is currently closed or temporarily unavailable.",
    ),
    documented(
        "SensitiveContentDetected",
        400,
        BAD,
        "The request failed because the input text may contain sensitive information.",
    ),
    documented(
        "InputTextSensitiveContentDetected",
        400,
        BAD,
        "The request failed because the input text may contain sensitive information.",
    ),
    documented(
        "AuthenticationError",
        401,
        "Unauthorized",
        "The API key or AK/SK in the request is missing or invalid.",
    ),
    documented(
        "AccountOverdueError",
        403,
        "Forbidden",
        "The request failed because your account has an overdue balance.",
    ),
    documented(
        "AccessDenied",
        403,
        "Forbidden",
        "The request failed because you do not have access to the requested resource.",
    ),
    documented(
        "InvalidEndpointOrModel.NotFound",
        404,
        "NotFound",
        "The model or endpoint x does not exist or you do not have access to it.",
    ),
    documented(
        "ModelNotOpen",
        404,
        "NotFound",
        "Your account has not activated the model. Please activate the model service in the Ark Console.",
    ),
    documented(
        "RateLimitExceeded.EndpointRPMExceeded",
        429,
        LIMIT,
        "The Requests Per Minute (RPM) limit of the associated endpoint for your account has been exceeded.",
    ),
    documented(
        "RateLimitExceeded.EndpointTPMExceeded",
        429,
        LIMIT,
        "The Tokens Per Minute (TPM) limit of the associated endpoint for your account has been exceeded.",
    ),
    documented(
        "ServerOverloaded",
        429,
        LIMIT,
        "The service is currently unable to handle additional requests due to server overload.",
    ),
    documented(
        "QuotaExceeded",
        429,
        LIMIT,
        "Your account has exhausted its free trial quota.",
    ),
    documented(
        "SetLimitExceeded",
        429,
        LIMIT,
        "Your account has reached the set inference limit, and the model service has been paused.",
    ),
    documented(
        "RequestBurstTooFast",
        429,
        LIMIT,
        "The request failed because of a system protection triggered by a surge in request traffic.",
    ),
    documented(
        "InternalServiceError",
        500,
        "InternalServerError",
        "The service encountered an unexpected internal error.",
    ),
];

const SHAPE: Shape = Shape {
    roles: &["system", "user", "assistant", "tool"],
    formats: &["text", "json_object", "json_schema"],
    tokens_max: &["max_tokens", "max_completion_tokens"],
    id_prefix: "0217",
    thoughts: "reasoning_content",
    filtered: (
        "moderation_hit_type",
        || "severe_violation".into(),
        "content_filter",
    ),
    refusal: false,
};

pub(in crate::mocks) struct Ark;

impl BrandForm for Ark {
    fn errors(&self) -> &'static [Documented] {
        &ERRORS
    }

    fn error(&self, its: &Documented) -> Refusal {
        let code = its.name.strip_suffix(".length").unwrap_or(its.name);
        (its.status, body(code, its.message, its.kind))
    }

    fn stream_error(&self, its: &Documented) -> Vec<String> {
        vec![completions::event(&self.error(its).1)]
    }

    fn wrong_key(&self, _incoming: &Incoming) -> Refusal {
        self.error(&ERRORS[6])
    }

    fn read(&self, incoming: &Incoming) -> Result<Wanted, Refusal> {
        match completions::read(incoming, &SHAPE).filter(|_| incoming.is_post) {
            None => Err((
                404,
                body(
                    "InvalidAction",
                    "The specified action is invalid.",
                    "NotFound",
                ),
            )),
            Some(read) => read.map_err(|(field, message)| {
                let code = if message.contains("empty") {
                    "MissingParameter"
                } else {
                    "InvalidParameter"
                };
                let mut refusal = body(&format!("{code}.{field}"), &message, BAD);
                refusal["error"]["param"] = field.into();
                (400, refusal)
            }),
        }
    }

    fn whole(&self, asked: &Asked, said: &Said, id: u64) -> Value {
        let mut whole = completions::whole(asked, said, id, &SHAPE);
        whole["service_tier"] = "default".into();
        whole
    }

    fn events(&self, asked: &Asked, said: &Said, id: u64, usage: bool) -> Vec<String> {
        completions::stream(&completions::chunks(asked, said, id, &SHAPE, usage))
    }

    fn embeddings(&self, model: &str, texts: &[String], id: u64) -> Value {
        let mut list = completions::points(model, texts);
        list["id"] = format!("0217{id}").into();
        list["created"] = completions::CREATED.into();
        list
    }
}

fn body(code: &str, message: &str, kind: &str) -> Value {
    let message = format!("{message} Request id: 0217400000000000");
    json!({ "error": { "code": code, "message": message, "param": "", "type": kind } })
}
