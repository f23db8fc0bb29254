//! Virtual time and the network: an event queue keyed by (time, number), connections that keep
//! their order, stall and break, and the one source of randomness.
//!
//! Not here: what hosts do with what arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use protocol::Refusal;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use crate::live::Live;

/// What the virtual clock reads at the start, in Unix milliseconds.
const EPOCH_MS: u64 = 1_800_000_000_000;

/// Packets on their way on one connection in one direction: the sockets' buffers.
const WINDOW: usize = 4;

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Host {
    Client(usize),
    Gateway(usize),
    Logic,
    Router(usize),
    Store(usize),
}

/// One connection; a later one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnId(pub(crate) u64);

/// What travels.
#[derive(Debug, Clone)]
pub(crate) enum Packet {
    /// One frame between a client and a gateway, as it travels.
    Frame(Bytes),
    /// A request between tiers.
    Call {
        id: u64,
        method: u16,
        body: Bytes,
        deadline: Instant,
    },
    /// Its answer.
    Answer {
        id: u64,
        outcome: Result<Bytes, Refusal>,
    },
    /// What needs no answer.
    Notice { method: u16, body: Bytes },
    /// The other end has closed, after all that it sent.
    End,
}

/// What a host is woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Timer {
    /// A link is dialled again, or a client's connection made.
    Dial(Host),
    /// A call was not answered.
    Call(Host, u64),
    /// A client's engine, or its dialling.
    Engine,
    /// The application takes events.
    Take,
    /// A session's patience.
    Session(ConnId),
    /// Marks are passed on, or written.
    Marks,
    /// What failed is tried again: registrations.
    Register,
    /// The same: memberships.
    ReadAgain,
    /// A commit ends.
    Commit,
    /// An answer that took a moment to read.
    Read(u64),
    /// The heads are read, for the router of this number.
    Heads(usize),
    /// All heads are told again.
    Settled,
    /// Sessions that are told to leave are closed.
    Drained,
}

/// What happens.
#[derive(Debug)]
pub(crate) enum Event {
    Arrived {
        conn: ConnId,
        to: Host,
        packet: Packet,
    },
    /// The connection is made; `to` is one end.
    Opened {
        conn: ConnId,
        to: Host,
    },
    /// No connection was made.
    Failed {
        to: Host,
        target: Host,
        boot: u32,
    },
    /// The end learns that the connection is dead.
    Closed {
        conn: ConnId,
        to: Host,
    },
    Timer {
        host: Host,
        boot: u32,
        timer: Timer,
    },
    /// Something of the outside: a fault, its end, a word of an application.
    Outside(Outside),
}

/// What the applications, the operators and bad luck do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outside {
    Fault,
    Start(Host),
    Act(usize),
    Reachable(usize),
    Crash(Host),
    /// Who lives is looked at.
    Census,
    /// A host learns who lives.
    Learn(Host),
}

#[derive(Debug)]
struct Conn {
    /// Who dialled, and whom.
    ends: [Host; 2],
    /// The boot of who dialled.
    dialled_in: u32,
    alive: bool,
    /// Of what goes to each end.
    last_arrival: [Instant; 2],
    in_flight: [usize; 2],
    stalled_until: [Instant; 2],
    latency: Duration,
}

/// The clock, the queue and the connections.
pub(crate) struct Net {
    pub(crate) now: Instant,
    start: Instant,
    pub(crate) rng: StdRng,
    queue: BTreeMap<(Instant, u64), Event>,
    last_number: u64,
    conns: BTreeMap<ConnId, Conn>,
    last_conn: u64,
    up: BTreeSet<Host>,
    boots: BTreeMap<Host, u32>,
    /// Clients that cannot reach anybody.
    pub(crate) cut_off: BTreeSet<usize>,
    pub(crate) live: Live,
    trace: DefaultHasher,
    pub(crate) events: u64,
}

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self {
            now,
            start: now,
            rng: StdRng::seed_from_u64(seed),
            queue: BTreeMap::new(),
            last_number: 0,
            conns: BTreeMap::new(),
            last_conn: 0,
            up: BTreeSet::new(),
            boots: BTreeMap::new(),
            cut_off: BTreeSet::new(),
            live: Live::default(),
            trace: DefaultHasher::new(),
            events: 0,
        }
    }

    pub(crate) fn unix_ms(&self) -> u64 {
        EPOCH_MS + u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// A moment between these, in microseconds.
    pub(crate) fn micros(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(self.rng.random_range(from..to))
    }

    pub(crate) fn chance(&mut self, of_a_thousand: u32) -> bool {
        self.rng.random_range(0..1000) < of_a_thousand
    }

    /// One of so many.
    pub(crate) fn pick(&mut self, of: usize) -> usize {
        self.rng.random_range(0..of)
    }

    /// What tells one run from another.
    pub(crate) fn note(&mut self, what: impl Hash) {
        (self.elapsed(), what).hash(&mut self.trace);
    }

    pub(crate) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// The next event, at whose time it now is.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let ((at, number), event) = self.queue.pop_first()?;
        self.now = at;
        self.events += 1;
        self.note(number);
        Some(event)
    }

    pub(crate) fn next_at(&self) -> Option<Duration> {
        let ((at, _), _) = self.queue.first_key_value()?;
        Some(*at - self.start)
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.last_number += 1;
        self.queue
            .insert((at.max(self.now), self.last_number), event);
    }

    pub(crate) fn outside(&mut self, wait: Duration, what: Outside) {
        self.at(self.now + wait, Event::Outside(what));
    }

    pub(crate) fn timer(&mut self, host: Host, wait: Duration, timer: Timer) {
        self.timer_at(host, self.now + wait, timer);
    }

    pub(crate) fn timer_at(&mut self, host: Host, at: Instant, timer: Timer) {
        let boot = self.boot(host);
        self.at(at, Event::Timer { host, boot, timer });
    }

    pub(crate) fn boot(&self, host: Host) -> u32 {
        self.boots.get(&host).copied().unwrap_or(0)
    }

    pub(crate) fn is_up(&self, host: Host) -> bool {
        self.up.contains(&host)
    }

    pub(crate) fn started(&mut self, host: Host) {
        self.up.insert(host);
        *self.boots.entry(host).or_default() += 1;
    }

    /// The process is gone, and its connections with it.
    pub(crate) fn crashed(&mut self, host: Host) {
        self.up.remove(&host);
        *self.boots.entry(host).or_default() += 1;
        let its: Vec<_> = self.conns_of(|conn| conn.ends.contains(&host));
        for conn in its {
            self.break_off(conn, 20_000);
        }
    }

    pub(crate) fn connect(&mut self, from: Host, target: Host) {
        let wait = self.micros(300, 3_000);
        let is_cut_off = matches!(from, Host::Client(client) if self.cut_off.contains(&client));
        if !self.is_up(target) || is_cut_off {
            let boot = self.boot(from);
            let to = from;
            return self.at(self.now + wait, Event::Failed { to, target, boot });
        }
        self.last_conn += 1;
        let id = ConnId(self.last_conn);
        let conn = Conn {
            ends: [from, target],
            dialled_in: self.boot(from),
            alive: true,
            last_arrival: [self.now + wait * 2, self.now + wait],
            in_flight: [0; 2],
            stalled_until: [self.now; 2],
            latency: self.micros(100, 8_000),
        };
        self.conns.insert(id, conn);
        let opened = |to| Event::Opened { conn: id, to };
        self.at(self.now + wait, opened(target));
        self.at(self.now + wait * 2, opened(from));
    }

    /// The other end, while the connection lives.
    pub(crate) fn peer(&self, conn: ConnId, me: Host) -> Option<Host> {
        let conn = self.conns.get(&conn)?;
        conn.ends.iter().copied().find(|end| *end != me)
    }

    /// Whom this end has dialled, if it was this end and it has not been started anew since.
    pub(crate) fn dialled(&self, conn: ConnId, from: Host) -> Option<Host> {
        let conn = self.conns.get(&conn)?;
        let [dialler, target] = conn.ends;
        (dialler == from && conn.dialled_in == self.boot(from)).then_some(target)
    }

    /// Into a dead connection nothing is said, and nobody notices.
    pub(crate) fn send(&mut self, id: ConnId, from: Host, packet: Packet) {
        let jitter = self.rng.random_range(0.5..2.0);
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.alive) else {
            return;
        };
        let way = usize::from(conn.ends[0] == from);
        let latency = conn.latency.mul_f64(jitter);
        let start = self.now.max(conn.stalled_until[way]);
        let at = (start + latency).max(conn.last_arrival[way]);
        conn.last_arrival[way] = at;
        conn.in_flight[way] += 1;
        let to = conn.ends[way];
        let conn = id;
        self.at(at, Event::Arrived { conn, to, packet });
    }

    /// Whether this end may write more.
    pub(crate) fn has_room(&self, id: ConnId, from: Host) -> bool {
        self.conns.get(&id).is_some_and(|conn| {
            let way = usize::from(conn.ends[0] == from);
            conn.in_flight[way] < WINDOW
        })
    }

    /// A packet has arrived. `false`: it was lost with its connection.
    pub(crate) fn arrived(&mut self, id: ConnId, to: Host) -> bool {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.alive) else {
            return false;
        };
        conn.in_flight[usize::from(conn.ends[1] == to)] -= 1;
        true
    }

    pub(crate) fn is_alive(&self, id: ConnId) -> bool {
        self.conns.get(&id).is_some_and(|conn| conn.alive)
    }

    /// This end closes it. What it sent still arrives, and then its end.
    pub(crate) fn close(&mut self, id: ConnId, by: Host) {
        self.send(id, by, Packet::End);
    }

    /// The end has arrived: nothing more goes either way.
    pub(crate) fn ended(&mut self, id: ConnId) {
        self.conns.remove(&id);
    }

    /// It dies at once, with all that is on its way; each end learns it in its own time, some only
    /// by silence.
    pub(crate) fn break_off(&mut self, id: ConnId, notice_micros_max: u64) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.alive = false;
        for to in conn.ends {
            let wait = self.micros(10, notice_micros_max);
            self.at(self.now + wait, Event::Closed { conn: id, to });
        }
    }

    pub(crate) fn stall(&mut self, id: ConnId, way: usize, stall: Duration) {
        if let Some(conn) = self.conns.get_mut(&id) {
            let until = self.now + stall;
            conn.stalled_until[way] = until;
            conn.last_arrival[way] = conn.last_arrival[way].max(until);
        }
    }

    pub(crate) fn live_conns(&self) -> Vec<ConnId> {
        self.conns_of(|conn| conn.alive)
    }

    pub(crate) fn conn_between(&self, a: Host, b: Host) -> Option<ConnId> {
        let its = self.conns_of(|conn| conn.alive && conn.ends == [a, b]);
        its.last().copied()
    }

    fn conns_of(&self, which: impl Fn(&Conn) -> bool) -> Vec<ConnId> {
        let its = self.conns.iter().filter(|(_, conn)| which(conn));
        its.map(|(id, _)| *id).collect()
    }
}
