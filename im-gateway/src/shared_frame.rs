//! A client frame that is encoded once and goes to many sessions; for those with compression it is
//! compressed once, too.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use protocol::limits::{COMPRESS_ABOVE_BYTES, FRAME_BYTES_MAX, FRAME_HEADER_BYTES};
use protocol::{Frame, FrameCodec};
use tokio_util::codec::{Decoder as _, Encoder as _};

/// Clones share the bytes.
#[derive(Debug, Clone)]
pub struct SharedFrame(Arc<Forms>);

#[derive(Debug)]
struct Forms {
    plain: Bytes,
    /// Made when the first session asks for it.
    compressed: OnceLock<Bytes>,
}

impl SharedFrame {
    /// Of a whole frame as it travels, uncompressed.
    #[must_use]
    pub fn new(plain: Bytes) -> Self {
        Self(Arc::new(Forms {
            plain,
            compressed: OnceLock::new(),
        }))
    }

    /// The same, which travels as it is to everybody.
    #[must_use]
    pub fn uncompressed(plain: Bytes) -> Self {
        Self(Arc::new(Forms {
            compressed: OnceLock::from(plain.clone()),
            plain,
        }))
    }

    /// What is written to a session with or without compression.
    #[must_use]
    pub fn bytes(&self, zstd: bool) -> &Bytes {
        let forms = &*self.0;
        if !zstd || forms.plain.len() < COMPRESS_ABOVE_BYTES + FRAME_HEADER_BYTES {
            return &forms.plain;
        }
        forms
            .compressed
            .get_or_init(|| compressed(&forms.plain).unwrap_or_else(|| forms.plain.clone()))
    }

    /// How much memory it holds at most for a session that waits for it, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.plain.len()
    }

    /// Whether there are no bytes, which no frame is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.plain.is_empty()
    }
}

impl From<&Frame> for SharedFrame {
    fn from(frame: &Frame) -> Self {
        Self::new(frame.to_bytes())
    }
}

/// `None` when the bytes are no frame, which then travel as they are.
fn compressed(plain: &Bytes) -> Option<Bytes> {
    let mut codec = FrameCodec::new(FRAME_BYTES_MAX);
    let mut buffer = BytesMut::from(plain.clone());
    let frame = codec.decode(&mut buffer).ok()??;
    codec.set_zstd(true);
    let mut out = BytesMut::new();
    codec.encode(&frame, &mut out).ok()?;
    Some(out.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: usize) -> SharedFrame {
        SharedFrame::from(&Frame {
            kind: 7,
            correlation: 0,
            deadline_ms: 0,
            body: vec![b'a'; bytes].into(),
        })
    }

    #[test]
    fn a_long_frame_is_compressed_once_and_only_for_those_who_can() {
        let frame = frame(8 * COMPRESS_ABOVE_BYTES);
        let plain = frame.bytes(false).clone();
        let small = frame.bytes(true).clone();
        assert!(small.len() < plain.len() / 2);
        assert_eq!(frame.bytes(true).as_ptr(), small.as_ptr());

        let mut codec = FrameCodec::new(FRAME_BYTES_MAX);
        codec.set_zstd(true);
        let opened = codec.decode(&mut BytesMut::from(small)).unwrap().unwrap();
        assert_eq!(opened.to_bytes(), plain);
    }

    #[test]
    fn a_short_frame_is_left_alone() {
        let frame = frame(COMPRESS_ABOVE_BYTES - 1);
        assert_eq!(frame.bytes(true).as_ptr(), frame.bytes(false).as_ptr());
    }
}
