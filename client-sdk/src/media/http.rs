//! HTTP/1.1 over TLS to one gateway, for one transfer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderName, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use protocol::wire::MediaUrl;
use protocol::{ErrorCode, Refusal};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::tls;

/// How long a connection, and an answer that needs no work, may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest error, in bytes.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// How long before another attempt, unless the server says more.
const REST_MIN: Duration = Duration::from_millis(200);

/// What goes out.
pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Why an attempt ended.
#[derive(Debug)]
pub(super) enum Failed {
    /// Another may do better, after this.
    Again(String, Duration),
    /// None will.
    Finally(Refusal),
}

impl Failed {
    pub(super) fn again(why: impl ToString) -> Self {
        Self::Again(why.to_string(), REST_MIN)
    }
}

/// A connection; dropped, it is closed.
pub(super) struct Connection {
    requests: SendRequest<Body>,
    driving: JoinHandle<()>,
    host: String,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

pub(super) fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Where a URL leads, for a client that reaches the gateway at this address.
fn address(url: &MediaUrl, gateway: &str) -> String {
    if !url.address.is_empty() {
        return url.address.clone();
    }
    let host = gateway.rsplit_once(':').map_or(gateway, |(host, _)| host);
    format!("{host}:{}", url.port)
}

impl Connection {
    pub(super) async fn open(
        tls: &Arc<rustls::ClientConfig>,
        url: &MediaUrl,
        gateway: &str,
    ) -> Result<Self, Failed> {
        let host = address(url, gateway);
        let opening = async {
            let name = tls::server_name(&host).map_err(Failed::again)?;
            let tcp = TcpStream::connect(&host).await.map_err(Failed::again)?;
            let connector = TlsConnector::from(Arc::clone(tls));
            let stream = connector.connect(name, tcp).await.map_err(Failed::again)?;
            let made = http1::handshake(TokioIo::new(stream)).await;
            made.map_err(Failed::again)
        };
        let opened = tokio::time::timeout(ANSWER_TIMEOUT, opening).await;
        let (requests, connection) =
            opened.map_err(|_| Failed::again("no connection in time"))??;
        // It says to the request itself what ends it.
        let driving = tokio::spawn(async move { drop(connection.await) });
        Ok(Self {
            requests,
            driving,
            host,
        })
    }

    /// Asks; the answer is a good one.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        url: &MediaUrl,
        headers: &[(HeaderName, String)],
        (body, within): (Body, Option<Duration>),
    ) -> Result<Response<Incoming>, Failed> {
        let mut request = Request::builder()
            .method(method)
            .uri(&url.path)
            .header(HOST, &self.host);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(body).map_err(Failed::again)?;
        let answering = async {
            self.requests.ready().await.map_err(Failed::again)?;
            let answer = self.requests.send_request(request).await;
            answer.map_err(Failed::again)
        };
        let within = within.unwrap_or(ANSWER_TIMEOUT);
        let answer = tokio::time::timeout(within, answering).await;
        let answer = answer.map_err(|_| Failed::again("no answer in time"))??;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(refused(answer).await)
    }
}

/// What the server says when it does not do what was asked.
async fn refused(answer: Response<Incoming>) -> Failed {
    let status = answer.status();
    let header = answer.headers().get(RETRY_AFTER);
    let seconds = header.and_then(|value| value.to_str().ok()?.parse().ok());
    let rest = Duration::from_secs(seconds.unwrap_or(0)).max(REST_MIN);
    let limited = http_body_util::Limited::new(answer.into_body(), ERROR_BYTES_MAX);
    let body = limited.collect().await.map(|body| body.to_bytes());
    judge(status, rest, &body.unwrap_or_default())
}

fn judge(status: StatusCode, rest: Duration, body: &[u8]) -> Failed {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &said["error"];
    let number = error["number"].as_i64().and_then(|n| i32::try_from(n).ok());
    let code = number.and_then(|number| ErrorCode::try_from(number).ok());
    let message = error["message"].as_str().unwrap_or("no reason");
    let refusal = Refusal::new(code.unwrap_or(ErrorCode::Internal), message);
    // The URL is too old, the upload goes on elsewhere, or it was collected and begins anew.
    let begins_anew = [
        ErrorCode::TokenExpired,
        ErrorCode::Conflict,
        ErrorCode::NoSuchMedia,
    ];
    let passes = if code.is_none() {
        // Whoever stands between.
        status.is_server_error()
    } else {
        begins_anew.contains(&refusal.code) || refusal.is_retryable()
    };
    if passes {
        Failed::Again(refusal.to_string(), rest)
    } else {
        Failed::Finally(refusal)
    }
}

/// What HTTP calls a media: the same bytes have the same.
pub(super) fn etag(sha256: &[u8]) -> String {
    format!("\"{}\"", protocol::media::to_hex(sha256))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_to_the_gateway_of_the_session_unless_it_says_where() {
        let mut url = MediaUrl {
            port: 7643,
            ..MediaUrl::default()
        };
        assert_eq!(address(&url, "[::1]:7443"), "[::1]:7643");
        assert_eq!(address(&url, "fleet.example:7443"), "fleet.example:7643");
        url.address = "media.example:443".into();
        assert_eq!(address(&url, "fleet.example:7443"), "media.example:443");
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_is_final_is_not() {
        let judged = |status: u16, number: i32| {
            let status = StatusCode::from_u16(status).unwrap();
            let body = format!(r#"{{"error":{{"number":{number},"message":"why"}}}}"#);
            matches!(judge(status, REST_MIN, body.as_bytes()), Failed::Again(..))
        };
        assert!(judged(429, ErrorCode::RateLimited.into()));
        assert!(judged(503, ErrorCode::Unavailable.into()));
        assert!(judged(401, ErrorCode::TokenExpired.into()));
        assert!(judged(409, ErrorCode::Conflict.into()));
        assert!(!judged(400, ErrorCode::BadRequest.into()));
        assert!(!judged(403, ErrorCode::Forbidden.into()));
        let proxy = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            matches!(judge(status, REST_MIN, b"<html>"), Failed::Again(..))
        };
        assert!(proxy(502) && !proxy(404));
    }
}
