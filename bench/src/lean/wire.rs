//! The bytes of our protocol, read where they lie: frames, the entries of a push or a page, the
//! payload of a data message. And a send, written without a message in between.
//!
//! Only what a load needs at every delivery is here; what is rare goes through `protocol::wire`.

use anyhow::{Context as _, ensure};
use protocol::frame::FRAME_VERSION;
use protocol::kind::client as kind;
use protocol::limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES};
use protocol::wire::EntryKind;
use protocol::{ClientMessageId, ConversationId};

/// What the load's messages are called, to tell them from the server's own entries.
pub const SCHEMA: &str = "im.bench.v1";

/// The bytes of a frame's header that its length counts.
const COUNTED_HEADER_BYTES: usize = FRAME_HEADER_BYTES - 4;

/// A frame as it lies in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub kind: u16,
    pub correlation: u32,
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first one and its length in bytes, once it is whole. No compression is negotiated.
    pub(super) fn first(input: &'a [u8]) -> anyhow::Result<Option<(Self, usize)>> {
        let Some((header, rest)) = input.split_first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        let [l0, l1, l2, l3, version, flags, k0, k1, c0, c1, c2, c3, ..] = *header;
        let counted = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        ensure!(
            (COUNTED_HEADER_BYTES..=FRAME_BYTES_MAX).contains(&counted),
            "a frame of {counted} bytes"
        );
        ensure!(
            (version, flags) == (FRAME_VERSION, 0),
            "a frame of version {version} with flags {flags:#x}"
        );
        let frame = rest.get(..counted - COUNTED_HEADER_BYTES).map(|body| {
            let frame = Self {
                kind: u16::from_be_bytes([k0, k1]),
                correlation: u32::from_be_bytes([c0, c1, c2, c3]),
                body,
            };
            (frame, counted + 4)
        });
        Ok(frame)
    }
}

/// Appends a frame of any message.
pub(super) fn put_frame(
    kind: u16,
    correlation: u32,
    body: &impl prost::Message,
    out: &mut Vec<u8>,
) {
    let header = put_header(kind, correlation, out);
    body.encode(out).expect("a vector has room");
    end_frame(header, out);
}

/// Appends a header without its length, and says where it begins.
fn put_header(kind: u16, correlation: u32, out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[FRAME_VERSION, 0]);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&correlation.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    at
}

fn end_frame(header: usize, out: &mut [u8]) {
    let counted = u32::try_from(out.len() - header - 4).expect("frames are short");
    out[header..header + 4].copy_from_slice(&counted.to_be_bytes());
}

/// Appends a `Send` of data with this payload.
pub(super) fn put_send(
    correlation: u32,
    conversation: &ConversationId,
    id: &ClientMessageId,
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    let data_bytes = bytes_len(SCHEMA.len()) + bytes_len(payload.len());
    let header = put_header(kind::SEND, correlation, out);
    put_bytes(1, conversation.as_bytes(), out);
    put_bytes(2, id.as_bytes(), out);
    put_varint(3 << 3, out);
    put_varint(EntryKind::Data as u64, out);
    put_length(4, bytes_len(data_bytes), out);
    // The case of `Content` that is `Data`.
    put_length(2, data_bytes, out);
    put_bytes(1, SCHEMA.as_bytes(), out);
    put_bytes(2, payload, out);
    end_frame(header, out);
}

/// How long a field of so many bytes is, with its tag, which has one byte here.
fn bytes_len(bytes: usize) -> usize {
    let bits = usize::BITS - (bytes | 1).leading_zeros();
    1 + bits.div_ceil(7) as usize + bytes
}

fn put_bytes(field: u64, bytes: &[u8], out: &mut Vec<u8>) {
    put_length(field, bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn put_length(field: u64, bytes: usize, out: &mut Vec<u8>) {
    put_varint(field << 3 | 2, out);
    put_varint(bytes as u64, out);
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// One field of a protobuf message.
enum Field<'a> {
    Number(u32, u64),
    Bytes(u32, &'a [u8]),
    /// Fixed-width; no message of ours that is read here has one.
    Other,
}

/// The fields of a protobuf message, in the order of their bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> anyhow::Result<Option<Field<'a>>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3)?;
        Ok(Some(match tag & 7 {
            0 => Field::Number(number, self.varint()?),
            2 => {
                let length = usize::try_from(self.varint()?)?;
                Field::Bytes(number, self.take(length)?)
            }
            1 => self.take(8).map(|_| Field::Other)?,
            5 => self.take(4).map(|_| Field::Other)?,
            wire => anyhow::bail!("no wire type {wire}"),
        }))
    }

    fn take(&mut self, length: usize) -> anyhow::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).context("cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> anyhow::Result<u64> {
        // Nearly all of them: tags, and lengths of what is short.
        if let [byte @ 0..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Ok(u64::from(*byte));
        }
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = *self.take(1)?.first_chunk::<1>().context("cut short")?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        anyhow::bail!("a number that does not end")
    }
}

/// One entry of a log, as it lies in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entry<'a> {
    /// The conversation's sixteen bytes.
    pub conversation: &'a [u8],
    /// Its place in the conversation's log.
    pub sequence: u64,
    /// The account that sent it.
    pub sender: u64,
    /// See `im.v1.EntryKind`.
    pub kind: u64,
    /// An encoded `Content`.
    pub content: &'a [u8],
}

impl<'a> Entry<'a> {
    fn parse(bytes: &'a [u8]) -> anyhow::Result<Self> {
        let mut entry = Self::default();
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                Field::Bytes(1, id) => entry.conversation = id,
                Field::Number(2, sequence) => entry.sequence = sequence,
                Field::Number(3, sender) => entry.sender = sender,
                Field::Number(5, kind) => entry.kind = kind,
                Field::Bytes(6, content) => entry.content = content,
                Field::Number(..) | Field::Bytes(..) | Field::Other => {}
            }
        }
        Ok(entry)
    }

    /// The payload, when it is data of the load.
    ///
    /// # Errors
    /// When the content is no protobuf.
    pub fn payload(&self) -> anyhow::Result<Option<&'a [u8]>> {
        if self.kind != EntryKind::Data as u64 {
            return Ok(None);
        }
        let mut content = Fields(self.content);
        let Some(Field::Bytes(2, data)) = content.next()? else {
            return Ok(None);
        };
        let (mut schema, mut payload, mut data) = (&[][..], &[][..], Fields(data));
        while let Some(field) = data.next()? {
            match field {
                Field::Bytes(1, bytes) => schema = bytes,
                Field::Bytes(2, bytes) => payload = bytes,
                Field::Number(..) | Field::Bytes(..) | Field::Other => {}
            }
        }
        Ok((schema == SCHEMA.as_bytes()).then_some(payload))
    }
}

/// The entries of a `Push`.
pub(super) fn pushed<'a>(
    body: &'a [u8],
    mut take: impl FnMut(Entry<'a>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut fields = Fields(body);
    while let Some(field) = fields.next()? {
        if let Field::Bytes(1, entry) = field {
            take(Entry::parse(entry)?)?;
        }
    }
    Ok(())
}

/// What a `PullPage` says beside its entries.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Page<'a> {
    pub conversation: &'a [u8],
    pub head: u64,
    pub trimmed_up_to: u64,
}

/// A `PullPage`: what it says, and its entries.
pub(super) fn page<'a>(
    body: &'a [u8],
    mut take: impl FnMut(Entry<'a>) -> anyhow::Result<()>,
) -> anyhow::Result<Page<'a>> {
    let mut page = Page::default();
    let mut fields = Fields(body);
    while let Some(field) = fields.next()? {
        match field {
            Field::Bytes(1, id) => page.conversation = id,
            Field::Bytes(2, entry) => take(Entry::parse(entry)?)?,
            Field::Number(3, head) => page.head = head,
            Field::Number(4, up_to) => page.trimmed_up_to = up_to,
            Field::Number(..) | Field::Bytes(..) | Field::Other => {}
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use protocol::wire;

    use super::*;

    #[test]
    fn a_send_is_what_the_protocol_says() {
        for length in [8, 100, 128, 200, 20_000] {
            let (payload, mut out) = (vec![7; length], vec![1, 2]);
            let conversation = ConversationId::group(17);
            let id = ClientMessageId::new(1_700_000_000_000, [9; 10]);
            put_send(5, &conversation, &id, &payload, &mut out);
            let (frame, taken) = Frame::first(&out[2..]).unwrap().unwrap();
            assert_eq!(
                (taken, frame.kind, frame.correlation),
                (out.len() - 2, kind::SEND, 5)
            );
            let send = wire::Send::decode(frame.body).unwrap();
            assert_eq!(send.conversation_id, conversation.to_bytes());
            assert_eq!(send.client_message_id, id.to_bytes());
            assert_eq!(send.kind, i32::from(EntryKind::Data));
            let content = wire::content::Content::Data(wire::Data {
                schema: SCHEMA.into(),
                payload: payload.into(),
            });
            assert_eq!(send.content, protocol::content::encode(content));
        }
    }

    #[test]
    fn a_push_is_read_where_it_lies() {
        let content = protocol::content::encode(wire::content::Content::Data(wire::Data {
            schema: SCHEMA.into(),
            payload: vec![3; 300].into(),
        }));
        let entry = wire::Entry {
            conversation_id: ConversationId::group(17).to_bytes(),
            sequence: 300,
            sender: u64::MAX,
            kind: EntryKind::Data.into(),
            content,
            committed_at_ms: 1,
            ..wire::Entry::default()
        };
        let push = wire::Push {
            entries: vec![entry.clone(), entry],
        };
        let (body, mut out) = (push.encode_to_vec(), Vec::new());
        put_frame(kind::PUSH, 0, &push, &mut out);
        for cut in 0..out.len() {
            assert_eq!(Frame::first(&out[..cut]).unwrap(), None);
        }
        let mut seen = 0;
        pushed(&body, |entry| {
            seen += 1;
            assert_eq!((entry.sequence, entry.sender), (300, u64::MAX));
            assert_eq!(entry.payload()?, Some(&[3; 300][..]));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, 2);
        for cut in 1..body.len() {
            // An error or less, never a panic.
            pushed(&body[..cut], |_| Ok(())).ok();
        }
    }
}
