//! XMPP, as an occupant of one room speaks it: TLS from the first byte, SASL PLAIN, a resource, a
//! presence in the room (XEP-0045), and messages to it.
//!
//! A payload is bytes, and XMPP is text: it travels as base64. The room sends the sender its own
//! message back once it is in the archive; that is the acknowledgement. Not here: rosters, pairs,
//! reading the archive.

mod stanza;

use std::io::Write as _;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use self::stanza::{Part, Stanza};
use super::codec::{Codec, Event};

/// The domain of the server, and the name in its certificate.
pub const DOMAIN: &str = "localhost";

/// Where its rooms are.
pub const ROOMS: &str = "conference.localhost";

/// So long after the last one a space is due, which keeps the connection alive.
const SPACE_INTERVAL_US: u64 = 60_000_000;

/// How far a client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// What the server offers is awaited, to authenticate.
    Authenticate,
    /// Whether the password was right.
    Authenticated,
    /// What the server offers to who is authenticated, to get a resource.
    Bind,
    /// The answer to that.
    Bound,
    /// The room's word that the occupant is in it.
    Join,
    /// The room's subject, after which nothing but live messages comes.
    Subject,
    /// In the room.
    Joined,
}

/// The name of the account of the client with this index; its nickname in the room, too.
#[must_use]
pub fn account(client: usize) -> String {
    format!("c{client}")
}

/// The name of a group's room at [`ROOMS`].
#[must_use]
pub fn room(group: usize) -> String {
    format!("g{group}")
}

/// One client.
#[derive(Debug)]
pub struct Xmpp {
    account: String,
    password: String,
    /// The address of the room.
    room: String,
    /// The address under which the room passes its messages on.
    occupant: String,
    step: Step,
    space_due_at_us: u64,
    /// The payload of the last delivery, decoded; used again and again.
    payload: Vec<u8>,
}

impl Xmpp {
    /// The client with this index, in the room of the group with this one.
    #[must_use]
    pub fn new(client: usize, group: usize, password: &str) -> Self {
        let account = account(client);
        let room = format!("{}@{ROOMS}", room(group));
        Self {
            occupant: format!("{room}/{account}"),
            account,
            password: password.to_owned(),
            room,
            step: Step::Authenticate,
            space_due_at_us: 0,
            payload: Vec::new(),
        }
    }

    fn take(
        &mut self,
        stanza: &Stanza<'_>,
        out: &mut Vec<u8>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> anyhow::Result<()> {
        let refused = matches!(stanza.name(), b"failure" | b"stream:error")
            || stanza.attribute("type") == Some(b"error");
        ensure!(!refused, "the server refuses: {}", stanza.shown());
        match (self.step, stanza.name()) {
            (Step::Joined, b"message") => self.deliver(stanza, tell)?,
            // Others come, and nobody has to be told; queries are not for us.
            (Step::Joined | Step::Subject, b"presence" | b"iq") => {}
            (Step::Subject, b"message") if stanza.contains("<subject") => {
                self.step = Step::Joined;
                tell(Event::Ready);
            }
            (Step::Join, b"presence") => {
                // Of all that are in the room, one's own comes last, with this status.
                if stanza.contains("code='110'") {
                    self.step = Step::Subject;
                }
            }
            _ => self.negotiate(stanza, out)?,
        }
        Ok(())
    }

    /// From the stream's first offer to the request to enter the room.
    fn negotiate(&mut self, stanza: &Stanza<'_>, out: &mut Vec<u8>) -> anyhow::Result<()> {
        let (account, password) = (&self.account, &self.password);
        self.step = match (self.step, stanza.name()) {
            (Step::Authenticate, b"stream:features") => {
                let plain = stanza.contains("<mechanism>PLAIN<");
                ensure!(plain, "no PLAIN: {}", stanza.shown());
                let secret = STANDARD.encode(format!("\0{account}\0{password}"));
                let auth = "auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'";
                write(out, format_args!("<{auth}>{secret}</auth>"));
                Step::Authenticated
            }
            (Step::Authenticated, b"success") => {
                open_stream(out);
                Step::Bind
            }
            (Step::Bind, b"stream:features") => {
                let bind = "bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'";
                let resource = "<resource>r</resource></bind>";
                write(
                    out,
                    format_args!("<iq type='set' id='bind'><{bind}>{resource}</iq>"),
                );
                Step::Bound
            }
            (Step::Bound, b"iq") => {
                let occupant = &self.occupant;
                let muc = "<x xmlns='http://jabber.org/protocol/muc'/>";
                write(
                    out,
                    format_args!("<presence to='{occupant}'>{muc}</presence>"),
                );
                Step::Join
            }
            (step, _) => bail!("in the step {step:?} comes {}", stanza.shown()),
        };
        Ok(())
    }

    fn deliver(
        &mut self,
        stanza: &Stanza<'_>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> anyhow::Result<()> {
        let Some(text) = stanza.text_after("<body>") else {
            // The subject again, or a change of the room.
            return Ok(());
        };
        self.payload.resize(text.len(), 0);
        let bytes = STANDARD.decode_slice(text, &mut self.payload);
        let bytes = bytes.context("a body is no base64")?;
        let payload = &self.payload[..bytes];
        tell(Event::Delivered { payload });
        if stanza.attribute("from") == Some(self.occupant.as_bytes()) {
            let id = stanza
                .attribute("id")
                .context("our message has lost its id")?;
            let ticket = std::str::from_utf8(id)?.parse()?;
            tell(Event::Acked { ticket });
        }
        Ok(())
    }
}

impl Codec for Xmpp {
    fn open(&mut self, now_us: u64, out: &mut Vec<u8>) {
        self.space_due_at_us = now_us + SPACE_INTERVAL_US;
        open_stream(out);
    }

    fn read(
        &mut self,
        input: &[u8],
        _now_us: u64,
        out: &mut Vec<u8>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> anyhow::Result<usize> {
        let mut taken = 0;
        while let Some((part, bytes)) = stanza::first(&input[taken..])? {
            match part {
                Part::Opened => {}
                Part::Closed => bail!("the server closes the stream"),
                Part::Stanza(stanza) => self.take(&stanza, out, tell)?,
            }
            taken += bytes;
        }
        Ok(taken)
    }

    fn publish(&mut self, ticket: u64, payload: &[u8], _now_us: u64, out: &mut Vec<u8>) {
        let room = &self.room;
        write(
            out,
            format_args!("<message to='{room}' type='groupchat' id='{ticket}'><body>"),
        );
        let start = out.len();
        // A third more, and up to two bytes that fill up the last four.
        out.resize(start + payload.len().div_ceil(3) * 4, 0);
        let encoded = STANDARD.encode_slice(payload, &mut out[start..]);
        out.truncate(start + encoded.unwrap_or(0));
        out.extend(b"</body></message>");
    }

    fn due_at_us(&self) -> Option<u64> {
        Some(self.space_due_at_us)
    }

    fn tick(&mut self, now_us: u64, out: &mut Vec<u8>) {
        if now_us >= self.space_due_at_us {
            self.space_due_at_us = now_us + SPACE_INTERVAL_US;
            out.push(b' ');
        }
    }
}

fn open_stream(out: &mut Vec<u8>) {
    write(
        out,
        format_args!(
            "<?xml version='1.0'?><stream:stream to='{DOMAIN}' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
        ),
    );
}

/// Writing to memory does not fail.
fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::cuts::{Told, read_cut_everywhere};

    const OFFER: &str = "<?xml version='1.0'?><stream:stream id='1' version='1.0' from='localhost'>\
        <stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
        <mechanism>PLAIN</mechanism></mechanisms></stream:features>";

    const REST: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>\
        <?xml version='1.0'?><stream:stream id='2' version='1.0' from='localhost'>\
        <stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>\
        <iq type='result' id='bind'><bind xmlns='b'><jid>c7@localhost/r</jid></bind></iq>\
        <presence from='g3@conference.localhost/c6'><x><item role='participant'/></x></presence>\
        <presence from='g3@conference.localhost/c7'><x><status code='110'/></x></presence>\
        <message from='g3@conference.localhost' type='groupchat'><subject/></message>";

    fn opened() -> Xmpp {
        let mut client = Xmpp::new(7, 3, "secret");
        let mut out = Vec::new();
        client.open(0, &mut out);
        assert!(out.starts_with(b"<?xml version='1.0'?><stream:stream to='localhost'"));
        client
    }

    fn joined() -> Xmpp {
        let mut client = opened();
        let input = [OFFER, REST].concat();
        let read = client.read(input.as_bytes(), 0, &mut Vec::new(), &mut |_| {});
        assert_eq!(read.unwrap(), input.len());
        client
    }

    #[test]
    fn a_client_authenticates_and_enters_its_room() {
        let (told, said) = read_cut_everywhere(opened, [OFFER, REST].concat().as_bytes());
        assert_eq!(told, [Told::Ready]);
        let said = String::from_utf8(said).unwrap();
        let secret = STANDARD.encode("\0c7\0secret");
        assert!(said.contains(&format!("mechanism='PLAIN'>{secret}</auth>")));
        let presence = "<presence to='g3@conference.localhost/c7'>\
                        <x xmlns='http://jabber.org/protocol/muc'/></presence>";
        assert!(said.ends_with(presence), "{said}");
    }

    #[test]
    fn messages_are_delivered_and_ones_own_is_the_acknowledgement() {
        let input = " <message to='c7@localhost/r' from='g3@conference.localhost/c6' \
                     type='groupchat' id='7'><stanza-id by='g3' id='1'/><body>AAEC/w==</body>\
                     </message><presence from='g3@conference.localhost/c8'/>\
                     <message from='g3@conference.localhost/c7' type='groupchat' id='65'>\
                     <body>YQ==</body></message>\
                     <message from='g3@conference.localhost' type='groupchat'><x/></message>";
        let (told, said) = read_cut_everywhere(joined, input.as_bytes());
        let expected = [
            Told::delivered(&[0, 1, 2, 255]),
            Told::delivered(b"a"),
            Told::Acked { ticket: 65 },
        ];
        assert_eq!(told, expected);
        assert!(said.is_empty());
    }

    #[test]
    fn a_payload_goes_as_base64() {
        let mut out = b"before".to_vec();
        joined().publish(65, &[0, 1, 2, 255], 0, &mut out);
        let message = "before<message to='g3@conference.localhost' type='groupchat' id='65'>\
                       <body>AAEC/w==</body></message>";
        assert_eq!(String::from_utf8(out).unwrap(), message);
    }

    #[test]
    fn a_space_is_sent_when_it_is_due() {
        let mut client = opened();
        assert_eq!(client.due_at_us(), Some(SPACE_INTERVAL_US));
        let mut out = Vec::new();
        client.tick(SPACE_INTERVAL_US - 1, &mut out);
        assert!(out.is_empty());
        client.tick(SPACE_INTERVAL_US, &mut out);
        assert_eq!(out, b" ");
    }

    #[test]
    fn a_refusal_ends_the_run() {
        let refusals = [
            "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>",
            "<stream:error><conflict/></stream:error>",
            "<message type='error' from='g3@conference.localhost'><body>x</body></message>",
            "</stream:stream>",
            "<message from='g3@conference.localhost/c6' type='groupchat'><body>*</body></message>",
        ];
        for refusal in refusals {
            let read = joined().read(refusal.as_bytes(), 0, &mut Vec::new(), &mut |_| {});
            assert!(read.is_err(), "{refusal}");
        }
        let read = opened().read(b"<iq/>", 0, &mut Vec::new(), &mut |_| {});
        assert!(
            read.unwrap_err()
                .to_string()
                .contains("in the step Authenticate")
        );
    }
}
