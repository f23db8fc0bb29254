//! The provider against a small server that answers as it is told: streams, errors of every class,
//! silence.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::stream::{self, StreamExt as _};
use llm_bridge::config::{Config, DEFAULTS, ModelConfig};
use llm_bridge::planning;
use llm_bridge::prompt::{ChatMessage, Role};
use llm_bridge::provider::{ModelError, Reply, Service};
use llm_bridge::routing::Providers;
use serde_json::{Value, json};

const KEY: &str = "sk-test-0123456789";

/// How a request is answered.
#[derive(Debug, Clone)]
enum Say {
    /// A whole stream with these words.
    Stream(&'static str),
    /// One that ends after the first words.
    Cut,
    /// One whose connection breaks after the first words.
    Break,
    /// These bytes as a stream.
    Bytes(&'static str),
    /// One object instead of a stream.
    Whole(&'static str),
    /// This status, with a header to retry after.
    Status(u16, Option<&'static str>, &'static str),
    /// The head of a stream, and then nothing.
    Silence,
    /// Nothing at all.
    Hang,
}

#[derive(Clone)]
struct Server {
    script: Arc<Vec<Say>>,
    asked: Arc<AtomicUsize>,
}

fn chunk(words: &str) -> String {
    let chunk = json!({ "model": "m-2", "choices": [{ "delta": { "content": words } }] });
    format!("data: {chunk}\n\n")
}

fn streamed(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

async fn answer(State(server): State<Server>, headers: HeaderMap, body: String) -> Response {
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["stream"], true);
    assert_eq!(body["stream_options"]["include_usage"], true);
    assert_eq!(body["response_format"]["type"], "json_schema");
    assert_eq!(body["messages"][0]["role"], "user");
    assert_eq!(headers[header::AUTHORIZATION], format!("Bearer {KEY}"));
    let nth = server.asked.fetch_add(1, Ordering::Relaxed);
    let say = server
        .script
        .get(nth)
        .or_else(|| server.script.last())
        .unwrap();
    match say.clone() {
        Say::Stream(words) => {
            let mut events: String = words.chars().map(|c| chunk(&c.to_string())).collect();
            events.push_str("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
            let usage = json!({ "prompt_tokens": 7, "completion_tokens": 3 });
            let usage = json!({ "choices": [], "usage": usage });
            events.push_str(&format!("data: {usage}\n\ndata: [DONE]\n\n"));
            streamed(Body::from(events))
        }
        Say::Cut => streamed(Body::from(chunk("ba"))),
        Say::Break => {
            let first = stream::iter([Ok(chunk("ba"))]);
            // A stream that has nothing at the moment is flushed before it breaks.
            let broken = stream::once(async {
                tokio::task::yield_now().await;
                Err(std::io::Error::other("broken on purpose"))
            });
            streamed(Body::from_stream(first.chain(broken)))
        }
        Say::Bytes(bytes) => streamed(Body::from(bytes)),
        Say::Whole(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Say::Status(status, retry_after, text) => {
            let mut response = (StatusCode::from_u16(status).unwrap(), text).into_response();
            if let Some(after) = retry_after {
                let headers = response.headers_mut();
                headers.insert(header::RETRY_AFTER, after.parse().unwrap());
            }
            response
        }
        Say::Silence => {
            let head = stream::iter([Ok::<_, std::io::Error>(": wait\n\n")]);
            streamed(Body::from_stream(head.chain(stream::pending())))
        }
        Say::Hang => std::future::pending().await,
    }
}

fn config(base_url: String) -> ModelConfig {
    let config: Config = service_kit::config::defaults(DEFAULTS).unwrap();
    ModelConfig {
        base_url,
        first_token_timeout_ms: 2_000,
        total_timeout_ms: 4_000,
        ..config.model
    }
}

/// Asks a server with this script; the reply and how often the server was asked.
async fn ask(
    script: Vec<Say>,
    attempts_max: u32,
    change: impl FnOnce(&mut ModelConfig),
) -> (Result<Reply, ModelError>, usize) {
    let server = Server {
        script: Arc::new(script),
        asked: Arc::default(),
    };
    let app = Router::new()
        .route("/v1/chat/completions", post(answer))
        .with_state(server.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let mut config = config(format!("http://{address}/v1/"));
    change(&mut config);
    let service = Service::new("model", "model", &config, KEY.into()).unwrap();
    let defaults: Config = service_kit::config::defaults(DEFAULTS).unwrap();
    let mut routing = defaults.routing;
    routing.attempts_max = attempts_max;
    let providers = Providers::new(vec![(service, 1)], routing.policy().unwrap());
    let question = ChatMessage {
        role: Role::User,
        content: "把箱子搬走".into(),
    };
    let reply = providers.ask(&planning::request(&[question])).await;
    serving.abort();
    (reply, server.asked.load(Ordering::Relaxed))
}

async fn ask_once(say: Say) -> Result<Reply, ModelError> {
    let (reply, asked) = ask(vec![say], 1, |_| {}).await;
    assert_eq!(asked, 1);
    reply
}

#[tokio::test]
async fn a_stream_is_read_to_its_end() {
    let reply = ask_once(Say::Stream("搬三个箱子")).await.unwrap();
    assert_eq!(reply.text, "搬三个箱子");
    assert_eq!(
        (reply.model.as_str(), reply.cost().prompt_tokens),
        ("m-2", 7)
    );
    assert_eq!(reply.cost().completion_tokens, 3);
}

#[tokio::test]
async fn an_object_instead_of_a_stream_is_read_too() {
    let whole = r#"{"model":"m","choices":[{"message":{"content":"ok"},"finish_reason":"stop"}]}"#;
    assert_eq!(ask_once(Say::Whole(whole)).await.unwrap().text, "ok");
}

#[tokio::test]
async fn every_failure_has_its_class() {
    let quota = r#"{"error":{"message":"pay","code":"insufficient_quota"}}"#;
    for (say, class) in [
        (Say::Status(401, None, "{}"), "auth"),
        (Say::Status(403, None, ""), "auth"),
        (Say::Status(429, Some("1"), "{}"), "rate_limited"),
        (Say::Status(429, None, quota), "quota"),
        (Say::Status(400, None, "no"), "bad_request"),
        (Say::Status(307, None, ""), "bad_request"),
        (Say::Status(500, None, "{}"), "unavailable"),
        (Say::Status(503, None, "<html>"), "unavailable"),
        (Say::Cut, "cut"),
        (Say::Break, "cut"),
        (Say::Bytes("data: {\n\n"), "malformed"),
        (Say::Bytes("data: {\"error\":{}}\n\n"), "unavailable"),
        (Say::Whole("<html>"), "malformed"),
    ] {
        let named = format!("{say:?}");
        let error = ask_once(say).await.unwrap_err();
        assert_eq!(error.class(), class, "{named}: {error}");
    }
}

#[tokio::test]
async fn silence_is_a_timeout() {
    for say in [Say::Hang, Say::Silence] {
        let quick = |config: &mut ModelConfig| config.first_token_timeout_ms = 50;
        let (reply, _) = ask(vec![say], 1, quick).await;
        assert_eq!(reply, Err(ModelError::Timeout("the answer did not begin")));
    }
    let quick = |config: &mut ModelConfig| config.total_timeout_ms = 50;
    let (reply, _) = ask(vec![Say::Hang], 1, quick).await;
    assert_eq!(reply, Err(ModelError::Timeout("the answer did not end")));
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let change = |config: &mut ModelConfig| config.base_url = format!("http://{address}/v1");
    let (reply, _) = ask(vec![Say::Hang], 1, change).await;
    assert_eq!(reply.unwrap_err().class(), "unavailable");
}

#[tokio::test]
async fn what_may_pass_is_asked_again_and_what_cannot_is_not() {
    let script = vec![Say::Status(503, None, ""), Say::Cut, Say::Stream("ok")];
    let (reply, asked) = ask(script, 3, |_| {}).await;
    assert_eq!((reply.unwrap().text.as_str(), asked), ("ok", 3));
    let (reply, asked) = ask(vec![Say::Status(500, None, "")], 2, |_| {}).await;
    assert_eq!((reply.unwrap_err().class(), asked), ("unavailable", 2));
    let (reply, asked) = ask(vec![Say::Status(401, None, "")], 3, |_| {}).await;
    assert_eq!((reply.unwrap_err().class(), asked), ("auth", 1));
    let limited = Say::Status(429, Some("3600"), "");
    let (reply, asked) = ask(vec![limited], 3, |_| {}).await;
    assert_eq!((reply.unwrap_err().class(), asked), ("rate_limited", 1));
}

#[tokio::test]
async fn a_pause_that_the_provider_asks_for_is_kept() {
    let begun = tokio::time::Instant::now();
    let script = vec![Say::Status(429, Some("1"), ""), Say::Stream("ok")];
    let (reply, asked) = ask(script, 2, |_| {}).await;
    assert_eq!((reply.unwrap().text.as_str(), asked), ("ok", 2));
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1));
}

#[tokio::test]
async fn the_key_is_in_no_error_and_no_debug() {
    let body = r#"{"error":{"message":"what is sk-test-0123456789?"}}"#;
    let error = ask_once(Say::Status(400, None, body)).await.unwrap_err();
    assert!(error.to_string().contains("what is ...?"), "{error}");
    let config = config("http://127.0.0.1:1/v1".into());
    let provider = Service::new("model", "model", &config, KEY.into()).unwrap();
    assert!(!format!("{provider:?}").contains(KEY));
}

fn new(config: &ModelConfig, key: &str) -> Result<Service, llm_bridge::provider::SetupError> {
    Service::new("model", "model", config, key.into())
}

#[test]
fn what_is_no_provider_names_its_key() {
    for base_url in ["", "ftp://host/v1", "host/v1", "http://"] {
        let error = new(&config(base_url.into()), "").unwrap_err();
        assert!(error.to_string().starts_with("model.base_url: "), "{error}");
    }
    let error = new(&config("http://h/v1".into()), "a\nb").unwrap_err();
    assert!(error.to_string().starts_with("model.key: "), "{error}");
}
