//! The session by example: every state with the frames that it takes and those that it does not.

mod heartbeat;
mod often;

use prost::Message;

use super::*;
use protocol::limits::MARKS_PER_FRAME_MAX;
use protocol::wire::{Hello, Mark, Marks, Priority, Send, SendAck};

fn rules() -> SessionConfig {
    SessionConfig {
        hello_timeout_ms: 10_000,
        heartbeat_interval_ms: 15_000,
        heartbeat_interval_min_ms: 1_000,
        requests_in_flight_max: 2,
        requests_per_second: 4,
        request_timeout_ms: 10_000,
        one_for_each: String::new(),
    }
}

fn now() -> Now {
    Now {
        at: Instant::now(),
        unix_ms: 77,
    }
}

fn new(now: Now) -> Session {
    Session::new(rules(), now.at)
}

fn after(now: Now, ms: u64) -> Now {
    Now {
        at: now.at + Duration::from_millis(ms),
        ..now
    }
}

fn frame(kind: u16, correlation: u32, message: &impl Message) -> Frame {
    answer(kind, correlation, message)
}

fn hello() -> Hello {
    Hello {
        min_version: 1,
        max_version: 3,
        features: vec![Feature::Zstd as i32, 99],
        client_name: "客户端/1".into(),
        token: "t".into(),
        history_generation: 3,
        heartbeat_interval_ms: 0,
        latched_stop_ids: Vec::new(),
    }
}

fn established(now: Now) -> Session {
    let mut session = new(now);
    let Next::Authenticate(introduction) = session.frame(frame(client::HELLO, 5, &hello()), now)
    else {
        panic!("the hello is good");
    };
    let account = Account::default();
    let page = MembershipsPage::default();
    session.welcome(
        SessionId(9),
        &introduction,
        account,
        page,
        Default::default(),
        now,
    );
    session
}

fn send(correlation: u32, priority: Priority) -> Frame {
    let send = Send {
        priority: priority.into(),
        ..Send::default()
    };
    frame(client::SEND, correlation, &send)
}

fn code(next: &Next) -> (ErrorCode, u32, bool) {
    let (frame, closes) = match next {
        Next::Answer(frame) => (frame, false),
        Next::Close(frame) => (frame, true),
        Next::Nothing
        | Next::Pong(..)
        | Next::Authenticate(_)
        | Next::Apply(_)
        | Next::Pass(_)
        | Next::Marks(_)
        | Next::Confirmed(_) => {
            panic!("not an answer: {next:?}")
        }
    };
    assert_eq!(frame.kind, client::ERROR);
    (Refusal::decode(&frame.body).code, frame.correlation, closes)
}

#[test]
fn a_hello_is_negotiated_and_welcomed() {
    let now = now();
    let mut session = new(now);
    let next = session.frame(frame(client::HELLO, 5, &hello()), now);
    let introduction = Introduction {
        version: 1,
        zstd: true,
        client_name: "客户端/1".into(),
        token: "t".into(),
        history_generation: 3,
        heartbeat_interval_ms: 15_000,
        latched: Default::default(),
    };
    assert_eq!(next, Next::Authenticate(introduction.clone()));
    let account = Account {
        account_id: 4,
        ..Account::default()
    };
    let list = vec!["gate-1:7443".to_owned()];
    let page = MembershipsPage {
        history_generation: 8,
        ..MembershipsPage::default()
    };
    let welcome = session.welcome(
        SessionId(9),
        &introduction,
        account,
        page,
        (list, Vec::new()),
        now,
    );
    assert_eq!((welcome.kind, welcome.correlation), (client::WELCOME, 5));
    let welcome: Welcome = decode_body(welcome.body).unwrap();
    assert_eq!((welcome.version, welcome.session_id), (1, 9));
    assert_eq!(welcome.features, [Feature::Zstd as i32]);
    assert_eq!(welcome.account.unwrap().account_id, 4);
    assert_eq!(
        (welcome.server_time_ms, welcome.history_generation),
        (77, 8)
    );
    assert_eq!(welcome.gateways, ["gate-1:7443"]);
    assert_eq!(welcome.limits.unwrap().requests_in_flight_max, 2);
}

#[test]
fn before_the_hello_nothing_else_is_taken() {
    let now = now();
    let older = Hello {
        min_version: 0,
        max_version: 0,
        ..hello()
    };
    let newer = Hello {
        min_version: 2,
        max_version: 9,
        ..hello()
    };
    let broken = Frame {
        body: Bytes::from_static(b"\xff\xff"),
        ..frame(client::HELLO, 3, &Hello::default())
    };
    let table = [
        (send(3, Priority::Chat), ErrorCode::WrongState),
        (
            frame(client::PING, 3, &Ping::default()),
            ErrorCode::WrongState,
        ),
        (frame(client::HELLO, 0, &hello()), ErrorCode::WrongState),
        (
            frame(client::HELLO, 3, &older),
            ErrorCode::UnsupportedVersion,
        ),
        (
            frame(client::HELLO, 3, &newer),
            ErrorCode::UnsupportedVersion,
        ),
        (broken, ErrorCode::BadFrame),
    ];
    for (frame, expected) in table {
        let mut session = new(now);
        let correlation = frame.correlation;
        let next = session.frame(frame, now);
        assert_eq!(code(&next), (expected, correlation, true));
        let ping = self::frame(client::PING, 1, &Ping::default());
        assert_eq!(session.frame(ping, now), Next::Nothing, "it is closed");
    }
}

#[test]
fn a_refused_account_is_the_last_word() {
    let now = now();
    let mut session = new(now);
    session.frame(frame(client::HELLO, 5, &hello()), now);
    let refusal = Refusal::new(ErrorCode::TokenExpired, "过期");
    let last = session.refuse(&refusal);
    assert_eq!(code(&Next::Close(last)).0, ErrorCode::TokenExpired);
}

#[test]
fn a_session_answers_pings_and_passes_requests() {
    let now = now();
    let mut session = established(now);
    let ping = Ping { sent_at_ms: 42 };
    let pong = Pong {
        ping_sent_at_ms: 42,
        answered_at_ms: 77,
        heads: vec![],
    };
    let next = session.frame(frame(client::PING, 8, &ping), now);
    assert_eq!(next, Next::Pong(8, pong));

    let mut request = send(9, Priority::Chat);
    request.deadline_ms = 3_000;
    let Next::Pass(passed) = session.frame(request, now) else {
        panic!("a request is passed");
    };
    assert_eq!((passed.kind, passed.correlation), (client::SEND, 9));
    assert_eq!(passed.timeout, Duration::from_secs(3));
    let ack = SendAck {
        sequence: 7,
        ..SendAck::default()
    };
    let ack: Bytes = ack.encode_to_vec().into();
    let next = session.answer(&passed, Ok(ack.clone()));
    let expected = Frame {
        kind: client::SEND_ACK,
        correlation: 9,
        deadline_ms: 0,
        body: ack,
    };
    assert_eq!(next, Next::Answer(expected));
}

#[test]
fn a_request_waits_no_longer_than_the_server_allows() {
    let now = now();
    for asked in [0, 10_000, u32::MAX] {
        let mut request = send(1, Priority::Chat);
        request.deadline_ms = asked;
        let Next::Pass(passed) = established(now).frame(request, now) else {
            panic!("a request is passed");
        };
        assert_eq!(passed.timeout, Duration::from_secs(10));
    }
}

#[test]
fn requests_in_flight_are_bounded_and_given_back() {
    let now = now();
    let mut session = established(now);
    let Next::Pass(first) = session.frame(send(1, Priority::Chat), now) else {
        panic!("the first");
    };
    assert!(matches!(
        session.frame(send(2, Priority::Chat), now),
        Next::Pass(_)
    ));
    let next = session.frame(send(3, Priority::Chat), now);
    assert_eq!(code(&next), (ErrorCode::RateLimited, 3, false));
    let next = session.answer(&first, Err(Refusal::unavailable("away")));
    assert_eq!(code(&next), (ErrorCode::Unavailable, 1, false));
    assert!(matches!(
        session.frame(send(4, Priority::Chat), now),
        Next::Pass(_)
    ));
    assert_eq!(session.in_flight.requests(), 2);
}

#[test]
fn faults_of_a_session_are_told_and_only_broken_ones_end_it() {
    let now = now();
    let unknown = Frame {
        kind: 999,
        ..send(4, Priority::Chat)
    };
    let too_many = Marks {
        marks: vec![Mark::default(); MARKS_PER_FRAME_MAX + 1],
        history_generation: 0,
    };
    let no_conversation = Marks {
        marks: vec![Mark::default()],
        history_generation: 0,
    };
    let broken_marks = Frame {
        body: Bytes::from_static(b"\xff"),
        ..frame(client::MARKS, 0, &Marks::default())
    };
    let second_hello = frame(client::HELLO, 4, &hello());
    let table = [
        (unknown, ErrorCode::UnknownKind, 4, false),
        (send(0, Priority::Chat), ErrorCode::BadFrame, 0, true),
        (
            frame(client::MARKS, 0, &too_many),
            ErrorCode::BadFrame,
            0,
            true,
        ),
        (
            frame(client::MARKS, 0, &no_conversation),
            ErrorCode::BadFrame,
            0,
            true,
        ),
        (broken_marks, ErrorCode::BadFrame, 0, true),
        (second_hello, ErrorCode::WrongState, 4, true),
    ];
    for (frame, expected, correlation, closes) in table {
        let next = established(now).frame(frame, now);
        assert_eq!(code(&next), (expected, correlation, closes));
    }
    let mut session = established(now);
    let Next::Pass(passed) = session.frame(send(4, Priority::Chat), now) else {
        panic!("a request is passed");
    };
    let refusal = Refusal::new(ErrorCode::BadFrame, "the body does not parse");
    let next = session.answer(&passed, Err(refusal));
    assert_eq!(code(&next), (ErrorCode::BadFrame, 4, true));
}

#[test]
fn silence_ends_a_connection_and_any_frame_is_a_sign_of_life() {
    let now = now();
    let mut session = new(now);
    assert_eq!(session.gives_up_at(), now.at + Duration::from_secs(10));
    assert_eq!(
        code(&Next::Close(session.give_up())).0,
        ErrorCode::WrongState
    );

    let mut session = established(now);
    assert_eq!(
        session.gives_up_at(),
        now.at + Duration::from_millis(37_500)
    );
    let later = after(now, 30_000);
    session.frame(frame(client::PONG, 0, &Pong::default()), later);
    assert_eq!(
        session.gives_up_at(),
        later.at + Duration::from_millis(37_500)
    );
    assert_eq!(
        code(&Next::Close(session.give_up())).0,
        ErrorCode::Unavailable
    );
}

#[test]
fn a_client_that_is_not_read_from_is_not_silent() {
    let start = now();
    let mut session = established(start);
    let later = after(start, 30_000);
    session.excuse(later.at);
    assert_eq!(
        session.gives_up_at(),
        after(later, 15_000 * 5 / 2).at,
        "from now on"
    );
}

#[test]
fn a_kind_that_is_not_known_and_asks_nothing_is_ignored() {
    let now = now();
    let mut session = established(now);
    let next = session.frame(frame(999, 0, &Ping::default()), now);
    assert_eq!(next, Next::Nothing);
}

#[test]
fn pages_in_flight_are_fewer_than_requests() {
    let now = now();
    let mut session = established(now);
    session.rules.requests_in_flight_max = 256;
    session.bucket = Bucket::new(256, now.at);
    let pull = |correlation: usize| {
        let correlation = u32::try_from(correlation).unwrap();
        frame(client::PULL, correlation, &wire::Pull::default())
    };
    let mut first = None;
    for n in 1..=PAGES_IN_FLIGHT_MAX {
        let Next::Pass(passed) = session.frame(pull(n), now) else {
            panic!("page {n} is not passed on");
        };
        first.get_or_insert(passed);
    }
    let refused = session.frame(pull(99), now);
    assert_eq!(code(&refused), (ErrorCode::RateLimited, 99, false));
    let sent = session.frame(send(100, Priority::Chat), now);
    assert!(matches!(sent, Next::Pass(_)), "{sent:?}");
    session.answer(&first.unwrap(), Ok(Bytes::new()));
    assert!(matches!(session.frame(pull(101), now), Next::Pass(_)));
}
