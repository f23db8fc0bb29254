//! A [`Refusal`] as an answer of HTTP: the status that fits its code, the code itself, and when to
//! try again. The refusal goes with the answer as an extension, for whoever counts.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use protocol::{ErrorCode, Refusal};
use serde::Serialize;
use utoipa::ToSchema;

/// Statuses by code. A code that is not here is a refusal that is final: 400.
const STATUSES: [(ErrorCode, StatusCode); 22] = [
    (ErrorCode::FrameTooLong, StatusCode::PAYLOAD_TOO_LARGE),
    (ErrorCode::ContentTooLong, StatusCode::PAYLOAD_TOO_LARGE),
    (ErrorCode::UnknownKind, StatusCode::NOT_FOUND),
    (ErrorCode::Unauthenticated, StatusCode::UNAUTHORIZED),
    (ErrorCode::TokenExpired, StatusCode::UNAUTHORIZED),
    (ErrorCode::Revoked, StatusCode::UNAUTHORIZED),
    (ErrorCode::Forbidden, StatusCode::FORBIDDEN),
    (ErrorCode::NotAMember, StatusCode::FORBIDDEN),
    (ErrorCode::NoSuchConversation, StatusCode::NOT_FOUND),
    (ErrorCode::NoSuchAccount, StatusCode::NOT_FOUND),
    (ErrorCode::NoSuchEntry, StatusCode::NOT_FOUND),
    (ErrorCode::NoSuchMedia, StatusCode::NOT_FOUND),
    (ErrorCode::MediaQuota, StatusCode::INSUFFICIENT_STORAGE),
    (ErrorCode::ContentBlocked, StatusCode::UNPROCESSABLE_ENTITY),
    (ErrorCode::Conflict, StatusCode::CONFLICT),
    (ErrorCode::OtherHistory, StatusCode::CONFLICT),
    (ErrorCode::LimitReached, StatusCode::CONFLICT),
    (ErrorCode::TooOld, StatusCode::GONE),
    (ErrorCode::Expired, StatusCode::GONE),
    (ErrorCode::RateLimited, StatusCode::TOO_MANY_REQUESTS),
    (ErrorCode::OutcomeUnknown, StatusCode::GATEWAY_TIMEOUT),
    (ErrorCode::Unavailable, StatusCode::SERVICE_UNAVAILABLE),
];

/// How long a client waits that is told to try again and not when, in milliseconds.
const RETRY_AFTER_MS_DEFAULT: u32 = 1000;

/// What is said instead of an answer.
#[derive(Debug, Clone)]
pub struct Refused(pub Refusal);

/// The body of an error.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    error: ErrorDetails,
}

/// The same fields as the `Error` of the protocol.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorDetails {
    /// The code's name, as in the protocol: `NOT_A_MEMBER`.
    code: String,
    /// The code's number, which never changes.
    number: i32,
    /// One line for people.
    message: String,
    /// Whether the same request with the same ids may succeed later.
    retryable: bool,
    /// How long to wait before that, in milliseconds; 0: it is not worth it.
    retry_after_ms: u32,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl From<QueryRejection> for Refused {
    fn from(rejection: QueryRejection) -> Self {
        Self(Refusal::bad_request(rejection.body_text()))
    }
}

impl From<Refusal> for ErrorBody {
    fn from(refusal: Refusal) -> Self {
        let retry_after_ms = match (refusal.is_retryable(), refusal.retry_after_ms) {
            (true, 0) => RETRY_AFTER_MS_DEFAULT,
            (_, told) => told,
        };
        let error = ErrorDetails {
            code: refusal.label().to_ascii_uppercase(),
            number: refusal.code.into(),
            retryable: refusal.is_retryable(),
            retry_after_ms,
            message: refusal.message,
        };
        Self { error }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = status(self.0.code);
        let body = ErrorBody::from(self.0.clone());
        let retry_after_ms = body.error.retry_after_ms;
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        if retry_after_ms > 0 {
            // In whole seconds, and never before it is worth it.
            let seconds = retry_after_ms.div_ceil(1000);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, bearer);
        }
        response.extensions_mut().insert(self);
        response
    }
}

fn status(code: ErrorCode) -> StatusCode {
    if code == ErrorCode::Internal {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    let found = STATUSES.iter().find(|(its, _)| *its == code);
    found.map_or(StatusCode::BAD_REQUEST, |(_, status)| *status)
}

/// Whatever has no other route.
pub async fn unknown(uri: Uri) -> Refused {
    let message = format!("{} is not known here", uri.path());
    Refused(Refusal::new(ErrorCode::UnknownKind, message))
}

/// A route that has other methods.
pub async fn other_method(method: Method, uri: Uri) -> Refused {
    let message = format!("{} has no {method}", uri.path());
    Refused(Refusal::new(ErrorCode::UnknownKind, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_try_again_is_told_when() {
        let refusal = Refusal::new(ErrorCode::RateLimited, "too many").retry_after_ms(1200);
        let response = Refused(refusal).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        let response = Refused(Refusal::unavailable("away")).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let response = Refused(Refusal::bad_request("no")).into_response();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert!(!response.headers().contains_key(header::RETRY_AFTER));
    }
}
