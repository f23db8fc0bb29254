//! Carries out what [`crate::send`] allows: to the store, or, if it is not to be kept, to the
//! router.
//!
//! The way of a message that needs no question has no wait before its place in the store's queue,
//! so that a sender's messages stay in order; those that need one keep it in a lane.

use std::sync::Arc;

use futures_util::future::Either;
use protocol::kind::method;
use protocol::wire::internal::{Append, Appended, PassEphemeral};
use protocol::wire::{Ephemeral, Send, SendAck};
use protocol::{ClientMessageId, ErrorCode, Refusal};
use service_kit::clock;
use service_kit::peers::Peers;
use service_kit::rpc;
use tokio::time::Instant;

use crate::content::ContentRules;
use crate::events;
use crate::lanes::Lanes;
use crate::members::Members;
use crate::permission;
use crate::rates::Rates;
use crate::send::{Keeping, Outgoing, Verdict, decide};
use crate::store::{Caller, Store, To};

/// Sends messages.
#[derive(Debug)]
pub struct Dispatch {
    store: Store,
    routers: Peers,
    members: Arc<Members>,
    lanes: Lanes,
    rates: Rates,
    content: Arc<ContentRules>,
}

impl Dispatch {
    /// To these.
    #[must_use]
    pub fn new(
        store: Store,
        routers: Peers,
        members: Arc<Members>,
        limits: (Rates, Arc<ContentRules>),
    ) -> Self {
        let (rates, content) = limits;
        Self {
            store,
            routers,
            members,
            lanes: Lanes::default(),
            rates,
            content,
        }
    }

    /// Sends a message, if it may be sent.
    pub async fn send(&self, caller: Caller, send: Send) -> Result<SendAck, Refusal> {
        let mut message = Outgoing::parse(send)?;
        let key = (message.conversation, caller.account);
        let (conversation, priority) = (message.conversation, message.priority);
        self.rates
            .take(caller.account, conversation, priority, Instant::now())?;
        // After the rates: what is refused for being too much is not searched for words.
        self.content.apply(&mut message, caller.account);
        let judge = |standing| decide(&message, caller.account, standing, clock::unix_ms());
        let known = || judge(self.members.standing(key, Instant::now()));
        let started = match known() {
            Verdict::Refuse(refusal) => return Err(refusal),
            Verdict::Allow if self.lanes.is_free(&key) => self.start(caller, &message),
            Verdict::Allow | Verdict::NeedStanding => {
                let _turn = self.lanes.enter(key).await;
                let mut verdict = known();
                if verdict == Verdict::NeedStanding {
                    verdict = judge(self.members.ask(key, caller.deadline).await?);
                }
                match verdict {
                    Verdict::Allow => self.start(caller, &message),
                    Verdict::Refuse(refusal) => return Err(refusal),
                    Verdict::NeedStanding => {
                        return Err(Refusal::internal("the store's answer decides nothing"));
                    }
                }
            }
        };
        let ack = started.await?;
        if !ack.duplicate {
            self.rates.charge(conversation, priority, Instant::now());
        }
        Ok(ack)
    }

    /// The message has its place in the queue when this returns.
    fn start(
        &self,
        caller: Caller,
        message: &Outgoing,
    ) -> impl Future<Output = Result<SendAck, Refusal>> + std::marker::Send {
        match &message.keeping {
            Keeping::Stored(id) => Either::Left(self.append(caller, message, *id)),
            Keeping::Ephemeral { key } => {
                Either::Right(std::future::ready(self.pass_on(caller, message, key)))
            }
        }
    }

    fn append(
        &self,
        caller: Caller,
        message: &Outgoing,
        id: ClientMessageId,
    ) -> impl Future<Output = Result<SendAck, Refusal>> + std::marker::Send {
        let conversation = message.conversation;
        let append = Append {
            conversation_id: conversation.to_bytes(),
            sender: caller.account.0,
            client_message_id: id.to_bytes(),
            kind: message.kind.into(),
            content: message.content.clone(),
            priority: message.priority.into(),
            deliver_before_ms: message.deliver_before_ms,
            target_sequence: message.target.map_or(0, |target| target.0),
            original: message.original.clone().unwrap_or_default(),
            refusal: message.refusal.as_ref().map(Refusal::to_wire),
            reply_to: message.reply_to.map_or(0, |entry| entry.0),
            sender_roles: permission::senders().bits(),
            ..Append::default()
        };
        events::append(caller, conversation, id, message.kind);
        let answer = self.store.ask::<_, Appended>(
            To::Owner(conversation),
            method::APPEND,
            &append,
            caller.deadline,
        );
        async move {
            let appended = answer.await.inspect_err(|refusal| {
                if matches!(refusal.code, ErrorCode::NotAMember | ErrorCode::Forbidden) {
                    self.members.forget(conversation, [caller.account]);
                }
            })?;
            events::appended(caller, conversation, id, &appended);
            Ok(SendAck {
                sequence: appended.sequence,
                committed_at_ms: appended.committed_at_ms,
                duplicate: appended.duplicate,
            })
        }
    }

    fn pass_on(&self, caller: Caller, message: &Outgoing, key: &str) -> Result<SendAck, Refusal> {
        let sent_at_ms = clock::unix_ms();
        let pass = PassEphemeral {
            ephemeral: Some(Ephemeral {
                conversation_id: message.conversation.to_bytes(),
                sender: caller.account.0,
                key: key.to_owned(),
                kind: message.kind.into(),
                content: message.content.clone(),
                sent_at_ms,
            }),
        };
        self.routers
            .link_of(message.conversation.as_bytes())?
            .try_notify(method::PASS_EPHEMERAL, rpc::encode(&pass))?;
        events::ephemeral_passed(caller, message.conversation);
        Ok(SendAck {
            sequence: 0,
            committed_at_ms: sent_at_ms,
            duplicate: false,
        })
    }
}
