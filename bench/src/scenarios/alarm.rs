//! An alarm clock for many sleepers, exact to some hundred microseconds where the runtime's own
//! timers are exact to a millisecond: an open loop is to be on time.
//!
//! For the tasks of one thread, a load process's; a second thread does nothing but wait for the next
//! moment.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::clock;

/// Nobody waits.
const NEVER: u64 = u64::MAX;

/// What the waiting thread is told, and tells.
#[derive(Default)]
struct Timer {
    set_to: Mutex<Set>,
    changed: Condvar,
    elapsed: Notify,
}

#[derive(Default)]
enum Set {
    /// Nothing to wait for.
    #[default]
    Off,
    /// To this moment.
    To(u64),
    /// The clock is gone.
    Over,
}

impl Timer {
    fn set(&self, to: Set) {
        *self.set_to.lock() = to;
        self.changed.notify_one();
    }

    /// The whole life of the waiting thread.
    fn wait(&self) {
        let mut set_to = self.set_to.lock();
        loop {
            match *set_to {
                Set::Over => return,
                Set::Off => self.changed.wait(&mut set_to),
                Set::To(at_us) => {
                    let now_us = clock::unix_us();
                    if at_us > now_us {
                        let wait = Duration::from_micros(at_us - now_us);
                        self.changed.wait_for(&mut set_to, wait);
                    } else {
                        *set_to = Set::Off;
                        self.elapsed.notify_one();
                    }
                }
            }
        }
    }
}

/// Ends the waiting thread with the alarm's task.
struct Waiting(Arc<Timer>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.set(Set::Over);
    }
}

/// Wakes sleepers when they are due.
pub(super) struct Alarm {
    /// Who is due when; entries that are no longer a sleeper's earliest wake it for nothing.
    due: RefCell<BinaryHeap<Reverse<(u64, usize)>>>,
    sleepers: Vec<Sleeper>,
    /// Somebody is due before all others.
    sooner: Notify,
}

struct Sleeper {
    bell: Notify,
    /// Its earliest entry in `due`.
    set_to_us: Cell<u64>,
}

impl Alarm {
    pub(super) fn new(sleepers: usize) -> Self {
        let sleeper = || Sleeper {
            bell: Notify::new(),
            set_to_us: Cell::new(NEVER),
        };
        Self {
            due: RefCell::default(),
            sleepers: (0..sleepers).map(|_| sleeper()).collect(),
            sooner: Notify::new(),
        }
    }

    /// Wakes a sleeper at this moment, if not before.
    pub(super) fn set(&self, sleeper: usize, at_us: u64) {
        let set_to = &self.sleepers[sleeper].set_to_us;
        if at_us >= set_to.get() {
            return;
        }
        set_to.set(at_us);
        let mut due = self.due.borrow_mut();
        let is_first = due.peek().is_none_or(|Reverse((first, _))| at_us < *first);
        due.push(Reverse((at_us, sleeper)));
        if is_first {
            self.sooner.notify_one();
        }
    }

    /// Wakes a sleeper at once.
    pub(super) fn ring_now(&self, sleeper: usize) {
        self.sleepers[sleeper].bell.notify_one();
    }

    /// Ends when the sleeper is due. Cancel-safe.
    pub(super) async fn rings(&self, sleeper: usize) {
        self.sleepers[sleeper].bell.notified().await;
    }

    /// Wakes whoever is due, for ever.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(super) async fn run(&self) -> anyhow::Result<()> {
        let timer = Arc::new(Timer::default());
        let waits = Arc::clone(&timer);
        let thread = std::thread::Builder::new().name("alarm".into());
        thread.spawn(move || waits.wait())?;
        let timer = Waiting(timer);
        loop {
            let Some(next_us) = self.ring(clock::unix_us()) else {
                self.sooner.notified().await;
                continue;
            };
            timer.0.set(Set::To(next_us));
            tokio::select! {
                () = timer.0.elapsed.notified() => {}
                () = self.sooner.notified() => {}
            }
        }
    }

    /// Wakes those who are due, and says when the next is.
    fn ring(&self, now_us: u64) -> Option<u64> {
        let mut due = self.due.borrow_mut();
        while let Some(Reverse((at_us, sleeper))) = due.peek().copied() {
            if at_us > now_us {
                return Some(at_us);
            }
            due.pop();
            let sleeper = &self.sleepers[sleeper];
            if sleeper.set_to_us.get() == at_us {
                sleeper.set_to_us.set(NEVER);
                sleeper.bell.notify_one();
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleepers_are_woken_in_turn() {
        let alarm = Alarm::new(2);
        alarm.set(0, 100);
        alarm.set(1, 50);
        alarm.set(0, 70);
        // Later than what is set already.
        alarm.set(0, 90);
        assert_eq!(alarm.ring(40), Some(50));
        assert_eq!(alarm.ring(50), Some(70));
        assert_eq!(alarm.sleepers[1].set_to_us.get(), NEVER);
        assert_eq!(alarm.ring(70), Some(100));
        assert_eq!(alarm.ring(100), None);
    }

    #[tokio::test]
    async fn it_rings_when_it_is_time() {
        let alarm = Alarm::new(1);
        let begun = clock::unix_us();
        alarm.set(0, begun + 2_000);
        tokio::select! {
            ended = alarm.run() => ended.unwrap(),
            () = alarm.rings(0) => {}
        }
        assert!(clock::unix_us() >= begun + 2_000);
    }
}
