//! What the server pushes of commands and orders, between the connection and whoever waits for it.
//! Bounded: what does not fit is forgotten, and asked for.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use protocol::ClientMessageId;
use protocol::wire::{self, OutcomeCounts};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

/// Pushes of one command that wait for its watch. When full: all that wait are forgotten but the
/// counts, which then do not agree, so that the watch asks.
const PUSHES_MAX: usize = 64;

/// Orders that wait for the robot's own hand. When full: one more is forgotten; the server gives it
/// again.
const ORDERS_MAX: usize = 1024;

/// One push of a command.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) counts: OutcomeCounts,
    pub(crate) outcomes: Vec<wire::TargetOutcome>,
}

/// An order, and until when it may be begun.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) order: wire::Order,
    pub(crate) deadline: Instant,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct News {
    inner: Mutex<Inner>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// By command: how many watch it, and what they have not taken.
    watched: HashMap<ClientMessageId, (usize, Vec<Heard>)>,
    /// Present while somebody takes orders.
    orders: Option<VecDeque<Given>>,
}

impl News {
    pub(crate) fn watch(&self, command: ClientMessageId) {
        self.inner.lock().watched.entry(command).or_default().0 += 1;
    }

    pub(crate) fn unwatch(&self, command: ClientMessageId) {
        let mut inner = self.inner.lock();
        if let Some((watches, _)) = inner.watched.get_mut(&command) {
            *watches -= 1;
            if *watches == 0 {
                inner.watched.remove(&command);
            }
        }
    }

    /// A push of a command.
    pub(crate) fn status(&self, command: ClientMessageId, heard: Heard) {
        let mut inner = self.inner.lock();
        if let Some((_, waiting)) = inner.watched.get_mut(&command) {
            if waiting.len() >= PUSHES_MAX {
                waiting.clear();
            }
            waiting.push(heard);
            drop(inner);
            self.arrived.notify_waiters();
        }
    }

    /// What has come of a command.
    pub(crate) fn take(&self, command: ClientMessageId) -> Vec<Heard> {
        let mut inner = self.inner.lock();
        let waiting = inner.watched.get_mut(&command);
        waiting.map_or_else(Vec::new, |(_, waiting)| std::mem::take(waiting))
    }

    /// Orders are taken from now on, or not any more.
    pub(crate) fn take_orders(&self, on: bool) {
        self.inner.lock().orders = on.then(VecDeque::new);
    }

    /// An order was pushed.
    pub(crate) fn given(&self, given: Given) {
        let mut inner = self.inner.lock();
        if let Some(orders) = &mut inner.orders
            && orders.len() < ORDERS_MAX
        {
            orders.push_back(given);
            drop(inner);
            self.arrived.notify_waiters();
        }
    }

    /// The next order that was pushed.
    pub(crate) fn next_order(&self) -> Option<Given> {
        self.inner.lock().orders.as_mut()?.pop_front()
    }

    /// Ends when something has come since it was enabled.
    pub(crate) fn notified(&self) -> Notified<'_> {
        self.arrived.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_watched_is_kept_and_that_is_bounded() {
        let news = News::default();
        let command = ClientMessageId::new(1, [1; 10]);
        let heard = || Heard {
            counts: OutcomeCounts::default(),
            outcomes: Vec::new(),
        };
        news.status(command, heard());
        assert!(news.take(command).is_empty());
        news.watch(command);
        for _ in 0..=PUSHES_MAX {
            news.status(command, heard());
        }
        assert_eq!(news.take(command).len(), 1, "the rest is asked for");
        news.unwatch(command);
        news.status(command, heard());
        assert!(news.take(command).is_empty());
    }

    #[test]
    fn orders_are_kept_only_for_a_robot_that_takes_them() {
        let news = News::default();
        let given = || Given {
            order: wire::Order::default(),
            deadline: Instant::now(),
        };
        news.given(given());
        assert!(news.next_order().is_none());
        news.take_orders(true);
        (0..=ORDERS_MAX).for_each(|_| news.given(given()));
        let kept = std::iter::from_fn(|| news.next_order()).count();
        assert_eq!(kept, ORDERS_MAX);
    }
}
