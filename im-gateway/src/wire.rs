//! Frames with one client, both ways: out of its TLS stream or its WebSocket, and into it from its
//! outbox.
//!
//! Not here: what a frame means ([`crate::session`]), and what waits to be written
//! ([`crate::outbox`]).

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use protocol::limits::{FRAME_BYTES_MAX, HELLO_FRAME_BYTES_MAX};
use protocol::{Frame, FrameCodec, FrameError};
use service_kit::clock;
use service_kit::tls::PeerIdentity;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::codec::Decoder as _;

use crate::credential::Eviction;
use crate::handle::SessionHandle;
use crate::tls_stream::TlsStream;
use crate::web_socket::WebSocket;

/// How much is gathered into one write, in bytes: four TLS records.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// How long the last word may take.
pub(crate) const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(2);

/// How much of what a client still sends is read away after the last word, in bytes, so that the
/// system does not cut the word off.
const LINGER_BYTES_MAX: u64 = 4 * 1024 * 1024;

thread_local! {
    /// Where connections of this thread gather what they write. Nothing stays in it.
    static GATHERED: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// A client's connection, as frames.
pub(crate) struct Wire {
    stream: Transport,
    address: IpAddr,
    codec: FrameCodec,
    /// Since when the client has taken nothing of what was written.
    stalled_since: Option<Instant>,
}

/// What carries frames.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the one that there are thousands of"
)]
enum Transport {
    /// The protocol's own: frames, one after the other.
    Stream(TlsStream),
    /// Whole frames in binary messages. Boxed, so that the others do not keep room for it.
    Messages(Box<WebSocket>),
}

/// What comes from a client; `None`: nothing more will.
pub(crate) type Received = Option<Result<Frame, FrameError>>;

/// What a session learns from its connection.
pub(crate) enum Turn {
    Received(Received),
    /// The session has to end, and the client is told this.
    Evicted(Eviction),
}

impl Wire {
    /// Of a client that has not said hello.
    pub(crate) const fn new(stream: TlsStream, address: IpAddr) -> Self {
        Self::over(Transport::Stream(stream), address)
    }

    /// The same of one that came by HTTP.
    pub(crate) fn of_web_socket(socket: WebSocket, address: IpAddr) -> Self {
        Self::over(Transport::Messages(Box::new(socket)), address)
    }

    const fn over(stream: Transport, address: IpAddr) -> Self {
        Self {
            stream,
            address,
            codec: FrameCodec::new(HELLO_FRAME_BYTES_MAX),
            stalled_since: None,
        }
    }

    /// Where the client is.
    pub(crate) const fn address(&self) -> IpAddr {
        self.address
    }

    /// Who the client is by the TLS handshake.
    pub(crate) fn peer(&self) -> PeerIdentity {
        match &self.stream {
            Transport::Stream(stream) => PeerIdentity::of(stream.session()),
            Transport::Messages(socket) => socket.peer().clone(),
        }
    }

    /// From now on frames are as long as in a session, and may be compressed.
    pub(crate) const fn establish(&mut self, zstd: bool) {
        self.codec.set_frame_bytes_max(FRAME_BYTES_MAX);
        self.codec.set_zstd(zstd);
    }

    /// Since when the client has taken nothing of what was written, if something waits for it.
    pub(crate) const fn stalled_since(&self) -> Option<Instant> {
        self.stalled_since
    }

    /// The next frame. Cancel-safe.
    pub(crate) async fn next_frame(&mut self) -> Received {
        std::future::poll_fn(|cx| self.poll_frame(cx)).await
    }

    /// Writes what waits in the outbox, as far as the client takes it, and ends with the next frame
    /// from the client; while answers wait to be read, no more requests are. Cancel-safe.
    pub(crate) async fn turn(&mut self, handle: &SessionHandle) -> Turn {
        std::future::poll_fn(|cx| {
            // First, so that whatever happens from now on is seen.
            handle.watch(cx.waker());
            if let Some(why) = handle.evicted() {
                return Poll::Ready(Turn::Evicted(why));
            }
            if let Poll::Ready(Err(error)) = self.poll_write(cx, handle) {
                return Poll::Ready(Turn::Received(Some(Err(error.into()))));
            }
            if handle.is_congested() {
                return Poll::Pending;
            }
            self.poll_frame(cx).map(Turn::Received)
        })
        .await
    }

    /// Writes everything that is left in the outbox, and closes the connection.
    pub(crate) async fn finish(mut self, handle: &SessionHandle) {
        let said = async {
            std::future::poll_fn(|cx| self.poll_write(cx, handle)).await?;
            self.stream.shutdown().await
        };
        if let Ok(Ok(Some(socket))) = tokio::time::timeout(LAST_WORD_TIMEOUT, said).await {
            linger(socket).await;
        }
    }

    /// Writes one frame, and closes the connection.
    pub(crate) async fn finish_with(mut self, last_word: &Frame) {
        let word = last_word.to_bytes();
        let said = async {
            std::future::poll_fn(|cx| Poll::Ready(self.stream.write(cx, &word))).await?;
            self.stream.shutdown().await
        };
        if let Ok(Ok(Some(socket))) = tokio::time::timeout(LAST_WORD_TIMEOUT, said).await {
            linger(socket).await;
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        loop {
            let plain = self.stream.plain();
            match self.codec.decode(plain) {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            let is_whole = plain.is_empty();
            if is_whole {
                // Nothing is kept for what may come next.
                *plain = BytesMut::new();
            }
            if !is_whole && self.stream.is_messages() {
                let why = "ends within a frame";
                return Poll::Ready(Some(Err(FrameError::Message(why))));
            }
            match ready!(self.stream.poll_receive(cx)) {
                Ok(true) => {}
                Ok(false) => {
                    let last = self.codec.decode_eof(self.stream.plain());
                    return Poll::Ready(last.transpose());
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// Ends when the client has taken everything.
    fn poll_write(&mut self, cx: &mut Context<'_>, handle: &SessionHandle) -> Poll<io::Result<()>> {
        loop {
            let unsent = self.stream.unsent();
            match self.stream.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.stalled_since = None,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if self.stalled_since.is_none() || self.stream.unsent() < unsent {
                        self.stalled_since = Some(Instant::now());
                    }
                    return Poll::Pending;
                }
            }
            let stream = &mut self.stream;
            let wrote = GATHERED.with_borrow_mut(|gathered| {
                gathered.clear();
                if !handle.take_into(gathered, WRITE_BYTES_MAX, clock::unix_ms()) {
                    return Ok(false);
                }
                stream.write(cx, gathered).map(|()| true)
            });
            match wrote {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Transport {
    const fn is_messages(&self) -> bool {
        matches!(self, Self::Messages(_))
    }

    const fn plain(&mut self) -> &mut BytesMut {
        match self {
            Self::Stream(stream) => stream.plain(),
            Self::Messages(socket) => socket.plain(),
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, FrameError>> {
        match self {
            Self::Stream(stream) => stream.poll_receive(cx).map_err(FrameError::Io),
            Self::Messages(socket) => socket.poll_receive(cx),
        }
    }

    fn write(&mut self, cx: &mut Context<'_>, frames: &[u8]) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.write(cx, frames),
            Self::Messages(socket) => socket.write(frames),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Stream(stream) => stream.poll_flush(cx),
            Self::Messages(socket) => socket.poll_flush(cx),
        }
    }

    /// Bytes that wait for the client, as far as that is known: of a WebSocket it is not, so that
    /// only taking all of them counts as taking.
    fn unsent(&self) -> usize {
        match self {
            Self::Stream(stream) => stream.unsent(),
            Self::Messages(_) => 0,
        }
    }

    /// Says that nothing more will be written. What is returned can be read from.
    async fn shutdown(self) -> io::Result<Option<TcpStream>> {
        match self {
            Self::Stream(stream) => stream.shutdown().await.map(Some),
            Self::Messages(socket) => socket.close().await.map(|()| None),
        }
    }
}

/// The client has closed its side, or has said more than is listened to.
async fn linger(socket: TcpStream) {
    let reading = async {
        let mut rest = socket.take(LINGER_BYTES_MAX);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // However it ends, the connection is closed now.
    drop(tokio::time::timeout(LAST_WORD_TIMEOUT, reading).await);
}
