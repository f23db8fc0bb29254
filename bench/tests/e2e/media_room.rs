//! Media have their room and their time: quotas, uploads at once, URLs that expire, and what no
//! message refers to.

use bench::cluster::{Cluster, swarm};
use bench::wait::until;
use client_sdk::{Content, ErrorCode, Receipt, SendError, SequenceNumber};
use reqwest::StatusCode;
use serde_json::Value;

use crate::http_client::Web;
use crate::media::{Upload, noise, open, sha256, url};
use crate::people::{Group, Person};

async fn send(group: &Group, content: Content) -> Result<Receipt, SendError> {
    group.ana.client.send(group.conversation, content).await
}

#[tokio::test]
async fn media_have_their_room_and_their_time_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let limits = [
        ("IM_LOGIC__MEDIA__ACCOUNT_BYTES_MAX", "3000"),
        ("IM_LOGIC__MEDIA__FLEET_BYTES_MAX", "4500"),
        ("IM_GATEWAY__MEDIA__UPLOADS_PER_ACCOUNT_MAX", "1"),
        ("IM_GATEWAY__MEDIA__URL_LIFETIME_MS", "5000"),
        ("IM_GATEWAY__MEDIA__GRACE_MS", "1000"),
    ];
    let cluster = Cluster::start_told(folder, &[], &limits).await.unwrap();
    let group = Group::make(&cluster).await;
    let web = Web::new(&cluster, "ana");
    let (kept, lost) = (noise(1000, 1), noise(1001, 2));
    let keeps = Upload::whole(&web, 1, &kept).await;
    let sent = send(&group, keeps.content(&kept)).await.unwrap().sequence;
    let loses = Upload::whole(&web, 2, &lost).await;
    let (_, opened) = open(&web, group.conversation, sent.0).await;
    room(&cluster, &web).await;

    // The URL of before expires, and a new one is good.
    let old = url(&web, &opened);
    let expired = until(async || {
        let answer = web.client.get(&old).send().await.unwrap();
        (answer.status() == StatusCode::UNAUTHORIZED).then_some(answer)
    });
    let said: Value = expired.await.unwrap().json().await.unwrap();
    assert_eq!(said["error"]["code"], "TOKEN_EXPIRED");

    collected(&cluster, &web).await;
    let late = send(&group, loses.content(&lost)).await;
    let Err(SendError::Refused(refusal)) = late else {
        panic!("{late:?}");
    };
    assert_eq!(refusal.code, ErrorCode::NoSuchMedia);
    still_there(&cluster, &group, sent, &kept).await;

    // A recall releases the last.
    let ana = &group.ana.client;
    ana.recall(group.conversation, sent).await.unwrap();
    let clean = until(async || {
        ana.collect_media().await.unwrap();
        let own = ana.own_media().await.unwrap();
        own.media.is_empty().then_some(own.used_bytes)
    });
    assert_eq!(clean.await.unwrap(), 0);
    cluster.stop().await.unwrap();
}

/// Ana has 1,000 bytes left, the fleet 2,499.
async fn room(cluster: &Cluster, web: &Web) {
    let (status, said) = Upload::create(web, 3, (1000, &sha256(b"x"))).await;
    assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE, "{said}");
    assert_eq!(said["error"]["code"], "MEDIA_QUOTA");
    let retry_after_ms = said["error"]["retry_after_ms"].as_u64();
    assert!(retry_after_ms.unwrap() > 0, "{said}");
    let bo = Web::new(cluster, "bo");
    let (status, said) = Upload::create(&bo, 1, (2800, &sha256(b"x"))).await;
    assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE, "{said}");

    // A second upload at once is one too many.
    let third = noise(900, 3);
    let begun = Upload::begin(web, 3, &third).await;
    let other = Upload::begin(web, 4, &noise(50, 4)).await;
    let busy = until(async || {
        let at = begun.offset().await;
        let _hanging = begun.hang(at, &third[at..=at]);
        // Whichever of the two comes first is let in.
        for _ in 0..50 {
            let busy = other.send(0, b"x").await;
            if busy.status() == StatusCode::TOO_MANY_REQUESTS {
                return Some(busy);
            }
        }
        None
    });
    assert!(busy.await.unwrap().headers().contains_key("retry-after"));
}

/// Robots do not collect, operators do: what no message refers to goes, the rest stays.
async fn collected(cluster: &Cluster, web: &Web) {
    let robot = Person::connect(cluster.robot("r1").unwrap()).await;
    let error = robot.client.collect_media().await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorCode::Forbidden);
    let gone = until(async || {
        let mut gc = swarm().unwrap();
        gc.args(["media", "gc", "--json", "--state"]);
        let output = gc.arg(cluster.state()).output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        let (_, page) = web.get("/v1/media").await;
        (page["media"].as_array().unwrap().len() == 1).then_some(page)
    });
    let page = gone.await.unwrap();
    assert_eq!(page["used_bytes"], 1000, "{page}");
    assert_eq!(page["media"][0]["messages"], 1);
    let folders = std::fs::read_dir(cluster.state().join("data/media")).unwrap();
    assert_eq!(folders.count(), 1);
}

async fn still_there(cluster: &Cluster, group: &Group, sent: SequenceNumber, kept: &[u8]) {
    let bo = Web::new(cluster, "bo");
    let (_, opened) = open(&bo, group.conversation, sent.0).await;
    let fetched = bo.client.get(url(&bo, &opened)).send().await.unwrap();
    assert!(fetched.bytes().await.unwrap() == kept);
}
