//! The frames of a session, both ways: what to ask next, and what an answer or a notice means.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use protocol::command::CommandKey;
use protocol::content;
use protocol::error::decode_body;
use protocol::kind::client as kind;
use protocol::wire::{self, Priority};
use protocol::{AccountId, ConversationId, ErrorCode, Frame, Refusal, SequenceNumber};
use tokio::time::Instant;

use super::estops::frame_kind;
use super::session::{Asked, Memberships, Session};
use super::{ANSWER_TIMEOUT, Engine};
use crate::command::news::{Given, Heard};
use crate::error::{Error, SendError};
use crate::events;
use crate::incoming::Event;
use crate::message::{Conversation, Entry, Ephemeral, Receipt};
use crate::outbox::Ticket;
use crate::requests::RequestId;

/// What a request counts as when its lane or list says how long to rest.
pub(super) const REQUEST_ATTEMPTS: u32 = 3;

impl Engine {
    /// One frame has come.
    pub(crate) fn frame(&mut self, frame: Frame, now: Instant) {
        let Some(session) = &mut self.session else {
            return;
        };
        session.heard(now);
        let kind = frame.kind;
        if let Err(refusal) = self.apply(frame, now) {
            events::malformed(kind, &refusal);
        }
        self.drain_inbox();
    }

    fn apply(&mut self, frame: Frame, now: Instant) -> Result<(), Refusal> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        match frame.kind {
            kind::PUSH => {
                session.pushed(now);
                for entry in decode_body::<wire::Push>(frame.body)?.entries {
                    self.inbox.push(Entry::from_wire(entry)?);
                    // Between two entries, so that a full queue takes no more of them.
                    self.drain_inbox();
                }
            }
            kind::HEAD => self.head(&decode_body(frame.body)?)?,
            kind::EPHEMERAL => self.ephemeral(decode_body(frame.body)?)?,
            kind::MEMBERSHIP_NOTICE => self.membership_notice(decode_body(frame.body)?)?,
            kind::ESTOP_NOTICE => self.estop_notice(decode_body(frame.body)?)?,
            kind::ESTOP_SENT => self.estop_sent(&decode_body(frame.body)?)?,
            kind::PING => {
                let ping: wire::Ping = decode_body(frame.body)?;
                session.pinged(&ping, frame.correlation);
            }
            kind::PONG => {
                let pong: wire::Pong = decode_body(frame.body)?;
                if let Some(server_ms) = session.offset.answered(pong.answered_at_ms, now) {
                    self.shared.set_server_time_ms(server_ms);
                }
                for head in &pong.heads {
                    self.head(head)?;
                }
            }
            kind::MARKS => self.marked_elsewhere(&decode_body(frame.body)?)?,
            kind::GATEWAYS => {
                let list: wire::Gateways = decode_body(frame.body)?;
                self.listed = Some(list.addresses);
            }
            kind::COMMAND_STATUS if frame.correlation == 0 => {
                let status: wire::CommandStatus = decode_body(frame.body)?;
                let heard = Heard {
                    counts: status.counts.unwrap_or_default(),
                    outcomes: status.outcomes,
                };
                let command = CommandKey::from_wire(status.key)?.id();
                self.shared.commands.status(command, heard);
            }
            kind::ROBOTS_WATCHED if frame.correlation == 0 => {
                self.shared.robots.heard(decode_body(frame.body)?);
            }
            kind::WATCHED if frame.correlation == 0 => {
                self.shared.sight.watched(decode_body(frame.body)?)?;
            }
            kind::ORDER_PAGE if frame.correlation == 0 => {
                let deadline = now + Duration::from_millis(frame.deadline_ms.into());
                for order in decode_body::<wire::OrderPage>(frame.body)?.orders {
                    self.shared.commands.given(Given { order, deadline });
                }
            }
            kind::GO_AWAY => session.go_away(decode_body(frame.body)?, now),
            kind::ERROR if frame.correlation == 0 => {
                session.fault = Some(Refusal::decode(&frame.body));
            }
            _ => self.answer(frame, now),
        }
        Ok(())
    }

    /// Another session of the account has marked something.
    fn marked_elsewhere(&mut self, marks: &wire::Marks) -> Result<(), Refusal> {
        for mark in &marks.marks {
            let marked = Event::Marked {
                conversation: ConversationId::from_slice(&mark.conversation_id)?,
                delivered: SequenceNumber(mark.delivered),
                read: SequenceNumber(mark.read),
            };
            self.shared.queue.lock().push_news(marked);
        }
        self.shared.arrived.notify_one();
        Ok(())
    }

    /// An answer, or something that this build does not know and so ignores.
    fn answer(&mut self, frame: Frame, now: Instant) {
        let Some((asked, asked_kind)) = self
            .session
            .as_mut()
            .and_then(|session| session.answered(frame.correlation))
        else {
            return;
        };
        let answer = if frame.kind == kind::ERROR {
            Err(Refusal::decode(&frame.body))
        } else if frame.kind == kind::answer(asked_kind) {
            Ok(frame.body)
        } else {
            let why = format!("kind {} in answer to kind {asked_kind}", frame.kind);
            Err(Refusal::internal(why))
        };
        match asked {
            Asked::Letter(ticket, attempts) => self.letter_answer(ticket, attempts, answer, now),
            Asked::Request(id) => self.request_answer(id, answer, now),
            Asked::Pull(conversation) => self.pull_answer(conversation, answer, now),
            Asked::Ahead(conversation, after) => {
                self.ahead_answer(conversation, after, answer, now);
            }
            Asked::Memberships(after) => self.memberships_answer(after, answer, now),
        }
    }

    /// What has had no answer on a living connection is asked again.
    pub(super) fn expire_answers(&mut self, now: Instant) {
        while let Some((asked, kind)) = self.session.as_mut().and_then(|s| s.overdue(now)) {
            events::unanswered(kind);
            let refusal = Refusal::new(ErrorCode::OutcomeUnknown, "no answer in time");
            match asked {
                Asked::Letter(ticket, attempts) => {
                    self.letter_answer(ticket, attempts, Err(refusal), now);
                }
                Asked::Request(id) => self.request_answer(id, Err(refusal), now),
                Asked::Pull(conversation) => self.pull_answer(conversation, Err(refusal), now),
                Asked::Ahead(conversation, after) => {
                    self.ahead_answer(conversation, after, Err(refusal), now);
                }
                Asked::Memberships(after) => self.memberships_answer(after, Err(refusal), now),
            }
        }
    }

    fn letter_answer(
        &mut self,
        ticket: Ticket,
        attempts: u32,
        answer: Result<Bytes, Refusal>,
        now: Instant,
    ) {
        let ack = answer.and_then(decode_body::<wire::SendAck>);
        match ack {
            Ok(ack) => {
                let Some(settled) = self.outbox.acked(ticket) else {
                    return;
                };
                self.shared.counters.acknowledged();
                self.stored(&settled.letter, ack.committed_at_ms, now);
                settled.reply.settle(Ok(Receipt {
                    client_message_id: settled.letter.id,
                    sequence: SequenceNumber(ack.sequence),
                    committed_at_ms: ack.committed_at_ms,
                    duplicate: ack.duplicate,
                    attempts: settled.attempts,
                }));
            }
            Err(refusal) if refusal.is_retryable() => {
                let until = self.rest_until(now, Some(&refusal), attempts);
                let doubtful = refusal.code == ErrorCode::OutcomeUnknown;
                self.outbox.again(ticket, Some(refusal), doubtful, until);
            }
            Err(refusal) => {
                if let Some(settled) = self.outbox.refused(ticket) {
                    self.gave_up(settled, SendError::Refused(refusal), now);
                }
            }
        }
    }

    fn request_answer(&mut self, id: RequestId, answer: Result<Bytes, Refusal>, now: Instant) {
        match answer {
            Err(refusal) if refusal.is_retryable() => {
                let until = self.rest_until(now, Some(&refusal), REQUEST_ATTEMPTS);
                if let Some((reply, error)) = self.requests.again(id, Some(refusal), until) {
                    reply.settle(Err(error));
                }
            }
            answer => {
                if let Some(reply) = self.requests.settle(id) {
                    reply.settle(answer.map_err(Error::Refused));
                }
            }
        }
    }

    fn memberships_answer(
        &mut self,
        after: Option<ConversationId>,
        answer: Result<Bytes, Refusal>,
        now: Instant,
    ) {
        let page = match answer.and_then(decode_body::<wire::ConversationPage>) {
            Ok(page) => page,
            Err(refusal) => {
                events::malformed(kind::LIST_CONVERSATIONS, &refusal);
                let until = self.rest_until(now, Some(&refusal), REQUEST_ATTEMPTS);
                return self.read_memberships(after, until);
            }
        };
        self.memberships(&page.memberships);
        let last = page
            .memberships
            .last()
            .and_then(|last| ConversationId::from_slice(&last.conversation_id).ok());
        // A page that leads nowhere is the last one, whatever it says.
        if page.more && last.is_some() && last != after {
            self.read_memberships(last, now);
        } else {
            self.memberships_due = Session::memberships_due(now);
            self.memberships_end();
            if let Some(session) = &mut self.session {
                session.memberships = Memberships::Known;
            }
        }
        self.drain_inbox();
    }

    pub(super) fn read_memberships(&mut self, after: Option<ConversationId>, not_before: Instant) {
        if let Some(session) = &mut self.session {
            session.memberships = Memberships::Wanted(after, not_before);
        }
        if after.is_some() {
            // The pause is between two readings, not between pages.
            self.memberships_due = not_before;
        }
    }

    fn head(&mut self, head: &wire::Head) -> Result<(), Refusal> {
        let conversation = ConversationId::from_slice(&head.conversation_id)?;
        self.inbox.head(conversation, head.head);
        Ok(())
    }

    fn ephemeral(&mut self, ephemeral: wire::Ephemeral) -> Result<(), Refusal> {
        let content_bytes = ephemeral.content.len();
        let ephemeral = Ephemeral {
            conversation: ConversationId::from_slice(&ephemeral.conversation_id)?,
            sender: AccountId(ephemeral.sender),
            content: content::decode(&ephemeral.content)?,
            key: ephemeral.key,
            sent_at_ms: ephemeral.sent_at_ms,
        };
        let mut queue = self.shared.queue.lock();
        let is_kept = queue.push_ephemeral(ephemeral, content_bytes);
        drop(queue);
        if is_kept {
            self.shared.arrived.notify_one();
        } else {
            self.shared.counters.ephemeral_dropped();
        }
        Ok(())
    }

    fn membership_notice(&mut self, notice: wire::MembershipNotice) -> Result<(), Refusal> {
        let membership = Conversation::from_wire(&notice.membership.unwrap_or_default())?;
        if notice.joined {
            self.inbox.joined(&membership);
        } else {
            self.inbox.left(membership.id);
        }
        Ok(())
    }

    pub(super) fn next_letter(&mut self, now: Instant) -> Option<Frame> {
        let session = self.session.as_mut()?;
        let (ticket, letter, attempts) = self.outbox.next()?;
        if attempts > 1 {
            self.shared.counters.sent_again();
        }
        let due = letter.deadline.min(now + ANSWER_TIMEOUT);
        let asked = Asked::Letter(ticket, attempts);
        let kind = if letter.priority == Priority::Emergency {
            frame_kind(&letter.body)
        } else {
            kind::SEND
        };
        Some(Frame {
            kind,
            correlation: session.ask(asked, kind, (now, due)),
            deadline_ms: deadline_ms(now, due),
            body: letter.body.clone(),
        })
    }

    pub(super) fn next_request(&mut self, now: Instant) -> Option<Frame> {
        let session = self.session.as_mut()?;
        let (id, request) = self.requests.next(now)?;
        let due = request.deadline.min(now + ANSWER_TIMEOUT);
        Some(Frame {
            kind: request.kind,
            correlation: session.ask(Asked::Request(id), request.kind, (now, due)),
            deadline_ms: deadline_ms(now, due),
            body: request.body.clone(),
        })
    }

    pub(super) fn next_memberships(&mut self, now: Instant) -> Option<Frame> {
        let session = self.session.as_mut()?;
        let Memberships::Wanted(after, not_before) = session.memberships else {
            return None;
        };
        if now < not_before.max(self.memberships_due) {
            return None;
        }
        session.memberships = Memberships::InFlight;
        let list = wire::ListConversations {
            after_conversation_id: after.map_or_else(Bytes::new, ConversationId::to_bytes),
            limit: 0,
            history_generation: self.history_generation,
        };
        let due = now + ANSWER_TIMEOUT;
        let asked = Asked::Memberships(after);
        Some(Frame {
            kind: kind::LIST_CONVERSATIONS,
            correlation: session.ask(asked, kind::LIST_CONVERSATIONS, (now, due)),
            deadline_ms: deadline_ms(now, due),
            body: list.encode_to_vec().into(),
        })
    }

    /// A frame that is longer than the server accepts: what it asks for can not be had.
    pub(crate) fn too_long(&mut self, frame: &Frame, why: &str, now: Instant) {
        let error = Frame {
            kind: kind::ERROR,
            correlation: frame.correlation,
            deadline_ms: 0,
            body: Refusal::new(ErrorCode::ContentTooLong, why).encode(),
        };
        self.answer(error, now);
    }
}

/// Rounded up, so that it is never 0, which would be no deadline.
pub(super) fn deadline_ms(now: Instant, due: Instant) -> u32 {
    let left = due.saturating_duration_since(now).as_millis();
    u32::try_from(left).unwrap_or(u32::MAX).max(1)
}
