//! Emergency stops: what is known of each, and how two words of one stop become one.
//!
//! Pure, and the same for the servers and the SDK. What is known only grows: a stop that is stored
//! stays stored, one that is released stays released. So it does not matter in which order, how
//! often and from whom the words come. Not here: who is told.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{ErrorCode, Refusal};
use crate::id::{AccountId, ClientMessageId, ConversationId};
use crate::limits::{
    ESTOP_REASON_BYTES_MAX, ESTOPS_MAX, ESTOPS_PER_FRAME_MAX, ESTOPS_RELEASED_MAX,
};
use crate::wire;

/// Whether accounts of this kind may stop in an emergency, and release. The gateway decides it before
/// anybody else is asked; the rows of the table of permissions (`im-logic`) say the same.
///
/// # Errors
/// *Forbidden*.
pub fn may_stop(kind: wire::AccountKind) -> Result<(), Refusal> {
    use wire::AccountKind::{Operator, Planner, Robot, Unspecified};
    match kind {
        Operator => Ok(()),
        Planner | Robot | Unspecified => Err(Refusal::new(
            ErrorCode::Forbidden,
            "operators stop in an emergency, and release",
        )),
    }
}

/// The same for seeing which stops are in force.
///
/// # Errors
/// *Forbidden*.
pub fn may_see(kind: wire::AccountKind) -> Result<(), Refusal> {
    use wire::AccountKind::{Operator, Planner, Robot, Unspecified};
    match kind {
        Operator | Planner => Ok(()),
        Robot | Unspecified => Err(Refusal::new(
            ErrorCode::Forbidden,
            "operators and planners see which emergency stops are in force",
        )),
    }
}

/// Whom a stop concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The members of this group.
    Group(ConversationId),
    /// Everybody.
    Fleet,
}

/// The end of a stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who.
    pub by: AccountId,
    /// Why.
    pub reason: String,
}

/// One stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// The client_message_id of the message that it is.
    pub id: ClientMessageId,
    /// The log that has its entry: that of the group, or the sender's own.
    pub conversation: ConversationId,
    /// Whether it concerns everybody.
    pub fleet: bool,
    /// Who stopped; account 0: nobody knows, and it is released.
    pub sender: AccountId,
    /// Why.
    pub reason: String,
    /// When, in milliseconds since the Unix epoch.
    pub sent_at_ms: u64,
    /// It is in the store.
    pub stored: bool,
    /// Its end.
    pub release: Option<Release>,
}

impl Stop {
    /// From the wire.
    ///
    /// # Errors
    /// The field that makes no sense.
    pub fn from_wire(stop: wire::EmergencyStop) -> Result<Self, Refusal> {
        let release = (stop.released_at_ms != 0).then_some(Release {
            at_ms: stop.released_at_ms,
            by: AccountId(stop.released_by),
            reason: stop.release_reason,
        });
        Ok(Self {
            id: ClientMessageId::from_slice(&stop.stop_id)?,
            conversation: ConversationId::from_slice(&stop.conversation_id)?,
            fleet: stop.fleet,
            sender: AccountId(stop.sender),
            reason: stop.reason,
            sent_at_ms: stop.sent_at_ms,
            stored: stop.stored,
            release,
        })
    }

    /// To the wire.
    #[must_use]
    pub fn to_wire(&self) -> wire::EmergencyStop {
        let release = self.release.as_ref();
        wire::EmergencyStop {
            stop_id: self.id.to_bytes(),
            conversation_id: self.conversation.to_bytes(),
            fleet: self.fleet,
            sender: self.sender.0,
            reason: self.reason.clone(),
            sent_at_ms: self.sent_at_ms,
            stored: self.stored,
            released_at_ms: release.map_or(0, |release| release.at_ms),
            released_by: release.map_or(0, |release| release.by.0),
            release_reason: release.map_or_else(String::new, |release| release.reason.clone()),
        }
    }

    /// Whom it concerns.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        if self.fleet {
            Scope::Fleet
        } else {
            Scope::Group(self.conversation)
        }
    }

    /// Whether it is in force.
    #[must_use]
    pub const fn is_in_force(&self) -> bool {
        self.release.is_none()
    }

    /// Its content, as it was sent.
    #[must_use]
    pub fn content(&self) -> wire::Estop {
        wire::Estop {
            fleet: self.fleet,
            reason: self.reason.clone(),
        }
    }
}

/// What a word of a stop changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is in force from now on.
    Latched,
    /// It is not in force from now on; or it never was, and never will be.
    Released,
    /// It is known to be stored from now on.
    Stored,
    /// Nothing.
    Nothing,
    /// It is not taken: as many as there may be are in force.
    Full,
}

/// Every stop that somebody knows of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stops {
    in_force: BTreeMap<ClientMessageId, Stop>,
    released: BTreeMap<ClientMessageId, Stop>,
}

impl Stops {
    /// Somebody says this of a stop.
    pub fn take(&mut self, said: Stop) -> Change {
        let id = said.id;
        if let Some(known) = self.released.get_mut(&id) {
            // The first word of its end counts; what it was may still be news.
            if known.sender.0 == 0 && said.sender.0 != 0 {
                let release = known.release.take();
                *known = Stop { release, ..said };
            }
            return Change::Nothing;
        }
        if said.release.is_some() {
            let known = self.in_force.remove(&id);
            let ended = match known {
                Some(known) => Stop {
                    release: said.release,
                    ..known
                },
                None => said,
            };
            self.released.insert(id, ended);
            while self.released.len() > ESTOPS_RELEASED_MAX {
                self.released.pop_first();
            }
            return Change::Released;
        }
        if let Some(known) = self.in_force.get_mut(&id) {
            if said.stored && !known.stored {
                known.stored = true;
                return Change::Stored;
            }
            return Change::Nothing;
        }
        if self.in_force.len() >= ESTOPS_MAX {
            return Change::Full;
        }
        self.in_force.insert(id, said);
        Change::Latched
    }

    /// The store no longer has it: it was restored from a backup.
    pub fn lost(&mut self, id: ClientMessageId) {
        if let Some(stop) = self.in_force.get_mut(&id) {
            stop.stored = false;
        }
    }

    /// What is known of one.
    #[must_use]
    pub fn get(&self, id: ClientMessageId) -> Option<&Stop> {
        self.in_force.get(&id).or_else(|| self.released.get(&id))
    }

    /// Those in force, the oldest first.
    pub fn in_force(&self) -> impl Iterator<Item = &Stop> {
        self.in_force.values()
    }

    /// Those that are released, as far as they are remembered.
    pub fn released(&self) -> impl Iterator<Item = &Stop> {
        self.released.values()
    }

    /// Whether any is in force.
    #[must_use]
    pub fn is_latched(&self) -> bool {
        !self.in_force.is_empty()
    }
}

/// Checks what somebody gives for a reason.
///
/// # Errors
/// When it is too long for everybody to be told it at once.
pub fn check_reason(reason: &str) -> Result<(), Refusal> {
    if reason.len() <= ESTOP_REASON_BYTES_MAX {
        return Ok(());
    }
    Err(Refusal::bad_request(format!(
        "reason: {} bytes, and at most {ESTOP_REASON_BYTES_MAX} are allowed",
        reason.len()
    )))
}

/// The ids that a release, a confirmation or a hello names.
///
/// # Errors
/// When one makes no sense, or they are too many.
pub fn ids<'a>(
    ids: impl IntoIterator<Item = &'a bytes::Bytes>,
) -> Result<BTreeSet<ClientMessageId>, Refusal> {
    let mut found = BTreeSet::new();
    for id in ids {
        found.insert(ClientMessageId::from_slice(id)?);
        if found.len() > ESTOPS_PER_FRAME_MAX {
            return Err(Refusal::bad_request(format!(
                "stop_ids: at most {ESTOPS_PER_FRAME_MAX}"
            )));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u8) -> ClientMessageId {
        ClientMessageId::new(1_700_000_000_000, [n; 10])
    }

    fn stop(n: u8) -> Stop {
        Stop {
            id: id(n),
            conversation: ConversationId::group(7),
            fleet: false,
            sender: AccountId(3),
            reason: "有人".into(),
            sent_at_ms: 5,
            stored: false,
            release: None,
        }
    }

    fn released(n: u8) -> Stop {
        Stop {
            release: Some(Release {
                at_ms: 9,
                by: AccountId(4),
                reason: String::new(),
            }),
            ..stop(n)
        }
    }

    #[test]
    fn a_stop_comes_back_from_the_wire() {
        for stop in [stop(1), released(2)] {
            assert_eq!(Stop::from_wire(stop.to_wire()), Ok(stop));
        }
    }

    #[test]
    fn it_latches_until_it_is_released_and_a_late_repeat_is_ignored() {
        let mut stops = Stops::default();
        assert_eq!(stops.take(stop(1)), Change::Latched);
        assert_eq!(stops.take(stop(1)), Change::Nothing);
        let committed = Stop {
            stored: true,
            ..stop(1)
        };
        assert_eq!(stops.take(committed.clone()), Change::Stored);
        assert_eq!(stops.take(stop(2)), Change::Latched);
        assert_eq!(stops.take(released(1)), Change::Released);
        assert_eq!(stops.take(committed), Change::Nothing);
        assert_eq!(stops.take(stop(1)), Change::Nothing);
        assert!(stops.is_latched(), "the other one is still in force");
        assert_eq!(stops.take(released(2)), Change::Released);
        assert!(!stops.is_latched());
    }

    #[test]
    fn a_release_that_comes_first_counts_and_learns_later_what_it_ended() {
        let mut stops = Stops::default();
        let unknown = Stop {
            sender: AccountId(0),
            ..released(1)
        };
        assert_eq!(stops.take(unknown), Change::Released);
        assert_eq!(stops.take(stop(1)), Change::Nothing);
        assert!(!stops.is_latched());
        let known = stops.get(id(1)).unwrap();
        assert_eq!((known.sender, known.is_in_force()), (AccountId(3), false));
    }

    #[test]
    fn there_are_never_too_many() {
        let mut stops = Stops::default();
        let of = |n: usize| {
            let at = 1_700_000_000_000 + n as u64;
            Stop {
                id: ClientMessageId::new(at, [1; 10]),
                ..stop(1)
            }
        };
        for n in 0..ESTOPS_MAX {
            assert_eq!(stops.take(of(n)), Change::Latched);
        }
        assert_eq!(stops.take(of(ESTOPS_MAX)), Change::Full);
        for n in 0..=ESTOPS_RELEASED_MAX {
            let release = released(1).release;
            stops.take(Stop { release, ..of(n) });
        }
        assert_eq!(stops.released().count(), ESTOPS_RELEASED_MAX);
        assert!(!stops.is_latched());
    }

    proptest! {
        /// Whatever the order and however often, what is known in the end is the same: a stop is in
        /// force if and only if it was said and its release was not.
        #[test]
        fn order_and_repetition_do_not_matter(
            words in proptest::collection::vec((0_u8..4, any::<bool>(), any::<bool>()), 0..40),
        ) {
            let mut stops = Stops::default();
            for (n, stored, is_release) in &words {
                let said = if *is_release { released(*n) } else { stop(*n) };
                stops.take(Stop { stored: *stored, ..said });
            }
            for n in 0..4 {
                let of = || words.iter().filter(|word| word.0 == n);
                let said = of().next().is_some();
                let ended = of().any(|word| word.2);
                let in_force = stops.in_force().any(|stop| stop.id == id(n));
                prop_assert_eq!(in_force, said && !ended);
                let stored = stops.in_force().any(|stop| stop.id == id(n) && stop.stored);
                prop_assert_eq!(stored, said && !ended && of().any(|word| word.1));
            }
        }
    }
}
