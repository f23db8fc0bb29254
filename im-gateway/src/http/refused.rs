//! Errors of HTTP that are this listener's own, and their count. Not here: how an error is answered
//! ([`service_kit::http`]).

use axum::http::header;
use axum::response::{IntoResponse, Response};
use protocol::{ErrorCode, Refusal};
use service_kit::http::Refused;

use crate::doors::ADDRESS_RETRY_AFTER_MS;
use crate::events;

/// Counts an answer that is an error.
pub(super) async fn count(response: Response) -> Response {
    if let Some(Refused(refusal)) = response.extensions().get() {
        events::http_refused(refusal);
    }
    response
}

/// Whoever comes from an address that has too many connections.
pub(super) async fn crowded() -> impl IntoResponse {
    let message = "too many connections from this address are being opened";
    let refusal = Refusal::new(ErrorCode::RateLimited, message);
    let close = [(header::CONNECTION, "close")];
    (
        close,
        Refused(refusal.retry_after_ms(ADDRESS_RETRY_AFTER_MS)),
    )
}
