//! A WebSocket with one client, as [`crate::wire`] needs it: what arrives are whole frames, one or
//! more in a binary message; what is written is one frame in each.
//!
//! Not here: how it is opened (`crate::http`), and what frames mean ([`crate::session`]).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::{Sink as _, SinkExt as _, Stream as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use protocol::FrameError;
use protocol::limits::FRAME_BYTES_MAX;
use service_kit::tls::PeerIdentity;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// What is kept for what may arrive next, in bytes. An idle socket holds it.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// An open WebSocket.
pub(crate) struct WebSocket {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    peer: PeerIdentity,
    /// Received, and not yet taken.
    plain: BytesMut,
}

impl WebSocket {
    /// Over a connection that has just left HTTP, from this client.
    pub(crate) async fn new(upgraded: Upgraded, peer: PeerIdentity) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let io = TokioIo::new(upgraded);
        Self {
            socket: WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await,
            peer,
            plain: BytesMut::new(),
        }
    }

    /// Who the client is by the TLS handshake.
    pub(crate) const fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    /// What was received and not yet taken.
    pub(crate) const fn plain(&mut self) -> &mut BytesMut {
        &mut self.plain
    }

    /// Receives the next binary message. `false`: nothing more will come.
    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, FrameError>> {
        loop {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(frames))) => {
                    self.plain.extend_from_slice(&frames);
                    return Poll::Ready(Ok(true));
                }
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(FrameError::Message("is text")));
                }
                // The library answers them.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(false)),
                Some(Err(error)) => return Poll::Ready(Err(of_receiving(error))),
            }
        }
    }

    /// Takes whole frames to be written; what the client does not take is kept. Called only when all
    /// that was written before has been taken, which bounds it.
    pub(crate) fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        let mut rest = frames;
        while let Some((frame, others)) = split_frame(rest) {
            let message = Message::Binary(Bytes::copy_from_slice(frame));
            Pin::new(&mut self.socket)
                .start_send(message)
                .map_err(of_writing)?;
            rest = others;
        }
        Ok(())
    }

    /// Ends when the client has taken everything.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket)
            .poll_flush(cx)
            .map_err(of_writing)
    }

    /// Says that nothing more will be written, and waits until the client has said the same.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        self.socket.flush().await.map_err(of_writing)?;
        self.socket.close(None).await.map_err(of_writing)?;
        // What the client said before it heard of the end is for nobody.
        while let Some(Ok(_)) = self.socket.next().await {}
        Ok(())
    }
}

/// The first of several frames, which are ours and so are whole.
fn split_frame(frames: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_be_bytes(*frames.first_chunk()?);
    let length = usize::try_from(length).ok()?.checked_add(4)?;
    frames.split_at_checked(length)
}

fn of_receiving(error: Error) -> FrameError {
    if let Error::Capacity(CapacityError::MessageTooLong { size, max_size }) = error {
        return FrameError::TooLong {
            actual: size,
            max: max_size,
        };
    }
    FrameError::Io(of_writing(error))
}

fn of_writing(error: Error) -> io::Error {
    if let Error::Io(error) = error {
        return error;
    }
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart_by_their_length() {
        let two = [0, 0, 0, 2, 7, 8, 0, 0, 0, 1, 9];
        let (first, rest) = split_frame(&two).unwrap();
        assert_eq!(first, [0, 0, 0, 2, 7, 8]);
        let (second, rest) = split_frame(rest).unwrap();
        assert_eq!((second, rest), (&[0, 0, 0, 1, 9][..], &[][..]));
        for broken in [&[][..], &[0, 0, 0], &[0, 0, 0, 2, 7]] {
            assert!(split_frame(broken).is_none());
        }
    }
}
