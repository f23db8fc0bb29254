//! What a lean client does with what it hears.

use anyhow::{Context as _, bail, ensure};
use prost::Message as _;
use protocol::kind::client as kind;
use protocol::wire::{
    self as messages, Head, ListConversations, Membership, Ping, Pong, Pull, SendAck, Welcome,
};
use protocol::{AccountId, ConversationId, Refusal};

use super::place::{Place, Take};
use super::wire::{self, Entry, Frame, put_frame};
use super::{Asked, Lean, RETRY_US, Start, Told, What};

impl Lean {
    /// An entry came: it is told, dropped, or asked for in its turn. Whether it was told.
    pub(super) fn take(
        &mut self,
        entry: Entry<'_>,
        out: &mut Vec<u8>,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> anyhow::Result<bool> {
        // One that was left meanwhile.
        let Some(at) = self.place(entry.conversation) else {
            return Ok(false);
        };
        match self.places[at].take(entry.sequence) {
            Take::HandOver => {
                tell(Told::Entry(entry));
                Ok(true)
            }
            Take::Drop => Ok(false),
            Take::Lack => {
                self.pull(at, out);
                Ok(false)
            }
        }
    }

    fn place(&mut self, conversation: &[u8]) -> Option<usize> {
        let is_it = |place: &Place| place.conversation.as_bytes() == conversation;
        if self.places.get(self.last).is_some_and(is_it) {
            return Some(self.last);
        }
        self.last = self.places.iter().position(is_it)?;
        Some(self.last)
    }

    fn pull(&mut self, at: usize, out: &mut Vec<u8>) {
        let Some(after_sequence) = self.places[at].pull() else {
            return;
        };
        let pull = Pull {
            conversation_id: self.places[at].conversation.to_bytes(),
            after_sequence,
            history_generation: self.history_generation,
            ..Pull::default()
        };
        self.ask(What::Pull, kind::PULL, &pull, out);
    }

    pub(super) fn other(
        &mut self,
        frame: Frame<'_>,
        now_us: u64,
        out: &mut Vec<u8>,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> anyhow::Result<()> {
        match frame.kind {
            kind::WELCOME => self.welcome(Welcome::decode(frame.body)?, now_us, out, tell),
            kind::PONG => {
                let heads = Pong::decode(frame.body)?.heads;
                heads.iter().for_each(|head| self.hear_of(head, out));
                Ok(())
            }
            kind::PING => {
                let ping_sent_at_ms = Ping::decode(frame.body)?.sent_at_ms;
                let pong = Pong {
                    ping_sent_at_ms,
                    answered_at_ms: now_us / 1000,
                    heads: Vec::new(),
                };
                put_frame(kind::PONG, frame.correlation, &pong, out);
                Ok(())
            }
            kind::HEAD => {
                self.detours.heads += 1;
                self.hear_of(&Head::decode(frame.body)?, out);
                Ok(())
            }
            kind::EPHEMERAL => {
                tell(Told::Ephemeral(frame.body));
                Ok(())
            }
            kind::ORDER_PAGE if frame.correlation == 0 => {
                tell(Told::Orders(frame.body));
                Ok(())
            }
            kind::MEMBERSHIP_NOTICE => self.moved(frame.body, tell),
            kind::GO_AWAY => {
                let reconnect = messages::GoAway::decode(frame.body)?.reconnect;
                tell(Told::GoAway { reconnect });
                Ok(())
            }
            kind::ERROR if self.welcome.is_none() || frame.correlation == 0 => {
                bail!(
                    "the server ends the session: {}",
                    Refusal::decode(frame.body)
                )
            }
            _ if frame.correlation == 0 => Ok(()),
            _ => self.answered(frame, now_us, out, tell),
        }
    }

    fn hear_of(&mut self, head: &Head, out: &mut Vec<u8>) {
        if let Some(at) = self.place(&head.conversation_id) {
            self.places[at].hear_of(head.head);
            self.pull(at, out);
        }
    }

    fn welcome(
        &mut self,
        welcome: Welcome,
        now_us: u64,
        out: &mut Vec<u8>,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> anyhow::Result<()> {
        ensure!(
            self.history_generation == 0 || self.history_generation == welcome.history_generation,
            "the server's history is another one"
        );
        self.history_generation = welcome.history_generation;
        self.heartbeat_us = u64::from(welcome.heartbeat_interval_ms.max(1)) * 1000;
        self.ping_at_us = now_us + self.heartbeat_us;
        let (memberships, more) = (welcome.memberships.clone(), welcome.more_memberships);
        self.welcome = Some(welcome);
        self.join(&memberships, more, out, tell)
    }

    /// A page of memberships; after the last one the session stands.
    fn join(
        &mut self,
        memberships: &[Membership],
        more: bool,
        out: &mut Vec<u8>,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> anyhow::Result<()> {
        for membership in memberships {
            let at = self.joined(membership)?;
            self.places[at].hear_of(membership.head);
            self.pull(at, out);
        }
        if more {
            let last = memberships.last().context("a page without memberships")?;
            let list = ListConversations {
                after_conversation_id: last.conversation_id.clone(),
                limit: 0,
                history_generation: self.history_generation,
            };
            self.ask(What::Memberships, kind::LIST_CONVERSATIONS, &list, out);
            return Ok(());
        }
        // In their order; of a first connection there are none.
        let mut unanswered: Vec<_> = self.asked.iter().collect();
        unanswered.sort_unstable_by_key(|(correlation, _)| **correlation);
        for (_, asked) in unanswered {
            if matches!(asked.what, What::Send { .. }) {
                out.extend_from_slice(&asked.frame);
            }
        }
        let welcome = self.welcome.as_ref().context("no welcome")?;
        let account = welcome.account.as_ref().context("no account")?;
        tell(Told::Welcome {
            account: AccountId(account.account_id),
            heartbeat_interval_ms: welcome.heartbeat_interval_ms,
        });
        Ok(())
    }

    /// The place in this conversation, the one that it has or a new one.
    fn joined(&mut self, membership: &Membership) -> anyhow::Result<usize> {
        if let Some(at) = self.place(&membership.conversation_id) {
            return Ok(at);
        }
        let conversation = ConversationId::from_slice(&membership.conversation_id)?;
        let next = match self.start {
            Start::Head => membership.head + 1,
            Start::Mark => membership.readable_from.max(membership.delivered + 1),
        };
        self.places.push(Place::new(conversation, next));
        Ok(self.places.len() - 1)
    }

    fn moved(&mut self, body: &[u8], tell: &mut dyn FnMut(Told<'_>)) -> anyhow::Result<()> {
        let notice = messages::MembershipNotice::decode(body)?;
        let membership = notice.membership.context("a notice of no membership")?;
        let conversation = ConversationId::from_slice(&membership.conversation_id)?;
        if !notice.joined {
            self.places
                .retain(|place| place.conversation != conversation);
        } else if self.place(conversation.as_bytes()).is_none() {
            let next = membership.readable_from.max(1);
            self.places.push(Place::new(conversation, next));
        }
        tell(Told::Membership {
            conversation,
            joined: notice.joined,
        });
        Ok(())
    }

    fn answered(
        &mut self,
        frame: Frame<'_>,
        now_us: u64,
        out: &mut Vec<u8>,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> anyhow::Result<()> {
        let correlation = frame.correlation;
        let Some(asked) = self.asked.remove(&correlation) else {
            // A heartbeat's, or that of a repeated send, which may be answered twice.
            return Ok(());
        };
        if frame.kind == kind::ERROR {
            let refusal = Refusal::decode(frame.body);
            return self.refused(correlation, asked, refusal, now_us, tell);
        }
        match asked.what {
            What::Send { ticket } => {
                let sequence = SendAck::decode(frame.body)?.sequence;
                tell(Told::Acked { ticket, sequence });
            }
            What::Pull => {
                let page = wire::page(frame.body, |entry| {
                    self.detours.pulled += u64::from(self.take(entry, out, tell)?);
                    Ok(())
                })?;
                if let Some(at) = self.place(page.conversation) {
                    self.places[at].pulled();
                    self.places[at].hear_of(page.head);
                    self.places[at].pass(page.trimmed_up_to);
                    self.pull(at, out);
                }
            }
            What::Memberships => {
                let page = messages::ConversationPage::decode(frame.body)?;
                self.join(&page.memberships, page.more, out, tell)?;
            }
            What::Other => tell(Told::Answered {
                correlation,
                answer: Ok((frame.kind, frame.body)),
            }),
        }
        Ok(())
    }

    /// What the server cannot do just now is asked again, as it was.
    fn refused(
        &mut self,
        correlation: u32,
        asked: Asked,
        refusal: Refusal,
        now_us: u64,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> anyhow::Result<()> {
        match asked.what {
            What::Other => tell(Told::Answered {
                correlation,
                answer: Err(refusal),
            }),
            What::Send { .. } | What::Pull | What::Memberships if refusal.is_retryable() => {
                let wait_us = match refusal.retry_after_ms {
                    0 => RETRY_US,
                    ms => u64::from(ms) * 1000,
                };
                self.repeat.push((now_us + wait_us, correlation));
                self.detours.repeated += 1;
                self.asked.insert(correlation, asked);
            }
            What::Send { ticket } => tell(Told::Refused { ticket, refusal }),
            what @ (What::Pull | What::Memberships) => bail!("{what:?} is refused: {refusal}"),
        }
        Ok(())
    }
}
