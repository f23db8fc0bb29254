//! A provider of models: chat completions of the interface of OpenAI, streamed, with bounded
//! retries. What is asked, and what is made of the answer, is not here.

pub mod error;
pub mod reply;
mod sse;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Response, Url};
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::{Instant, timeout, timeout_at};

pub use self::error::ModelError;
pub use self::reply::Reply;
use crate::config::{ModelConfig, ResponseFormat};
use crate::events;
use crate::plan;
use crate::prompt::ChatMessage;
use reply::Collector;

/// The first pause between attempts.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);

/// The longest one.
const BACKOFF_LAST: Duration = Duration::from_secs(8);

/// A provider that asks to wait longer is not waited for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// How much of an error's body is read, in bytes.
const ERROR_BODY_BYTES_MAX: usize = 16 * 1024;

/// How much of a completion that is not streamed is read, in bytes.
const BODY_BYTES_MAX: usize = 2 * plan::ANSWER_BYTES_MAX;

/// A provider that cannot be set up.
#[derive(Debug, Error)]
pub enum SetupError {
    /// Not a URL of HTTP.
    #[error("model.base_url: `{0}` is not of the form http://HOST/v1 or https://HOST/v1")]
    BaseUrl(String),
    /// Not a header's value.
    #[error("model.key: it has characters that no key has")]
    Key,
    /// The client cannot be built; without the system's certificates for example.
    #[error("model.base_url: no client can be made for it")]
    Client(#[source] reqwest::Error),
}

/// A provider.
#[derive(Clone)]
pub struct Provider {
    shared: Arc<Shared>,
}

struct Shared {
    http: reqwest::Client,
    url: Url,
    /// Of no use but to keep it out of messages.
    key: String,
    model: String,
    response_format: ResponseFormat,
    first_token_timeout: Duration,
    total_timeout: Duration,
    attempts_max: u32,
}

/// Without the key.
impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("model", &self.shared.model)
            .finish_non_exhaustive()
    }
}

impl Provider {
    /// A provider as the configuration says. Nothing is sent yet.
    pub fn new(config: &ModelConfig, key: String) -> Result<Self, SetupError> {
        install_crypto();
        let url = Url::parse(&config.base_url)
            .and_then(|base| {
                let base = base.as_str().trim_end_matches('/');
                Url::parse(&format!("{base}/chat/completions"))
            })
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| SetupError::BaseUrl(config.base_url.clone()))?;
        // A redirect would take the key to somebody else.
        let mut http = reqwest::Client::builder()
            .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(headers(&key)?);
        if url.scheme() == "http" {
            // It needs no certificates, and a machine may have none.
            http = http.tls_certs_only([]);
        }
        if matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
            http = http.no_proxy();
        }
        let shared = Shared {
            http: http.build().map_err(SetupError::Client)?,
            url,
            key,
            model: config.name.clone(),
            response_format: config.response_format,
            first_token_timeout: Duration::from_millis(config.first_token_timeout_ms),
            total_timeout: Duration::from_millis(config.total_timeout_ms),
            attempts_max: config.attempts_max.max(1),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The model that is asked for.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.shared.model
    }

    /// Asks, and asks again when that may help. Cancel-safe: what is dropped was only asked.
    pub async fn ask(&self, messages: &[ChatMessage]) -> Result<Reply, ModelError> {
        let body = self.body(messages);
        let mut attempt = 1;
        loop {
            let error = match self.attempt(&body).await {
                Ok(reply) => {
                    events::model_answered(&reply);
                    return Ok(reply);
                }
                Err(error) => self.without_key(error),
            };
            events::model_failed(&error, attempt);
            let pause = pause(&error, attempt, rand::random());
            let Some(pause) = pause.filter(|_| attempt < self.shared.attempts_max) else {
                return Err(error);
            };
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    fn body(&self, messages: &[ChatMessage]) -> Value {
        let mut body = json!({
            "model": self.shared.model,
            "messages": messages,
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        match self.shared.response_format {
            // Not strict: the arguments of an action are an object of any form.
            ResponseFormat::JsonSchema => {
                body["response_format"] = json!({
                    "type": "json_schema",
                    "json_schema": {
                        "name": plan::SCHEMA_NAME,
                        "schema": plan::schema(),
                        "strict": false,
                    },
                });
            }
            ResponseFormat::JsonObject => {
                body["response_format"] = json!({ "type": "json_object" });
            }
            ResponseFormat::Text => {}
        }
        body
    }

    async fn attempt(&self, body: &Value) -> Result<Reply, ModelError> {
        timeout(self.shared.total_timeout, self.stream(body))
            .await
            .unwrap_or(Err(ModelError::Timeout("the answer did not end")))
    }

    async fn stream(&self, body: &Value) -> Result<Reply, ModelError> {
        let first_by = Instant::now() + self.shared.first_token_timeout;
        let late = |_| ModelError::Timeout("the answer did not begin");
        let sending = self.shared.http.post(self.shared.url.clone()).json(body);
        let mut response = timeout_at(first_by, sending.send())
            .await
            .map_err(late)?
            .map_err(transport)?;
        let status = response.status().as_u16();
        if !response.status().is_success() {
            let retry_after = retry_after(response.headers());
            let body = read(&mut response, ERROR_BODY_BYTES_MAX).await?;
            return Err(error::of_status(status, retry_after, &body));
        }
        if !is_stream(&response) {
            let body = read(&mut response, BODY_BYTES_MAX).await?;
            return reply::whole(&body);
        }
        let (mut events, mut collector) = (sse::Events::default(), Collector::default());
        while !collector.is_done() {
            let next = if collector.has_begun() {
                response.chunk().await
            } else {
                timeout_at(first_by, response.chunk()).await.map_err(late)?
            };
            let Some(piece) = next.map_err(cut)? else {
                break;
            };
            for event in events.push(&piece)? {
                collector.push(&event)?;
            }
        }
        collector.finish()
    }

    /// A provider may repeat the key in its message.
    fn without_key(&self, error: ModelError) -> ModelError {
        let hide = |text: String| match self.shared.key.as_str() {
            "" => text,
            key => text.replace(key, "..."),
        };
        match error {
            ModelError::BadRequest { status, message } => ModelError::BadRequest {
                status,
                message: hide(message),
            },
            ModelError::Unavailable(text) => ModelError::Unavailable(hide(text)),
            ModelError::Malformed(text) => ModelError::Malformed(hide(text)),
            ModelError::Refused(text) => ModelError::Refused(hide(text)),
            other @ (ModelError::Auth { .. }
            | ModelError::Quota
            | ModelError::RateLimited { .. }
            | ModelError::Timeout(_)
            | ModelError::Cut
            | ModelError::TooLong) => other,
        }
    }
}

/// reqwest takes the process's provider of cryptography; another part may have set it.
fn install_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}

fn headers(key: &str) -> Result<HeaderMap, SetupError> {
    let mut headers = HeaderMap::new();
    if !key.is_empty() {
        let mut value =
            HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| SetupError::Key)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok())
        .is_none_or(|kind| !kind.starts_with("application/json"))
}

/// At most so much of the body.
async fn read(response: &mut Response, bytes_max: usize) -> Result<Vec<u8>, ModelError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(cut)? {
        let room = bytes_max - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
        if body.len() == bytes_max {
            break;
        }
    }
    Ok(body)
}

/// In seconds. A date is rare, and the pause without it is as good.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    seconds.parse().ok().map(Duration::from_secs)
}

fn transport(error: reqwest::Error) -> ModelError {
    if error.is_timeout() {
        return ModelError::Timeout("no connection");
    }
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    ModelError::Unavailable(cause.to_string())
}

fn cut(error: reqwest::Error) -> ModelError {
    if error.is_timeout() {
        ModelError::Timeout("the answer did not go on")
    } else {
        ModelError::Cut
    }
}

/// How long to wait before the next attempt, if there is a point in one; `random` is in `0.0..1.0`.
fn pause(error: &ModelError, attempt: u32, random: f64) -> Option<Duration> {
    if !error.is_retryable() {
        return None;
    }
    let bound = BACKOFF_FIRST
        .saturating_mul(2_u32.saturating_pow(attempt - 1))
        .min(BACKOFF_LAST);
    let own = bound.mul_f64(0.5 + random / 2.0);
    match error {
        ModelError::RateLimited {
            retry_after: Some(asked),
        } => (*asked <= RETRY_AFTER_MAX).then(|| own.max(*asked)),
        ModelError::RateLimited { retry_after: None }
        | ModelError::Unavailable(_)
        | ModelError::Timeout(_)
        | ModelError::Cut
        | ModelError::Malformed(_)
        | ModelError::Auth { .. }
        | ModelError::Quota
        | ModelError::BadRequest { .. }
        | ModelError::TooLong
        | ModelError::Refused(_) => Some(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_the_provider_may_ask_for_longer_ones() {
        let cut = ModelError::Cut;
        let pauses: Vec<_> = (1..8).map(|n| pause(&cut, n, 1.0).unwrap()).collect();
        let millis: Vec<_> = pauses.iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [250, 500, 1000, 2000, 4000, 8000, 8000]);
        assert_eq!(pause(&cut, 1, 0.0), Some(Duration::from_millis(125)));
        let limited = |seconds| ModelError::RateLimited {
            retry_after: Some(Duration::from_secs(seconds)),
        };
        assert_eq!(pause(&limited(3), 1, 0.5), Some(Duration::from_secs(3)));
        assert_eq!(pause(&limited(3600), 1, 0.5), None);
        assert_eq!(pause(&ModelError::Auth { status: 401 }, 1, 0.5), None);
    }
}
