//! Whatever is lost, repeated or reordered: each conversation is handed over in order, once, whole.

use std::time::Duration;

use client_sdk::protocol::Frame;
use client_sdk::protocol::kind::client as kind;
use client_sdk::protocol::wire;
use client_sdk::{
    Client, ConversationId, Credential, Event, Events, MarkPolicy, Refusal, SequenceNumber,
    StartFrom, content,
};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::gateway::{Fleet, next, next_sequence};
use super::state::{ME, PLANNER};

fn group() -> ConversationId {
    ConversationId::group(1)
}

/// A fleet with one group of so many messages, of which the account has taken so many.
fn fleet(messages: usize, delivered: u64) -> Fleet {
    let fleet = Fleet::new();
    fleet.with(|state| {
        state.groups.insert(group(), "dock".into());
        state.logs.insert(group(), Vec::new());
        state.store_texts(group(), messages);
        state.marks.insert(group(), delivered);
    });
    fleet
}

async fn sequences(events: &mut Events, count: usize) -> Vec<u64> {
    let mut sequences = Vec::new();
    for _ in 0..count {
        sequences.push(next_sequence(events).await);
    }
    sequences
}

#[tokio::test]
async fn gaps_are_pulled_duplicates_dropped_and_the_order_kept() {
    let fleet = fleet(0, 0);
    let (client, mut events) = fleet.client().await;
    fleet.with(|state| state.store_texts(group(), 20));
    fleet.push(group(), &[1, 1, 2, 5, 4, 3, 9, 2, 12, 10, 11, 20, 20, 19]);
    let got = sequences(&mut events, 20).await;
    assert_eq!(got, (1..=20).collect::<Vec<_>>());
    // Only what is new comes after it.
    fleet.push(group(), &[7, 20]);
    fleet.with(|state| state.store_texts(group(), 1));
    fleet.push(group(), &[21]);
    assert_eq!(next_sequence(&mut events).await, 21);
    let stats = client.stats();
    assert_eq!(stats.delivered, 21);
    assert!(stats.duplicates_dropped > 0 && stats.gaps_found > 0);
    assert_eq!(stats.gaps_found, stats.gaps_repaired);
}

#[tokio::test]
async fn a_last_push_that_was_lost_is_pulled_after_the_next_heartbeat() {
    let fleet = fleet(0, 0);
    fleet.with(|state| {
        state.heartbeat_interval_ms = 200;
        state.tells_heads = true;
    });
    let (client, mut events) = fleet.client().await;
    // Nobody pushes them, and nothing comes after them. The pair is new to the client.
    for lost in [group(), client.pair_with(PLANNER)] {
        fleet.with(|state| state.store_texts(lost, 1));
        let got = next(&mut events, |event| match event {
            Event::Message(message) => Some((message.conversation, message.sequence.0)),
            _ => None,
        });
        assert_eq!(got.await, (lost, 1));
    }
    // What is there is not pulled again, however many heartbeats say so.
    let (pulls, pings) = fleet.with(|state| (state.pulls, state.pings));
    fleet.until(|state| state.pings >= pings + 3).await;
    assert_eq!(fleet.with(|state| state.pulls), pulls);
}

#[tokio::test]
async fn a_head_alone_is_enough() {
    let fleet = fleet(0, 0);
    let (_client, mut events) = fleet.client().await;
    fleet.with(|state| state.store_texts(group(), 3));
    fleet.head(group());
    assert_eq!(sequences(&mut events, 3).await, [1, 2, 3]);
}

#[tokio::test]
async fn after_a_loss_the_client_goes_on_where_it_was() {
    let fleet = fleet(5, 2);
    let (client, mut events) = fleet.client().await;
    assert_eq!(sequences(&mut events, 3).await, [3, 4, 5]);
    for _ in 0..3 {
        let head = fleet.with(|state| {
            state.store_texts(group(), 10);
            state.logs[&group()].len() as u64
        });
        fleet.hang_up();
        let got = sequences(&mut events, 10).await;
        assert_eq!(got, (head - 9..=head).collect::<Vec<_>>());
    }
    assert_eq!(client.stats().reconnects, 3);
}

#[tokio::test]
async fn random_faults_end_in_the_log() {
    for seed in 0..8 {
        let mut random = SmallRng::seed_from_u64(seed);
        let fleet = fleet(0, 0);
        let (client, mut events) = fleet.client().await;
        let (mut total, mut got) = (0, Vec::new());
        for _ in 0..30 {
            let more = random.random_range(1..10);
            fleet.with(|state| state.store_texts(group(), more));
            total += more;
            for _ in 0..random.random_range(0..12) {
                fleet.push(group(), &[random.random_range(1..=total)]);
            }
            if random.random_bool(0.2) {
                let refusal = Refusal::unavailable("busy").retry_after_ms(1);
                fleet.with(|state| state.pull_refusals.push_back(refusal));
            }
            if random.random_bool(0.1) {
                fleet.hang_up();
            }
            if random.random_bool(0.5) {
                fleet.head(group());
                let missing = total - got.len();
                got.extend(sequences(&mut events, missing.min(3)).await);
            }
        }
        // The last word comes on a connection that holds.
        fleet.hang_up();
        let missing = total - got.len();
        got.extend(sequences(&mut events, missing).await);
        let expected: Vec<_> = (1..=total as u64).collect();
        assert_eq!(got, expected, "seed {seed}");
        assert_eq!(client.stats().delivered, total as u64, "seed {seed}");
    }
}

#[tokio::test]
async fn a_slow_application_costs_no_message_and_no_memory() {
    let fleet = fleet(0, 0);
    let address = fleet.gateway().await;
    let credential = Credential::Token("operator".into());
    let mut config = fleet.authority.config(&[&address], credential);
    config.events_max = 4;
    let (client, mut events) = Client::connect(config).await.unwrap();
    fleet.with(|state| state.store_texts(group(), 200));
    fleet.push(group(), &(1..=200).collect::<Vec<_>>());
    fleet.settled().await;
    let stats = client.stats();
    assert!(stats.delivered <= 4 + 7, "the queue and one page");
    assert!(stats.pushes_forgotten > 0);
    let got = sequences(&mut events, 200).await;
    assert_eq!(got, (1..=200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_mark_never_leads_what_was_taken() {
    let fleet = fleet(9, 0);
    let (client, mut events) = fleet.client().await;
    for taken in 1..=9 {
        assert_eq!(next_sequence(&mut events).await, taken);
        fleet.until(|state| state.marks[&group()] >= taken).await;
        assert_eq!(fleet.with(|state| state.marks[&group()]), taken);
    }
    // A mark that was lost with its connection is told again.
    fleet.with(|state| state.marks.insert(group(), 3));
    fleet.hang_up();
    fleet.until(|state| state.marks[&group()] == 9).await;
    client.close().await;
}

#[tokio::test]
async fn the_last_marks_leave_before_the_client_closes() {
    let fleet = fleet(3, 0);
    let (client, mut events) = fleet.client().await;
    sequences(&mut events, 3).await;
    client.close().await;
    fleet.until(|state| state.marks[&group()] == 3).await;
}

#[tokio::test]
async fn marks_by_hand_are_the_applications_own() {
    let fleet = fleet(3, 0);
    let address = fleet.gateway().await;
    let credential = Credential::Token("operator".into());
    let mut config = fleet.authority.config(&[&address], credential);
    config.mark_policy = MarkPolicy::Manual;
    let (client, mut events) = Client::connect(config).await.unwrap();
    sequences(&mut events, 3).await;
    client.mark_delivered(group(), SequenceNumber(2));
    client.close().await;
    fleet.until(|state| state.marks[&group()] == 2).await;
}

#[tokio::test]
async fn what_was_taken_before_can_be_asked_for_and_says_so() {
    let fleet = fleet(4, 2);
    let address = fleet.gateway().await;
    let credential = Credential::Token("operator".into());
    let mut config = fleet.authority.config(&[&address], credential);
    config.start_from = StartFrom::Beginning;
    let (client, mut events) = Client::connect(config).await.unwrap();
    let mut flags = Vec::new();
    for _ in 0..4 {
        flags.push(
            next(&mut events, |event| match event {
                Event::Message(message) => Some((message.redelivered, message.backlog)),
                _ => None,
            })
            .await,
        );
    }
    assert_eq!(
        flags,
        [(true, true), (true, true), (false, true), (false, true)]
    );
    let history = client.history(group(), SequenceNumber(1)).await.unwrap();
    assert_eq!(history.len(), 3);
}

#[tokio::test]
async fn what_retention_has_dropped_is_said_once() {
    let fleet = fleet(10, 0);
    fleet.with(|state| state.trimmed_up_to = 6);
    let (_client, mut events) = fleet.client().await;
    let trimmed = next(&mut events, |event| match event {
        Event::Trimmed { from, up_to, .. } => Some((from.0, up_to.0)),
        Event::Message(_) => panic!("it comes first"),
        _ => None,
    })
    .await;
    assert_eq!(trimmed, (1, 6));
    assert_eq!(sequences(&mut events, 4).await, [7, 8, 9, 10]);
}

#[tokio::test]
async fn a_group_is_joined_by_a_notice_or_by_a_hint_alone() {
    for noticed in [true, false] {
        let fleet = Fleet::new();
        let (_client, mut events) = fleet.client().await;
        let membership = fleet.with(|state| {
            state.groups.insert(group(), "dock".into());
            state.store_texts(group(), 2);
            state.membership(group(), "dock".into())
        });
        if noticed {
            let notice = wire::MembershipNotice {
                membership: Some(membership),
                joined: true,
            };
            fleet.say(&Frame::notice(kind::MEMBERSHIP_NOTICE, &notice));
        } else {
            fleet.push(group(), &[2]);
        }
        let joined = next(&mut events, |event| match event {
            Event::Joined { name, .. } => Some(name),
            _ => None,
        });
        assert_eq!(joined.await, "dock");
        assert_eq!(sequences(&mut events, 2).await, [1, 2]);
    }
}

#[tokio::test]
async fn a_conversation_with_somebody_needs_no_set_up() {
    let fleet = Fleet::new();
    let (client, mut events) = fleet.client().await;
    let pair = client.pair_with(PLANNER);
    fleet
        .with(|state| {
            let id = client_sdk::new_message_id();
            state.store(pair, PLANNER, id, content::text("hello"));
            client.send_nowait(client_sdk::Outgoing::new(
                pair,
                content::text("hello yourself"),
            ))
        })
        .await
        .unwrap();
    fleet.push(pair, &[2]);
    let mut senders = Vec::new();
    for _ in 0..2 {
        senders.push(
            next(&mut events, |event| match event {
                Event::Message(message) => Some(message.sender),
                _ => None,
            })
            .await,
        );
    }
    assert_eq!(senders, [PLANNER, ME], "one's own come back too");
}

#[tokio::test]
async fn of_ephemerals_the_newest_is_handed_over() {
    let fleet = fleet(0, 0);
    let (client, mut events) = fleet.client().await;
    for text in ["10", "20", "30"] {
        let content = content::text(text);
        let ephemeral = wire::Ephemeral {
            conversation_id: group().to_bytes(),
            sender: PLANNER.0,
            key: "step/s1".into(),
            kind: content::kind_of(&content).into(),
            content: content::encode(content),
            sent_at_ms: 1,
        };
        fleet.say(&Frame::notice(kind::EPHEMERAL, &ephemeral));
    }
    fleet.settled().await;
    let newest = next(&mut events, |event| match event {
        Event::Ephemeral(ephemeral) => Some(ephemeral.content),
        _ => None,
    });
    assert_eq!(newest.await, content::text("30"));
    client.close().await;
    let rest = async {
        let mut rest = Vec::new();
        while let Some(event) = events.next().await {
            rest.push(event);
        }
        rest
    };
    let rest = tokio::time::timeout(Duration::from_secs(5), rest)
        .await
        .unwrap();
    assert_eq!(rest.len(), 1, "{rest:?}");
}
