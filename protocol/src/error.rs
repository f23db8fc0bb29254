//! What a client may be told went wrong. A [`Refusal`] is the only error that crosses the wire.

use bytes::Bytes;
use prost::Message;
use thiserror::Error;

use crate::wire;

pub use crate::wire::ErrorCode;

/// A typed error for the other side: a code, one line for people, and whether to try again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {message}", code_name(*code))]
pub struct Refusal {
    /// What went wrong.
    pub code: ErrorCode,
    /// One line for people, with the mend where there is one.
    pub message: String,
    /// How long to wait before trying again, in milliseconds; 0: the client's own back-off.
    pub retry_after_ms: u32,
    /// What is wrong with a query of robots, with [`ErrorCode::Query`]. Rare, so apart.
    pub query_fault: Option<Box<wire::QueryFault>>,
}

impl Refusal {
    /// A refusal with this code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_ms: 0,
            query_fault: None,
        }
    }

    /// [`ErrorCode::BadRequest`].
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }

    /// [`ErrorCode::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }

    /// [`ErrorCode::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }

    /// [`ErrorCode::Query`].
    pub fn query(message: impl Into<String>, fault: wire::QueryFault) -> Self {
        Self {
            query_fault: Some(Box::new(fault)),
            ..Self::new(ErrorCode::Query, message)
        }
    }

    /// The same, to be tried again after this many milliseconds.
    #[must_use]
    pub fn retry_after_ms(mut self, retry_after_ms: u32) -> Self {
        self.retry_after_ms = retry_after_ms;
        self
    }

    /// Whether the same request with the same ids may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        is_retryable(self.code)
    }

    /// Whether it refuses a login for what the one who logs in has done wrong, and not the server.
    #[must_use]
    pub const fn is_failed_login(&self) -> bool {
        matches!(
            self.code,
            ErrorCode::Unauthenticated
                | ErrorCode::TokenExpired
                | ErrorCode::Forbidden
                | ErrorCode::EnrolmentRefused
                | ErrorCode::Revoked
        )
    }

    /// The code as it is written in logs and metric labels, for example `not_a_member`.
    #[must_use]
    pub fn label(&self) -> String {
        code_name(self.code).to_ascii_lowercase()
    }

    /// The wire form.
    #[must_use]
    pub fn to_wire(&self) -> wire::Error {
        wire::Error {
            code: self.code.into(),
            message: self.message.clone(),
            retryable: self.is_retryable(),
            retry_after_ms: self.retry_after_ms,
            query_fault: self.query_fault.as_deref().copied(),
        }
    }

    /// The encoded wire form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.to_wire().encode_to_vec().into()
    }

    /// From the wire. A code that is not known is [`ErrorCode::Internal`].
    #[must_use]
    pub fn from_wire(error: wire::Error) -> Self {
        let code = ErrorCode::try_from(error.code)
            .ok()
            .filter(|code| *code != ErrorCode::Unspecified)
            .unwrap_or(ErrorCode::Internal);
        Self {
            code,
            message: error.message,
            retry_after_ms: error.retry_after_ms,
            query_fault: error.query_fault.map(Box::new),
        }
    }

    /// From an encoded body; one that does not parse is itself an [`ErrorCode::Internal`].
    #[must_use]
    pub fn decode(body: &[u8]) -> Self {
        wire::Error::decode(body).map_or_else(
            |_| Self::internal("an error that does not parse"),
            Self::from_wire,
        )
    }
}

impl From<crate::id::IdError> for Refusal {
    fn from(error: crate::id::IdError) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// Decodes a request's body, or says that it does not parse.
pub fn decode_body<M: Message + Default>(body: impl bytes::Buf) -> Result<M, Refusal> {
    M::decode(body).map_err(|error| Refusal::new(ErrorCode::BadFrame, error.to_string()))
}

/// Which codes are worth the same request again.
const fn is_retryable(code: ErrorCode) -> bool {
    match code {
        ErrorCode::Unavailable | ErrorCode::OutcomeUnknown | ErrorCode::RateLimited => true,
        ErrorCode::Unspecified
        | ErrorCode::BadFrame
        | ErrorCode::FrameTooLong
        | ErrorCode::UnknownKind
        | ErrorCode::UnsupportedVersion
        | ErrorCode::Unauthenticated
        | ErrorCode::TokenExpired
        | ErrorCode::WrongState
        | ErrorCode::BadRequest
        | ErrorCode::Forbidden
        | ErrorCode::NotAMember
        | ErrorCode::NoSuchConversation
        | ErrorCode::NoSuchAccount
        | ErrorCode::ContentTooLong
        | ErrorCode::Conflict
        | ErrorCode::TooOld
        | ErrorCode::Expired
        | ErrorCode::LimitReached
        | ErrorCode::Internal
        | ErrorCode::OtherHistory
        | ErrorCode::ContentBlocked
        | ErrorCode::NoSuchEntry
        | ErrorCode::GroupDissolved
        | ErrorCode::LastOwner
        | ErrorCode::StaleEpoch
        | ErrorCode::NoSuchCommand
        | ErrorCode::MediaQuota
        | ErrorCode::Query
        | ErrorCode::NoSuchMedia
        | ErrorCode::EnrolmentRefused
        | ErrorCode::Revoked
        | ErrorCode::AlreadyInitialised
        | ErrorCode::NewPasswordNeeded => false,
    }
}

fn code_name(code: ErrorCode) -> &'static str {
    code.as_str_name().trim_start_matches("ERROR_CODE_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_comes_back_from_the_wire() {
        let refusal = Refusal::unavailable("the store is away").retry_after_ms(250);
        assert_eq!(Refusal::decode(&refusal.encode()), refusal);
        assert!(refusal.is_retryable() && refusal.to_wire().retryable);
        assert_eq!(refusal.label(), "unavailable");
        assert_eq!(refusal.to_string(), "UNAVAILABLE: the store is away");
    }

    #[test]
    fn an_unknown_code_is_internal() {
        let error = wire::Error {
            code: 9999,
            message: "new".into(),
            ..Default::default()
        };
        assert_eq!(Refusal::from_wire(error).code, ErrorCode::Internal);
        assert_eq!(Refusal::decode(&[0xff]).code, ErrorCode::Internal);
    }
}
