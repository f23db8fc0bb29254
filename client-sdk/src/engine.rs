//! The client without its sockets: joins inbox, outbox, requests and marks over one session at a
//! time, pairs answers with what was asked, keeps the heartbeat. Pure: takes `now` and a seeded
//! source of randomness; the driver moves the frames.

mod answers;
mod estops;
mod journalled;
mod parting;
mod pulls;
mod session;

use std::sync::Arc;
use std::time::Duration;

use protocol::kind::client as kind;
use protocol::wire;
use protocol::{Frame, Refusal, SessionId};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use crate::ahead::Ahead;
use crate::config::ClientConfig;
use crate::events;
use crate::inbox::{Inbox, Output};
use crate::incoming::{CloseReason, Event};
use crate::journal::JournalError;
use crate::message::{Account, Conversation};
use crate::outbox::Outbox;
use crate::requests::{Request, Requests};
use crate::shared::{RequestReply, SendReply, Shared};

use journalled::Desk;
pub(crate) use journalled::Opened;
pub(crate) use session::{Session, is_final};

/// How long an answer may take on a living connection before it is asked for again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Marks travel at most so often.
const MARKS_INTERVAL: Duration = Duration::from_millis(200);

/// The first pause after a retryable refusal that does not name one.
const REST_FIRST: Duration = Duration::from_millis(50);

/// The longest such pause.
const REST_LAST: Duration = Duration::from_secs(2);

/// Memberships are read again at most so often.
const MEMBERSHIPS_INTERVAL: Duration = Duration::from_secs(1);

/// What becomes of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Stay,
    /// Close this connection and make another.
    Reconnect(String),
    /// Close this connection and do not come back.
    End(CloseReason),
}

/// Everything of a client but its sockets.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    /// Present if there is a journal.
    desk: Option<Desk>,
    inbox: Inbox,
    ahead: Ahead,
    outbox: Outbox<SendReply>,
    requests: Requests<RequestReply>,
    session: Option<Session>,
    /// The live gateways, as the server said last, until the driver takes them.
    listed: Option<Vec<String>>,
    /// The history that the marks are of; 0: not known.
    history_generation: u64,
    in_flight_max: usize,
    marks_due: Instant,
    memberships_due: Instant,
    /// Whose turn it is to ask.
    turn: usize,
    random: SmallRng,
}

/// Those who ask the server something. They take turns, so that none starves another of the
/// session's places, however few these are.
const ASKERS: [fn(&mut Engine, Instant) -> Option<Frame>; 4] = [
    Engine::next_letter,
    Engine::next_request,
    Engine::next_pull,
    Engine::next_memberships,
];

impl Engine {
    /// `opened`: a journal and what it keeps.
    pub(crate) fn new(
        config: &ClientConfig,
        shared: Arc<Shared>,
        opened: Option<Opened>,
        seed: u64,
        now: Instant,
    ) -> Self {
        let mut engine = Self {
            shared,
            desk: None,
            inbox: Inbox::new(config.start_from).resuming(opened.iter().flat_map(Opened::marks)),
            ahead: Ahead::default(),
            outbox: Outbox::new(),
            requests: Requests::new(),
            session: None,
            listed: None,
            history_generation: opened.as_ref().map_or(0, Opened::history_generation),
            in_flight_max: config.in_flight_max.max(1),
            marks_due: now,
            memberships_due: now,
            turn: 0,
            random: SmallRng::seed_from_u64(seed),
        };
        if let Some(opened) = opened {
            engine.recover(config, opened, now);
        }
        engine
    }

    pub(crate) fn request(&mut self, request: Request, reply: RequestReply) {
        if let Err((reply, error)) = self.requests.accept(request, reply) {
            reply.settle(Err(error));
        }
    }

    /// A session begins; it must not, with an account that is not the journal's.
    pub(crate) fn connected(
        &mut self,
        welcome: &wire::Welcome,
        now: Instant,
    ) -> Result<Account, JournalError> {
        let account = Account::from_wire(welcome.account.clone().unwrap_or_default());
        self.check_owner(&account)?;
        let session = Session::new(welcome, now);
        self.shared.set_session(Some(SessionId(welcome.session_id)));
        self.shared.set_server_time_ms(welcome.server_time_ms);
        self.outbox
            .connected(self.in_flight_max.min(session.requests_max));
        self.requests.connected();
        self.inbox.connected(account.id);
        self.session = Some(session);
        self.listed = Some(welcome.gateways.clone());
        self.enter_history(welcome, now);
        self.welcomed_stops(welcome);
        self.news(Event::Connected);
        self.memberships(&welcome.memberships);
        if welcome.more_memberships {
            // The list is read from its beginning, in its own order.
            self.read_memberships(None, now);
        } else {
            self.memberships_end();
        }
        self.drain_inbox();
        Ok(account)
    }

    /// The live gateways, if the server has said something of them since this was last asked.
    pub(crate) const fn take_listed(&mut self) -> Option<Vec<String>> {
        self.listed.take()
    }

    /// The connection is gone.
    pub(crate) fn lost(&mut self, reason: String) {
        if self.session.take().is_none() {
            return;
        }
        self.shared.set_session(None);
        self.inbox.connection_lost();
        self.ahead.clear();
        self.outbox.connection_lost();
        for (reply, error) in self.requests.connection_lost() {
            reply.settle(Err(error));
        }
        events::disconnected(&reason);
        self.news(Event::Disconnected { reason });
    }

    /// Whatever time alone brings about.
    pub(crate) fn tick(&mut self, now: Instant) -> Verdict {
        for (settled, error) in self.outbox.tick(now) {
            self.gave_up(settled, error, now);
        }
        for (reply, error) in self.requests.tick(now) {
            reply.settle(Err(error));
        }
        self.tick_journal(now);
        self.expire_answers(now);
        match &mut self.session {
            Some(session) => session.verdict(now),
            None => Verdict::Stay,
        }
    }

    /// When [`Engine::tick`] or [`Engine::next_frame`] has something to do that was not yet due at
    /// `tried`, when both were last called: what was due then waits for an answer, for room on the
    /// connection or for another connection, and these wake by themselves.
    pub(crate) fn next_wake(&self, tried: Instant) -> Option<Instant> {
        let session = self.session.as_ref();
        let marks =
            (session.is_some() && self.shared.marks.lock().has_unsent()).then_some(self.marks_due);
        let of_session = session
            .into_iter()
            .flat_map(|session| session.wakes(self.memberships_due));
        let resting = session.and_then(|_| self.inbox.next_wake(tried));
        [
            self.outbox.next_wake(),
            self.requests.next_wake(tried),
            self.journal_wake(tried),
            resting,
            marks,
        ]
        .into_iter()
        .flatten()
        .chain(of_session)
        .filter(|wake| *wake > tried)
        .min()
    }

    /// The next frame to write; the caller has room for one.
    pub(crate) fn next_frame(&mut self, now: Instant) -> Option<Frame> {
        let session = self.session.as_mut()?;
        if let Some(frame) = session.next_control(now) {
            return Some(frame);
        }
        let may_ask = session.may_ask();
        if let Some(frame) = self.next_confirmation() {
            return Some(frame);
        }
        if self.outbox.is_urgent() && (may_ask || self.is_stop_next()) {
            return self.next_letter(now);
        }
        if let Some(frame) = self.next_marks(now, false) {
            return Some(frame);
        }
        let session = self.session.as_mut()?;
        if !session.may_ask() {
            return None;
        }
        for offset in 0..ASKERS.len() {
            let turn = (self.turn + offset) % ASKERS.len();
            if let Some(frame) = ASKERS.get(turn).and_then(|asker| asker(self, now)) {
                self.turn = turn + 1;
                return Some(frame);
            }
        }
        None
    }

    /// The marks that are due; all that there are when the client is about to end.
    pub(crate) fn next_marks(&mut self, now: Instant, last: bool) -> Option<Frame> {
        if (now < self.marks_due && !last) || self.is_parting() {
            return None;
        }
        let marks = wire::Marks {
            marks: self.shared.marks.lock().take()?,
            history_generation: self.history_generation,
        };
        self.marks_due = now + MARKS_INTERVAL;
        Some(Frame::notice(kind::MARKS, &marks))
    }

    /// The application has taken something, or has marked something.
    pub(crate) fn nudged(&mut self) {
        self.drain_inbox();
    }

    /// Asks for a sign of life; without one the connection is given up soon.
    pub(crate) fn probe(&mut self, now: Instant) {
        if let Some(session) = &mut self.session {
            session.probe(now);
        }
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.outbox.is_empty() && !self.desk.as_ref().is_some_and(Desk::holds_letters)
    }

    /// The client ends, after its sends: everybody who waits is told what is known.
    pub(crate) fn end(&mut self, reason: CloseReason) {
        self.shared.end_sessions();
        self.session = None;
        for (reply, error) in self.requests.close() {
            reply.settle(Err(error));
        }
        self.shared.queue.lock().finish(reason);
        self.shared.arrived.notify_one();
    }

    fn memberships(&mut self, memberships: &[wire::Membership]) {
        for membership in memberships {
            match Conversation::from_wire(membership) {
                Ok(conversation) => {
                    self.part(&conversation);
                    let mut marks = self.shared.marks.lock();
                    let (id, delivered) = (conversation.id, conversation.delivered);
                    marks.server_has(id, delivered, conversation.read);
                    if let Some(done) = self.inbox.resumes(&conversation) {
                        marks.resume(id, done);
                    }
                    drop(marks);
                    self.inbox.membership(&conversation);
                }
                Err(refusal) => events::malformed(kind::LIST_CONVERSATIONS, &refusal),
            }
        }
    }

    /// Moves what the inbox has made of the frames to the application.
    fn drain_inbox(&mut self) {
        let shared = Arc::clone(&self.shared);
        let counters = &shared.counters;
        let mut queue = shared.queue.lock();
        let mut any = false;
        while let Some(output) = self.inbox.next_output() {
            any = true;
            match output {
                Output::Message(message, _) if self.was_told(&message) => {
                    queue.push_skip(message.conversation, message.sequence);
                }
                Output::Message(message, bytes) => {
                    counters.handed_over();
                    queue.push_message(message, bytes);
                }
                Output::Skip(conversation, sequence) => queue.push_skip(conversation, sequence),
                Output::Trimmed {
                    conversation,
                    from,
                    up_to,
                } => queue.push_news(Event::Trimmed {
                    conversation,
                    from,
                    up_to,
                }),
                Output::Joined(conversation, name) => {
                    queue.push_news(Event::Joined { conversation, name });
                }
                Output::Left(conversation) => {
                    self.ahead.forget(conversation);
                    queue.push_news(Event::Left { conversation });
                }
                Output::Parted(conversation, at) => {
                    queue.push_news(Event::Parted { conversation, at });
                }
                Output::MembershipsUnsure => {
                    if let Some(session) = &mut self.session
                        && session.doubt_memberships()
                    {
                        self.inbox.memberships_begin();
                    }
                }
                Output::Duplicate(at, sequence) => counters.duplicate_dropped(at, sequence),
                Output::Gap(at, next, to) => counters.gap_found(at, next, to),
                Output::Repaired(at) => counters.gap_repaired(at),
                Output::Forgotten(at) => counters.push_forgotten(at),
                Output::ContentUnknown(at, sequence) => counters.content_unknown(at, sequence),
            }
        }
        self.inbox.set_room(queue.has_room());
        drop(queue);
        if any {
            shared.arrived.notify_one();
        }
    }

    fn news(&self, event: Event) {
        self.shared.queue.lock().push_news(event);
        self.shared.arrived.notify_one();
    }

    /// When to try again what was refused for now.
    fn rest_until(&mut self, now: Instant, refusal: Option<&Refusal>, attempts: u32) -> Instant {
        let asked = refusal.map_or(0, |refusal| refusal.retry_after_ms);
        if asked > 0 {
            return now + Duration::from_millis(asked.into());
        }
        let doubled = REST_FIRST.saturating_mul(2_u32.saturating_pow(attempts.min(16)));
        now + doubled
            .min(REST_LAST)
            .mul_f64(self.random.random_range(0.5..1.0))
    }
}

#[cfg(test)]
mod tests;
