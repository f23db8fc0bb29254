//! Every kind of message over the real tiers, whom it mentions and what it answers.

use bench::cluster::Cluster;
use client_sdk::content::{self, Content};
use client_sdk::{
    AccountId, EntryKind, ErrorCode, Event, Outgoing, Receipt, SendError, SequenceNumber,
};
use protocol::limits::MENTIONS_MAX;
use protocol::wire::{self, pose};

use crate::people::{Group, WAIT, text};

fn pose(x: f64) -> Content {
    Content::Pose(wire::Pose {
        place: Some(pose::Place::OnMap(wire::MapPlace {
            map_id: "一楼".into(),
            x,
            y: -2.5,
            theta: 1.57,
            localization_score: Some(0.93),
            deviation_range: None,
        })),
        velocity: Some(wire::Velocity {
            vx: 0.8,
            ..wire::Velocity::default()
        }),
        measured_at_ms: 1_800_000_000_000,
    })
}

fn media() -> Content {
    Content::Media(wire::Media {
        reference: "现场/1".into(),
        media_type: "image/png".into(),
        bytes: 48_211,
        sha256: vec![7; 32].into(),
        name: "左侧.png".into(),
        caption: "左边这一箱".into(),
    })
}

/// What clients may send, each once.
fn kinds() -> Vec<(EntryKind, Content)> {
    vec![
        (EntryKind::Text, text("把三个箱子搬到充电站旁边")),
        (
            EntryKind::Data,
            Content::Data(wire::Data {
                schema: "lidar.v2".into(),
                payload: vec![0, 1, 255].into(),
            }),
        ),
        (EntryKind::Media, media()),
        (EntryKind::Instruction, content::instruction("清扫 B 区")),
        (
            EntryKind::Plan,
            Content::Plan(wire::Plan {
                version: 1,
                note: "两步".into(),
                ..wire::Plan::default()
            }),
        ),
        (
            EntryKind::Command,
            Content::Command(wire::Command {
                step_id: "s1".into(),
                action: "lift".into(),
                arguments_json: "{}".into(),
                ..wire::Command::default()
            }),
        ),
        (
            EntryKind::StepUpdate,
            Content::StepUpdate(wire::StepUpdate {
                step_id: "s1".into(),
                progress_percent: 40,
                ..wire::StepUpdate::default()
            }),
        ),
        (EntryKind::Pose, pose(12.25)),
    ]
}

fn code(result: Result<Receipt, SendError>) -> ErrorCode {
    match result {
        Err(SendError::Refused(refusal)) => refusal.code,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn each_kind_comes_as_it_was_sent_and_is_so_in_history() {
    let cluster = Cluster::start().await.unwrap();
    let mut group = Group::make(&cluster).await;
    let (at, ana) = (group.conversation, group.ana.client.clone());
    let mut first = None;
    let mut last = SequenceNumber::ZERO;
    for (_, content) in kinds() {
        last = ana.send(at, content).await.unwrap().sequence;
        first.get_or_insert(last);
    }
    let heard = group.bo.hear_up_to(at, last).await;
    let heard = heard.into_iter().filter(|it| it.sequence >= first.unwrap());
    let heard: Vec<_> = heard.map(|message| message.content).collect();
    let sent: Vec<_> = kinds().into_iter().map(|(_, content)| content).collect();
    assert_eq!(heard, sent);
    let log = ana.history_back(at, None, sent.len()).await.unwrap();
    let told: Vec<_> = log
        .into_iter()
        .map(|it| (it.kind, it.content.unwrap()))
        .collect();
    assert_eq!(told, kinds());

    // Telemetry is not kept: the newest of its key is what counts.
    for x in [1.0, 2.0] {
        ana.send_ephemeral(at, "pose", pose(x)).await.unwrap();
    }
    let newest = async {
        loop {
            if let Event::Ephemeral(it) = group.bo.next_event().await
                && it.content == pose(2.0)
            {
                return it.key;
            }
        }
    };
    assert_eq!(tokio::time::timeout(WAIT, newest).await.unwrap(), "pose");
    let nowhere = Content::Pose(wire::Pose::default());
    assert_eq!(code(ana.send(at, nowhere).await), ErrorCode::BadRequest);
    let unnamed = Content::Media(wire::Media::default());
    assert_eq!(code(ana.send(at, unnamed).await), ErrorCode::BadRequest);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_message_says_whom_it_is_for_and_what_it_answers() {
    let cluster = Cluster::start().await.unwrap();
    let mut group = Group::make(&cluster).await;
    let (at, ana) = (group.conversation, group.ana.client.clone());
    let bo_id = group.bo.client.account().id;
    let asked = ana.send(at, text("谁在左边?")).await.unwrap().sequence;
    let answer = Outgoing::new(at, text("@bo 你去看看"))
        .mentions(&[bo_id])
        .reply_to(asked);
    let answered = ana.send_with(answer).await.unwrap().sequence;
    let heard = group.bo.hear_up_to(at, answered).await;
    let told: Vec<_> = heard
        .iter()
        .rev()
        .take(2)
        .map(|it| (it.is_for(bo_id), it.refers.reply_to))
        .collect();
    assert_eq!(told, [(true, Some(asked)), (false, None)]);
    let log = ana.history_back(at, None, 1).await.unwrap();
    assert_eq!(log[0].refers.mentions, [bo_id]);
    assert_eq!(log[0].refers.reply_to, Some(asked));

    let beyond = SequenceNumber(answered.0 + 2);
    let early = Outgoing::new(at, text("?")).reply_to(beyond);
    assert_eq!(code(ana.send_with(early).await), ErrorCode::NoSuchEntry);
    let crowd: Vec<_> = (1..=MENTIONS_MAX as u64 + 1).map(AccountId).collect();
    let crowd = Outgoing::new(at, text("大家")).mentions(&crowd);
    assert_eq!(code(ana.send_with(crowd).await), ErrorCode::LimitReached);
    let twice = Outgoing::new(at, text("你,你")).mentions(&[bo_id, bo_id]);
    assert_eq!(code(ana.send_with(twice).await), ErrorCode::BadRequest);
    cluster.stop().await.unwrap();
}
