//! What listeners of HTTP have in common: how an error is answered, how a body and a bearer token are
//! read, how an OpenAPI document is completed, and a connection that notices a client that takes
//! nothing. Not here: connections, routes, and who somebody is.

mod openapi;
mod refused;
mod stall;

use axum::body::Body;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use protocol::{ErrorCode, Refusal};

pub use self::openapi::{Bearer, complete, operations};
pub use self::refused::{ErrorBody, ErrorDetails, Refused, other_method, unknown};
pub use self::stall::Stalling;

/// The parameters of a request, or why they make no sense.
pub type Parameters<T> = Result<Query<T>, QueryRejection>;

/// The longest head of a request, in bytes: a token is some hundred.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How much of a body that is too long is read, in bytes.
pub const READ_AWAY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The token of a request, if it has one.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The body of a request. One that is too long is read away as far as that makes sense: a client
/// that is still sending would not hear the answer.
///
/// # Errors
/// That it is longer than this, or ended early.
pub async fn read_body(mut body: Body, bytes_max: usize) -> Result<Bytes, Refusal> {
    let (mut kept, mut length) = (BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::bad_request("the body ended early"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length += data.len();
        if length <= bytes_max {
            kept.extend_from_slice(&data);
        } else if length > bytes_max.max(READ_AWAY_BYTES_MAX) {
            break;
        }
    }
    if length > bytes_max {
        let message = format!("the body is longer than {bytes_max} bytes");
        return Err(Refusal::new(ErrorCode::ContentTooLong, message));
    }
    Ok(kept.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_token_is_the_bearers() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(of("Bearer abc.def"), Some("abc.def".into()));
        assert_eq!(of("bearer  abc"), Some("abc".into()));
        for other in ["Basic abc", "Bearer", "abc"] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_body_is_as_long_as_it_may_be_and_no_longer() {
        let read = async |length: usize| read_body(Body::from(vec![7; length]), 10).await;
        assert_eq!(read(10).await.unwrap().len(), 10);
        let refused = read(11).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::ContentTooLong);
    }
}
