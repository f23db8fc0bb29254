//! Connections that speak HTTP: TLS, one request after the other, and an end when the process
//! drains.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use service_kit::http::{HEAD_BYTES_MAX, Stalling};
use service_kit::tls::PeerIdentity;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use super::Api;
use crate::events;

/// How long the handshake of TLS may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take nothing of what is written to it.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The wait after a connection could not be accepted: there may be no room for it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whose connection a request came on.
#[derive(Debug, Clone)]
pub(super) struct Client {
    /// Where from.
    pub(super) address: IpAddr,
    /// By the TLS handshake.
    pub(super) peer: PeerIdentity,
}

/// Accepts until the drain.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    api: Arc<Api>,
    routes: Router,
) {
    let tls = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(api.config.connections_max));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = api.drain.draining() => return,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                events::api_accept_failed(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            events::api_connection_refused();
            continue;
        };
        let (api, tls, routes) = (Arc::clone(&api), tls.clone(), routes.clone());
        let drain = api.drain.clone();
        drain.spawn(async move {
            if let Some(stream) = handshake(stream, &tls, &api).await {
                converse(stream, remote, &api, routes).await;
            }
            drop(place);
        });
    }
}

async fn handshake(
    stream: TcpStream,
    tls: &TlsAcceptor,
    api: &Api,
) -> Option<TlsStream<TcpStream>> {
    stream.set_nodelay(true).ok()?;
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)) => accepted,
        () = api.drain.draining() => return None,
    };
    match accepted {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake of the API fails");
            None
        }
        Err(_) => None,
    }
}

async fn converse(stream: TlsStream<TcpStream>, remote: SocketAddr, api: &Api, routes: Router) {
    let client = Client {
        address: remote.ip(),
        peer: PeerIdentity::of(stream.get_ref().1),
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(client.clone());
        routes.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(api.config.head_timeout_ms.into()))
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Stalling::new(stream, STALL_TIMEOUT)), service);
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = api.drain.draining() => {
            // The request that is being answered is, and no other.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%remote, %error, "a connection of the API ends");
    }
}
