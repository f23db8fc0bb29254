//! How asking a model fails, by class, and which of it may be better in a moment. Pure.

use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

/// How much of a provider's message is kept, in characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ModelError {
    /// The key is not accepted.
    #[error("the provider does not accept the key (status {status})")]
    Auth {
        /// The HTTP status.
        status: u16,
    },
    /// The account has used up what it may.
    #[error("the quota at the provider is used up")]
    Quota,
    /// Too many requests for now.
    #[error("the provider limits the rate of requests")]
    RateLimited {
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// The request is not as the provider wants it: a wrong model, a prompt that is too long.
    #[error("the provider does not accept the request (status {status}): {message}")]
    BadRequest {
        /// The HTTP status.
        status: u16,
        /// In the provider's words.
        message: String,
    },
    /// It cannot be reached, or is broken.
    #[error("the provider is not available: {0}")]
    Unavailable(String),
    /// It took too long.
    #[error("the provider took too long: {0}")]
    Timeout(&'static str),
    /// The answer ended in the middle.
    #[error("the answer was cut off")]
    Cut,
    /// The answer is not of the interface.
    #[error("the answer is not a chat completion: {0}")]
    Malformed(String),
    /// The answer is longer than any plan.
    #[error("the answer is too long")]
    TooLong,
    /// The model will not answer that.
    #[error("the model refuses: {0}")]
    Refused(String),
}

impl ModelError {
    /// Of few values: for metrics.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Auth { .. } => "auth",
            Self::Quota => "quota",
            Self::RateLimited { .. } => "rate_limited",
            Self::BadRequest { .. } => "bad_request",
            Self::Unavailable(_) => "unavailable",
            Self::Timeout(_) => "timeout",
            Self::Cut => "cut",
            Self::Malformed(_) => "malformed",
            Self::TooLong => "too_long",
            Self::Refused(_) => "refused",
        }
    }

    /// Whether the same request may be answered in a moment.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::Unavailable(_)
            | Self::Timeout(_)
            | Self::Cut
            | Self::Malformed(_) => true,
            Self::Auth { .. }
            | Self::Quota
            | Self::BadRequest { .. }
            | Self::TooLong
            | Self::Refused(_) => false,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
struct ErrorBody {
    #[serde(default)]
    error: ErrorDetail,
}

#[derive(Debug, Default, Deserialize)]
struct ErrorDetail {
    #[serde(default)]
    message: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    code: Option<serde_json::Value>,
}

/// The class of an answer that is not a success.
#[must_use]
pub fn of_status(status: u16, retry_after: Option<Duration>, body: &[u8]) -> ModelError {
    let parsed: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
    let detail = parsed.error;
    let is_quota = |word: &str| word == "insufficient_quota";
    let code = detail.code.as_ref().and_then(serde_json::Value::as_str);
    let quota_is_named = code.is_some_and(is_quota) || detail.kind.as_deref().is_some_and(is_quota);
    match status {
        401 | 403 => ModelError::Auth { status },
        402 => ModelError::Quota,
        429 if quota_is_named => ModelError::Quota,
        429 => ModelError::RateLimited { retry_after },
        408 | 500..=599 => ModelError::Unavailable(format!("status {status}")),
        _ => {
            let message = detail.message.unwrap_or_else(|| "no reason given".into());
            ModelError::BadRequest {
                status,
                message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_class() {
        let quota = br#"{"error":{"message":"x","code":"insufficient_quota"}}"#;
        let wrong = br#"{"error":{"message":"no such model","type":"invalid_request_error"}}"#;
        let after = Some(Duration::from_secs(3));
        for (status, body, class, retryable) in [
            (401, &wrong[..], "auth", false),
            (403, b"", "auth", false),
            (402, b"", "quota", false),
            (429, quota, "quota", false),
            (429, b"slow down", "rate_limited", true),
            (400, wrong, "bad_request", false),
            (404, b"<html>", "bad_request", false),
            (302, b"", "bad_request", false),
            (408, b"", "unavailable", true),
            (500, b"{}", "unavailable", true),
            (503, b"{\"error\":null}", "unavailable", true),
        ] {
            let error = of_status(status, after, body);
            assert_eq!((error.class(), error.is_retryable()), (class, retryable));
        }
        let ModelError::BadRequest { message, .. } = of_status(404, None, wrong) else {
            panic!("another class");
        };
        assert_eq!(message, "no such model");
    }
}
