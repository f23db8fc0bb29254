//! Searching over the real tiers: by words, Chinese too, by sender, kind and time; what the asker may
//! read, and nothing that was taken back.

use bench::cluster::{Cluster, swarm};
use client_sdk::{
    Client, Content, ConversationId, EntryKind, Error, ErrorCode, Role, Search, SequenceNumber,
    content,
};

use crate::people::{Group, Person, WAIT, text};

/// Ends when words are searched up to this entry.
async fn indexed(client: &Client, at: ConversationId, up_to: SequenceNumber) {
    let indexing = async {
        loop {
            let found = client.search(at, Search::text("x")).await.unwrap();
            if found.indexed_up_to >= up_to {
                return;
            }
        }
    };
    tokio::time::timeout(WAIT, indexing).await.unwrap();
}

async fn found(client: &Client, at: ConversationId, search: Search) -> Vec<u64> {
    let found = client.search(at, search).await.unwrap();
    found.entries.iter().map(|entry| entry.sequence.0).collect()
}

/// What `swarm search` finds as Bo.
async fn by_command(cluster: &Cluster) -> Vec<u64> {
    let mut command = swarm().unwrap();
    let command = command.args(["search", "演示", "箱子", "--as", "bo", "--json", "--state"]);
    let output = command.arg(cluster.state()).output();
    let output = tokio::time::timeout(WAIT, output).await.unwrap().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    told["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["sequence"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn history_is_found_by_words_sender_kind_and_time() {
    let cluster = Cluster::start().await.unwrap();
    let group = Group::make(&cluster).await;
    let (at, ana, bo) = (group.conversation, &group.ana.client, &group.bo.client);
    let one = ana
        .send(at, text("把三个箱子搬到充电站旁边"))
        .await
        .unwrap();
    let two = bo
        .send(at, text("Charging station is busy, 箱子 later"))
        .await
        .unwrap();
    let three = ana
        .send(at, content::instruction("清扫 B 区"))
        .await
        .unwrap();
    let secret = ana.send(at, text("密码是箱子")).await.unwrap();
    let gone = ana.recall(at, secret.sequence).await.unwrap();
    indexed(ana, at, gone.sequence).await;
    let (one, two, three) = (one.sequence.0, two.sequence.0, three);
    for (words, expected) in [
        ("箱子", vec![two, one]),
        ("充电", vec![one]),
        ("站", vec![one]),
        ("charg BUSY", vec![two]),
        ("箱子 station", vec![two]),
        ("清扫 b", vec![three.sequence.0]),
        ("密码", vec![]),
        ("子箱", vec![]),
    ] {
        assert_eq!(
            found(bo, at, Search::text(words)).await,
            expected,
            "{words}"
        );
    }
    let by_bo = Search {
        senders: vec![bo.account().id],
        ..Search::default()
    };
    assert_eq!(found(ana, at, by_bo).await, [two]);
    let asked = Search {
        kinds: vec![EntryKind::Instruction],
        ..Search::default()
    };
    assert_eq!(found(ana, at, asked).await, [three.sequence.0]);
    let later = Search {
        committed_from_ms: three.committed_at_ms,
        kinds: vec![EntryKind::Text, EntryKind::Instruction],
        ..Search::default()
    };
    assert!(found(ana, at, later).await.contains(&three.sequence.0));
    let earlier = Search {
        committed_before_ms: 1,
        ..Search::default()
    };
    assert!(found(ana, at, earlier).await.is_empty());
    let nothing = bo.search(at, Search::text("?!")).await;
    assert!(matches!(nothing, Err(Error::Refused(why)) if why.code == ErrorCode::BadRequest));

    let numbers = by_command(&cluster).await;
    assert_eq!(numbers, [two, one]);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_search_finds_what_the_asker_may_read_page_by_page() {
    let cluster = Cluster::start().await.unwrap();
    let group = Group::make(&cluster).await;
    let (at, ana) = (group.conversation, &group.ana.client);
    let cy = Person::connect(cluster.operator("cy").unwrap()).await;
    let cy_id = cy.client.account().id;
    ana.send(at, text("巡检之前")).await.unwrap();
    ana.add_members(at, &[cy_id], Role::Observer).await.unwrap();
    let mut while_in = Vec::new();
    for n in 0..25 {
        let said = ana.send(at, text(format!("巡检第{n}圈"))).await.unwrap();
        while_in.push(said.sequence.0);
    }
    ana.change_members(at, &[], &[cy_id]).await.unwrap();
    let after = ana.send(at, text("巡检之后")).await.unwrap();
    indexed(ana, at, after.sequence).await;

    // Cy, who is gone, finds what was said while it was in.
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = Search {
            before,
            limit: 10,
            ..Search::text("巡检")
        };
        let page = cy.client.search(at, page).await.unwrap();
        assert!(page.entries.len() <= 10);
        let said = |entry: &client_sdk::Entry| matches!(entry.content, Some(Content::Text(_)));
        assert!(page.entries.iter().all(said));
        seen.extend(page.entries.iter().map(|entry| entry.sequence.0));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    while_in.reverse();
    assert_eq!(seen, while_in);
    let all = Search {
        limit: 100,
        ..Search::text("巡检")
    };
    assert_eq!(found(ana, at, all).await.len(), 27);
    let stranger = Person::connect(cluster.operator("dan").unwrap()).await;
    let refused = stranger.client.search(at, Search::text("巡检")).await;
    assert!(matches!(refused, Err(Error::Refused(why)) if why.code == ErrorCode::NotAMember));
    cluster.stop().await.unwrap();
}
