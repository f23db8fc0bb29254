//! TLS with one client. A connection on which nothing moves holds no buffer: what arrives is
//! decrypted in a buffer of the worker thread, and only the beginning of a record, or what the
//! socket did not take, is kept. (rustls' own stream keeps 4 KiB for what may arrive next.)
//!
//! Not here: frames (`crate::wire`), and who may connect (the configuration).

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{CommonState, ServerConfig};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

/// What is read from a socket at once, in bytes: a few TLS records.
const RECEIVE_BYTES: usize = 64 * 1024;

/// The longest beginning of a record or of a handshake message that is kept, in bytes. rustls
/// refuses what would be longer.
const RECEIVED_BYTES_MAX: usize = 64 * 1024 + 1024;

/// What one record adds to what it carries, in bytes: header, type and tag.
const RECORD_OVERHEAD_BYTES: usize = 5 + 1 + 16;

/// What one record carries at most, in bytes.
const RECORD_BYTES_MAX: usize = 16 * 1024;

thread_local! {
    /// What connections of this thread receive into, and encrypt into. Nothing stays in it.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        received: vec![0; RECEIVED_BYTES_MAX + RECEIVE_BYTES],
        encrypted: Vec::new(),
    });
}

struct Scratch {
    received: Vec<u8>,
    encrypted: Vec<u8>,
}

/// An established TLS connection.
pub struct TlsStream {
    socket: TcpStream,
    tls: UnbufferedServerConnection,
    /// Received, and not yet a whole record.
    received: Vec<u8>,
    /// Decrypted, and not yet taken.
    plain: BytesMut,
    /// Encrypted, and not yet taken by the socket.
    unsent: BytesMut,
    /// The client has said that nothing more will come.
    is_over: bool,
}

impl TlsStream {
    /// Brings a connection through the handshake.
    ///
    /// # Errors
    /// When the client is gone, or one side does not trust the other.
    pub async fn accept(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let mut stream = Self {
            socket,
            tls: UnbufferedServerConnection::new(config).map_err(invalid)?,
            received: Vec::new(),
            plain: BytesMut::new(),
            unsent: BytesMut::new(),
            is_over: false,
        };
        std::future::poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    /// What was agreed in the handshake.
    #[must_use]
    pub fn session(&self) -> &CommonState {
        &self.tls
    }

    /// What was received and not yet taken.
    pub const fn plain(&mut self) -> &mut BytesMut {
        &mut self.plain
    }

    /// Whether the socket has not yet taken all that was written.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Receives what has arrived, which is then in [`TlsStream::plain`]. `false`: nothing more will.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.is_over {
            return Poll::Ready(Ok(false));
        }
        let received = SCRATCH.with_borrow_mut(|scratch| self.receive(cx, &mut scratch.received));
        if let Poll::Ready(Err(_)) = &received
            && self.has_unsent()
        {
            // The alert that says why. If the socket takes it at once the client reads it.
            let _is_late = self.poll_flush(cx);
        }
        received
    }

    /// Encrypts and writes. What the socket does not take is kept: whoever writes more before it is
    /// flushed makes that grow.
    ///
    /// # Errors
    /// When the connection has failed, or its end was said.
    pub fn write(&mut self, cx: &mut Context<'_>, plain: &[u8]) -> io::Result<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            let encrypted = &mut scratch.encrypted;
            let mut rest = self.encrypt(plain, encrypted)?;
            if self.unsent.is_empty() {
                while !rest.is_empty() {
                    match Pin::new(&mut self.socket).poll_write(cx, rest)? {
                        Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                        Poll::Ready(written) => rest = rest.get(written..).unwrap_or_default(),
                        Poll::Pending => break,
                    }
                }
            }
            self.unsent.extend_from_slice(rest);
            Ok(())
        })
    }

    /// Ends when the socket has taken everything.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, &self.unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.unsent.advance(written),
            }
        }
        self.unsent = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Bytes that wait for the socket.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Says that nothing more will be written, writes what is left, and returns the socket, from
    /// which the client's last bytes can be read.
    ///
    /// # Errors
    /// When the connection fails before.
    pub async fn shutdown(mut self) -> io::Result<TcpStream> {
        let mut word = [0; 64];
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) =
            self.tls.process_tls_records(&mut self.received).state
            && let Ok(written) = traffic.queue_close_notify(&mut word)
        {
            self.unsent
                .extend_from_slice(word.get(..written).unwrap_or_default());
        }
        std::future::poll_fn(|cx| self.poll_flush(cx)).await?;
        std::future::poll_fn(|cx| Pin::new(&mut self.socket).poll_shutdown(cx)).await?;
        Ok(self.socket)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_flush(cx))?;
            if !self.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if !ready!(self.poll_receive(cx))? {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn receive(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<bool>> {
        let kept = self.received.len();
        let Some((front, back)) = buffer.split_at_mut_checked(kept) else {
            return Poll::Ready(Err(invalid("more than one record is left over")));
        };
        let mut unread = ReadBuf::new(back);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut unread))?;
        let end = kept + unread.filled().len();
        if end == kept {
            return Poll::Ready(Ok(false));
        }
        front.copy_from_slice(&self.received);
        let received = buffer.get_mut(..end).unwrap_or_default();
        let used = self.process(received)?;
        self.received = received.get(used..).unwrap_or_default().to_vec();
        Poll::Ready(Ok(true))
    }

    /// Takes whole records out of what was received: what they carry, and what the handshake says
    /// to them. Returns how many bytes are done with.
    fn process(&mut self, received: &mut [u8]) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let rest = received.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(rest);
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        discard += record.discard;
                        self.plain.extend_from_slice(record.payload);
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.unsent, |out| data.encode(out))?;
                    true
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.is_over = true;
                    true
                }
                Ok(
                    ConnectionState::WriteTraffic(_)
                    | ConnectionState::BlockedHandshake
                    | ConnectionState::Closed
                    | ConnectionState::ReadEarlyData(_)
                    | _,
                ) => false,
                Err(error) => {
                    self.take_alert(received.get_mut(used + discard..).unwrap_or_default());
                    return Err(invalid(error));
                }
            };
            used += discard;
            if !goes_on {
                return Ok(used);
            }
        }
    }

    /// After a failure rustls has one more thing to say: why. Asked twice it would fail again.
    fn take_alert(&mut self, rest: &mut [u8]) {
        if let Ok(ConnectionState::EncodeTlsData(mut data)) =
            self.tls.process_tls_records(rest).state
        {
            // Without it the client sees an end without a reason.
            encode(&mut self.unsent, |out| data.encode(out)).ok();
        }
    }

    /// Returns what `plain` is in records.
    fn encrypt<'a>(&mut self, plain: &[u8], into: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        let records = plain.len().div_ceil(RECORD_BYTES_MAX);
        let enough = plain.len() + records * RECORD_OVERHEAD_BYTES;
        if into.len() < enough {
            into.resize(enough, 0);
        }
        loop {
            match self.tls.process_tls_records(&mut self.received).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let written = match traffic.encrypt(plain, into) {
                        Ok(written) => written,
                        // A change of keys goes before it.
                        Err(EncryptError::InsufficientSize(InsufficientSizeError {
                            required_size,
                        })) => {
                            into.resize(required_size, 0);
                            traffic.encrypt(plain, into).map_err(invalid)?
                        }
                        Err(error) => return Err(invalid(error)),
                    };
                    return Ok(into.get(..written).unwrap_or_default());
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.unsent, |out| data.encode(out))?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.is_over = true,
                Ok(
                    ConnectionState::BlockedHandshake
                    | ConnectionState::Closed
                    | ConnectionState::ReadTraffic(_)
                    | ConnectionState::ReadEarlyData(_)
                    | _,
                ) => return Err(io::ErrorKind::NotConnected.into()),
                Err(error) => return Err(invalid(error)),
            }
        }
    }
}

/// Appends what is encoded, in the room that it asks for.
fn encode(
    out: &mut BytesMut,
    mut data: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> io::Result<()> {
    let required = match data(&mut []) {
        Ok(_) => return Ok(()),
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        Err(error) => return Err(invalid(error)),
    };
    let before = out.len();
    out.resize(before + required, 0);
    let written = data(out.get_mut(before..).unwrap_or_default()).map_err(invalid)?;
    out.truncate(before + written);
    Ok(())
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;
