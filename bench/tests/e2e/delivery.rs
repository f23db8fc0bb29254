//! What is promised while nothing fails.

use bench::cluster::Cluster;
use client_sdk::content::Content;
use client_sdk::{Client, ConversationId, Error, Event, SequenceNumber, StartFrom};

use crate::people::{self, Group, Person, said, text};

const EACH: usize = 100;

#[tokio::test]
async fn every_member_hears_the_same_log_and_history_outlives_a_restart() {
    let cluster = Cluster::start().await.unwrap();
    let mut group = Group::make(&cluster).await;
    let speak = |client: Client, name: &'static str| async move {
        let sends: Vec<_> = (0..EACH)
            .map(|n| {
                let outgoing =
                    client_sdk::Outgoing::new(group.conversation, text(format!("{name} {n} 号")));
                client.send_nowait(outgoing)
            })
            .collect();
        let mut last = SequenceNumber::ZERO;
        for send in sends {
            let receipt = send.await.unwrap();
            assert!(receipt.sequence > last, "a sender's own order is kept");
            last = receipt.sequence;
        }
        last
    };
    let (a, b) = tokio::join!(
        speak(group.ana.client.clone(), "ana"),
        speak(group.bo.client.clone(), "bo")
    );
    let last = a.max(b);
    let by_ana = group.ana.hear_up_to(group.conversation, last).await;
    let by_bo = group.bo.hear_up_to(group.conversation, last).await;
    let log = |heard: &[client_sdk::Message]| -> Vec<_> {
        let texts = heard
            .iter()
            .filter(|m| matches!(m.content, Content::Text(_)));
        texts.map(|m| (m.sequence, said(m).to_owned())).collect()
    };
    assert_eq!(log(&by_ana), log(&by_bo));
    assert_eq!(log(&by_ana).len(), 2 * EACH);

    let (status, folder) = cluster.stop().await.unwrap();
    assert!(status.success(), "{status}");
    let cluster = Cluster::start_in(folder, 1).await.unwrap();
    let ana = Person::connect(cluster.operator("ana").unwrap()).await;
    let yesterday = ana
        .client
        .history(group.conversation, SequenceNumber::ZERO)
        .await
        .unwrap();
    let numbers: Vec<_> = yesterday.iter().map(|entry| entry.sequence.0).collect();
    assert_eq!(numbers, (1..=last.0).collect::<Vec<_>>());
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn members_come_and_go_and_see_what_they_are_entitled_to() {
    let cluster = Cluster::start().await.unwrap();
    let mut group = Group::make(&cluster).await;
    let (conversation, ana) = (group.conversation, group.ana.client.clone());
    ana.send(conversation, text("before cy")).await.unwrap();
    let (cy, mut cy_events) = Client::connect(cluster.operator("cy").unwrap())
        .await
        .unwrap();
    let id = cy.account().id;
    ana.change_members(conversation, &[id], &[]).await.unwrap();
    ana.send(conversation, text("with cy")).await.unwrap();
    let joined = loop {
        match cy_events.next().await.unwrap() {
            Event::Joined { conversation, name } => break (conversation, name),
            Event::Message(message) => panic!("before it was told: {message:?}"),
            Event::Ephemeral(_)
            | Event::Left { .. }
            | Event::Trimmed { .. }
            | Event::Parted { .. }
            | Event::EmergencyStop(_)
            | Event::EmergencyReleased(_)
            | Event::Marked { .. }
            | Event::Connected
            | Event::Disconnected { .. }
            | Event::Closed { .. } => {}
        }
    };
    assert_eq!(joined, (conversation, "演示".to_owned()));
    let mut cy = Person::of(cy, cy_events);
    let heard = cy.hear_text(conversation).await;
    assert_eq!(said(&heard), "with cy");

    ana.change_members(conversation, &[], &[id]).await.unwrap();
    let last = ana
        .send(conversation, text("without cy"))
        .await
        .unwrap()
        .sequence;
    let refused = cy
        .client
        .send(conversation, text("let me"))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("NOT_A_MEMBER"), "{refused}");
    let page = cy
        .client
        .pull(conversation, SequenceNumber::ZERO, 0)
        .await
        .unwrap();
    assert_eq!(page.head, last);
    let seen: Vec<_> = page
        .entries
        .iter()
        .map(|entry| entry.content.is_some())
        .collect();
    // The group, "before cy", the join, "with cy", the leave, "without cy".
    assert_eq!(seen, [false, false, true, true, true, false]);
    group.bo.hear_up_to(conversation, last).await;
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_pair_needs_no_set_up_and_marks_are_where_a_new_run_begins() {
    let cluster = Cluster::start().await.unwrap();
    let ana = Person::connect(cluster.operator("ana").unwrap()).await;
    let mut robot = Person::connect(cluster.robot("lift-1").unwrap()).await;
    let pair = ana.client.pair_with(robot.client.account().id);
    for n in 1..=3 {
        ana.client.send(pair, text(format!("{n}"))).await.unwrap();
    }
    for n in 1..=2 {
        assert_eq!(said(&robot.hear(pair).await), n.to_string());
    }
    // Marks are written behind: the next run begins where the store knows this one to have been.
    marked(&robot, pair, 2).await;
    robot.client.close().await;

    let mut again = Person::connect(cluster.robot("lift-1").unwrap()).await;
    let heard = again.hear(pair).await;
    assert_eq!((said(&heard), heard.redelivered), ("3", false));
    let mut beginning = cluster.robot("lift-1").unwrap();
    beginning.start_from = StartFrom::Beginning;
    again.client.close().await;
    let mut beginning = Person::connect(beginning).await;
    let heard = beginning.hear(pair).await;
    assert_eq!((said(&heard), heard.redelivered), ("1", true));

    let stranger = Person::connect(cluster.operator("cy").unwrap()).await;
    let refused = stranger
        .client
        .pull(pair, SequenceNumber::ZERO, 0)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Refused(_)), "{refused}");
    cluster.stop().await.unwrap();
}

/// Waits until the store knows that everything up to here was delivered.
async fn marked(person: &Person, conversation: ConversationId, delivered: u64) {
    let asking = async {
        loop {
            let known = person.client.conversations().await.unwrap();
            let is_there = |known: &client_sdk::message::Conversation| {
                known.id == conversation && known.delivered.0 >= delivered
            };
            if known.iter().any(is_there) {
                return;
            }
        }
    };
    let marked = tokio::time::timeout(people::WAIT, asking).await;
    assert!(marked.is_ok(), "the mark does not arrive");
}
