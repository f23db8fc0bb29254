//! The outbox by example: what is popped, in which order, and what happens when it is full.

mod rising;
mod stops;

use protocol::FrameCodec;
use protocol::kind::client;
use protocol::limits::FRAME_BYTES_MAX;
use protocol::wire::{self, Head};
use tokio_util::codec::Decoder as _;

use super::*;

const NOW_MS: u64 = 1_700_000_000_000;

fn group(id: u64) -> ConversationId {
    ConversationId::group(id)
}

fn push(conversation: u64, sequence: u64, priority: Priority) -> Push {
    push_of(conversation, sequence, priority, 8)
}

fn push_of(conversation: u64, sequence: u64, priority: Priority, bytes: usize) -> Push {
    let entry = wire::Entry {
        conversation_id: group(conversation).to_bytes(),
        sequence,
        content: vec![0; bytes].into(),
        ..wire::Entry::default()
    };
    let push = wire::Push {
        entries: vec![entry],
    };
    Push {
        conversation: group(conversation),
        first: SequenceNumber(sequence),
        last: SequenceNumber(sequence),
        priority,
        deliver_before_ms: 0,
        frame: SharedFrame::from(&Frame::notice(client::PUSH, &push)),
    }
}

fn notice(kind: u16) -> Frame {
    Frame::notice(kind, &Pong::default())
}

fn opened() -> Outbox {
    let mut outbox = Outbox::default();
    outbox.welcome(&notice(client::WELCOME));
    assert!(outbox.pop(NOW_MS, false).is_some());
    outbox
}

/// The next frame that comes out.
fn popped(outbox: &mut Outbox) -> Option<Frame> {
    let bytes = outbox.pop(NOW_MS, false)?;
    let mut codec = FrameCodec::new(FRAME_BYTES_MAX);
    codec.decode(&mut bytes[..].into()).unwrap()
}

/// Everything that comes out: entries as "7:4", heads as "7 head 4", other frames by kind.
fn drained(outbox: &mut Outbox) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(frame) = popped(outbox) {
        told.push(match frame.kind {
            client::PUSH => {
                let push: wire::Push = protocol::error::decode_body(frame.body).unwrap();
                let entry = &push.entries[0];
                let of = ConversationId::from_slice(&entry.conversation_id).unwrap();
                format!("{of}:{}", entry.sequence)
            }
            client::HEAD => {
                let head: Head = protocol::error::decode_body(frame.body).unwrap();
                let of = ConversationId::from_slice(&head.conversation_id).unwrap();
                format!("{of} head {}", head.head)
            }
            client::EPHEMERAL => {
                let message: wire::Ephemeral = protocol::error::decode_body(frame.body).unwrap();
                format!("{}={}", message.key, message.sent_at_ms)
            }
            kind => format!("kind {kind}"),
        });
    }
    told
}

#[test]
fn answers_go_first_then_the_urgent_and_conversations_take_turns() {
    let mut outbox = opened();
    outbox.push(push(1, 1, Priority::Chat));
    outbox.push(push(1, 2, Priority::Chat));
    outbox.push(push(2, 1, Priority::Chat));
    outbox.push(push(3, 1, Priority::Telemetry));
    outbox.push(push(4, 9, Priority::Emergency));
    outbox.push(push(5, 1, Priority::Command));
    outbox.answer(&notice(client::PONG));
    let told = drained(&mut outbox);
    assert_eq!(
        told,
        ["kind 4", "g4:9", "g5:1", "g1:1", "g2:1", "g1:2", "g3:1"]
    );
}

#[test]
fn entries_of_one_conversation_never_overtake_each_other() {
    let mut outbox = opened();
    outbox.push(push(2, 1, Priority::Chat));
    outbox.push(push(1, 1, Priority::Telemetry));
    outbox.push(push(1, 2, Priority::Command));
    outbox.push(push(1, 3, Priority::Chat));
    let told = drained(&mut outbox);
    assert_eq!(told, ["g1:1", "g1:2", "g2:1", "g1:3"]);
}

#[test]
fn nothing_but_answers_goes_out_before_the_welcome() {
    let mut outbox = Outbox::default();
    outbox.push(push(1, 1, Priority::Emergency));
    assert!(drained(&mut outbox).is_empty());
    outbox.welcome(&notice(client::WELCOME));
    assert_eq!(drained(&mut outbox), ["kind 2", "g1:1"]);
}

#[test]
fn a_conversation_that_does_not_fit_is_told_by_its_newest_head() {
    let mut outbox = opened();
    for sequence in 1..=PUSHES_MAX as u64 {
        assert_eq!(outbox.push(push(1, sequence, Priority::Chat)), Put::Queued);
    }
    let next = PUSHES_MAX as u64 + 1;
    assert_eq!(
        outbox.push(push(1, next, Priority::Chat)),
        Put::Lagging(PUSHES_MAX)
    );
    assert_eq!(
        outbox.push(push(1, next + 1, Priority::Chat)),
        Put::Lagging(0)
    );
    assert_eq!(outbox.push(push(2, 1, Priority::Chat)), Put::Queued);
    let told = drained(&mut outbox);
    assert_eq!(told, [format!("g1 head {}", next + 1), "g2:1".to_owned()]);
    // What comes after the head is pushed again.
    outbox.push(push(1, next + 2, Priority::Chat));
    assert_eq!(drained(&mut outbox), [format!("g1:{}", next + 2)]);
}

#[test]
fn bytes_are_bounded_too_and_are_given_back() {
    let mut outbox = opened();
    let bytes = 200 * 1024;
    let fit = PUSH_BYTES_MAX / bytes - 1;
    let mut numbers = 1..;
    let mut put = |outbox: &mut Outbox| {
        let sequence = numbers.next().unwrap();
        outbox.push(push_of(1, sequence, Priority::Chat, bytes))
    };
    for round in 0..3 {
        for _ in 0..fit {
            assert_eq!(put(&mut outbox), Put::Queued, "round {round}");
        }
        assert_eq!(drained(&mut outbox).len(), fit);
    }
    let mut queued = 0;
    while put(&mut outbox) == Put::Queued {
        queued += 1;
        assert!(queued * (bytes as u64) <= PUSH_BYTES_MAX as u64);
    }
    assert!(queued >= fit as u64);
}

#[test]
fn news_of_membership_survives_an_overflow_in_its_place() {
    let mut outbox = opened();
    outbox.push(push(1, 1, Priority::Chat));
    outbox.notice(
        group(1),
        SharedFrame::from(&notice(client::MEMBERSHIP_NOTICE)),
    );
    for sequence in 2..=PUSHES_MAX as u64 + 1 {
        outbox.push(push(1, sequence, Priority::Chat));
    }
    let told = drained(&mut outbox);
    assert_eq!(
        told,
        ["kind 15".to_owned(), format!("g1 head {}", PUSHES_MAX + 1)]
    );
}

#[test]
fn an_expired_push_becomes_a_head() {
    let mut outbox = opened();
    let expired = Push {
        deliver_before_ms: NOW_MS,
        ..push(1, 4, Priority::Chat)
    };
    let in_time = Push {
        deliver_before_ms: NOW_MS + 1,
        ..push(1, 5, Priority::Chat)
    };
    outbox.push(expired);
    outbox.push(in_time);
    assert_eq!(drained(&mut outbox), ["g1 head 4", "g1:5"]);
}

#[test]
fn of_ephemeral_messages_the_newest_of_a_key_is_kept_and_the_oldest_key_dropped() {
    let mut outbox = opened();
    let mut put = |key: &str, sent_at_ms| {
        let message = wire::Ephemeral {
            key: key.to_owned(),
            sent_at_ms,
            ..wire::Ephemeral::default()
        };
        let key = EphemeralKey {
            conversation: group(1),
            sender: AccountId(1),
            key: key.into(),
        };
        let frame = SharedFrame::from(&Frame::notice(client::EPHEMERAL, &message));
        outbox.ephemeral(key, frame)
    };
    assert_eq!(put("位置", 1), Put::Queued);
    assert_eq!(put("电量", 1), Put::Queued);
    assert_eq!(put("位置", 2), Put::Replaced(1));
    for n in 2..EPHEMERAL_MAX {
        assert_eq!(put(&format!("k{n}"), 1), Put::Queued);
    }
    assert_eq!(put("last", 1), Put::Replaced(1));
    let told = drained(&mut outbox);
    assert_eq!(told.len(), EPHEMERAL_MAX);
    assert_eq!(told[0], "电量=1");
    assert_eq!(told.last().unwrap(), "last=1");
}

#[test]
fn many_answers_congest() {
    let mut outbox = Outbox::default();
    let answer = Frame {
        body: vec![0; ANSWER_BYTES_HIGH].into(),
        ..notice(client::PULL_PAGE)
    };
    assert!(!outbox.is_congested());
    outbox.answer(&answer);
    assert!(outbox.is_congested());
    assert!(outbox.pop(NOW_MS, false).is_some());
    assert!(!outbox.is_congested());
}

#[test]
fn news_of_membership_that_follow_each_other_are_one() {
    let mut outbox = opened();
    for _ in 0..1000 {
        outbox.notice(group(1), SharedFrame::from(&notice(client::GO_AWAY)));
        outbox.notice(
            group(1),
            SharedFrame::from(&notice(client::MEMBERSHIP_NOTICE)),
        );
    }
    assert_eq!(drained(&mut outbox), ["kind 15"]);
    // The pushes between them may be dropped later.
    for sequence in 1..=PUSHES_MAX as u64 + 1 {
        outbox.notice(
            group(1),
            SharedFrame::from(&notice(client::MEMBERSHIP_NOTICE)),
        );
        outbox.push(push(1, sequence, Priority::Chat));
    }
    let head = format!("g1 head {}", PUSHES_MAX + 1);
    assert_eq!(drained(&mut outbox), ["kind 15".to_owned(), head]);
}

#[test]
fn a_conversation_is_as_urgent_as_what_waits_of_it() {
    let mut outbox = opened();
    outbox.push(push(1, 1, Priority::Emergency));
    outbox.push(push(1, 2, Priority::Telemetry));
    outbox.push(push(1, 3, Priority::Telemetry));
    outbox.push(push(2, 1, Priority::Command));
    outbox.push(push(2, 2, Priority::Command));
    let told = drained(&mut outbox);
    assert_eq!(told, ["g1:1", "g2:1", "g2:2", "g1:2", "g1:3"]);
}

#[test]
fn ephemeral_messages_are_bounded_in_bytes() {
    let mut outbox = opened();
    let bytes = 200 * 1024;
    let most = EPHEMERAL_BYTES_MAX / bytes;
    for n in 0..2 * most as u64 {
        let key = EphemeralKey {
            conversation: group(1),
            sender: AccountId(n),
            key: "图像".into(),
        };
        let frame = Frame {
            body: vec![0; bytes].into(),
            ..notice(client::PONG)
        };
        let put = outbox.ephemeral(key, SharedFrame::from(&frame));
        assert_eq!(put == Put::Queued, n < most as u64, "{n}");
    }
    assert_eq!(drained(&mut outbox).len(), most);
}

#[test]
fn a_welcome_is_never_compressed_for_nothing_is_agreed_yet() {
    let mut outbox = Outbox::default();
    let welcome = Frame {
        body: vec![0; 64 * 1024].into(),
        ..notice(client::WELCOME)
    };
    outbox.welcome(&welcome);
    assert_eq!(outbox.pop(NOW_MS, true), Some(welcome.to_bytes()));
}

#[test]
fn what_the_welcome_had_no_room_for_comes_before_what_waited_for_it() {
    let joined = || SharedFrame::from(&notice(client::MEMBERSHIP_NOTICE));
    let left = || SharedFrame::from(&notice(client::GO_AWAY));
    let mut outbox = opened();
    outbox.push(push(1, 5, Priority::Chat));
    outbox.notice(group(2), left());
    outbox.membership(group(1), joined());
    outbox.membership(group(2), joined());
    assert_eq!(drained(&mut outbox), ["kind 15", "kind 13", "g1:5"]);
}
