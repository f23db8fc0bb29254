//! What a client may get wrong, against the real tiers: each a typed error, and a cluster that
//! stays up.

use bench::cluster::Cluster;
use deploy::authority::Authority;
use protocol::content;
use protocol::kind::client as kind;
use protocol::limits::{CONTENT_BYTES_MAX, FRAME_BYTES_MAX, HELLO_FRAME_BYTES_MAX};
use protocol::wire::{EntryKind, Feature, Hello, Ping, Pull, Send};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode};
use service_kit::clock;

use crate::raw::{Raw, hello, raw_frame, token};

fn send_to(conversation: ConversationId, id: u8, bytes: usize) -> Send {
    Send {
        conversation_id: conversation.to_bytes(),
        client_message_id: ClientMessageId::new(clock::unix_ms(), [id; 10]).to_bytes(),
        kind: EntryKind::Text.into(),
        content: content::encode(content::text("x".repeat(bytes))),
        ..Send::default()
    }
}

#[tokio::test]
async fn what_is_wrong_gets_a_typed_error_and_the_cluster_stays_up() {
    let cluster = Cluster::start().await.unwrap();
    let before = cluster.run_file().unwrap();
    frames(&cluster).await;
    introductions(&cluster).await;
    messages(&cluster).await;
    expansion(&cluster).await;
    certificates(&cluster).await;
    let after = cluster.run_file().unwrap();
    assert_eq!(before.tiers, after.tiers, "a tier was restarted");
    Raw::operator(&cluster, "still-there").await;
}

async fn frames(cluster: &Cluster) {
    let closing = [
        (
            raw_frame(1, 0, kind::PING, u32::MAX, &[]),
            ErrorCode::FrameTooLong,
        ),
        (
            raw_frame(
                1,
                0,
                kind::PING,
                u32::try_from(FRAME_BYTES_MAX).unwrap(),
                &[],
            ),
            ErrorCode::FrameTooLong,
        ),
        (raw_frame(1, 0, kind::PING, 3, &[]), ErrorCode::BadFrame),
        (
            raw_frame(9, 0, kind::PING, 12, &[]),
            ErrorCode::UnsupportedVersion,
        ),
        (raw_frame(1, 0x80, kind::PING, 12, &[]), ErrorCode::BadFrame),
        (
            raw_frame(1, 0, kind::SEND, 14, &[0xff, 0xff]),
            ErrorCode::BadFrame,
        ),
    ];
    for (bytes, code) in closing {
        let mut raw = Raw::operator(cluster, "ana").await;
        raw.write(&bytes).await;
        assert_eq!(raw.refusal().await.code, code);
        assert!(raw.is_closed().await, "{code:?} closes");
    }
    // Truncated: half a frame, and the connection ends. Nobody is left to tell.
    let mut raw = Raw::operator(cluster, "ana").await;
    raw.write(&raw_frame(1, 0, kind::PING, 100, &[1, 2, 3]))
        .await;
    drop(raw);

    let mut raw = Raw::operator(cluster, "ana").await;
    raw.say(999, 5, &Ping::default()).await;
    assert_eq!(raw.refusal().await.code, ErrorCode::UnknownKind);
    raw.say(kind::PING, 6, &Ping::default()).await;
    assert_eq!(
        raw.hear().await.unwrap().kind,
        kind::PONG,
        "the session goes on"
    );
}

async fn introductions(cluster: &Cluster) {
    let hello_of = |token: &str, versions: (u32, u32)| Hello {
        min_version: versions.0,
        max_version: versions.1,
        ..hello(token)
    };
    let good = token(cluster, "ana", 60_000);
    let forged = format!("{}x", &good[..good.len() - 1]);
    let cases = [
        (hello_of("", (1, 1)), ErrorCode::Unauthenticated),
        (hello_of("not a token", (1, 1)), ErrorCode::Unauthenticated),
        (hello_of(&forged, (1, 1)), ErrorCode::Unauthenticated),
        (
            hello_of(&token(cluster, "ana", 0), (1, 1)),
            ErrorCode::TokenExpired,
        ),
        (hello_of(&good, (7, 9)), ErrorCode::UnsupportedVersion),
    ];
    for (hello, code) in cases {
        let mut raw = Raw::connect(cluster, None).await.unwrap();
        raw.say(kind::HELLO, 1, &hello).await;
        assert_eq!(raw.refusal().await.code, code);
        assert!(raw.is_closed().await, "{code:?} closes");
    }
    let mut early = Raw::connect(cluster, None).await.unwrap();
    early.say(kind::PING, 1, &Ping::default()).await;
    assert_eq!(early.refusal().await.code, ErrorCode::WrongState);
    let mut long = Raw::connect(cluster, None).await.unwrap();
    let length = u32::try_from(HELLO_FRAME_BYTES_MAX).unwrap();
    long.write(&raw_frame(1, 0, kind::HELLO, length, &[])).await;
    assert_eq!(long.refusal().await.code, ErrorCode::FrameTooLong);
}

async fn messages(cluster: &Cluster) {
    let mut raw = Raw::operator(cluster, "ana").await;
    let nowhere = ConversationId::group(4711);
    let others = ConversationId::pair(AccountId(1), AccountId(2));
    let cases = [
        (send_to(nowhere, 1, 1), ErrorCode::NoSuchConversation),
        (send_to(others, 2, 1), ErrorCode::NotAMember),
        (
            send_to(nowhere, 3, CONTENT_BYTES_MAX),
            ErrorCode::ContentTooLong,
        ),
        (
            Send {
                conversation_id: vec![1, 2, 3].into(),
                ..send_to(nowhere, 4, 1)
            },
            ErrorCode::BadRequest,
        ),
    ];
    for (send, code) in cases {
        raw.say(kind::SEND, 5, &send).await;
        assert_eq!(raw.refusal().await.code, code);
    }
    let pull = Pull {
        conversation_id: nowhere.to_bytes(),
        ..Pull::default()
    };
    raw.say(kind::PULL, 6, &pull).await;
    assert_eq!(raw.refusal().await.code, ErrorCode::NoSuchConversation);
}

/// A few bytes that would become many.
async fn expansion(cluster: &Cluster) {
    let bomb = zstd::bulk::compress(&vec![0; 64 * 1024 * 1024], 1).unwrap();
    assert!(bomb.len() < FRAME_BYTES_MAX);
    let length = u32::try_from(bomb.len() + 12).unwrap();
    let mut raw = Raw::connect(cluster, None).await.unwrap();
    let hello = Hello {
        features: vec![Feature::Zstd.into()],
        ..hello(&token(cluster, "ana", 60_000))
    };
    raw.say(kind::HELLO, 1, &hello).await;
    assert_eq!(raw.hear().await.unwrap().kind, kind::WELCOME);
    raw.write(&raw_frame(1, 1, kind::SEND, length, &bomb)).await;
    assert_eq!(raw.refusal().await.code, ErrorCode::FrameTooLong);
    // Not negotiated: not even looked at.
    let mut raw = Raw::operator(cluster, "ana").await;
    raw.write(&raw_frame(1, 1, kind::SEND, length, &bomb)).await;
    assert_eq!(raw.refusal().await.code, ErrorCode::BadFrame);
}

async fn certificates(cluster: &Cluster) {
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Authority::open(elsewhere.path(), clock::unix_ms()).unwrap();
    let files = stranger.robot("lift-1", clock::unix_ms()).unwrap();
    // In TLS 1.3 the client learns that it was refused with the first thing that it reads.
    let closed = match Raw::connect(cluster, Some(&files)).await {
        Ok(mut raw) => raw.is_closed().await,
        Err(_) => true,
    };
    assert!(closed, "a robot of another authority got in");
    let tier = cluster.authority().tier_certificate("im-logic");
    let closed = match Raw::connect(cluster, Some(&tier)).await {
        Ok(mut raw) => raw.is_closed().await,
        Err(_) => true,
    };
    assert!(closed, "a tier's certificate passed for a robot's");
}
