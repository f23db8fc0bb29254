//! Baidu's Qianfan v2 (cloud.baidu.com, the pages on text generation and on errors; the SDK).

use serde_json::{Value, json};

use super::completions::{self, Shape};
use crate::mocks::brand::{BrandForm, Documented, Incoming, Refusal, Wanted, documented};
use crate::mocks::talk::{Asked, Said};

const INVALID: &str = "invalid_request_error";

const ERRORS: [Documented; 13] = [
    documented("malformed_json", 400, INVALID, "Invalid Argument"),
    documented("invalid_model", 400, INVALID, "model is empty"),
    documented(
        "invalid_messages",
        400,
        INVALID,
        "the role of the first message must be user or system",
    ),
    documented(
        "characters_too_long",
        400,
        INVALID,
        "the max input characters is 516096",
    ),
    documented("tokens_too_long", 400, INVALID, "Prompt tokens too long"),
    documented(
        "invalid_argument",
        400,
        INVALID,
        "temperature must be in (0, 1]",
    ),
    documented("invalid_iam_token", 401, INVALID, "IAM token is invalid"),
    documented(
        "access_denied",
        401,
        "access_denied",
        "No permission to access data",
    ),
    documented(
        "rpm_rate_limit_exceeded",
        429,
        "rate_limit_exceeded",
        "Rate limit reached for RPM",
    ),
    documented(
        "tpm_rate_limit_exceeded",
        429,
        "rate_limit_exceeded",
        "Rate limit reached for TPM",
    ),
    documented("internal_error", 500, "internal_error", "Internal error"),
    documented("336100", 200, "", "the service is under high load"),
    documented("17", 200, "", "Open api daily request limit reached"),
];

const SHAPE: Shape = Shape {
    roles: &["system", "user", "assistant", "tool"],
    formats: &["text", "json_object", "json_schema"],
    tokens_max: &["max_completion_tokens"],
    id_prefix: "as-",
    thoughts: "reasoning_content",
    filtered: ("flag", || 1.into(), "content_filter"),
    refusal: false,
};

/// Texts of one request for embeddings.
const EMBEDDINGS_MAX: usize = 16;

pub(in crate::mocks) struct Qianfan;

impl BrandForm for Qianfan {
    fn errors(&self) -> &'static [Documented] {
        &ERRORS
    }

    fn error(&self, its: &Documented) -> Refusal {
        if let Ok(code) = its.name.parse::<u64>() {
            // Older gateways: numbers, and a status that says nothing.
            let body = json!({ "error_code": code, "error_msg": its.message, "id": "as-0" });
            return (its.status, body);
        }
        (its.status, body(its.name, its.message, its.kind))
    }

    fn stream_error(&self, its: &Documented) -> Vec<String> {
        vec![completions::event(&self.error(its).1)]
    }

    fn wrong_key(&self, _incoming: &Incoming) -> Refusal {
        self.error(&ERRORS[6])
    }

    fn read(&self, incoming: &Incoming) -> Result<Wanted, Refusal> {
        let Some(read) = completions::read(incoming, &SHAPE).filter(|_| incoming.is_post) else {
            return Err((404, Value::Null));
        };
        let wanted = read.map_err(|(field, message)| {
            let code = match field {
                "model" => "invalid_model",
                "messages" => "invalid_messages",
                _ => "invalid_argument",
            };
            (400, body(code, &message, INVALID))
        })?;
        match &wanted {
            Wanted::Chat(asked) => {
                let roles: Vec<&str> = asked.messages.iter().map(|its| its.role.as_str()).collect();
                if let Some(fault) = fault_of(&roles) {
                    return Err((400, body("invalid_messages", fault, INVALID)));
                }
            }
            Wanted::Embeddings { texts, .. } if texts.len() > EMBEDDINGS_MAX => {
                return Err((400, body("invalid_argument", "input is too many", INVALID)));
            }
            Wanted::Embeddings { .. } | Wanted::Plain(_) | Wanted::Kept { .. } => {}
        }
        Ok(wanted)
    }

    fn whole(&self, asked: &Asked, said: &Said, id: u64) -> Value {
        let mut whole = completions::whole(asked, said, id, &SHAPE);
        flags(&mut whole);
        whole
    }

    fn events(&self, asked: &Asked, said: &Said, id: u64, usage: bool) -> Vec<String> {
        let mut chunks = completions::chunks(asked, said, id, &SHAPE, usage);
        chunks.iter_mut().for_each(flags);
        completions::stream(&chunks)
    }

    fn embeddings(&self, model: &str, texts: &[String], id: u64) -> Value {
        let mut list = completions::points(model, texts);
        list["id"] = format!("as-{id}").into();
        list["object"] = "embedding_list".into();
        list["created"] = completions::CREATED.into();
        list
    }
}

/// Each choice has a flag, and one that is at fault the round in which it hit.
fn flags(body: &mut Value) {
    let Some(choice) = body["choices"].get_mut(0) else {
        return;
    };
    if choice["flag"] == 1 {
        choice["ban_round"] = (-1).into();
    } else {
        choice["flag"] = 0.into();
    }
}

/// The documented rules on the order of roles.
fn fault_of(roles: &[&str]) -> Option<&'static str> {
    let turns = roles.strip_prefix(&["system"]).unwrap_or(roles);
    if turns.first() != Some(&"user") {
        return Some("the role of the first message must be user or system");
    }
    if turns.contains(&"system") {
        return Some("system is for the first message only");
    }
    if turns.last() == Some(&"assistant") {
        return Some("the role of the last message must be user or tool");
    }
    let repeats = turns
        .windows(2)
        .any(|pair| pair[0] == pair[1] && pair[0] != "tool");
    repeats.then_some("the roles of messages must take turns")
}

fn body(code: &str, message: &str, kind: &str) -> Value {
    json!({ "error": { "code": code, "message": message, "type": kind }, "id": "as-bcmt5xct6y" })
}
