//! What belongs to one session alone: correlations, the heartbeat, a go-away, and how far the list
//! of memberships is read.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use prost::Message as _;
use protocol::kind::client as kind;
use protocol::limits::{HEARTBEAT_INTERVAL_MS_DEFAULT, REQUESTS_IN_FLIGHT_MAX};
use protocol::wire;
use protocol::{ConversationId, Frame, Refusal, SequenceNumber};
use tokio::time::Instant;

use super::{MEMBERSHIPS_INTERVAL, Verdict};
use crate::clock;
use crate::incoming::CloseReason;
use crate::offset::Offset;
use crate::outbox::Ticket;
use crate::requests::RequestId;

/// How long something may be asked with nothing at all heard before a sign of life is asked for.
const PROBE_AFTER: Duration = Duration::from_secs(3);

/// How long a sign of life may take that was asked for, before the connection is given up. Whatever
/// the server says is one: a slow link that still brings something is not given up.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How soon after a push the next heartbeat is at the latest: if the one after it was lost, its
/// answer tells. Who hears nothing keeps the interval.
const HEARTBEAT_AFTER_PUSH: Duration = Duration::from_secs(15);

/// Pongs that wait to be written; a peer that asks for more does not wait for them.
const PONGS_MAX: usize = 16;

/// What an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Letter(Ticket, u32),
    Request(RequestId),
    Pull(ConversationId),
    /// A page that the inbox does not want yet: the one after this entry.
    Ahead(ConversationId, SequenceNumber),
    Memberships(Option<ConversationId>),
}

#[derive(Debug)]
struct Awaiting {
    asked: Asked,
    kind: u16,
    due: Instant,
}

/// How far the list of memberships is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memberships {
    Known,
    /// The page after this one is to be asked for, not before the moment.
    Wanted(Option<ConversationId>, Instant),
    InFlight,
}

#[derive(Debug)]
struct Leaving {
    until: Instant,
    reason: String,
    reconnect: bool,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    awaiting: HashMap<u32, Awaiting>,
    due: BTreeSet<(Instant, u32)>,
    last_correlation: u32,
    /// What the server answers at once, of everything that is asked.
    pub(super) requests_max: usize,
    /// What the server has; 0: it does not say.
    pub(super) history_generation: u64,
    interval: Duration,
    heard_at: Instant,
    ping_due: Instant,
    /// Something is asked, and since then nothing was heard.
    waits_since: Option<Instant>,
    /// A sign of life was asked for, and since then nothing was heard.
    probed_at: Option<Instant>,
    pub(super) offset: Offset,
    pongs: Vec<Frame>,
    leaving: Option<Leaving>,
    pub(super) fault: Option<Refusal>,
    pub(super) memberships: Memberships,
}

impl Session {
    pub(super) fn new(welcome: &wire::Welcome, now: Instant) -> Self {
        let interval_ms = match welcome.heartbeat_interval_ms {
            0 => HEARTBEAT_INTERVAL_MS_DEFAULT,
            some => some,
        };
        let interval = Duration::from_millis(interval_ms.into());
        let requests_max = welcome
            .limits
            .as_ref()
            .and_then(|limits| usize::try_from(limits.requests_in_flight_max).ok())
            .filter(|max| *max > 0)
            .unwrap_or(REQUESTS_IN_FLIGHT_MAX);
        Self {
            awaiting: HashMap::new(),
            due: BTreeSet::new(),
            last_correlation: 1,
            requests_max,
            history_generation: welcome.history_generation,
            interval,
            heard_at: now,
            ping_due: now + interval,
            waits_since: None,
            probed_at: None,
            offset: Offset::default(),
            pongs: Vec::new(),
            leaving: None,
            fault: None,
            memberships: Memberships::Known,
        }
    }

    /// Pairs what is asked with its answer to come.
    pub(super) fn ask(&mut self, asked: Asked, kind: u16, (now, due): (Instant, Instant)) -> u32 {
        self.waits_since.get_or_insert(now);
        loop {
            self.last_correlation = self.last_correlation.wrapping_add(1);
            let correlation = self.last_correlation;
            if correlation != 0 && !self.awaiting.contains_key(&correlation) {
                self.due.insert((due, correlation));
                self.awaiting
                    .insert(correlation, Awaiting { asked, kind, due });
                return correlation;
            }
        }
    }

    /// What this is the answer to, and of which kind the question was.
    pub(super) fn answered(&mut self, correlation: u32) -> Option<(Asked, u16)> {
        let awaiting = self.awaiting.remove(&correlation)?;
        self.due.remove(&(awaiting.due, correlation));
        if self.awaiting.is_empty() {
            self.waits_since = None;
        }
        Some((awaiting.asked, awaiting.kind))
    }

    /// One that should have been answered by now.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<(Asked, u16)> {
        let (due, correlation) = self.due.first().copied()?;
        (due <= now).then(|| self.answered(correlation))?
    }

    pub(super) fn may_ask(&self) -> bool {
        self.leaving.is_none() && self.awaiting.len() < self.requests_max
    }

    pub(super) const fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.probed_at = None;
        self.waits_since = (!self.awaiting.is_empty()).then_some(now);
    }

    /// Entries have come, and more may have been lost on the way.
    pub(super) fn pushed(&mut self, now: Instant) {
        self.ping_due = self.ping_due.min(now + HEARTBEAT_AFTER_PUSH);
    }

    /// Asks for a sign of life at once; without one the connection is given up soon.
    pub(super) fn probe(&mut self, now: Instant) {
        if self.probed_at.is_none() {
            self.probed_at = Some(now);
            self.ping_due = self.ping_due.min(now);
        }
    }

    pub(super) fn pinged(&mut self, ping: &wire::Ping, correlation: u32) {
        if self.pongs.len() < PONGS_MAX {
            let pong = wire::Pong {
                ping_sent_at_ms: ping.sent_at_ms,
                answered_at_ms: clock::unix_ms(),
                heads: Vec::new(),
            };
            self.pongs.push(Frame {
                kind: kind::PONG,
                correlation,
                deadline_ms: 0,
                body: pong.encode_to_vec().into(),
            });
        }
    }

    pub(super) fn go_away(&mut self, notice: wire::GoAway, now: Instant) {
        self.leaving = Some(Leaving {
            until: now + Duration::from_millis(notice.grace_ms.into()),
            reason: notice.reason,
            reconnect: notice.reconnect,
        });
    }

    /// A sign of life that is due, either way.
    pub(super) fn next_control(&mut self, now: Instant) -> Option<Frame> {
        if let Some(pong) = self.pongs.pop() {
            return Some(pong);
        }
        if now < self.ping_due {
            return None;
        }
        self.ping_due = now + self.interval;
        self.offset.asked(now);
        let ping = wire::Ping {
            sent_at_ms: clock::unix_ms(),
        };
        // Outside of the pairing: any frame is a sign of life, a pong is just one.
        Some(Frame {
            kind: kind::PING,
            correlation: u32::MAX,
            deadline_ms: 0,
            body: ping.encode_to_vec().into(),
        })
    }

    /// Returns whether the list was held for complete, and is now to be read again.
    pub(super) fn doubt_memberships(&mut self) -> bool {
        let was_known = self.memberships == Memberships::Known;
        if was_known {
            self.memberships = Memberships::Wanted(None, self.heard_at);
        }
        was_known
    }

    pub(super) fn verdict(&mut self, now: Instant) -> Verdict {
        if let Some(refusal) = &self.fault {
            return if is_final(refusal) {
                Verdict::End(CloseReason::Refused(refusal.clone()))
            } else {
                Verdict::Reconnect(refusal.to_string())
            };
        }
        if self.probe_due().is_some_and(|due| due <= now) {
            self.probe(now);
        }
        if now >= self.silent_until() {
            return Verdict::Reconnect("the server is silent".into());
        }
        match &self.leaving {
            Some(leaving) if self.awaiting.is_empty() || leaving.until <= now => {
                if leaving.reconnect {
                    Verdict::Reconnect(leaving.reason.clone())
                } else {
                    Verdict::End(CloseReason::SentAway(leaving.reason.clone()))
                }
            }
            Some(_) | None => Verdict::Stay,
        }
    }

    /// The moments at which something of the session is due.
    pub(super) fn wakes(&self, memberships_due: Instant) -> impl Iterator<Item = Instant> {
        let answer = self.due.first().map(|(due, _)| *due);
        let leaving = self.leaving.as_ref().map(|leaving| leaving.until);
        let memberships = match self.memberships {
            Memberships::Wanted(_, not_before) => Some(not_before.max(memberships_due)),
            Memberships::Known | Memberships::InFlight => None,
        };
        [
            Some(self.silent_until()),
            Some(self.ping_due),
            self.probe_due(),
            answer,
            leaving,
            memberships,
        ]
        .into_iter()
        .flatten()
    }

    /// When memberships may be read again after having been read at this moment.
    pub(super) fn memberships_due(now: Instant) -> Instant {
        now + MEMBERSHIPS_INTERVAL
    }

    /// When a sign of life is asked for, if nothing is heard before.
    fn probe_due(&self) -> Option<Instant> {
        let waits_since = self.waits_since.filter(|_| self.probed_at.is_none())?;
        Some(waits_since + PROBE_AFTER)
    }

    /// Two and a half intervals without a sign of life, or one that was asked for and did not come.
    fn silent_until(&self) -> Instant {
        let by_itself = self.heard_at + self.interval * 5 / 2;
        let asked_for = self.probed_at.map(|at| at + PROBE_TIMEOUT);
        asked_for.map_or(by_itself, |asked_for| asked_for.min(by_itself))
    }
}

/// Whether a refusal of the session itself can not change by trying again.
pub(crate) fn is_final(refusal: &Refusal) -> bool {
    use protocol::ErrorCode as Code;
    match refusal.code {
        Code::UnsupportedVersion
        | Code::Unauthenticated
        | Code::TokenExpired
        | Code::BadRequest
        | Code::Forbidden
        | Code::NoSuchAccount
        | Code::Revoked => true,
        Code::Unspecified
        | Code::BadFrame
        | Code::FrameTooLong
        | Code::UnknownKind
        | Code::WrongState
        | Code::NotAMember
        | Code::NoSuchConversation
        | Code::ContentTooLong
        | Code::Conflict
        | Code::TooOld
        | Code::Expired
        | Code::Unavailable
        | Code::OutcomeUnknown
        | Code::RateLimited
        | Code::LimitReached
        | Code::Internal
        | Code::OtherHistory
        | Code::ContentBlocked
        | Code::NoSuchEntry
        | Code::GroupDissolved
        | Code::LastOwner
        | Code::StaleEpoch
        | Code::NoSuchCommand
        | Code::MediaQuota
        | Code::NoSuchMedia
        | Code::Query
        | Code::EnrolmentRefused
        | Code::AlreadyInitialised
        | Code::NewPasswordNeeded => false,
    }
}
