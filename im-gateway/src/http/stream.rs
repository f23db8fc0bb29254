//! Server-sent events: a conversation as it goes on, from where the client is.
//!
//! One task a stream reads the conversation, at the pace at which the client takes it, and ends when
//! the client is gone, its session is, or the gateway drains.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, Query};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _, stream};
use protocol::wire::{self, PullPage};
use protocol::{ConversationId, Refusal};
use serde::{Deserialize, Serialize};
use service_kit::http::{ErrorBody, Parameters, Refused};
use tokio::sync::mpsc;
use utoipa::{IntoParams, ToSchema};

use super::caller::Caller;
use super::cursor::{Cursor, Taken};
use super::json::{Entry, Ephemeral, Trimmed, conversation};
use super::listener::{Listener, News};
use super::messages::pull_after;

/// Events on their way to one client. When full: no more are read until the client takes some, and
/// what is pushed meanwhile is told by its head.
const EVENTS_MAX: usize = 64;

/// How often something is said when there is nothing to say, so that either side notices that the
/// other is gone.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// How long a client waits before it comes back.
const RETRY: Duration = Duration::from_secs(1);

/// From where.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Start {
    /// Entries after this sequence number. `Last-Event-ID` goes before it.
    #[serde(default)]
    after: u64,
}

/// What the data of an event is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is the schema of what is written one by one")]
pub(super) enum EventData {
    /// `message`, with an id: the next entry.
    Entry(Box<Entry>),
    /// `trimmed`, with an id: what retention has dropped.
    Trimmed(Trimmed),
    /// `ephemeral`: a message that is not kept.
    Ephemeral(Ephemeral),
    /// `end`: why the stream ends. Come back with the last id, unless the caller left.
    End(End),
    /// `error`: why there is nothing more.
    Error(ErrorBody),
}

/// Why a stream ends.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct End {
    /// One line for people.
    reason: String,
}

/// A conversation that is told to one client.
struct Telling {
    caller: Caller,
    conversation: ConversationId,
    cursor: Cursor,
    listener: Listener,
    events: mpsc::Sender<Event>,
}

/// Nothing more is told.
struct Over;

/// Streams a conversation
///
/// Server-sent events: each entry is a `message` event whose id resumes the stream after it
/// (`Last-Event-ID`). Entries come as in a page, in order and without gaps. Further events are
/// `trimmed`, `ephemeral`, `end` and `error`.
#[utoipa::path(
    get, path = "/v1/conversations/{id}/events", operation_id = "stream_events",
    tag = "messages",
    params(("id" = String, Path, description = "`g17` or `p3-9`"), Start,
        ("Last-Event-ID" = Option<String>, Header, description = "The last event's id")),
    responses(
        (status = 200, description = "The stream", content_type = "text/event-stream",
            body = EventData),
        (status = "default", description = "There is none", body = ErrorBody)),
)]
pub(super) async fn open(
    caller: Caller,
    Path(id): Path<String>,
    from: Parameters<Start>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refused> {
    let Query(from) = from?;
    let conversation = conversation(&id)?;
    let mut cursor = match headers.get("last-event-id") {
        Some(id) => Cursor::parse(id.to_str().unwrap_or_default())?,
        None => Cursor {
            after: from.after,
            history_generation: 0,
        },
    };
    let listener = Listener::open(&caller, conversation).await?;
    // The first page before anything is answered: a refusal has its status.
    let first = pull_after(&caller, conversation, cursor).await?;
    cursor.history_generation = listener.history_generation;
    let (events, told) = mpsc::channel(EVENTS_MAX);
    let drain = caller.http().gateway.drain().clone();
    let telling = Telling {
        caller,
        conversation,
        cursor,
        listener,
        events,
    };
    drain.spawn(telling.run(first));
    let told = stream::unfold(told, |mut told| async move {
        let event = told.recv().await?;
        Some((Ok(event), told))
    });
    Ok(Sse::new(told.boxed()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL)))
}

impl Telling {
    async fn run(mut self, first: PullPage) {
        let drain = self.caller.http().gateway.drain().clone();
        let events = self.events.clone();
        let reason = tokio::select! {
            ended = self.tell(first) => match ended {
                Ok(reason) => reason,
                Err(Over) => return,
            },
            () = drain.draining() => "the server is going down",
            () = events.closed() => return,
        };
        let end = End {
            reason: reason.into(),
        };
        // If there is no room the client is behind, and comes back for the rest.
        drop(events.try_send(event("end", &end).retry(RETRY)));
    }

    /// Until there is a reason to end.
    async fn tell(&mut self, first: PullPage) -> Result<&'static str, Over> {
        self.tell_up_to_head(first).await?;
        loop {
            match self.listener.next().await {
                News::Entries(push) => match self.cursor.check(push.entries) {
                    Taken::Next(entries) => self.tell_entries(entries).await?,
                    Taken::Gap => self.pull().await?,
                },
                News::Head => self.pull().await?,
                News::Ephemeral(message) => {
                    self.say(event("ephemeral", &Ephemeral::from(message)))
                        .await?;
                }
                News::Left => {
                    // The entry by which it left is the last that it may read.
                    self.pull().await?;
                    return Ok("the account has left the conversation");
                }
                News::Evicted(reason) => return Ok(reason),
            }
        }
    }

    async fn pull(&mut self) -> Result<(), Over> {
        let page = self.page().await?;
        self.tell_up_to_head(page).await
    }

    async fn tell_up_to_head(&mut self, mut page: PullPage) -> Result<(), Over> {
        loop {
            let before = self.cursor.after;
            if page.trimmed_up_to > before {
                self.cursor.after = page.trimmed_up_to;
                let trimmed = Trimmed {
                    from: before + 1,
                    to: page.trimmed_up_to,
                };
                self.say(event("trimmed", &trimmed).id(self.cursor.id()))
                    .await?;
            }
            let head = page.head;
            self.tell_entries(page.entries).await?;
            if self.cursor.after >= head || self.cursor.after == before {
                return Ok(());
            }
            page = self.page().await?;
        }
    }

    async fn tell_entries(&mut self, entries: Vec<wire::Entry>) -> Result<(), Over> {
        let after = self.cursor.after;
        for entry in entries.into_iter().filter(|entry| entry.sequence > after) {
            let entry = Entry::from(entry);
            self.cursor.after = entry.sequence;
            let event = event("message", &entry).id(self.cursor.id());
            self.say(event).await?;
        }
        Ok(())
    }

    /// Asks until there is an answer, or a refusal that is final.
    async fn page(&self) -> Result<PullPage, Over> {
        loop {
            match pull_after(&self.caller, self.conversation, self.cursor).await {
                Ok(page) => return Ok(page),
                Err(refusal) if refusal.is_retryable() => tokio::time::sleep(RETRY).await,
                Err(refusal) => {
                    self.say(error(refusal)).await?;
                    return Err(Over);
                }
            }
        }
    }

    async fn say(&self, event: Event) -> Result<(), Over> {
        self.events.send(event).await.map_err(|_| Over)
    }
}

fn error(refusal: Refusal) -> Event {
    event("error", &ErrorBody::from(refusal))
}

fn event(name: &str, data: &impl Serialize) -> Event {
    let data = serde_json::to_string(data).expect("plain fields always serialise");
    Event::default().event(name).data(data)
}
