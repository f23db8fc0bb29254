//! Which gateway is tried next, for how long, and how long nothing is tried then. Pure: the source
//! of randomness is an argument.
//!
//! The live gateways, as the last list of one of them has them, come first, in random order, so that
//! the clients of one that goes spread over the others; then come the addresses of the
//! configuration. One round tries each of them once. Not here: the connection itself.

use std::time::Duration;

use protocol::limits::{GATEWAY_ADDRESS_BYTES_MAX, GATEWAYS_LISTED_MAX};
use rand::seq::SliceRandom as _;
use rand::{Rng, RngExt as _};

use crate::backoff::Backoff;
use crate::tls;

/// A session that held so long shows that its server works: the next attempt need not wait.
pub(crate) const STEADY_AFTER: Duration = Duration::from_secs(5);

/// All addresses, and how far the attempts are.
#[derive(Debug)]
pub(crate) struct Attempts {
    configured: Vec<String>,
    /// Empty: not known.
    live: Vec<String>,
    /// The rest of this round; the next one is the last.
    untried: Vec<String>,
    /// The last one that was connected to: those of its kind are tried before it.
    last: String,
    backoff: Backoff,
}

/// What is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) address: String,
    /// From the first packet to the welcome.
    pub(crate) patience: Duration,
}

impl Attempts {
    pub(crate) fn new(configured: Vec<String>) -> Self {
        Self {
            configured,
            live: Vec::new(),
            untried: Vec::new(),
            last: String::new(),
            backoff: Backoff::default(),
        }
    }

    /// `None`: there is no address.
    pub(crate) fn next(&mut self, rng: &mut impl Rng) -> Option<Attempt> {
        if self.untried.is_empty() {
            self.begin_round(rng);
        }
        Some(Attempt {
            address: self.untried.pop()?,
            patience: self.backoff.patience(self.are_several()),
        })
    }

    /// It failed: how long to wait before the next.
    pub(crate) fn failed(&mut self, rng: &mut impl Rng) -> Duration {
        if self.untried.is_empty() {
            self.wait(rng)
        } else {
            Duration::ZERO
        }
    }

    pub(crate) fn connected(&mut self, address: &str) {
        address.clone_into(&mut self.last);
        self.untried.clear();
    }

    /// The session is lost, which held so long: how long to wait before the next attempt.
    pub(crate) fn lost(&mut self, held: Duration, rng: &mut impl Rng) -> Duration {
        if held >= STEADY_AFTER {
            self.backoff.reset();
        }
        self.untried.clear();
        self.wait(rng)
    }

    /// A gateway says which are live. Returns how many of its addresses are passed over, because
    /// they make no sense or are too many. A list of nothing says nothing.
    pub(crate) fn listed(&mut self, addresses: Vec<String>) -> usize {
        let told = addresses.len();
        let is_good = |address: &String| {
            address.len() <= GATEWAY_ADDRESS_BYTES_MAX && tls::server_name(address).is_ok()
        };
        let mut live: Vec<_> = addresses.into_iter().filter(is_good).collect();
        live.truncate(GATEWAYS_LISTED_MAX);
        let passed_over = told - live.len();
        if !live.is_empty() {
            self.live = live;
            self.untried.clear();
        }
        passed_over
    }

    fn wait(&mut self, rng: &mut impl Rng) -> Duration {
        let several = self.are_several();
        self.backoff.next(several, rng.random_range(0.0..1.0))
    }

    fn are_several(&self) -> bool {
        let mut all = self.live.iter().chain(&self.configured);
        let first = all.next();
        all.any(|other| Some(other) != first)
    }

    fn begin_round(&mut self, rng: &mut impl Rng) {
        let only_configured = |address: &&String| !self.live.contains(*address);
        let mut round = self.live.clone();
        round.extend(self.configured.iter().filter(only_configured).cloned());
        round.shuffle(rng);
        round.sort_by_key(|address| (!self.live.contains(address), *address == self.last));
        round.reverse();
        self.untried = round;
    }
}

#[cfg(test)]
mod tests;
