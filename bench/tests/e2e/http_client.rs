//! One who comes by HTTP: sends, reads, and follows a stream of events.

use std::time::Duration;

use bench::cluster::Cluster;
use deploy::authority::CertificateFiles;
use protocol::{ClientMessageId, ConversationId};
use reqwest::StatusCode;
use serde_json::{Value, json};
use service_kit::clock;

use crate::raw::token;
use crate::web::tls_config;

pub(crate) const WAIT: Duration = Duration::from_secs(20);

/// One who comes by HTTP.
pub(crate) struct Web {
    pub(crate) client: reqwest::Client,
    pub(crate) base: String,
    pub(crate) token: String,
}

/// The events of a stream, as they come.
pub(crate) struct Stream {
    response: reqwest::Response,
    text: String,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: Value,
}

pub(crate) fn message_id(n: u8) -> ClientMessageId {
    ClientMessageId::new(clock::unix_ms(), [n; 10])
}

pub(crate) fn body(conversation: ConversationId, id: ClientMessageId, words: &str) -> Value {
    json!({
        "conversation_id": conversation.to_string(),
        "client_message_id": id.to_string(),
        "content": { "kind": "text", "text": words },
    })
}

impl Event {
    pub(crate) fn sequence(&self) -> u64 {
        self.data["sequence"].as_u64().unwrap()
    }

    /// The number and the words of an entry that is a text.
    pub(crate) fn words(&self) -> Option<(u64, String)> {
        let words = self.data["content"]["text"].as_str()?;
        Some((self.sequence(), words.to_owned()))
    }
}

impl Web {
    pub(crate) fn new(cluster: &Cluster, name: &str) -> Self {
        let tls = tls_config(cluster, None);
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls);
        let port = cluster.run_file().unwrap().addresses.http.port();
        Self {
            client: client.build().unwrap(),
            base: format!("https://localhost:{port}"),
            token: token(cluster, name, 600_000),
        }
    }

    /// One who administers, as an operator or as the robot of a certificate.
    pub(crate) fn admin(
        cluster: &Cluster,
        name: &str,
        certificate: Option<&CertificateFiles>,
    ) -> Self {
        let tls = tls_config(cluster, certificate);
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls);
        let port = cluster.run_file().unwrap().addresses.api.port();
        Self {
            client: client.build().unwrap(),
            base: format!("https://localhost:{port}/admin/v1"),
            token: token(cluster, name, 600_000),
        }
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> (StatusCode, Value) {
        let request = self.client.post(format!("{}{path}", self.base));
        let request = request.bearer_auth(&self.token).body(body.to_owned());
        let response = request.send().await.unwrap();
        let status = response.status();
        (status, response.json().await.unwrap())
    }

    pub(crate) async fn send(&self, body: &Value) -> (StatusCode, Value) {
        let request = self.client.post(format!("{}/v1/messages", self.base));
        let request = request.bearer_auth(&self.token).body(body.to_string());
        let response = request.send().await.unwrap();
        let status = response.status();
        (status, response.json().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        let request = self.client.get(format!("{}{path}", self.base));
        let response = request.bearer_auth(&self.token).send().await.unwrap();
        let status = response.status();
        (status, response.json().await.unwrap())
    }

    pub(crate) async fn stream(&self, conversation: ConversationId, last: &str) -> Stream {
        let path = format!("{}/v1/conversations/{conversation}/events", self.base);
        let request = self.client.get(path).bearer_auth(&self.token);
        let response = request.header("Last-Event-ID", last).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream {
            response,
            text: String::new(),
        }
    }
}

impl Stream {
    /// The next event; `None`: the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let mut event = Event::default();
                for line in block.lines() {
                    match line.split_once(": ") {
                        Some(("event", name)) => event.name = name.into(),
                        Some(("id", id)) => event.id = id.into(),
                        Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                        _ => {}
                    }
                }
                if !event.name.is_empty() {
                    return Some(event);
                }
                continue;
            }
            let chunk = tokio::time::timeout(WAIT, self.response.chunk()).await;
            let chunk = chunk.expect("no event").ok()??;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next entries up to this one.
    pub(crate) async fn up_to(&mut self, last: u64) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        while events
            .last()
            .is_none_or(|event| event.data["sequence"] != last)
        {
            let event = self.next().await.expect("it goes on");
            assert_eq!(event.name, "message", "{event:?}");
            events.push(event);
        }
        events
    }
}
