//! The examples of the OpenAPI document, as somebody would paste them.

use std::collections::BTreeMap;
use std::process::Stdio;

use bench::cluster::Cluster;
use client_sdk::content;
use client_sdk::protocol::wire::Media;
use protocol::ConversationId;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::http_client::{WAIT, Web, message_id};
use crate::media::sha256;
use crate::people::Person;

#[tokio::test]
async fn the_examples_for_curl_work() {
    let cluster = Cluster::start().await.unwrap();
    let ana = Person::connect(cluster.operator("ana").unwrap()).await;
    let group = ana.client.create_group("例子", &[]).await.unwrap();
    let web = Web::new(&cluster, "ana");
    let mut examples = examples(&web).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "0123456789").unwrap();
    let mut more = vec![("FILE", file.path().display().to_string())];
    let mut told = |id: &str, more: &[(&str, String)]| {
        let source = examples.remove(id);
        let source = source.unwrap_or_else(|| panic!("no example of {id}"));
        shell(&cluster, &web, group, &source, more)
    };
    let mut shell = |id: &str| told(id, &[]);
    let sent = answer(shell("send_message")).await;
    assert_eq!(sent["duplicate"], false, "{sent}");
    let list = answer(shell("list_conversations")).await;
    let ours = &list["conversations"][0]["conversation_id"];
    assert_eq!(*ours, group.to_string());
    let page = answer(shell("read_messages")).await;
    let entry = &page["entries"][1];
    assert_eq!(entry["sequence"], sent["sequence"]);
    assert_eq!(entry["content"]["text"], "三号托盘在 B 区");
    // A stream does not end by itself: its first lines are enough.
    let mut streaming = shell("stream_events").spawn().unwrap();
    let mut lines = BufReader::new(streaming.stdout.take().unwrap()).lines();
    let found = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("三号托盘在 B 区") {
                return;
            }
        }
        panic!("the stream ended");
    };
    tokio::time::timeout(WAIT, found).await.unwrap();
    streaming.kill().await.unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let created = answer(told("create_media", &more)).await;
    more.push(("UPLOAD", text(&created["upload_url"])));
    assert!(
        printed(told("see_upload", &more))
            .await
            .contains("upload-offset: 0")
    );
    assert!(
        printed(told("send_upload", &more))
            .await
            .contains("upload-offset: 10")
    );
    assert_eq!(
        answer(told("finish_upload", &more)).await["state"],
        "complete"
    );
    let media = content::Content::Media(Media {
        reference: text(&created["reference"]),
        media_type: "image/png".into(),
        bytes: 10,
        sha256: sha256(b"0123456789").into(),
        ..Media::default()
    });
    let sent = ana.client.send(group, media).await.unwrap();
    more.push(("SEQUENCE", sent.sequence.to_string()));
    let opened = answer(told("open_media", &more)).await;
    more.push(("DOWNLOAD", text(&opened["download_url"])));
    assert_eq!(printed(told("fetch_media", &more)).await, "2345");
    let listed = answer(told("list_media", &more)).await;
    assert_eq!(listed["media"][0]["messages"], 1);
    assert!(examples.is_empty(), "not run: {:?}", examples.keys());
}

/// By the id of their operation.
async fn examples(web: &Web) -> BTreeMap<String, String> {
    let url = format!("{}/openapi.json", web.base);
    let document = web.client.get(url).send().await.unwrap().json::<Value>();
    let document = document.await.unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    let of = |operation: &Value| {
        let id = operation["operationId"].as_str().unwrap();
        let source = operation["x-codeSamples"][0]["source"].as_str().unwrap();
        (id.to_owned(), source.to_owned())
    };
    operations.map(of).collect()
}

fn shell(
    cluster: &Cluster,
    web: &Web,
    group: ConversationId,
    source: &str,
    more: &[(&str, String)],
) -> Command {
    let variables = [
        ("HTTP", web.base.clone()),
        ("CA", cluster.authority().fleet_ca().display().to_string()),
        ("TOKEN", web.token.clone()),
        ("CONVERSATION", group.to_string()),
        ("MESSAGE_ID", message_id(9).to_string()),
    ];
    let mut shell = Command::new("sh");
    let more = more.iter().map(|(name, value)| (*name, value.clone()));
    shell.arg("-c").arg(source).envs(variables).envs(more);
    shell.stdout(Stdio::piped()).kill_on_drop(true);
    shell
}

async fn answer(shell: Command) -> Value {
    serde_json::from_str(&printed(shell).await).unwrap()
}

async fn printed(mut shell: Command) -> String {
    let output = tokio::time::timeout(WAIT, shell.output()).await;
    let output = output.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
