//! How asking a model fails, by class, and which of it may be better in a moment. Pure.

use std::time::Duration;

use thiserror::Error;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ModelError {
    /// The key is not accepted.
    #[error("the provider does not accept the key (status {status})")]
    Auth {
        /// The HTTP status.
        status: u16,
    },
    /// The account has used up what it may, or has not paid.
    #[error("the quota at the provider is used up")]
    Quota,
    /// Too many requests for now.
    #[error("the provider limits the rate of requests")]
    RateLimited {
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// The request is not as the provider wants it: a wrong model for example.
    #[error("the provider does not accept the request (status {status}): {message}")]
    BadRequest {
        /// The HTTP status.
        status: u16,
        /// In the provider's words.
        message: String,
    },
    /// The conversation is longer than the model reads.
    #[error("the prompt is too long for the model: {0}")]
    PromptTooLong(String),
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
    /// The model or the provider's filter will not answer that.
    #[error("the model refuses: {0}")]
    Refused(String),
    /// The provider cannot do this at all.
    #[error("the provider has no {0}")]
    Unsupported(&'static str),
}

/// What is to be done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The same request may be answered in a moment, or by another provider.
    Retryable,
    /// Somebody has to pay, or to raise a limit; another provider may answer.
    Quota,
    /// The content is not wanted; nobody is asked again.
    ContentRefused,
    /// The request has to be another one.
    BadRequest,
    /// The key has to be another one; another provider may answer.
    Auth,
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
            Self::PromptTooLong(_) => "prompt_too_long",
            Self::Unavailable(_) => "unavailable",
            Self::Timeout(_) => "timeout",
            Self::Cut => "cut",
            Self::Malformed(_) => "malformed",
            Self::TooLong => "too_long",
            Self::Refused(_) => "refused",
            Self::Unsupported(_) => "unsupported",
        }
    }

    /// What is to be done about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::RateLimited { .. }
            | Self::Unavailable(_)
            | Self::Timeout(_)
            | Self::Cut
            | Self::Malformed(_) => ErrorKind::Retryable,
            Self::Quota => ErrorKind::Quota,
            Self::Refused(_) => ErrorKind::ContentRefused,
            Self::BadRequest { .. }
            | Self::PromptTooLong(_)
            | Self::TooLong
            | Self::Unsupported(_) => ErrorKind::BadRequest,
            Self::Auth { .. } => ErrorKind::Auth,
        }
    }

    /// Whether the same request may be answered in a moment.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind() == ErrorKind::Retryable
    }

    /// The same with a secret out of its words: a provider may repeat a key in its message.
    #[must_use]
    pub fn without(self, secret: &str) -> Self {
        let hide = |text: String| match secret {
            "" => text,
            secret => text.replace(secret, "..."),
        };
        match self {
            Self::BadRequest { status, message } => Self::BadRequest {
                status,
                message: hide(message),
            },
            Self::PromptTooLong(text) => Self::PromptTooLong(hide(text)),
            Self::Unavailable(text) => Self::Unavailable(hide(text)),
            Self::Malformed(text) => Self::Malformed(hide(text)),
            Self::Refused(text) => Self::Refused(hide(text)),
            other @ (Self::Auth { .. }
            | Self::Quota
            | Self::RateLimited { .. }
            | Self::Timeout(_)
            | Self::Cut
            | Self::TooLong
            | Self::Unsupported(_)) => other,
        }
    }
}
