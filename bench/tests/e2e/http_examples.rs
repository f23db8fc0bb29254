//! The examples of the OpenAPI document, as somebody would paste them.

use std::collections::BTreeMap;
use std::process::Stdio;

use bench::cluster::Cluster;
use protocol::ConversationId;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::http_client::{WAIT, Web, message_id};
use crate::people::Person;

#[tokio::test]
async fn the_examples_for_curl_work() {
    let cluster = Cluster::start().await.unwrap();
    let ana = Person::connect(cluster.operator("ana").unwrap()).await;
    let group = ana.client.create_group("例子", &[]).await.unwrap();
    let web = Web::new(&cluster, "ana");
    let mut examples = examples(&web).await;
    let mut shell = |id: &str| {
        let source = examples.remove(id);
        let source = source.unwrap_or_else(|| panic!("no example of {id}"));
        shell(&cluster, &web, group, &source)
    };
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

fn shell(cluster: &Cluster, web: &Web, group: ConversationId, source: &str) -> Command {
    let variables = [
        ("HTTP", web.base.clone()),
        ("CA", cluster.authority().fleet_ca().display().to_string()),
        ("TOKEN", web.token.clone()),
        ("CONVERSATION", group.to_string()),
        ("MESSAGE_ID", message_id(9).to_string()),
    ];
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(source).envs(variables);
    shell.stdout(Stdio::piped()).kill_on_drop(true);
    shell
}

async fn answer(mut shell: Command) -> Value {
    let output = tokio::time::timeout(WAIT, shell.output()).await;
    let output = output.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}
