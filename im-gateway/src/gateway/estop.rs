//! Emergency stops: taken, let out to the sessions here and through all routers to all other
//! gateways, told again until they are confirmed, and stored when that is possible.
//!
//! Rights are what this gateway knows: what kind of account it is, which never changes, and in which
//! groups, as of the last word of the tiers behind. What is decided by them is let out at once; so
//! nothing here waits for another tier before everybody is told.

mod keep;
mod list;
mod wanted;
mod welcome;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use protocol::content::{self, Content};
use protocol::error::decode_body;
use protocol::estop::{self, Change, Release, Scope, Stop};
use protocol::id::ConversationKind;
use protocol::kind::{client, method};
use protocol::wire::internal::{EstopCommit, EstopGossip};
use protocol::wire::{AccountKind, EntryKind, EstopNotice, EstopSent, Send};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Frame, Refusal};
use service_kit::{clock, rpc};
use tokio::time::Instant;

use self::wanted::{Wanted, parse};
use super::Gateway;
use crate::events;
use crate::handle::SessionHandle;
use crate::session::Passed;
use crate::shared_frame::SharedFrame;

/// How long the store may take before the sender is told to ask again. It does, until it is stored.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

impl Gateway {
    /// A stop is let out before this returns; the future is that it is stored. A release is stored
    /// first.
    pub fn emergency(
        self: &Arc<Self>,
        handle: &Arc<SessionHandle>,
        passed: &Passed,
    ) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        match self.begin_emergency(handle, passed) {
            Ok(future) => future,
            Err(refusal) => Box::pin(std::future::ready(Err(refusal))),
        }
    }

    fn begin_emergency(
        self: &Arc<Self>,
        handle: &Arc<SessionHandle>,
        passed: &Passed,
    ) -> Result<BoxFuture<'static, Result<Bytes, Refusal>>, Refusal> {
        let send: Send = decode_body(passed.body.clone())?;
        let wanted = parse(&send, handle.account)?;
        let age = self.may_stop(handle, &wanted)?;
        let commit = EstopCommit {
            account_id: handle.account.0,
            send: Some(send),
            sent_at_ms: clock::unix_ms(),
        };
        let timeout = passed.timeout.min(COMMIT_TIMEOUT);
        let gateway = Arc::clone(self);
        let storing: BoxFuture<'static, _> = match wanted {
            Wanted::Stop(stop) => {
                if let Some(age) = age {
                    self.let_out_first(handle, &stop, age)?;
                    return Ok(Box::pin(async move {
                        gateway.store(stop, commit, timeout).await
                    }));
                }
                let handle = Arc::clone(handle);
                Box::pin(async move {
                    gateway.check_member(&handle, &stop).await?;
                    gateway.let_out_first(&handle, &stop, Duration::ZERO)?;
                    gateway.store(stop, commit, timeout).await
                })
            }
            Wanted::Release(stops, conversation, release) => {
                let by = handle.account;
                Box::pin(async move {
                    let ack = gateway.upstream.store_estop(&commit, timeout).await?;
                    let release = Release {
                        at_ms: ack.committed_at_ms,
                        by,
                        reason: release.reason,
                    };
                    gateway.released(&stops, conversation, &release);
                    Ok(rpc::encode(&ack))
                })
            }
        };
        Ok(storing)
    }

    /// Whether this account may, by what is known here, and how old that is; `None`: it is not known
    /// here.
    fn may_stop(
        &self,
        handle: &SessionHandle,
        wanted: &Wanted,
    ) -> Result<Option<Duration>, Refusal> {
        estop::may_stop(handle.kind)?;
        let scope = match wanted {
            Wanted::Stop(stop) => stop.scope(),
            // The store has the last word on it.
            Wanted::Release(..) => Scope::Fleet,
        };
        match scope {
            Scope::Fleet => Ok(Some(Duration::ZERO)),
            Scope::Group(group) if self.registry.is_in(handle.account, group) => {
                let heard = self.registry.heard_at(handle.account);
                Ok(Some(heard.map_or(Duration::ZERO, |at| at.elapsed())))
            }
            Scope::Group(_) => Ok(None),
        }
    }

    /// Nobody has told us that the sender is in the group, or not yet: logic knows.
    async fn check_member(&self, handle: &SessionHandle, stop: &Stop) -> Result<(), Refusal> {
        let (account, group) = (handle.account, stop.conversation);
        let checked = self.upstream.check(group, &[account]).await?;
        if checked.members.contains(&account.0) {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::NotAMember,
            format!("{account} is not a member of {group}"),
        ))
    }

    /// Everybody is told, and the sender that they are.
    fn let_out_first(
        &self,
        handle: &SessionHandle,
        stop: &Stop,
        age: Duration,
    ) -> Result<(), Refusal> {
        let told = self.absorb(stop.clone());
        if told == Change::Full {
            return Err(Refusal::new(
                ErrorCode::LimitReached,
                "as many stops as there may be are in force: release some",
            ));
        }
        let routers = self.gossip(&EstopGossip {
            stops: vec![stop.to_wire()],
            ..EstopGossip::default()
        });
        let mut sessions = 0_u32;
        self.registry.reach(stop.scope(), |_| sessions += 1);
        events::estop_let_out(handle, stop, sessions, routers);
        let sent = EstopSent {
            stop_id: stop.id.to_bytes(),
            sessions,
            rights_age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            routers: u32::try_from(routers).unwrap_or(u32::MAX),
        };
        let frame = SharedFrame::from(&Frame::notice(client::ESTOP_SENT, &sent));
        // Beside the words of the stop itself, and not one of them.
        handle.urgent((stop.id.derive(&[b"sent"]), false), frame);
        Ok(())
    }

    /// Somebody says this of a stop: whoever is concerned here is told, if it is news.
    pub(super) fn absorb(&self, said: Stop) -> Change {
        let mut estops = self.estops.lock();
        let change = estops.take(said.clone(), Instant::now());
        match change {
            Change::Latched => {
                let notice = notice(&said);
                let mut robots = Vec::new();
                self.registry.reach(said.scope(), |session| {
                    session.urgent((said.id, false), notice.clone());
                    if session.kind == AccountKind::Robot {
                        robots.push(session.account);
                    }
                });
                estops.reached(said.id, robots);
            }
            Change::Released => self.tell_released(estops.get(said.id).unwrap_or(&said)),
            Change::Stored | Change::Nothing | Change::Full => {}
        }
        drop(estops);
        self.estop_news.notify_one();
        change
    }

    /// Whoever may have been told of the stop is told that it is over.
    fn tell_released(&self, stop: &Stop) {
        let notice = notice(stop);
        // Also those who have left the group since.
        self.registry.reach(Scope::Fleet, |session| {
            session.urgent((stop.id, true), notice.clone());
        });
        events::estop_released(stop);
    }

    async fn store(
        self: Arc<Self>,
        stop: Stop,
        commit: EstopCommit,
        timeout: Duration,
    ) -> Result<Bytes, Refusal> {
        let ack = self.upstream.store_estop(&commit, timeout).await?;
        self.stored(stop);
        Ok(rpc::encode(&ack))
    }

    fn stored(&self, stop: Stop) {
        let stored = Stop {
            stored: true,
            ..stop
        };
        let gossip = EstopGossip {
            stops: vec![stored.to_wire()],
            ..EstopGossip::default()
        };
        if self.absorb(stored) == Change::Stored {
            self.gossip(&gossip);
        }
    }

    fn released(&self, stops: &[ClientMessageId], conversation: ConversationId, release: &Release) {
        let mut gossip = EstopGossip::default();
        for id in stops {
            let known = self.estops.lock().get(*id).cloned();
            let ended = Stop {
                release: Some(release.clone()),
                stored: true,
                ..known.unwrap_or_else(|| unknown(*id, conversation))
            };
            gossip.stops.push(ended.to_wire());
            self.absorb(ended);
        }
        self.gossip(&gossip);
    }

    /// A robot has acted on these.
    pub fn confirmed(
        &self,
        handle: &SessionHandle,
        stops: impl IntoIterator<Item = ClientMessageId>,
    ) {
        if handle.kind != AccountKind::Robot {
            return;
        }
        let mut estops = self.estops.lock();
        let mut any = false;
        for id in stops {
            any |= estops.confirmed(id, handle.account);
        }
        drop(estops);
        if any {
            self.estop_news.notify_one();
        }
    }

    /// Another gateway says what it knows.
    pub fn hear_gossip(&self, body: Bytes) -> Result<(), Refusal> {
        let gossip: EstopGossip = rpc::decode(body)?;
        if gossip.gateway_id == self.id.0 {
            return Ok(());
        }
        for stop in gossip.stops {
            self.absorb(Stop::from_wire(stop)?);
        }
        if !gossip.progress.is_empty() {
            let mut estops = self.estops.lock();
            gossip.progress.iter().for_each(|said| estops.hear(said));
        }
        if gossip.ask {
            self.gossip_all(false);
        }
        Ok(())
    }

    /// Tells the other gateways, through every router that is there. Returns how many took it.
    pub(super) fn gossip(&self, gossip: &EstopGossip) -> usize {
        let body = rpc::encode(&EstopGossip {
            gateway_id: self.id.0,
            ..gossip.clone()
        });
        let routers = self.routers.ids().into_iter();
        let links = routers.filter_map(|router| self.routers.link(router));
        links
            .filter(|link| link.try_notify(method::PASS_ESTOP, body.clone()).is_ok())
            .count()
    }

    /// A router is new or back: the gateways behind it are told all that is known here, and asked.
    pub fn meet_gateways(&self) {
        self.gossip_all(true);
    }

    /// Somebody has joined a group: if it is stopped, so is who joined.
    pub fn hurry_estops(&self) {
        let mut estops = self.estops.lock();
        if estops.is_latched() {
            estops.hurry(Instant::now());
        }
    }

    /// All that is known here; `ask`: and what do the others know?
    pub(super) fn gossip_all(&self, ask: bool) {
        let (stops, progress) = self.estops.lock().everything();
        if stops.is_empty() && !ask {
            return;
        }
        self.gossip(&EstopGossip {
            stops,
            progress,
            ask,
            ..EstopGossip::default()
        });
    }
}

/// The frame that tells of a stop.
pub(super) fn notice(stop: &Stop) -> SharedFrame {
    let notice = EstopNotice {
        stops: vec![stop.to_wire()],
    };
    SharedFrame::from(&Frame::notice(client::ESTOP_NOTICE, &notice))
}

/// One that was released before anybody here knew it.
fn unknown(id: ClientMessageId, conversation: ConversationId) -> Stop {
    Stop {
        id,
        conversation,
        fleet: matches!(conversation.kind(), ConversationKind::Pair(..)),
        sender: AccountId(0),
        reason: String::new(),
        sent_at_ms: 0,
        stored: true,
        release: None,
    }
}

/// What a stop was sent as, so that any gateway can store it for its sender.
fn commit_of(stop: &Stop) -> EstopCommit {
    EstopCommit {
        account_id: stop.sender.0,
        send: Some(Send {
            conversation_id: stop.conversation.to_bytes(),
            client_message_id: stop.id.to_bytes(),
            kind: EntryKind::Estop.into(),
            content: content::encode(Content::Estop(stop.content())),
            ..Send::default()
        }),
        sent_at_ms: stop.sent_at_ms,
    }
}
