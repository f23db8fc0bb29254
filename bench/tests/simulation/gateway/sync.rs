//! How a gateway keeps in step with routers and logic: memberships that are read again, questions
//! about views, and what the routers say.

use bytes::Bytes;
use im_gateway::notices;
use im_gateway::registry::{Overtaken, Question, Sent};
use im_gateway::view::Tick;
use prost::Message as _;
use protocol::kind::method;
use protocol::wire::Membership;
use protocol::wire::internal::{
    CheckMembers, CheckedMembers, Fanout, HeadHints, MembershipMoved, Memberships, MembershipsPage,
};
use protocol::{AccountId, ConversationId, Refusal, SequenceNumber, SessionId};
use std::time::Duration;

use super::routes::Registered;
use super::{Gateway, Then};
use crate::Fault;
use crate::net::{ConnId, Net, Timer};

const READS_MAX: u32 = 8;
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Pushes of a thousand that the gateway that is broken on purpose drops.
const BROKEN_DROPS: u32 = 150;

/// One account whose memberships are being read.
pub(super) struct Refreshing {
    account: AccountId,
    /// The session that is about to be welcomed with them.
    but: Option<(ConnId, SessionId)>,
    reads: u32,
    asked_at: Tick,
    so_far: Vec<Membership>,
}

impl Refreshing {
    pub(super) const fn new(account: AccountId, but: Option<(ConnId, SessionId)>) -> Self {
        Self {
            account,
            but,
            reads: 0,
            asked_at: Tick(0),
            so_far: Vec::new(),
        }
    }
}

/// The reading of all memberships after a resync.
#[derive(Default)]
pub(super) struct ReadAgain {
    under_way: usize,
    failed: Vec<AccountId>,
    /// Some failed, and are read again in a moment.
    rests: bool,
    /// A resync came meanwhile.
    again: bool,
}

impl Gateway {
    pub(super) fn read(&mut self, net: &mut Net, mut refreshing: Refreshing) {
        refreshing.reads += 1;
        refreshing.asked_at = self.registry.next_tick();
        refreshing.so_far.clear();
        self.read_page(net, refreshing);
    }

    fn read_page(&mut self, net: &mut Net, refreshing: Refreshing) {
        let last = refreshing.so_far.last();
        let question = Memberships {
            account_id: refreshing.account.0,
            after_conversation_id: last.map_or_else(Bytes::new, |m| m.conversation_id.clone()),
            ..Memberships::default()
        };
        let then = Then::Memberships(refreshing);
        self.ask_logic(net, method::MEMBERSHIPS, &question, then);
    }

    pub(super) fn memberships(
        &mut self,
        net: &mut Net,
        mut refreshing: Refreshing,
        outcome: Result<Bytes, Refusal>,
    ) {
        let page = match outcome {
            Ok(body) => MembershipsPage::decode(body).unwrap(),
            Err(refusal) => return self.refreshed(net, refreshing, Err(refusal)),
        };
        refreshing.so_far.extend(page.memberships);
        if page.more {
            return self.read_page(net, refreshing);
        }
        let but = refreshing.but.map(|(_, session)| session);
        let (account, asked_at) = (refreshing.account, refreshing.asked_at);
        match self
            .registry
            .settle(account, &refreshing.so_far, asked_at, but)
        {
            Ok((new, gone)) => {
                self.unregister(net, &gone);
                self.register(net, new, Registered::ThenDone(refreshing));
            }
            Err(Overtaken) if refreshing.reads < READS_MAX => self.read(net, refreshing),
            Err(Overtaken) => {
                let refusal = Refusal::unavailable("the conversations keep changing");
                self.refreshed(net, refreshing, Err(refusal));
            }
        }
    }

    /// The memberships are read and registered, or not.
    pub(super) fn refreshed(
        &mut self,
        net: &mut Net,
        refreshing: Refreshing,
        outcome: Result<(), Refusal>,
    ) {
        if outcome.is_ok() {
            for membership in &refreshing.so_far {
                self.ask(net, conversation(&membership.conversation_id));
            }
        }
        match (refreshing.but, outcome) {
            (Some((conn, _)), Ok(())) => self.welcome(net, conn, refreshing.so_far),
            (Some((conn, _)), Err(refusal)) => self.refuse(net, conn, &refusal),
            (None, outcome) => {
                if outcome.is_err() {
                    self.reading.failed.push(refreshing.account);
                } else {
                    for membership in &refreshing.so_far {
                        let at = conversation(&membership.conversation_id);
                        let head = SequenceNumber(membership.head);
                        self.registry.head_of(refreshing.account, at, head);
                    }
                }
                self.reading.under_way -= 1;
                self.read_next_round(net);
            }
        }
    }

    /// Changes of members may have been missed.
    pub(super) fn resync(&mut self, net: &mut Net) {
        self.registry.doubt();
        self.reading.again = true;
        self.read_next_round(net);
    }

    fn read_next_round(&mut self, net: &mut Net) {
        if self.reading.under_way > 0 {
            return;
        }
        if std::mem::take(&mut self.reading.again) {
            self.reading.rests = false;
            self.reading.failed.clear();
            let accounts = self.registry.accounts();
            self.read_all(net, accounts);
        } else if !self.reading.failed.is_empty() && !self.reading.rests {
            self.reading.rests = true;
            net.timer(self.me, RETRY_INTERVAL, Timer::ReadAgain);
        }
    }

    pub(super) fn read_failed_again(&mut self, net: &mut Net) {
        if !std::mem::take(&mut self.reading.rests) {
            return;
        }
        if self.logic.conn.is_none() {
            return self.read_next_round(net);
        }
        let failed = std::mem::take(&mut self.reading.failed);
        self.read_all(net, failed);
    }

    fn read_all(&mut self, net: &mut Net, mut accounts: Vec<AccountId>) {
        accounts.sort_unstable();
        // One more, so that the round does not end before all have begun.
        self.reading.under_way += accounts.len() + 1;
        for account in accounts {
            self.read(net, Refreshing::new(account, None));
        }
        self.reading.under_way -= 1;
        self.read_next_round(net);
    }

    fn ask(&mut self, net: &mut Net, conversation: ConversationId) {
        if let Some(question) = self.registry.question(conversation) {
            let check = CheckMembers {
                conversation_id: question.conversation.to_bytes(),
                account_ids: question.accounts.iter().map(|account| account.0).collect(),
            };
            self.ask_logic(net, method::CHECK_MEMBERS, &check, Then::Checked(question));
        }
    }

    pub(super) fn checked(
        &mut self,
        net: &mut Net,
        question: Question,
        outcome: Result<Bytes, Refusal>,
    ) {
        let Ok(body) = outcome else {
            self.registry.not_answered(&question);
            return;
        };
        let checked = CheckedMembers::decode(body).unwrap();
        let members = checked.members.into_iter().map(AccountId).collect();
        let as_of = SequenceNumber(checked.membership_sequence);
        let gone = self.registry.answered(&question, members, as_of);
        self.unregister(net, &gone);
        self.ask(net, question.conversation);
    }

    pub(super) fn head(&mut self, net: &mut Net, head: &protocol::wire::Head) {
        let at = conversation(&head.conversation_id);
        self.registry.head(at, SequenceNumber(head.head));
        self.tidy(net, at);
    }

    fn tidy(&self, net: &mut Net, at: ConversationId) {
        if self.registry.is_deserted(at) {
            let gone = self.registry.tidy(at);
            self.unregister(net, &gone);
        }
    }

    pub(crate) fn notice(&mut self, net: &mut Net, kind: u16, body: Bytes) {
        match kind {
            method::FANOUT => self.fanout(net, Fanout::decode(body).unwrap()),
            method::HEAD_HINTS => {
                for head in HeadHints::decode(body).unwrap().heads {
                    self.head(net, &head);
                }
            }
            method::MEMBERSHIP_MOVED => self.moved(net, MembershipMoved::decode(body).unwrap()),
            method::RESYNC => self.resync(net),
            other => panic!("method {other} to a gateway"),
        }
        self.write(net);
    }

    fn fanout(&mut self, net: &mut Net, fanout: Fanout) {
        if self.fault == Fault::DropPush && net.chance(BROKEN_DROPS) {
            return;
        }
        let (push, membership) = notices::entries(fanout).expect("our own router says it");
        if self.fault == Fault::PushAgain && net.chance(BROKEN_DROPS) {
            let again = crate::decode(push.frame.bytes(false).clone());
            let handles = self.seats.values().filter_map(|seat| seat.handle.as_ref());
            handles.for_each(|handle| handle.answer(&again));
        }
        let sent = self.registry.push(&push, membership);
        self.tidy(net, push.conversation);
        if matches!(sent, Sent::Heads { .. }) {
            self.ask(net, push.conversation);
        }
    }

    fn moved(&mut self, net: &mut Net, notice: MembershipMoved) {
        let (at, moved, membership) = notices::moved(notice).expect("our own router says it");
        let new = self.registry.moved(at, moved, &membership);
        self.register(net, new, Registered::Nothing);
        self.ask(net, at);
    }
}

fn conversation(bytes: &[u8]) -> ConversationId {
    ConversationId::from_slice(bytes).unwrap()
}
