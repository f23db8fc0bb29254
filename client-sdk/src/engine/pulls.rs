//! Pages of history for the inbox: asked for when it wants them, or before.

use bytes::Bytes;
use prost::Message as _;
use protocol::error::decode_body;
use protocol::kind::client as kind;
use protocol::wire;
use protocol::{ConversationId, ErrorCode, Frame, Refusal, SequenceNumber};
use tokio::time::Instant;

use super::answers::{REQUEST_ATTEMPTS, deadline_ms};
use super::session::Asked;
use super::{ANSWER_TIMEOUT, Engine};
use crate::ahead::{Answered, Asking, Found};
use crate::events;
use crate::message::PullPage;

impl Engine {
    /// What the inbox wants and has not been read ahead; else what it will want.
    pub(super) fn next_pull(&mut self, now: Instant) -> Option<Frame> {
        if self.is_parting() || self.session.is_none() {
            return None;
        }
        while let Some((conversation, after)) = self.inbox.next_pull(now) {
            match self.ahead.find(conversation, after) {
                Found::Page(page) => self.take_page(conversation, page, now),
                Found::Coming => {}
                Found::Nothing(limit) => {
                    let asking = Asking {
                        conversation,
                        after,
                        limit,
                    };
                    return self.pull(Asked::Pull(conversation), asking, now);
                }
            }
        }
        if self.inbox.spare_pulls() <= self.ahead.in_flight() {
            return None;
        }
        let asking = self.ahead.next()?;
        let asked = Asked::Ahead(asking.conversation, asking.after);
        self.pull(asked, asking, now)
    }

    fn pull(&mut self, asked: Asked, asking: Asking, now: Instant) -> Option<Frame> {
        let session = self.session.as_mut()?;
        let pull = wire::Pull {
            conversation_id: asking.conversation.to_bytes(),
            after_sequence: asking.after.0,
            limit: asking.limit,
            before_sequence: 0,
            history_generation: session.history_generation,
        };
        let due = now + ANSWER_TIMEOUT;
        Some(Frame {
            kind: kind::PULL,
            correlation: session.ask(asked, kind::PULL, (now, due)),
            deadline_ms: deadline_ms(now, due),
            body: pull.encode_to_vec().into(),
        })
    }

    /// The answer to a pull that the inbox waits for.
    pub(super) fn pull_answer(
        &mut self,
        conversation: ConversationId,
        answer: Result<Bytes, Refusal>,
        now: Instant,
    ) {
        match page(answer) {
            Ok(page) => self.take_page(conversation, page, now),
            Err(refusal) if refusal.code == ErrorCode::OtherHistory => self.other_history(refusal),
            Err(refusal) => {
                let until = self.rest_until(now, Some(&refusal), REQUEST_ATTEMPTS);
                events::pull_refused(conversation, &refusal);
                self.inbox.pull_failed(conversation, Some(&refusal), until);
            }
        }
        self.drain_inbox();
    }

    /// The answer to a pull that the inbox did not wait for when it was sent.
    pub(super) fn ahead_answer(
        &mut self,
        conversation: ConversationId,
        after: SequenceNumber,
        answer: Result<Bytes, Refusal>,
        now: Instant,
    ) {
        let page = match page(answer) {
            Ok(page) => Some(page),
            Err(refusal) if refusal.code == ErrorCode::OtherHistory => {
                return self.other_history(refusal);
            }
            Err(refusal) => {
                events::pull_refused(conversation, &refusal);
                None
            }
        };
        match self.ahead.answered(conversation, after, page) {
            Answered::Settled => {}
            Answered::Wanted(page) => self.take_page(conversation, page, now),
            // It rests, and then the page is asked for as any other.
            Answered::AskAgain => {
                let until = self.rest_until(now, None, 0);
                self.inbox.pull_failed(conversation, None, until);
            }
        }
        self.drain_inbox();
    }

    fn take_page(&mut self, conversation: ConversationId, page: PullPage, now: Instant) {
        let until = self.rest_until(now, None, REQUEST_ATTEMPTS);
        self.ahead.passes(conversation, &page);
        self.inbox.page(conversation, page, until);
        self.drain_inbox();
    }

    /// The next session says where the histories parted.
    fn other_history(&mut self, refusal: Refusal) {
        if let Some(session) = &mut self.session {
            session.fault = Some(refusal);
        }
    }
}

fn page(answer: Result<Bytes, Refusal>) -> Result<PullPage, Refusal> {
    answer
        .and_then(decode_body::<wire::PullPage>)
        .and_then(PullPage::from_wire)
}
