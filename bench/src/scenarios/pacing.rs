//! When an open loop's sends are due, whatever the server does: a rate that rises while it ramps up,
//! then stands. A send counts from the moment it was due, so that a server that stalls is not spared
//! those that could not even be sent meanwhile. Pure.

use serde::{Deserialize, Serialize};

/// The moments of one round of load, in microseconds since the Unix epoch and of duration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// When all begin.
    pub start_us: u64,
    /// How long the load rises.
    pub ramp_us: u64,
    /// How long it stands before it counts.
    pub warm_up_us: u64,
    /// How long it counts.
    pub measure_us: u64,
}

impl Timing {
    /// What is sent from here on counts.
    #[must_use]
    pub const fn from_us(&self) -> u64 {
        self.start_us + self.ramp_us + self.warm_up_us
    }

    /// Nothing is sent from here on.
    #[must_use]
    pub const fn until_us(&self) -> u64 {
        self.from_us() + self.measure_us
    }

    /// Whether a moment counts.
    #[must_use]
    pub const fn counts(&self, at_us: u64) -> bool {
        self.from_us() <= at_us && at_us < self.until_us()
    }
}

/// One stream of an open loop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// When it begins to rise.
    pub start_us: u64,
    /// How long it rises, evenly.
    pub ramp_us: u64,
    /// Where it stands then, in sends a second.
    pub per_s: f64,
    /// The part of a gap by which it is shifted, from 0 to 1: streams do not all send at once.
    pub phase: f64,
}

impl Schedule {
    /// When the n-th send is due, counted from 0; `u64::MAX` without a rate.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "microseconds of a run are far below 2^52, and none is negative"
    )]
    pub fn due_us(&self, n: u64) -> u64 {
        if self.per_s <= 0.0 {
            return u64::MAX;
        }
        let per_us = self.per_s / 1e6;
        let (n, ramp) = (n as f64 + self.phase, self.ramp_us as f64);
        // While it rises evenly, n grows with the square of the time.
        let while_it_rises = per_us * ramp / 2.0;
        let after = if n < while_it_rises {
            (2.0 * n * ramp / per_us).sqrt()
        } else {
            n / per_us + ramp / 2.0
        };
        self.start_us.saturating_add(after as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(ramp_us: u64, per_s: f64, phase: f64) -> Schedule {
        Schedule {
            start_us: 1_000,
            ramp_us,
            per_s,
            phase,
        }
    }

    #[test]
    fn a_rate_has_even_gaps() {
        let of = |n| schedule(0, 100.0, 0.5).due_us(n);
        assert_eq!([0, 1, 2].map(of), [6_000, 16_000, 26_000]);
        assert_eq!(schedule(0, 0.0, 0.0).due_us(0), u64::MAX);
    }

    #[test]
    fn while_it_rises_half_as_many_are_sent() {
        let second = schedule(1_000_000, 1_000.0, 0.0);
        let within = |us: u64| (0..).take_while(|n| second.due_us(*n) < 1_000 + us).count();
        assert_eq!(within(1_000_000), 500);
        assert_eq!(within(500_000), 125);
        assert_eq!(within(2_000_000), 1_500);
        assert!((0..3_000).all(|n| second.due_us(n) <= second.due_us(n + 1)));
    }

    #[test]
    fn only_what_stands_counts() {
        let timing = Timing {
            start_us: 100,
            ramp_us: 10,
            warm_up_us: 20,
            measure_us: 30,
        };
        assert_eq!((timing.from_us(), timing.until_us()), (130, 160));
        assert_eq!(
            [129, 130, 159, 160].map(|at| timing.counts(at)),
            [false, true, true, false]
        );
    }
}
