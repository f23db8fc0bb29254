//! Reading answers off a connection: streams, bodies with a bound, what a broken connection means.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use tokio::time::{Instant, timeout_at};

use super::ReadReply;
use super::error::ModelError;
use super::service::Listener;
use super::sse;

/// Hears a stream to its end.
pub(super) async fn hear(
    response: &mut Response,
    reader: &mut dyn ReadReply,
    first_by: Instant,
    listener: &mut dyn Listener,
) -> Result<(), ModelError> {
    let (mut events, mut heard) = (sse::Events::default(), 0);
    let asked_to_wait = retry_after(response.headers());
    while !reader.is_done() {
        let next = if reader.has_begun() {
            response.chunk().await
        } else {
            timeout_at(first_by, response.chunk()).await.map_err(late)?
        };
        let piece = next.map_err(cut)?;
        let read = match &piece {
            Some(piece) => events.push(piece)?,
            None => events.end()?.into_iter().collect(),
        };
        for event in &read {
            reader
                .event(event)
                .map_err(|error| waiting(error, asked_to_wait))?;
        }
        let words = &reader.text()[heard..];
        if !words.is_empty() {
            listener.hear(words);
            heard += words.len();
        }
        if piece.is_none() {
            break;
        }
    }
    Ok(())
}

/// A limit in an answer that began well may have its wait in the head of it.
pub(super) fn waiting(error: ModelError, asked: Option<Duration>) -> ModelError {
    if let ModelError::RateLimited { retry_after: None } = error {
        return ModelError::RateLimited { retry_after: asked };
    }
    error
}

pub(super) fn late(_: tokio::time::error::Elapsed) -> ModelError {
    ModelError::Timeout("the answer did not begin")
}

/// reqwest takes the process's provider of cryptography; another part may have set it.
pub(crate) fn install_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}

/// The headers of every request; none for a key that cannot be one.
pub(super) fn headers(key: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    if !key.is_empty() {
        let mut value = HeaderValue::from_str(&format!("Bearer {key}")).ok()?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Some(headers)
}

pub(super) fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok())
        .is_none_or(|kind| !kind.starts_with("application/json"))
}

/// At most so much of the body.
pub(super) async fn read(response: &mut Response, bytes_max: usize) -> Result<Vec<u8>, ModelError> {
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
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    seconds.parse().ok().map(Duration::from_secs)
}

pub(super) fn transport(error: reqwest::Error) -> ModelError {
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
