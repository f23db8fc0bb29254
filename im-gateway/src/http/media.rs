//! Media by request and answer: one is made, what a message refers to is found, one's own are
//! listed. Their bytes go to and from the signed URLs that are answered here ([`super::upload`],
//! [`super::download`]).

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query};
use protocol::kind::client;
use protocol::media::{MediaId, from_hex, to_hex};
use protocol::wire::{
    CreateMedia, ListMedia, MediaCreated, MediaItem, MediaOpened, MediaPage, MediaState, MediaUrl,
    OpenMedia,
};
use protocol::{ClientMessageId, Refusal};
use serde::{Deserialize, Serialize};
use service_kit::http::{ErrorBody, Parameters, Refused, read_body};
use utoipa::{IntoParams, ToSchema};

use super::Http;
use super::caller::Caller;
use super::json::conversation;
use super::messages::BODY_BYTES_MAX;
use crate::media::{self, Media};

/// A media to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateBody {
    /// A UUIDv7, new for each media; the same again finds the first.
    client_message_id: String,
    /// How long it is.
    bytes: u64,
    /// The SHA-256 of it, in hexadecimal.
    sha256: String,
    /// What it is: `image/png`.
    media_type: String,
    /// As its file is called.
    #[serde(default)]
    name: String,
}

/// A media that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CreatedBody {
    /// Its id.
    media_id: String,
    /// What a message refers to it by.
    reference: String,
    /// `uploading` or `complete`.
    state: &'static str,
    /// Path and query to send it to.
    upload_url: String,
    /// Until when, in milliseconds since the Unix epoch.
    expires_at_ms: u64,
}

/// What is known of a media.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ItemBody {
    /// Its id.
    media_id: String,
    /// What a message refers to it by.
    reference: String,
    /// How long it is.
    bytes: u64,
    /// In hexadecimal.
    sha256: String,
    /// What it is.
    media_type: String,
    /// As its file was called.
    name: String,
    /// `uploading`, `complete` or `doomed`.
    state: &'static str,
    /// How many messages refer to it.
    messages: u64,
}

/// Where to fetch a media.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OpenedBody {
    /// What it is.
    media: ItemBody,
    /// Path and query to fetch it from.
    download_url: String,
    /// Until when, in milliseconds since the Unix epoch.
    expires_at_ms: u64,
}

/// One's own media.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ListBody {
    /// By rising id.
    media: Vec<ItemBody>,
    /// There are more.
    more: bool,
    /// The bytes of all of them.
    used_bytes: u64,
    /// How many there may be.
    allowed_bytes: u64,
}

/// Which of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Listed {
    /// Those after this one.
    #[serde(default)]
    after: String,
    /// At most so many; 0 or more than the server allows: the server's page size.
    #[serde(default)]
    limit: u32,
}

/// The media of this gateway, if it has any.
pub(super) fn kept(http: &Http) -> Result<&Arc<Media>, Refusal> {
    http.gateway.media.as_ref().ok_or_else(media::none)
}

/// Make a media
///
/// The answer says where to send its bytes.
#[utoipa::path(
    post, path = "/v1/media", operation_id = "create_media", tag = "media",
    request_body = CreateBody,
    responses(
        (status = 200, description = "It is there", body = CreatedBody),
        (status = "default", description = "It is not", body = ErrorBody)),
)]
pub(super) async fn create(caller: Caller, body: Body) -> Result<Json<CreatedBody>, Refused> {
    let media = Arc::clone(kept(caller.http())?);
    let body = read_body(body, BODY_BYTES_MAX).await?;
    let asked: CreateBody = serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad_request(format!("the body: {error}")))?;
    let id: ClientMessageId = asked.client_message_id.parse().map_err(Refusal::from)?;
    let sha256 = from_hex(&asked.sha256);
    let create = CreateMedia {
        client_message_id: id.to_bytes(),
        bytes: asked.bytes,
        sha256: sha256
            .ok_or_else(|| Refusal::bad_request("sha256: 64 digits of hexadecimal"))?
            .into(),
        media_type: asked.media_type,
        name: asked.name,
    };
    let created: MediaCreated = caller.ask(client::CREATE_MEDIA, &create).await?;
    let created = media.created(caller.account, created)?;
    let state = name(created.state());
    let url = created.upload.unwrap_or_default();
    Ok(Json(CreatedBody {
        media_id: to_hex(&created.media_id),
        reference: created.reference,
        state,
        upload_url: url.path,
        expires_at_ms: url.expires_at_ms,
    }))
}

/// Find what a message refers to
///
/// The answer says where to fetch it.
#[utoipa::path(
    get, path = "/v1/conversations/{id}/messages/{sequence}/media", operation_id = "open_media",
    tag = "media",
    params(("id" = String, Path, description = "`g17` or `p3-9`"),
        ("sequence" = u64, Path, description = "The number of the message")),
    responses(
        (status = 200, description = "Where it is", body = OpenedBody),
        (status = "default", description = "It is not for the caller", body = ErrorBody)),
)]
pub(super) async fn open(
    caller: Caller,
    Path((id, sequence)): Path<(String, u64)>,
) -> Result<Json<OpenedBody>, Refused> {
    let media = Arc::clone(kept(caller.http())?);
    let open = OpenMedia {
        conversation_id: conversation(&id)?.to_bytes(),
        sequence,
        ..OpenMedia::default()
    };
    let opened: MediaOpened = caller.ask(client::OPEN_MEDIA, &open).await?;
    let opened = media.opened(caller.account, opened)?;
    let MediaUrl {
        path,
        expires_at_ms,
        ..
    } = opened.download.unwrap_or_default();
    Ok(Json(OpenedBody {
        media: item(opened.media.unwrap_or_default()),
        download_url: path,
        expires_at_ms,
    }))
}

/// List one's own media
#[utoipa::path(
    get, path = "/v1/media", operation_id = "list_media", tag = "media",
    params(Listed),
    responses(
        (status = 200, description = "A page of them", body = ListBody),
        (status = "default", description = "There is none", body = ErrorBody)),
)]
pub(super) async fn list(
    caller: Caller,
    listed: Parameters<Listed>,
) -> Result<Json<ListBody>, Refused> {
    let Query(listed) = listed?;
    let after = match &listed.after[..] {
        "" => bytes::Bytes::new(),
        after => after.parse::<MediaId>()?.to_bytes(),
    };
    let list = ListMedia {
        after_media_id: after,
        limit: listed.limit,
        collect: false,
    };
    let page: MediaPage = caller.ask(client::LIST_MEDIA, &list).await?;
    Ok(Json(ListBody {
        media: page.media.into_iter().map(item).collect(),
        more: page.more,
        used_bytes: page.used_bytes,
        allowed_bytes: page.allowed_bytes,
    }))
}

pub(super) fn item(item: MediaItem) -> ItemBody {
    let state = name(item.state());
    ItemBody {
        reference: MediaId::from_slice(&item.media_id)
            .map_or_else(|_| String::new(), MediaId::reference),
        media_id: to_hex(&item.media_id),
        bytes: item.bytes,
        sha256: to_hex(&item.sha256),
        media_type: item.media_type,
        name: item.name,
        state,
        messages: item.messages,
    }
}

const fn name(state: MediaState) -> &'static str {
    match state {
        MediaState::Uploading => "uploading",
        MediaState::Complete => "complete",
        MediaState::Doomed => "doomed",
        MediaState::Unspecified => "unknown",
    }
}
