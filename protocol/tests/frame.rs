//! The frame codec against the bytes that strangers depend on, and against hostile ones.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;
use prost::Message;
use protocol::frame::{FLAG_ZSTD, Frame, FrameCodec, FrameError};
use protocol::limits::{COMPRESS_ABOVE_BYTES, FRAME_BYTES_MAX, FRAME_HEADER_BYTES};
use protocol::{ErrorCode, kind, wire};
use tokio_util::codec::{Decoder, Encoder};

fn frame(kind: u16, correlation: u32, deadline_ms: u32, body: &[u8]) -> Frame {
    Frame {
        kind,
        correlation,
        deadline_ms,
        body: Bytes::copy_from_slice(body),
    }
}

fn encoded(codec: &mut FrameCodec, frame: &Frame) -> BytesMut {
    let mut out = BytesMut::new();
    codec.encode(frame, &mut out).unwrap();
    out
}

/// These bytes cannot change: every client ever built writes them.
#[test]
fn golden_frame_header() {
    let bytes = frame(5, 0x0102_0304, 30_000, b"abc").to_bytes();
    assert_eq!(
        &bytes[..],
        [
            0, 0, 0, 15, // length: 12 bytes of header and 3 of body
            1, 0, // version, flags
            0, 5, // kind
            1, 2, 3, 4, // correlation
            0, 0, 0x75, 0x30, // deadline_ms
            b'a', b'b', b'c',
        ]
    );
}

/// These bytes cannot change: the hello is what two versions agree by.
#[test]
fn golden_hello() {
    let hello = wire::Hello {
        min_version: 1,
        max_version: 1,
        features: vec![wire::Feature::Zstd.into()],
        client_name: "sdk".into(),
        token: "t".into(),
        history_generation: 0,
        heartbeat_interval_ms: 0,
        latched_stop_ids: Vec::new(),
    };
    let bytes = Frame {
        kind: kind::client::HELLO,
        correlation: 1,
        deadline_ms: 0,
        body: hello.encode_to_vec().into(),
    }
    .to_bytes();
    assert_eq!(
        &bytes[..],
        [
            0, 0, 0, 27, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, // the frame
            0x08, 1, 0x10, 1, // versions
            0x1a, 1, 1, // features, packed
            0x22, 3, b's', b'd', b'k', // client_name
            0x2a, 1, b't', // token
        ]
    );
}

/// These numbers cannot change: clients act on them.
#[test]
fn golden_error_codes() {
    let names: Vec<_> = (0..=23)
        .map_while(|code| ErrorCode::try_from(code).ok())
        .collect();
    assert_eq!(
        names,
        [
            ErrorCode::Unspecified,
            ErrorCode::BadFrame,
            ErrorCode::FrameTooLong,
            ErrorCode::UnknownKind,
            ErrorCode::UnsupportedVersion,
            ErrorCode::Unauthenticated,
            ErrorCode::TokenExpired,
            ErrorCode::WrongState,
            ErrorCode::BadRequest,
            ErrorCode::Forbidden,
            ErrorCode::NotAMember,
            ErrorCode::NoSuchConversation,
            ErrorCode::NoSuchAccount,
            ErrorCode::ContentTooLong,
            ErrorCode::Conflict,
            ErrorCode::TooOld,
            ErrorCode::Expired,
            ErrorCode::Unavailable,
            ErrorCode::OutcomeUnknown,
            ErrorCode::RateLimited,
            ErrorCode::LimitReached,
            ErrorCode::Internal,
            ErrorCode::NoSuchEntry,
        ]
    );
}

/// A claim of 4 GiB is refused from its four bytes, and nothing is reserved for it.
#[test]
fn a_length_over_the_limit_reserves_nothing() {
    let mut codec = FrameCodec::new(FRAME_BYTES_MAX);
    let mut buffer = BytesMut::from(&[0xff, 0xff, 0xff, 0xff][..]);
    let before = buffer.capacity();
    let error = codec.decode(&mut buffer).unwrap_err();
    assert!(matches!(
        error,
        FrameError::TooLong {
            max: FRAME_BYTES_MAX,
            ..
        }
    ));
    assert_eq!(error.refusal().unwrap().code, ErrorCode::FrameTooLong);
    assert!(buffer.capacity() <= before);
}

#[test]
fn a_frame_of_exactly_the_limit_passes_and_one_more_byte_does_not() {
    let mut codec = FrameCodec::new(64);
    let most = frame(7, 0, 0, &[0; 64 - FRAME_HEADER_BYTES]);
    let mut bytes = encoded(&mut codec, &most);
    assert_eq!(codec.decode(&mut bytes).unwrap(), Some(most));
    let more = frame(7, 0, 0, &[0; 65 - FRAME_HEADER_BYTES]);
    assert!(matches!(
        codec.encode(&more, &mut BytesMut::new()),
        Err(FrameError::TooLong {
            actual: 65,
            max: 64
        })
    ));
    assert!(matches!(
        codec.decode(&mut BytesMut::from(&more.to_bytes()[..])),
        Err(FrameError::TooLong {
            actual: 65,
            max: 64
        })
    ));
}

#[test]
fn malformed_headers_have_typed_errors() {
    let decode = |bytes: &[u8]| FrameCodec::new(1024).decode(&mut BytesMut::from(bytes));
    assert!(matches!(
        decode(&[0, 0, 0, 11]),
        Err(FrameError::TooShort { actual: 15 })
    ));
    assert!(matches!(
        decode(&[0, 0, 0, 12, 2]),
        Err(FrameError::Version(2))
    ));
    let mut flagged = frame(1, 0, 0, b"").to_bytes().to_vec();
    flagged[5] = 0x80;
    assert!(matches!(decode(&flagged), Err(FrameError::Flags(0x80))));
    flagged[5] = FLAG_ZSTD;
    assert!(matches!(decode(&flagged), Err(FrameError::NotNegotiated)));
}

#[test]
fn an_end_within_a_frame_is_an_error_and_between_frames_is_not() {
    let mut codec = FrameCodec::new(1024);
    let bytes = frame(3, 1, 0, b"body").to_bytes();
    let mut cut = BytesMut::from(&bytes[..bytes.len() - 1]);
    assert!(matches!(
        codec.decode_eof(&mut cut),
        Err(FrameError::Truncated { missing: 1 })
    ));
    assert!(codec.decode_eof(&mut BytesMut::new()).unwrap().is_none());
}

#[test]
fn long_repetitive_bodies_travel_compressed_and_short_ones_do_not() {
    let mut codec = FrameCodec::new(FRAME_BYTES_MAX);
    codec.set_zstd(true);
    let long = frame(5, 1, 0, "箱子".repeat(COMPRESS_ABOVE_BYTES).as_bytes());
    let mut bytes = encoded(&mut codec, &long);
    assert_eq!(bytes[5], FLAG_ZSTD);
    assert!(bytes.len() < long.body.len() / 4);
    assert_eq!(codec.decode(&mut bytes).unwrap(), Some(long));

    let short = frame(5, 1, 0, &vec![7; COMPRESS_ABOVE_BYTES - 1]);
    assert_eq!(encoded(&mut codec, &short)[5], 0);
}

/// 16 MiB of zeros compress to some hundred bytes; at most the limit is ever written.
#[test]
fn a_compressed_body_that_expands_over_the_limit_is_refused() {
    let mut codec = FrameCodec::new(FRAME_BYTES_MAX);
    codec.set_zstd(true);
    let bomb = zstd::bulk::compress(&vec![0; 16 << 20], 1).unwrap();
    assert!(bomb.len() < 16 * 1024);
    let mut bytes = BytesMut::new();
    bytes.put_u32(u32::try_from(12 + bomb.len()).unwrap());
    bytes.put_slice(&[1, FLAG_ZSTD, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0]);
    bytes.put_slice(&bomb);
    let error = codec.decode(&mut bytes).unwrap_err();
    assert!(matches!(error, FrameError::Expands { .. }));
    assert_eq!(error.refusal().unwrap().code, ErrorCode::FrameTooLong);
}

proptest! {
    /// However the bytes are cut on their way, the same frames come out.
    #[test]
    fn frames_survive_any_fragmentation(
        frames in prop::collection::vec(
            (any::<u16>(), any::<u32>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..3000)),
            1..6,
        ),
        cuts in prop::collection::vec(1usize..700, 1..40),
        zstd: bool,
    ) {
        let mut codec = FrameCodec::new(FRAME_BYTES_MAX);
        codec.set_zstd(zstd);
        let frames: Vec<_> = frames.iter().map(|(k, c, d, b)| frame(*k, *c, *d, b)).collect();
        let mut sent = BytesMut::new();
        for frame in &frames {
            codec.encode(frame, &mut sent).unwrap();
        }
        let mut arrived = BytesMut::new();
        let mut seen = Vec::new();
        let mut cuts = cuts.iter().cycle();
        while !sent.is_empty() {
            let cut = sent.len().min(*cuts.next().unwrap());
            arrived.extend_from_slice(&sent.split_to(cut));
            while let Some(frame) = codec.decode(&mut arrived).unwrap() {
                seen.push(frame);
            }
        }
        prop_assert_eq!(seen, frames);
        prop_assert!(arrived.is_empty());
    }

    /// Any bytes at all: frames or a typed error, never a panic.
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let mut codec = FrameCodec::new(2048);
        codec.set_zstd(true);
        let mut buffer = BytesMut::from(&bytes[..]);
        while let Ok(Some(frame)) = codec.decode(&mut buffer) {
            prop_assert!(frame.body.len() <= 2048);
        }
    }
}
