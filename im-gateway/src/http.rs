//! HTTP over TLS, on a listener of its own: where clients come that cannot speak the protocol over
//! TCP. It is the same gateway behind: the same accounts, limits and errors.
//!
//! [`server`] has the connections, [`socket`] turns one into a WebSocket.

mod refused;
mod server;
mod socket;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use rustls::ServerConfig;
use service_kit::{listen, tls};
use tokio::net::TcpListener;

use crate::config::HttpConfig;
use crate::gateway::Gateway;

/// What every request has to do with.
pub(crate) struct Http {
    gateway: Arc<Gateway>,
    config: HttpConfig,
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

/// Serves until the drain; ends at once if there is no listener. `public` is the TLS of the other
/// listener.
pub fn serve(
    listener: Option<TcpListener>,
    public: &ServerConfig,
    gateway: Arc<Gateway>,
    config: HttpConfig,
) -> impl Future<Output = ()> + Send + 'static {
    let tls = tls::for_http(public);
    let http = Arc::new(Http { gateway, config });
    async move {
        if let Some(listener) = listener {
            let routes = routes(Arc::clone(&http));
            server::serve(listener, tls, http, routes).await;
        }
    }
}

fn routes(http: Arc<Http>) -> Router {
    Router::new()
        .route("/v1/ws", get(socket::open))
        .fallback(refused::unknown)
        .with_state(http)
}
