//! Baidu's ERNIE (Qianfan v2): the form of `OpenAI` with rules on the order of roles, flags for
//! content, and codes of its own; the numbers of version 1 come back from older gateways.

use serde_json::{Value, json};

use super::FormAbility;
use super::chat::{ChatRequest, Role};
use super::completions::{self, Dialect};
use super::error::ModelError;
use super::told::Told;

pub(super) static DIALECT: Dialect = Dialect {
    tokens_max: "max_completion_tokens",
    form: FormAbility::Schema,
    is_strict: false,
    seed: true,
    embeddings_max: 16,
    amend: Some(put_in_turn),
    error,
};

fn put_in_turn(request: &ChatRequest, body: &mut Value) {
    body["messages"] = in_turn(request);
}

/// One system message at most, at the beginning, and no two messages of one role in a row: what
/// breaks the rule is joined.
fn in_turn(request: &ChatRequest) -> Value {
    let mut messages: Vec<Value> = Vec::new();
    let system: Vec<&str> = request
        .messages
        .iter()
        .filter(|message| message.role == Role::System)
        .map(|message| message.content.as_str())
        .collect();
    if !system.is_empty() {
        messages.push(json!({ "role": "system", "content": system.join("\n\n") }));
    }
    let mut last = None;
    for message in request
        .messages
        .iter()
        .filter(|its| its.role != Role::System)
    {
        let joins = last == Some(message.role) && message.role == Role::User;
        last = Some(message.role);
        if joins
            && let Some(Value::String(content)) = messages.last_mut().map(|its| &mut its["content"])
        {
            content.push_str("\n\n");
            content.push_str(&message.content);
        } else {
            messages.push(completions::message(message));
        }
    }
    messages.into()
}

fn error(told: &Told) -> ModelError {
    // Numbers of version 1.
    match told.code.as_str() {
        "13" | "14" | "110" | "111" => {
            return ModelError::Auth {
                status: told.status,
            };
        }
        "17" | "19" => return ModelError::Quota,
        "4" | "18" | "336501" | "336502" => return told.limited(),
        "1" | "2" | "336000" | "336100" => return told.unavailable(),
        "336103" | "336007" => return told.too_long(),
        "336003" | "336002" => return told.bad(),
        _ => {}
    }
    if told.has(&["too_long"]) {
        return told.too_long();
    }
    if told.has(&[
        "overdue",
        "arrear",
        "insufficient_quota",
        "quota_exceeded",
        "balance",
    ]) {
        return ModelError::Quota;
    }
    if told.has(&["rate_limit"]) {
        return told.limited();
    }
    if told.has(&["sensitive", "unsafe", "content_filter"]) {
        return told.refused();
    }
    if told.has(&["access_denied", "invalid_iam_token", "iam_certification"]) {
        return ModelError::Auth {
            status: told.status,
        };
    }
    if told.status < 400 && told.is(&["invalid_request_error"]) {
        return told.bad();
    }
    told.by_status()
}

#[cfg(test)]
mod tests {
    use super::super::chat::Message;
    use super::*;

    #[test]
    fn roles_take_turns() {
        let said = [
            (Role::System, "a"),
            (Role::User, "b"),
            (Role::System, "c"),
            (Role::User, "d"),
            (Role::Assistant, "e"),
            (Role::User, "f"),
        ];
        let request = ChatRequest {
            messages: said.map(|(role, text)| Message::new(role, text)).into(),
            ..ChatRequest::default()
        };
        let expected = json!([
            { "role": "system", "content": "a\n\nc" },
            { "role": "user", "content": "b\n\nd" },
            { "role": "assistant", "content": "e" },
            { "role": "user", "content": "f" },
        ]);
        assert_eq!(in_turn(&request), expected);
    }
}
