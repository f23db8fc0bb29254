//! The HTTP server: routes, and the ways of answering. What is answered is decided elsewhere.

use std::fmt;
use std::future::IntoFuture as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::Value;
use service_kit::clock;
use service_kit::drain::Drain;
use tokio::net::TcpListener;

use super::behaviour::{self, Behaviour, Fail};
use super::replay::Recording;
use super::reply::{self, RETRY_AFTER_S, Reply};
use super::request::ChatRequest;
use super::{events, planner, prompt, tokens};

/// The longest request that is read.
pub const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is served.
#[derive(Clone)]
pub struct Mock(Arc<Shared>);

struct Shared {
    behaviour: Behaviour,
    recording: Option<Recording>,
    metrics: Box<dyn Fn() -> String + Send + Sync>,
    requests: AtomicU64,
    drain: Drain,
}

impl fmt::Debug for Mock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mock")
            .field("behaviour", &self.0.behaviour)
            .finish_non_exhaustive()
    }
}

impl Mock {
    /// A model that behaves so, answers from the recording if there is one, and shows these metrics.
    pub fn new(
        behaviour: Behaviour,
        recording: Option<Recording>,
        metrics: impl Fn() -> String + Send + Sync + 'static,
        drain: Drain,
    ) -> Self {
        Self(Arc::new(Shared {
            behaviour,
            recording,
            metrics: Box::new(metrics),
            requests: AtomicU64::new(0),
            drain,
        }))
    }

    /// How many chat completions were asked for.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Serves until the drain is over.
    pub async fn serve(self, listener: TcpListener) {
        let drain = self.0.drain.clone();
        let stop = async move { drain.draining().await };
        let serving = axum::serve(listener, self.router()).with_graceful_shutdown(stop);
        if let Err(error) = serving.into_future().await {
            events::serving_ended(&error);
        }
    }

    fn router(self) -> Router {
        Router::new()
            .route("/v1/chat/completions", post(chat_completions))
            .route("/v1/models", get(models))
            .route("/live", get(|| std::future::ready("ok\n")))
            .route("/ready", get(ready))
            .route("/metrics", get(metrics))
            .fallback(unknown_route)
            .method_not_allowed_fallback(unknown_method)
            .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
            .with_state(self)
    }
}

async fn ready(State(mock): State<Mock>) -> (StatusCode, &'static str) {
    if mock.0.drain.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

async fn metrics(State(mock): State<Mock>) -> String {
    (mock.0.metrics)()
}

async fn models() -> Response {
    json(StatusCode::OK, &reply::models(clock::unix_ms() / 1000))
}

async fn unknown_route() -> Response {
    refusal(StatusCode::NOT_FOUND, "Unknown request URL.", None)
}

async fn unknown_method() -> Response {
    refusal(
        StatusCode::METHOD_NOT_ALLOWED,
        "Not allowed with this method.",
        None,
    )
}

async fn chat_completions(
    State(mock): State<Mock>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let nth = mock.0.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let mut response = answer(&mock.0, nth, &headers, body).await;
    if let Ok(id) = format!("req-mock-{nth}").parse() {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn answer(
    mock: &Shared,
    nth: u64,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let asked = headers.get(behaviour::HEADER).map(|header| header.to_str());
    let behaviour = match asked {
        None => Ok(mock.behaviour.clone()),
        Some(Ok(header)) => mock
            .behaviour
            .with_header(header)
            .map_err(|e| e.to_string()),
        Some(Err(error)) => Err(format!("{}: {error}", behaviour::HEADER)),
    };
    let behaviour = match behaviour {
        Ok(behaviour) => behaviour.of_request(nth),
        Err(message) => return refusal(StatusCode::BAD_REQUEST, &message, None),
    };
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return refusal(rejection.status(), &rejection.body_text(), None),
    };
    let request = match ChatRequest::parse(&body) {
        Ok(request) => request,
        Err(bad) => return refusal(StatusCode::BAD_REQUEST, &bad.message, bad.param),
    };

    tokio::time::sleep(behaviour.delay()).await;
    if behaviour.fail != Fail::None {
        events::failed_on_demand(behaviour.fail);
    }
    if behaviour.fail == Fail::Hang {
        // A client that waits on must not hold up the end of the process.
        mock.drain.draining().await;
        return failure(Fail::Unavailable);
    }
    if reply::failure(behaviour.fail).is_some() {
        return failure(behaviour.fail);
    }
    let reply = reply_to(mock, nth, &request, &behaviour);
    if behaviour.fail == Fail::None {
        let completion_tokens = reply.completion_tokens();
        events::answered(request.stream, reply.prompt_tokens, completion_tokens);
    }
    send(&reply, &request, &behaviour)
}

fn reply_to(mock: &Shared, nth: u64, request: &ChatRequest, behaviour: &Behaviour) -> Reply {
    let mut content = match &mock.recording {
        Some(recording) => recording.content(nth).to_owned(),
        None => planner::answer(prompt::find(&request.messages)).to_json(),
    };
    if behaviour.malformed {
        let half = content.chars().count() / 2;
        content = content.chars().take(half).collect();
    }
    let texts = request.messages.iter().map(|message| &message.content);
    Reply {
        nth,
        created: clock::unix_ms() / 1000,
        content,
        prompt_tokens: texts.map(|text| tokens::count(text)).sum(),
    }
}

/// Sends the reply in the form that was asked for, or the first half of it.
fn send(reply: &Reply, request: &ChatRequest, behaviour: &Behaviour) -> Response {
    let cut = behaviour.fail == Fail::Cut;
    if !request.stream {
        let whole = reply.completion();
        return if cut {
            cut_in_half(&whole.to_string())
        } else {
            json(StatusCode::OK, &whole)
        };
    }
    let mut events = reply.events(request.include_usage);
    if cut {
        events.truncate(events.len() / 2);
    }
    let delay = behaviour.chunk_delay();
    let end = stream::iter(cut.then_some(())).then(|()| broken());
    let paced = stream::iter(events).then(move |event| async move {
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        Ok::<_, io::Error>(Bytes::from(event))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Body::from_stream(paced.chain(end))).into_response()
}

/// The half of an answer, and then a broken connection.
fn cut_in_half(text: &str) -> Response {
    let half = Bytes::copy_from_slice(&text.as_bytes()[..text.len() / 2]);
    let start = stream::iter([Ok(half)]);
    let body = Body::from_stream(start.chain(stream::once(broken())));
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// What was sent before goes out first: a body that fails at once takes it along.
async fn broken() -> io::Result<Bytes> {
    tokio::task::yield_now().await;
    Err(io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "cut on demand",
    ))
}

fn failure(fail: Fail) -> Response {
    let Some((status, body)) = reply::failure(fail) else {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "no such failure", None);
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, &body);
    if status == StatusCode::TOO_MANY_REQUESTS {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, RETRY_AFTER_S.into());
    }
    response
}

fn refusal(status: StatusCode, message: &str, param: Option<&str>) -> Response {
    events::refused(message);
    let message = format!("[mock model] {message}");
    json(
        status,
        &reply::error(&message, "invalid_request_error", param, None),
    )
}

fn json(status: StatusCode, body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (status, headers, body.to_string()).into_response()
}
