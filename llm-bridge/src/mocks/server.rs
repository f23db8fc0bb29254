//! The HTTP server of a mock: keys, scenarios, delays, cuts and breaks are here; what a provider has
//! of its own is not.

use std::collections::VecDeque;
use std::fmt;
use std::future::IntoFuture as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;

use super::brand::{Brand, Documented, Incoming, Wanted};
use super::pieces::pieces;
use super::scenario::Scenario;
use super::talk::{Asked, Said};

/// The longest request that is read, in bytes.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Scenarios that wait for their request; more are refused.
const SCENARIOS_MAX: usize = 1024;

/// Requests that are remembered; the oldest are forgotten.
const SEEN_MAX: usize = 1024;

/// Answers that may be asked for again; the oldest are forgotten.
const KEPT_MAX: usize = 64;

/// Where a process is told what the next requests meet.
pub const CONTROL_PATH: &str = "/mock/scenarios";

/// A request, as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// After the base path.
    pub path: String,
    /// The body; null for none.
    pub body: Value,
    /// The header Authorization.
    pub authorization: String,
}

/// A provider that is none.
#[derive(Clone)]
pub struct MockProvider(Arc<Shared>);

struct Shared {
    brand: Brand,
    key: String,
    state: Mutex<MockState>,
}

#[derive(Default)]
struct MockState {
    scenarios: VecDeque<Scenario>,
    seen: VecDeque<Seen>,
    kept: VecDeque<(u64, Asked, Said)>,
    last_id: u64,
}

impl fmt::Debug for MockProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockProvider")
            .field("brand", &self.0.brand)
            .finish_non_exhaustive()
    }
}

impl MockProvider {
    /// A provider that accepts this key.
    #[must_use]
    pub fn new(brand: Brand, key: &str) -> Self {
        Self(Arc::new(Shared {
            brand,
            key: key.into(),
            state: Mutex::default(),
        }))
    }

    /// Whose interface it has.
    #[must_use]
    pub fn brand(&self) -> Brand {
        self.0.brand
    }

    /// What the next request that has none yet meets; false when too many wait.
    #[must_use]
    pub fn push(&self, scenario: Scenario) -> bool {
        let mut state = self.0.state.lock();
        let has_room = state.scenarios.len() < SCENARIOS_MAX;
        if has_room {
            state.scenarios.push_back(scenario);
        }
        has_room
    }

    /// The requests so far, the newest last; reading them forgets them.
    #[must_use]
    pub fn take_seen(&self) -> Vec<Seen> {
        self.0.state.lock().seen.drain(..).collect()
    }

    /// What comes before the paths of the interface, at this address.
    #[must_use]
    pub fn base_url(&self, address: SocketAddr) -> String {
        format!("http://{address}{}", self.0.brand.base_path())
    }

    /// Serves until it is dropped.
    ///
    /// # Errors
    /// When the listener is broken.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let router = Router::new()
            .fallback(respond)
            .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
            .with_state(self);
        axum::serve(listener, router).into_future().await
    }
}

async fn respond(State(mock): State<MockProvider>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, REQUEST_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let path = head.uri.path();
    if path == CONTROL_PATH {
        return control(&mock, &body);
    }
    let Some(path) = path.strip_prefix(mock.0.brand.base_path()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let incoming = Incoming {
        path: path.into(),
        query: head.uri.query().unwrap_or_default().into(),
        is_post: head.method == Method::POST,
        wants_stream: head
            .headers
            .get("x-dashscope-sse")
            .is_some_and(|value| value == "enable"),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    answer(&mock, &head.headers, &incoming).await
}

/// A scenario or a list of them.
fn control(mock: &MockProvider, body: &Bytes) -> Response {
    let list = serde_json::from_slice::<Vec<Scenario>>(body)
        .or_else(|_| serde_json::from_slice::<Scenario>(body).map(|one| vec![one]));
    match list {
        Ok(list) => {
            let has_room = list.into_iter().all(|scenario| mock.push(scenario));
            let no_room = StatusCode::TOO_MANY_REQUESTS;
            let status = if has_room {
                StatusCode::NO_CONTENT
            } else {
                no_room
            };
            status.into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

async fn answer(mock: &MockProvider, headers: &HeaderMap, incoming: &Incoming) -> Response {
    let form = mock.0.brand.form();
    let authorization = headers.get(header::AUTHORIZATION);
    let authorization = authorization
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    mock.see(incoming, authorization);
    if authorization != format!("Bearer {}", mock.0.key) {
        return refuse(form.wrong_key(incoming), None);
    }
    let wanted = match form.read(incoming) {
        Ok(wanted) => wanted,
        Err(refusal) => return refuse(refusal, None),
    };
    if let Wanted::Kept { id, messages } = wanted {
        let state = mock.0.state.lock();
        let found = state.kept.iter().find(|(kept, ..)| *kept == id);
        return found.map_or_else(
            || StatusCode::NOT_FOUND.into_response(),
            |(id, asked, said)| {
                json(
                    StatusCode::OK,
                    &form.kept(asked, said, *id, messages),
                    false,
                )
            },
        );
    }
    let scenario = mock
        .0
        .state
        .lock()
        .scenarios
        .pop_front()
        .unwrap_or_default();
    tokio::time::sleep(Duration::from_millis(scenario.first_delay_ms)).await;
    if let Some(name) = &scenario.error {
        return match documented(mock.0.brand, name) {
            Some(error) => refuse(form.error(error), scenario.retry_after_s),
            None => StatusCode::NOT_IMPLEMENTED.into_response(),
        };
    }
    let id = mock.next_id();
    match wanted {
        Wanted::Chat(asked) => chat(mock, &asked, scenario, id),
        Wanted::Embeddings { model, texts } => {
            json(StatusCode::OK, &form.embeddings(&model, &texts, id), false)
        }
        Wanted::Plain(body) => json(StatusCode::OK, &body, false),
        Wanted::Kept { .. } => StatusCode::NOT_FOUND.into_response(),
    }
}

impl MockProvider {
    fn see(&self, incoming: &Incoming, authorization: &str) {
        let mut state = self.0.state.lock();
        if state.seen.len() == SEEN_MAX {
            state.seen.pop_front();
        }
        state.seen.push_back(Seen {
            path: incoming.path.clone(),
            body: incoming.body.clone(),
            authorization: authorization.into(),
        });
    }

    fn next_id(&self) -> u64 {
        let mut state = self.0.state.lock();
        state.last_id += 1;
        state.last_id
    }

    fn keep(&self, id: u64, asked: &Asked, said: &Said) {
        let mut state = self.0.state.lock();
        if state.kept.len() == KEPT_MAX {
            state.kept.pop_front();
        }
        state.kept.push_back((id, asked.clone(), said.clone()));
    }
}

fn documented(brand: Brand, name: &str) -> Option<&'static Documented> {
    brand.errors().iter().find(|error| error.name == name)
}

fn chat(mock: &MockProvider, asked: &Asked, scenario: Scenario, id: u64) -> Response {
    let form = mock.0.brand.form();
    let said = Said::to(asked, &scenario);
    mock.keep(id, asked, &said);
    if !asked.is_streamed {
        return json(
            StatusCode::OK,
            &form.whole(asked, &said, id),
            scenario.ascii,
        );
    }
    let mut events = form.events(asked, &said, id, !scenario.without_usage);
    if let Some(error) = scenario.error_in_stream.as_deref() {
        let Some(error) = documented(mock.0.brand, error) else {
            return StatusCode::NOT_IMPLEMENTED.into_response();
        };
        events.truncate(events.len() / 2);
        events.extend(form.stream_error(error));
    }
    stream_of(events, &scenario)
}

fn stream_of(mut events: Vec<String>, scenario: &Scenario) -> Response {
    for event in &mut events {
        if scenario.ascii {
            *event = ascii(event);
        }
        if scenario.crlf {
            *event = event.replace('\n', "\r\n");
        }
    }
    let mut pieces = pieces(&events, scenario.cut);
    if scenario.breaks {
        pieces.truncate(pieces.len().div_ceil(2).max(1));
    }
    let delay = Duration::from_millis(scenario.piece_delay_ms);
    let paced = stream::iter(pieces).then(move |piece| async move {
        // What was sent before goes out first, so that the pieces stay apart.
        if delay.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(delay).await;
        }
        Ok::<_, io::Error>(Bytes::from(piece))
    });
    let end = stream::iter(scenario.breaks.then_some(())).then(|()| async {
        tokio::task::yield_now().await;
        Err(io::Error::other("broken on demand"))
    });
    let mut response = Body::from_stream(paced.chain(end)).into_response();
    let kind = header::HeaderValue::from_static("text/event-stream; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    if let Some(seconds) = scenario.retry_after_s {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// JSON with escapes for whatever is not ASCII, pairs of surrogates included.
fn ascii(text: &str) -> String {
    let mut units = [0; 2];
    let mut escaped = String::new();
    for character in text.chars() {
        if character.is_ascii() {
            escaped.push(character);
        } else {
            for unit in character.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped
}

fn refuse((status, body): (u16, Value), retry_after_s: Option<u64>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, &body, false);
    if let Some(seconds) = retry_after_s {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn json(status: StatusCode, body: &Value, is_ascii: bool) -> Response {
    let text = body.to_string();
    let text = if is_ascii { ascii(&text) } else { text };
    let headers = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    (status, headers, text).into_response()
}
