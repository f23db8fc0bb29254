//! The administration API as a client: asks an im-logic by HTTP, waits as it is told to, asks another
//! one when it is away. Every change has an id, so that asking again changes nothing twice.
//!
//! Not here: what is asked, and how it is shown.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::screen;

/// How long one request may take, its answer included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// For how long a request is made again that is worth it.
const RETRY_WITHIN: Duration = Duration::from_secs(20);

/// The wait before it is, when nobody says how long.
const RETRY_PAUSE: Duration = Duration::from_millis(300);

/// Rows that are asked for together.
const PAGE_ROWS: u32 = 256;

/// What was refused, for good.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the server refused the request: {code}: {message}")]
pub struct Refused {
    /// As in the protocol, `NOT_A_MEMBER`.
    pub code: String,
    /// One line for people.
    pub message: String,
}

#[derive(Debug, Deserialize)]
struct ErrorBody {
    error: ErrorDetails,
}

#[derive(Debug, Deserialize)]
struct ErrorDetails {
    code: String,
    message: String,
    retryable: bool,
    retry_after_ms: u64,
}

/// Why there is no answer.
enum Failed {
    /// It is refused.
    Final(anyhow::Error),
    /// It is worth to ask again after this.
    Again(anyhow::Error, Duration),
}

/// An operator's hold on the API. One request at a time.
#[derive(Debug)]
pub struct Api {
    addresses: Vec<String>,
    /// Which of them is asked.
    at: usize,
    tls: Arc<ClientConfig>,
    token: String,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Api {
    /// Of the first of these that answers.
    #[must_use]
    pub fn new(addresses: Vec<String>, tls: Arc<ClientConfig>, token: &str) -> Self {
        Self {
            addresses,
            at: 0,
            tls,
            token: token.to_owned(),
            connection: None,
        }
    }

    /// Reads.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Changes something.
    pub async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, path, body.to_string().into()).await
    }

    /// Changes what is there.
    pub async fn patch(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask(Method::PATCH, path, body.to_string().into()).await
    }

    /// At most so many rows (0: all) of a list from its cursor `after` on: `rows` is the name of its
    /// array. What comes back has the form of a page.
    pub async fn list(
        &mut self,
        path: &str,
        rows: &str,
        (after, limit): (&str, u32),
    ) -> anyhow::Result<Value> {
        let mut found: Vec<Value> = Vec::new();
        let mut after = after.to_owned();
        loop {
            let have = u32::try_from(found.len()).unwrap_or(u32::MAX);
            let wanted = match limit {
                0 => PAGE_ROWS,
                limit => limit.saturating_sub(have).min(PAGE_ROWS),
            };
            let with = if path.contains('?') { '&' } else { '?' };
            let cursor = encoded(&after);
            let page = self
                .get(&format!("{path}{with}after={cursor}&limit={wanted}"))
                .await?;
            let array = page[rows].as_array().context("a page without rows")?;
            found.extend(array.iter().cloned());
            let is_full = limit > 0 && found.len() >= limit as usize;
            match page["next"].as_str() {
                Some(next) if !is_full => {
                    next.clone_into(&mut after);
                    if std::io::stderr().is_terminal() {
                        screen::news(format!("{} {rows} so far", found.len()));
                    }
                }
                next => {
                    let next = next.map(str::to_owned);
                    let mut whole = page;
                    whole[rows] = found.into();
                    whole["next"] = next.into();
                    return Ok(whole);
                }
            }
        }
    }

    async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Value> {
        let until = Instant::now() + RETRY_WITHIN;
        loop {
            let asked = self.ask_once(&method, path, body.clone());
            let failed = match tokio::time::timeout(REQUEST_TIMEOUT, asked).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(failed)) => failed,
                Err(_) => Failed::Again(anyhow!("no answer in time"), RETRY_PAUSE),
            };
            match failed {
                Failed::Final(error) => return Err(error),
                Failed::Again(error, pause) if Instant::now() + pause < until => {
                    tracing::debug!(%error, "asking again");
                    tokio::time::sleep(pause).await;
                }
                Failed::Again(error, _) => return Err(error),
            }
        }
    }

    async fn ask_once(
        &mut self,
        method: &Method,
        path: &str,
        body: Bytes,
    ) -> Result<Value, Failed> {
        let answered = self.exchange(method, path, body).await;
        let (status, text) = answered.map_err(|error| {
            self.connection = None;
            self.at = (self.at + 1) % self.addresses.len().max(1);
            Failed::Again(error, RETRY_PAUSE)
        })?;
        if status.is_success() {
            let answer = serde_json::from_slice(&text).context("the answer is no JSON");
            return answer.map_err(Failed::Final);
        }
        let Ok(ErrorBody { error }) = serde_json::from_slice(&text) else {
            return Err(Failed::Final(anyhow!("the server answered with {status}")));
        };
        let pause = Duration::from_millis(error.retry_after_ms);
        let is_retryable = error.retryable;
        let refused = Refused {
            code: error.code,
            message: error.message,
        };
        Err(if is_retryable {
            Failed::Again(refused.into(), pause)
        } else {
            Failed::Final(refused.into())
        })
    }

    async fn exchange(
        &mut self,
        method: &Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let address = self.addresses.get(self.at).context("no address")?.clone();
        let open = self.connection.take();
        let mut connection = match open.filter(|open| !open.is_closed()) {
            Some(open) => open,
            None => connect(&address, &self.tls)
                .await
                .with_context(|| format!("cannot reach the administration API at {address}"))?,
        };
        connection.ready().await?;
        let request = Request::builder()
            .method(method)
            .uri(format!("/admin/v1/{path}"))
            .header(header::HOST, &address)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let response = connection.send_request(request).await?;
        let status = response.status();
        let text = response.into_body().collect().await?.to_bytes();
        self.connection = Some(connection);
        Ok((status, text))
    }
}

async fn connect(
    address: &str,
    tls: &Arc<ClientConfig>,
) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned())?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let stream = TlsConnector::from(Arc::clone(tls))
        .connect(name, stream)
        .await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the API ends");
        }
    });
    Ok(sender)
}

/// The id of a change and all its repeats, as the API wants it.
pub(crate) fn change_id() -> Value {
    json!(client_sdk::new_message_id().to_string())
}

/// As a part of a path or a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// A text of an answer; empty: there is none.
pub(crate) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// A cell of a table: a text as it is, anything else as JSON has it.
pub(crate) fn cell(value: &Value, key: &str) -> String {
    match &value[key] {
        Value::String(text) => crate::render::on_one_screen(text),
        Value::Null => "-".to_owned(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.to_string()
        }
    }
}

/// The rows of a page.
pub(crate) fn rows<'v>(page: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    page[key].as_array().into_iter().flatten()
}

/// What says that there is more; empty: there is not.
pub(crate) fn more(page: &Value) -> String {
    match page["next"].as_str() {
        Some(next) => format!("more: --after {next}\n"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_path_is_encoded() {
        assert_eq!(encoded("a-b.c_d~9"), "a-b.c_d~9");
        assert_eq!(encoded("计划/1 &"), "%E8%AE%A1%E5%88%92%2F1%20%26");
    }

    #[test]
    fn an_error_of_the_api_is_one_line() {
        let body = json!({"error": {"code": "LAST_OWNER", "number": 26, "message": "make another",
            "retryable": false, "retry_after_ms": 0}});
        let ErrorBody { error } = serde_json::from_value(body).unwrap();
        let refused = Refused {
            code: error.code,
            message: error.message,
        };
        let line = "the server refused the request: LAST_OWNER: make another";
        assert_eq!(refused.to_string(), line);
    }
}
