//! The bytes of a media on their way in, at a signed URL: how far they are, more of them from a
//! byte on, and that they are all. A small form of what tus 1.0 does.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use protocol::media::MediaId;
use protocol::{AccountId, ErrorCode, Refusal};
use service_kit::http::{ErrorBody, Parameters, READ_AWAY_BYTES_MAX, Refused};

use super::Http;
use super::media::{ItemBody, item, kept};
use crate::media::sign::{Purpose, Signed};
use crate::media::{Media, Progress};

/// From which byte on, in the request; how far, in the answer.
const OFFSET: &str = "upload-offset";

/// How long the whole is.
const LENGTH: &str = "upload-length";

/// Whose URL it is, of which media.
fn known(
    http: &Http,
    id: &str,
    url: Parameters<Signed>,
) -> Result<(Arc<Media>, MediaId, AccountId), Refused> {
    let Query(url) = url?;
    let (media, id) = (kept(http)?, id.parse::<MediaId>()?);
    let account = media.verify(Purpose::Upload, id, &url)?;
    Ok((Arc::clone(media), id, account))
}

/// Ask how far an upload is
#[utoipa::path(
    head, path = "/v1/uploads/{id}", operation_id = "see_upload", tag = "media",
    params(("id" = String, Path, description = "The media, in a signed URL")),
    responses(
        (status = 204, description = "Upload-Offset says how many bytes are there"),
        (status = "default", description = "There is none", body = ErrorBody)),
)]
pub(super) async fn see(
    State(http): State<Arc<Http>>,
    Path(id): Path<String>,
    url: Parameters<Signed>,
) -> Result<Response, Refused> {
    let (media, id, _) = known(&http, &id, url)?;
    Ok(far(&media.progress(id).await?))
}

/// Send bytes of a media
///
/// From the byte on that `Upload-Offset` says, as many as there are; what was sent before the
/// connection broke is kept.
#[utoipa::path(
    patch, path = "/v1/uploads/{id}", operation_id = "send_upload", tag = "media",
    params(("id" = String, Path, description = "The media, in a signed URL"),
        ("Upload-Offset" = u64, Header, description = "The first byte of the body")),
    responses(
        (status = 204, description = "Upload-Offset says how many bytes are there"),
        (status = 409, description = "It goes on elsewhere: Upload-Offset", body = ErrorBody),
        (status = "default", description = "They are not taken", body = ErrorBody)),
)]
pub(super) async fn send(
    State(http): State<Arc<Http>>,
    Path(id): Path<String>,
    url: Parameters<Signed>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match take(&http, &id, url, &headers, body).await {
        Ok(answer) => answer,
        Err(not_taken) => {
            let (refused, body) = *not_taken;
            if let Some(body) = body {
                read_away(body).await;
            }
            refused
        }
    }
}

/// The refusal, and what of the body nobody has read.
type NotTaken = Box<(Response, Option<Body>)>;

async fn take(
    http: &Http,
    id: &str,
    url: Parameters<Signed>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, NotTaken> {
    let begun = async {
        let (media, id, account) = known(http, id, url)?;
        let attempt = media.attempt(account, id)?;
        let progress = media.progress(id).await?;
        Ok::<_, Refused>((media, attempt, progress))
    };
    let begun = begun.await;
    let (media, attempt, progress) = match begun {
        Ok(begun) => begun,
        Err(refused) => return Err(Box::new((refused.into_response(), Some(body)))),
    };
    let from = headers.get(OFFSET).and_then(|value| value.to_str().ok());
    let from = from.and_then(|value| value.parse::<u64>().ok());
    if from != Some(progress.offset) {
        let why = format!("Upload-Offset: it goes on at {}", progress.offset);
        let code = match from {
            Some(_) => ErrorCode::Conflict,
            None => ErrorCode::BadRequest,
        };
        let refused = Refused(Refusal::new(code, why)).into_response();
        return Err(Box::new((with_offset(refused, &progress), Some(body))));
    }
    // A task of its own: what has come when the connection breaks is kept all the same.
    let span = (progress.offset, progress.bytes);
    let taking = async move { media.take(&attempt, span, body).await };
    let taken = http.gateway.drain().spawn(taking).await;
    let taken = taken.unwrap_or_else(|_| Err(Refusal::internal("the upload ended")));
    match taken {
        Ok(offset) => Ok(far(&Progress { offset, ..progress })),
        Err(refusal) => Err(Box::new((Refused(refusal).into_response(), None))),
    }
}

/// Say that all bytes are sent
///
/// They are verified; after that messages may refer to the media. To ask again is harmless.
#[utoipa::path(
    post, path = "/v1/uploads/{id}", operation_id = "finish_upload", tag = "media",
    params(("id" = String, Path, description = "The media, in a signed URL")),
    responses(
        (status = 200, description = "It is whole", body = ItemBody),
        (status = "default", description = "It is not", body = ErrorBody)),
)]
pub(super) async fn finish(
    State(http): State<Arc<Http>>,
    Path(id): Path<String>,
    url: Parameters<Signed>,
) -> Result<Json<ItemBody>, Refused> {
    let (media, id, account) = known(&http, &id, url)?;
    let attempt = media.attempt(account, id)?;
    // As above: it ends also when nobody waits for it any more, and a repeat finds it done.
    let finishing = async move { media.finish(&attempt).await };
    let finished = http.gateway.drain().spawn(finishing).await;
    let finished = finished.map_err(|_| Refusal::internal("the upload ended"))?;
    Ok(Json(item(finished?)))
}

fn far(progress: &Progress) -> Response {
    with_offset(StatusCode::NO_CONTENT.into_response(), progress)
}

fn with_offset(mut response: Response, progress: &Progress) -> Response {
    let headers = response.headers_mut();
    headers.insert(OFFSET, HeaderValue::from(progress.offset));
    headers.insert(LENGTH, HeaderValue::from(progress.bytes));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A client that is still sending would not hear the answer.
async fn read_away(mut body: Body) {
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, |data| data.len());
        if length > READ_AWAY_BYTES_MAX {
            return;
        }
    }
}
