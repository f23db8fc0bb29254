//! Pushes leave in strictly rising order whatever order they came in, and nothing that was heard of
//! is passed over in silence: it leaves as a push, as a head, or with the next heartbeat.

use std::collections::BTreeMap;

use proptest::prelude::*;
use protocol::limits::HEADS_PER_PONG_MAX;

use super::*;

fn run(conversation: u64, first: u64, last: u64) -> Push {
    Push {
        first: SequenceNumber(first),
        ..push(conversation, last, Priority::Chat)
    }
}

/// The heads of the next heartbeat, as (conversation, head).
fn pong(outbox: &mut Outbox) -> Vec<(ConversationId, u64)> {
    outbox.pong(3, Pong::default());
    let frame = popped(outbox).expect("an answer goes first");
    assert_eq!((frame.kind, frame.correlation), (client::PONG, 3));
    let pong: Pong = protocol::error::decode_body(frame.body).unwrap();
    let heads = pong.heads.iter();
    heads
        .map(|head| {
            let of = ConversationId::from_slice(&head.conversation_id).unwrap();
            (of, head.head)
        })
        .collect()
}

#[test]
fn an_older_push_is_dropped_and_a_gap_is_passed_on() {
    let mut outbox = opened();
    for (number, put) in [
        (2, Put::Queued),
        (5, Put::Queued),
        (5, Put::Stale),
        (3, Put::Stale),
        (6, Put::Queued),
    ] {
        assert_eq!(outbox.push(push(7, number, Priority::Chat)), put);
    }
    // Another conversation has an order of its own.
    outbox.push(push(8, 1, Priority::Chat));
    assert_eq!(drained(&mut outbox), ["g7:2", "g8:1", "g7:5", "g7:6"]);
    assert_eq!(outbox.push(push(7, 6, Priority::Chat)), Put::Stale);
}

#[test]
fn entries_that_went_out_in_part_are_told_by_their_head() {
    let mut outbox = opened();
    outbox.push(run(7, 1, 6));
    assert_eq!(outbox.push(run(7, 5, 8)), Put::Lagging(0));
    assert_eq!(drained(&mut outbox), ["g7:6", "g7 head 8"]);
    outbox.push(run(7, 9, 9));
    assert_eq!(drained(&mut outbox), ["g7:9"]);
}

#[test]
fn a_heartbeat_says_how_far_conversations_are_that_had_entries_since_the_last_one() {
    let mut outbox = opened();
    outbox.push(push(7, 4, Priority::Chat));
    outbox.head(group(8), SequenceNumber(9));
    // What waits is not lost.
    assert_eq!(pong(&mut outbox), []);
    drained(&mut outbox);
    assert_eq!(pong(&mut outbox), [(group(7), 4), (group(8), 9)]);
    assert_eq!(pong(&mut outbox), []);

    // What is heard again is no news.
    outbox.push(push(7, 4, Priority::Chat));
    outbox.head(group(8), SequenceNumber(8));
    drained(&mut outbox);
    assert_eq!(pong(&mut outbox), []);
    outbox.push(push(7, 5, Priority::Chat));
    drained(&mut outbox);
    assert_eq!(pong(&mut outbox), [(group(7), 5)]);
}

#[test]
fn more_heads_than_a_heartbeat_holds_are_told_in_turn() {
    let mut outbox = opened();
    let most = HEADS_PER_PONG_MAX as u64;
    for conversation in 1..=most + 2 {
        outbox.push(push(conversation, 1, Priority::Chat));
    }
    drained(&mut outbox);
    assert_eq!(pong(&mut outbox).len(), HEADS_PER_PONG_MAX);
    outbox.push(push(1, 2, Priority::Chat));
    drained(&mut outbox);
    let rest = [(group(most + 1), 1), (group(most + 2), 1), (group(1), 2)];
    assert_eq!(pong(&mut outbox), rest);
}

#[test]
fn beyond_the_conversations_of_an_account_only_heads_are_told() {
    let mut outbox = opened();
    for conversation in 1..=told::CONVERSATIONS_MAX as u64 {
        outbox.push(push(conversation, 1, Priority::Chat));
        outbox.pop(NOW_MS, false);
    }
    let one_more = told::CONVERSATIONS_MAX as u64 + 1;
    let put = outbox.push(push(one_more, 1, Priority::Chat));
    assert_eq!(put, Put::Lagging(0));
    assert_eq!(drained(&mut outbox), [format!("g{one_more} head 1")]);
    assert_eq!(outbox.push(push(1, 2, Priority::Chat)), Put::Queued);
}

#[test]
fn of_lists_of_gateways_the_newest_is_told_and_not_before_the_welcome() {
    let mut outbox = Outbox::default();
    let list = |address: &str| {
        let addresses = vec![address.to_owned()];
        SharedFrame::from(&Frame::notice(
            client::GATEWAYS,
            &wire::Gateways { addresses },
        ))
    };
    outbox.gateways(list("a:1"));
    outbox.gateways(list("b:1"));
    assert!(popped(&mut outbox).is_none());
    outbox.welcome(&notice(client::WELCOME));
    assert_eq!(popped(&mut outbox).unwrap().kind, client::WELCOME);
    let told = popped(&mut outbox).unwrap();
    assert_eq!(told.kind, client::GATEWAYS);
    let told: wire::Gateways = protocol::error::decode_body(told.body).unwrap();
    assert_eq!(told.addresses, ["b:1"]);
    assert!(popped(&mut outbox).is_none());
}

#[derive(Debug, Clone)]
enum Step {
    /// Conversation, first, how many more, priority, deadline.
    Push(u64, u64, u64, Priority, u64),
    Head(u64, u64),
    Pop,
    Pong,
}

fn step() -> impl Strategy<Value = Step> {
    let priority = prop_oneof![
        Just(Priority::Command),
        Just(Priority::Chat),
        Just(Priority::Telemetry)
    ];
    let deadline = prop_oneof![Just(0), Just(NOW_MS)];
    prop_oneof![
        8 => (1..4_u64, 1..30_u64, 0..4_u64, priority, deadline)
            .prop_map(|(at, first, more, priority, until)| {
                Step::Push(at, first, more, priority, until)
            }),
        1 => (1..4_u64, 1..34_u64).prop_map(|(at, head)| Step::Head(at, head)),
        4 => Just(Step::Pop),
        1 => Just(Step::Pong),
    ]
}

/// What a client has got of one conversation.
#[derive(Debug, Default)]
struct Got {
    pushed: u64,
    heard: u64,
}

/// Checks one frame against the order, and notes how far it tells.
fn take(frame: Frame, got: &mut BTreeMap<ConversationId, Got>) -> Result<(), TestCaseError> {
    let of = |bytes: &[u8]| ConversationId::from_slice(bytes).unwrap();
    match frame.kind {
        client::PUSH => {
            let push: wire::Push = protocol::error::decode_body(frame.body).unwrap();
            for entry in push.entries {
                let got = got.entry(of(&entry.conversation_id)).or_default();
                prop_assert!(entry.sequence > got.pushed, "{} again", entry.sequence);
                got.pushed = entry.sequence;
                got.heard = got.heard.max(entry.sequence);
            }
        }
        client::HEAD => {
            let head: Head = protocol::error::decode_body(frame.body).unwrap();
            let got = got.entry(of(&head.conversation_id)).or_default();
            got.heard = got.heard.max(head.head);
        }
        client::PONG => {
            let pong: Pong = protocol::error::decode_body(frame.body).unwrap();
            for head in pong.heads {
                let got = got.entry(of(&head.conversation_id)).or_default();
                // Nothing was lost here, so a heartbeat has no news.
                prop_assert!(head.head <= got.heard, "{} is ahead", head.head);
            }
        }
        _ => {}
    }
    Ok(())
}

fn entries(conversation: u64, first: u64, last: u64) -> SharedFrame {
    let entry = |sequence| wire::Entry {
        conversation_id: group(conversation).to_bytes(),
        sequence,
        ..wire::Entry::default()
    };
    let entries = (first..=last).map(entry).collect();
    SharedFrame::from(&Frame::notice(client::PUSH, &wire::Push { entries }))
}

proptest! {
    #[test]
    fn whatever_comes_in_whatever_order(steps in prop::collection::vec(step(), 1..120)) {
        // Small, so that conversations lag.
        let mut outbox = Outbox::with_limits(4, 4096);
        outbox.welcome(&notice(client::WELCOME));
        let mut heard = BTreeMap::<_, u64>::new();
        let mut got = BTreeMap::<_, Got>::new();
        for step in steps {
            match step {
                Step::Push(at, first, more, priority, deliver_before_ms) => {
                    let last = first + more;
                    outbox.push(Push {
                        priority,
                        deliver_before_ms,
                        frame: entries(at, first, last),
                        ..run(at, first, last)
                    });
                    let heard = heard.entry(group(at)).or_default();
                    *heard = last.max(*heard);
                }
                Step::Head(at, head) => {
                    outbox.head(group(at), SequenceNumber(head));
                    let heard = heard.entry(group(at)).or_default();
                    *heard = head.max(*heard);
                }
                Step::Pop => {
                    if let Some(frame) = popped(&mut outbox) {
                        take(frame, &mut got)?;
                    }
                }
                Step::Pong => outbox.pong(3, Pong::default()),
            }
        }
        while let Some(frame) = popped(&mut outbox) {
            take(frame, &mut got)?;
        }
        for (conversation, heard) in heard {
            let told = got.get(&conversation).map_or(0, |got| got.heard);
            prop_assert_eq!(told, heard, "of {}", conversation);
        }
    }
}
