//! The asking end of a link between two tiers: kept open, calls paired with their answers. What is
//! asked on a broken connection fails at once, saying whether it may have taken effect.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use protocol::{ErrorCode, Refusal};

use crate::net::{ConnId, Host, Net, Packet, Timer};

/// Calls that wait for their answer; reaching it is a violation.
pub(crate) const CALLS_MAX: usize = 4096;

/// A link of `me`. `T` is what an answer is for.
pub(crate) struct Link<T> {
    me: Host,
    to: Host,
    pub(crate) conn: Option<ConnId>,
    waiting: BTreeMap<u64, T>,
    last_id: u64,
}

impl<T> Link<T> {
    pub(crate) const fn new(me: Host, to: Host) -> Self {
        Self {
            me,
            to,
            conn: None,
            waiting: BTreeMap::new(),
            last_id: 0,
        }
    }

    pub(crate) fn dial(&self, net: &mut Net) {
        net.connect(self.me, self.to);
    }

    pub(crate) fn dial_later(&self, net: &mut Net) {
        let wait = net.micros(20_000, 150_000);
        net.timer(self.me, wait, Timer::Dial(self.to));
    }

    /// What the answer is for comes back at once when there is no connection.
    pub(crate) fn call(
        &mut self,
        net: &mut Net,
        method: u16,
        body: Bytes,
        timeout: Duration,
        then: T,
    ) -> Result<(), (T, Refusal)> {
        let Some(conn) = self.conn else {
            return Err((then, Refusal::unavailable("the link is down")));
        };
        assert!(self.waiting.len() < CALLS_MAX, "calls pile up");
        self.last_id += 1;
        let id = self.last_id;
        self.waiting.insert(id, then);
        let deadline = net.now + timeout;
        net.timer_at(self.me, deadline, Timer::Call(self.to, id));
        let call = Packet::Call {
            id,
            method,
            body,
            deadline,
        };
        net.send(conn, self.me, call);
        Ok(())
    }

    /// `false`: the link is down.
    pub(crate) fn notify(&self, net: &mut Net, method: u16, message: &impl Message) -> bool {
        let Some(conn) = self.conn else {
            return false;
        };
        let body = message.encode_to_vec().into();
        net.send(conn, self.me, Packet::Notice { method, body });
        true
    }

    pub(crate) fn answered(&mut self, id: u64) -> Option<T> {
        self.waiting.remove(&id)
    }

    /// The connection is lost: what was asked on it may have taken effect.
    pub(crate) fn lost(&mut self, net: &mut Net) -> Vec<T> {
        self.conn = None;
        self.dial_later(net);
        std::mem::take(&mut self.waiting).into_values().collect()
    }
}

pub(crate) fn unknown() -> Refusal {
    Refusal::new(ErrorCode::OutcomeUnknown, "the link broke meanwhile")
}

pub(crate) fn unanswered() -> Refusal {
    Refusal::new(ErrorCode::OutcomeUnknown, "no answer in time")
}
