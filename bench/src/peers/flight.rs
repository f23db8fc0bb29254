//! Messages in flight: which have been received by every member of their group, counted over all
//! threads of the load.
//!
//! A delivery costs one addition in memory of the thread's own. Only the last member of a thread to
//! receive a message tells the others, and the last thread tells the publisher.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use futures_util::task::AtomicWaker;

use super::Shape;

/// One publisher, as all threads see it.
#[derive(Debug, Default)]
pub struct Publisher {
    /// Messages published.
    pub sent: AtomicU64,
    /// Of these, how many every member has received.
    pub complete: AtomicU64,
    /// Wakes the publisher.
    pub waker: AtomicWaker,
    /// By message in flight: threads whose members have all received it.
    threads: Box<[AtomicU32]>,
}

/// The publishers of a run. The publisher at place `p` of group `g` has the number
/// `g * publishers + p`.
#[derive(Debug)]
pub struct Flights {
    shape: Shape,
    publishers_each: usize,
    /// How many messages of a publisher are followed: a power of two, or 0.
    window: usize,
    publishers: Vec<Publisher>,
    /// By group: threads with members in it.
    parties: Vec<u32>,
    threads: usize,
}

/// One thread's share of the counting.
#[derive(Debug)]
pub struct Share {
    /// By group: members whose connections this thread has.
    members: Vec<u32>,
    /// By publisher and message in flight: members of this thread that have received it.
    received: Vec<u32>,
}

impl Flights {
    /// Of so many publishers in each group, whose last `window` messages are followed.
    #[must_use]
    pub fn new(shape: Shape, publishers_each: usize, window: usize, threads: usize) -> Self {
        let window = match window {
            0 => 0,
            window => window.next_power_of_two(),
        };
        let publisher = || Publisher {
            threads: (0..window).map(|_| AtomicU32::new(0)).collect(),
            ..Publisher::default()
        };
        let mut flights = Self {
            shape,
            publishers_each,
            window,
            publishers: std::iter::repeat_with(publisher)
                .take(shape.groups * publishers_each)
                .collect(),
            parties: vec![0; shape.groups],
            threads,
        };
        for thread in 0..threads {
            let members = flights.members_of(thread);
            for (parties, members) in flights.parties.iter_mut().zip(members) {
                *parties += u32::from(members > 0);
            }
        }
        flights
    }

    /// The thread that has a client's connection.
    #[must_use]
    pub const fn thread_of(&self, client: usize) -> usize {
        client % self.threads
    }

    fn members_of(&self, thread: usize) -> Vec<u32> {
        let mut members = vec![0; self.shape.groups];
        for client in (0..self.shape.clients()).filter(|c| self.thread_of(*c) == thread) {
            members[self.shape.group_of(client)] += 1;
        }
        members
    }

    /// The counting of one thread.
    #[must_use]
    pub fn share(&self, thread: usize) -> Share {
        Share {
            members: self.members_of(thread),
            received: vec![0; self.publishers.len() * self.window],
        }
    }

    /// The number of a client as a publisher, if it is one.
    #[must_use]
    pub const fn publisher_of(&self, client: usize) -> Option<usize> {
        let place = client % self.shape.members;
        if place < self.publishers_each {
            Some(self.shape.group_of(client) * self.publishers_each + place)
        } else {
            None
        }
    }

    /// A publisher by its number.
    #[must_use]
    pub fn publisher(&self, number: usize) -> &Publisher {
        &self.publishers[number]
    }

    /// All of them.
    #[must_use]
    pub fn publishers(&self) -> &[Publisher] {
        &self.publishers
    }

    /// A member of `share`'s thread has received a publisher's message for the first time.
    pub fn received(&self, share: &mut Share, publisher: usize, message: u64) {
        if self.window == 0 {
            return;
        }
        let mask = self.window as u64 - 1;
        let slot = usize::try_from(message & mask).unwrap_or(0);
        let count = &mut share.received[publisher * self.window + slot];
        *count += 1;
        let group = publisher / self.publishers_each;
        if *count < share.members[group] {
            return;
        }
        *count = 0;
        let publisher = &self.publishers[publisher];
        let threads = publisher.threads[slot].fetch_add(1, Ordering::AcqRel) + 1;
        if threads == self.parties[group] {
            publisher.threads[slot].store(0, Ordering::Release);
            publisher.complete.fetch_add(1, Ordering::Release);
            publisher.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_complete_when_every_member_of_every_thread_has_it() {
        let shape = Shape {
            groups: 2,
            members: 3,
        };
        // Clients 0 to 2 and 3 to 5; thread 0 has 0, 2, 4 and thread 1 has 1, 3, 5.
        let flights = Flights::new(shape, 1, 3, 2);
        let (mut even, mut odd) = (flights.share(0), flights.share(1));
        assert_eq!(flights.publisher_of(3), Some(1));
        assert_eq!(flights.publisher_of(4), None);
        let complete = |number: usize| flights.publisher(number).complete.load(Ordering::Relaxed);
        for message in 1..=9 {
            flights.received(&mut even, 0, message);
            flights.received(&mut odd, 0, message);
            assert_eq!(complete(0), message - 1);
            flights.received(&mut even, 0, message);
            assert_eq!(complete(0), message);
        }
        flights.received(&mut odd, 1, 1);
        flights.received(&mut odd, 1, 2);
        flights.received(&mut odd, 1, 1);
        assert_eq!(complete(1), 0);
        flights.received(&mut even, 1, 1);
        assert_eq!(complete(1), 1);
        flights.received(&mut odd, 1, 2);
        flights.received(&mut even, 1, 2);
        assert_eq!(complete(1), 2);
    }

    #[test]
    fn with_a_rate_nothing_is_followed() {
        let shape = Shape {
            groups: 1,
            members: 1,
        };
        let flights = Flights::new(shape, 1, 0, 1);
        flights.received(&mut flights.share(0), 0, 1);
        assert_eq!(flights.publisher(0).complete.load(Ordering::Relaxed), 0);
    }
}
