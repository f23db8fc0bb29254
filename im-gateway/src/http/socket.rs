//! A request becomes a WebSocket, and the WebSocket a session like any other.
//!
//! Not here: what travels on it ([`crate::web_socket`], [`crate::session`]).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use protocol::{ErrorCode, Refusal};
use service_kit::http::Refused;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Http;
use super::server::Client;
use crate::connection::Connection;
use crate::doors::{ADDRESS_RETRY_AFTER_MS, Entrance};
use crate::events;
use crate::web_socket::WebSocket;
use crate::wire::Wire;

/// What a client may name as the protocol that it means.
const SUBPROTOCOL: &str = "im.1";

/// Opens one.
pub(super) async fn open(
    State(http): State<Arc<Http>>,
    Extension(client): Extension<Client>,
    mut request: Request,
) -> Result<Response, Refused> {
    let key = match key_of(request.headers()) {
        Ok(key) => derive_accept_key(key.as_bytes()),
        Err(why) => {
            events::web_socket_refused("malformed");
            return Err(Refusal::bad_request(why).into());
        }
    };
    let doors = &http.gateway.doors;
    let permit = doors.try_half_open();
    let entrance = permit.map(|permit| doors.enter(client.address, permit));
    let Some(Entrance::Open(half_open)) = entrance else {
        events::web_socket_refused("full");
        let message = "too many connections are being opened";
        let refusal = Refusal::new(ErrorCode::RateLimited, message);
        return Err(refusal.retry_after_ms(ADDRESS_RETRY_AFTER_MS).into());
    };
    let names_ours = names(
        request.headers(),
        &header::SEC_WEBSOCKET_PROTOCOL,
        SUBPROTOCOL,
    );
    let upgrading = hyper::upgrade::on(&mut request);
    let gateway = Arc::clone(&http.gateway);
    let drain = gateway.drain().clone();
    let patience = Duration::from_millis(gateway.rules.hello_timeout_ms.into());
    drain.spawn(async move {
        let Client {
            address,
            peer,
            place,
        } = client;
        match tokio::time::timeout(patience, upgrading).await {
            Ok(Ok(upgraded)) => {
                let wire = Wire::of_web_socket(WebSocket::new(upgraded, peer).await, address);
                // Boxed, so that a session does not keep what its opening needs.
                let opening = Box::pin(Connection::open(wire, gateway, half_open));
                if let Some(connection) = opening.await {
                    connection.serve().await;
                }
            }
            Ok(Err(error)) => events::connection_failed(&error),
            Err(_) => events::connection_failed(&"no WebSocket in time"),
        }
        drop(place);
    });
    Ok(switching(&key, names_ours))
}

/// The key of a request that asks for a WebSocket, or what is wrong with it.
fn key_of(headers: &HeaderMap) -> Result<&HeaderValue, &'static str> {
    if !names(headers, &header::CONNECTION, "upgrade")
        || !names(headers, &header::UPGRADE, "websocket")
    {
        return Err("a WebSocket is opened here: `Connection: upgrade`, `Upgrade: websocket`");
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .map(HeaderValue::as_bytes)
        != Some(b"13")
    {
        return Err("Sec-WebSocket-Version: only 13 is spoken here");
    }
    let missing = "Sec-WebSocket-Key: missing";
    headers.get(header::SEC_WEBSOCKET_KEY).ok_or(missing)
}

/// Whether a header that is a list has this word.
fn names(headers: &HeaderMap, header: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(header).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|named| named.trim().eq_ignore_ascii_case(word))
}

fn switching(key: &str, names_ours: bool) -> Response {
    let mut response = (
        StatusCode::SWITCHING_PROTOCOLS,
        [
            (header::CONNECTION, "upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_ACCEPT, key),
        ],
        Body::empty(),
    )
        .into_response();
    if names_ours {
        let ours = HeaderValue::from_static(SUBPROTOCOL);
        let headers = response.headers_mut();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, ours);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_request_for_a_web_socket_says_so() {
        let good = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        assert_eq!(key_of(&headers(&good)).unwrap(), good[3].1);
        for (missing, (name, _)) in good.iter().enumerate() {
            let mut rest = good.to_vec();
            rest.remove(missing);
            assert!(key_of(&headers(&rest)).is_err(), "without {name}");
        }
    }
}
