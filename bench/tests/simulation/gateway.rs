//! A gateway as a host: the real sessions, outboxes, views, registry and marks. What
//! `connection.rs`, `gateway.rs` and `router_link.rs` of `im-gateway` do in tasks is done here in
//! steps, with the same order between a change of who is where and the word of it to the router. The
//! registry's maps have no order of their own: whatever lists them is sorted here.

mod routes;
mod sessions;
mod sync;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use im_gateway::config::SessionConfig;
use im_gateway::handle::SessionHandle;
use im_gateway::marks::Marks;
use im_gateway::registry::{Question, Registry};
use im_gateway::session::{Introduction, Next, Now, Passed, Session, go_away};
use im_gateway::shared_frame::SharedFrame;
use prost::Message as _;
use protocol::kind::{client, method};
use protocol::wire::internal::{Authenticate, Authenticated, ClientReply, ClientRequest};
use protocol::wire::{Account, Gateways};
use protocol::{Frame, GatewayId, Refusal};

use self::routes::Joint;
use self::sync::{ReadAgain, Refreshing};
use crate::Fault;
use crate::link::{Link, unanswered, unknown};
use crate::net::{ConnId, Host, Net, Packet, Timer};

const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);
const MARKS_INTERVAL: Duration = Duration::from_millis(100);
const SESSIONS_PER_ACCOUNT_MAX: usize = 8;

/// Memberships in one Welcome, so that some clients have to ask for the others.
const WELCOME_MEMBERSHIPS_MAX: usize = 2;

/// Pushes of a thousand that a gateway with such a flaw loses after it has heard of them.
const LOST: u32 = 40;

/// How long sessions have to leave.
pub(crate) const LEAVE_GRACE: Duration = Duration::from_millis(400);

pub(crate) struct Gateway {
    me: Host,
    id: GatewayId,
    rules: SessionConfig,
    /// Of an outbox: frames and bytes.
    room: (usize, usize),
    fault: Fault,
    /// Of a thousand pushes, those that are lost on their way from the outbox to the client.
    loses: u32,
    registry: Registry,
    seats: BTreeMap<ConnId, Seat>,
    last_session: u64,
    marks: Marks,
    marks_wait: bool,
    logic: Link<Then>,
    /// By their numbers.
    routers: Vec<Link<u64>>,
    /// Registrations on their way.
    joint: BTreeMap<u64, Joint>,
    last_joint: u64,
    /// Routers that have not taken something.
    owing: BTreeSet<usize>,
    reading: ReadAgain,
    /// The live gateways.
    listed: Vec<String>,
}

struct Seat {
    session: Session,
    introduction: Option<Introduction>,
    account: Option<Account>,
    handle: Option<Arc<SessionHandle>>,
}

/// What an answer of logic is for.
enum Then {
    Authenticated(ConnId),
    Memberships(Refreshing),
    Checked(Question),
    Passed(ConnId, Passed),
}

impl Gateway {
    pub(crate) fn new(index: usize, routers: usize, net: &mut Net, fault: Fault) -> Self {
        let me = Host::Gateway(index);
        let id = u64::from(net.boot(me)) << 32 | (index as u64 + 1) << 60;
        let small = net.chance(700);
        let rules = SessionConfig {
            hello_timeout_ms: 3_000,
            heartbeat_interval_ms: 1_500,
            heartbeat_interval_min_ms: 1_000,
            requests_in_flight_max: if net.chance(300) { 3 } else { 64 },
            requests_per_second: if net.chance(200) { 15 } else { 1_000 },
            request_timeout_ms: 3_000,
            one_for_each: String::new(),
        };
        Self {
            me,
            id: GatewayId(id),
            rules,
            room: if small { (3, 60_000) } else { (4_096, 1 << 22) },
            fault,
            loses: if net.chance(500) { LOST } else { 0 },
            registry: Registry::default(),
            seats: BTreeMap::new(),
            last_session: id,
            marks: Marks::default(),
            marks_wait: false,
            logic: Link::new(me, Host::Logic),
            routers: (0..routers)
                .map(|router| Link::new(me, Host::Router(router)))
                .collect(),
            joint: BTreeMap::new(),
            last_joint: 0,
            owing: BTreeSet::new(),
            reading: ReadAgain::default(),
            listed: Vec::new(),
        }
    }

    pub(crate) fn start(&self, net: &mut Net) {
        self.logic.dial(net);
        self.routers.iter().for_each(|router| router.dial(net));
    }

    /// These gateways are live now.
    pub(crate) fn list(&mut self, net: &mut Net, addresses: Vec<String>) {
        self.listed.clone_from(&addresses);
        let list = Frame::notice(client::GATEWAYS, &Gateways { addresses });
        self.registry.gateways(&SharedFrame::from(&list));
        self.write(net);
    }

    /// Every session is asked to go elsewhere.
    pub(crate) fn drain(&mut self, net: &mut Net) {
        for seat in self.seats.values() {
            if let Some(handle) = &seat.handle {
                handle.answer(&go_away("the server is going down", LEAVE_GRACE, true));
            }
        }
        self.write(net);
        net.timer(self.me, LEAVE_GRACE, Timer::Drained);
    }

    pub(crate) fn opened(&mut self, net: &mut Net, conn: ConnId) {
        match net.peer(conn, self.me) {
            Some(Host::Client(_)) => {
                let session = Session::new(self.rules.clone(), net.now);
                net.timer_at(self.me, session.gives_up_at(), Timer::Session(conn));
                let seat = Seat {
                    session,
                    introduction: None,
                    account: None,
                    handle: None,
                };
                self.seats.insert(conn, seat);
            }
            Some(Host::Logic) => self.logic.conn = Some(conn),
            Some(Host::Router(router)) => {
                self.routers[router].conn = Some(conn);
                self.router_up(net, router);
            }
            Some(Host::Gateway(_) | Host::Store(_)) | None => {}
        }
        self.write(net);
    }

    pub(crate) fn closed(&mut self, net: &mut Net, conn: ConnId) {
        self.leave(net, conn);
        if self.logic.conn == Some(conn) {
            for then in self.logic.lost(net) {
                self.logic_answer(net, then, Err(unknown()));
            }
        }
        for router in 0..self.routers.len() {
            if self.routers[router].conn == Some(conn) {
                for joint in self.routers[router].lost(net) {
                    self.registered(net, (router, joint), Err(unknown()));
                }
            }
        }
        self.write(net);
    }

    pub(crate) fn timer(&mut self, net: &mut Net, timer: Timer) {
        match timer {
            Timer::Dial(Host::Logic) => self.logic.dial(net),
            Timer::Dial(Host::Router(router)) => self.routers[router].dial(net),
            Timer::Call(Host::Logic, id) => {
                if let Some(then) = self.logic.answered(id) {
                    self.logic_answer(net, then, Err(unanswered()));
                }
            }
            Timer::Call(Host::Router(router), id) => {
                if let Some(joint) = self.routers[router].answered(id) {
                    self.registered(net, (router, joint), Err(unanswered()));
                }
            }
            Timer::Session(conn) => self.patience(net, conn),
            Timer::Marks => {
                self.marks_wait = false;
                self.pass_marks(net);
            }
            Timer::Register => {
                for router in std::mem::take(&mut self.owing) {
                    // While the router is away its return does the same.
                    if self.routers[router].conn.is_some() {
                        self.router_up(net, router);
                    }
                }
            }
            Timer::ReadAgain => self.read_failed_again(net),
            Timer::Drained => {
                let conns: Vec<_> = self.seats.keys().copied().collect();
                for conn in conns {
                    let word = go_away("the server is going down", Duration::ZERO, true);
                    self.last_word(net, conn, &word);
                }
            }
            other => panic!("{other:?} at a gateway"),
        }
        self.write(net);
    }

    pub(crate) fn answer(
        &mut self,
        net: &mut Net,
        (conn, id): (ConnId, u64),
        outcome: Result<Bytes, Refusal>,
    ) {
        let is_its = |router: &Link<u64>| router.conn == Some(conn);
        if self.logic.conn == Some(conn) {
            if let Some(then) = self.logic.answered(id) {
                self.logic_answer(net, then, outcome);
            }
        } else if let Some(router) = self.routers.iter().position(is_its)
            && let Some(joint) = self.routers[router].answered(id)
        {
            self.registered(net, (router, joint), outcome);
        }
        self.write(net);
    }

    pub(crate) fn frame(&mut self, net: &mut Net, conn: ConnId, frame: Frame) {
        let now = now(net);
        let Some(seat) = self.seats.get_mut(&conn) else {
            return;
        };
        let next = seat.session.frame(frame, now);
        self.follow(net, conn, next);
        self.write(net);
    }

    fn follow(&mut self, net: &mut Net, conn: ConnId, next: Next) {
        let Some(seat) = self.seats.get_mut(&conn) else {
            return;
        };
        match next {
            Next::Nothing | Next::Confirmed(_) | Next::Apply(_) => {}
            Next::Answer(frame) => {
                if let Some(handle) = &seat.handle {
                    handle.answer(&frame);
                }
            }
            Next::Pong(correlation, pong) => {
                let Some(handle) = &seat.handle else { return };
                if self.fault == Fault::MutePong {
                    let pong = Frame::notice(client::PONG, &pong);
                    handle.answer(&Frame {
                        correlation,
                        ..pong
                    });
                } else {
                    handle.pong(correlation, pong);
                }
            }
            Next::Authenticate(introduction) => {
                let token = introduction.token.clone();
                seat.introduction = Some(introduction);
                let credential = Authenticate {
                    token,
                    ..Authenticate::default()
                };
                let then = Then::Authenticated(conn);
                self.ask_logic(net, method::AUTHENTICATE, &credential, then);
            }
            Next::Pass(passed) => {
                let Some(handle) = &seat.handle else { return };
                let request = ClientRequest {
                    account_id: handle.account.0,
                    session_id: handle.session.0,
                    kind: passed.kind.into(),
                    body: passed.body.clone(),
                };
                let (timeout, body) = (passed.timeout, request.encode_to_vec().into());
                let then = Then::Passed(conn, passed);
                let asked = self
                    .logic
                    .call(net, method::CLIENT_REQUEST, body, timeout, then);
                if let Err((then, refusal)) = asked {
                    self.logic_answer(net, then, Err(refusal));
                }
            }
            Next::Marks(marks) => {
                let Some(handle) = &seat.handle else { return };
                for mark in &marks.marks {
                    let of = marks.history_generation;
                    assert!(self.marks.raise(handle.account, mark, of), "marks pile up");
                }
                self.marks_later(net);
            }
            Next::Close(word) => self.last_word(net, conn, &word),
        }
    }

    fn ask_logic(&mut self, net: &mut Net, method: u16, asked: &impl prost::Message, then: Then) {
        let body = asked.encode_to_vec().into();
        let asked = self.logic.call(net, method, body, QUESTION_TIMEOUT, then);
        if let Err((then, refusal)) = asked {
            self.logic_answer(net, then, Err(refusal));
        }
    }

    fn logic_answer(&mut self, net: &mut Net, then: Then, outcome: Result<Bytes, Refusal>) {
        match then {
            Then::Authenticated(conn) => match outcome {
                Ok(body) => {
                    let account = Authenticated::decode(body).unwrap().account.unwrap();
                    self.arrive(net, conn, account);
                }
                Err(refusal) => self.refuse(net, conn, &refusal),
            },
            Then::Memberships(refreshing) => self.memberships(net, refreshing, outcome),
            Then::Checked(question) => self.checked(net, question, outcome),
            Then::Passed(conn, passed) => {
                let outcome = outcome.map(|body| ClientReply::decode(body).unwrap().body);
                if let Some(seat) = self.seats.get_mut(&conn) {
                    let next = seat.session.answer(&passed, outcome);
                    self.follow(net, conn, next);
                }
            }
        }
    }

    fn marks_later(&mut self, net: &mut Net) {
        if !std::mem::replace(&mut self.marks_wait, true) {
            net.timer(self.me, MARKS_INTERVAL, Timer::Marks);
        }
    }

    fn pass_marks(&mut self, net: &mut Net) {
        while let Some(marks) = self.marks.take() {
            if !self.logic.notify(net, method::PASS_MARKS, &marks) {
                assert_eq!(self.marks.put_back(marks), 0);
                return self.marks_later(net);
            }
        }
    }

    /// Writes what waits, as far as there is room.
    pub(crate) fn write(&mut self, net: &mut Net) {
        let now_ms = net.unix_ms();
        for (conn, seat) in &self.seats {
            let Some(handle) = &seat.handle else { continue };
            let mut buffer = BytesMut::new();
            while net.has_room(*conn, self.me) && handle.take_into(&mut buffer, 1, now_ms) {
                let frame = buffer.split().freeze();
                if net.chance(self.loses) && crate::decode(frame.clone()).kind == client::PUSH {
                    continue;
                }
                net.send(*conn, self.me, Packet::Frame(frame));
            }
        }
    }
}

/// How clients reach the gateway of this number.
pub(crate) fn address(gateway: usize) -> String {
    format!("gateway-{gateway}:1")
}

/// Which one that is.
pub(crate) fn at(address: &str) -> Host {
    let number = address
        .trim_start_matches("gateway-")
        .trim_end_matches(":1");
    Host::Gateway(number.parse().unwrap())
}

fn now(net: &Net) -> Now {
    Now {
        at: net.now,
        unix_ms: net.unix_ms(),
    }
}
