//! A lean client of our protocol, for load: everything that a robot's client does on the wire, and
//! nothing that it keeps. One connection costs a few hundred bytes beside its TLS.
//!
//! A pure codec: bytes in, [`Told`] and bytes out. It takes entries in order and once, pulls what a
//! push did not bring, marks what it has taken (conflated, as the SDK does), answers and sends
//! heartbeats, and repeats sends that the server could not take just now under their ids.
//!
//! Not here: sockets and TLS; a journal; reconnecting by itself (a new connection begins with
//! [`Lean::open`] and goes on where the last one was).

mod place;
mod receive;
pub mod session;
mod wire;

use std::collections::HashMap;

use prost::Message;
use protocol::kind::client as kind;
use protocol::limits::{MARKS_PER_FRAME_MAX, PROTOCOL_VERSION};
use protocol::wire::{self as messages, Hello, Mark, Marks, Ping, Welcome};
use protocol::{AccountId, ClientMessageId, ConversationId, Refusal};

use place::Place;
pub use wire::{Entry, SCHEMA};
use wire::{Frame, put_frame, put_send};

/// How often marks go out at most, in microseconds: the SDK's interval.
const MARKS_INTERVAL_US: u64 = 200_000;

/// How long a send waits that the server could not take, when it does not say how long, in
/// microseconds.
const RETRY_US: u64 = 50_000;

/// The correlation of Hello; those of requests and sends come after it.
const HELLO_CORRELATION: u32 = 1;

/// Where a client begins in the conversations that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// After what is there already.
    Head,
    /// After what its account has marked as delivered.
    Mark,
}

/// What a client tells its driver.
#[derive(Debug)]
pub enum Told<'a> {
    /// The session stands, with all its conversations. Told once a connection.
    Welcome {
        /// Who the server takes the client to be.
        account: AccountId,
        /// How often it wants to hear from the client, in milliseconds.
        heartbeat_interval_ms: u32,
    },
    /// An entry, in order and once.
    Entry(Entry<'a>),
    /// A send is stored.
    Acked {
        /// As given to the send.
        ticket: u64,
        /// Its number; 0: an ephemeral message.
        sequence: u64,
    },
    /// A send is refused, for good.
    Refused {
        /// As given to the send.
        ticket: u64,
        /// Why.
        refusal: Refusal,
    },
    /// The answer to a [`Lean::request`].
    Answered {
        /// As the request returned it.
        correlation: u32,
        /// The answer's kind and body, or why there is none.
        answer: Result<(u16, &'a [u8]), Refusal>,
    },
    /// The account has joined a conversation, or left it.
    Membership {
        /// Which.
        conversation: ConversationId,
        /// Whether it joined.
        joined: bool,
    },
    /// An ephemeral message (an `im.v1.Ephemeral`).
    Ephemeral(&'a [u8]),
    /// Orders that are pushed (an `im.v1.OrderPage`).
    Orders(&'a [u8]),
    /// The server will close this connection: connect again if `reconnect`.
    GoAway {
        /// Whether to come back at all.
        reconnect: bool,
    },
}

/// What was not as plain as a push.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Detours {
    /// Entries that did not come by a push.
    pub pulled: u64,
    /// Heads in place of pushes.
    pub heads: u64,
    /// Sends that the server could not take at once.
    pub repeated: u64,
}

/// A request without an answer yet, as it was sent: the server may say that it cannot just now.
#[derive(Debug)]
struct Asked {
    what: What,
    frame: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Send {
        ticket: u64,
    },
    Pull,
    Memberships,
    /// The asker sees to it.
    Other,
}

/// One client.
#[derive(Debug)]
pub struct Lean {
    token: String,
    start: Start,
    places: Vec<Place>,
    /// Where the last entry was: most clients hear of one conversation many times in a row.
    last: usize,
    history_generation: u64,
    asked: HashMap<u32, Asked>,
    correlation: u32,
    /// The first ten bytes that differ from every other client's; ids count up from it.
    id_base: u128,
    welcome: Option<Welcome>,
    heartbeat_us: u64,
    ping_at_us: u64,
    marks_at_us: Option<u64>,
    repeat: Vec<(u64, u32)>,
    detours: Detours,
}

impl Lean {
    /// A client with this token; without one its certificate says who it is. `random` tells its
    /// message ids from those of every other client.
    #[must_use]
    pub fn new(token: Option<&str>, start: Start, random: [u8; 10]) -> Self {
        let mut wide = [0; 16];
        wide[6..].copy_from_slice(&random);
        Self {
            token: token.unwrap_or_default().to_owned(),
            start,
            places: Vec::new(),
            last: 0,
            history_generation: 0,
            asked: HashMap::new(),
            correlation: HELLO_CORRELATION,
            id_base: u128::from_be_bytes(wide),
            welcome: None,
            heartbeat_us: u64::MAX,
            ping_at_us: u64::MAX,
            marks_at_us: None,
            repeat: Vec::new(),
            detours: Detours::default(),
        }
    }

    /// What was not as plain as a push so far.
    #[must_use]
    pub const fn detours(&self) -> Detours {
        self.detours
    }

    /// Up to which entry of a conversation all have been told; `None`: it is not in it.
    #[must_use]
    pub fn taken_up_to(&self, conversation: &ConversationId) -> Option<u64> {
        let mut places = self.places.iter();
        let place = places.find(|place| place.conversation == *conversation)?;
        Some(place.taken_up_to())
    }

    /// Takes the entries of a conversation from this number on, unless it takes them already. A pair
    /// is in no list until its first entry.
    pub fn enter(&mut self, conversation: ConversationId, next: u64) {
        if self.taken_up_to(&conversation).is_none() {
            self.places.push(Place::new(conversation, next));
        }
    }

    /// Whether entries are known to exist that have not been told.
    #[must_use]
    pub fn lacks(&self) -> bool {
        self.places.iter().any(Place::lacks)
    }

    /// TLS stands: the client introduces itself. On a new connection it goes on where it was, and
    /// sends again what has no ack.
    pub fn open(&mut self, out: &mut Vec<u8>) {
        self.asked
            .retain(|_, asked| matches!(asked.what, What::Send { .. }));
        self.repeat.clear();
        self.welcome = None;
        self.places.iter_mut().for_each(Place::pulled);
        let hello = Hello {
            min_version: PROTOCOL_VERSION,
            max_version: PROTOCOL_VERSION,
            client_name: "im-bench".into(),
            token: self.token.clone(),
            history_generation: self.history_generation,
            ..Hello::default()
        };
        put_frame(kind::HELLO, HELLO_CORRELATION, &hello, out);
    }

    /// Sends data to a conversation; `payload` is what [`Entry::payload`] finds at the others.
    pub fn publish(
        &mut self,
        ticket: u64,
        conversation: &ConversationId,
        payload: &[u8],
        now_us: u64,
        out: &mut Vec<u8>,
    ) {
        let (correlation, id) = (self.next_correlation(), self.next_id(now_us));
        let begin = out.len();
        put_send(correlation, conversation, &id, payload, out);
        self.remember(correlation, What::Send { ticket }, &out[begin..]);
    }

    /// Sends anything: with a priority, a deadline, an ephemeral key. Its id is given here.
    pub fn send(&mut self, ticket: u64, send: messages::Send, now_us: u64, out: &mut Vec<u8>) {
        let send = messages::Send {
            client_message_id: self.next_id(now_us).to_bytes(),
            ..send
        };
        self.ask(What::Send { ticket }, kind::SEND, &send, out);
    }

    /// Asks anything else; [`Told::Answered`] has the returned correlation.
    pub fn request(&mut self, kind: u16, message: &impl Message, out: &mut Vec<u8>) -> u32 {
        self.ask(What::Other, kind, message, out)
    }

    fn ask(&mut self, what: What, kind: u16, message: &impl Message, out: &mut Vec<u8>) -> u32 {
        let (correlation, begin) = (self.next_correlation(), out.len());
        put_frame(kind, correlation, message, out);
        self.remember(correlation, what, &out[begin..]);
        correlation
    }

    fn remember(&mut self, correlation: u32, what: What, frame: &[u8]) {
        let frame = frame.to_vec();
        self.asked.insert(correlation, Asked { what, frame });
    }

    /// An id for a request that wants one.
    pub fn next_id(&mut self, now_us: u64) -> ClientMessageId {
        self.id_base = self.id_base.wrapping_add(1);
        let [.., a, b, c, d, e, f, g, h, i, j] = self.id_base.to_be_bytes();
        ClientMessageId::new(now_us / 1000, [a, b, c, d, e, f, g, h, i, j])
    }

    /// Takes as many whole frames as there are and returns how many bytes that was.
    ///
    /// # Errors
    /// When the server refuses the session, or says what is not understood.
    pub fn read(
        &mut self,
        input: &[u8],
        now_us: u64,
        out: &mut Vec<u8>,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> anyhow::Result<usize> {
        let mut taken = 0;
        while let Some((frame, length)) = Frame::first(&input[taken..])? {
            taken += length;
            if frame.kind == kind::PUSH {
                wire::pushed(frame.body, |entry| self.take(entry, out, tell).map(drop))?;
            } else {
                self.other(frame, now_us, out, tell)?;
            }
        }
        if self.marks_at_us.is_none() && taken > 0 {
            self.marks_at_us = Some(now_us + MARKS_INTERVAL_US);
        }
        Ok(taken)
    }

    /// When [`Lean::tick`] is wanted next.
    #[must_use]
    pub fn due_at_us(&self) -> Option<u64> {
        let repeats = self.repeat.iter().map(|(at, _)| *at).min();
        let due = self.ping_at_us.min(self.marks_at_us.unwrap_or(u64::MAX));
        let due = due.min(repeats.unwrap_or(u64::MAX));
        (due < u64::MAX).then_some(due)
    }

    /// Heartbeats, marks, and sends that are to be repeated, when they are due.
    pub fn tick(&mut self, now_us: u64, out: &mut Vec<u8>) {
        if now_us >= self.ping_at_us {
            self.ping(now_us, out);
        }
        if self.marks_at_us.is_some_and(|at| now_us >= at) {
            self.marks_at_us = None;
            self.mark(out);
        }
        let asked = &self.asked;
        self.repeat.retain(|(at, correlation)| {
            let waits = *at > now_us;
            if !waits && let Some(asked) = asked.get(correlation) {
                out.extend_from_slice(&asked.frame);
            }
            waits
        });
    }

    /// A heartbeat now: its answer names the heads of conversations that had entries since the last.
    pub fn ping(&mut self, now_us: u64, out: &mut Vec<u8>) {
        self.ping_at_us = now_us.saturating_add(self.heartbeat_us);
        let sent_at_ms = now_us / 1000;
        let correlation = self.next_correlation();
        put_frame(kind::PING, correlation, &Ping { sent_at_ms }, out);
    }

    fn mark(&mut self, out: &mut Vec<u8>) {
        let raised = self.places.iter_mut().filter_map(|place| {
            let delivered = place.mark()?;
            Some(Mark {
                conversation_id: place.conversation.to_bytes(),
                delivered,
                read: 0,
            })
        });
        let raised: Vec<_> = raised.collect();
        for marks in raised.chunks(MARKS_PER_FRAME_MAX) {
            let marks = Marks {
                marks: marks.to_vec(),
                history_generation: self.history_generation,
            };
            put_frame(kind::MARKS, 0, &marks, out);
        }
    }

    /// 0 asks for no answer, and Hello has one of its own.
    const fn next_correlation(&mut self) -> u32 {
        self.correlation = match self.correlation.checked_add(1) {
            Some(next) => next,
            None => HELLO_CORRELATION + 1,
        };
        self.correlation
    }
}

#[cfg(test)]
mod tests;
