//! Emergency stops, as a client holds them: in force until they are released, whatever becomes of
//! the connection.
//!
//! A software stop is not a safety-rated one: it is as fast and as sure as the robot's network and
//! this process. A machine that can hurt somebody has a stop that needs neither.
//!
//! What comes of stops comes out of order with everything else, and before it. The handler is called
//! at once, once for each stop ([`Client::on_estop`](crate::Client::on_estop)); when it has returned,
//! the stop is confirmed. It is told again until the server has the confirmation.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;

use protocol::limits::ESTOPS_PER_FRAME_MAX;
use protocol::wire;
use protocol::{AccountId, ClientMessageId, ConversationId, Refusal};

use protocol::estop::{Change, Stops};
pub use protocol::estop::{Release, Scope, Stop};

/// A robot that is stopping.
pub(crate) type Acting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What it does to stop.
pub(crate) type Handler = Arc<dyn Fn(Stop) -> Acting + Send + Sync>;

/// The server's word that a stop went out, before it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// The stop.
    pub id: ClientMessageId,
    /// Sessions of the same gateway that were told.
    pub sessions: u32,
    /// Routers that take it to the other gateways.
    pub routers: u32,
    /// How long ago the server last heard who is in the group, in milliseconds.
    pub rights_age_ms: u64,
}

/// A stop, and how many robots were told and have confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The stop.
    pub stop: Stop,
    /// Robots that were told.
    pub reached: u32,
    /// Of these, the ones that have confirmed.
    pub confirmed: u32,
}

/// A robot that has not confirmed a stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Which robot.
    pub account: AccountId,
    /// Its name; empty while the tiers that know it are away.
    pub name: String,
    /// It was told; else it is not connected, and is told when it is.
    pub reached: bool,
}

/// Who has not confirmed a stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unconfirmed {
    /// The stop.
    pub status: Status,
    /// By rising account id.
    pub robots: Vec<Missing>,
    /// Robots that are not connected are among them. False: the tiers that know them are away.
    pub all_known: bool,
}

impl Status {
    pub(crate) fn from_wire(status: wire::EstopStatus) -> Result<Self, Refusal> {
        Ok(Self {
            stop: Stop::from_wire(status.stop.unwrap_or_default())?,
            reached: status.reached,
            confirmed: status.confirmed,
        })
    }
}

/// Where the log has the entry of a stop of this scope, and of its release.
pub(crate) fn conversation_of(scope: Scope, own: AccountId) -> ConversationId {
    match scope {
        Scope::Group(group) => group,
        Scope::Fleet => ConversationId::pair(own, own),
    }
}

/// The stops that a client knows of, and how far its application is with each. Pure.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    stops: Stops,
    /// Of those in force.
    phases: BTreeMap<ClientMessageId, Phase>,
    /// The server is to be told that these were acted on.
    to_confirm: BTreeSet<ClientMessageId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// For the handler.
    Waiting,
    Handling,
    Handled,
}

/// What a word of a stop means to the application.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Heard {
    Stop(Stop),
    Released(Stop),
    Nothing,
}

impl Latch {
    /// The server says this of a stop.
    pub(crate) fn hear(&mut self, said: Stop) -> Heard {
        let id = said.id;
        match self.stops.take(said.clone()) {
            Change::Latched => {
                self.phases.insert(id, Phase::Waiting);
                Heard::Stop(said)
            }
            Change::Released => {
                self.to_confirm.remove(&id);
                if self.phases.remove(&id).is_none() {
                    // Over before it was told here: nobody has to know.
                    return Heard::Nothing;
                }
                Heard::Released(self.stops.get(id).cloned().unwrap_or(said))
            }
            Change::Stored | Change::Nothing => {
                if self.phases.get(&id) == Some(&Phase::Handled) {
                    // It is told again: our word was lost.
                    self.to_confirm.insert(id);
                }
                Heard::Nothing
            }
            Change::Full => Heard::Nothing,
        }
    }

    /// Those that the handler has not been given, which it now is.
    pub(crate) fn take_waiting(&mut self) -> Vec<Stop> {
        let mut waiting = Vec::new();
        for (id, phase) in &mut self.phases {
            if *phase == Phase::Waiting {
                *phase = Phase::Handling;
                waiting.extend(self.stops.get(*id).cloned());
            }
        }
        waiting
    }

    /// The handler has returned.
    pub(crate) fn handled(&mut self, id: ClientMessageId) {
        if let Some(phase) = self.phases.get_mut(&id) {
            *phase = Phase::Handled;
            self.to_confirm.insert(id);
        }
    }

    /// What the server is to be told now.
    pub(crate) fn take_confirmations(&mut self) -> Vec<ClientMessageId> {
        let mut ids = Vec::new();
        while ids.len() < ESTOPS_PER_FRAME_MAX
            && let Some(id) = self.to_confirm.pop_first()
        {
            ids.push(id);
        }
        ids
    }

    /// Whether the application knows of it otherwise than by the log.
    pub(crate) fn knows(&self, id: ClientMessageId) -> bool {
        self.stops.get(id).is_some()
    }

    /// Those in force, the oldest first.
    pub(crate) fn in_force(&self) -> Vec<Stop> {
        self.stops.in_force().cloned().collect()
    }

    /// Whether any is in force.
    pub(crate) fn is_latched(&self) -> bool {
        self.stops.is_latched()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stop(n: u8) -> Stop {
        Stop {
            id: ClientMessageId::new(1_700_000_000_000, [n; 10]),
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
    fn it_is_handled_once_and_confirmed_until_the_server_has_it() {
        let mut latch = Latch::default();
        assert_eq!(latch.hear(stop(1)), Heard::Stop(stop(1)));
        assert_eq!(latch.hear(stop(1)), Heard::Nothing);
        assert_eq!(latch.take_waiting(), [stop(1)]);
        assert!(latch.take_waiting().is_empty());
        assert_eq!(latch.hear(stop(1)), Heard::Nothing);
        assert!(latch.take_confirmations().is_empty(), "it is not done yet");
        latch.handled(stop(1).id);
        assert_eq!(latch.take_confirmations(), [stop(1).id]);
        assert!(latch.take_confirmations().is_empty());
        latch.hear(stop(1));
        assert_eq!(
            latch.take_confirmations(),
            [stop(1).id],
            "it was told again"
        );
        assert_eq!(latch.hear(released(1)), Heard::Released(released(1)));
        assert!(!latch.is_latched());
        assert_eq!(latch.hear(stop(1)), Heard::Nothing);
        assert!(latch.take_waiting().is_empty() && latch.take_confirmations().is_empty());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Stop(u8, bool),
        Release(u8),
        Take,
        Handled(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u8..3, any::<bool>()).prop_map(|(n, stored)| Step::Stop(n, stored)),
            (0_u8..3).prop_map(Step::Release),
            Just(Step::Take),
            (0_u8..3).prop_map(Step::Handled),
        ]
    }

    proptest! {
        /// Any order and repetition of stops, repeats, stored copies and releases, with the handler
        /// at any speed: each is shown and handled at most once, never after its release, and the
        /// latch holds exactly what was stopped and not released.
        #[test]
        fn the_latch_is_right_whatever_the_order(
            steps in proptest::collection::vec(step(), 0..60),
        ) {
            let mut latch = Latch::default();
            let (mut stopped, mut ended) = (BTreeSet::new(), BTreeSet::new());
            let (mut shown, mut handled) = (Vec::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Stop(n, stored) => {
                        stopped.insert(n);
                        let heard = latch.hear(Stop { stored, ..stop(n) });
                        if matches!(heard, Heard::Stop(_)) {
                            prop_assert!(!ended.contains(&n) && !shown.contains(&n));
                            shown.push(n);
                        }
                    }
                    Step::Release(n) => {
                        let heard = latch.hear(released(n));
                        let was_shown = shown.contains(&n) && !ended.contains(&n);
                        prop_assert_eq!(matches!(heard, Heard::Released(_)), was_shown);
                        ended.insert(n);
                    }
                    Step::Take => {
                        for stop in latch.take_waiting() {
                            prop_assert!(!handled.contains(&stop.id));
                            handled.push(stop.id);
                        }
                    }
                    Step::Handled(n) => {
                        if handled.contains(&stop(n).id) {
                            latch.handled(stop(n).id);
                            let confirms = latch.take_confirmations();
                            prop_assert_eq!(confirms.contains(&stop(n).id), !ended.contains(&n));
                        }
                    }
                }
                let in_force: BTreeSet<_> = latch.in_force().iter().map(|stop| stop.id).collect();
                let expected = stopped.difference(&ended).map(|n| stop(*n).id).collect();
                prop_assert_eq!(in_force, expected);
            }
        }
    }
}
