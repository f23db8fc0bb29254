//! A connection that is only held: TLS, a hello, and from then on heartbeats. As lean as one can
//! be, so that a machine that also runs the server holds a hundred thousand.
//!
//! Not here: what it is held for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::BytesMut;
use prost::Message as _;
use protocol::kind::client as kind;
use protocol::limits::{FRAME_BYTES_MAX, PROTOCOL_VERSION};
use protocol::wire::{Hello, Ping, Welcome};
use protocol::{Frame, FrameCodec, Refusal};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::codec::Decoder as _;

use crate::clock;

/// How long one connection may take, from the first packet to the welcome.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);

/// Connections from one local address to one server: below what there are ports for.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 10_000;

/// What a connection that says nothing is tried with: a byte that comes back.
const KNOCK: u8 = b'?';

/// Makes connections, each with the tickets of its own last one, as robots have them.
#[derive(Clone)]
pub struct Door {
    servers: Arc<[(SocketAddr, ServerName<'static>)]>,
    tls: Arc<ClientConfig>,
}

/// Who comes: which number, and the tickets of its last connection.
#[derive(Clone)]
pub struct Visitor {
    number: usize,
    tls: TlsConnector,
}

/// A connection that stands.
#[derive(Debug)]
pub struct Held {
    stream: TlsStream<TcpStream>,
    input: BytesMut,
    codec: FrameCodec,
}

/// What a gateway said at the door.
#[derive(Debug, Clone, Copy)]
pub struct Welcomed {
    /// Who it takes us to be.
    pub account: u64,
    /// Conversations of that account.
    pub memberships: usize,
    /// How often it wants to hear of us.
    pub heartbeat: Duration,
}

impl Door {
    /// Of these servers, each `HOST:PORT`, whose certificates this authority signs, in PEM.
    ///
    /// # Errors
    /// When it is no authority, or a server is not found.
    pub fn new(servers: &[String], ca_pem: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![service_kit::tls::ALPN_CLIENT.to_vec()];
        let servers: Vec<_> = servers
            .iter()
            .map(|server| located(server).with_context(|| format!("{server}: no HOST:PORT")))
            .collect::<anyhow::Result<_>>()?;
        ensure!(!servers.is_empty(), "there is no server");
        Ok(Self {
            servers: servers.into(),
            tls: Arc::new(tls),
        })
    }

    /// Who comes with this number, for the first time.
    #[must_use]
    pub fn visitor(&self, number: usize) -> Visitor {
        let mut tls = ClientConfig::clone(&self.tls);
        // One server, one ticket: what a robot keeps.
        tls.resumption = rustls::client::Resumption::in_memory_sessions(1);
        Visitor {
            number,
            tls: TlsConnector::from(Arc::new(tls)),
        }
    }

    /// A TLS connection that a byte went over and back, so that both sides are done with the
    /// handshake and the client has its ticket.
    ///
    /// # Errors
    /// When it fails or takes too long.
    pub async fn knock(&self, visitor: &Visitor) -> anyhow::Result<Held> {
        within(async {
            let mut held = self.connect(visitor).await?;
            held.knock().await?;
            Ok(held)
        })
        .await
    }

    /// A session with this token.
    ///
    /// # Errors
    /// When it is refused, fails, or takes too long.
    pub async fn enter(
        &self,
        visitor: &Visitor,
        token: &str,
        heartbeat_interval_ms: u32,
    ) -> anyhow::Result<(Held, Welcomed)> {
        within(async {
            let mut held = self.connect(visitor).await?;
            let hello = Hello {
                min_version: PROTOCOL_VERSION,
                max_version: PROTOCOL_VERSION,
                client_name: "im-bench".into(),
                token: token.to_owned(),
                heartbeat_interval_ms,
                ..Hello::default()
            };
            held.say(kind::HELLO, 1, &hello).await?;
            let answer = held.hear().await?;
            if answer.kind != kind::WELCOME {
                bail!("not let in: {}", Refusal::decode(&answer.body));
            }
            let welcome = Welcome::decode(answer.body)?;
            let account = welcome.account.context("a welcome without an account")?;
            let welcomed = Welcomed {
                account: account.account_id,
                memberships: welcome.memberships.len(),
                heartbeat: Duration::from_millis(welcome.heartbeat_interval_ms.into()),
            };
            Ok((held, welcomed))
        })
        .await
    }

    async fn connect(&self, visitor: &Visitor) -> anyhow::Result<Held> {
        let (server, name) = &self.servers[visitor.number % self.servers.len()];
        let socket = if server.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if server.is_ipv4() && server.ip().is_loopback() {
            socket.bind(SocketAddr::new(source(visitor.number), 0))?;
        }
        let tcp = socket.connect(*server).await?;
        tcp.set_nodelay(true)?;
        let stream = visitor.tls.connect(name.clone(), tcp).await?;
        Ok(Held {
            stream,
            input: BytesMut::new(),
            codec: FrameCodec::new(FRAME_BYTES_MAX),
        })
    }
}

impl Held {
    /// Whether a ticket of an earlier connection was taken.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// A byte that goes to a bare server and comes back.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn knock(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&[KNOCK]).await?;
        self.stream.flush().await?;
        ensure!(self.stream.read_u8().await? == KNOCK, "another byte");
        Ok(())
    }

    /// One heartbeat, and the answer to it. What else comes is passed over.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn beat(&mut self) -> anyhow::Result<()> {
        let ping = Ping {
            sent_at_ms: clock::unix_us() / 1000,
        };
        self.say(kind::PING, u32::MAX, &ping).await?;
        while self.hear().await?.kind != kind::PONG {}
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        Ok(())
    }

    /// Ends when the other side does.
    ///
    /// # Errors
    /// When that was no good end.
    pub async fn gone(&mut self) -> anyhow::Result<()> {
        loop {
            self.hear().await?;
        }
    }

    async fn say(
        &mut self,
        kind: u16,
        correlation: u32,
        message: &impl prost::Message,
    ) -> anyhow::Result<()> {
        let frame = Frame {
            correlation,
            ..Frame::notice(kind, message)
        };
        self.stream.write_all(&frame.to_bytes()).await?;
        Ok(self.stream.flush().await?)
    }

    /// Cancel-safe.
    async fn hear(&mut self) -> anyhow::Result<Frame> {
        loop {
            if let Some(frame) = self.codec.decode(&mut self.input)? {
                return Ok(frame);
            }
            let read = self.stream.read_buf(&mut self.input).await?;
            ensure!(read > 0, "the server has closed the connection");
        }
    }
}

/// What has become of those that beat.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Beaten {
    /// Heartbeats that were answered.
    pub beats: u64,
    /// Connections that were lost.
    pub lost: u64,
}

/// Connections that stand, each of which says at its interval that it is there, from now on. They
/// are gone with this.
#[derive(Debug, Default)]
pub struct Heartbeats {
    of: JoinSet<()>,
    beats: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
}

impl Heartbeats {
    /// One more. Its first heartbeat comes within the interval, at a moment of its own.
    pub fn begin(&mut self, mut held: Held, interval: Duration) {
        let (beats, lost) = (Arc::clone(&self.beats), Arc::clone(&self.lost));
        let mut at = Instant::now() + interval.mul_f64(rand::random());
        self.of.spawn(async move {
            loop {
                tokio::time::sleep_until(at).await;
                if held.beat().await.is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                beats.fetch_add(1, Ordering::Relaxed);
                at += interval;
            }
        });
    }

    /// What has become of them until now.
    #[must_use]
    pub fn so_far(&self) -> Beaten {
        Beaten {
            beats: self.beats.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }
}

async fn within<T>(made: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(CONNECT_WITHIN, made)
        .await
        .context("a connection takes too long")?
}

/// Where `HOST:PORT` is, and what its certificate is for.
fn located(server: &str) -> anyhow::Result<(SocketAddr, ServerName<'static>)> {
    let (host, _) = server.rsplit_once(':').context("it has no port")?;
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
    let mut addresses = server.to_socket_addrs()?;
    Ok((addresses.next().context("it has no address")?, name))
}

/// The loopback address that the connection of this number comes from: each has ports of its own.
fn source(number: usize) -> IpAddr {
    let place = u8::try_from(number / CONNECTIONS_PER_ADDRESS_MAX % 250).unwrap_or_default();
    Ipv4Addr::new(127, 0, 1, place + 1).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_a_port() {
        let (address, name) = located("127.0.0.1:7443").unwrap();
        assert_eq!(address.to_string(), "127.0.0.1:7443");
        assert_eq!(name.to_str(), "127.0.0.1");
        assert_eq!(located("[::1]:7443").unwrap().1.to_str(), "::1");
        assert!(located("127.0.0.1").is_err() && located("a b:1").is_err());
    }

    #[test]
    fn no_local_address_runs_out_of_ports() {
        assert_eq!(source(0), source(CONNECTIONS_PER_ADDRESS_MAX - 1));
        assert_ne!(source(0), source(CONNECTIONS_PER_ADDRESS_MAX));
        assert!(source(99_999).is_loopback());
    }
}
