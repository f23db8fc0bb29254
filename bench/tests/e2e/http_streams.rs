//! A stream of events shows what TCP and the WebSocket show, and goes on where it was left.

use bench::cluster::Cluster;
use client_sdk::content::Content;
use deploy::tiers::Tier;
use protocol::error::decode_body;
use protocol::kind::client as kind;
use protocol::wire::{Entry, Push};
use protocol::{AccountId, ConversationId, SequenceNumber};
use reqwest::StatusCode;
use serde_json::Value;

use crate::http_client::{Event, Stream, Web, body, message_id};
use crate::people::{Group, said, text};
use crate::web::WebSocket;

#[tokio::test]
async fn one_conversation_reads_the_same_by_tcp_web_socket_and_events() {
    let mut cluster = Cluster::start().await.unwrap();
    let mut group = Group::make(&cluster).await;
    let conversation = group.conversation;
    let (mut cleo, welcome) = WebSocket::welcomed(&cluster, "cleo", None).await;
    let cleo_id = AccountId(welcome.account.unwrap().account_id);
    let joining = [cleo_id];
    let members = group.ana.client.change_members(conversation, &joining, &[]);
    members.await.unwrap();
    let web = Web::new(&cluster, "bo");
    let mut stream = web.stream(conversation, "0").await;
    let last = several_speak(&group, &web).await;

    let heard = group
        .bo
        .hear_up_to(conversation, SequenceNumber(last))
        .await;
    let texts = heard
        .iter()
        .filter(|message| matches!(message.content, Content::Text(_)));
    let texts = texts.map(|message| (message.sequence.0, said(message).to_owned()));
    let tcp: Vec<_> = texts.collect();
    assert_eq!(tcp.len(), 150);

    let told = stream.up_to(last).await;
    let numbers: Vec<_> = told.iter().map(Event::sequence).collect();
    assert_eq!(
        numbers,
        (1..=last).collect::<Vec<_>>(),
        "without gaps, once"
    );
    assert_eq!(
        told.iter().filter_map(Event::words).collect::<Vec<_>>(),
        tcp
    );

    let mut socket: Vec<(u64, String)> = Vec::new();
    while socket.last().is_none_or(|(sequence, _)| *sequence < last) {
        let push: Push = decode_body(cleo.hear_kind(kind::PUSH).await.body).unwrap();
        socket.extend(push.entries.iter().filter_map(words));
    }
    assert_eq!(socket, tcp);

    // Coming back with the id of any event gives what is after it.
    let middle = &told[70];
    drop(stream);
    let mut resumed = web.stream(conversation, &middle.id).await;
    let rest = resumed.up_to(last).await;
    assert_eq!(rest[0].sequence(), middle.sequence() + 1);
    assert_eq!(rest.len(), told.len() - 71);
    // And then what comes, from a router that was killed in between, too.
    cluster.kill(Tier::Router).await.unwrap();
    let sent = group.ana.client.send(conversation, text("后来")).await;
    let new = resumed.up_to(sent.unwrap().sequence.0).await;
    assert_eq!(new.last().unwrap().data["content"]["text"], "后来");
    bounded(&web, conversation, resumed).await;
}

/// By TCP and by HTTP at once. Returns the last number.
async fn several_speak(group: &Group, web: &Web) -> u64 {
    let conversation = group.conversation;
    let by_tcp = async {
        let mut last = 0;
        for n in 0..100 {
            let sent = group.ana.client.send(conversation, text(format!("甲{n}")));
            last = sent.await.unwrap().sequence.0;
        }
        last
    };
    let by_http = async {
        let mut last = 0;
        for n in 0..50_u8 {
            let said = body(conversation, message_id(n + 10), &format!("乙{n}"));
            let (status, sent) = web.send(&said).await;
            assert_eq!(status, StatusCode::OK, "{sent}");
            last = sent["sequence"].as_u64().unwrap();
        }
        last
    };
    let (tcp, http) = tokio::join!(by_tcp, by_http);
    tcp.max(http)
}

fn words(entry: &Entry) -> Option<(u64, String)> {
    match protocol::content::decode(&entry.content) {
        Ok(Content::Text(text)) => Some((entry.sequence, text.text)),
        _ => None,
    }
}

/// Streams of one account are few, and one more is told when to come again.
async fn bounded(web: &Web, conversation: ConversationId, first: Stream) {
    let mut open = vec![first];
    for _ in 0..3 {
        open.push(web.stream(conversation, "0").await);
    }
    let path = format!("{}/v1/conversations/{conversation}/events", web.base);
    let one_more = web
        .client
        .get(path)
        .bearer_auth(&web.token)
        .send()
        .await
        .unwrap();
    assert_eq!(one_more.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(one_more.headers()["retry-after"], "1");
    let said: Value = one_more.json().await.unwrap();
    assert_eq!(said["error"]["code"], "RATE_LIMITED");
    assert!(said["error"]["retry_after_ms"].as_u64().unwrap() > 0);
}
