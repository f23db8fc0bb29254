//! What the routers say, each in its order: methods 321 to 326, 345 and 349 of `internal.proto`, and
//! 353 of `watch.proto`.
//!
//! The one reader of these links is the one writer of entries into outboxes, which keeps every
//! conversation in order. It never waits for an answer.

use std::sync::Arc;

use bytes::Bytes;
use protocol::kind::method;
use protocol::wire::internal::{Fanout, FanoutEphemeral, HeadHints, MembershipMoved, TellAccounts};
use protocol::{AccountId, ConversationId, Refusal, SequenceNumber};
use service_kit::peers::{PeerEvent, PeerEvents};
use service_kit::rpc::{self, Urgent};
use tokio::sync::mpsc;

use crate::gateway::Gateway;
use crate::outbox::{EphemeralKey, Order};
use crate::registry::{Routes, Sent};
use crate::shared_frame::SharedFrame;
use crate::{events, notices};

/// Runs until the drain.
pub async fn run(gateway: Arc<Gateway>, mut routers: PeerEvents) {
    if let Some(urgent) = routers.take_urgent() {
        gateway
            .drain()
            .spawn(urgently(Arc::clone(&gateway), urgent));
    }
    while let Some(event) = routers.next().await {
        match event {
            PeerEvent::Up(router) => {
                gateway.router_up(router);
                gateway.meet_gateways();
                gateway.watches_moved();
            }
            PeerEvent::Moved => {
                gateway.routers_moved();
                gateway.watches_moved();
            }
            PeerEvent::Notice { method, body, .. } => {
                if let Err(refusal) = take(&gateway, method, body) {
                    events::notice_refused(method, &refusal);
                }
            }
        }
    }
}

/// What overtakes everything else: emergency stops. Until the drain.
async fn urgently(gateway: Arc<Gateway>, mut notices: mpsc::Receiver<Urgent>) {
    loop {
        let notice = tokio::select! {
            notice = notices.recv() => notice,
            () = gateway.drain().draining() => None,
        };
        let Some(Urgent { method, body }) = notice else {
            return;
        };
        let heard = match method {
            method::ESTOP_GOSSIP => gateway.hear_gossip(body),
            other => Err(Refusal::bad_request(format!("no method {other}"))),
        };
        if let Err(refusal) = heard {
            events::notice_refused(method, &refusal);
        }
    }
}

fn take(gateway: &Arc<Gateway>, method: u16, body: Bytes) -> Result<(), Refusal> {
    match method {
        method::FANOUT => fanout(gateway, rpc::decode(body)?),
        method::HEAD_HINTS => heads(gateway, rpc::decode(body)?),
        method::MEMBERSHIP_MOVED => moved(gateway, rpc::decode(body)?),
        method::FANOUT_EPHEMERAL => ephemeral(gateway, rpc::decode(body)?),
        method::CUT_SESSIONS => {
            gateway.hear_cut(rpc::decode(body)?);
            Ok(())
        }
        method::SHARED_MARKS => {
            gateway.hear_marks(&rpc::decode(body)?);
            Ok(())
        }
        method::TELL_SESSIONS => {
            tell(gateway, rpc::decode(body)?);
            Ok(())
        }
        method::WATCHED_ENTRIES => {
            gateway.watched(rpc::decode(body)?);
            Ok(())
        }
        method::RESYNC => {
            gateway.resync();
            Ok(())
        }
        other => Err(Refusal::bad_request(format!("no method {other}"))),
    }
}

fn fanout(gateway: &Arc<Gateway>, fanout: Fanout) -> Result<(), Refusal> {
    let (push, membership) = notices::entries(fanout)?;
    let sent = gateway.registry.push(&push, membership);
    events::pushed(&push, sent);
    gateway.tidy(push.conversation);
    if matches!(sent, Sent::Heads { .. }) {
        gateway.ask(push.conversation);
    }
    Ok(())
}

/// Orders for robots that are here, and news for those who sent them.
fn tell(gateway: &Gateway, tell: TellAccounts) {
    let accounts: Vec<_> = tell.account_ids.into_iter().map(AccountId).collect();
    let order = Order {
        frame: SharedFrame::new(tell.frame),
        deliver_before_ms: tell.deliver_before_ms,
    };
    events::orders_passed(gateway.registry.order(&accounts, &order));
}

fn heads(gateway: &Arc<Gateway>, hints: HeadHints) -> Result<(), Refusal> {
    for head in hints.heads {
        let conversation = ConversationId::from_slice(&head.conversation_id)?;
        gateway.head(conversation, SequenceNumber(head.head));
    }
    Ok(())
}

fn moved(gateway: &Arc<Gateway>, notice: MembershipMoved) -> Result<(), Refusal> {
    let (conversation, moved, membership) = notices::moved(notice)?;
    gateway.change(|registry| {
        let new = registry.moved(conversation, moved, &membership);
        (new, Routes::default())
    });
    gateway.hurry_estops();
    gateway.ask(conversation);
    Ok(())
}

fn ephemeral(gateway: &Gateway, message: FanoutEphemeral) -> Result<(), Refusal> {
    let key = EphemeralKey {
        conversation: ConversationId::from_slice(&message.conversation_id)?,
        sender: AccountId(message.sender),
        key: message.key.into(),
    };
    let frame = SharedFrame::new(message.frame);
    match gateway.registry.ephemeral(&key, &frame) {
        Some(sessions) => events::ephemeral_passed(sessions),
        None => events::ephemeral_dropped(),
    }
    Ok(())
}
