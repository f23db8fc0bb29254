//! What both ends of a link do: gather frames into few writes, and know of each request whether it
//! was written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::{Bytes, BytesMut};
use protocol::limits::{FRAME_HEADER_BYTES, INTERNAL_FRAME_BYTES_MAX};
use protocol::{ErrorCode, Frame, FrameCodec, FrameError, Refusal};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::codec::{Encoder as _, FramedRead};
use tokio_util::sync::CancellationToken;

use super::queue::Frames;
use super::{
    KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, READ_BYTES, UNACKNOWLEDGED_MAX,
    WRITE_BYTES_MAX,
};
use crate::events;

/// The longest body that a frame between tiers carries.
const BODY_BYTES_MAX: usize = INTERNAL_FRAME_BYTES_MAX - FRAME_HEADER_BYTES;

/// A frame in the queue of a connection; with a ticket if it is a request.
#[derive(Debug)]
pub(super) struct Outgoing {
    frame: Frame,
    ticket: Option<Arc<Ticket>>,
}

/// Whether a request has left. Its caller and the writer decide it between them, once.
#[derive(Debug)]
pub(super) struct Ticket {
    state: AtomicU8,
    deadline: Instant,
}

const QUEUED: u8 = 0;
const WRITTEN: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Outgoing {
    pub(super) const fn notice(method: u16, body: Bytes) -> Self {
        Self::answer(method, 0, body)
    }

    pub(super) const fn answer(kind: u16, correlation: u32, body: Bytes) -> Self {
        Self {
            frame: Frame {
                kind,
                correlation,
                deadline_ms: 0,
                body,
            },
            ticket: None,
        }
    }

    pub(super) fn request(method: u16, correlation: u32, body: Bytes, ticket: Arc<Ticket>) -> Self {
        let mut outgoing = Self::answer(method, correlation, body);
        outgoing.ticket = Some(ticket);
        outgoing
    }

    /// The frame as it leaves now, or `None` if nobody waits for it any more.
    fn leave(mut self, now: Instant) -> Option<Frame> {
        if let Some(ticket) = self.ticket {
            if !ticket.decide(WRITTEN) {
                return None;
            }
            self.frame.deadline_ms = ticket.remaining_ms(now);
        }
        Some(self.frame)
    }
}

impl Ticket {
    pub(super) const fn new(deadline: Instant) -> Self {
        Self {
            state: AtomicU8::new(QUEUED),
            deadline,
        }
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the request will now never be written.
    pub(super) fn withdraw(&self) -> bool {
        self.decide(WITHDRAWN)
    }

    fn decide(&self, state: u8) -> bool {
        self.state
            .compare_exchange(QUEUED, state, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// At least 1: 0 means that there is no deadline.
    fn remaining_ms(&self, now: Instant) -> u32 {
        let remaining = self.deadline.saturating_duration_since(now);
        u32::try_from(remaining.as_millis())
            .unwrap_or(u32::MAX)
            .max(1)
    }
}

/// A body that is too long is refused before it is queued: it would cost all others the link.
pub(super) fn check_length(body: &Bytes) -> Result<(), Refusal> {
    if body.len() <= BODY_BYTES_MAX {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::FrameTooLong,
        format!(
            "a body of {} bytes, and at most {BODY_BYTES_MAX} travel",
            body.len()
        ),
    ))
}

/// Writes what is queued, as much as there is at once. After `finish` it takes nothing new, writes
/// what is queued and closes the connection.
pub(super) async fn write_frames<W: AsyncWrite + Unpin>(
    mut socket: W,
    mut queue: Frames,
    finish: CancellationToken,
) -> Result<(), FrameError> {
    let mut codec = codec();
    let mut buffer = BytesMut::new();
    let finish = finish.cancelled_owned();
    tokio::pin!(finish);
    let mut finishing = false;
    loop {
        let first = tokio::select! {
            biased;
            () = &mut finish, if !finishing => {
                finishing = true;
                queue.close();
                continue;
            }
            first = queue.recv() => first,
        };
        let Some(first) = first else { break };
        gather(first, &mut queue, &mut codec, &mut buffer)?;
        socket.write_all(&buffer).await?;
        socket.flush().await?;
        buffer.clear();
        if buffer.capacity() > 2 * WRITE_BYTES_MAX {
            buffer = BytesMut::new();
        }
    }
    socket.shutdown().await?;
    Ok(())
}

fn gather(
    first: Outgoing,
    queue: &mut Frames,
    codec: &mut FrameCodec,
    buffer: &mut BytesMut,
) -> Result<(), FrameError> {
    let now = Instant::now();
    let mut next = Some(first);
    while let Some(outgoing) = next {
        if let Some(frame) = outgoing.leave(now) {
            match codec.encode(&frame, buffer) {
                Ok(()) => {}
                // Nothing of it is in the buffer, and nobody else has to pay for it.
                Err(FrameError::TooLong { actual, max }) => {
                    events::frame_too_long_dropped(frame.kind, actual, max);
                }
                Err(error) => return Err(error),
            }
        }
        next = if buffer.len() < WRITE_BYTES_MAX {
            queue.try_recv()
        } else {
            None
        };
    }
    Ok(())
}

pub(super) fn read_frames<R: AsyncRead>(reader: R) -> FramedRead<R, FrameCodec> {
    FramedRead::with_capacity(reader, codec(), READ_BYTES)
}

const fn codec() -> FrameCodec {
    FrameCodec::new(INTERNAL_FRAME_BYTES_MAX)
}

/// Small frames leave at once, and a vanished host is noticed in seconds.
pub(super) fn set_options(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    let set = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keepalive))
        .and_then(|()| socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX)));
    if let Err(error) = set {
        events::socket_option_failed(&error);
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::Queue;
    use super::*;
    use protocol::kind::method;
    use tokio::io::AsyncReadExt as _;
    use tokio_util::codec::Decoder as _;

    fn request(byte: u8, ticket: &Arc<Ticket>) -> Outgoing {
        Outgoing::request(100, u32::from(byte), vec![byte].into(), Arc::clone(ticket))
    }

    fn ticket(from_now_ms: u64) -> Arc<Ticket> {
        let deadline = Instant::now() + std::time::Duration::from_millis(from_now_ms);
        Arc::new(Ticket::new(deadline))
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_leaves_with_the_time_that_is_left_unless_it_was_withdrawn() {
        let (sender, queue) = Queue::new();
        let (left, withdrawn) = (ticket(5000), ticket(5000));
        sender.others.send(request(1, &left)).await.unwrap();
        sender.others.send(request(2, &withdrawn)).await.unwrap();
        assert!(withdrawn.withdraw());
        tokio::time::advance(std::time::Duration::from_millis(1200)).await;
        drop(sender);

        let (near, mut far) = tokio::io::duplex(64 * 1024);
        write_frames(near, queue, CancellationToken::new())
            .await
            .unwrap();
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).await.unwrap();
        let mut bytes = BytesMut::from(&bytes[..]);
        let frame = codec().decode(&mut bytes).unwrap().unwrap();
        assert_eq!((frame.correlation, frame.deadline_ms), (1, 3800));
        assert!(bytes.is_empty(), "what was withdrawn was written");
        assert!(!left.withdraw(), "what was written was withdrawn");
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_is_left_out_and_the_rest_is_one_batch() {
        let (sender, queue) = Queue::new();
        let long = vec![0; BODY_BYTES_MAX + 1].into();
        for outgoing in [
            Outgoing::notice(7, vec![1].into()),
            Outgoing::notice(7, long),
            Outgoing::notice(7, vec![3].into()),
        ] {
            sender.others.send(outgoing).await.unwrap();
        }
        // Finished before it starts: it writes what is queued and closes, sender or no sender.
        let finish = CancellationToken::new();
        finish.cancel();
        let writer = counting::Counting::default();
        write_frames(writer.clone(), queue, finish).await.unwrap();
        assert_eq!(writer.writes(), 1);
        let mut bytes = BytesMut::from(&writer.bytes()[..]);
        let mut bodies = Vec::new();
        while let Some(frame) = codec().decode(&mut bytes).unwrap() {
            bodies.push(frame.body[0]);
        }
        assert_eq!(bodies, [1, 3]);
        assert!(
            sender
                .others
                .send(Outgoing::notice(7, Bytes::new()))
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn what_is_urgent_overtakes_what_waits() {
        let (sender, queue) = Queue::new();
        for n in 0..3 {
            sender.try_notice(method::FANOUT, vec![n].into()).unwrap();
        }
        sender
            .try_notice(method::ESTOP_GOSSIP, vec![9].into())
            .unwrap();
        drop(sender);
        let writer = counting::Counting::default();
        write_frames(writer.clone(), queue, CancellationToken::new())
            .await
            .unwrap();
        let mut bytes = BytesMut::from(&writer.bytes()[..]);
        let mut bodies = Vec::new();
        while let Some(frame) = codec().decode(&mut bytes).unwrap() {
            bodies.push(frame.body[0]);
        }
        assert_eq!(bodies, [9, 0, 1, 2]);
    }

    /// A writer that counts how often it is called.
    mod counting {
        use parking_lot::Mutex;
        use std::io;
        use std::pin::Pin;
        use std::sync::Arc;
        use std::task::{Context, Poll};
        use tokio::io::AsyncWrite;

        #[derive(Clone, Default)]
        pub(super) struct Counting(Arc<Mutex<(usize, Vec<u8>)>>);

        impl Counting {
            pub(super) fn writes(&self) -> usize {
                self.0.lock().0
            }

            pub(super) fn bytes(&self) -> Vec<u8> {
                self.0.lock().1.clone()
            }
        }

        impl AsyncWrite for Counting {
            fn poll_write(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                let mut inner = self.0.lock();
                inner.0 += 1;
                inner.1.extend_from_slice(bytes);
                Poll::Ready(Ok(bytes.len()))
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
    }
}
