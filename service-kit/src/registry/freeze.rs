//! Which of a service's processes count as live, while Redis is there, away, and back.
//!
//! Pure. It never says that somebody has gone because Redis has: without a reading the last set
//! stays, and after an outage everybody has one lease to say again that it is there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::live::{Instance, InstanceId, LiveSet};

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    /// Of the data: another one when Redis has lost what was in it.
    pub(super) generation: String,
    /// Those with a lease.
    pub(super) live: Vec<Instance>,
}

/// The live set of one service.
#[derive(Debug)]
pub(super) struct Freeze {
    lease: Duration,
    generation: Option<String>,
    /// A reading has failed since the last good one.
    broken: bool,
    /// Those who have not announced themselves again since the outage; until when they count.
    held: BTreeMap<InstanceId, Instance>,
    held_until: Option<Instant>,
    shown: Vec<Instance>,
}

impl Freeze {
    pub(super) const fn new(lease: Duration) -> Self {
        Self {
            lease,
            generation: None,
            broken: false,
            held: BTreeMap::new(),
            held_until: None,
            shown: Vec::new(),
        }
    }

    /// Redis did not answer.
    pub(super) const fn failed(&mut self) {
        self.broken = true;
    }

    /// Redis has answered: the live set from now on, and whether what was in it has been lost.
    pub(super) fn read(&mut self, reading: Reading, now: Instant) -> (LiveSet, bool) {
        let known = self.generation.as_ref();
        let lost = known.is_some_and(|known| *known != reading.generation);
        self.generation = Some(reading.generation);
        if self.broken || lost {
            self.broken = false;
            let shown = self.shown.drain(..);
            self.held = shown.map(|instance| (instance.id, instance)).collect();
            self.held_until = Some(now + self.lease);
        }
        if self.held_until.is_some_and(|until| now >= until) {
            self.held.clear();
            self.held_until = None;
        }
        for instance in &reading.live {
            self.held.remove(&instance.id);
        }
        self.shown = reading.live;
        self.shown.extend(self.held.values().cloned());
        (LiveSet::new(self.shown.clone()), lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const LEASE: Duration = Duration::from_secs(3);

    fn reading(generation: &str, ids: &[u64]) -> Reading {
        let instance = |id: &u64| Instance {
            id: InstanceId(*id),
            address: format!("127.0.0.1:{id}"),
        };
        Reading {
            generation: generation.into(),
            live: ids.iter().map(instance).collect(),
        }
    }

    fn ids((set, _): (LiveSet, bool)) -> Vec<u64> {
        set.iter().map(|instance| instance.id.0).collect()
    }

    #[test]
    fn while_redis_is_there_a_missing_one_goes_at_once() {
        let (mut freeze, now) = (Freeze::new(LEASE), clock::now());
        assert_eq!(ids(freeze.read(reading("a", &[1, 2]), now)), [1, 2]);
        assert_eq!(ids(freeze.read(reading("a", &[2]), now)), [2]);
    }

    #[test]
    fn after_an_outage_everybody_has_one_lease() {
        let (mut freeze, now) = (Freeze::new(LEASE), clock::now());
        freeze.read(reading("a", &[1, 2, 3]), now);
        freeze.failed();
        assert_eq!(ids(freeze.read(reading("a", &[2]), now)), [1, 2, 3]);
        let later = now + LEASE - Duration::from_millis(1);
        assert_eq!(ids(freeze.read(reading("a", &[1, 2]), later)), [1, 2, 3]);
        // 3 has never come back.
        assert_eq!(ids(freeze.read(reading("a", &[1, 2]), now + LEASE)), [1, 2]);
    }

    #[test]
    fn who_came_back_and_goes_again_goes_at_once() {
        let (mut freeze, now) = (Freeze::new(LEASE), clock::now());
        freeze.read(reading("a", &[1, 2]), now);
        freeze.failed();
        freeze.read(reading("a", &[1, 2]), now);
        assert_eq!(ids(freeze.read(reading("a", &[2]), now)), [2]);
    }

    #[test]
    fn a_second_outage_begins_a_new_lease() {
        let (mut freeze, now) = (Freeze::new(LEASE), clock::now());
        freeze.read(reading("a", &[1, 2]), now);
        freeze.failed();
        freeze.read(reading("a", &[2]), now);
        freeze.failed();
        assert_eq!(ids(freeze.read(reading("a", &[2]), now + LEASE)), [1, 2]);
        let end = now + LEASE + LEASE;
        assert_eq!(ids(freeze.read(reading("a", &[2]), end)), [2]);
    }

    #[test]
    fn lost_data_is_an_outage_even_if_nobody_saw_one() {
        let (mut freeze, now) = (Freeze::new(LEASE), clock::now());
        let (_, lost) = freeze.read(reading("a", &[1, 2]), now);
        assert!(!lost, "the first reading");
        let (set, lost) = freeze.read(reading("b", &[]), now);
        assert!(lost);
        assert_eq!(ids((set, lost)), [1, 2]);
    }
}
