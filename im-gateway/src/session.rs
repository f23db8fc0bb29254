//! What a client may say when, and what follows from it: the state of one connection.
//!
//! Pure: frames and the time go in, what is to be done comes out. Not here: the socket
//! ([`crate::connection`]), what waits to be written ([`crate::outbox`]), who may do what (logic).
//!
//! ```text
//! awaiting hello -> authenticating -> established -> closed
//! ```

mod bucket;
mod hello;
mod in_flight;
mod words;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use protocol::error::decode_body;
use protocol::kind::client;
use protocol::limits::{
    COMPRESS_ABOVE_BYTES, CONTENT_BYTES_MAX, FRAME_BYTES_MAX, PAGES_IN_FLIGHT_MAX,
};
use protocol::wire::internal::MembershipsPage;
use protocol::wire::{self, Account, EmergencyStop, Feature, Limits, Ping, Pong, Welcome};
use protocol::{ClientMessageId, ErrorCode, Frame, Refusal, SessionId};
use tokio::time::Instant;

pub(crate) use self::bucket::Bucket;
use self::bucket::is_emergency;
pub(crate) use self::in_flight::InFlight;
pub use self::words::go_away;
use self::words::{answer, confirmed, error, millis, wrong_state};
use crate::config::SessionConfig;
use crate::marks;

/// A connection is given up after this many heartbeat intervals of silence, in halves.
const SILENT_HALF_INTERVALS_MAX: u32 = 5;

/// The state of one connection.
#[derive(Debug)]
pub struct Session {
    rules: SessionConfig,
    state: State,
    /// As often as the client says that it is there.
    heartbeat_interval_ms: u32,
    /// When the last frame arrived, or the connection was made.
    heard_at: Instant,
    in_flight: InFlight,
    bucket: Bucket,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    AwaitingHello,
    Authenticating { correlation: u32 },
    Established,
    Closed,
}

/// One reading of both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The monotonic clock.
    pub at: Instant,
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

/// What follows from a frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Nothing.
    Nothing,
    /// This is written.
    Answer(Frame),
    /// A heartbeat is answered, with this correlation.
    Pong(u32, Pong),
    /// The credential is checked; then [`Session::welcome`] or [`Session::refuse`].
    Authenticate(Introduction),
    /// Somebody without a credential asks for one; then [`Session::applied`].
    Apply(Passed),
    /// The request is passed on; then [`Session::answer`].
    Pass(Passed),
    /// These are passed on, newest only.
    Marks(wire::Marks),
    /// The robot has acted on these emergency stops.
    Confirmed(BTreeSet<ClientMessageId>),
    /// This is written last, and the connection closed.
    Close(Frame),
}

/// A hello that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// The version of the session.
    pub version: u32,
    /// Both sides compress.
    pub zstd: bool,
    /// For logs.
    pub client_name: String,
    /// The token, or empty.
    pub token: String,
    /// What the client's marks are of.
    pub history_generation: u64,
    /// How often the client is to say that it is there, in milliseconds.
    pub heartbeat_interval_ms: u32,
    /// The emergency stops that it holds for being in force.
    pub latched: BTreeSet<ClientMessageId>,
}

/// A request on its way to the logic tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// What is asked.
    pub kind: u16,
    /// What the answer carries.
    pub correlation: u32,
    /// How long the client waits for it.
    pub timeout: Duration,
    /// The encoded message.
    pub body: Bytes,
}

impl Session {
    /// Of a connection that has just been made.
    #[must_use]
    pub fn new(rules: SessionConfig, now: Instant) -> Self {
        Self {
            state: State::AwaitingHello,
            heard_at: now,
            in_flight: InFlight::default(),
            bucket: Bucket::new(rules.requests_per_second, now),
            heartbeat_interval_ms: rules.heartbeat_interval_ms,
            rules,
        }
    }

    /// When the connection is given up unless something is heard before.
    #[must_use]
    pub fn gives_up_at(&self) -> Instant {
        let patience = match self.state {
            State::AwaitingHello | State::Authenticating { .. } => {
                Duration::from_millis(self.rules.hello_timeout_ms.into())
            }
            State::Established | State::Closed => self.patience(),
        };
        self.heard_at + patience
    }

    /// Nothing was read from the client until now, so that its silence says nothing.
    pub const fn excuse(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// How long a client may be silent, and how long it may take nothing of what is written to it.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let half_interval = Duration::from_millis(self.heartbeat_interval_ms.into()) / 2;
        half_interval * SILENT_HALF_INTERVALS_MAX
    }

    /// What is said to a client that was silent for too long.
    pub fn give_up(&mut self) -> Frame {
        let established = self.state == State::Established;
        self.state = State::Closed;
        let refusal = if established {
            Refusal::unavailable("nothing was heard of the client for too long")
        } else {
            let wait_ms = self.rules.hello_timeout_ms;
            wrong_state(format!("no hello within {wait_ms} ms"))
        };
        error(0, &refusal)
    }

    /// A frame has arrived.
    pub fn frame(&mut self, frame: Frame, now: Now) -> Next {
        match self.state {
            State::AwaitingHello => self.hello(frame),
            State::Authenticating { .. } => self.close(0, &wrong_state("a frame before Welcome")),
            State::Closed => Next::Nothing,
            State::Established => {
                self.heard_at = now.at;
                self.established(frame, now)
            }
        }
    }

    /// The account is known: the answer to its hello. `page` has as many memberships as fit.
    pub fn welcome(
        &mut self,
        session: SessionId,
        introduction: &Introduction,
        account: Account,
        page: MembershipsPage,
        (gateways, estops): (Vec<String>, Vec<EmergencyStop>),
        now: Now,
    ) -> Frame {
        let correlation = self.leave_authentication(State::Established);
        self.heard_at = now.at;
        self.heartbeat_interval_ms = introduction.heartbeat_interval_ms;
        let zstd = introduction.zstd.then_some(Feature::Zstd as i32);
        let welcome = Welcome {
            version: introduction.version,
            features: zstd.into_iter().collect(),
            session_id: session.0,
            account: Some(account),
            heartbeat_interval_ms: self.heartbeat_interval_ms,
            server_time_ms: now.unix_ms,
            limits: Some(self.limits()),
            memberships: page.memberships,
            more_memberships: page.more,
            gateways,
            history_generation: page.history_generation,
            estops,
        };
        answer(client::WELCOME, correlation, &welcome)
    }

    /// The account is refused: the last word.
    pub fn refuse(&mut self, refusal: &Refusal) -> Frame {
        let correlation = self.leave_authentication(State::Closed);
        error(correlation, refusal)
    }

    /// What becomes of one who asked for a credential: the last word.
    pub fn applied(&mut self, passed: &Passed, outcome: Result<Bytes, Refusal>) -> Frame {
        let correlation = self.leave_authentication(State::Closed);
        match outcome {
            Ok(body) => Frame {
                kind: client::answer(passed.kind),
                correlation,
                deadline_ms: 0,
                body,
            },
            Err(refusal) => error(correlation, &refusal),
        }
    }

    /// The request has ended.
    pub fn answer(&mut self, passed: &Passed, outcome: Result<Bytes, Refusal>) -> Next {
        self.in_flight.end(passed.kind);
        match outcome {
            Ok(body) => Next::Answer(Frame {
                kind: client::answer(passed.kind),
                correlation: passed.correlation,
                deadline_ms: 0,
                body,
            }),
            Err(refusal) if refusal.code == ErrorCode::BadFrame => {
                self.close(passed.correlation, &refusal)
            }
            Err(refusal) => Next::Answer(error(passed.correlation, &refusal)),
        }
    }

    /// The stream of frames is broken: the last word.
    pub fn broken(&mut self, refusal: &Refusal) -> Frame {
        self.state = State::Closed;
        error(0, refusal)
    }

    fn established(&mut self, frame: Frame, now: Now) -> Next {
        match frame.kind {
            client::PING => self.ping(&frame, now),
            // Its arrival was all it had to say.
            client::PONG => Next::Nothing,
            client::MARKS => match marks::parse(frame.body) {
                Ok(marks) => Next::Marks(marks),
                Err(refusal) => self.close(frame.correlation, &refusal),
            },
            client::ESTOP_CONFIRM => match confirmed(frame.body) {
                Ok(stops) => Next::Confirmed(stops),
                Err(refusal) => self.close(frame.correlation, &refusal),
            },
            client::HELLO => self.close(frame.correlation, &wrong_state("a second Hello")),
            kind if client::ANSWERED_BY_GATEWAY.contains(&kind) => self.request(frame, now.at),
            kind if client::PASSED_TO_LOGIC.contains(&kind) => self.request(frame, now.at),
            // No answer has its correlation: that would be the last word.
            _ if frame.correlation == 0 => Next::Nothing,
            kind => {
                let message = format!("kind {kind} is not known here");
                let refusal = Refusal::new(ErrorCode::UnknownKind, message);
                Next::Answer(error(frame.correlation, &refusal))
            }
        }
    }

    fn ping(&mut self, frame: &Frame, now: Now) -> Next {
        match decode_body::<Ping>(frame.body.clone()) {
            Ok(ping) => {
                let pong = Pong {
                    ping_sent_at_ms: ping.sent_at_ms,
                    answered_at_ms: now.unix_ms,
                    // The outbox knows them.
                    heads: Vec::new(),
                };
                Next::Pong(frame.correlation, pong)
            }
            Err(refusal) => self.close(frame.correlation, &refusal),
        }
    }

    fn request(&mut self, frame: Frame, now: Instant) -> Next {
        let refused = |refusal: &Refusal| Next::Answer(error(frame.correlation, refusal));
        if frame.correlation == 0 {
            let refusal = Refusal::new(ErrorCode::BadFrame, "a request has a correlation, not 0");
            return self.close(0, &refusal);
        }
        // However much else it asks: a stop is never held up.
        let is_stop = frame.kind == client::ESTOP;
        let requests_max = self.rules.requests_in_flight_max;
        if !is_stop && let Err(refusal) = self.in_flight.check(frame.kind, requests_max) {
            return refused(&refusal);
        }
        if !is_stop
            && let Err(wait) = self.bucket.take(now)
            && !is_emergency(&frame)
        {
            let most = self.rules.requests_per_second;
            let message = format!("more than {most} requests a second");
            let refusal = Refusal::new(ErrorCode::RateLimited, message);
            return refused(&refusal.retry_after_ms(millis(wait)));
        }
        self.in_flight.begin(frame.kind);
        let asked_ms = match frame.deadline_ms {
            0 => self.rules.request_timeout_ms,
            asked => asked.min(self.rules.request_timeout_ms),
        };
        Next::Pass(Passed {
            kind: frame.kind,
            correlation: frame.correlation,
            timeout: Duration::from_millis(u64::from(asked_ms)),
            body: frame.body,
        })
    }

    fn close(&mut self, correlation: u32, refusal: &Refusal) -> Next {
        self.state = State::Closed;
        Next::Close(error(correlation, refusal))
    }

    fn leave_authentication(&mut self, to: State) -> u32 {
        let correlation = match self.state {
            State::Authenticating { correlation } => correlation,
            State::AwaitingHello | State::Established | State::Closed => 0,
        };
        self.state = to;
        correlation
    }

    fn limits(&self) -> Limits {
        let some = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
        Limits {
            frame_bytes_max: some(FRAME_BYTES_MAX),
            content_bytes_max: some(CONTENT_BYTES_MAX),
            requests_in_flight_max: self.rules.requests_in_flight_max,
            compress_above_bytes: some(COMPRESS_ABOVE_BYTES),
            pages_in_flight_max: some(PAGES_IN_FLIGHT_MAX),
        }
    }
}

#[cfg(test)]
mod tests;
