//! What concerns the sessions of one account, to the gateways that have it: sessions that have to
//! end, and marks that they share. A gateway without room misses it: revocations are in a list that
//! it reads, marks are told again.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::kind::method;
use protocol::wire::internal::{CutSessions, ShareMarks};
use protocol::{AccountId, Refusal};
use service_kit::rpc::{self, Peer};

use super::{Gateways, Instead, link, notice};
use crate::table::LinkId;

impl Gateways {
    /// Sessions of an account that have to end. What is revoked is told to every gateway: its
    /// certificates may be about to come.
    pub fn pass_cut(&self, from: &Peer, body: &Bytes) -> Result<(), Refusal> {
        let cut: CutSessions = rpc::decode(body.clone())?;
        let mut inner = self.inner.lock();
        let to: Vec<LinkId> = if cut.revoked.is_empty() {
            let account = AccountId(cut.account_id);
            inner.table.by_gateway(&[account]).into_keys().collect()
        } else {
            inner.table.gateways().collect()
        };
        for to in to.into_iter().filter(|to| *to != link(from)) {
            let cut = notice(method::CUT_SESSIONS, body);
            self.tell(&mut inner, to, cut, &Instead::Nothing);
        }
        Ok(())
    }

    /// Marks, to the other gateways with sessions of their accounts.
    pub fn pass_marks(&self, from: &Peer, body: &Bytes) -> Result<(), Refusal> {
        let share: ShareMarks = rpc::decode(body.clone())?;
        let mut inner = self.inner.lock();
        let mut by_gateway = BTreeMap::<LinkId, ShareMarks>::new();
        for mark in share.marks {
            let account = AccountId(mark.account_id);
            for to in inner.table.by_gateway(&[account]).into_keys() {
                let marks = &mut by_gateway.entry(to).or_default().marks;
                marks.push(mark.clone());
            }
        }
        by_gateway.remove(&link(from));
        for (to, share) in by_gateway {
            let share = notice(method::SHARED_MARKS, &rpc::encode(&share));
            self.tell(&mut inner, to, share, &Instead::Nothing);
        }
        Ok(())
    }
}
