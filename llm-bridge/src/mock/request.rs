//! A chat-completions request: what of it is looked at, and what is refused.
//!
//! Fields that are not looked at are accepted, as a provider accepts them; no key is asked for.

use serde_json::{Map, Value};
use thiserror::Error;

use super::prompt::Message;

/// What a message may be from.
const ROLES: [&str; 6] = [
    "developer",
    "system",
    "user",
    "assistant",
    "tool",
    "function",
];

/// What a reply may be asked to be.
const RESPONSE_FORMATS: [&str; 3] = ["text", "json_object", "json_schema"];

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatRequest {
    /// The conversation, at least one message.
    pub messages: Vec<Message>,
    /// Whether the reply is to come in chunks.
    pub stream: bool,
    /// Whether the last chunk is to count tokens.
    pub include_usage: bool,
}

/// A request that a provider would answer with 400.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct BadRequest {
    /// For a person.
    pub message: String,
    /// The field at fault.
    pub param: Option<&'static str>,
}

impl BadRequest {
    fn of(param: &'static str, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            param: Some(param),
        }
    }
}

impl ChatRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(body: &[u8]) -> Result<Self, BadRequest> {
        let body: Value = serde_json::from_slice(body).map_err(|error| BadRequest {
            message: format!("We could not parse the JSON body of your request: {error}"),
            param: None,
        })?;
        let Value::Object(body) = body else {
            return Err(BadRequest {
                message: "The body of your request is not a JSON object.".into(),
                param: None,
            });
        };
        let model = body.get("model").and_then(Value::as_str);
        if model.is_none_or(str::is_empty) {
            return Err(BadRequest::of(
                "model",
                "you must provide a model parameter",
            ));
        }
        if !matches!(body.get("n"), None | Some(Value::Null)) && body["n"] != 1 {
            return Err(BadRequest::of(
                "n",
                "This model gives one choice: n must be 1.",
            ));
        }
        check_response_format(&body)?;
        let stream = flag(&body, "stream", "stream")?;
        let include_usage = match body.get("stream_options") {
            None | Some(Value::Null) => false,
            Some(_) if !stream => {
                return Err(BadRequest::of(
                    "stream_options",
                    "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
                ));
            }
            Some(Value::Object(options)) => flag(options, "include_usage", "stream_options")?,
            Some(_) => return Err(BadRequest::of("stream_options", "Expected an object.")),
        };
        Ok(Self {
            messages: messages(&body)?,
            stream,
            include_usage,
        })
    }
}

fn flag(object: &Map<String, Value>, name: &str, param: &'static str) -> Result<bool, BadRequest> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(BadRequest::of(param, format!("'{name}' is not a boolean."))),
    }
}

fn check_response_format(body: &Map<String, Value>) -> Result<(), BadRequest> {
    let Some(format) = body.get("response_format").filter(|value| !value.is_null()) else {
        return Ok(());
    };
    let kind = format["type"].as_str().unwrap_or_default();
    let param = "response_format";
    if !RESPONSE_FORMATS.contains(&kind) {
        return Err(BadRequest::of(param, format!("Invalid value: '{kind}'.")));
    }
    let schema = &format["json_schema"];
    if kind == "json_schema" && !(schema["name"].is_string() && schema["schema"].is_object()) {
        let message = "A 'json_schema' needs a 'name' and a 'schema'.";
        return Err(BadRequest::of(param, message));
    }
    Ok(())
}

fn messages(body: &Map<String, Value>) -> Result<Vec<Message>, BadRequest> {
    let param = "messages";
    let Some(messages) = body.get(param) else {
        return Err(BadRequest::of(
            param,
            "Missing required parameter: 'messages'.",
        ));
    };
    let Some(messages) = messages.as_array().filter(|list| !list.is_empty()) else {
        return Err(BadRequest::of(
            param,
            "Invalid 'messages': expected an array with at least one message.",
        ));
    };
    messages
        .iter()
        .enumerate()
        .map(|(index, message)| {
            let role = message["role"].as_str().unwrap_or_default();
            if !ROLES.contains(&role) {
                let text = format!("Invalid value for 'messages[{index}].role': '{role}'.");
                return Err(BadRequest::of(param, text));
            }
            let content = text(&message["content"], role).ok_or_else(|| {
                let text = format!("Invalid 'messages[{index}].content': expected text.");
                BadRequest::of(param, text)
            })?;
            Ok(Message {
                role: role.into(),
                content,
            })
        })
        .collect()
}

/// A content is a text or parts with texts; what called tools may have none.
fn text(content: &Value, role: &str) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) if !parts.is_empty() => parts
            .iter()
            .map(|part| part["text"].as_str())
            .collect::<Option<Vec<_>>>()
            .map(|parts| parts.concat()),
        Value::Null if role == "assistant" => Some(String::new()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: &Value) -> Result<ChatRequest, BadRequest> {
        ChatRequest::parse(body.to_string().as_bytes())
    }

    #[test]
    fn requests_are_read_with_contents_of_both_forms() {
        let request = parse(&json!({
            "model": "any",
            "temperature": 0,
            "stream": true,
            "stream_options": { "include_usage": true },
            "messages": [
                { "role": "system", "content": "plan" },
                { "role": "user", "content": [{ "type": "text", "text": "a" },
                                              { "type": "text", "text": "b" }] },
            ],
        }))
        .unwrap();
        assert!(request.stream && request.include_usage);
        assert_eq!(request.messages[1].content, "ab");
    }

    #[test]
    fn what_a_provider_refuses_is_refused_with_its_parameter() {
        let user = json!([{ "role": "user", "content": "x" }]);
        for (body, param) in [
            (json!([]), None),
            (json!({ "messages": user }), Some("model")),
            (json!({ "model": "m" }), Some("messages")),
            (json!({ "model": "m", "messages": [] }), Some("messages")),
            (
                json!({ "model": "m", "messages": [{ "role": "robot", "content": "x" }] }),
                Some("messages"),
            ),
            (
                json!({ "model": "m", "messages": [{ "role": "user" }] }),
                Some("messages"),
            ),
            (json!({ "model": "m", "messages": user, "n": 2 }), Some("n")),
            (
                json!({ "model": "m", "messages": user, "stream": 1 }),
                Some("stream"),
            ),
            (
                json!({ "model": "m", "messages": user, "stream_options": {} }),
                Some("stream_options"),
            ),
            (
                json!({ "model": "m", "messages": user, "response_format": { "type": "xml" } }),
                Some("response_format"),
            ),
        ] {
            assert_eq!(parse(&body).unwrap_err().param, param, "{body}");
        }
        assert_eq!(ChatRequest::parse(b"{").unwrap_err().param, None);
    }
}
