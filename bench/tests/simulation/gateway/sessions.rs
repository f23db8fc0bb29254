//! How a session of a gateway begins and ends.

use std::sync::Arc;
use std::time::Duration;

use im_gateway::handle::SessionHandle;
use im_gateway::outbox::Outbox;
use im_gateway::session::go_away;
use protocol::wire::internal::MembershipsPage;
use protocol::wire::{Account, Membership};
use protocol::{AccountId, Frame, Refusal, SessionId};

use super::routes::Registered;
use super::sync::Refreshing;
use super::{Gateway, SESSIONS_PER_ACCOUNT_MAX, Seat, WELCOME_MEMBERSHIPS_MAX, now};
use crate::net::{ConnId, Net, Packet, Timer};

impl Gateway {
    /// It is in the registry and known to the router before its memberships are read.
    pub(super) fn arrive(&mut self, net: &mut Net, conn: ConnId, account: Account) {
        let Some(seat) = self.seats.get_mut(&conn) else {
            return;
        };
        self.last_session += 1;
        let (session, id) = (SessionId(self.last_session), AccountId(account.account_id));
        let outbox = Outbox::with_limits(self.room.0, self.room.1);
        let handle = Arc::new(SessionHandle::with_outbox(session, id, false, outbox));
        seat.handle = Some(Arc::clone(&handle));
        seat.account = Some(account);
        let (new, evicted) = self.registry.arrive(&handle, SESSIONS_PER_ACCOUNT_MAX);
        if let Some(evicted) = evicted {
            let is_it = |seat: &Seat| {
                let handle = seat.handle.as_ref();
                handle.is_some_and(|handle| handle.session == evicted.session)
            };
            let its = self.seats.iter().find(|(_, seat)| is_it(seat));
            if let Some(conn) = its.map(|(conn, _)| *conn) {
                let word = go_away("the oldest makes room", Duration::from_secs(2), false);
                self.last_word(net, conn, &word);
            }
        }
        let refreshing = Refreshing::new(id, Some((conn, session)));
        self.register(net, new, Registered::ThenRead(refreshing));
    }

    pub(super) fn welcome(
        &mut self,
        net: &mut Net,
        conn: ConnId,
        mut memberships: Vec<Membership>,
    ) {
        let now = now(net);
        let Some(seat) = self.seats.get_mut(&conn) else {
            return;
        };
        let (Some(introduction), Some(account), Some(handle)) =
            (&seat.introduction, seat.account.take(), &seat.handle)
        else {
            return;
        };
        let more = memberships.len() > WELCOME_MEMBERSHIPS_MAX;
        memberships.truncate(WELCOME_MEMBERSHIPS_MAX);
        let page = MembershipsPage {
            memberships,
            more,
            history_generation: 0,
        };
        let listed = (self.listed.clone(), Vec::new());
        let welcome =
            seat.session
                .welcome(handle.session, introduction, account, page, listed, now);
        handle.welcome(&welcome);
        net.timer_at(self.me, seat.session.gives_up_at(), Timer::Session(conn));
    }

    pub(super) fn refuse(&mut self, net: &mut Net, conn: ConnId, refusal: &Refusal) {
        if let Some(seat) = self.seats.get_mut(&conn) {
            let word = seat.session.refuse(refusal);
            self.last_word(net, conn, &word);
        }
    }

    pub(super) fn patience(&mut self, net: &mut Net, conn: ConnId) {
        let Some(seat) = self.seats.get_mut(&conn) else {
            return;
        };
        let gives_up_at = seat.session.gives_up_at();
        if net.now < gives_up_at {
            return net.timer_at(self.me, gives_up_at, Timer::Session(conn));
        }
        let word = seat.session.give_up();
        self.last_word(net, conn, &word);
    }

    pub(super) fn last_word(&mut self, net: &mut Net, conn: ConnId, word: &Frame) {
        net.send(conn, self.me, Packet::Frame(word.to_bytes()));
        net.close(conn, self.me);
        self.leave(net, conn);
    }

    pub(super) fn leave(&mut self, net: &mut Net, conn: ConnId) {
        let seat = self.seats.remove(&conn);
        if let Some(handle) = seat.and_then(|seat| seat.handle) {
            let gone = self.registry.leave(&handle);
            self.unregister(net, &gone);
        }
    }
}
