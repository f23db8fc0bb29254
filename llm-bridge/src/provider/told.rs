//! What a provider tells of an error: its status, code and words, out of any of the bodies that are
//! in use, and the class that the status alone gives. What a code means is each provider's. Pure.

use std::time::Duration;

use serde_json::Value;

use super::error::ModelError;

/// How much of a provider's message is kept, in characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// Statuses that are errors.
const ERROR_STATUSES: std::ops::RangeInclusive<u16> = 400..=599;

/// What a provider tells of an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The HTTP status; 200 for an error in a body or a stream that began well.
    pub status: u16,
    /// How long it asks to wait.
    pub retry_after: Option<Duration>,
    /// Its code: a word, or a number in digits.
    pub code: String,
    /// Its type, where it has one beside the code.
    pub kind: String,
    /// Its words.
    pub message: String,
}

impl Told {
    /// Reads the body of an error.
    #[must_use]
    pub fn parse(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        Self::of(status, retry_after, &body)
    }

    /// Reads an error object, or what has one in its field `error`.
    #[must_use]
    pub fn of(status: u16, retry_after: Option<Duration>, body: &Value) -> Self {
        let error = match &body["error"] {
            nested @ (Value::Object(_) | Value::String(_)) => nested,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => body,
        };
        if let Value::String(message) = error {
            return Self {
                status,
                message: short(message),
                retry_after,
                ..Self::default()
            };
        }
        let word = |names: &[&str]| {
            let found = names.iter().find_map(|name| text(&error[*name]));
            found.unwrap_or_default()
        };
        let code = word(&["code", "error_code"]);
        let message = short(&word(&["message", "msg", "error_msg"]));
        let said = code
            .parse()
            .ok()
            .filter(|code| ERROR_STATUSES.contains(code));
        let beside = [&error["retry_after"], &body["retry_after"]];
        let asked = beside.into_iter().find_map(Value::as_f64);
        let asked = asked.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Self {
            status: if ERROR_STATUSES.contains(&status) {
                status
            } else {
                said.unwrap_or(status)
            },
            retry_after: retry_after.or(asked).or_else(|| wait_in(&message)),
            code,
            kind: word(&["type"]),
            message,
        }
    }

    /// Whether the code or the type is one of these, whatever its case.
    #[must_use]
    pub fn is(&self, words: &[&str]) -> bool {
        words.iter().any(|word| {
            self.code.eq_ignore_ascii_case(word) || self.kind.eq_ignore_ascii_case(word)
        })
    }

    /// Whether the code or the type holds one of these, whatever the case: names drift.
    #[must_use]
    pub fn has(&self, parts: &[&str]) -> bool {
        let (code, kind) = (self.code.to_lowercase(), self.kind.to_lowercase());
        parts
            .iter()
            .any(|part| code.contains(part) || kind.contains(part))
    }

    /// It limits the rate.
    #[must_use]
    pub const fn limited(&self) -> ModelError {
        ModelError::RateLimited {
            retry_after: self.retry_after,
        }
    }

    /// It does not want the content.
    #[must_use]
    pub fn refused(&self) -> ModelError {
        ModelError::Refused(match self.message.as_str() {
            "" => "the provider's content filter".into(),
            message => message.to_owned(),
        })
    }

    /// The prompt is too long.
    #[must_use]
    pub fn too_long(&self) -> ModelError {
        ModelError::PromptTooLong(self.message.clone())
    }

    /// It does not take the request.
    #[must_use]
    pub fn bad(&self) -> ModelError {
        ModelError::BadRequest {
            status: self.status,
            message: match self.message.as_str() {
                "" => "no reason given".into(),
                message => message.to_owned(),
            },
        }
    }

    /// It is broken or overloaded.
    #[must_use]
    pub fn unavailable(&self) -> ModelError {
        ModelError::Unavailable(match self.code.as_str() {
            "" => format!("status {}", self.status),
            code => format!("status {}, {}", self.status, short(code)),
        })
    }

    /// What the status alone says.
    #[must_use]
    pub fn by_status(&self) -> ModelError {
        match self.status {
            401 | 403 => ModelError::Auth {
                status: self.status,
            },
            402 => ModelError::Quota,
            429 => self.limited(),
            408 | 500..=599 => self.unavailable(),
            200..=299 if self.has(&["rate_limit", "ratelimit", "throttl"]) => self.limited(),
            200..=299 => ModelError::Unavailable("an error in the answer".into()),
            _ => self.bad(),
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(MESSAGE_CHARS_MAX).collect()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

/// "Please try again in 1.5s", "in 20ms" or "in 6m0s": the only place where a stream says it.
fn wait_in(message: &str) -> Option<Duration> {
    let rest = message.to_lowercase();
    let (_, rest) = rest.split_once("try again in ")?;
    let word: String = rest.chars().take_while(|c| !c.is_whitespace()).collect();
    duration(word.trim_end_matches(['.', ',']))
}

/// A duration in Go's form.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit_s = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit_s;
        rest = tail;
    }
    if text.is_empty() {
        return None;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_class() {
        let wrong = br#"{"error":{"message":"no such model","type":"invalid_request_error"}}"#;
        let after = Some(Duration::from_secs(3));
        for (status, body, class, retryable) in [
            (401, &wrong[..], "auth", false),
            (403, b"", "auth", false),
            (402, b"", "quota", false),
            (429, b"slow down", "rate_limited", true),
            (400, wrong, "bad_request", false),
            (404, b"<html>", "bad_request", false),
            (302, b"", "bad_request", false),
            (408, b"", "unavailable", true),
            (500, b"{}", "unavailable", true),
            (503, b"{\"error\":null}", "unavailable", true),
            (200, b"{\"error\":{\"code\":503}}", "unavailable", true),
            (200, b"{\"error\":{\"code\":429}}", "rate_limited", true),
            (
                200,
                b"{\"error\":{\"type\":\"rate_limit_error\"}}",
                "rate_limited",
                true,
            ),
        ] {
            let error = Told::parse(status, after, body).by_status();
            assert_eq!((error.class(), error.is_retryable()), (class, retryable));
        }
        let ModelError::BadRequest { message, .. } = Told::parse(404, None, wrong).by_status()
        else {
            panic!("another class");
        };
        assert_eq!(message, "no such model");
    }

    #[test]
    fn bodies_of_every_form_are_read() {
        for (body, code, message) in [
            (r#"{"error":{"code":"a","message":"m"}}"#, "a", "m"),
            (r#"{"code":"a","message":"m","request_id":"r"}"#, "a", "m"),
            (r#"{"code":4101,"msg":"m"}"#, "4101", "m"),
            (r#"{"error_code":110,"error_msg":"m"}"#, "110", "m"),
            (r#"{"error":"m"}"#, "", "m"),
            (r#"{"object":"error","message":"m","code":404}"#, "404", "m"),
            ("[]", "", ""),
        ] {
            let told = Told::parse(400, None, body.as_bytes());
            assert_eq!((told.code.as_str(), told.message.as_str()), (code, message));
        }
    }

    #[test]
    fn a_wait_is_found_in_the_words_and_beside_them() {
        for (message, wait_ms) in [
            (
                "Rate limit reached. Please try again in 1.5s. Visit x",
                1500,
            ),
            ("try again in 20ms.", 20),
            ("Try again in 6m0s", 360_000),
        ] {
            let body = serde_json::json!({ "error": { "message": message } });
            let told = Told::of(200, None, &body);
            assert_eq!(
                told.retry_after,
                Some(Duration::from_millis(wait_ms)),
                "{message}"
            );
        }
        let told = Told::of(
            200,
            None,
            &serde_json::json!({ "error": { "retry_after": 2 } }),
        );
        assert_eq!(told.retry_after, Some(Duration::from_secs(2)));
        assert_eq!(wait_in("try again in a moment"), None);
        assert_eq!(duration(""), None);
    }
}
