//! One connection: TCP, TLS, hello and welcome, then frames both ways. What they mean is not here.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use prost::Message as _;
use protocol::kind::client as kind;
use protocol::limits::{FRAME_BYTES_MAX, PROTOCOL_VERSION};
use protocol::wire::{self, Feature};
use protocol::{Frame, FrameCodec, FrameError, Refusal};
use tokio::io::{AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::codec::{Encoder as _, FramedRead};

use crate::attempts::Attempt;
use crate::config::{CaSource, ClientConfig, Credential};
use crate::error::ConfigError;
use crate::tls;

/// Bytes that wait to be written; beyond it nothing more is taken from the outbox.
const WRITE_BUFFER_BYTES_MAX: usize = FRAME_BYTES_MAX;

/// How long the last bytes and the end of TLS may take.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// How a connection is made.
pub(crate) struct Dialer {
    /// Of the present credential, which may be renewed.
    present: Mutex<Present>,
    ca: CaSource,
    client_name: String,
    compression: bool,
    heartbeat_interval_ms: u32,
    source_address: Option<IpAddr>,
}

/// What the next connection is made with.
#[derive(Clone)]
struct Present {
    tls: TlsConnector,
    token: String,
}

impl Present {
    fn of(ca: &CaSource, credential: &Credential) -> Result<Self, ConfigError> {
        Ok(Self {
            tls: TlsConnector::from(tls::client(ca, credential)?),
            token: match credential {
                Credential::Token(token) => token.clone(),
                Credential::Login(login) => login.token.clone(),
                Credential::Certificate { .. } | Credential::Identity(_) => String::new(),
            },
        })
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum DialError {
    /// The server answered the hello with an error.
    Refused(Refusal),
    /// One side does not trust the other.
    Certificate(rustls::Error),
    /// Anything that may be different next time.
    Failed(String),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Certificate(error) => error.fmt(f),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl Dialer {
    pub(crate) fn new(config: &ClientConfig) -> Result<Self, ConfigError> {
        if config.addresses.is_empty() {
            return Err(ConfigError::NoAddress);
        }
        for address in &config.addresses {
            tls::server_name(address)?;
        }
        Ok(Self {
            present: Mutex::new(Present::of(&config.ca, &config.credential)?),
            ca: config.ca.clone(),
            client_name: config.client_name.clone(),
            compression: config.compression,
            heartbeat_interval_ms: config.heartbeat_interval.map_or(0, |interval| {
                u32::try_from(interval.as_millis())
                    .unwrap_or(u32::MAX)
                    .max(1)
            }),
            source_address: config.source_address,
        })
    }

    /// The next connection is made with this.
    pub(crate) fn set_credential(&self, credential: &Credential) -> Result<(), ConfigError> {
        let present = Present::of(&self.ca, credential)?;
        *self.present.lock() = present;
        Ok(())
    }

    /// Asks for a credential on a connection of its own.
    pub(crate) async fn apply(
        &self,
        attempt: &Attempt,
        kind: u16,
        body: &[u8],
    ) -> Result<Bytes, DialError> {
        let asking = async {
            let present = self.present.lock().clone();
            let mut connection = self.connect(&attempt.address, &present).await?;
            let asked = Frame {
                kind,
                correlation: 1,
                deadline_ms: 0,
                body: Bytes::copy_from_slice(body),
            };
            connection.enqueue(&asked).map_err(failed)?;
            connection.answer(kind::answer(kind)).await
        };
        tokio::time::timeout(attempt.patience, asking)
            .await
            .unwrap_or_else(|_| Err(DialError::Failed("no answer in time".into())))
    }

    /// `known`: the history that marks are of, and the emergency stops that are in force.
    ///
    /// Makes a connection and waits for its welcome, both within the attempt's patience.
    pub(crate) async fn dial(
        self: Arc<Self>,
        attempt: Attempt,
        known: (u64, Vec<Bytes>),
    ) -> Result<(Connection, wire::Welcome), DialError> {
        let greeting = self.greet(&attempt.address, known);
        tokio::time::timeout(attempt.patience, greeting)
            .await
            .unwrap_or_else(|_| Err(DialError::Failed("no answer in time".into())))
    }

    async fn greet(
        &self,
        address: &str,
        known: (u64, Vec<Bytes>),
    ) -> Result<(Connection, wire::Welcome), DialError> {
        let present = self.present.lock().clone();
        let mut connection = self.connect(address, &present).await?;
        let hello = self.hello(&present, known);
        connection.enqueue(&hello).map_err(failed)?;
        let welcome = connection.answer(kind::WELCOME).await?;
        let welcome = wire::Welcome::decode(welcome).map_err(failed)?;
        connection.agree(&welcome);
        Ok((connection, welcome))
    }

    async fn connect(&self, address: &str, present: &Present) -> Result<Connection, DialError> {
        let name = tls::server_name(address).map_err(failed)?;
        let tcp = self.tcp(address).await.map_err(failed)?;
        // A robot's words are small and must not wait for more.
        tcp.set_nodelay(true).map_err(failed)?;
        let stream = present.tls.connect(name, tcp).await.map_err(broken)?;
        if stream.get_ref().1.alpn_protocol() != Some(tls::ALPN) {
            return Err(DialError::Failed("the server does not speak im/1".into()));
        }
        Ok(Connection::new(stream, self.compression))
    }

    fn hello(
        &self,
        present: &Present,
        (history_generation, latched_stop_ids): (u64, Vec<Bytes>),
    ) -> Frame {
        let hello = wire::Hello {
            min_version: PROTOCOL_VERSION,
            max_version: PROTOCOL_VERSION,
            features: self
                .compression
                .then_some(Feature::Zstd.into())
                .into_iter()
                .collect(),
            client_name: self.client_name.clone(),
            token: present.token.clone(),
            history_generation,
            latched_stop_ids,
            heartbeat_interval_ms: self.heartbeat_interval_ms,
        };
        Frame {
            kind: kind::HELLO,
            correlation: 1,
            deadline_ms: 0,
            body: hello.encode_to_vec().into(),
        }
    }

    async fn tcp(&self, address: &str) -> std::io::Result<TcpStream> {
        let mut last = std::io::Error::other("the name has no address");
        for server in tokio::net::lookup_host(address).await? {
            match self.tcp_to(server).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn tcp_to(&self, server: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = if server.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if let Some(source) = self.source_address {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        socket.connect(server).await
    }
}

/// What a connection does next.
#[derive(Debug)]
pub(crate) enum Turn {
    Frame(Frame),
    /// Some bytes are written: there is more room.
    Wrote,
    Lost {
        reason: String,
        /// The other side does not trust our certificate.
        fault: Option<rustls::Error>,
    },
}

/// A connection with TLS established.
#[derive(Debug)]
pub(crate) struct Connection {
    reader: FramedRead<ReadHalf<TlsStream<TcpStream>>, FrameCodec>,
    writer: WriteHalf<TlsStream<TcpStream>>,
    codec: FrameCodec,
    buffer: BytesMut,
    flushed: bool,
}

impl Connection {
    fn new(stream: TlsStream<TcpStream>, compression: bool) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        // A welcome may name a thousand conversations, and may already be compressed.
        let mut decoder = FrameCodec::new(FRAME_BYTES_MAX);
        decoder.set_zstd(compression);
        Self {
            reader: FramedRead::new(reader, decoder),
            writer,
            codec: FrameCodec::new(FRAME_BYTES_MAX),
            buffer: BytesMut::new(),
            flushed: true,
        }
    }

    /// The first frame of this kind, before which there is none that matters.
    async fn answer(&mut self, wanted: u16) -> Result<Bytes, DialError> {
        loop {
            let frame = match self.turn().await {
                Turn::Frame(frame) => frame,
                Turn::Wrote => continue,
                Turn::Lost {
                    fault: Some(fault), ..
                } => {
                    return Err(DialError::Certificate(fault));
                }
                Turn::Lost { reason, .. } => return Err(DialError::Failed(reason)),
            };
            match frame.kind {
                its if its == wanted => return Ok(frame.body),
                kind::ERROR => return Err(DialError::Refused(Refusal::decode(&frame.body))),
                _ => {}
            }
        }
    }

    /// From now on as negotiated.
    fn agree(&mut self, welcome: &wire::Welcome) {
        let zstd = welcome.features.contains(&Feature::Zstd.into());
        let bytes_max = welcome
            .limits
            .as_ref()
            .and_then(|limits| usize::try_from(limits.frame_bytes_max).ok())
            .filter(|bytes| (1..FRAME_BYTES_MAX).contains(bytes))
            .unwrap_or(FRAME_BYTES_MAX);
        self.codec.set_zstd(zstd);
        self.codec.set_frame_bytes_max(bytes_max);
        self.reader.decoder_mut().set_zstd(zstd);
    }

    pub(crate) fn has_room(&self) -> bool {
        self.buffer.len() < WRITE_BUFFER_BYTES_MAX
    }

    /// Fails when the frame is longer than the server accepts; the connection is none the worse.
    pub(crate) fn enqueue(&mut self, frame: &Frame) -> Result<(), FrameError> {
        self.codec.encode(frame, &mut self.buffer)
    }

    /// Reads and writes, whichever is possible first. Cancel-safe.
    pub(crate) async fn turn(&mut self) -> Turn {
        let idle = self.buffer.is_empty() && self.flushed;
        tokio::select! {
            frame = self.reader.next() => read(frame),
            wrote = write(&mut self.writer, &mut self.buffer, &mut self.flushed), if !idle => {
                wrote.map_or_else(|error| lost(&error), |()| Turn::Wrote)
            }
        }
    }

    /// A frame that has arrived already.
    pub(crate) fn arrived(&mut self) -> Option<Turn> {
        self.reader.next().now_or_never().map(read)
    }

    /// Writes what is left and ends TLS, if that is possible in a moment.
    pub(crate) async fn shutdown(mut self) {
        let end = async {
            while !(self.buffer.is_empty() && self.flushed) {
                write(&mut self.writer, &mut self.buffer, &mut self.flushed).await?;
            }
            self.writer.shutdown().await
        };
        // Whatever goes wrong now, the connection is over.
        drop(tokio::time::timeout(SHUTDOWN_TIMEOUT, end).await);
    }
}

/// Cancel-safe: what is written has left the buffer.
async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    buffer: &mut BytesMut,
    flushed: &mut bool,
) -> std::io::Result<()> {
    if buffer.is_empty() {
        writer.flush().await?;
        *flushed = true;
        return Ok(());
    }
    *flushed = false;
    match writer.write_buf(buffer).await? {
        0 => Err(std::io::ErrorKind::WriteZero.into()),
        _ => Ok(()),
    }
}

fn read(frame: Option<Result<Frame, FrameError>>) -> Turn {
    match frame {
        Some(Ok(frame)) => Turn::Frame(frame),
        Some(Err(FrameError::Io(error))) => lost(&error),
        Some(Err(error)) => Turn::Lost {
            reason: error.to_string(),
            fault: None,
        },
        None => Turn::Lost {
            reason: "the server closed the connection".into(),
            fault: None,
        },
    }
}

/// In TLS 1.3 the server's word on our certificate comes after the handshake.
fn lost(error: &std::io::Error) -> Turn {
    Turn::Lost {
        reason: error.to_string(),
        fault: certificate_fault(error),
    }
}

fn broken(error: std::io::Error) -> DialError {
    match certificate_fault(&error) {
        Some(fault) => DialError::Certificate(fault),
        None => DialError::Failed(error.to_string()),
    }
}

fn certificate_fault(error: &std::io::Error) -> Option<rustls::Error> {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        .filter(|inner| tls::is_about_certificates(inner))
        .cloned()
}

fn failed(error: impl fmt::Display) -> DialError {
    DialError::Failed(error.to_string())
}
