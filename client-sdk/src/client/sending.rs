//! Sending: into the outbox or not at all, and the ack to come. What becomes of a message there is
//! not here.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use prost::Message as _;
use protocol::content::{self, Content};
use protocol::kind::client as kind;
use protocol::limits::CONTENT_BYTES_MAX;
use protocol::wire;
use protocol::{ClientMessageId, ConversationId, ErrorCode, Refusal};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Client;
use crate::clock;
use crate::error::{Error, SendError};
use crate::message::{Outgoing, Receipt};
use crate::outbox::Letter;
use crate::requests::Request;
use crate::shared::{Call, Recovered, SendReply};

/// How long an ephemeral message is worth waiting for.
const EPHEMERAL_TIMEOUT: Duration = Duration::from_secs(5);

impl Client {
    /// Sends, and waits for the ack: the message is committed.
    pub async fn send(
        &self,
        conversation: ConversationId,
        content: Content,
    ) -> Result<Receipt, SendError> {
        self.send_nowait(Outgoing::new(conversation, content)).await
    }

    /// Sends with an id, a priority, a deadline or a timeout of its own.
    pub async fn send_with(&self, outgoing: Outgoing) -> Result<Receipt, SendError> {
        self.send_nowait(outgoing).await
    }

    /// Sends without waiting: messages leave in the order of these calls, many at once. The handle
    /// is the ack to come; dropped, the message goes on its way all the same.
    #[must_use = "the handle says what became of the message"]
    pub fn send_nowait(&self, outgoing: Outgoing) -> SendHandle {
        let client_message_id = outgoing
            .client_message_id
            .unwrap_or_else(|| self.inner.shared.new_message_id());
        let conversation = outgoing.conversation;
        let (sender, outcome) = oneshot::channel();
        if let Err((sender, error)) = self.post(outgoing, client_message_id, sender) {
            drop(sender.send(Err(error)));
        }
        SendHandle {
            conversation,
            client_message_id,
            outcome,
        }
    }

    /// Passes a message on without storing it; it replaces an undelivered one of this key. Waits
    /// until the server has it; not repeated.
    pub async fn send_ephemeral(
        &self,
        conversation: ConversationId,
        key: impl Into<String>,
        content: Content,
    ) -> Result<(), Error> {
        let send = wire::Send {
            conversation_id: conversation.to_bytes(),
            client_message_id: self.inner.shared.new_message_id().to_bytes(),
            kind: content::kind_of(&content).into(),
            content: content::encode(content),
            priority: wire::Priority::Telemetry.into(),
            deliver_before_ms: 0,
            ephemeral_key: key.into(),
        };
        let request = Request {
            kind: kind::SEND,
            body: send.encode_to_vec().into(),
            deadline: Instant::now() + EPHEMERAL_TIMEOUT,
            lasting: false,
        };
        self.ask(request).await.map(drop)
    }

    /// Hands the message to the task, or gives the sender back.
    fn post(
        &self,
        outgoing: Outgoing,
        id: ClientMessageId,
        sender: oneshot::Sender<Result<Receipt, SendError>>,
    ) -> Result<(), (oneshot::Sender<Result<Receipt, SendError>>, SendError)> {
        let inner = &self.inner;
        let kind = content::kind_of(&outgoing.content);
        let content = content::encode_with(outgoing.content, &outgoing.refers);
        let bytes = content.len();
        if bytes > CONTENT_BYTES_MAX {
            return Err((sender, SendError::Refused(too_long(bytes))));
        }
        let room = Arc::clone(&inner.room_messages)
            .try_acquire_owned()
            .ok()
            .zip(
                Arc::clone(&inner.room_bytes)
                    .try_acquire_many_owned(u32::try_from(bytes).unwrap_or(u32::MAX))
                    .ok(),
            );
        if room.is_none() {
            return Err((sender, SendError::QueueFull));
        }
        let send = wire::Send {
            conversation_id: outgoing.conversation.to_bytes(),
            client_message_id: id.to_bytes(),
            kind: kind.into(),
            content,
            priority: outgoing.priority.into(),
            deliver_before_ms: outgoing.deliver_before_ms,
            ephemeral_key: String::new(),
        };
        let letter = Letter {
            conversation: outgoing.conversation,
            id,
            body: send.encode_to_vec().into(),
            priority: outgoing.priority,
            deadline: clock::after(
                Instant::now(),
                outgoing.timeout.unwrap_or(inner.send_timeout),
            ),
        };
        let reply = SendReply {
            outcome: Some(sender),
            room,
        };
        inner
            .calls
            .try_send(Call::Send(letter, reply))
            .map_err(|refused| match refused.into_inner() {
                Call::Send(
                    _,
                    SendReply {
                        outcome: Some(sender),
                        ..
                    },
                ) => (sender, SendError::Closed),
                Call::Send(..) | Call::Request(..) | Call::PersistMarks(_) | Call::Close(_) => {
                    unreachable!("the letter that was just made")
                }
            })?;
        inner.shared.counters.accepted();
        Ok(())
    }
}

/// The ack to come of one message.
#[derive(Debug)]
pub struct SendHandle {
    conversation: ConversationId,
    client_message_id: ClientMessageId,
    outcome: oneshot::Receiver<Result<Receipt, SendError>>,
}

impl From<Recovered> for SendHandle {
    fn from(recovered: Recovered) -> Self {
        Self {
            conversation: recovered.conversation,
            client_message_id: recovered.id,
            outcome: recovered.outcome,
        }
    }
}

impl SendHandle {
    pub(super) const fn of(
        conversation: ConversationId,
        client_message_id: ClientMessageId,
        outcome: oneshot::Receiver<Result<Receipt, SendError>>,
    ) -> Self {
        Self {
            conversation,
            client_message_id,
            outcome,
        }
    }

    /// Where the message goes.
    #[must_use]
    pub const fn conversation(&self) -> ConversationId {
        self.conversation
    }

    /// The message's id.
    #[must_use]
    pub const fn client_message_id(&self) -> ClientMessageId {
        self.client_message_id
    }
}

impl Future for SendHandle {
    type Output = Result<Receipt, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let client_message_id = self.client_message_id;
        Pin::new(&mut self.outcome).poll(context).map(|outcome| {
            outcome.unwrap_or(Err(SendError::OutcomeUnknown {
                client_message_id,
                last: None,
            }))
        })
    }
}

fn too_long(bytes: usize) -> Refusal {
    Refusal::new(
        ErrorCode::ContentTooLong,
        format!("a content of {bytes} bytes, and at most {CONTENT_BYTES_MAX} are accepted"),
    )
}
