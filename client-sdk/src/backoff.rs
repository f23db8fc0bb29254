//! How long to wait before the next attempt: full jitter over a doubling bound. Pure: the random
//! number is an argument.

use std::time::Duration;

/// The first bound: what a gateway's restart on the same machine takes.
const FIRST: Duration = Duration::from_millis(100);

/// The last bound: a fleet of ten thousand then asks a thousand times a second.
const LAST: Duration = Duration::from_secs(10);

/// Attempts since the last success.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next wait; `random` is in `0.0..1.0`.
    pub(crate) fn next(&mut self, random: f64) -> Duration {
        let bound = FIRST
            .saturating_mul(2_u32.saturating_pow(self.attempts))
            .min(LAST);
        self.attempts = self.attempts.saturating_add(1);
        bound.mul_f64(random)
    }

    pub(crate) const fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_from_100_ms_to_10_s() {
        let mut backoff = Backoff::default();
        let bounds: Vec<_> = (0..9).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(
            bounds,
            [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
        backoff.reset();
        assert_eq!(backoff.next(0.5).as_millis(), 50);
        assert_eq!(backoff.next(0.0).as_millis(), 0);
    }
}
