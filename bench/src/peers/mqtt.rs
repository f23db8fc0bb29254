//! MQTT 3.1.1 at QoS 1, as a member of one group speaks it: the group is a topic.
//!
//! Not here: sessions that outlive their connection, QoS 2, wills, retained messages.

use std::collections::VecDeque;

use anyhow::{Context as _, bail, ensure};

use super::codec::{Codec, Event};

/// The server closes a connection that is silent for one and a half times as long.
const KEEP_ALIVE_SECONDS: u16 = 60;

/// So long after the last one a ping is due.
const PING_INTERVAL_US: u64 = 45_000_000;

/// A packet of more bytes is not one of ours.
const PACKET_BYTES_MAX: usize = 1 << 20;

/// A length takes at most so many bytes, of seven bits each.
const LENGTH_BYTES_MAX: usize = 4;

/// The packet identifier of the one SUBSCRIBE. It is free again before anything is published.
const SUBSCRIBE_ID: u16 = 1;

/// QoS 1 in the flags of PUBLISH, where it stands above the bit for *retain*.
const QOS_1: u8 = 1 << 1;

/// The packets that are sent or understood: the upper half of their first byte.
mod kind {
    pub(super) const CONNECT: u8 = 1;
    pub(super) const CONNACK: u8 = 2;
    pub(super) const PUBLISH: u8 = 3;
    pub(super) const PUBACK: u8 = 4;
    pub(super) const SUBSCRIBE: u8 = 8;
    pub(super) const SUBACK: u8 = 9;
    pub(super) const PINGREQ: u8 = 12;
    pub(super) const PINGRESP: u8 = 13;
}

/// One client.
#[derive(Debug)]
pub struct Mqtt {
    client_id: String,
    topic: String,
    ping_due_at_us: u64,
    /// What waits for its acknowledgement, oldest first. The driver's window bounds it.
    in_flight: VecDeque<InFlight>,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    packet_id: u16,
    ticket: u64,
}

/// One packet as it lies in the input.
#[derive(Debug)]
struct Packet<'a> {
    kind: u8,
    flags: u8,
    body: &'a [u8],
    /// With its head.
    bytes: usize,
}

impl Mqtt {
    /// The client with this index, in the group with this one.
    #[must_use]
    pub fn new(client: usize, group: usize) -> Self {
        Self {
            client_id: format!("c{client}"),
            topic: format!("g/{group}"),
            ping_due_at_us: 0,
            in_flight: VecDeque::new(),
        }
    }

    fn subscribe(&self, out: &mut Vec<u8>) {
        head(kind::SUBSCRIBE, 0b0010, 2 + 2 + self.topic.len() + 1, out);
        out.extend(SUBSCRIBE_ID.to_be_bytes());
        text(&self.topic, out);
        out.push(1);
    }

    fn take(
        &mut self,
        packet: &Packet<'_>,
        out: &mut Vec<u8>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> anyhow::Result<()> {
        match packet.kind {
            kind::PUBLISH => {
                let (packet_id, payload) = published(packet)?;
                tell(Event::Delivered { payload });
                head(kind::PUBACK, 0, 2, out);
                out.extend(packet_id.to_be_bytes());
            }
            kind::PUBACK => {
                let ticket = self.acknowledged(number(packet.body)?)?;
                tell(Event::Acked { ticket });
            }
            kind::CONNACK => {
                let code = packet.body.get(1).context("a CONNACK without a code")?;
                ensure!(*code == 0, "the connection is refused with code {code}");
                self.subscribe(out);
            }
            kind::SUBACK => {
                let code = packet.body.get(2).context("a SUBACK without a code")?;
                ensure!(*code == 1, "QoS 1 is not granted, but {code}");
                tell(Event::Ready);
            }
            kind::PINGRESP => {}
            other => bail!("a packet of kind {other} is not understood"),
        }
        Ok(())
    }

    fn acknowledged(&mut self, packet_id: u16) -> anyhow::Result<u64> {
        let mut places = self.in_flight.iter();
        let place = places.position(|sent| sent.packet_id == packet_id);
        let sent = place.and_then(|place| self.in_flight.remove(place));
        let sent = sent.with_context(|| format!("nothing waits for the PUBACK {packet_id}"))?;
        Ok(sent.ticket)
    }
}

impl Codec for Mqtt {
    fn open(&mut self, now_us: u64, out: &mut Vec<u8>) {
        self.ping_due_at_us = now_us + PING_INTERVAL_US;
        head(kind::CONNECT, 0, 10 + 2 + self.client_id.len(), out);
        text("MQTT", out);
        // The fourth level of the protocol, and a session that ends with its connection.
        out.extend([4, 0b0000_0010]);
        out.extend(KEEP_ALIVE_SECONDS.to_be_bytes());
        text(&self.client_id, out);
    }

    fn read(
        &mut self,
        input: &[u8],
        _now_us: u64,
        out: &mut Vec<u8>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> anyhow::Result<usize> {
        let mut taken = 0;
        while let Some(packet) = first(&input[taken..])? {
            self.take(&packet, out, tell)?;
            taken += packet.bytes;
        }
        Ok(taken)
    }

    fn publish(&mut self, ticket: u64, payload: &[u8], _now_us: u64, out: &mut Vec<u8>) {
        // From 1 to 65,535 and again: zero is no identifier.
        let packet_id = u16::try_from((ticket - 1) % u64::from(u16::MAX) + 1).unwrap_or(u16::MAX);
        self.in_flight.push_back(InFlight { packet_id, ticket });
        let bytes = 2 + self.topic.len() + 2 + payload.len();
        head(kind::PUBLISH, QOS_1, bytes, out);
        text(&self.topic, out);
        out.extend(packet_id.to_be_bytes());
        out.extend(payload);
    }

    fn due_at_us(&self) -> Option<u64> {
        Some(self.ping_due_at_us)
    }

    fn tick(&mut self, now_us: u64, out: &mut Vec<u8>) {
        if now_us >= self.ping_due_at_us {
            self.ping_due_at_us = now_us + PING_INTERVAL_US;
            head(kind::PINGREQ, 0, 0, out);
        }
    }
}

/// The first packet of the input, when it is whole.
fn first(input: &[u8]) -> anyhow::Result<Option<Packet<'_>>> {
    let Some((&start, rest)) = input.split_first() else {
        return Ok(None);
    };
    let mut length = 0;
    for (place, byte) in rest.iter().take(LENGTH_BYTES_MAX).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            ensure!(length <= PACKET_BYTES_MAX, "a packet of {length} bytes");
            let body = rest.get(place + 1..place + 1 + length);
            return Ok(body.map(|body| Packet {
                kind: start >> 4,
                flags: start & 0x0F,
                body,
                bytes: 1 + place + 1 + length,
            }));
        }
    }
    ensure!(rest.len() < LENGTH_BYTES_MAX, "a length without an end");
    Ok(None)
}

/// The packet identifier and the payload of a PUBLISH.
fn published<'a>(packet: &Packet<'a>) -> anyhow::Result<(u16, &'a [u8])> {
    ensure!(packet.flags & 0b0110 == QOS_1, "a delivery at another QoS");
    let topic = usize::from(number(packet.body)?);
    let rest = packet.body.get(2 + topic..).context("a topic is cut")?;
    Ok((number(rest)?, &rest[2..]))
}

/// The number at the start.
fn number(bytes: &[u8]) -> anyhow::Result<u16> {
    let number = bytes.first_chunk().context("a number is cut")?;
    Ok(u16::from_be_bytes(*number))
}

fn head(kind: u8, flags: u8, mut length: usize, out: &mut Vec<u8>) {
    out.push((kind << 4) | flags);
    loop {
        let [low, ..] = length.to_le_bytes();
        length >>= 7;
        if length == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// A text with its length before it. Ours are short.
fn text(text: &str, out: &mut Vec<u8>) {
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::cuts::{Told, read_cut_everywhere};

    fn ready() -> Mqtt {
        let mut client = Mqtt::new(7, 3);
        let mut out = Vec::new();
        client.open(0, &mut out);
        let connect = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02c7";
        assert_eq!(out, connect);
        client
    }

    #[test]
    fn a_client_connects_and_subscribes() {
        let (told, said) = read_cut_everywhere(ready, b"\x20\x02\x00\x00\x90\x03\x00\x01\x01");
        assert_eq!(told, [Told::Ready]);
        assert_eq!(said, b"\x82\x08\x00\x01\x00\x03g/3\x01");
    }

    #[test]
    fn a_delivery_is_acknowledged() {
        let mut input = b"\x32\x0a\x00\x03g/3\x01\x02abc".to_vec();
        let long = [b'x'; 200];
        input.extend(b"\x32\xcf\x01\x00\x03g/3\xff\xff");
        input.extend(long);
        let (told, said) = read_cut_everywhere(ready, &input);
        let expected = [Told::delivered(b"abc"), Told::delivered(&long)];
        assert_eq!(told, expected);
        assert_eq!(said, b"\x40\x02\x01\x02\x40\x02\xff\xff");
    }

    #[test]
    fn sends_are_acknowledged_under_their_tickets() {
        let published = || {
            let mut client = ready();
            let mut out = Vec::new();
            for ticket in [65_535, 65_536, 65_537] {
                client.publish(ticket, b"abc", 0, &mut out);
            }
            assert_eq!(out.len(), 3 * 12);
            assert_eq!(out[..12], *b"\x32\x0a\x00\x03g/3\xff\xffabc");
            assert_eq!(out[12..24], *b"\x32\x0a\x00\x03g/3\x00\x01abc");
            client
        };
        let input = b"\x40\x02\x00\x01\x40\x02\xff\xff\x40\x02\x00\x02";
        let (told, said) = read_cut_everywhere(published, input);
        let tickets = [65_536, 65_535, 65_537];
        assert_eq!(told, tickets.map(|ticket| Told::Acked { ticket }));
        assert!(said.is_empty());
    }

    #[test]
    fn a_ping_is_sent_when_it_is_due() {
        let mut client = ready();
        assert_eq!(client.due_at_us(), Some(PING_INTERVAL_US));
        let mut out = Vec::new();
        client.tick(PING_INTERVAL_US - 1, &mut out);
        assert!(out.is_empty());
        client.tick(PING_INTERVAL_US, &mut out);
        assert_eq!(out, b"\xc0\x00");
        assert_eq!(client.due_at_us(), Some(2 * PING_INTERVAL_US));
        let (told, _) = read_cut_everywhere(ready, b"\xd0\x00");
        assert_eq!(told, []);
    }

    #[test]
    fn what_is_not_understood_ends_the_run() {
        let refused = [
            (&b"\x20\x02\x00\x05"[..], "refused with code 5"),
            (b"\x90\x03\x00\x01\x80", "QoS 1 is not granted"),
            (b"\x40\x02\x00\x09", "nothing waits for the PUBACK 9"),
            (b"\x30\x05\x00\x03g/3", "another QoS"),
            (b"\x32\x02\x00\x09", "a topic is cut"),
            (b"\xf0\x00", "kind 15"),
            (b"\x32\xff\xff\xff\xff\x01", "a length without an end"),
            (b"\x32\xff\xff\xff\x01", "a packet of 4194303 bytes"),
        ];
        for (input, why) in refused {
            let error = ready().read(input, 0, &mut Vec::new(), &mut |_| {});
            let error = error.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
