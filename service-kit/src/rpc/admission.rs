//! Lets peers in: the handshake, and whether the name in the certificate is one that is expected.

use protocol::kind::method;
use protocol::{ErrorCode, Frame, Refusal};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::CONNECT_TIMEOUT;
use super::connection::set_options;
use crate::{events, tls};

pub(super) type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

/// The stream and the peer's name; `None` when it does not get in.
pub(super) async fn admit(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    allowed_peers: &[&str],
) -> Option<(TlsStream, String)> {
    set_options(&stream);
    let handshake = async {
        let mut stream = acceptor
            .accept(stream)
            .await
            .map_err(|error| ("handshake", error.to_string()))?;
        let connection = stream.get_ref().1;
        if connection.alpn_protocol() != Some(tls::ALPN_INTERNAL) {
            return Err(("protocol", "another ALPN than a link's".to_owned()));
        }
        let name = tls::peer_dns_name(connection).unwrap_or_default();
        if allowed_peers.contains(&name.as_str()) {
            Ok((stream, name))
        } else {
            tell_refused(&mut stream, &name).await;
            Err(("name", name))
        }
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, handshake).await {
        Ok(Ok(admitted)) => Some(admitted),
        Ok(Err((why, detail))) => {
            events::peer_refused(why, &detail);
            None
        }
        Err(_) => {
            events::peer_refused("handshake", "timed out");
            None
        }
    }
}

/// A verified peer learns why it does not get in: somebody has to correct a configuration.
async fn tell_refused(stream: &mut TlsStream, name: &str) {
    let refusal = Refusal::new(
        ErrorCode::Forbidden,
        format!("a peer named `{name}` is not expected here"),
    );
    let frame = Frame {
        kind: method::FAILED,
        correlation: 0,
        deadline_ms: 0,
        body: refusal.encode(),
    };
    let told = async {
        stream.write_all(&frame.to_bytes()).await?;
        stream.shutdown().await
    };
    if let Err(error) = told.await {
        events::connection_failed(name, &error);
    }
}
