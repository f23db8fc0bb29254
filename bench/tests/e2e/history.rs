//! What a log shows over the real tiers: taken back, said anew, read back, lacked, trimmed.

use bench::cluster::Cluster;
use bench::wait::metric_at_least;
use client_sdk::{
    Client, ClientMessageId, Content, ConversationId, EntryKind, ErrorCode, Event, Events,
    MarkKind, Outgoing, Receipt, Relation, SendError, SequenceNumber,
};
use deploy::tiers::Tier;
use im_store::shard::ID_HORIZON_MS;
use protocol::wire;
use service_kit::clock;

use crate::people::{Group, Person, WAIT, said, text};

fn code(result: Result<Receipt, SendError>) -> ErrorCode {
    match result {
        Err(SendError::Refused(refusal)) => refusal.code,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn what_was_said_is_taken_back_or_said_anew_by_its_sender_alone() {
    let cluster = Cluster::start().await.unwrap();
    let mut group = Group::make(&cluster).await;
    let (at, ana, bo) = (
        group.conversation,
        &group.ana.client,
        group.bo.client.clone(),
    );
    let first = ana.send(at, text("左边")).await.unwrap().sequence;
    let second = ana.send(at, text("密码")).await.unwrap().sequence;
    let third = bo.send(at, text("好")).await.unwrap().sequence;
    let edit = ana.edit(at, first, text("右边")).await.unwrap().sequence;
    let recall = ana.recall(at, second).await.unwrap().sequence;

    assert_eq!(code(ana.recall(at, third).await), ErrorCode::Forbidden);
    assert_eq!(
        code(ana.recall(at, SequenceNumber(1)).await),
        ErrorCode::Forbidden
    );
    assert_eq!(code(ana.recall(at, second).await), ErrorCode::NoSuchEntry);
    let beyond = SequenceNumber(99);
    assert_eq!(
        code(ana.edit(at, beyond, text("?")).await),
        ErrorCode::NoSuchEntry
    );
    let plan = content_of_a_plan();
    assert_eq!(code(ana.edit(at, first, plan).await), ErrorCode::BadRequest);

    // Bo, who heard it all, is told what became of it; the log shows what is left.
    let heard = group.bo.hear_up_to(at, recall).await;
    let relations: Vec<_> = heard.iter().filter_map(|m| m.relation()).collect();
    assert_eq!(
        relations,
        [Relation::Edited(first), Relation::Recalled(second)]
    );
    let log = bo.history_back(at, None, 5).await.unwrap();
    let told: Vec<_> = log
        .iter()
        .map(|entry| (entry.sequence, entry.kind, entry.content.is_some()))
        .collect();
    let expected = [
        (first, EntryKind::Text, true),
        (second, EntryKind::Recalled, false),
        (third, EntryKind::Text, true),
        (edit, EntryKind::Edit, true),
        (recall, EntryKind::Recall, true),
    ];
    assert_eq!(told, expected);
    let earlier = bo.pull_back(at, Some(third), 1).await.unwrap();
    assert_eq!(earlier.entries[0].sequence, second);
    let none = bo.pull_back(at, Some(SequenceNumber(1)), 0).await.unwrap();
    assert!(none.entries.is_empty() && none.head == recall);
    cluster.stop().await.unwrap();
}

fn content_of_a_plan() -> Content {
    Content::Plan(wire::Plan::default())
}

#[tokio::test]
async fn an_id_is_one_message_for_its_horizon_and_a_mark_is_never_above_the_head() {
    let cluster = Cluster::start().await.unwrap();
    let mut group = Group::make(&cluster).await;
    let (at, ana) = (group.conversation, &group.ana.client);
    let id = ClientMessageId::new(clock::unix_ms(), [7; 10]);
    let with_id = |said: &str, id| Outgoing::new(at, text(said)).client_message_id(id);
    let first = ana.send_with(with_id("once", id)).await.unwrap();
    let again = ana.send_with(with_id("once", id)).await.unwrap();
    assert_eq!((again.sequence, again.duplicate), (first.sequence, true));
    let other = ana.send_with(with_id("twice", id)).await;
    assert_eq!(code(other), ErrorCode::Conflict);
    let old = ClientMessageId::new(clock::unix_ms() - ID_HORIZON_MS - 1000, [8; 10]);
    let too_old = ana.send_with(with_id("late", old)).await;
    assert_eq!(code(too_old), ErrorCode::TooOld);

    // Bo says that it has read what is not there yet: taken for the head, and counted.
    let heard = group.bo.hear_up_to(at, first.sequence).await;
    assert_eq!(said(heard.last().unwrap()), "once");
    let beyond = SequenceNumber(first.sequence.0 + 1000);
    group.bo.client.mark_read(at, beyond);
    metric_at_least(&cluster, Tier::Store, "im_store_marks_above_head_total", 1)
        .await
        .unwrap();
    let conversations = group.bo.client.conversations().await.unwrap();
    let known = conversations.iter().find(|known| known.id == at).unwrap();
    let marks = (known.delivered, known.read, known.unread);
    assert_eq!(marks, (first.sequence, first.sequence, 0));

    let (ana, cy) = (&group.ana.client, cluster.operator("cy").unwrap());
    let next = ana.send(at, text("who has it?")).await.unwrap().sequence;
    let cy = Person::connect(cy).await;
    let cy_id = cy.client.account().id;
    ana.change_members(at, &[cy_id], &[]).await.unwrap();
    let bo_id = group.bo.client.account().id;
    let lacking = ana.lacking(at, next, MarkKind::Read, None).await.unwrap();
    // Cy joined after it.
    let who: Vec<_> = lacking.members.iter().map(|of| of.account).collect();
    assert_eq!((who.contains(&bo_id), who.contains(&cy_id)), (true, false));
    assert_eq!(
        (lacking.entitled, lacking.read, lacking.more),
        (2, 0, false)
    );
    ana.change_members(at, &[], &[cy_id]).await.unwrap();
    let refused = cy.client.lacking(at, next, MarkKind::Read, None).await;
    assert!(refused.unwrap_err().to_string().contains("NOT_A_MEMBER"));
    cluster.stop().await.unwrap();
}

/// What is handed over of a conversation up to this number, trimmed ranges included.
pub(crate) async fn take_up_to(
    events: &mut Events,
    at: ConversationId,
    last: u64,
) -> (Vec<(u64, u64)>, u64) {
    let (mut gone, mut messages) = (Vec::new(), 0);
    let taking = async {
        loop {
            match events.next().await {
                Some(Event::Trimmed {
                    conversation,
                    from,
                    up_to,
                }) if conversation == at => gone.push((from.0, up_to.0)),
                Some(Event::Message(message)) if message.conversation == at => {
                    messages += 1;
                    if message.sequence.0 == last {
                        return;
                    }
                }
                Some(_) => {}
                None => panic!("the client has closed"),
            }
        }
    };
    tokio::time::timeout(10 * WAIT, taking).await.unwrap();
    (gone, messages)
}

#[tokio::test]
async fn what_retention_drops_is_named_once_and_passed_by_the_marks() {
    const SENT: u64 = 300;
    const KEPT: u64 = 100;
    let kept = KEPT.to_string();
    let retention = [
        ("IM_STORE__RETENTION__ENTRIES", &kept[..]),
        ("IM_STORE__RETENTION__INTERVAL_MS", "50"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start_told(folder, &[], &retention).await.unwrap();
    let group = Group::make(&cluster).await;
    let (at, ana) = (group.conversation, &group.ana.client);
    group.bo.client.close().await;
    let sends: Vec<_> = (0..SENT)
        .map(|n| ana.send_nowait(Outgoing::new(at, text(n.to_string()))))
        .collect();
    let mut head = 0;
    for send in sends {
        head = send.await.unwrap().sequence.0;
    }
    let gone = head - KEPT;
    let trimming = async {
        while ana
            .pull(at, SequenceNumber(0), 1)
            .await
            .unwrap()
            .trimmed_up_to
            .0
            < gone
        {}
    };
    tokio::time::timeout(WAIT, trimming).await.unwrap();
    let page = ana.pull_back(at, None, 0).await.unwrap();
    assert_eq!(page.entries.len() as u64, KEPT);
    assert_eq!(page.entries[0].sequence.0, gone + 1);

    let (bo, mut events) = Client::connect(cluster.operator("bo").unwrap())
        .await
        .unwrap();
    let before = delivered(&bo, at).await;
    let (named, messages) = take_up_to(&mut events, at, head).await;
    assert_eq!(named, [(before + 1, gone)]);
    assert_eq!(messages, KEPT);
    let marking = async { while delivered(&bo, at).await < head {} };
    tokio::time::timeout(WAIT, marking).await.unwrap();
    cluster.stop().await.unwrap();
}

pub(crate) async fn delivered(client: &Client, at: ConversationId) -> u64 {
    let conversations = client.conversations().await.unwrap();
    let known = conversations.into_iter().find(|known| known.id == at);
    known.unwrap().delivered.0
}
