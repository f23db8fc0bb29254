//! Live analysis: what is committed, filtered by the server, by the SDK and by a WebSocket.

use std::time::Duration;

use bench::cluster::Cluster;
use client_sdk::{
    AccountId, Client, ConversationId, EntryKind, Error, ErrorCode, Gap, Outgoing, Seen, Watch,
    WatchFilter,
};
use deploy::tiers::Tier;
use protocol::content;
use protocol::error::decode_body;
use protocol::kind::client as kind;
use protocol::wire::{self, WatchScope, Watched};

use crate::people::{Person, WAIT, text};
use crate::web::WebSocket;

/// Those who may analyse the fleet.
const ANALYSTS: (&str, &str) = ("IM_LOGIC__ANALYSIS__ACCOUNTS", "eve");

async fn cluster() -> Cluster {
    let folder = tempfile::tempdir().unwrap();
    Cluster::start_told(folder, &[], &[ANALYSTS]).await.unwrap()
}

async fn heard(watch: &mut Watch) -> Seen {
    tokio::time::timeout(WAIT, watch.next())
        .await
        .unwrap()
        .unwrap()
}

/// The number and the words of the next entry.
async fn entry(watch: &mut Watch) -> (ConversationId, u64, String) {
    loop {
        if let Seen::Entry(entry) = heard(watch).await {
            let Some(content::Content::Text(text)) = entry.content else {
                panic!("{entry:?}");
            };
            return (entry.conversation, entry.sequence.0, text.text);
        }
    }
}

async fn gap(watch: &mut Watch) -> Gap {
    loop {
        if let Seen::Gap(gap) = heard(watch).await {
            return gap;
        }
    }
}

async fn say(client: &Client, group: ConversationId, words: &str, mentions: &[AccountId]) -> u64 {
    let message = Outgoing::new(group, text(words)).mentions(mentions);
    client.send_with(message).await.unwrap().sequence.0
}

#[tokio::test]
async fn the_server_filters_what_is_watched() {
    let cluster = cluster().await;
    let ana = Person::connect(cluster.operator("ana").unwrap())
        .await
        .client;
    let bo = Person::connect(cluster.operator("bo").unwrap())
        .await
        .client;
    let eve = Person::connect(cluster.operator("eve").unwrap())
        .await
        .client;
    let bo_id = bo.account().id;
    let group = ana.create_group("一号库", &[bo_id]).await.unwrap();
    let other = ana.create_group("二号库", &[]).await.unwrap();

    // Who is no analyst watches the own conversations, and nothing else.
    let refused = bo.watch(WatchFilter::fleet()).await.unwrap_err();
    let Error::Refused(refusal) = refused else {
        panic!("{refused}");
    };
    assert_eq!(refusal.code, ErrorCode::Forbidden);
    let mut own = bo
        .watch(WatchFilter {
            words: vec!["托盘".into()],
            ..WatchFilter::own()
        })
        .await
        .unwrap();

    // An analyst who is in none of them: by kind, word and mention at once, and by group.
    let mut fleet = eve
        .watch(WatchFilter {
            kinds: vec![EntryKind::Text],
            mentions: vec![bo_id],
            ..WatchFilter::fleet()
        })
        .await
        .unwrap();
    let (mut socket, _) = WebSocket::welcomed(&cluster, "eve", None).await;
    let asked = wire::Watch {
        filter: Some(wire::WatchFilter {
            senders: vec![ana.account().id.0],
            conversation_ids: vec![other.to_bytes()],
            ..wire::WatchFilter::default()
        }),
        scope: WatchScope::Fleet.into(),
        stop: false,
    };
    socket.say(kind::WATCH, 2, &asked).await;
    let answer = socket.hear_kind(kind::WATCHED).await;
    assert_eq!(answer.correlation, 2);

    let private = ConversationId::pair(ana.account().id, bo_id);
    say(&ana, private, "私下说托盘", &[bo_id]).await;
    say(&ana, group, "三号托盘在哪", &[]).await;
    let named = say(&ana, group, "@bo 快一点", &[bo_id]).await;
    let there = say(&ana, other, "只有二号库", &[bo_id]).await;
    let last = say(&bo, group, "托盘到了", &[]).await;

    assert_eq!(entry(&mut fleet).await, (group, named, "@bo 快一点".into()));
    assert_eq!(entry(&mut fleet).await, (other, there, "只有二号库".into()));
    let told: Watched = decode_body(socket.hear_kind(kind::WATCHED).await.body).unwrap();
    let told = &told.entries[0];
    assert_eq!(
        (&told.conversation_id[..], told.sequence),
        (&other.to_bytes()[..], there)
    );

    let mut mine = vec![entry(&mut own).await.2, entry(&mut own).await.2];
    mine.push(entry(&mut own).await.2);
    mine.sort();
    let mut expected = vec!["私下说托盘", "三号托盘在哪", "托盘到了"];
    expected.sort_unstable();
    assert_eq!(mine, expected);

    // Nobody hears of anything any more.
    drop((own, fleet));
    assert!(say(&ana, group, "托盘", &[bo_id]).await > last);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn who_reads_too_slowly_or_loses_the_router_is_told_of_the_gap() {
    let mut cluster = cluster().await;
    let ana = Person::connect(cluster.operator("ana").unwrap())
        .await
        .client;
    let group = ana.create_group("船坞", &[]).await.unwrap();
    let (mut socket, _) = WebSocket::welcomed(&cluster, "eve", None).await;
    let asked = wire::Watch {
        filter: None,
        scope: WatchScope::Fleet.into(),
        stop: false,
    };
    socket.say(kind::WATCH, 2, &asked).await;
    socket.hear_kind(kind::WATCHED).await;
    // More than its socket and its queue hold, while nobody reads.
    let long = "满".repeat(20_000);
    let mut last = 0;
    for _ in 0..300 {
        last = say(&ana, group, &long, &[]).await;
    }
    let (mut told, mut missed, mut gap_last) = (0, 0, 0);
    while told + missed < 300 {
        let watched: Watched = decode_body(socket.hear_kind(kind::WATCHED).await.body).unwrap();
        told += watched.entries.len() as u64;
        for gap in &watched.gaps {
            assert_eq!(gap.conversation_id, group.to_bytes());
            missed += gap.missed;
            gap_last = gap.last;
        }
    }
    assert!(missed > 0, "all {told} fitted");
    assert_eq!((told + missed, gap_last <= last), (300, true));

    let eve = Person::connect(cluster.operator("eve").unwrap())
        .await
        .client;
    let mut watch = eve.watch(WatchFilter::fleet()).await.unwrap();
    cluster.kill(Tier::Router).await.unwrap();
    let gap = tokio::time::timeout(Duration::from_secs(20), gap(&mut watch)).await;
    assert_eq!(gap.unwrap().conversation, None);
    // From some moment on everything is told again.
    let next = async {
        loop {
            let said = say(&ana, group, "又好了", &[]).await;
            let heard = tokio::time::timeout(Duration::from_millis(500), entry(&mut watch)).await;
            if let Ok((_, sequence, words)) = heard
                && words == "又好了"
            {
                break sequence <= said;
            }
        }
    };
    assert!(tokio::time::timeout(WAIT, next).await.unwrap());
    cluster.stop().await.unwrap();
}
