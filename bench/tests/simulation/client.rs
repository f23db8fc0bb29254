//! A client as a host: the real engine of the SDK, dialling and reading as its driver does, and an
//! application that sends, takes events slowly or at once, and may crash.

use std::time::Duration;

use bytes::BytesMut;
use client_sdk::journal::MemoryJournal;
use client_sdk::simulation::{Fate, Machine};
use client_sdk::{ClientConfig, Credential, Error, Event, Outgoing, Receipt, SendError, StartFrom};
use prost::Message as _;
use protocol::kind::client as kind;
use protocol::limits::{FRAME_BYTES_MAX, PROTOCOL_VERSION};
use protocol::wire::{Hello, Welcome};
use protocol::{AccountId, ClientMessageId, ConversationId, Frame, FrameCodec, Refusal};
use rand::RngExt as _;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::codec::Decoder as _;

use crate::gateway;
use crate::net::{ConnId, Host, Net, Packet, Timer};
use crate::world::Surroundings;

/// What one page may go over the bound of the queue of events by, in entries.
const PAGE_OVER_MAX: usize = 600;

pub(crate) struct Client {
    pub(crate) index: usize,
    pub(crate) account: AccountId,
    me: Host,
    config: ClientConfig,
    journal: Option<MemoryJournal>,
    /// The application writes its marks down now and then.
    persists: bool,
    /// The application takes one event at a time, this far apart.
    pace: Option<Duration>,
    machine: Option<Machine>,
    pub(crate) incarnation: u32,
    state: State,
    codec: FrameCodec,
    /// What is tried now, or was last.
    attempt: (String, Duration),
    up_since: Instant,
    wake_at: Option<Instant>,
    takes: bool,
    sends: Vec<Sent>,
    changes: Vec<oneshot::Receiver<Result<bytes::Bytes, Error>>>,
}

/// A send whose outcome is awaited.
struct Sent {
    at: ConversationId,
    id: ClientMessageId,
    is_repeat: bool,
    begun: Instant,
    timeout: Duration,
    outcome: oneshot::Receiver<Result<Receipt, SendError>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Opening,
    Greeting(ConnId),
    Up(ConnId),
}

impl Client {
    pub(crate) fn new(index: usize, gateways: usize, net: &mut Net) -> Self {
        // Some know one gateway only, and learn of the others.
        let known = if net.chance(300) { 1 } else { gateways };
        let addresses = (0..known).map(gateway::address);
        let mut config = ClientConfig::new(addresses, Vec::new(), Credential::Token("t".into()));
        config.send_timeout = net.micros(2_000_000, 25_000_000);
        config.in_flight_max = [1, 4, 64][net.pick(3)];
        config.events_max = [2, 9, 1024][net.pick(3)];
        if net.chance(200) {
            config.start_from = StartFrom::Beginning;
        }
        let slow = net.chance(300);
        Self {
            index,
            account: AccountId(index as u64 + 1),
            me: Host::Client(index),
            config,
            journal: net.chance(500).then(MemoryJournal::default),
            persists: net.chance(500),
            pace: slow.then(|| net.micros(5_000, 120_000)),
            machine: None,
            incarnation: 0,
            state: State::Waiting,
            codec: FrameCodec::new(FRAME_BYTES_MAX),
            attempt: (String::new(), Duration::ZERO),
            up_since: net.now,
            wake_at: None,
            takes: false,
            sends: Vec::new(),
            changes: Vec::new(),
        }
    }

    pub(crate) fn start(&mut self, net: &mut Net) {
        self.incarnation += 1;
        let journal = self.journal.clone().unwrap_or_default();
        let seed = net.rng.random();
        let machine = Machine::new(&self.config, Box::new(journal), seed, net.now);
        self.machine = Some(machine);
        self.state = State::Waiting;
        self.wake_at = None;
        self.takes = false;
        net.timer(self.me, Duration::ZERO, Timer::Dial(self.me));
    }

    /// Nothing is left but the journal, if it has one, and what the server knows.
    pub(crate) fn crash(&mut self) {
        self.machine = None;
        self.sends.clear();
        self.changes.clear();
    }

    pub(crate) fn is_running(&self) -> bool {
        self.machine.is_some()
    }

    pub(crate) fn unsettled(&self) -> usize {
        self.sends.len()
    }

    pub(crate) fn send(
        &mut self,
        near: &mut Surroundings<'_>,
        mut outgoing: Outgoing,
        (id, is_repeat): (ClientMessageId, bool),
    ) {
        let Some(machine) = &mut self.machine else {
            return;
        };
        let timeout = near.net.micros(1_000_000, 20_000_000);
        outgoing.timeout = Some(timeout);
        let at = outgoing.conversation;
        if is_repeat {
            near.checker.repeated((at, self.account, id));
        }
        let outcome = machine.send(outgoing, id, near.net.now);
        self.sends.push(Sent {
            at,
            id,
            is_repeat,
            begun: near.net.now,
            timeout,
            outcome,
        });
        self.settle(near);
    }

    pub(crate) fn request(&mut self, near: &mut Surroundings<'_>, kind: u16, body: bytes::Bytes) {
        let deadline = near.net.now + self.config.request_timeout;
        if let Some(machine) = &mut self.machine {
            self.changes.extend(machine.request(kind, body, deadline));
        }
        self.settle(near);
    }

    pub(crate) fn timer(&mut self, near: &mut Surroundings<'_>, timer: Timer) {
        match timer {
            Timer::Dial(_) if self.state == State::Waiting => {
                let Some(machine) = &mut self.machine else {
                    return;
                };
                self.attempt = machine.attempt(&mut near.net.rng);
                self.state = State::Opening;
                near.net.connect(self.me, gateway::at(&self.attempt.0));
            }
            Timer::Session(conn) if self.state == State::Greeting(conn) => {
                near.net.close(conn, self.me);
                self.wait(near.net, Duration::ZERO);
            }
            Timer::Engine if self.wake_at.is_some_and(|at| at <= near.net.now) => {
                self.wake_at = None;
            }
            Timer::Take => {
                self.takes = false;
                let event = self.machine.as_mut().and_then(Machine::take);
                self.taken(near, event);
            }
            Timer::Dial(_) | Timer::Session(_) | Timer::Engine => return,
            other => panic!("{other:?} at a client"),
        }
        self.settle(near);
    }

    pub(crate) fn opened(&mut self, near: &mut Surroundings<'_>, conn: ConnId) {
        if self.state != State::Opening {
            return near.net.close(conn, self.me);
        }
        self.state = State::Greeting(conn);
        self.codec = FrameCodec::new(FRAME_BYTES_MAX);
        let hello = Hello {
            min_version: PROTOCOL_VERSION,
            max_version: PROTOCOL_VERSION,
            token: self.account.0.to_string(),
            ..Hello::default()
        };
        let hello = Frame {
            correlation: 1,
            ..Frame::notice(kind::HELLO, &hello)
        };
        near.net
            .send(conn, self.me, Packet::Frame(hello.to_bytes()));
        near.net
            .timer(self.me, self.attempt.1, Timer::Session(conn));
    }

    pub(crate) fn failed(&mut self, net: &mut Net) {
        if self.state == State::Opening {
            self.wait(net, Duration::ZERO);
        }
    }

    pub(crate) fn closed(&mut self, near: &mut Surroundings<'_>, conn: ConnId) {
        if self.state == State::Up(conn) {
            if let Some(machine) = &mut self.machine {
                // The last frame may have said that it is for good.
                if let Fate::End(reason) = machine.tick(near.net.now) {
                    let index = self.index;
                    near.checker
                        .violation(format!("client {index} was ended: {reason:?}"));
                }
            }
            self.lost(near.net, "closed");
        } else if self.state == State::Greeting(conn) {
            self.wait(near.net, Duration::ZERO);
        }
        self.settle(near);
    }

    /// The attempt has failed.
    fn wait(&mut self, net: &mut Net, at_least: Duration) {
        self.state = State::Waiting;
        if let Some(machine) = &mut self.machine {
            let pause = machine.attempt_failed(&mut net.rng).max(at_least);
            net.timer(self.me, pause, Timer::Dial(self.me));
        }
    }

    fn lost(&mut self, net: &mut Net, reason: &str) {
        self.state = State::Waiting;
        let held = net.now.duration_since(self.up_since);
        if let Some(machine) = &mut self.machine {
            let pause = machine.lost(reason, held, &mut net.rng);
            net.timer(self.me, pause, Timer::Dial(self.me));
        }
    }

    pub(crate) fn arrived(&mut self, near: &mut Surroundings<'_>, conn: ConnId, bytes: &[u8]) {
        let mut bytes = BytesMut::from(bytes);
        while let Some(frame) = self.codec.decode(&mut bytes).unwrap() {
            self.frame(near, conn, frame);
        }
        self.settle(near);
    }

    fn frame(&mut self, near: &mut Surroundings<'_>, conn: ConnId, frame: Frame) {
        let Some(machine) = &mut self.machine else {
            return;
        };
        near.net.note((self.index, frame.kind, frame.correlation));
        if self.state == State::Greeting(conn) {
            if frame.kind == kind::WELCOME {
                let welcome = Welcome::decode(frame.body).unwrap();
                machine.connected(&self.attempt.0, &welcome, near.net.now);
                self.state = State::Up(conn);
                self.up_since = near.net.now;
            } else {
                let refusal = Refusal::decode(&frame.body);
                if frame.kind == kind::ERROR && Machine::is_final(&refusal) {
                    near.checker.violation(format!("a hello: {refusal}"));
                }
                near.net.close(conn, self.me);
                let wait = Duration::from_millis(refusal.retry_after_ms.into());
                self.wait(near.net, wait);
            }
        } else if self.state == State::Up(conn) {
            if frame.kind == kind::PUSH {
                let to = (self.account, conn);
                near.checker.pushed(near.log, to, frame.body.clone());
            }
            near.checker.counts.heads += u64::from(frame.kind == kind::HEAD);
            near.checker.counts.lists += u64::from(frame.kind == kind::GATEWAYS);
            machine.frame(frame, near.net.now);
        }
    }

    /// After whatever happened: what is due, what can be written, what the application learns.
    pub(crate) fn settle(&mut self, near: &mut Surroundings<'_>) {
        let Some(machine) = &mut self.machine else {
            return;
        };
        let now = near.net.now;
        match machine.tick(now) {
            Fate::Stay => {}
            Fate::Reconnect(reason) => {
                if let State::Up(conn) = self.state {
                    near.net.close(conn, self.me);
                    self.lost(near.net, &reason);
                }
            }
            Fate::End(reason) => {
                let index = self.index;
                near.checker
                    .violation(format!("client {index} was ended: {reason:?}"));
                self.lost(near.net, "ended");
            }
        }
        self.take(near);
        let Some(machine) = &mut self.machine else {
            return;
        };
        if let State::Up(conn) = self.state {
            while near.net.has_room(conn, self.me)
                && let Some(frame) = machine.next_frame(now)
            {
                near.net.note((self.index, frame.kind, frame.correlation));
                near.checker.asked(frame.kind, near.net.elapsed());
                near.net
                    .send(conn, self.me, Packet::Frame(frame.to_bytes()));
            }
        }
        let wake = machine.next_wake(now);
        if let Some(at) = wake
            && self.wake_at.is_none_or(|before| at < before)
        {
            self.wake_at = Some(at);
            near.net.timer_at(self.me, at, Timer::Engine);
        }
        self.outcomes(near);
    }

    fn take(&mut self, near: &mut Surroundings<'_>) {
        let Some(machine) = &mut self.machine else {
            return;
        };
        let waiting = machine.waiting();
        if waiting > self.config.events_max + PAGE_OVER_MAX {
            let violation = format!("{waiting} events wait for client {}", self.index);
            near.checker.violation(violation);
        }
        match self.pace.filter(|_| !near.is_quiet) {
            Some(pace) => {
                if waiting > 0 && !std::mem::replace(&mut self.takes, true) {
                    near.net.timer(self.me, pace, Timer::Take);
                }
            }
            None => {
                while let Some(event) = self.machine.as_mut().and_then(Machine::take) {
                    self.taken(near, Some(event));
                }
            }
        }
    }

    fn taken(&mut self, near: &mut Surroundings<'_>, event: Option<Event>) {
        if let Some(Event::Message(message)) = event {
            near.net.note((self.index, message.sequence.0));
            let who = (self.index, self.incarnation, self.account);
            near.checker
                .shown(near.log, who, &message, near.net.unix_ms());
            if self.journal.is_some()
                && self.persists
                && near.net.chance(400)
                && let Some(machine) = &mut self.machine
                && machine.persist_marks(near.net.now)
            {
                near.checker.persisted(self.index, self.incarnation);
            }
        }
    }

    fn outcomes(&mut self, near: &mut Surroundings<'_>) {
        let mut open = Vec::new();
        for mut sent in std::mem::take(&mut self.sends) {
            match sent.outcome.try_recv() {
                Ok(outcome) => {
                    near.net.note((self.index, outcome.is_ok()));
                    let took = near.net.now.duration_since(sent.begun);
                    let key = (sent.at, self.account, sent.id);
                    let times = (took, sent.timeout);
                    near.checker
                        .ended(near.log, key, sent.is_repeat, &outcome, times);
                }
                Err(oneshot::error::TryRecvError::Empty) => open.push(sent),
                Err(oneshot::error::TryRecvError::Closed) => {
                    near.checker.violation("a send was forgotten".to_owned());
                }
            }
        }
        self.sends = open;
        self.changes.retain_mut(|change| change.try_recv().is_err());
    }
}
