//! What a session came in with, and what has been revoked since.
//!
//! Pure. Not here: whether a credential is good (TLS and logic), and who reads the list
//! ([`crate::gateway`]).

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use protocol::kind::client;
use protocol::wire::internal::CutSessions;
use protocol::{ErrorCode, Frame, Refusal, SessionId};
use service_kit::tls::PeerIdentity;
use tokio::time::Instant;

use crate::session::go_away;

/// Two sessions of one account that began within this time may each not have heard of the other:
/// then the gateways' clocks decide, and the ids, so that one of them stays.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Revocations that are held, some 16 MiB. When full: no more, and counted; logic still refuses.
const REVOCATIONS_MAX: usize = 128 * 1024;

/// A certificate, by what it can be revoked by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certified {
    subject: Bytes,
    serial: Bytes,
}

impl Certified {
    /// Of the other side of a connection, if it presented one.
    #[must_use]
    pub fn of(peer: &PeerIdentity) -> Option<Box<Self>> {
        (!peer.uri.is_empty()).then(|| {
            Box::new(Self {
                subject: [b"n", peer.uri.as_bytes()].concat().into(),
                serial: [b"s", &peer.serial[..]].concat().into(),
            })
        })
    }
}

/// What a session came in with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Its certificate, if it has one.
    pub certified: Option<Box<Certified>>,
    /// Which of the account's passwords its token came from; 0: from none.
    pub password_generation: u64,
    /// Until when the credential is good, in milliseconds since the Unix epoch; 0: not known.
    pub good_until_ms: u64,
}

/// Why a session has to end before its client wants it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// The account has too many.
    TooMany,
    /// The account has one at a time, and another one has come.
    Newer,
    /// Its certificate was revoked.
    Revoked,
    /// Its password was changed.
    OtherPassword,
}

impl Eviction {
    /// The same for people.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TooMany => "too many sessions of this account; the oldest makes room",
            Self::Newer => "a newer session of this account took this one's place",
            Self::Revoked => "the certificate was revoked; enrol again",
            Self::OtherPassword => "the password was changed; log in again",
        }
    }

    /// What the client is told last.
    #[must_use]
    pub fn last_word(self, grace: Duration) -> Frame {
        match self {
            Self::TooMany | Self::Newer => go_away(self.reason(), grace, false),
            Self::Revoked | Self::OtherPassword => {
                let refusal = Refusal::new(ErrorCode::Revoked, self.reason());
                Frame::notice(client::ERROR, &refusal.to_wire())
            }
        }
    }
}

/// A session, as far as it decides whether it has to end.
#[derive(Debug)]
pub struct Standing<'a> {
    /// Which session.
    pub session: SessionId,
    /// What it came in with.
    pub held: &'a Held,
    /// Whether its account has one session at a time, and this is such a one.
    pub is_the_one: bool,
    /// When it began, in milliseconds since the Unix epoch.
    pub began_at_ms: u64,
    /// How long ago.
    pub age: Duration,
}

/// Whether this ends a session.
#[must_use]
pub fn cuts(cut: &CutSessions, standing: &Standing<'_>, revoked: &Revoked) -> Option<Eviction> {
    if revoked.has(standing.held.certified.as_deref()) {
        return Some(Eviction::Revoked);
    }
    if cut.newer_session_id == standing.session.0 {
        return None;
    }
    let generation = standing.held.password_generation;
    if (1..cut.password_generation).contains(&generation) {
        return Some(Eviction::OtherPassword);
    }
    if cut.newer_since_ms == 0 || !standing.is_the_one {
        return None;
    }
    let theirs = (cut.newer_since_ms, cut.newer_session_id);
    let ours = (standing.began_at_ms, standing.session.0);
    (standing.age > AT_ONCE || theirs > ours).then_some(Eviction::Newer)
}

/// What is revoked, as far as it is known here.
#[derive(Debug, Default)]
pub struct Revoked {
    entries: HashSet<Bytes>,
    revision: u64,
    read_at: Option<Instant>,
}

impl Revoked {
    /// Whether this is, or every certificate of its account.
    #[must_use]
    pub fn has(&self, certified: Option<&Certified>) -> bool {
        certified.is_some_and(|its| {
            self.entries.contains(&its.serial) || self.entries.contains(&its.subject)
        })
    }

    /// Whether this one is, by its number. One that is so by the name of its account may be of an
    /// enrolment that is newer than the list.
    #[must_use]
    pub fn has_number(&self, certified: Option<&Certified>) -> bool {
        certified.is_some_and(|its| self.entries.contains(&its.serial))
    }

    /// Logic has let it in: its account has enrolled since.
    pub fn forget_name(&mut self, certified: &Certified) {
        self.entries.remove(&certified.subject);
    }

    /// These are, as is heard before the list is read again. Returns how many had no room.
    pub fn add(&mut self, entries: impl IntoIterator<Item = Bytes>) -> usize {
        let mut left_out = 0;
        for entry in entries {
            if self.entries.len() >= REVOCATIONS_MAX {
                left_out += 1;
            } else {
                self.entries.insert(entry);
            }
        }
        left_out
    }

    /// The list as it was read. Returns how many had no room.
    pub fn replace(&mut self, revision: u64, entries: Vec<Bytes>, now: Instant) -> usize {
        self.entries.clear();
        self.revision = revision;
        self.read_at = Some(now);
        self.add(entries)
    }

    /// The list is still the one that was read.
    pub const fn confirm(&mut self, now: Instant) {
        self.read_at = Some(now);
    }

    /// Which list it is.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// How long ago it was the list; `None`: it was never read.
    #[must_use]
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.read_at.map(|at| now.saturating_duration_since(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certified(name: &str, serial: &[u8]) -> Certified {
        Certified {
            subject: format!("nim://dev/robot/{name}").into_bytes().into(),
            serial: [b"s", serial].concat().into(),
        }
    }

    fn standing(held: &Held) -> Standing<'_> {
        Standing {
            session: SessionId(7),
            held,
            is_the_one: true,
            began_at_ms: 5000,
            age: Duration::from_secs(60),
        }
    }

    #[test]
    fn what_is_revoked_is_known_by_its_number_or_its_name() {
        let mut revoked = Revoked::default();
        assert!(!revoked.has(Some(&certified("a", b"1"))) && !revoked.has(None));
        revoked.add([
            Bytes::from_static(b"s1"),
            Bytes::from_static(b"nim://dev/robot/b"),
        ]);
        assert!(revoked.has(Some(&certified("a", b"1"))));
        assert!(revoked.has(Some(&certified("b", b"2"))));
        assert!(!revoked.has(Some(&certified("a", b"2"))));
        assert!(!revoked.has_number(Some(&certified("b", b"2"))));
        revoked.forget_name(&certified("b", b"2"));
        assert!(!revoked.has(Some(&certified("b", b"2"))));
        let now = Instant::now();
        assert_eq!(revoked.age(now), None);
        revoked.replace(3, vec![Bytes::from_static(b"s2")], now);
        assert!(revoked.has(Some(&certified("a", b"2"))) && revoked.revision() == 3);
        let later = now + Duration::from_secs(2);
        assert_eq!(revoked.age(later), Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_newer_session_ends_the_one_before_and_never_itself() {
        let (held, revoked) = (Held::default(), Revoked::default());
        let newer = |id, since| CutSessions {
            newer_session_id: id,
            newer_since_ms: since,
            ..CutSessions::default()
        };
        let ends = |cut: &CutSessions, of: &Standing<'_>| cuts(cut, of, &revoked);
        // Whatever the clock of its gateway says.
        assert_eq!(ends(&newer(8, 1), &standing(&held)), Some(Eviction::Newer));
        assert_eq!(ends(&newer(7, 9000), &standing(&held)), None);
        let device = Standing {
            is_the_one: false,
            ..standing(&held)
        };
        assert_eq!(ends(&newer(8, 9000), &device), None, "one of several");
        // Two at once: exactly one of them stays.
        let young = Standing {
            age: Duration::from_millis(100),
            ..standing(&held)
        };
        assert_eq!(ends(&newer(8, 5000), &young), Some(Eviction::Newer));
        assert_eq!(ends(&newer(6, 5000), &young), None);
        assert_eq!(ends(&newer(6, 5001), &young), Some(Eviction::Newer));
    }

    #[test]
    fn another_password_ends_the_sessions_of_those_before() {
        let held = |generation| Held {
            password_generation: generation,
            ..Held::default()
        };
        let cut = CutSessions {
            password_generation: 3,
            ..CutSessions::default()
        };
        let revoked = Revoked::default();
        let ends = |generation| cuts(&cut, &standing(&held(generation)), &revoked);
        assert_eq!(ends(2), Some(Eviction::OtherPassword));
        assert_eq!(ends(3), None);
        assert_eq!(ends(0), None, "it came from no password");
    }
}
