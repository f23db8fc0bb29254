//! A lean client against a server of hand-made frames.

use protocol::wire::{Account, Entry, GoAway, Pull, PullPage, Push, SendAck};
use protocol::{ErrorCode, FrameCodec};
use tokio_util::codec::Decoder as _;

use super::*;

const NOW_US: u64 = 1_700_000_000_000_000;
const GROUP: u64 = 17;

fn group() -> ConversationId {
    ConversationId::group(GROUP)
}

fn say(kind: u16, correlation: u32, message: &impl Message) -> Vec<u8> {
    let mut out = Vec::new();
    put_frame(kind, correlation, message, &mut out);
    out
}

fn entry(sequence: u64) -> Entry {
    let data = messages::Data {
        schema: SCHEMA.into(),
        payload: sequence.to_be_bytes().to_vec().into(),
    };
    Entry {
        conversation_id: group().to_bytes(),
        sequence,
        kind: messages::EntryKind::Data.into(),
        content: protocol::content::encode(messages::content::Content::Data(data)),
        ..Entry::default()
    }
}

fn push(sequences: &[u64]) -> Vec<u8> {
    let entries = sequences.iter().map(|sequence| entry(*sequence)).collect();
    say(kind::PUSH, 0, &Push { entries })
}

/// What the client said, frame by frame.
fn frames(out: &[u8]) -> Vec<protocol::Frame> {
    let mut bytes = bytes::BytesMut::from(out);
    let mut codec = FrameCodec::new(protocol::limits::FRAME_BYTES_MAX);
    let mut frames = Vec::new();
    while let Some(frame) = codec.decode(&mut bytes).unwrap() {
        frames.push(frame);
    }
    frames
}

/// Takes it all, and returns what was told, in short, and said.
fn hear(lean: &mut Lean, input: &[u8], now_us: u64) -> (Vec<String>, Vec<protocol::Frame>) {
    let (mut told, mut out) = (Vec::new(), Vec::new());
    let mut tell = |event: Told<'_>| {
        told.push(match event {
            Told::Welcome { account, .. } => format!("welcome {account}"),
            Told::Entry(entry) => {
                let payload = entry.payload().unwrap().unwrap();
                assert_eq!(payload, entry.sequence.to_be_bytes());
                format!("entry {}", entry.sequence)
            }
            Told::Acked { ticket, sequence } => format!("acked {ticket} at {sequence}"),
            other @ (Told::Refused { .. }
            | Told::Answered { .. }
            | Told::Membership { .. }
            | Told::Ephemeral(_)
            | Told::Orders(_)
            | Told::GoAway { .. }) => format!("{other:?}"),
        });
    };
    let taken = lean.read(input, now_us, &mut out, &mut tell).unwrap();
    assert_eq!(taken, input.len());
    (told, frames(&out))
}

fn welcome(head: u64) -> Vec<u8> {
    let membership = messages::Membership {
        conversation_id: group().to_bytes(),
        head,
        readable_from: 1,
        delivered: 3,
        ..messages::Membership::default()
    };
    let welcome = Welcome {
        version: 1,
        account: Some(Account {
            account_id: 9,
            ..Account::default()
        }),
        heartbeat_interval_ms: 15_000,
        memberships: vec![membership],
        history_generation: 5,
        ..Welcome::default()
    };
    say(kind::WELCOME, HELLO_CORRELATION, &welcome)
}

fn welcomed(start: Start, head: u64) -> (Lean, Vec<protocol::Frame>) {
    let mut lean = Lean::new(Some("token"), start, [1; 10]);
    let mut out = Vec::new();
    lean.open(&mut out);
    let hello = Hello::decode(frames(&out)[0].body.clone()).unwrap();
    assert_eq!((&hello.token[..], hello.max_version), ("token", 1));
    let (told, said) = hear(&mut lean, &welcome(head), NOW_US);
    assert_eq!(told, ["welcome 9"]);
    (lean, said)
}

#[test]
fn entries_are_told_in_order_and_once_and_a_gap_is_pulled() {
    let (mut lean, said) = welcomed(Start::Head, 4);
    assert!(said.is_empty());
    let (told, said) = hear(&mut lean, &push(&[4, 5, 6, 6]), NOW_US);
    assert_eq!(
        (told.join(", "), said.len()),
        ("entry 5, entry 6".into(), 0)
    );
    let (told, said) = hear(&mut lean, &push(&[9]), NOW_US);
    assert!(told.is_empty() && lean.lacks());
    let pull = Pull::decode(said[0].body.clone()).unwrap();
    assert_eq!((pull.after_sequence, pull.history_generation), (6, 5));
    // Nothing is asked twice.
    assert!(hear(&mut lean, &push(&[10]), NOW_US).1.is_empty());
    let page = PullPage {
        conversation_id: group().to_bytes(),
        entries: vec![entry(7), entry(8)],
        head: 10,
        trimmed_up_to: 0,
    };
    let page = say(kind::PULL_PAGE, said[0].correlation, &page);
    let (told, said) = hear(&mut lean, &page, NOW_US);
    assert_eq!(told.join(", "), "entry 7, entry 8");
    let pull = Pull::decode(said[0].body.clone()).unwrap();
    assert_eq!((pull.after_sequence, lean.detours().pulled), (8, 2));
    let (told, _) = hear(&mut lean, &push(&[9, 10]), NOW_US);
    assert_eq!(told.join(", "), "entry 9, entry 10");
    assert_eq!(
        (lean.lacks(), lean.taken_up_to(&group())),
        (false, Some(10))
    );
}

#[test]
fn a_head_is_pulled_and_a_client_may_begin_at_its_mark() {
    let (_, said) = welcomed(Start::Mark, 4);
    assert_eq!(
        Pull::decode(said[0].body.clone()).unwrap().after_sequence,
        3
    );
    let (mut lean, _) = welcomed(Start::Head, 4);
    let head = messages::Head {
        conversation_id: group().to_bytes(),
        head: 6,
    };
    let (_, said) = hear(&mut lean, &say(kind::HEAD, 0, &head), NOW_US);
    assert_eq!(
        Pull::decode(said[0].body.clone()).unwrap().after_sequence,
        4
    );
    assert_eq!(lean.detours().heads, 1);
}

#[test]
fn marks_are_conflated_and_heartbeats_sent_when_due() {
    let (mut lean, _) = welcomed(Start::Head, 4);
    hear(&mut lean, &push(&[5, 6]), NOW_US);
    hear(&mut lean, &push(&[7]), NOW_US + 1000);
    let due_us = lean.due_at_us().unwrap();
    assert_eq!(due_us, NOW_US + MARKS_INTERVAL_US);
    let mut out = Vec::new();
    lean.tick(due_us - 1, &mut out);
    assert!(out.is_empty());
    lean.tick(due_us, &mut out);
    let marks = Marks::decode(frames(&out)[0].body.clone()).unwrap();
    assert_eq!((marks.marks.len(), marks.marks[0].delivered), (1, 7));
    assert_eq!(lean.due_at_us(), Some(NOW_US + 15_000_000));
    out.clear();
    lean.tick(NOW_US + 15_000_000, &mut out);
    assert_eq!(frames(&out)[0].kind, kind::PING);
    assert_eq!(lean.due_at_us(), Some(NOW_US + 30_000_000));
}

#[test]
fn a_send_is_repeated_as_it_was_until_it_has_its_ack() {
    let (mut lean, _) = welcomed(Start::Head, 4);
    let mut out = Vec::new();
    lean.publish(1, &group(), b"12345678", NOW_US, &mut out);
    let first = out.clone();
    let correlation = frames(&first)[0].correlation;
    let busy = Refusal::new(ErrorCode::RateLimited, "too fast").retry_after_ms(20);
    let busy = say(kind::ERROR, correlation, &busy.to_wire());
    let (told, _) = hear(&mut lean, &busy, NOW_US);
    assert!(told.is_empty());
    out.clear();
    lean.tick(NOW_US + 20_000, &mut out);
    assert_eq!(out, first);
    // The connection breaks: on the next one it comes after the Welcome.
    out.clear();
    lean.open(&mut out);
    let (_, again) = hear(&mut lean, &welcome(4), NOW_US);
    assert_eq!(again, frames(&first));
    let ack = SendAck {
        sequence: 5,
        ..SendAck::default()
    };
    let ack = say(kind::SEND_ACK, correlation, &ack);
    assert_eq!(hear(&mut lean, &ack, NOW_US).0, ["acked 1 at 5"]);
    // The answer to the first one.
    assert!(hear(&mut lean, &ack, NOW_US).0.is_empty());
    let refused = Refusal::new(ErrorCode::Forbidden, "no");
    out.clear();
    lean.publish(2, &group(), b"12345678", NOW_US, &mut out);
    let correlation = frames(&out)[0].correlation;
    let (told, _) = hear(
        &mut lean,
        &say(kind::ERROR, correlation, &refused.to_wire()),
        NOW_US,
    );
    assert!(told[0].starts_with("Refused { ticket: 2"), "{told:?}");
}

#[test]
fn the_end_of_a_session_is_told_or_an_error() {
    let (mut lean, _) = welcomed(Start::Head, 4);
    let leaving = GoAway {
        reconnect: true,
        ..GoAway::default()
    };
    let (told, _) = hear(&mut lean, &say(kind::GO_AWAY, 0, &leaving), NOW_US);
    assert_eq!(told, ["GoAway { reconnect: true }"]);
    let error = Refusal::new(ErrorCode::TokenExpired, "expired").to_wire();
    let error = say(kind::ERROR, 0, &error);
    let failed = lean.read(&error, NOW_US, &mut Vec::new(), &mut |_| {});
    assert!(failed.unwrap_err().to_string().contains("expired"));
}
