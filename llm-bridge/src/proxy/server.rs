//! The HTTP server: who asks, what for, whether it may; then what the provider says, as it comes.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use service_kit::clock;
use service_kit::config::{ConfigError, read_file};
use service_kit::drain::Drain;
use service_kit::token::TokenVerifier;
use tokio::sync::mpsc;

use super::SUBJECT_PREFIX;
use super::account::Line;
use super::config::{Config, UpstreamConfig};
use super::ledger::{recall, write};
use super::limits::{Bounds, Limits, Refusal, Reservation};
use super::tap::{Estimate, Tap};
use crate::events;
use crate::provider::install_crypto;

/// The longest request that is passed on, in bytes.
const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Lines that wait to be written; further ones are dropped and counted, what was spent is not.
const LINES_MAX: usize = 4096;

/// What of an answer's head is passed on.
const PASSED: [&str; 3] = ["content-type", "retry-after", "x-request-id"];

/// The proxy.
#[derive(Clone)]
pub struct Proxy(Arc<Shared>);

struct Shared {
    http: reqwest::Client,
    upstream: UpstreamConfig,
    verifier: TokenVerifier,
    limits: Mutex<Limits>,
    lines: Option<mpsc::Sender<Line>>,
}

/// Without the key.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base_url = &self.0.upstream.base_url;
        f.debug_struct("Proxy")
            .field("base_url", base_url)
            .finish_non_exhaustive()
    }
}

impl Proxy {
    /// As the configuration says; what was spent today is read, and lines are written until the
    /// drain.
    ///
    /// # Errors
    /// When a key, a file or a URL cannot be used.
    pub fn new(config: &Config, drain: &Drain) -> Result<Self, ConfigError> {
        install_crypto();
        let value = |error: &dyn fmt::Display| ConfigError::Value(error.to_string());
        let key = read_file("upstream.key_file", &config.upstream.key_file)?;
        let key = String::from_utf8_lossy(&key).trim().to_owned();
        let mut authorization = HeaderValue::from_str(&format!("Bearer {key}"))
            .ok()
            .filter(|_| !key.is_empty())
            .ok_or_else(|| ConfigError::Value("upstream.key_file: it holds no key".into()))?;
        authorization.set_sensitive(true);
        let is_url = config.upstream.base_url.starts_with("http://")
            || config.upstream.base_url.starts_with("https://");
        if !is_url {
            return Err(ConfigError::Value(
                "upstream.base_url: not http(s)://HOST/v1".into(),
            ));
        }
        let mut http = reqwest::Client::builder()
            .connect_timeout(Duration::from_millis(config.upstream.connect_timeout_ms))
            .timeout(Duration::from_millis(config.upstream.total_timeout_ms))
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(HeaderMap::from_iter([(
                header::AUTHORIZATION,
                authorization,
            )]));
        if config.upstream.base_url.starts_with("http://") {
            http = http.tls_certs_only([]).no_proxy();
        }
        let clients = &config.clients;
        let mut limits = Limits::new(Bounds {
            requests_per_minute: clients.requests_per_minute,
            concurrent_max: clients.concurrent_max,
            tokens_per_day: clients.tokens_per_day,
            clients_max: clients.clients_max,
        });
        let lines = match config.account.file.as_str() {
            "" => None,
            file => {
                recall(&mut limits, file)?;
                let (sender, receiver) = mpsc::channel(LINES_MAX);
                drain.spawn_last(write(file.into(), receiver, drain.clone()));
                Some(sender)
            }
        };
        Ok(Self(Arc::new(Shared {
            http: http.build().map_err(|error| value(&error))?,
            upstream: config.upstream.clone(),
            verifier: TokenVerifier::from_pem(&clients.public_key).map_err(|e| value(&e))?,
            limits: Mutex::new(limits),
            lines,
        })))
    }

    /// What answers requests.
    pub fn router(self) -> Router {
        Router::new().fallback(respond).with_state(self)
    }
}

async fn respond(State(proxy): State<Proxy>, request: Request) -> Response {
    match pass(&proxy, request).await {
        Ok(response) => response,
        Err(refused) => {
            events::proxy_refused(refused.code);
            refused.response()
        }
    }
}

/// Why a request does not go on: in the shape that clients of the interface know.
struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after_s: Option<u64>,
}

impl Refused {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry_after_s: None,
        }
    }

    fn response(self) -> Response {
        let body = json!({ "error": {
            "message": format!("openai-proxy: {}", self.message),
            "type": "invalid_request_error",
            "param": null,
            "code": self.code,
        } });
        let headers = [(header::CONTENT_TYPE, "application/json")];
        let mut response = (self.status, headers, body.to_string()).into_response();
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let (code, retry_after_s) = match refusal {
            Refusal::Rate { retry_after_s } => ("rate_limit_exceeded", Some(retry_after_s)),
            Refusal::Concurrency => ("rate_limit_exceeded", Some(1)),
            Refusal::Tokens | Refusal::Clients => ("insufficient_quota", None),
        };
        Self {
            retry_after_s,
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, code, refusal.to_string())
        }
    }
}

async fn pass(proxy: &Proxy, request: Request) -> Result<Response, Refused> {
    let shared = &proxy.0;
    let (head, body) = request.into_parts();
    let client = client(shared, &head.headers)?;
    let paths = &mut shared.upstream.paths.iter();
    let path = paths.find(|path| head.uri.path().ends_with(path.as_str()));
    let path = path
        .filter(|_| head.method == Method::POST)
        .ok_or_else(|| {
            let message = "this path is not passed on";
            Refused::new(StatusCode::NOT_FOUND, "path_not_allowed", message)
        })?;
    let body = axum::body::to_bytes(body, REQUEST_BYTES_MAX).await;
    let body = body.map_err(|_| {
        let message = "the request is too long";
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    })?;
    let (asked, model) = asked(&shared.upstream, &body)?;
    let prompt_tokens = Estimate::of(&String::from_utf8_lossy(&body));
    let reserved = prompt_tokens.saturating_add(answer_bound(&asked, &shared.upstream));
    let now_ms = clock::unix_ms();
    let reservation = shared.limits.lock().begin(&client, reserved, now_ms)?;
    let mut passing = Passing {
        shared: shared.clone(),
        client,
        model,
        status: 0,
        reservation,
        prompt_tokens,
        tap: None,
    };
    let url = format!("{}{path}", shared.upstream.base_url.trim_end_matches('/'));
    match shared.http.post(url).json(&asked).send().await {
        Ok(sent) => Ok(relay(sent, passing)),
        Err(error) => {
            if error.is_connect() {
                // Nothing was asked, so nothing is billed.
                passing.status = StatusCode::BAD_GATEWAY.as_u16();
            }
            let (status, code) = if error.is_timeout() {
                (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout")
            } else {
                (StatusCode::BAD_GATEWAY, "upstream_unreachable")
            };
            let message = "the provider cannot be reached";
            Err(Refused::new(status, code, message))
        }
    }
}

/// The request as it is passed on, and the model that it asks for.
fn asked(upstream: &UpstreamConfig, body: &[u8]) -> Result<(Value, String), Refused> {
    let mut asked: Value = serde_json::from_slice(body).map_err(|_| {
        let message = "the request is not JSON";
        Refused::new(StatusCode::BAD_REQUEST, "malformed", message)
    })?;
    let model = asked["model"].as_str().unwrap_or_default().to_owned();
    if !upstream.models.contains(&model) {
        let message = "this model is not passed on";
        return Err(Refused::new(
            StatusCode::NOT_FOUND,
            "model_not_found",
            message,
        ));
    }
    if asked["stream"] == true {
        // Without it a stream would cost nothing in the account.
        asked["stream_options"] = json!({ "include_usage": true });
    }
    Ok((asked, model))
}

fn answer_bound(asked: &Value, upstream: &UpstreamConfig) -> u64 {
    if asked["messages"].is_null() {
        return 0;
    }
    let bounds = ["max_completion_tokens", "max_tokens"];
    let bound = bounds.iter().find_map(|name| asked[*name].as_u64());
    let answers = asked["n"].as_u64().unwrap_or(1).max(1);
    bound
        .unwrap_or(upstream.answer_tokens_reserved)
        .saturating_mul(answers)
}

fn client(shared: &Shared, headers: &HeaderMap) -> Result<String, Refused> {
    let wrong = |why: &str| Refused::new(StatusCode::UNAUTHORIZED, "invalid_api_key", why);
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| value.strip_prefix("Bearer "));
    let token = token.ok_or_else(|| wrong("no key"))?;
    let subject = shared.verifier.verify(token, clock::unix_ms());
    let subject = subject.map_err(|error| wrong(&error.to_string()))?;
    let name = subject.as_str().strip_prefix(SUBJECT_PREFIX);
    name.map(str::to_owned)
        .ok_or_else(|| wrong("the key is for something else"))
}

/// A request under way: it is settled however it ends, also when the client goes away.
struct Passing {
    shared: Arc<Shared>,
    client: String,
    model: String,
    status: u16,
    reservation: Reservation,
    prompt_tokens: u64,
    /// None: the provider has not answered, or refused.
    tap: Option<Tap>,
}

impl Drop for Passing {
    fn drop(&mut self) {
        let (usage, is_told) = match self.tap.take() {
            Some(tap) => tap.finish(self.prompt_tokens),
            // What was refused costs nothing; what may have been heard is taken as heard.
            None if self.status == 0 => Tap::new(false, false).finish(self.prompt_tokens),
            None => Tap::new(false, false).finish(0),
        };
        let tokens = usage.prompt_tokens + usage.completion_tokens;
        self.shared
            .limits
            .lock()
            .end(&self.client, self.reservation, tokens);
        events::proxy_passed(self.status, usage, is_told);
        let line = Line {
            unix_ms: clock::unix_ms(),
            client: self.client.clone(),
            model: self.model.clone(),
            status: self.status,
            prompt_tokens: usage.prompt_tokens,
            answer_tokens: usage.completion_tokens,
            is_told,
        };
        let written = self.shared.lines.as_ref().map(|lines| lines.try_send(line));
        if let Some(Err(_)) = written {
            events::account_line_dropped();
        }
    }
}

/// The answer, as it comes.
fn relay(sent: reqwest::Response, mut passing: Passing) -> Response {
    let status = sent.status();
    passing.status = status.as_u16();
    let kind = sent.headers().get(header::CONTENT_TYPE);
    let is_stream = kind
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("text/event-stream"));
    passing.tap = status.is_success().then(|| Tap::new(true, is_stream));
    let mut headers = HeaderMap::new();
    for name in PASSED {
        if let Some(value) = sent.headers().get(name) {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
    }
    let stream = sent
        .bytes_stream()
        .map(move |piece: Result<Bytes, reqwest::Error>| {
            let piece = piece.map_err(|error| io::Error::other(error.without_url()))?;
            if let Some(tap) = &mut passing.tap {
                tap.pass(&piece);
            }
            Ok::<_, io::Error>(piece)
        });
    (status, headers, Body::from_stream(stream)).into_response()
}
