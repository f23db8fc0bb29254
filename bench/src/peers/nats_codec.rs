//! The protocol of NATS, as a member of one group speaks it: the group is a subject.
//!
//! With a stream, a member publishes to the subject that the stream stores, and gets what the
//! stream publishes again once it has stored it. Not here: queue groups, request and reply of the
//! application's own, pulling a stream.

mod frame;

use std::io::Write as _;

use anyhow::{bail, ensure};

use self::frame::{END, Message, decimal, first_line, message};
use super::codec::{Codec, Event};

/// The subscription to the group.
const GROUP_SID: &[u8] = b"1";

/// The subscription to the answers of the stream.
const INBOX_SID: &[u8] = b"2";

/// The length of a message that is not too long has so many digits.
const LENGTH_DIGITS_MAX: usize = 7;

/// The ending of the inbox for the answer to the stream's creation; others end with a ticket.
const CREATION: &[u8] = b"creation";

/// One client.
#[derive(Debug)]
pub struct Nats {
    client: usize,
    group: usize,
    stream: Option<Stream>,
    ready: bool,
    /// How a delivery without headers begins, up to its length.
    delivery: Vec<u8>,
}

/// What a client of a stream has done so far.
#[derive(Debug)]
struct Stream {
    /// The first member of the group creates it, and is not ready before it stands.
    creates: bool,
    has_inbox: bool,
}

impl Nats {
    /// The client with this index, in the group with this one, with no stream.
    #[must_use]
    pub fn core(client: usize, group: usize) -> Self {
        Self::new(client, group, None)
    }

    /// The same with a stream of the group's own; one client of each group creates it.
    #[must_use]
    pub fn jetstream(client: usize, group: usize, creates: bool) -> Self {
        let has_inbox = false;
        Self::new(client, group, Some(Stream { creates, has_inbox }))
    }

    fn new(client: usize, group: usize, stream: Option<Stream>) -> Self {
        let sid = GROUP_SID.escape_ascii();
        Self {
            client,
            group,
            stream,
            ready: false,
            delivery: format!("MSG g.{group} {sid} ").into_bytes(),
        }
    }

    /// The same as [`message`] for what comes most, without a look at its fields.
    fn plain_delivery<'a>(&self, input: &'a [u8]) -> Option<(&'a [u8], usize)> {
        let rest = input.strip_prefix(&self.delivery[..])?;
        let mut bytes = 0;
        for (digits, byte) in rest.iter().take(LENGTH_DIGITS_MAX).enumerate() {
            if byte.is_ascii_digit() {
                bytes = bytes * 10 + usize::from(byte - b'0');
                continue;
            }
            let whole = rest.get(digits..digits + END.len() + bytes + END.len())?;
            let payload = whole.strip_prefix(END)?.strip_suffix(END)?;
            let taken = self.delivery.len() + digits + whole.len();
            return Some((payload, taken));
        }
        None
    }

    /// Subscribes to the stream's answers, as clients do when they first need one.
    fn inbox(&mut self, out: &mut Vec<u8>) {
        if let Some(stream) = &mut self.stream
            && !stream.has_inbox
        {
            stream.has_inbox = true;
            let sid = INBOX_SID.escape_ascii();
            write(out, format_args!("SUB _INBOX.{}.* {sid}\r\n", self.client));
        }
    }

    /// Stored in files and limited by nothing. What is stored is published again, to the subject
    /// that members subscribe to.
    fn create_stream(&mut self, out: &mut Vec<u8>) {
        self.inbox(out);
        let (client, group) = (self.client, self.group);
        let config = format!(
            r#"{{"name":"g{group}","subjects":["to.{group}"],"storage":"file","num_replicas":1,"retention":"limits","discard":"old","republish":{{"src":"to.{group}","dest":"g.{group}"}}}}"#
        );
        let bytes = config.len();
        let inbox = CREATION.escape_ascii();
        write(
            out,
            format_args!(
                "PUB $JS.API.STREAM.CREATE.g{group} _INBOX.{client}.{inbox} {bytes}\r\n{config}\r\n"
            ),
        );
    }

    fn take_message(
        &mut self,
        message: &Message<'_>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> anyhow::Result<()> {
        let payload = message.payload;
        if message.sid == GROUP_SID {
            tell(Event::Delivered { payload });
            return Ok(());
        }
        ensure!(message.sid == INBOX_SID, "nobody subscribed to this");
        // The stream's answers have no headers: those say that nothing answers there.
        let refused = message.has_headers || contains(payload, br#""error":"#);
        let said = payload.escape_ascii();
        ensure!(!refused, "the stream refuses: {said}");
        let ending = message.subject.rsplit(|byte| *byte == b'.').next();
        let ending = ending.unwrap_or_default();
        if ending == CREATION {
            self.be_ready(tell);
        } else {
            let ticket = decimal(ending)?;
            tell(Event::Acked { ticket });
        }
        Ok(())
    }

    /// A line that has no payload.
    fn take_line(
        &mut self,
        line: &[u8],
        out: &mut Vec<u8>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> anyhow::Result<()> {
        let creates = self.stream.as_ref().is_some_and(|stream| stream.creates);
        match line.split(|byte| *byte == b' ').next().unwrap_or_default() {
            b"PING" => out.extend(b"PONG\r\n"),
            b"PONG" if creates && !self.ready => self.create_stream(out),
            b"PONG" => self.be_ready(tell),
            b"INFO" | b"+OK" => {}
            b"-ERR" => bail!("the server says {}", line.escape_ascii()),
            _ => bail!("a line is not understood: {}", line.escape_ascii()),
        }
        Ok(())
    }

    fn be_ready(&mut self, tell: &mut dyn FnMut(Event<'_>)) {
        if !self.ready {
            self.ready = true;
            tell(Event::Ready);
        }
    }
}

impl Codec for Nats {
    /// The line that the server says in clear before TLS begins has been read.
    fn open(&mut self, _now_us: u64, out: &mut Vec<u8>) {
        out.extend(br#"CONNECT {"verbose":false,"pedantic":false,"tls_required":true,"#);
        out.extend(br#""lang":"rust","version":"1","protocol":1,"#);
        out.extend(br#""headers":true,"no_responders":true}"#);
        let sid = GROUP_SID.escape_ascii();
        // The answer to PING says that the subscription stands.
        write(
            out,
            format_args!("\r\nSUB g.{} {sid}\r\nPING\r\n", self.group),
        );
    }

    fn read(
        &mut self,
        input: &[u8],
        _now_us: u64,
        out: &mut Vec<u8>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> anyhow::Result<usize> {
        let mut taken = 0;
        loop {
            while let Some((payload, bytes)) = self.plain_delivery(&input[taken..]) {
                tell(Event::Delivered { payload });
                taken += bytes;
            }
            let Some(line) = first_line(&input[taken..])? else {
                break;
            };
            let after = taken + line.len() + END.len();
            if line.starts_with(b"MSG ") || line.starts_with(b"HMSG ") {
                let Some((message, bytes)) = message(line, &input[after..])? else {
                    break;
                };
                self.take_message(&message, tell)?;
                taken = after + bytes;
            } else {
                self.take_line(line, out, tell)?;
                taken = after;
            }
        }
        Ok(taken)
    }

    fn publish(&mut self, ticket: u64, payload: &[u8], _now_us: u64, out: &mut Vec<u8>) {
        self.inbox(out);
        let (client, group, bytes) = (self.client, self.group, payload.len());
        if self.stream.is_some() {
            write(
                out,
                format_args!("PUB to.{group} _INBOX.{client}.{ticket} {bytes}\r\n"),
            );
        } else {
            write(out, format_args!("PUB g.{group} {bytes}\r\n"));
        }
        out.extend(payload);
        out.extend(END);
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Writing to memory does not fail.
fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).ok();
}

#[cfg(test)]
mod tests {
    use super::frame::LINE_BYTES_MAX;
    use super::*;
    use crate::peers::cuts::{Told, read_cut_everywhere};

    fn opened(mut client: Nats) -> Nats {
        let mut out = Vec::new();
        client.open(0, &mut out);
        assert!(out.starts_with(b"CONNECT {"));
        assert!(out.ends_with(b"}\r\nSUB g.3 1\r\nPING\r\n"));
        client
    }

    fn core() -> Nats {
        opened(Nats::core(7, 3))
    }

    #[test]
    fn a_client_is_ready_when_its_subscription_stands() {
        let input = b"INFO {\"server_id\":\"A\"}\r\nPONG\r\nPING\r\nPONG\r\n";
        let (told, said) = read_cut_everywhere(core, input);
        assert_eq!(told, [Told::Ready]);
        assert_eq!(said, b"PONG\r\n");
    }

    #[test]
    fn deliveries_come_as_they_were_published() {
        let input = b"MSG g.3 1 5\r\na\r\nbc\r\nMSG g.3 1 to.me 0\r\n\r\n\
                      HMSG g.3 1  12 15\r\nNATS/1.0\r\n\r\nabc\r\n";
        let (told, said) = read_cut_everywhere(core, input);
        let expected = [&b"a\r\nbc"[..], b"", b"abc"].map(Told::delivered);
        assert_eq!(told, expected);
        assert!(said.is_empty());
    }

    #[test]
    fn a_send_to_core_is_not_acknowledged() {
        let mut out = Vec::new();
        core().publish(1, b"abc", 0, &mut out);
        assert_eq!(out, b"PUB g.3 3\r\nabc\r\n");
    }

    #[test]
    fn the_first_member_creates_the_stream() {
        let input = b"PONG\r\nMSG _INBOX.7.creation 2 16\r\n{\"config\":{...}}\r\n";
        let creator = || opened(Nats::jetstream(7, 3, true));
        let (told, said) = read_cut_everywhere(creator, input);
        assert_eq!(told, [Told::Ready]);
        let said = String::from_utf8(said).unwrap();
        let start = "SUB _INBOX.7.* 2\r\nPUB $JS.API.STREAM.CREATE.g3 _INBOX.7.creation 144\r\n{";
        assert!(said.starts_with(start), "{said}");
        let config = said.lines().last().unwrap();
        assert_eq!(config.len(), 144);
        let config: serde_json::Value = serde_json::from_str(config).unwrap();
        assert_eq!(config["republish"]["dest"], "g.3");

        let other = || opened(Nats::jetstream(8, 3, false));
        assert_eq!(
            read_cut_everywhere(other, b"PONG\r\n"),
            (vec![Told::Ready], vec![])
        );
    }

    #[test]
    fn the_stream_acknowledges_sends_under_their_tickets() {
        let published = || {
            let mut client = opened(Nats::jetstream(7, 3, false));
            let mut out = Vec::new();
            client.publish(1, b"abc", 0, &mut out);
            client.publish(2, b"", 0, &mut out);
            let expected = b"SUB _INBOX.7.* 2\r\nPUB to.3 _INBOX.7.1 3\r\nabc\r\n\
                             PUB to.3 _INBOX.7.2 0\r\n\r\n";
            assert_eq!(out, expected);
            client
        };
        let input = b"MSG _INBOX.7.1 2 27\r\n{\"stream\":\"g3\", \"seq\":1234}\r\n\
                      MSG _INBOX.7.2 2  27\r\n{\"stream\":\"g3\", \"seq\":1235}\r\n";
        let (told, _) = read_cut_everywhere(published, input);
        assert_eq!(told, [1, 2].map(|ticket| Told::Acked { ticket }));
    }

    #[test]
    fn what_is_not_understood_ends_the_run() {
        let refused = [
            (&b"-ERR 'Slow Consumer'\r\n"[..], "Slow Consumer"),
            (b"WHAT\r\n", "a line is not understood"),
            (b"PING\rPONG", "does not end as it should"),
            (b"MSG g.3 9 0\r\n\r\n", "nobody subscribed"),
            (b"MSG g.3 1 x\r\n", "x is no number"),
            (b"MSG g.3 1 1\r\nabc", "does not end as it should"),
            (b"MSG g.3 1 99999999\r\n", "a message of 99999999 bytes"),
            (b"HMSG g.3 1 9 3\r\nabc\r\n", "headers are too long"),
            (
                b"HMSG _INBOX.7.1 2 16 16\r\nNATS/1.0 503\r\n\r\n\r\n",
                "the stream refuses",
            ),
            (
                b"MSG _INBOX.7.1 2 12\r\n{\"error\":{}}\r\n",
                "the stream refuses",
            ),
        ];
        for (input, why) in refused {
            let mut client = opened(Nats::jetstream(7, 3, false));
            let error = client.read(input, 0, &mut Vec::new(), &mut |_| {});
            let error = error.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let endless = vec![b'x'; LINE_BYTES_MAX + 1];
        let error = core().read(&endless, 0, &mut Vec::new(), &mut |_| {});
        assert!(error.is_err());
    }
}
