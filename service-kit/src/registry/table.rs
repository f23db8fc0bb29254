//! The routes that a process keeps, and which of them have to be written.
//!
//! Pure. It holds what ought to be in Redis, so it is its own queue: of the changes of one session
//! that wait the newest counts, and after a loss everything is written again from it.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// A session, and whom it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RouteKey {
    pub(super) subject: u64,
    pub(super) session: u64,
}

/// What ought to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The route, with its epoch.
    Kept(u64),
    /// No route of this or an older epoch.
    Gone(u64),
}

impl Wanted {
    const fn epoch(self) -> u64 {
        match self {
            Self::Kept(epoch) | Self::Gone(epoch) => epoch,
        }
    }
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// As wanted; the session was there.
    Again,
    /// As wanted; the session was not there.
    New,
    /// A newer epoch holds the session.
    Superseded,
}

/// More than that are refused: far above what one process has of sessions.
pub(super) const ROUTES_MAX: usize = 262_144;

/// The routes of a process.
#[derive(Debug)]
pub(super) struct RouteTable {
    /// How long after a write a route is written again, before its lease ends.
    refresh: Duration,
    slots: HashMap<RouteKey, Slot>,
    /// To be written now; each key once, told by its slot. Bounded by the slots.
    due: VecDeque<RouteKey>,
    /// To be written again later, by rising time. An entry whose time is not its slot's is stale.
    /// Bounded by what is written within the refresh time.
    later: VecDeque<(Instant, RouteKey)>,
}

#[derive(Debug)]
struct Slot {
    wanted: Wanted,
    due: bool,
    again_at: Option<Instant>,
}

impl RouteTable {
    pub(super) fn new(refresh: Duration) -> Self {
        Self {
            refresh,
            slots: HashMap::new(),
            due: VecDeque::new(),
            later: VecDeque::new(),
        }
    }

    /// Wants this of a session from now on, unless a newer epoch is wanted. False if there is no
    /// room for another session.
    #[must_use]
    pub(super) fn want(&mut self, key: RouteKey, wanted: Wanted) -> bool {
        let room = self.slots.len() < ROUTES_MAX || self.slots.contains_key(&key);
        if room {
            let slot = self.slots.entry(key).or_insert(Slot {
                wanted,
                due: false,
                again_at: None,
            });
            if slot.wanted.epoch() > wanted.epoch() {
                return true;
            }
            slot.wanted = wanted;
            if !std::mem::replace(&mut slot.due, true) {
                self.due.push_back(key);
            }
        }
        room
    }

    /// What to write now, at most so many.
    pub(super) fn take(&mut self, now: Instant, max: usize) -> Vec<(RouteKey, Wanted)> {
        while let Some((at, key)) = self.later.front().copied() {
            if at > now {
                break;
            }
            self.later.pop_front();
            if let Some(slot) = self.slots.get_mut(&key)
                && slot.again_at == Some(at)
                && !std::mem::replace(&mut slot.due, true)
            {
                self.due.push_back(key);
            }
        }
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(key) = self.due.pop_front()
        {
            if let Some(slot) = self.slots.get_mut(&key) {
                slot.due = false;
                taken.push((key, slot.wanted));
            }
        }
        taken
    }

    /// What became of what was taken; it may be wanted otherwise by now. True if it had been
    /// written before and was not there: then others may be lost too.
    #[must_use]
    pub(super) fn written(
        &mut self,
        key: RouteKey,
        what: Wanted,
        how: Written,
        now: Instant,
    ) -> bool {
        let Some(slot) = self.slots.get_mut(&key) else {
            return false;
        };
        let unchanged = slot.wanted == what;
        match (how, what) {
            (Written::Again | Written::New, Wanted::Kept(_)) => {
                let at = now + self.refresh;
                let before = slot.again_at.replace(at);
                self.later.push_back((at, key));
                return how == Written::New && before.is_some();
            }
            (Written::Again | Written::New, Wanted::Gone(_)) | (Written::Superseded, _) => {
                if unchanged {
                    self.slots.remove(&key);
                } else {
                    slot.again_at = None;
                }
            }
        }
        false
    }

    /// What was taken is due again.
    pub(super) fn not_written(&mut self, key: RouteKey) {
        if let Some(slot) = self.slots.get_mut(&key)
            && !std::mem::replace(&mut slot.due, true)
        {
            self.due.push_back(key);
        }
    }

    /// Everything is to be written again.
    pub(super) fn lost(&mut self) {
        for (key, slot) in &mut self.slots {
            slot.again_at = None;
            if !std::mem::replace(&mut slot.due, true) {
                self.due.push_back(*key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const REFRESH: Duration = Duration::from_secs(20);

    fn key(session: u64) -> RouteKey {
        let subject = 1;
        RouteKey { subject, session }
    }

    fn put(table: &mut RouteTable, session: u64, epoch: u64) {
        assert!(table.want(key(session), Wanted::Kept(epoch)));
    }

    fn write_all(table: &mut RouteTable, now: Instant) -> Vec<(RouteKey, Wanted)> {
        let taken = table.take(now, 100);
        for (key, wanted) in &taken {
            assert!(!table.written(*key, *wanted, Written::Again, now));
        }
        taken
    }

    #[test]
    fn of_the_changes_that_wait_the_newest_counts() {
        let (mut table, now) = (RouteTable::new(REFRESH), clock::now());
        put(&mut table, 7, 1);
        put(&mut table, 7, 2);
        assert!(table.want(key(7), Wanted::Gone(1)), "an older epoch");
        assert_eq!(write_all(&mut table, now), [(key(7), Wanted::Kept(2))]);
        assert_eq!(table.take(now, 100), []);
    }

    #[test]
    fn a_change_during_the_write_is_written_after_it() {
        let (mut table, now) = (RouteTable::new(REFRESH), clock::now());
        put(&mut table, 7, 1);
        let taken = table.take(now, 100);
        assert!(table.want(key(7), Wanted::Gone(1)));
        assert!(!table.written(key(7), taken[0].1, Written::New, now));
        assert_eq!(write_all(&mut table, now), [(key(7), Wanted::Gone(1))]);
        assert!(table.slots.is_empty());
    }

    #[test]
    fn a_route_is_written_again_before_its_lease_ends_and_once() {
        let (mut table, now) = (RouteTable::new(REFRESH), clock::now());
        put(&mut table, 7, 1);
        write_all(&mut table, now);
        // Changed in between: only the later of the two times counts.
        let change = now + REFRESH / 2;
        put(&mut table, 7, 2);
        write_all(&mut table, change);
        assert_eq!(table.take(now + REFRESH, 100), []);
        let due = [(key(7), Wanted::Kept(2))];
        assert_eq!(write_all(&mut table, change + REFRESH), due);
    }

    #[test]
    fn what_failed_is_tried_again_and_what_was_lost_is_written_again() {
        let (mut table, now) = (RouteTable::new(REFRESH), clock::now());
        put(&mut table, 1, 1);
        put(&mut table, 2, 1);
        let first = table.take(now, 1);
        table.not_written(first[0].0);
        assert_eq!(write_all(&mut table, now).len(), 2);
        table.lost();
        table.lost();
        assert_eq!(write_all(&mut table, now).len(), 2);
    }

    #[test]
    fn a_route_that_is_no_longer_there_tells_of_a_loss_and_once() {
        let (mut table, now) = (RouteTable::new(REFRESH), clock::now());
        put(&mut table, 7, 1);
        write_all(&mut table, now);
        let later = now + REFRESH;
        let taken = table.take(later, 1);
        assert!(table.written(key(7), taken[0].1, Written::New, later));
        table.lost();
        let taken = table.take(later, 1);
        assert!(!table.written(key(7), taken[0].1, Written::New, later));
    }

    #[test]
    fn who_is_superseded_lets_go() {
        let (mut table, now) = (RouteTable::new(REFRESH), clock::now());
        put(&mut table, 7, 1);
        let taken = table.take(now, 1);
        assert!(!table.written(key(7), taken[0].1, Written::Superseded, now));
        table.lost();
        assert_eq!(table.take(now, 100), []);
    }

    #[test]
    fn beyond_the_bound_only_known_sessions_change() {
        let mut table = RouteTable::new(REFRESH);
        for session in 0..ROUTES_MAX as u64 {
            put(&mut table, session, 1);
        }
        assert!(!table.want(key(u64::MAX), Wanted::Kept(1)));
        put(&mut table, 0, 2);
        assert_eq!(table.due.len(), ROUTES_MAX);
    }
}
