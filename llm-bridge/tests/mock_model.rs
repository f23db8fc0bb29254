//! The mock model as a client sees it: the real server on a free port, and HTTP.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Once;
use std::time::Duration;

use llm_bridge::mock::behaviour::{Behaviour, Fail, HEADER};
use llm_bridge::mock::replay::Recording;
use llm_bridge::mock::reply::MODEL;
use llm_bridge::mock::server::{Mock, REQUEST_BYTES_MAX};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use service_kit::drain::{Drain, DrainOutcome};
use tokio::net::TcpListener;

const GRACE: Duration = Duration::from_secs(5);

struct Running {
    url: String,
    client: Client,
    mock: Mock,
    drain: Drain,
}

async fn start(behaviour: Behaviour, recording: Option<Recording>) -> Running {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        rustls::crypto::ring::default_provider()
            .install_default()
            .unwrap();
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let drain = Drain::new();
    let mock = Mock::new(behaviour, recording, || "im_mock 1\n".into(), drain.clone());
    drain.spawn(mock.clone().serve(listener));
    Running {
        url,
        client: Client::new(),
        mock,
        drain,
    }
}

impl Running {
    async fn ask(&self, body: &Value, behaviour: Option<&str>) -> reqwest::Result<Response> {
        let url = format!("{}/v1/chat/completions", self.url);
        let mut request = self.client.post(url).json(body);
        if let Some(behaviour) = behaviour {
            request = request.header(HEADER, behaviour);
        }
        request.send().await
    }

    async fn get(&self, path: &str) -> Response {
        let url = format!("{}{path}", self.url);
        self.client.get(url).send().await.unwrap()
    }
}

fn request(stream: bool) -> Value {
    let block = json!({
        "instruction": "巡检走廊",
        "robots": [{ "name": "inspector-1", "model": "inspector",
                     "actions": [{ "name": "inspect", "description": "", "arguments_schema": {} }] }],
        "world": { "places": [{ "id": "corridor", "kind": "corridor", "aliases": ["走廊"] }],
                   "objects": [], "robots": [] },
        "progress": null,
    });
    let mut body = json!({
        "model": "any",
        "messages": [
            { "role": "system", "content": "You plan." },
            { "role": "user", "content": format!("Plan this.\n```json\n{block}\n```\n") },
        ],
        "stream": stream,
    });
    if stream {
        body["stream_options"] = json!({ "include_usage": true });
    }
    body
}

async fn json_of(response: Response) -> Value {
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

fn content(completion: &Value) -> &str {
    completion["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
}

/// The chunks of a stream, which ends with `[DONE]`.
fn chunks(text: &str) -> Vec<Value> {
    let mut events: Vec<&str> = text.split_terminator("\n\n").collect();
    assert_eq!(events.pop(), Some("data: [DONE]"));
    let data = |event: &str| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
    events.into_iter().map(data).collect()
}

#[tokio::test]
async fn a_plan_comes_whole() {
    let running = start(Behaviour::default(), None).await;
    let response = running.ask(&request(false), None).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["x-request-id"], "req-mock-1");
    let completion = json_of(response).await;
    assert_eq!(completion["object"], "chat.completion");
    assert_eq!(completion["model"], MODEL);
    assert_eq!(completion["choices"][0]["finish_reason"], "stop");
    let plan: Value = serde_json::from_str(content(&completion)).unwrap();
    assert_eq!(plan["steps"][0]["robot"], "inspector-1");
    assert_eq!(plan["steps"][0]["arguments"], json!({ "area": "corridor" }));
    assert!(plan["note"].as_str().unwrap().starts_with("[模拟模型] "));
    let usage = &completion["usage"];
    let tokens = |key: &str| usage[key].as_u64().unwrap();
    assert!(tokens("prompt_tokens") > 50 && tokens("completion_tokens") > 20);
    let sum = tokens("prompt_tokens") + tokens("completion_tokens");
    assert_eq!(tokens("total_tokens"), sum);
}

#[tokio::test]
async fn a_plan_comes_in_chunks_that_are_the_same_plan() {
    let running = start(Behaviour::default(), None).await;
    let whole = json_of(running.ask(&request(false), None).await.unwrap()).await;
    let asked = running
        .ask(&request(true), Some("chunk_delay_ms=1,delay_ms=1"))
        .await;
    let response = asked.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let chunks = chunks(&response.text().await.unwrap());
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, content(&whole));
    assert_eq!(chunks.last().unwrap()["usage"], whole["usage"]);

    let mut without_usage = request(true);
    without_usage["stream_options"] = Value::Null;
    let response = running.ask(&without_usage, None).await.unwrap();
    assert!(!response.text().await.unwrap().contains("usage"));
}

#[tokio::test]
async fn every_error_has_the_providers_form() {
    let running = start(Behaviour::default(), None).await;
    for (fail, status, code) in [
        ("fail=401", 401, json!("invalid_api_key")),
        ("fail=429", 429, json!("rate_limit_exceeded")),
        ("fail=500", 500, Value::Null),
        ("fail=503", 503, json!("overloaded")),
    ] {
        for stream in [false, true] {
            let response = running.ask(&request(stream), Some(fail)).await.unwrap();
            assert_eq!(response.status(), status, "{fail}");
            let retry_after = response.headers().get("retry-after").cloned();
            assert_eq!(retry_after.is_some(), status == 429);
            let body = json_of(response).await;
            assert_eq!(body["error"]["code"], code);
            let message = body["error"]["message"].as_str().unwrap();
            assert!(message.starts_with("[mock model] "));
            assert_eq!(body["error"].as_object().unwrap().len(), 4);
        }
    }
}

#[tokio::test]
async fn failures_end_after_the_first_n() {
    let behaviour = Behaviour {
        fail: Fail::Unavailable,
        fail_first_n: 2,
        ..Behaviour::default()
    };
    let running = start(behaviour, None).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let response = running.ask(&request(false), None).await.unwrap();
        statuses.push(response.status().as_u16());
    }
    assert_eq!(statuses, [503, 503, 200]);
    assert_eq!(running.mock.requests(), 3);
}

#[tokio::test]
async fn an_answer_is_cut_in_the_middle() {
    let running = start(Behaviour::default(), None).await;
    for stream in [false, true] {
        let response = running
            .ask(&request(stream), Some("fail=cut"))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.text().await.is_err());
    }
    let mut response = running.ask(&request(true), Some("fail=cut")).await.unwrap();
    let first = response.chunk().await.unwrap().unwrap();
    assert!(first.starts_with(b"data: {"));
    let ended = loop {
        match response.chunk().await {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert!(ended.is_err(), "a stream without its end is an error");
}

#[tokio::test]
async fn a_hanging_request_is_not_answered_and_does_not_hold_up_the_end() {
    let running = start(Behaviour::default(), None).await;
    let body = request(false);
    let short = Duration::from_millis(200);
    let asked = tokio::time::timeout(short, running.ask(&body, Some("fail=hang"))).await;
    assert!(asked.is_err());
    let (asked, outcome) = tokio::join!(running.ask(&body, Some("fail=hang")), async {
        while running.mock.requests() < 2 {
            tokio::task::yield_now().await;
        }
        running.drain.finish(GRACE).await
    });
    assert_eq!(asked.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(outcome, DrainOutcome::Clean);
}

#[tokio::test]
async fn a_malformed_plan_is_no_json_and_the_next_is() {
    let behaviour = Behaviour {
        malformed: true,
        fail_first_n: 1,
        ..Behaviour::default()
    };
    let running = start(behaviour, None).await;
    let mut are_plans = Vec::new();
    for _ in 0..2 {
        let completion = json_of(running.ask(&request(false), None).await.unwrap()).await;
        are_plans.push(serde_json::from_str::<Value>(content(&completion)).is_ok());
    }
    assert_eq!(are_plans, [false, true]);
}

#[tokio::test]
async fn a_recording_is_replayed() {
    let recorded = json!({ "model": "gpt", "choices": [{ "message": { "content": "recorded" } }] });
    let recording = Recording::parse(recorded.to_string().as_bytes()).unwrap();
    let running = start(Behaviour::default(), Some(recording)).await;
    let completion = json_of(running.ask(&request(false), None).await.unwrap()).await;
    assert_eq!(content(&completion), "recorded");
    assert_eq!(completion["model"], MODEL);
    let response = running.ask(&request(true), None).await.unwrap();
    let chunks = chunks(&response.text().await.unwrap());
    assert_eq!(chunks[1]["choices"][0]["delta"]["content"], "recorded");
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let running = start(Behaviour::default(), None).await;
    let no_messages = json!({ "model": "m", "messages": [] });
    let response = running.ask(&no_messages, None).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let body = json_of(response).await;
    assert_eq!(body["error"]["type"], "invalid_request_error");
    assert_eq!(body["error"]["param"], "messages");

    let response = running
        .ask(&request(false), Some("fail=418"))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let response = running.get("/v1/chat/completions").await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    let response = running.get("/v1/engines").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(json_of(response).await["error"].is_object());

    let mut long = request(false);
    long["messages"][0]["content"] = "x".repeat(REQUEST_BYTES_MAX).into();
    let response = running.ask(&long, None).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_prompt_without_an_instruction_is_declined() {
    let running = start(Behaviour::default(), None).await;
    let hello = json!({ "model": "m", "messages": [{ "role": "user", "content": "hello" }] });
    let completion = json_of(running.ask(&hello, None).await.unwrap()).await;
    let plan: Value = serde_json::from_str(content(&completion)).unwrap();
    assert_eq!(plan["steps"], json!([]));
    assert!(plan["declined"].is_string());
}

#[tokio::test]
async fn it_is_watched_on_the_same_address() {
    let running = start(Behaviour::default(), None).await;
    for (path, text) in [
        ("/live", "ok\n"),
        ("/ready", "ready\n"),
        ("/metrics", "im_mock 1\n"),
    ] {
        let response = running.get(path).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.text().await.unwrap(), text);
    }
    let models = json_of(running.get("/v1/models").await).await;
    assert_eq!(models["data"][0]["id"], MODEL);
}
