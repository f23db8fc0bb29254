//! Messages by request and answer: one is sent, a page is read, and a page is waited for.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query};
use bytes::Bytes;
use protocol::kind::client;
use protocol::limits::CONTENT_BYTES_MAX;
use protocol::wire::{self, ConversationPage, ListConversations, Pull, PullPage, SendAck};
use protocol::{ConversationId, Refusal};
use serde::Deserialize;
use service_kit::http::{ErrorBody, Parameters, Refused, read_body};
use tokio::time::{Duration, Instant};
use utoipa::IntoParams;

use super::caller::Caller;
use super::cursor::Cursor;
use super::json::{Conversations, Page, SendBody, SentBody, conversation};
use super::listener::{Listener, News};

/// The body of a request, in bytes: the longest content as JSON, where base64 adds a third; words
/// that JSON writes as escapes may be fewer.
pub(super) const BODY_BYTES_MAX: usize = CONTENT_BYTES_MAX / 3 * 4 + 8 * 1024;

/// The longest wait of a long poll, in milliseconds: what proxies on the way commonly allow.
pub(super) const WAIT_MS_MAX: u64 = 60_000;

/// Which entries.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Entries after this sequence number.
    #[serde(default)]
    after: u64,
    /// Not 0: the newest entries before this sequence number, in rising order.
    #[serde(default)]
    before: u64,
    /// At most so many; 0 or more than the server allows: the server's page size (512).
    #[serde(default)]
    limit: u32,
    /// If there is no entry yet: how long one is waited for, in milliseconds, at most 60000.
    #[serde(default)]
    wait_ms: u64,
}

/// Which conversations.
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

/// Sends a message
///
/// The answer means that the message is stored, for good. A repeat with the same
/// `client_message_id` is answered with the same number. On 429, 503, 504 and on a lost connection
/// send it again with the same id.
#[utoipa::path(
    post, path = "/v1/messages", operation_id = "send_message", tag = "messages",
    request_body = SendBody,
    responses((status = 200, description = "It is stored", body = SentBody),
        (status = "default", description = "It is not, or that is not known", body = ErrorBody)),
)]
pub(super) async fn send(caller: Caller, body: Body) -> Result<Json<SentBody>, Refused> {
    let patience = caller.http().request_timeout();
    let body = tokio::time::timeout(patience, read_body(body, BODY_BYTES_MAX)).await;
    let body = body.map_err(|_| Refusal::bad_request("the body took too long"))??;
    let send: wire::Send = SendBody::parse(&body)?.to_wire()?;
    let ack: SendAck = caller.ask(client::SEND, &send).await?;
    Ok(Json(ack.into()))
}

/// Reads a conversation
///
/// Entries come in rising order without gaps: what has expired, what was recalled and what the
/// caller may not see keeps its number as a placeholder, and `trimmed` names what retention has
/// dropped. With `wait_ms` the answer waits for the next entry (a long poll).
#[utoipa::path(
    get, path = "/v1/conversations/{id}/messages", operation_id = "read_messages",
    tag = "messages",
    params(("id" = String, Path, description = "`g17` or `p3-9`"), Which),
    responses((status = 200, description = "A page, possibly empty", body = Page),
        (status = "default", description = "There is none", body = ErrorBody)),
)]
pub(super) async fn read_page(
    caller: Caller,
    Path(id): Path<String>,
    which: Parameters<Which>,
) -> Result<Json<Page>, Refused> {
    let Query(which) = which?;
    let conversation = conversation(&id)?;
    let page = pull(&caller, conversation, &which).await?;
    if which.wait_ms == 0 || !page.entries.is_empty() || page.trimmed_up_to > which.after {
        return Ok(Json(Page::of(page, which.after)));
    }
    let page = wait(&caller, conversation, &which).await?;
    Ok(Json(Page::of(page, which.after)))
}

/// Lists the caller's conversations
#[utoipa::path(
    get, path = "/v1/conversations", operation_id = "list_conversations", tag = "messages",
    params(Listed),
    responses((status = 200, description = "A page", body = Conversations),
        (status = "default", description = "There is none", body = ErrorBody)),
)]
pub(super) async fn list(
    caller: Caller,
    listed: Parameters<Listed>,
) -> Result<Json<Conversations>, Refused> {
    let Query(listed) = listed?;
    let after = match &listed.after[..] {
        "" => Bytes::new(),
        text => conversation(text)?.to_bytes(),
    };
    let list = ListConversations {
        after_conversation_id: after,
        limit: listed.limit,
        history_generation: 0,
    };
    let page: ConversationPage = caller.ask(client::LIST_CONVERSATIONS, &list).await?;
    Ok(Json(Conversations::of(page)))
}

/// One page from logic.
pub(super) async fn pull_after(
    caller: &Caller,
    conversation: ConversationId,
    cursor: Cursor,
) -> Result<PullPage, Refusal> {
    let pull = Pull {
        conversation_id: conversation.to_bytes(),
        after_sequence: cursor.after,
        history_generation: cursor.history_generation,
        ..Pull::default()
    };
    caller.ask(client::PULL, &pull).await
}

async fn pull(
    caller: &Caller,
    conversation: ConversationId,
    which: &Which,
) -> Result<PullPage, Refusal> {
    let pull = Pull {
        conversation_id: conversation.to_bytes(),
        after_sequence: which.after,
        limit: which.limit,
        before_sequence: which.before,
        history_generation: 0,
    };
    caller.ask(client::PULL, &pull).await
}

/// A page that is not empty, or an empty one when the time is over.
async fn wait(
    caller: &Caller,
    conversation: ConversationId,
    which: &Which,
) -> Result<PullPage, Refusal> {
    let deadline = Instant::now() + Duration::from_millis(which.wait_ms.min(WAIT_MS_MAX));
    let mut listener = Listener::open(caller, conversation).await?;
    let drain = caller.http().gateway.drain().clone();
    loop {
        // Again, for what came before we listened, and for what was not pushed.
        let page = pull(caller, conversation, which).await?;
        if !page.entries.is_empty() || page.trimmed_up_to > which.after {
            return Ok(page);
        }
        let heard = async {
            loop {
                match listener.next().await {
                    News::Entries(push) => {
                        if push
                            .entries
                            .iter()
                            .any(|entry| entry.sequence > which.after)
                        {
                            return true;
                        }
                    }
                    News::Head | News::Left => return true,
                    News::Ephemeral(_) => {}
                    News::Evicted(_) => return false,
                }
            }
        };
        let goes_on = tokio::select! {
            heard = tokio::time::timeout_at(deadline, heard) => heard.unwrap_or(false),
            () = drain.draining() => false,
        };
        if !goes_on {
            return Ok(page);
        }
    }
}
