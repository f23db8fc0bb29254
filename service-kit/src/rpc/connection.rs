//! What both ends of a link do: gather frames into few writes.

use bytes::BytesMut;
use protocol::limits::INTERNAL_FRAME_BYTES_MAX;
use protocol::{Frame, FrameCodec, FrameError};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::codec::Encoder as _;

use super::WRITE_BYTES_MAX;

/// Writes what is queued, as much as there is at once, until all senders are gone. Returns the
/// queue when the socket fails, so that its owner can tell what was never written.
pub(super) async fn write_frames<W: AsyncWrite + Unpin>(
    mut socket: W,
    mut queue: mpsc::Receiver<Frame>,
) -> (mpsc::Receiver<Frame>, Result<(), FrameError>) {
    let result = pump(&mut socket, &mut queue).await;
    (queue, result)
}

async fn pump<W: AsyncWrite + Unpin>(
    socket: &mut W,
    queue: &mut mpsc::Receiver<Frame>,
) -> Result<(), FrameError> {
    let mut codec = codec();
    let mut buffer = BytesMut::new();
    while let Some(frame) = queue.recv().await {
        codec.encode(frame, &mut buffer)?;
        while buffer.len() < WRITE_BYTES_MAX {
            let Ok(frame) = queue.try_recv() else { break };
            codec.encode(frame, &mut buffer)?;
        }
        socket.write_all(&buffer).await?;
        socket.flush().await?;
        buffer.clear();
    }
    socket.shutdown().await?;
    Ok(())
}

pub(super) const fn codec() -> FrameCodec {
    FrameCodec::new(INTERNAL_FRAME_BYTES_MAX)
}

/// Small frames leave at once.
pub(super) fn set_options(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
}
