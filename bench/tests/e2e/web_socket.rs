//! A WebSocket is a session like any other: the same frames, accounts, limits and errors, beside
//! clients that speak TCP.

use bench::cluster::Cluster;
use protocol::content;
use protocol::error::decode_body;
use protocol::kind::client as kind;
use protocol::limits::FRAME_BYTES_MAX;
use protocol::wire::{Entry, EntryKind, Ping, Pong, Push, Send, SendAck};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode};
use service_kit::clock;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::people::{Person, said, text};
use crate::raw::{hello, raw_frame, token};
use crate::web::WebSocket;

fn words(conversation: ConversationId, id: u8, words: &str) -> Send {
    Send {
        conversation_id: conversation.to_bytes(),
        client_message_id: ClientMessageId::new(clock::unix_ms(), [id; 10]).to_bytes(),
        kind: EntryKind::Text.into(),
        content: content::encode(text(words)),
        ..Send::default()
    }
}

async fn next_entry(socket: &mut WebSocket) -> Entry {
    let push: Push = decode_body(socket.hear_kind(kind::PUSH).await.body).unwrap();
    assert_eq!(push.entries.len(), 1);
    push.entries.into_iter().next().unwrap()
}

#[tokio::test]
async fn a_web_socket_takes_part_beside_tcp() {
    let cluster = Cluster::start().await.unwrap();
    let printed = cluster.printed("WebSocket at /v1/ws").await.unwrap();
    let address = cluster.run_file().unwrap().addresses.http.to_string();
    assert!(printed.contains(&address), "{printed}");

    let (mut cleo, welcome) = WebSocket::welcomed(&cluster, "cleo", None).await;
    let cleo_id = AccountId(welcome.account.unwrap().account_id);
    let mut ana = Person::connect(cluster.operator("ana").unwrap()).await;
    let group = ana.client.create_group("船坞", &[cleo_id]).await.unwrap();
    cleo.hear_kind(kind::MEMBERSHIP_NOTICE).await;

    // A push is a hint: until the gateway knows who is in the new group it tells heads.
    let ready = content::encode(text("准备"));
    'ready: loop {
        let sent = ana.client.send(group, text("准备")).await;
        sent.unwrap();
        loop {
            let frame = cleo.hear().await.unwrap();
            if frame.kind == kind::HEAD {
                break;
            }
            if frame.kind == kind::PUSH {
                let push: Push = decode_body(frame.body).unwrap();
                if push.entries.iter().any(|entry| entry.content == ready) {
                    break 'ready;
                }
            }
        }
    }

    // From TCP to the WebSocket, in order.
    for n in 0..20 {
        let sent = ana.client.send(group, text(format!("第{n}句"))).await;
        sent.unwrap();
    }
    let mut heard = Vec::new();
    while heard.len() < 20 {
        let entry = next_entry(&mut cleo).await;
        if entry.kind == EntryKind::Text as i32 && entry.content != ready {
            let expected = content::encode(text(format!("第{}句", heard.len())));
            assert_eq!(entry.content, expected);
            heard.push(entry.sequence);
        }
    }
    assert!(heard.is_sorted(), "{heard:?}");

    // And back; the same id is the same message.
    let send = words(group, 7, "你好，安娜");
    cleo.say(kind::SEND, 2, &send).await;
    let ack: SendAck = decode_body(cleo.hear_kind(kind::SEND_ACK).await.body).unwrap();
    assert!(ack.sequence > *heard.last().unwrap() && !ack.duplicate);
    cleo.say(kind::SEND, 3, &send).await;
    let again: SendAck = decode_body(cleo.hear_kind(kind::SEND_ACK).await.body).unwrap();
    assert_eq!((again.sequence, again.duplicate), (ack.sequence, true));
    loop {
        let message = ana.hear_text(group).await;
        if message.sender == cleo_id {
            assert_eq!(said(&message), "你好，安娜");
            assert_eq!(message.sequence.0, ack.sequence);
            break;
        }
    }

    cleo.say(kind::PING, 4, &Ping { sent_at_ms: 5 }).await;
    let pong: Pong = decode_body(cleo.hear_kind(kind::PONG).await.body).unwrap();
    assert_eq!(pong.ping_sent_at_ms, 5);

    // A robot is known by its certificate here too.
    let files = cluster.authority().robot("lift-1", clock::unix_ms());
    let (_lift, welcome) = WebSocket::welcomed(&cluster, "", Some(&files.unwrap())).await;
    assert_eq!(welcome.account.unwrap().name, "lift-1");
    refusals(&cluster).await;
}

async fn refusals(cluster: &Cluster) {
    let mut stranger = WebSocket::open(cluster, None).await.unwrap();
    stranger.say(kind::HELLO, 1, &hello("not a token")).await;
    assert_eq!(stranger.refusal().await.code, ErrorCode::Unauthenticated);
    assert!(stranger.is_closed().await);

    let mut hasty = WebSocket::open(cluster, None).await.unwrap();
    hasty.say(kind::PING, 1, &Ping::default()).await;
    assert_eq!(hasty.refusal().await.code, ErrorCode::WrongState);
    assert!(hasty.is_closed().await);

    let half = raw_frame(1, 0, kind::PING, 100, &[1, 2, 3]);
    let long = vec![0; FRAME_BYTES_MAX + 1];
    let cases = [
        (Message::text("{}"), ErrorCode::BadFrame),
        (Message::Binary(half), ErrorCode::BadFrame),
        (Message::Binary(long.into()), ErrorCode::FrameTooLong),
    ];
    for (message, code) in cases {
        let (mut socket, _) = WebSocket::welcomed(cluster, "cleo", None).await;
        socket.say_message(message).await;
        assert_eq!(socket.refusal().await.code, code);
        assert!(socket.is_closed().await, "{code:?} closes");
    }
    // Two frames in one message are two frames.
    let (mut socket, _) = WebSocket::welcomed(cluster, "cleo", None).await;
    let ping = raw_frame(1, 0, kind::PING, 12, &[]);
    let both = [ping.as_ref(), ping.as_ref()].concat();
    socket.say_message(Message::Binary(both.into())).await;
    socket.hear_kind(kind::PONG).await;
    socket.hear_kind(kind::PONG).await;

    // A token of a moment that is over.
    let mut late = WebSocket::open(cluster, None).await.unwrap();
    let expired = token(cluster, "cleo", 0);
    late.say(kind::HELLO, 1, &hello(&expired)).await;
    assert_eq!(late.refusal().await.code, ErrorCode::TokenExpired);

    // What is no WebSocket is told so.
    let stream = crate::web::dial(cluster, None).await;
    let refused = tokio_tungstenite::client_async("wss://localhost/v2/ws", stream).await;
    let Err(Error::Http(response)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(response.status(), 404);
}
