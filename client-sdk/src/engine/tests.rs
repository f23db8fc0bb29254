//! Answers and their questions, turns, and when the engine wants to be woken.

mod parting;

use prost::Message as _;
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;
use crate::config::Credential;
use crate::error::SendError;
use crate::message::Receipt;
use crate::outbox::Letter;
use crate::shared::SendReply;

type Outcome = oneshot::Receiver<Result<Receipt, SendError>>;

fn welcome(requests_in_flight_max: u32) -> wire::Welcome {
    wire::Welcome {
        session_id: 1,
        heartbeat_interval_ms: 5000,
        account: Some(wire::Account {
            account_id: 7,
            ..Default::default()
        }),
        limits: Some(wire::Limits {
            requests_in_flight_max,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn engine(now: Instant) -> Engine {
    let config = ClientConfig::new(["localhost:1"], Vec::new(), Credential::Token("t".into()));
    let shared = Arc::new(Shared::new(&config));
    Engine::new(&config, shared, None, 1, now)
}

fn send(engine: &mut Engine, conversation: u64, n: u64, now: Instant) -> Outcome {
    let (sender, outcome) = oneshot::channel();
    let letter = Letter {
        conversation: ConversationId::group(conversation),
        id: ClientMessageId::new(n, [1; 10]),
        body: n.to_be_bytes().to_vec().into(),
        priority: wire::Priority::Chat,
        deadline: now + Duration::from_secs(30),
    };
    let reply = SendReply {
        outcome: Some(sender),
        room: None,
    };
    engine.send(letter, reply);
    outcome
}

/// The next frame that is no sign of life.
fn next_asked(engine: &mut Engine, now: Instant) -> Option<Frame> {
    std::iter::from_fn(|| engine.next_frame(now)).find(|frame| frame.kind != kind::PING)
}

fn ack(correlation: u32, sequence: u64) -> Frame {
    let ack = wire::SendAck {
        sequence,
        ..Default::default()
    };
    Frame {
        kind: kind::SEND_ACK,
        correlation,
        deadline_ms: 0,
        body: ack.encode_to_vec().into(),
    }
}

fn refusal(correlation: u32, code: ErrorCode) -> Frame {
    Frame {
        kind: kind::ERROR,
        correlation,
        deadline_ms: 0,
        body: Refusal::new(code, "no").encode(),
    }
}

#[test]
fn an_ack_that_comes_late_does_not_resolve_another_send() {
    let now = Instant::now();
    let mut engine = engine(now);
    engine.connected(&welcome(8), now).unwrap();
    let mut first = send(&mut engine, 1, 1, now);
    let mut second = send(&mut engine, 1, 2, now);
    let asked = engine.next_frame(now).unwrap();
    let late = now + ANSWER_TIMEOUT;
    assert_eq!(engine.tick(late), Verdict::Stay);
    let rested = late + REST_LAST;
    engine.tick(rested);
    let again = next_asked(&mut engine, rested).unwrap();
    assert_eq!(again.body, asked.body, "the same id, and alone");
    assert!(next_asked(&mut engine, rested).is_none());
    engine.frame(ack(asked.correlation, 9), rested);
    assert_eq!(first.try_recv().unwrap_err(), TryRecvError::Empty);
    engine.frame(ack(again.correlation, 4), rested);
    let receipt = first.try_recv().unwrap().unwrap();
    assert_eq!((receipt.sequence.0, receipt.attempts), (4, 2));
    assert_eq!(second.try_recv().unwrap_err(), TryRecvError::Empty);
}

#[test]
fn an_answer_of_a_lost_connection_resolves_nothing_on_the_next() {
    let now = Instant::now();
    let mut engine = engine(now);
    engine.connected(&welcome(8), now).unwrap();
    let mut first = send(&mut engine, 1, 1, now);
    let asked = engine.next_frame(now).unwrap();
    engine.lost("pulled".into());
    engine.frame(ack(asked.correlation, 1), now);
    assert_eq!(first.try_recv().unwrap_err(), TryRecvError::Empty);
    engine.connected(&welcome(8), now).unwrap();
    let again = engine.next_frame(now).unwrap();
    assert_eq!(again.body, asked.body);
    engine.frame(ack(again.correlation, 1), now);
    assert!(first.try_recv().unwrap().is_ok());
}

#[test]
fn pulls_have_their_turn_beside_sends_that_never_end() {
    let now = Instant::now();
    let mut engine = engine(now);
    engine.connected(&welcome(1), now).unwrap();
    let _outcomes: Vec<_> = (1..=10).map(|n| send(&mut engine, n, n, now)).collect();
    let head = wire::Head {
        conversation_id: ConversationId::pair(AccountId(7), AccountId(8)).to_bytes(),
        head: 1,
    };
    engine.frame(Frame::notice(kind::HEAD, &head), now);
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let frame = engine.next_frame(now).unwrap();
        assert!(engine.next_frame(now).is_none(), "one at a time");
        kinds.push(frame.kind);
        engine.frame(ack(frame.correlation, 1), now);
    }
    assert!(kinds.contains(&kind::PULL), "{kinds:?}");
}

#[test]
fn what_cannot_be_asked_now_does_not_wake_the_task_again_and_again() {
    let now = Instant::now();
    let mut engine = engine(now);
    engine.connected(&welcome(8), now).unwrap();
    let (sender, _outcome) = oneshot::channel();
    let request = Request {
        kind: kind::LIST_MEMBERS,
        body: bytes::Bytes::new(),
        deadline: now + Duration::from_secs(30),
        lasting: true,
    };
    let room = Arc::new(tokio::sync::Semaphore::new(1));
    let reply = RequestReply {
        outcome: sender,
        room: room.try_acquire_owned().unwrap(),
    };
    engine.request(request, reply);
    let asked = engine.next_frame(now).unwrap();
    engine.frame(refusal(asked.correlation, ErrorCode::Unavailable), now);
    let _outcome = send(&mut engine, 1, 1, now);
    engine.next_frame(now).unwrap();
    let go_away = wire::GoAway {
        grace_ms: 60_000,
        reconnect: true,
        ..Default::default()
    };
    engine.frame(Frame::notice(kind::GO_AWAY, &go_away), now);
    // The request has rested, the heartbeat is due and finds no room: neither can leave.
    let later = now + Duration::from_secs(6);
    engine.frame(refusal(0xFFFF, ErrorCode::Internal), later);
    assert_eq!(engine.tick(later), Verdict::Stay);
    assert!(engine.next_wake(later).unwrap() > later);
}

#[test]
fn a_page_of_memberships_that_leads_nowhere_is_the_last() {
    let now = Instant::now();
    let mut engine = engine(now);
    let membership = |n: u64| wire::Membership {
        conversation_id: ConversationId::group(n).to_bytes(),
        ..Default::default()
    };
    let full = wire::Welcome {
        memberships: vec![membership(1)],
        more_memberships: true,
        ..welcome(8)
    };
    engine.connected(&full, now).unwrap();
    for _ in 0..2 {
        let asked = next_asked(&mut engine, now).unwrap();
        assert_eq!(asked.kind, kind::LIST_CONVERSATIONS);
        let page = wire::ConversationPage {
            memberships: vec![membership(1)],
            more: true,
        };
        let answer = Frame {
            correlation: asked.correlation,
            ..Frame::notice(kind::answer(asked.kind), &page)
        };
        engine.frame(answer, now);
    }
    assert_eq!(next_asked(&mut engine, now), None);
}

#[test]
fn a_server_that_says_nothing_while_it_is_asked_something_is_given_up_soon() {
    let now = Instant::now();
    let mut engine = engine(now);
    let mut slow = welcome(8);
    slow.heartbeat_interval_ms = 60_000;
    engine.connected(&slow, now).unwrap();
    let _outcome = send(&mut engine, 1, 1, now);
    assert_eq!(engine.next_frame(now).unwrap().kind, kind::SEND);
    assert!(engine.next_frame(now).is_none());
    let asks = engine.next_wake(now).unwrap();
    assert_eq!(asks - now, Duration::from_secs(3));
    assert_eq!(engine.tick(asks), Verdict::Stay);
    assert_eq!(engine.next_frame(asks).unwrap().kind, kind::PING);
    assert!(engine.next_frame(asks).is_none());
    let ends = engine.next_wake(asks).unwrap();
    assert_eq!(ends - asks, Duration::from_secs(5));
    assert!(matches!(engine.tick(ends), Verdict::Reconnect(_)));
}

#[test]
fn a_server_that_is_slow_and_there_is_not_given_up() {
    let now = Instant::now();
    let mut engine = engine(now);
    let mut slow = welcome(8);
    slow.heartbeat_interval_ms = 60_000;
    engine.connected(&slow, now).unwrap();
    let mut outcome = send(&mut engine, 1, 1, now);
    let asked = engine.next_frame(now).unwrap();
    let mut at = now;
    for _ in 0..3 {
        at += Duration::from_secs(3);
        assert_eq!(engine.tick(at), Verdict::Stay);
        assert_eq!(engine.next_frame(at).unwrap().kind, kind::PING);
        engine.frame(Frame::notice(kind::PONG, &wire::Pong::default()), at);
    }
    engine.frame(ack(asked.correlation, 4), at);
    assert!(outcome.try_recv().unwrap().is_ok());
    // With nothing asked, silence is measured by the heartbeat alone.
    let later = at + Duration::from_secs(50);
    assert_eq!(engine.tick(later), Verdict::Stay);
    engine.probe(later);
    assert_eq!(engine.next_frame(later).unwrap().kind, kind::PING);
    let ends = later + Duration::from_secs(5);
    assert!(matches!(engine.tick(ends), Verdict::Reconnect(_)));
}

#[test]
fn after_a_push_the_next_heartbeat_is_near() {
    let now = Instant::now();
    let mut engine = engine(now);
    let mut slow = welcome(8);
    slow.heartbeat_interval_ms = 60_000;
    engine.connected(&slow, now).unwrap();
    assert_eq!(
        engine.next_wake(now).unwrap() - now,
        Duration::from_secs(60)
    );
    engine.frame(Frame::notice(kind::PUSH, &wire::Push::default()), now);
    let due = engine.next_wake(now).unwrap();
    assert_eq!(due - now, Duration::from_secs(15));
    assert_eq!(engine.next_frame(due).unwrap().kind, kind::PING);
    assert_eq!(
        engine.next_wake(due).unwrap() - due,
        Duration::from_secs(60)
    );
}
