//! Clients that come by HTTP: a WebSocket that says whatever it is told to.

use std::sync::Arc;
use std::time::Duration;

use bench::cluster::Cluster;
use bytes::{Bytes, BytesMut};
use deploy::authority::CertificateFiles;
use futures_util::{SinkExt as _, StreamExt as _};
use prost::Message;
use protocol::kind::client as kind;
use protocol::limits::FRAME_BYTES_MAX;
use protocol::wire::Welcome;
use protocol::{Frame, FrameCodec, Refusal};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message as Said};
use tokio_util::codec::Decoder as _;

use crate::raw::{hello, token};

const WAIT: Duration = Duration::from_secs(20);

/// TLS towards a cluster, as the robot of this certificate or nobody.
pub(crate) fn tls_config(
    cluster: &Cluster,
    certificate: Option<&CertificateFiles>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(cluster.authority().fleet_ca()).unwrap();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match certificate {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let chain = vec![CertificateDer::from_pem_file(&files.certificate).unwrap()];
            let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    }
}

/// A TLS connection to the HTTP port of the first gateway.
pub(crate) async fn dial(
    cluster: &Cluster,
    certificate: Option<&CertificateFiles>,
) -> TlsStream<TcpStream> {
    let config = tls_config(cluster, certificate);
    let address = cluster.run_file().unwrap().addresses.http;
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, tcp).await.unwrap()
}

pub(crate) struct WebSocket(WebSocketStream<TlsStream<TcpStream>>);

impl WebSocket {
    /// Opens one, and says nothing.
    pub(crate) async fn open(
        cluster: &Cluster,
        certificate: Option<&CertificateFiles>,
    ) -> Result<Self, tungstenite::Error> {
        let stream = dial(cluster, certificate).await;
        let opened = tokio_tungstenite::client_async("wss://localhost/v1/ws", stream).await;
        opened.map(|(socket, _)| Self(socket))
    }

    /// Opens one and introduces itself as a person, or as the robot of this certificate.
    pub(crate) async fn welcomed(
        cluster: &Cluster,
        name: &str,
        certificate: Option<&CertificateFiles>,
    ) -> (Self, Welcome) {
        let mut socket = Self::open(cluster, certificate).await.unwrap();
        let token = match certificate {
            None => token(cluster, name, 60_000),
            Some(_) => String::new(),
        };
        socket.say(kind::HELLO, 1, &hello(&token)).await;
        let welcome = socket.hear().await.unwrap();
        let said = Refusal::decode(&welcome.body);
        assert_eq!(welcome.kind, kind::WELCOME, "{said:?}");
        (socket, Welcome::decode(welcome.body).unwrap())
    }

    pub(crate) async fn say(&mut self, kind: u16, correlation: u32, message: &impl Message) {
        let frame = Frame {
            correlation,
            ..Frame::notice(kind, message)
        };
        self.say_message(Said::Binary(frame.to_bytes())).await;
    }

    /// A message as it is. The other side may have closed already.
    pub(crate) async fn say_message(&mut self, message: Said) {
        drop(self.0.send(message).await);
    }

    /// The next frame, alone in its message; `None`: the connection has ended.
    pub(crate) async fn hear(&mut self) -> Option<Frame> {
        loop {
            let next = tokio::time::timeout(WAIT, self.0.next()).await;
            match next.expect("nothing was heard") {
                Some(Ok(Said::Binary(message))) => return Some(frame(message)),
                Some(Ok(Said::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next frame of this kind.
    pub(crate) async fn hear_kind(&mut self, kind: u16) -> Frame {
        loop {
            let frame = self.hear().await.expect("it is open");
            if frame.kind == kind {
                return frame;
            }
            assert_ne!(
                frame.kind,
                kind::ERROR,
                "{:?}",
                Refusal::decode(&frame.body)
            );
        }
    }

    /// The error that comes next.
    pub(crate) async fn refusal(&mut self) -> Refusal {
        let frame = self.hear().await.expect("an error before the end");
        assert_eq!(frame.kind, kind::ERROR, "{frame:?}");
        Refusal::decode(&frame.body)
    }

    pub(crate) async fn is_closed(&mut self) -> bool {
        self.hear().await.is_none()
    }
}

fn frame(message: Bytes) -> Frame {
    let mut bytes = BytesMut::from(message);
    let mut codec = FrameCodec::new(FRAME_BYTES_MAX);
    let frame = codec.decode(&mut bytes).unwrap().expect("a whole frame");
    assert!(bytes.is_empty(), "one frame a message");
    frame
}
