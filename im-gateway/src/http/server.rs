//! Connections that speak HTTP: TLS, one request after the other, and an end when the gateway
//! drains.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::middleware::map_response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use service_kit::http::{HEAD_BYTES_MAX, Stalling};
use service_kit::tls::PeerIdentity;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;
use tracing::Instrument as _;

use super::{Http, refused};
use crate::doors::{Entrance, Place};
use crate::session::Session;
use crate::{events, listener};

/// Whose connection a request came on.
#[derive(Debug, Clone)]
pub(super) struct Client {
    /// Where from.
    pub(super) address: IpAddr,
    /// By the TLS handshake.
    pub(super) peer: PeerIdentity,
    /// Kept by whatever outlives the request.
    pub(super) place: Arc<Place>,
}

/// Accepts until the drain.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    http: Arc<Http>,
    routes: Router,
) {
    let drain = http.gateway.drain().clone();
    let tls = TlsAcceptor::from(tls);
    loop {
        let (stream, remote, permit) = tokio::select! {
            accepted = listener::accept(&listener, &http.gateway.doors) => accepted,
            () = drain.draining() => return,
        };
        let Some(place) = http.gateway.doors.take() else {
            events::connection_refused("full");
            continue;
        };
        let entrance = http.gateway.doors.enter(remote.ip(), permit);
        let routes = match entrance {
            Entrance::Open(_) => routes.clone(),
            Entrance::Told(_) => Router::new()
                .fallback(refused::crowded)
                .layer(map_response(refused::count)),
            Entrance::Closed => continue,
        };
        let (http, tls) = (Arc::clone(&http), tls.clone());
        drain.spawn(
            async move {
                if let Some(stream) = handshake(stream, &tls, &http, entrance).await {
                    converse(stream, remote, place, &http, routes).await;
                }
            }
            .instrument(events::connection_span(remote)),
        );
    }
}

async fn handshake(
    stream: TcpStream,
    tls: &TlsAcceptor,
    http: &Http,
    entrance: Entrance,
) -> Option<TlsStream<TcpStream>> {
    if let Err(error) = stream.set_nodelay(true) {
        events::connection_failed(&error);
        return None;
    }
    let patience = Duration::from_millis(http.gateway.rules.hello_timeout_ms.into());
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(patience, tls.accept(stream)) => accepted,
        () = http.gateway.drain().draining() => return None,
    };
    // From here on the head of a request has its own time.
    drop(entrance);
    match accepted {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            events::handshake_failed(&error);
            None
        }
        Err(_) => {
            events::handshake_failed(&"timed out");
            None
        }
    }
}

async fn converse(
    stream: TlsStream<TcpStream>,
    remote: SocketAddr,
    place: Place,
    http: &Http,
    routes: Router,
) {
    let client = Client {
        address: remote.ip(),
        peer: PeerIdentity::of(stream.get_ref().1),
        place: Arc::new(place),
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(client.clone());
        routes.clone().oneshot(request)
    });
    // As a session's own.
    let patience = Session::new(http.gateway.rules.clone(), Instant::now()).patience();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(http.config.head_timeout_ms.into()))
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Stalling::new(stream, patience)), service)
        .with_upgrades();
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = http.gateway.drain().draining() => {
            // The request that is being answered is, and no other.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%remote, %error, "a connection ends");
        events::connection_failed(&error);
    }
}
