//! The frame: sixteen bytes of header, then the body. A sans-IO codec.
//!
//! ```text
//!  0       4         5       6      8             12            16
//!  | length | version | flags | kind | correlation | deadline_ms | body …
//!     u32      u8        u8     u16       u32            u32
//! ```
//! All numbers are big-endian. `length` counts everything after itself: 12 header bytes and the
//! body as it travels. `correlation` pairs an answer with its request; 0 asks for none. With a
//! request, `deadline_ms` is how long the sender will wait from now, 0: no deadline.
//!
//! Not here: what the bodies mean, and TLS.

use std::cell::RefCell;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;
use tokio_util::codec::{Decoder, Encoder};
use zstd::bulk::{Compressor, Decompressor};

use crate::error::{ErrorCode, Refusal};
use crate::limits::{COMPRESS_ABOVE_BYTES, FRAME_HEADER_BYTES};

/// The version byte of every frame.
pub const FRAME_VERSION: u8 = 1;

/// Flag: the body is one zstd frame.
pub const FLAG_ZSTD: u8 = 0x01;

/// The bytes of the header that `length` counts.
const COUNTED_HEADER_BYTES: usize = FRAME_HEADER_BYTES - 4;

/// zstd's level: 1 is the fastest that still finds repeats in protobuf.
const ZSTD_LEVEL: i32 = 1;

/// One frame, its body as it was before compression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the body is; see [`crate::kind`].
    pub kind: u16,
    /// Pairs an answer with its request; 0 for what needs no answer.
    pub correlation: u32,
    /// With a request: how long its sender waits, in milliseconds; 0: no deadline.
    pub deadline_ms: u32,
    /// The body, a protobuf message.
    pub body: Bytes,
}

/// A stream of bytes that is not a stream of frames. Each of these ends the connection.
#[derive(Debug, Error)]
pub enum FrameError {
    /// Longer than this side accepts. Found before anything is reserved.
    #[error("a frame of {actual} bytes, and at most {max} are accepted")]
    TooLong {
        /// The frame's length, header included, in bytes.
        actual: usize,
        /// The longest accepted, in bytes.
        max: usize,
    },
    /// The length does not even cover the header.
    #[error("a frame of {actual} bytes is shorter than its header")]
    TooShort {
        /// The frame's length, header included, in bytes.
        actual: usize,
    },
    /// Another version of the frame itself.
    #[error("frame version {0}, and only version 1 is spoken here")]
    Version(u8),
    /// Flags that this version does not have.
    #[error("unknown frame flags {0:#04x}")]
    Flags(u8),
    /// Compression was not negotiated.
    #[error("a compressed frame, and compression was not negotiated")]
    NotNegotiated,
    /// The body grows over the limit, or is not zstd.
    #[error("a compressed body that does not expand within {max} bytes")]
    Expands {
        /// The longest accepted, in bytes.
        max: usize,
    },
    /// A WebSocket message that is not one or more whole frames.
    #[error("a WebSocket message that {0}")]
    Message(&'static str),
    /// The connection ended within a frame.
    #[error("the connection ended within a frame, {missing} bytes short")]
    Truncated {
        /// How many bytes were still to come, at least.
        missing: usize,
    },
    /// The transport failed.
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
}

impl FrameError {
    /// What the other side is told before the connection closes; `None` when it is gone already.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        let code = match self {
            Self::TooLong { .. } | Self::Expands { .. } => ErrorCode::FrameTooLong,
            Self::Version(_) => ErrorCode::UnsupportedVersion,
            Self::TooShort { .. } | Self::Flags(_) | Self::NotNegotiated | Self::Message(_) => {
                ErrorCode::BadFrame
            }
            Self::Truncated { .. } | Self::Io(_) => return None,
        };
        Some(Refusal::new(code, self.to_string()))
    }
}

/// Encodes and decodes frames, for either end of a client connection or an internal link.
#[derive(Debug, Clone)]
pub struct FrameCodec {
    frame_bytes_max: usize,
    zstd: bool,
}

impl FrameCodec {
    /// Accepts frames of up to `frame_bytes_max` bytes, header included. No compression.
    #[must_use]
    pub const fn new(frame_bytes_max: usize) -> Self {
        Self {
            frame_bytes_max,
            zstd: false,
        }
    }

    /// Changes the limit: a hello is short, a session's frames are not.
    pub const fn set_frame_bytes_max(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// Turns compression on, both ways, once it is negotiated.
    pub const fn set_zstd(&mut self, zstd: bool) {
        self.zstd = zstd;
    }

    /// Whether compression is on.
    #[must_use]
    pub const fn zstd(&self) -> bool {
        self.zstd
    }

    fn open(&self, flags: u8, body: Bytes) -> Result<Bytes, FrameError> {
        match flags {
            0 => Ok(body),
            FLAG_ZSTD if !self.zstd => Err(FrameError::NotNegotiated),
            FLAG_ZSTD => decompress(&body, self.frame_bytes_max - FRAME_HEADER_BYTES),
            other => Err(FrameError::Flags(other)),
        }
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(length) = buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let counted = u32::from_be_bytes(*length) as usize;
        let total = counted.saturating_add(4);
        if counted < COUNTED_HEADER_BYTES {
            return Err(FrameError::TooShort { actual: total });
        }
        // Checked before a byte is reserved: a length is only a claim.
        if total > self.frame_bytes_max {
            return Err(FrameError::TooLong {
                actual: total,
                max: self.frame_bytes_max,
            });
        }
        if let Some(version) = buffer
            .get(4)
            .copied()
            .filter(|version| *version != FRAME_VERSION)
        {
            return Err(FrameError::Version(version));
        }
        if buffer.len() < total {
            buffer.reserve(total - buffer.len());
            return Ok(None);
        }
        let mut frame = buffer.split_to(total);
        frame.advance(5);
        let flags = frame.get_u8();
        let kind = frame.get_u16();
        let correlation = frame.get_u32();
        let deadline_ms = frame.get_u32();
        let body = self.open(flags, frame.freeze())?;
        Ok(Some(Frame {
            kind,
            correlation,
            deadline_ms,
            body,
        }))
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        match self.decode(buffer)? {
            Some(frame) => Ok(Some(frame)),
            None if buffer.is_empty() => Ok(None),
            None => {
                let total = buffer
                    .first_chunk::<4>()
                    .map_or(FRAME_HEADER_BYTES, |length| {
                        (u32::from_be_bytes(*length) as usize).saturating_add(4)
                    });
                Err(FrameError::Truncated {
                    missing: total.saturating_sub(buffer.len()),
                })
            }
        }
    }
}

impl Encoder<&Frame> for FrameCodec {
    type Error = FrameError;

    fn encode(&mut self, frame: &Frame, out: &mut BytesMut) -> Result<(), FrameError> {
        let total = FRAME_HEADER_BYTES + frame.body.len();
        if total > self.frame_bytes_max {
            return Err(FrameError::TooLong {
                actual: total,
                max: self.frame_bytes_max,
            });
        }
        if self.zstd
            && frame.body.len() >= COMPRESS_ABOVE_BYTES
            && let Some(smaller) = compress(&frame.body)
        {
            put(frame, FLAG_ZSTD, &smaller, out);
        } else {
            put(frame, 0, &frame.body, out);
        }
        Ok(())
    }
}

impl Encoder<Frame> for FrameCodec {
    type Error = FrameError;

    fn encode(&mut self, frame: Frame, out: &mut BytesMut) -> Result<(), FrameError> {
        self.encode(&frame, out)
    }
}

impl Frame {
    /// A frame that asks for no answer.
    pub fn notice(kind: u16, body: &impl prost::Message) -> Self {
        Self {
            kind,
            correlation: 0,
            deadline_ms: 0,
            body: body.encode_to_vec().into(),
        }
    }

    /// The frame as it travels, uncompressed: what is encoded once and sent to many.
    ///
    /// # Panics
    /// If the body is longer than 4 GiB, which no limit allows.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(FRAME_HEADER_BYTES + self.body.len());
        put(self, 0, &self.body, &mut out);
        out.freeze()
    }
}

fn put(frame: &Frame, flags: u8, body: &[u8], out: &mut BytesMut) {
    let counted = u32::try_from(COUNTED_HEADER_BYTES + body.len())
        .expect("limits keep frames far below 4 GiB");
    out.reserve(FRAME_HEADER_BYTES + body.len());
    out.put_u32(counted);
    out.put_u8(FRAME_VERSION);
    out.put_u8(flags);
    out.put_u16(frame.kind);
    out.put_u32(frame.correlation);
    out.put_u32(frame.deadline_ms);
    out.put_slice(body);
}

thread_local! {
    /// A context is some hundred KiB, and takes longer to make than a page to compress: one of a
    /// thread serves all of its connections.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// `None` when it would not be shorter.
fn compress(body: &[u8]) -> Option<Vec<u8>> {
    let smaller = COMPRESSOR.with_borrow_mut(|kept| {
        let context = match kept {
            Some(context) => context,
            None => kept.insert(Compressor::new(ZSTD_LEVEL).ok()?),
        };
        context.compress(body).ok()
    });
    smaller.filter(|smaller| smaller.len() < body.len())
}

/// Never writes more than `bytes_max`, whatever the input claims.
fn decompress(body: &[u8], bytes_max: usize) -> Result<Bytes, FrameError> {
    let opened = DECOMPRESSOR.with_borrow_mut(|kept| {
        let context = match kept {
            Some(context) => context,
            None => kept.insert(Decompressor::new().ok()?),
        };
        context.decompress(body, bytes_max).ok()
    });
    opened
        .map(Bytes::from)
        .ok_or(FrameError::Expands { max: bytes_max })
}
