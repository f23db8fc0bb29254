//! Who is here: sessions by account, and the view of every group with members here.
//!
//! Entries are given to sessions under these locks, always in the order view, account, outbox, and
//! nothing waits under them. What changes who is where is done by one caller at a time
//! ([`crate::gateway`]); entries and heads come from the one reader of the router's link.
//!
//! Longer than 400 lines, so that the order of the locks can be seen in one place.

mod reach;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use protocol::id::ConversationKind;
use protocol::kind::client;
use protocol::wire::{Membership, MembershipNotice};
use protocol::{AccountId, ConversationId, Frame, SequenceNumber, SessionId};
use tokio::time::Instant;

use crate::handle::SessionHandle;
use crate::outbox::{EphemeralKey, Order, Push};
use crate::shared_frame::SharedFrame;
use crate::view::{Move, Recipients, Tick, View};

/// All sessions and views of this gateway.
#[derive(Debug, Default)]
pub struct Registry {
    views: DashMap<ConversationId, View>,
    accounts: DashMap<AccountId, Local>,
    ticks: AtomicU64,
}

/// An account with sessions here.
#[derive(Debug, Default)]
struct Local {
    sessions: Vec<Arc<SessionHandle>>,
    groups: BTreeSet<ConversationId>,
    /// As of when `groups` is: a membership entry moved it then, or an answer was asked for then.
    known_at: Tick,
    /// The same by the clock, for those who ask how old it is.
    heard_at: Option<Instant>,
}

/// What the router has to be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// Groups that have members here now.
    pub groups: Vec<ConversationId>,
    /// Accounts that are here now.
    pub accounts: Vec<AccountId>,
}

/// Who is a member? Asked of logic.
#[derive(Debug)]
pub struct Question {
    /// Where.
    pub conversation: ConversationId,
    /// Of these.
    pub accounts: Vec<AccountId>,
    asked_at: Tick,
}

/// The account was moved, or later answers were believed, while its memberships were read: they are
/// read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overtaken;

impl Registry {
    /// A moment of its own: an answer that is asked for from now on knows of every change before it.
    pub fn next_tick(&self) -> Tick {
        Tick(self.ticks.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// A session begins. Returns what is new, and the session that has to make room.
    pub fn arrive(
        &self,
        handle: &Arc<SessionHandle>,
        sessions_max: usize,
    ) -> (Routes, Option<Arc<SessionHandle>>) {
        let mut local = self.accounts.entry(handle.account).or_default();
        let mut routes = Routes::default();
        if local.sessions.is_empty() {
            routes.accounts.push(handle.account);
        }
        let evicted = (local.sessions.len() >= sessions_max).then(|| local.sessions.remove(0));
        local.sessions.push(Arc::clone(handle));
        (routes, evicted)
    }

    /// A session ends. Returns what is no longer here.
    pub fn leave(&self, handle: &SessionHandle) -> Routes {
        let mut routes = Routes::default();
        let Entry::Occupied(mut local) = self.accounts.entry(handle.account) else {
            return routes;
        };
        let sessions = &mut local.get_mut().sessions;
        sessions.retain(|other| other.session != handle.session);
        if !sessions.is_empty() {
            return routes;
        }
        let gone = local.remove();
        routes.accounts.push(handle.account);
        for group in gone.groups {
            self.dismiss(group, handle.account, &mut routes);
        }
        routes
    }

    /// The account is in exactly these groups, says an answer that was asked for at `asked_at`.
    /// Its sessions, but for the one that is about to be welcomed with them, are told what is news.
    /// Returns what is new here and what is gone.
    pub fn settle(
        &self,
        account: AccountId,
        memberships: &[Membership],
        asked_at: Tick,
        but: Option<SessionId>,
    ) -> Result<(Routes, Routes), Overtaken> {
        let (mut new, mut gone) = (Routes::default(), Routes::default());
        let groups: Vec<_> = memberships.iter().filter_map(group_of).collect();
        let before = {
            let Some(mut local) = self.accounts.get_mut(&account) else {
                return Ok((new, gone)); // Its last session has left meanwhile.
            };
            if local.known_at > asked_at {
                return Err(Overtaken);
            }
            local.known_at = asked_at;
            local.heard_at = Some(Instant::now());
            let now = groups.iter().map(|(group, _)| *group).collect();
            std::mem::replace(&mut local.groups, now)
        };
        let mut left = before.clone();
        for (group, membership) in groups {
            left.remove(&group);
            let joined = SequenceNumber(membership.joined_sequence);
            let mut view = self.view_of(group, &mut new);
            let missed = view.admit(account, joined, asked_at);
            if missed.0 > membership.head {
                self.head_of(account, group, missed);
            }
            drop(view);
            if !before.contains(&group) {
                self.tell_membership(account, group, membership.clone(), true, but);
            }
        }
        for group in left {
            self.dismiss(group, account, &mut gone);
            self.tell_left(account, group);
        }
        Ok((new, gone))
    }

    /// A membership entry was committed. Returns what is new here.
    pub fn moved(
        &self,
        conversation: ConversationId,
        moved: Move,
        membership: &Membership,
    ) -> Routes {
        let mut new = Routes::default();
        let now = self.next_tick();
        let is_here = |account: &AccountId| self.accounts.contains_key(account);
        let moved = Move {
            joined: moved.joined.into_iter().filter(is_here).collect(),
            left: moved.left.into_iter().filter(is_here).collect(),
            ..moved
        };
        if moved.joined.is_empty() && !self.views.contains_key(&conversation) {
            return new;
        }
        let mut view = self.view_of(conversation, &mut new);
        view.moved(&moved, now);
        // An answer that is ahead of the move may know that it is back.
        let is_out = |account: &AccountId| (*account, !view.has(*account));
        let left: Vec<_> = moved.left.iter().map(is_out).collect();
        drop(view);
        for (account, is_out) in left {
            if let Some(mut local) = self.accounts.get_mut(&account) {
                local.known_at = now;
                local.heard_at = Some(Instant::now());
                if is_out {
                    local.groups.remove(&conversation);
                }
            }
        }
        for account in moved.joined {
            let is_news = self.accounts.get_mut(&account).is_some_and(|mut local| {
                local.known_at = now;
                local.heard_at = Some(Instant::now());
                local.groups.insert(conversation)
            });
            if is_news {
                self.tell_membership(account, conversation, membership.clone(), true, None);
            }
        }
        new
    }

    /// Whom to ask about a group's view, if it is unknown and nobody asks yet.
    pub fn question(&self, conversation: ConversationId) -> Option<Question> {
        let asked_at = self.next_tick();
        let accounts = self.views.get_mut(&conversation)?.question()?;
        Some(Question {
            conversation,
            accounts,
            asked_at,
        })
    }

    /// The answer: these are members, as of this entry. Returns what is gone.
    pub fn answered(
        &self,
        question: &Question,
        members: BTreeSet<AccountId>,
        as_of: SequenceNumber,
    ) -> Routes {
        let mut gone = Routes::default();
        let conversation = question.conversation;
        let ticks = (question.asked_at, self.next_tick());
        let Some(mut view) = self.views.get_mut(&conversation) else {
            return gone;
        };
        let left = view.answered(&question.accounts, members, as_of, ticks);
        drop(view);
        for account in left {
            if let Some(mut local) = self.accounts.get_mut(&account) {
                local.groups.remove(&conversation);
            }
            self.tell_left(account, conversation);
        }
        self.remove_if_empty(conversation, &mut gone);
        gone
    }

    /// There is no answer.
    pub fn not_answered(&self, question: &Question) {
        if let Some(mut view) = self.views.get_mut(&question.conversation) {
            view.not_answered();
        }
    }

    /// Changes of members may have been missed, anywhere.
    pub fn doubt(&self) {
        self.doubt_those(|_| true);
    }

    /// Changes of members of these groups may have been missed.
    pub fn doubt_those(&self, of: impl Fn(&ConversationId) -> bool) {
        let now = self.next_tick();
        for mut view in self.views.iter_mut().filter(|view| of(view.key())) {
            view.doubt(now);
        }
    }

    /// Every session is told where gateways live from now on.
    pub fn gateways(&self, list: &SharedFrame) {
        for local in &self.accounts {
            let sessions = local.sessions.iter();
            sessions.for_each(|session| session.gateways(list.clone()));
        }
    }

    /// Every account that is here.
    pub fn accounts(&self) -> Vec<AccountId> {
        self.accounts.iter().map(|local| *local.key()).collect()
    }

    /// Everything that is here.
    pub fn everything(&self) -> Routes {
        Routes {
            groups: self.views.iter().map(|view| *view.key()).collect(),
            accounts: self.accounts(),
        }
    }

    /// Entries, committed under this membership entry.
    pub fn push(&self, push: &Push, membership: SequenceNumber) -> Sent {
        let conversation = push.conversation;
        if let ConversationKind::Pair(low, high) = conversation.kind() {
            let to = if low == high {
                vec![low]
            } else {
                vec![low, high]
            };
            let sessions = self.each_session(&to, |session| session.push(push.clone()));
            return Sent::Entries { sessions };
        }
        let Some(mut view) = self.views.get_mut(&conversation) else {
            return Sent::Nothing;
        };
        let sent = match view.recipients(membership, push.last) {
            Recipients::Entries(to) => Sent::Entries {
                sessions: self.each_session(&to, |session| session.push(push.clone())),
            },
            Recipients::Heads(to) => Sent::Heads {
                sessions: self.each_session(&to, |session| session.head(conversation, push.last)),
            },
        };
        let left = view.take_leavers(push.last);
        drop(view);
        self.tell_leavers(&left, conversation);
        sent
    }

    /// A head without its entries.
    pub fn head(&self, conversation: ConversationId, head: SequenceNumber) {
        let tell = |session: &SessionHandle| session.head(conversation, head);
        if let ConversationKind::Pair(low, high) = conversation.kind() {
            self.each_session(&[low, high], tell);
            return;
        }
        let Some(mut view) = self.views.get_mut(&conversation) else {
            return;
        };
        self.each_session(&view.hear(head), tell);
        let left = view.take_leavers(head);
        drop(view);
        self.tell_leavers(&left, conversation);
    }

    /// The same, for one account.
    pub fn head_of(&self, account: AccountId, conversation: ConversationId, head: SequenceNumber) {
        self.each_session(&[account], |session| session.head(conversation, head));
    }

    /// Forgets a group that nobody here has to do with any more. Returns what the router can forget,
    /// which may count us in without our having asked for it.
    pub fn tidy(&self, conversation: ConversationId) -> Routes {
        self.remove_if_empty(conversation, &mut Routes::default());
        let mut gone = Routes::default();
        if self.is_deserted(conversation) {
            gone.groups.push(conversation);
        }
        gone
    }

    /// Whether this is a group that nobody here has to do with, or only those who had left it.
    pub fn is_deserted(&self, conversation: ConversationId) -> bool {
        match conversation.kind() {
            ConversationKind::Pair(..) => false,
            ConversationKind::Group(_) => self
                .views
                .get(&conversation)
                .is_none_or(|view| view.is_empty()),
        }
    }

    /// An ephemeral message, to everybody who is known to be a member but its sender. Returns how
    /// many sessions it went to; `None` if nobody is known to be one.
    pub fn ephemeral(&self, key: &EphemeralKey, frame: &SharedFrame) -> Option<usize> {
        let tell = |session: &SessionHandle| session.ephemeral(key.clone(), frame.clone());
        let others = |account: &AccountId| *account != key.sender;
        let to: Vec<_> = match key.conversation.kind() {
            ConversationKind::Pair(low, high) => [low, high].into_iter().filter(others).collect(),
            ConversationKind::Group(_) => {
                let view = self.views.get(&key.conversation)?;
                view.known_members()?
                    .iter()
                    .copied()
                    .filter(others)
                    .collect()
            }
        };
        Some(self.each_session(&to, tell))
    }

    /// An order, or news of one, for these accounts. Returns how many sessions it went to.
    pub fn order(&self, accounts: &[AccountId], order: &Order) -> usize {
        self.each_session(accounts, |session| session.order(order.clone()))
    }

    fn each_session(&self, accounts: &[AccountId], act: impl Fn(&SessionHandle)) -> usize {
        let mut sessions = 0;
        for account in accounts {
            if let Some(local) = self.accounts.get(account) {
                local.sessions.iter().for_each(|session| act(session));
                sessions += local.sessions.len();
            }
        }
        sessions
    }

    fn view_of(
        &self,
        group: ConversationId,
        new: &mut Routes,
    ) -> dashmap::mapref::one::RefMut<'_, ConversationId, View> {
        match self.views.entry(group) {
            Entry::Occupied(view) => view.into_ref(),
            Entry::Vacant(place) => {
                new.groups.push(group);
                place.insert(View::default())
            }
        }
    }

    fn dismiss(&self, group: ConversationId, account: AccountId, gone: &mut Routes) {
        if let Some(mut view) = self.views.get_mut(&group) {
            view.dismiss(account);
        }
        self.remove_if_empty(group, gone);
    }

    fn remove_if_empty(&self, group: ConversationId, gone: &mut Routes) {
        if self
            .views
            .remove_if(&group, |_, view| view.is_empty())
            .is_some()
        {
            gone.groups.push(group);
        }
    }

    fn tell_leavers(&self, left: &[AccountId], group: ConversationId) {
        for account in left {
            self.tell_left(*account, group);
        }
    }

    fn tell_left(&self, account: AccountId, group: ConversationId) {
        let membership = Membership {
            conversation_id: group.to_bytes(),
            ..Membership::default()
        };
        self.tell_membership(account, group, membership, false, None);
    }

    fn tell_membership(
        &self,
        account: AccountId,
        group: ConversationId,
        membership: Membership,
        joined: bool,
        but: Option<SessionId>,
    ) {
        let notice = membership_notice(membership, joined);
        self.each_session(&[account], |session| {
            if Some(session.session) != but {
                session.notice(group, notice.clone());
            }
        });
    }
}

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The entries went to so many sessions.
    Entries {
        /// How many.
        sessions: usize,
    },
    /// Only their head did: the view is not as of their membership entry.
    Heads {
        /// How many.
        sessions: usize,
    },
    /// Nobody here is concerned.
    Nothing,
}

/// The frame that tells a client that it joined or left.
#[must_use]
pub fn membership_notice(membership: Membership, joined: bool) -> SharedFrame {
    let notice = MembershipNotice {
        membership: Some(membership),
        joined,
    };
    SharedFrame::from(&Frame::notice(client::MEMBERSHIP_NOTICE, &notice))
}

/// The group that a membership is of; pairs have no view.
fn group_of(membership: &Membership) -> Option<(ConversationId, &Membership)> {
    let conversation = ConversationId::from_slice(&membership.conversation_id).ok()?;
    match conversation.kind() {
        ConversationKind::Group(_) => Some((conversation, membership)),
        ConversationKind::Pair(..) => None,
    }
}

#[cfg(test)]
mod tests;
