//! Sessions that end because of their credential, or because another one has come; what is shared
//! between the sessions of one account.
//!
//! Revocations are pushed by logic, over the routers; what is lost on that way is in the list, which
//! is asked for all the time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::kind::{client, method};
use protocol::wire::credentials_changed::Result as Changed;
use protocol::wire::internal::{AccountMark, CutSessions, ShareMarks};
use protocol::wire::{self, AccountKind, CredentialsChanged, Mark};
use protocol::{AccountId, ConversationId, ErrorCode, Frame, Refusal};
use service_kit::{clock, rpc};
use tokio::time::Instant;

use super::Gateway;
use crate::credential::{Certified, Eviction, Standing, cuts};
use crate::events;
use crate::handle::SessionHandle;
use crate::outbox::EphemeralKey;
use crate::shared_frame::SharedFrame;

/// How often is asked whether the list of revocations has changed: what a push did not say ends a
/// session within a second all the same.
const ASK_INTERVAL: Duration = Duration::from_millis(500);

/// Pages of the list at once: more are not kept here.
const PAGES_MAX: usize = 128;

/// The key under which a session keeps the newest marks of the account's others.
const MARKS_KEY: &str = "\u{0}marks";

impl Gateway {
    /// Whether a certificate is not revoked, as far as it is known here. `true`: all of its account
    /// were, and logic has to say whether this one is of a later enrolment.
    pub(crate) fn check_revoked(&self, certified: Option<&Certified>) -> Result<bool, Refusal> {
        let revoked = self.revoked.lock();
        if revoked.has_number(certified) {
            return Err(revoked_here());
        }
        Ok(revoked.has(certified))
    }

    /// Logic has let it in.
    pub(crate) fn forget_name(&self, certified: Option<&Certified>) {
        if let Some(certified) = certified {
            self.revoked.lock().forget_name(certified);
        }
    }

    /// A session has arrived: what was revoked while it did ends it, and it ends the one before.
    pub(crate) fn settle_in(&self, handle: &Arc<SessionHandle>) {
        if self.revoked.lock().has(handle.held.certified.as_deref()) {
            handle.evict(Eviction::Revoked);
            return;
        }
        if !self.is_the_one(handle) {
            return;
        }
        for other in self.registry.sessions_of(handle.account) {
            if other.session != handle.session && other.is_device {
                other.evict(Eviction::Newer);
                events::session_cut(Eviction::Newer);
            }
        }
        let cut = CutSessions {
            account_id: handle.account.0,
            newer_session_id: handle.session.0,
            newer_since_ms: handle.began_at_ms,
            ..CutSessions::default()
        };
        self.tell_routers(method::PASS_CUT, &rpc::encode(&cut));
    }

    /// Sessions have to end, says logic or another gateway.
    pub fn hear_cut(&self, mut cut: CutSessions) {
        let revoked = std::mem::take(&mut cut.revoked);
        let left_out = self.revoked.lock().add(revoked);
        events::revocations_left_out(left_out);
        self.cut(&cut, AccountId(cut.account_id));
    }

    fn cut(&self, cut: &CutSessions, account: AccountId) {
        for session in self.registry.sessions_of(account) {
            let standing = Standing {
                session: session.session,
                held: &session.held,
                is_the_one: self.is_the_one(&session),
                began_at_ms: session.began_at_ms,
                age: session.began_at.elapsed(),
            };
            let ended = cuts(cut, &standing, &self.revoked.lock());
            if let Some(eviction) = ended {
                session.evict(eviction);
                events::session_cut(eviction);
            }
        }
    }

    /// Whether its account has one session at a time, which it is. One that listens by HTTP is none.
    fn is_the_one(&self, handle: &SessionHandle) -> bool {
        handle.is_device && self.rules.has_one_session(handle.kind)
    }

    /// Keeps the list of revocations, until the drain.
    pub(super) async fn keep_revocations(self: Arc<Self>) {
        let work = async {
            loop {
                match self.read_revocations().await {
                    Ok(true) => {
                        let nothing = CutSessions::default();
                        for account in self.registry.accounts() {
                            self.cut(&nothing, account);
                        }
                    }
                    Ok(false) => {}
                    Err(refusal) => events::revocations_not_read(&refusal),
                }
                let age = self.revoked.lock().age(Instant::now());
                events::revocations_age(age);
                tokio::time::sleep(ASK_INTERVAL).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = self.drain.draining() => {}
        }
    }

    /// Returns whether the list has changed.
    async fn read_revocations(&self) -> Result<bool, Refusal> {
        let known = self.revoked.lock().revision();
        let mut page = self.upstream.revocations(known, Bytes::new()).await?;
        let revision = page.revision;
        if revision == known {
            self.revoked.lock().confirm(Instant::now());
            return Ok(false);
        }
        let mut entries = std::mem::take(&mut page.entries);
        for _ in 1..PAGES_MAX {
            let Some(last) = entries.last().filter(|_| page.more) else {
                break;
            };
            page = self.upstream.revocations(known, last.clone()).await?;
            entries.append(&mut page.entries);
        }
        let mut revoked = self.revoked.lock();
        let left_out = revoked.replace(revision, entries, Instant::now());
        drop(revoked);
        events::revocations_left_out(left_out);
        Ok(true)
    }

    /// A session has marked something: the account's other sessions are told.
    pub(crate) fn share_marks(&self, from: &SessionHandle, marks: &wire::Marks) {
        if !from.is_device || from.kind == AccountKind::Robot || !from.shares_marks {
            return;
        }
        let of = |mark: &Mark| AccountMark {
            account_id: from.account.0,
            mark: Some(mark.clone()),
            history_generation: marks.history_generation,
        };
        let share = ShareMarks {
            marks: marks.marks.iter().map(of).collect(),
        };
        for mark in &share.marks {
            self.tell_mark(mark, Some(from));
        }
        self.tell_routers(method::PASS_SHARED_MARKS, &rpc::encode(&share));
    }

    /// Sessions of an account have marked something elsewhere.
    pub fn hear_marks(&self, share: &ShareMarks) {
        for mark in &share.marks {
            self.tell_mark(mark, None);
        }
    }

    fn tell_mark(&self, shared: &AccountMark, but: Option<&SessionHandle>) {
        let account = AccountId(shared.account_id);
        let Some(mark) = &shared.mark else {
            return;
        };
        let Ok(conversation) = ConversationId::from_slice(&mark.conversation_id) else {
            return;
        };
        let generation = shared.history_generation;
        let highest = {
            let mut known = self.shared_marks.lock();
            if !known.raise(account, mark, generation) {
                // It is full: those who are told may see a mark fall, until the next.
                known.clear();
            }
            known.highest(account, mark, generation)
        };
        let notice = wire::Marks {
            marks: vec![highest],
            history_generation: generation,
        };
        let frame = SharedFrame::from(&Frame::notice(client::MARKS, &notice));
        let key = EphemeralKey {
            conversation,
            sender: account,
            key: MARKS_KEY.into(),
        };
        for session in self.registry.sessions_of(account) {
            if but.is_none_or(|from| from.session != session.session) {
                session.ephemeral(key.clone(), frame.clone());
            }
        }
    }

    fn tell_routers(&self, method: u16, body: &Bytes) {
        let links = self.routers.ids().into_iter();
        for link in links.filter_map(|router| self.routers.link(router)) {
            if let Err(refusal) = link.try_notify(method, body.clone()) {
                events::router_not_told(method, &refusal);
            }
        }
    }
}

/// What is said of a certificate that is on the list.
pub(crate) fn revoked_here() -> Refusal {
    Refusal::new(ErrorCode::Revoked, Eviction::Revoked.reason())
}

/// A session's token was refreshed: it may go on for longer.
pub(crate) fn note_refreshed(handle: &SessionHandle, body: &Bytes) {
    let changed: Result<CredentialsChanged, _> = rpc::decode(body.clone());
    if let Ok(changed) = changed
        && let Some(Changed::TokenRefreshed(refreshed)) = changed.result
    {
        handle.extend(refreshed.expires_at_ms);
    }
}

/// When a credential is over, by the monotonic clock; `None`: not known.
pub(crate) fn over_at(good_until_ms: u64, now: Instant) -> Option<Instant> {
    if good_until_ms == 0 {
        return None;
    }
    let left_ms = good_until_ms.saturating_sub(clock::unix_ms());
    now.checked_add(Duration::from_millis(left_ms))
}
