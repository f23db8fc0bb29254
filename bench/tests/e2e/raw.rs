//! A client without the SDK: it says whatever it is told to, right or wrong.

use std::sync::Arc;
use std::time::Duration;

use bench::cluster::Cluster;
use bytes::Bytes;
use futures_util::StreamExt as _;
use prost::Message;
use protocol::kind::client as kind;
use protocol::limits::FRAME_BYTES_MAX;
use protocol::wire::{Hello, Welcome};
use protocol::{Frame, FrameCodec, Refusal};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use service_kit::clock;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::codec::{Encoder as _, Framed};

const WAIT: Duration = Duration::from_secs(20);

/// Long enough for an answer that needs no question of the server's.
const MOMENT: Duration = Duration::from_millis(100);

pub(crate) struct Raw(Framed<TlsStream<TcpStream>, FrameCodec>);

impl Raw {
    /// Connects, with a certificate of these files or none.
    pub(crate) async fn connect(
        cluster: &Cluster,
        certificate: Option<&deploy::authority::CertificateFiles>,
    ) -> std::io::Result<Self> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(cluster.authority().fleet_ca()).unwrap();
        roots.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match certificate {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let chain = vec![CertificateDer::from_pem_file(&files.certificate).unwrap()];
                let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"im/1".to_vec()];
        let address = cluster.run_file().unwrap().addresses.clients;
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await?;
        Ok(Self(Framed::new(tls, FrameCodec::new(FRAME_BYTES_MAX))))
    }

    /// Connects and introduces itself as a person.
    pub(crate) async fn operator(cluster: &Cluster, name: &str) -> Self {
        let mut raw = Self::connect(cluster, None).await.unwrap();
        let token = token(cluster, name, 60_000);
        raw.say(kind::HELLO, 1, &hello(&token)).await;
        let welcome = raw.hear().await.unwrap();
        assert_eq!(
            welcome.kind,
            kind::WELCOME,
            "{:?}",
            Refusal::decode(&welcome.body)
        );
        Welcome::decode(welcome.body).unwrap();
        raw
    }

    pub(crate) async fn say(&mut self, kind: u16, correlation: u32, message: &impl Message) {
        let frame = Frame {
            kind,
            correlation,
            deadline_ms: 0,
            body: message.encode_to_vec().into(),
        };
        let mut bytes = bytes::BytesMut::new();
        FrameCodec::new(usize::MAX)
            .encode(&frame, &mut bytes)
            .unwrap();
        self.write(&bytes).await;
    }

    /// Bytes as they are. The other side may have closed already.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let stream = self.0.get_mut();
        if stream.write_all(bytes).await.is_ok() {
            drop(stream.flush().await);
        }
    }

    /// The next frame; `None`: the connection has ended.
    pub(crate) async fn hear(&mut self) -> Option<Frame> {
        let next = tokio::time::timeout(WAIT, self.0.next()).await;
        next.expect("nothing was heard").and_then(Result::ok)
    }

    /// What it is refused with before it has said anything, if it is; else that takes a moment.
    pub(crate) async fn refused_at_once(&mut self) -> Option<Refusal> {
        match tokio::time::timeout(MOMENT, self.0.next()).await {
            Ok(Some(Ok(frame))) => Some(Refusal::decode(&frame.body)),
            Ok(ended) => panic!("{ended:?}"),
            Err(_) => None,
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

pub(crate) fn hello(token: &str) -> Hello {
    Hello {
        min_version: 1,
        max_version: 1,
        client_name: "raw".into(),
        token: token.into(),
        ..Hello::default()
    }
}

/// A token that was good for so long and was signed a minute ago.
pub(crate) fn token(cluster: &Cluster, name: &str, more_ms: u64) -> String {
    let key = cluster.state().join("authority/tokens.key");
    let signer = service_kit::token::TokenSigner::from_pem(&key).unwrap();
    let signed_at_ms = clock::unix_ms() - 60_000;
    signer.sign(
        &format!("im://dev/operator/{name}"),
        signed_at_ms,
        60_000 + more_ms,
    )
}

pub(crate) fn raw_frame(version: u8, flags: u8, kind: u16, length: u32, body: &[u8]) -> Bytes {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&[version, flags]);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 9, 0, 0, 0, 0]);
    bytes.extend_from_slice(body);
    bytes.into()
}
