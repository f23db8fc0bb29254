//! HTTP for clients that cannot hold a socket: what is sent is stored once, what is read is what
//! TCP and the WebSocket show, and errors are those of the protocol.

use std::collections::BTreeMap;

use bench::cluster::Cluster;
use bench::wait::metric_at_least;
use deploy::tiers::Tier;
use protocol::ConversationId;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::http_client::{Web, body, message_id};
use crate::people::{Group, said, text};

#[tokio::test]
async fn what_is_sent_by_http_is_stored_once_and_read_by_everybody() {
    let cluster = Cluster::start().await.unwrap();
    let mut group = Group::make(&cluster).await;
    let conversation = group.conversation;
    let web = Web::new(&cluster, "ana");

    let id = message_id(1);
    let (status, first) = web.send(&body(conversation, id, "你好")).await;
    assert_eq!(status, StatusCode::OK, "{first}");
    assert_eq!(first["duplicate"], false);
    let (status, again) = web.send(&body(conversation, id, "你好")).await;
    assert_eq!(
        (status, &again["duplicate"]),
        (StatusCode::OK, &json!(true))
    );
    assert_eq!(again["sequence"], first["sequence"]);
    assert_eq!(again["committed_at_ms"], first["committed_at_ms"]);
    let (status, other) = web.send(&body(conversation, id, "再见")).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(other["error"]["code"], "CONFLICT");
    assert_eq!(other["error"]["number"], 14);
    let heard = group.bo.hear_text(conversation).await;
    assert_eq!(
        (said(&heard), json!(heard.sequence.0)),
        ("你好", first["sequence"].clone())
    );

    refusals(&cluster, &web, conversation).await;
    history(&web, &mut group).await;
    long_poll(&cluster, &web, &group).await;
    listed(&web, conversation).await;
}

async fn refusals(cluster: &Cluster, web: &Web, conversation: ConversationId) {
    let stranger = Web::new(cluster, "eve");
    let good = body(conversation, message_id(2), "?");
    let with = |field: &str, value: Value| {
        let mut changed = good.clone();
        changed[field] = value;
        changed
    };
    let text = |text: String| with("content", json!({ "kind": "text", "text": text }));
    let recall = json!({ "kind": "recall", "target_sequence": 999 });
    let nowhere = with("conversation_id", json!("g4711"));
    let long = text("长".repeat(100_000));
    let longer = text("长".repeat(200_000));
    let cases = [
        (&stranger, good.clone(), 403, "NOT_A_MEMBER"),
        (web, nowhere, 404, "NO_SUCH_CONVERSATION"),
        (
            web,
            with("conversation_id", json!("仓库")),
            400,
            "BAD_REQUEST",
        ),
        (
            web,
            with("client_message_id", json!("")),
            400,
            "BAD_REQUEST",
        ),
        (web, with("surprise", json!(1)), 400, "BAD_REQUEST"),
        (web, with("content", recall), 404, "NO_SUCH_ENTRY"),
        (web, long, 413, "CONTENT_TOO_LONG"),
        (web, longer, 413, "CONTENT_TOO_LONG"),
        (web, with("deliver_before_ms", json!(1)), 410, "EXPIRED"),
    ];
    for (who, body, status, code) in cases {
        let (actual, said) = who.send(&body).await;
        assert_eq!(actual.as_u16(), status, "{said}");
        assert_eq!(said["error"]["code"], code, "{said}");
    }
    let nobody = Web {
        token: "not a token".into(),
        ..Web::new(cluster, "ana")
    };
    let pages = format!("/v1/conversations/{conversation}/messages");
    let cases = [
        (&nobody, "/v1/conversations", 401, "UNAUTHENTICATED"),
        (web, "/v1/nothing", 404, "UNKNOWN_KIND"),
        (&stranger, &pages, 403, "NOT_A_MEMBER"),
        (web, &format!("{pages}?after=x"), 400, "BAD_REQUEST"),
    ];
    for (who, path, status, code) in cases {
        let (actual, said) = who.get(path).await;
        assert_eq!(actual.as_u16(), status, "{said}");
        assert_eq!(said["error"]["code"], code, "{said}");
    }
}

/// Pages come in order, and a recalled entry keeps its number.
async fn history(web: &Web, group: &mut Group) {
    let conversation = group.conversation;
    let ana = &group.ana.client;
    let mut last = 0;
    for n in 0..20 {
        last = ana
            .send(conversation, text(format!("第{n}")))
            .await
            .unwrap()
            .sequence
            .0;
    }
    let recalled = last - 5;
    let recall = json!({
        "conversation_id": conversation.to_string(),
        "client_message_id": message_id(3).to_string(),
        "content": { "kind": "recall", "target_sequence": recalled },
    });
    // The same account by another way: ana recalls what she said by TCP.
    let (status, said) = web.send(&recall).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    let pages = format!("/v1/conversations/{conversation}/messages");
    let (mut after, mut kinds) = (0, BTreeMap::new());
    loop {
        let (status, page) = web.get(&format!("{pages}?after={after}&limit=7")).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let entries = page["entries"].as_array().unwrap();
        for entry in entries {
            after += 1;
            assert_eq!(entry["sequence"], after);
            kinds.insert(after, entry["content"]["kind"].as_str().unwrap().to_owned());
        }
        assert_eq!(page["next_after"], after);
        if entries.is_empty() {
            assert_eq!(page["head"], after);
            break;
        }
    }
    assert_eq!(kinds[&1], "membership");
    assert_eq!(kinds[&recalled], "recalled");
    let (_, newest) = web.get(&format!("{pages}?before={last}&limit=3")).await;
    let newest = newest["entries"].as_array().unwrap();
    assert_eq!(newest.len(), 3);
    assert_eq!(newest[2]["sequence"], last - 1);
}

async fn long_poll(cluster: &Cluster, web: &Web, group: &Group) {
    let conversation = group.conversation;
    let pages = format!("/v1/conversations/{conversation}/messages");
    let (_, page) = web.get(&format!("{pages}?after=100000")).await;
    let head = page["head"].as_u64().unwrap();
    // Nothing comes: an empty page when the time is over.
    let (status, page) = web.get(&format!("{pages}?after={head}&wait_ms=50")).await;
    assert_eq!(
        (status, page["entries"].as_array().unwrap().len()),
        (StatusCode::OK, 0)
    );
    let long = format!("{pages}?after={head}&wait_ms=60000");
    let waiting = web.get(&long);
    let saying = async {
        // Not before somebody listens: that is seen by the session it has.
        let listeners = "im_gateway_http_listeners";
        let listens = metric_at_least(cluster, Tier::Gateway, listeners, 1).await;
        listens.unwrap();
        group
            .bo
            .client
            .send(conversation, text("等到了"))
            .await
            .unwrap()
    };
    let ((status, page), sent) = tokio::join!(waiting, saying);
    assert_eq!(status, StatusCode::OK);
    assert_eq!(page["entries"][0]["sequence"], sent.sequence.0);
    assert_eq!(page["entries"][0]["content"]["text"], "等到了");
}

async fn listed(web: &Web, conversation: ConversationId) {
    let (status, list) = web.get("/v1/conversations").await;
    assert_eq!(status, StatusCode::OK);
    let all = list["conversations"].as_array().unwrap();
    let ours = all
        .iter()
        .find(|its| its["conversation_id"] == conversation.to_string());
    assert_eq!(ours.unwrap()["name"], "演示");
}
