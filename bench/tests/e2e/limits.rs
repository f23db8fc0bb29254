//! Limits against abuse: each is a typed answer that says when to come again, and is counted; and
//! what is honest beside it is not held up.

use std::collections::BTreeMap;

use bench::cluster::Cluster;
use bench::wait::metric_at_least;
use client_sdk::{Error, Role};
use deploy::tiers::Tier;
use protocol::content;
use protocol::error::decode_body;
use protocol::kind::client as kind;
use protocol::wire::{EntryKind, Priority, Send, SendAck};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal};
use reqwest::StatusCode;
use service_kit::clock;

use crate::http_client::Web;
use crate::people::{Person, text};
use crate::raw::{Raw, hello, token};
use crate::web::WebSocket;

async fn cluster(environment: &[(&str, &str)]) -> Cluster {
    let folder = tempfile::tempdir().unwrap();
    Cluster::start_told(folder, &[], environment).await.unwrap()
}

#[tokio::test]
async fn an_address_has_so_many_connections_without_a_session() {
    let limits = [
        ("IM_GATEWAY__LIMITS__HALF_OPEN_PER_ADDRESS_MAX", "1"),
        (
            "IM_GATEWAY__LIMITS__HALF_OPEN_PER_NETWORK",
            "127.0.0.0/8=12",
        ),
        ("IM_GATEWAY__SESSION__HELLO_TIMEOUT_MS", "6000"),
    ];
    let cluster = cluster(&limits).await;
    let mut silent = Vec::new();
    let crowded = loop {
        // The planner may be coming at this moment.
        assert!(silent.len() <= 12, "nobody was refused");
        let mut raw = Raw::connect(&cluster, None).await.unwrap();
        if let Some(refusal) = raw.refused_at_once().await {
            break refusal;
        }
        silent.push(raw);
    };
    assert_eq!(crowded.code, ErrorCode::RateLimited);
    assert_eq!(crowded.retry_after_ms, 1000);
    let web = Web::new(&cluster, "ana");
    let (status, said) = web.get("/v1/conversations").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(said["error"]["retry_after_ms"], 1000);
    // Who says nothing is told so, and makes room.
    let mut first = silent.remove(0);
    let refusal = first.refusal().await;
    assert_eq!(refusal.code, ErrorCode::WrongState);
    assert!(first.is_closed().await);
    for mut raw in silent {
        assert_eq!(raw.refusal().await.code, ErrorCode::WrongState);
    }
    Raw::operator(&cluster, "ana").await;
    assert_eq!(web.get("/v1/conversations").await.0, StatusCode::OK);
    let refused = "im_gateway_connections_refused_total";
    let counted = metric_at_least(&cluster, Tier::Gateway, refused, 2).await;
    counted.unwrap();
}

/// One hello, and what it is refused with.
async fn refused(cluster: &Cluster, token: &str) -> Refusal {
    let mut raw = Raw::connect(cluster, None).await.unwrap();
    raw.say(kind::HELLO, 1, &hello(token)).await;
    let refusal = raw.refusal().await;
    assert!(raw.is_closed().await);
    refusal
}

#[tokio::test]
async fn who_fails_to_log_in_waits_longer_each_time_and_nobody_else_does() {
    let cluster = Cluster::start().await.unwrap();
    let good = token(&cluster, "ana", 600_000);
    let before = Web::new(&cluster, "ana");
    assert_eq!(before.get("/v1/conversations").await.0, StatusCode::OK);
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    let mut refusals = BTreeMap::new();
    let mut waits = Vec::new();
    while waits.len() < 20 {
        let refusal = refused(&cluster, &forged).await;
        *refusals.entry(refusal.label()).or_insert(0) += 1;
        waits.push(refusal.retry_after_ms);
    }
    assert!(refusals["unauthenticated"] >= 4, "{refusals:?}");
    assert!(refusals["rate_limited"] >= 1, "{refusals:?}");
    assert!(
        waits.iter().any(|wait| (1..=64_000).contains(wait)),
        "{waits:?}"
    );

    // By any way: the failures of an account and address are one.
    let forger = Web {
        token: forged.clone(),
        ..Web::new(&cluster, "ana")
    };
    let (status, said) = forger.get("/v1/conversations").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{said}");
    assert_eq!(said["error"]["code"], "RATE_LIMITED");
    let mut socket = WebSocket::open(&cluster, None).await.unwrap();
    socket.say(kind::HELLO, 1, &hello(&forged)).await;
    assert_eq!(socket.refusal().await.code, ErrorCode::RateLimited);

    // Everybody else behind the same address comes in, and so does a token that was good before.
    Raw::operator(&cluster, "ben").await;
    let files = cluster.authority().robot("lift-1", clock::unix_ms());
    WebSocket::welcomed(&cluster, "", Some(&files.unwrap())).await;
    assert_eq!(before.get("/v1/conversations").await.0, StatusCode::OK);
    let told = "im_gateway_hellos_refused_total";
    metric_at_least(&cluster, Tier::Gateway, told, 22)
        .await
        .unwrap();
}

fn words(conversation: ConversationId, n: u16, priority: Priority) -> Send {
    let [high, low] = n.to_be_bytes();
    let mut random = [7; 10];
    (random[8], random[9]) = (high, low);
    Send {
        conversation_id: conversation.to_bytes(),
        client_message_id: ClientMessageId::new(clock::unix_ms(), random).to_bytes(),
        kind: EntryKind::Text.into(),
        content: content::encode(text(format!("第{n}"))),
        priority: priority.into(),
        ..Send::default()
    }
}

/// Sends so many at once. Returns how many were stored, and the waits of the others.
async fn burst(
    socket: &mut WebSocket,
    conversation: ConversationId,
    numbers: std::ops::Range<u16>,
    priority: Priority,
) -> (usize, Vec<u32>) {
    let count = numbers.len();
    for n in numbers {
        let send = words(conversation, n, priority);
        socket.say(kind::SEND, u32::from(n) + 1, &send).await;
    }
    let (mut stored, mut waits) = (0, Vec::new());
    while stored + waits.len() < count {
        let frame = socket.hear().await.expect("it is open");
        match frame.kind {
            kind::SEND_ACK => {
                let ack: SendAck = decode_body(frame.body).unwrap();
                assert!(ack.sequence > 0);
                stored += 1;
            }
            kind::ERROR => {
                let refusal = Refusal::decode(&frame.body);
                assert_eq!(refusal.code, ErrorCode::RateLimited, "{refusal}");
                assert!(refusal.is_retryable());
                waits.push(refusal.retry_after_ms);
            }
            _ => {}
        }
    }
    (stored, waits)
}

#[tokio::test]
async fn accounts_and_groups_send_so_much_a_second_and_emergencies_always() {
    let limits = [
        ("IM_LOGIC__RATES__ACCOUNT_SENDS_PER_SECOND", "20"),
        ("IM_LOGIC__RATES__GROUP_SENDS_PER_SECOND", "30"),
    ];
    let cluster = cluster(&limits).await;
    let (mut ana, welcome) = WebSocket::welcomed(&cluster, "ana", None).await;
    let ana_id = welcome.account.unwrap().account_id;
    let mut others = Vec::new();
    for name in ["ben", "cleo"] {
        let (socket, welcome) = WebSocket::welcomed(&cluster, name, None).await;
        others.push((socket, welcome.account.unwrap().account_id));
    }
    let dora = Person::connect(cluster.operator("dora").unwrap()).await;
    let mut members = vec![AccountId(ana_id)];
    members.extend(others.iter().map(|(_, id)| AccountId(*id)));
    let group = dora.client.create_group("限速", &members).await.unwrap();

    let (stored, waits) = burst(&mut ana, group, 0..100, Priority::Chat).await;
    assert!((20..100).contains(&stored), "{stored}");
    assert!(
        waits.iter().all(|wait| (1..=1001).contains(wait)),
        "{waits:?}"
    );
    // Another account has a measure of its own, but the group has one for all.
    let mut all = stored;
    for (socket, _) in &mut others {
        let (stored, waits) = burst(socket, group, 0..100, Priority::Chat).await;
        assert!(!waits.is_empty());
        all += stored;
    }
    assert!(all < 300, "{all}");
    let (stored, waits) = burst(&mut ana, group, 200..300, Priority::Emergency).await;
    assert_eq!((stored, waits.len()), (100, 0));
    // The SDK waits as it is told, and everything is stored in the end.
    for n in 0..30 {
        let sent = dora.client.send(group, text(format!("等{n}"))).await;
        sent.unwrap();
    }
    let limited = "im_logic_rate_limited_total";
    metric_at_least(&cluster, Tier::Logic, limited, 100)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_account_owns_so_many_groups() {
    let limits = [("IM_LOGIC__LIMITS__GROUPS_PER_ACCOUNT_MAX", "2")];
    let cluster = cluster(&limits).await;
    let ana = Person::connect(cluster.operator("ana").unwrap()).await;
    let first = ana.client.create_group("一组", &[]).await.unwrap();
    ana.client.create_group("二组", &[]).await.unwrap();
    let refused = ana.client.create_group("三组", &[]).await.unwrap_err();
    let Error::Refused(refusal) = refused else {
        panic!("{refused}");
    };
    assert_eq!(refusal.code, ErrorCode::LimitReached);
    assert!(refusal.message.contains("at most 2 groups"), "{refusal}");
    assert!(!refusal.is_retryable(), "waiting does not help");
    // Others have a number of their own, and an end makes room.
    let ben = Person::connect(cluster.operator("ben").unwrap()).await;
    let his = ben.client.create_group("别人的", &[]).await.unwrap();
    ben.client
        .add_members(his, &[ana.client.account().id], Role::Member)
        .await
        .unwrap();
    ana.client.dissolve_group(first).await.unwrap();
    ana.client.create_group("三组", &[]).await.unwrap();
}
