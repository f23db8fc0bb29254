//! The bytes of a media on their way out, at a signed URL: all of them or a range (RFC 9110).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use protocol::Refusal;
use protocol::media::MediaId;
use service_kit::http::{ErrorBody, Parameters, Refused};

use super::Http;
use super::media::kept;

use crate::events;
use crate::media::chain::Manifest;
use crate::media::range::{Wanted, wanted};
use crate::media::sign::{Purpose, Signed};

/// What is read at once, in bytes: with what is read ahead, what a download holds in memory.
const PIECE_BYTES: u64 = 1024 * 1024;

/// Pieces that are read at once.
const PIECES_AHEAD: usize = 2;

/// Fetch a media
///
/// All of it, or with `Range` a part. `If-Range` with the ETag of before makes sure that the rest is
/// of the same bytes.
#[utoipa::path(
    get, path = "/v1/media/{id}", operation_id = "fetch_media", tag = "media",
    params(("id" = String, Path, description = "The media, in a signed URL"),
        ("Range" = Option<String>, Header, description = "`bytes=1000-`"),
        ("If-Range" = Option<String>, Header, description = "The ETag")),
    responses(
        (status = 200, description = "All of it"),
        (status = 206, description = "The range"),
        (status = 416, description = "There are no such bytes"),
        (status = "default", description = "It is not there", body = ErrorBody)),
)]
pub(super) async fn fetch(
    State(http): State<Arc<Http>>,
    Path(id): Path<String>,
    url: Parameters<Signed>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let Query(url) = url?;
    let (media, id) = (kept(&http)?, id.parse::<MediaId>()?);
    media.verify(Purpose::Download, id, &url)?;
    let manifest = media.whole(id).await?;
    let etag = manifest.etag();
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let has = text(header::IF_NONE_MATCH).is_some_and(|its| its == "*" || its.contains(&etag));
    if has {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let asked = text(header::RANGE).filter(|_| method == Method::GET);
    let (bytes, whole) = (manifest.bytes, 0..manifest.bytes);
    let (status, range) = match wanted(asked, text(header::IF_RANGE), &etag, bytes) {
        Wanted::Whole => (StatusCode::OK, whole),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Nothing => {
            let there = [(header::CONTENT_RANGE, format!("bytes */{bytes}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, there).into_response());
        }
    };
    let length = range.end - range.start;
    let content_range = format!("bytes {}-{}/{bytes}", range.start, range.end.max(1) - 1);
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        let place = media.download()?;
        let media = Arc::clone(media);
        let pieces = stream::iter(manifest.pieces(range, PIECE_BYTES));
        let mut read = pieces
            .map(move |(part, bytes)| {
                let media = Arc::clone(&media);
                async move { media.read(id, &part, bytes).await }
            })
            .buffered(PIECES_AHEAD);
        // Before anything is answered: a refusal has its status.
        let first = read.next().await.transpose()?;
        let rest = read.inspect(move |_| {
            // Given back with the stream.
            let _held = &place;
        });
        let all = stream::iter(first.map(Ok)).chain(rest);
        Body::from_stream(all.map(|read| {
            let read: Result<Bytes, Refusal> = read;
            if let Ok(bytes) = &read {
                events::media_bytes("downloaded", bytes.len() as u64);
            }
            read
        }))
    };
    let mut response = (status, body).into_response();
    describe(response.headers_mut(), &manifest, length);
    if status == StatusCode::PARTIAL_CONTENT {
        let content_range = HeaderValue::try_from(content_range);
        let value = content_range.map_err(|_| Refusal::internal("a range"))?;
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

/// What is said of any of its bytes.
fn describe(headers: &mut HeaderMap, manifest: &Manifest, length: u64) {
    let mut set = |name, value: &str| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    set(header::CONTENT_LENGTH, &length.to_string());
    set(header::ACCEPT_RANGES, "bytes");
    set(header::ETAG, &manifest.etag());
    set(header::CACHE_CONTROL, "private, immutable, max-age=3600");
    // Never shown as a page of ours, whatever it says that it is.
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::CONTENT_SECURITY_POLICY, "sandbox");
    set(header::CONTENT_TYPE, &manifest.media_type);
    let name = encoded(&manifest.name);
    let disposition = format!("attachment; filename*=UTF-8''{name}");
    set(header::CONTENT_DISPOSITION, &disposition);
    if !headers.contains_key(header::CONTENT_TYPE) {
        let unknown = HeaderValue::from_static("application/octet-stream");
        headers.insert(header::CONTENT_TYPE, unknown);
    }
}

/// As RFC 8187 writes what is not plain.
fn encoded(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_so_that_every_client_reads_them() {
        assert_eq!(encoded("a b.png"), "a%20b.png");
        assert_eq!(encoded("图\"\r\n"), "%E5%9B%BE%22%0D%0A");
    }
}
