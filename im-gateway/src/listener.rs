//! Accepts connections and brings them through the TLS handshake, a bounded number at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use service_kit::drain::Drain;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument as _;

use crate::connection::Connection;
use crate::doors::{Doors, Entrance};
use crate::events;
use crate::gateway::Gateway;
use crate::tls_stream::TlsStream;
use crate::wire::Wire;

/// After a failed accept: long enough not to spin while the process is out of files.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Accepts until the drain.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    gateway: Arc<Gateway>,
    drain: Drain,
) {
    loop {
        let (stream, remote, permit) = tokio::select! {
            accepted = accept(&listener, &gateway.doors) => accepted,
            () = drain.draining() => return,
        };
        let Some(place) = gateway.doors.take() else {
            events::connection_refused("full");
            continue;
        };
        let entrance = gateway.doors.enter(remote.ip(), permit);
        if matches!(entrance, Entrance::Closed) {
            continue;
        }
        // Boxed, so that a session does not keep what its opening needs.
        let opening = Box::pin(
            open(
                (stream, remote),
                entrance,
                Arc::clone(&tls),
                Arc::clone(&gateway),
            )
            .instrument(events::connection_span(remote)),
        );
        drain.spawn(async move {
            if let Some(connection) = opening.await {
                connection.serve().await;
            }
            drop(place);
        });
    }
}

/// The permit is taken first: beyond it, connections wait in the backlog of the socket.
pub(crate) async fn accept(
    listener: &TcpListener,
    doors: &Doors,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let permit = doors.half_open().await;
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => return (stream, remote, permit),
            Err(error) => {
                events::accept_failed(&error);
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn open(
    (stream, remote): (TcpStream, SocketAddr),
    entrance: Entrance,
    tls: Arc<ServerConfig>,
    gateway: Arc<Gateway>,
) -> Option<Box<Connection>> {
    // Frames are gathered before they are written; nothing is gained by waiting for more.
    if let Err(error) = stream.set_nodelay(true) {
        events::connection_failed(&error);
        return None;
    }
    let patience = Duration::from_millis(u64::from(gateway.rules.hello_timeout_ms));
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(patience, TlsStream::accept(stream, tls)) => accepted,
        () = gateway.drain().draining() => return None,
    };
    match accepted {
        Ok(Ok(stream)) => {
            let wire = Wire::new(stream, remote.ip());
            match entrance {
                Entrance::Open(half_open) => Connection::open(wire, gateway, half_open).await,
                Entrance::Told(_) | Entrance::Closed => {
                    Connection::refuse(wire).await;
                    None
                }
            }
        }
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
