//! The verbs of an emergency: stop, release, who has not confirmed.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use protocol::content::{self, Content};
use protocol::kind::client as kind;
use protocol::limits::ESTOPS_PER_FRAME_MAX;
use protocol::wire::{self, Priority};
use protocol::{AccountId, ClientMessageId, ConversationId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Client, SendHandle};
use crate::clock;
use crate::error::{Error, SendError};
use crate::estop::{
    Acting, Handler, Missing, Scope, Sent, Status, Stop, Unconfirmed, conversation_of,
};
use crate::message::Receipt;
use crate::outbox::Letter;
use crate::shared::{Call, SendReply};

/// A stop on its way. Dropped, it goes on its way all the same.
#[derive(Debug)]
pub struct EstopHandle {
    /// The id of the stop, by which it is released.
    pub id: ClientMessageId,
    sent: oneshot::Receiver<Sent>,
    stored: SendHandle,
    /// That it was stored was heard before that it went out.
    ended: Option<Receipt>,
}

impl EstopHandle {
    /// Ends when the stop went out to everybody who is reached, which is before it is stored. Once.
    ///
    /// # Errors
    /// When it is refused, or the client is closed.
    pub async fn sent(&mut self) -> Result<Sent, SendError> {
        let went_out = Sent {
            id: self.id,
            sessions: 0,
            routers: 0,
            rights_age_ms: 0,
        };
        if self.ended.is_some() {
            return Ok(went_out);
        }
        tokio::select! {
            biased;
            Ok(sent) = &mut self.sent => Ok(sent),
            stored = &mut self.stored => {
                self.ended = Some(stored?);
                Ok(went_out)
            }
        }
    }

    /// Ends when the stop is stored.
    ///
    /// # Errors
    /// When it is refused, or the client is closed.
    pub async fn stored(self) -> Result<Receipt, SendError> {
        match self.ended {
            Some(receipt) => Ok(receipt),
            None => self.stored.await,
        }
    }
}

impl Client {
    /// Stops a group or the fleet: overtakes everything, is told again until every robot has
    /// confirmed it, and is in force until it is released. Goes on being sent for as long as it
    /// takes to be stored.
    ///
    /// This is a software stop. It is not a safety-rated one, and takes the place of none.
    #[must_use = "the handle says what became of the stop"]
    pub fn estop(&self, scope: Scope, reason: impl Into<String>) -> EstopHandle {
        self.estop_as(self.inner.shared.new_message_id(), scope, reason)
    }

    /// The same under an id of the caller's own: a repeat after a crash is the same stop.
    #[must_use = "the handle says what became of the stop"]
    pub fn estop_as(
        &self,
        id: ClientMessageId,
        scope: Scope,
        reason: impl Into<String>,
    ) -> EstopHandle {
        let stop = Content::Estop(wire::Estop {
            fleet: scope == Scope::Fleet,
            reason: reason.into(),
        });
        let sent = self.inner.shared.await_estop_sent(id);
        EstopHandle {
            id,
            sent,
            stored: self.send_urgently(id, scope, stop),
            ended: None,
        }
    }

    /// Releases stops of one group, or of the fleet. They are in force until this is stored.
    ///
    /// # Errors
    /// When it is refused, or not stored within the client's send timeout.
    pub async fn release(
        &self,
        scope: Scope,
        stops: &[ClientMessageId],
        reason: impl Into<String>,
    ) -> Result<(), SendError> {
        let reason = reason.into();
        for stops in stops.chunks(ESTOPS_PER_FRAME_MAX) {
            let release = Content::EstopRelease(wire::EstopRelease {
                stop_ids: stops.iter().map(|id| id.to_bytes()).collect(),
                reason: reason.clone(),
            });
            let id = self.inner.shared.new_message_id();
            let stored = self.send_urgently(id, scope, release);
            tokio::time::timeout(self.inner.send_timeout, stored)
                .await
                .unwrap_or(Err(SendError::OutcomeUnknown {
                    client_message_id: id,
                    last: None,
                }))?;
        }
        Ok(())
    }

    /// The stops in force that concern this client.
    #[must_use]
    pub fn stops_in_force(&self) -> Vec<Stop> {
        self.inner.shared.latch.lock().in_force()
    }

    /// Whether any is.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.inner.shared.latch.lock().is_latched()
    }

    /// Whether one is that concerns this group.
    #[must_use]
    pub fn is_stopped_in(&self, group: ConversationId) -> bool {
        let stops = self.stops_in_force();
        let concerns = |scope| scope == Scope::Fleet || scope == Scope::Group(group);
        stops.iter().any(|stop| concerns(stop.scope()))
    }

    /// What to do to stop. It is called at once, out of order with everything else, once for each
    /// stop; when it has returned, the stop is confirmed. Whoever has none confirms nothing.
    ///
    /// It replaces the one before it. Stops that are in force already are given to it now.
    pub fn on_estop<F, Fut>(&self, handler: F)
    where
        F: Fn(Stop) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let shared = &self.inner.shared;
        let handler: Handler = Arc::new(move |stop| Box::pin(handler(stop)) as Acting);
        *shared.estop_handler.lock() = Some(handler);
        shared.act_on_stops();
    }

    /// All stops in force, for operators and planners.
    ///
    /// # Errors
    /// When it is refused, or not answered in time.
    pub async fn estops(&self) -> Result<Vec<Status>, Error> {
        let request = wire::ListEstops::default();
        let page: wire::EstopPage = self.request(kind::LIST_ESTOPS, &request).await?;
        let stops = page.stops.into_iter().map(Status::from_wire);
        stops.collect::<Result<_, _>>().map_err(Error::Refused)
    }

    /// Who has not confirmed a stop, for operators and planners.
    ///
    /// # Errors
    /// When there is no such stop, or no answer in time.
    pub async fn unconfirmed(&self, stop: ClientMessageId) -> Result<Unconfirmed, Error> {
        let mut robots: Vec<Missing> = Vec::new();
        loop {
            let after = robots.last().map_or(0, |last| last.account.0);
            let request = wire::ListEstops {
                stop_id: stop.to_bytes(),
                after_account_id: after,
                limit: 0,
            };
            let page: wire::EstopPage = self.request(kind::LIST_ESTOPS, &request).await?;
            robots.extend(page.missing.into_iter().map(|missing| Missing {
                account: AccountId(missing.account_id),
                name: missing.name,
                reached: missing.reached,
            }));
            let moved = robots.last().map_or(0, |last| last.account.0) != after;
            if !page.more || !moved {
                let status = page.stops.into_iter().next().unwrap_or_default();
                return Ok(Unconfirmed {
                    status: Status::from_wire(status).map_err(Error::Refused)?,
                    robots,
                    all_known: page.all_known,
                });
            }
        }
    }

    /// Has a lane and room of its own: nothing that waits can keep it.
    fn send_urgently(&self, id: ClientMessageId, scope: Scope, content: Content) -> SendHandle {
        let conversation = conversation_of(scope, self.inner.account.id);
        let send = wire::Send {
            conversation_id: conversation.to_bytes(),
            client_message_id: id.to_bytes(),
            kind: content::kind_of(&content).into(),
            content: content::encode(content),
            priority: Priority::Emergency.into(),
            ..wire::Send::default()
        };
        let letter = Letter {
            conversation,
            id,
            body: send.encode_to_vec().into(),
            priority: Priority::Emergency,
            deadline: clock::after(Instant::now(), Duration::MAX),
        };
        let (sender, outcome) = oneshot::channel();
        let reply = SendReply {
            outcome: Some(sender),
            room: None,
        };
        if let Err(refused) = self.inner.calls.try_send(Call::Send(letter, reply))
            && let Call::Send(_, reply) = refused.into_inner()
        {
            reply.settle(Err(SendError::QueueFull));
        }
        SendHandle::of(conversation, id, outcome)
    }
}
