//! HTTP over TLS, on a listener of its own: where clients come that cannot speak the protocol over
//! TCP. It is the same gateway behind: the same accounts, limits and errors.
//!
//! `server` has the connections, `caller` knows whose a request is. `messages` answers
//! requests, `stream` tells a conversation as it goes on, `socket` turns a connection into a
//! WebSocket; `media`, `upload` and `download` are the way of media.

mod caller;
mod content;
mod cursor;
mod download;
mod json;
mod listener;
#[expect(unused_qualifications, reason = "what utoipa generates has some")]
mod media;
#[expect(unused_qualifications, reason = "what utoipa generates has some")]
mod messages;
mod openapi;
mod refused;
mod server;
mod socket;
#[expect(unused_qualifications, reason = "what utoipa generates has some")]
mod stream;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::middleware::map_response;
use axum::routing::{get, head, post};
use rustls::ServerConfig;
use service_kit::{listen, tls};
use tokio::net::TcpListener;

use crate::config::HttpConfig;
use crate::gateway::Gateway;

/// What every request has to do with.
pub(crate) struct Http {
    gateway: Arc<Gateway>,
    config: HttpConfig,
    measures: caller::Measures,
    openapi: Bytes,
}

impl Http {
    /// How long a request may take.
    fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.gateway.rules.request_timeout_ms.into())
    }
}

/// The listener, if the configuration has one.
///
/// # Errors
/// When the address is none, or taken.
pub async fn bind(config: &HttpConfig) -> anyhow::Result<Option<TcpListener>> {
    match config.address()? {
        Some(address) => Ok(Some(listen::bind("http.listen", address).await?)),
        None => Ok(None),
    }
}

/// Serves until the drain, if there is a listener. `public` is the TLS of the other listener.
pub fn spawn(
    listener: Option<TcpListener>,
    public: &ServerConfig,
    gateway: &Arc<Gateway>,
    config: HttpConfig,
) {
    let Some(listener) = listener else {
        return;
    };
    let tls = tls::for_http(public);
    let http = Arc::new(Http {
        gateway: Arc::clone(gateway),
        config,
        measures: caller::Measures::default(),
        openapi: openapi::document(),
    });
    let routes = routes(Arc::clone(&http));
    let serving = server::serve(listener, tls, http, routes);
    gateway.drain().spawn(serving);
}

fn routes(http: Arc<Http>) -> Router {
    Router::new()
        .route("/v1/messages", post(messages::send))
        .route("/v1/conversations", get(messages::list))
        .route("/v1/conversations/{id}/messages", get(messages::read_page))
        .route("/v1/conversations/{id}/events", get(stream::open))
        .route(
            "/v1/conversations/{id}/messages/{sequence}/media",
            get(media::open),
        )
        .route("/v1/media", get(media::list).post(media::create))
        .route("/v1/media/{id}", get(download::fetch))
        .route(
            "/v1/uploads/{id}",
            head(upload::see).patch(upload::send).post(upload::finish),
        )
        .route("/v1/ws", get(socket::open))
        .route("/openapi.json", get(openapi::serve))
        .fallback(service_kit::http::unknown)
        .method_not_allowed_fallback(service_kit::http::other_method)
        .layer(map_response(refused::count))
        .with_state(http)
}
