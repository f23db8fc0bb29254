//! The examples of the OpenAPI document, as somebody would paste them.

use std::collections::BTreeMap;
use std::process::Stdio;

use bench::cluster::Cluster;
use client_sdk::content;
use client_sdk::protocol::wire::Media;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::http_client::{WAIT, Web, message_id};
use crate::media::sha256;
use crate::people::Person;

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one example after the other")]
async fn the_examples_for_curl_work() {
    let cluster = Cluster::start().await.unwrap();
    let ana = Person::connect(cluster.operator("ana").unwrap()).await;
    let group = ana.client.create_group("例子", &[]).await.unwrap();
    let web = Web::new(&cluster, "ana");
    let mut examples = examples(&web.client, &web.base).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "0123456789").unwrap();
    let mut variables = vec![
        ("HTTP", web.base.clone()),
        ("CA", cluster.authority().fleet_ca().display().to_string()),
        ("TOKEN", web.token.clone()),
        ("CONVERSATION", group.to_string()),
        ("MESSAGE_ID", message_id(9).to_string()),
        ("FILE", file.path().display().to_string()),
    ];
    let mut told = |id: &str, variables: &[(&str, String)]| {
        let source = examples.remove(id);
        let source = source.unwrap_or_else(|| panic!("no example of {id}"));
        shell(&source, variables)
    };
    let sent = answer(told("send_message", &variables)).await;
    assert_eq!(sent["duplicate"], false, "{sent}");
    let list = answer(told("list_conversations", &variables)).await;
    let ours = &list["conversations"][0]["conversation_id"];
    assert_eq!(*ours, group.to_string());
    let page = answer(told("read_messages", &variables)).await;
    let entry = &page["entries"][1];
    assert_eq!(entry["sequence"], sent["sequence"]);
    assert_eq!(entry["content"]["text"], "三号托盘在 B 区");
    // A stream does not end by itself: its first lines are enough.
    let mut streaming = told("stream_events", &variables).spawn().unwrap();
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
    let created = answer(told("create_media", &variables)).await;
    variables.push(("UPLOAD", text(&created["upload_url"])));
    assert!(
        printed(told("see_upload", &variables))
            .await
            .contains("upload-offset: 0")
    );
    assert!(
        printed(told("send_upload", &variables))
            .await
            .contains("upload-offset: 10")
    );
    assert_eq!(
        answer(told("finish_upload", &variables)).await["state"],
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
    variables.push(("SEQUENCE", sent.sequence.to_string()));
    let opened = answer(told("open_media", &variables)).await;
    variables.push(("DOWNLOAD", text(&opened["download_url"])));
    assert_eq!(printed(told("fetch_media", &variables)).await, "2345");
    let listed = answer(told("list_media", &variables)).await;
    assert_eq!(listed["media"][0]["messages"], 1);
    assert!(examples.is_empty(), "not run: {:?}", examples.keys());
}

/// By the id of their operation.
pub(crate) async fn examples(client: &reqwest::Client, base: &str) -> BTreeMap<String, String> {
    let url = format!("{base}/openapi.json");
    let document = client.get(url).send().await.unwrap().json::<Value>();
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

pub(crate) fn shell(source: &str, variables: &[(&str, String)]) -> Command {
    let variables = variables.iter().map(|(name, value)| (*name, value));
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(source).envs(variables);
    shell.stdout(Stdio::piped()).kill_on_drop(true);
    shell
}

pub(crate) async fn answer(shell: Command) -> Value {
    serde_json::from_str(&printed(shell).await).unwrap()
}

async fn printed(mut shell: Command) -> String {
    let output = tokio::time::timeout(WAIT, shell.output()).await;
    let output = output.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
