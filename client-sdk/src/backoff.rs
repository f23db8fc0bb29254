//! How long to wait before the next attempt, and for it: full jitter over a doubling bound. Pure:
//! the random number is an argument.

use std::time::Duration;

/// The first bound: what a gateway's restart on the same machine takes.
const FIRST: Duration = Duration::from_millis(100);

/// The last bound, when there is one gateway: a fleet of ten thousand then asks it two thousand
/// times a second.
const LAST: Duration = Duration::from_secs(10);

/// The last bound, when there are several: that all of them are away is short, and what comes back
/// first takes all that ask.
const LAST_OF_SEVERAL: Duration = Duration::from_secs(4);

/// How long an attempt may take at most: a gateway that welcomes a whole fleet at once is slow.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same at first, when there are several gateways: one that hangs must not hold the client.
const PATIENCE_OF_SEVERAL: Duration = Duration::from_secs(3);

/// Attempts since the last success.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next wait; `random` is in `0.0..1.0`.
    pub(crate) fn next(&mut self, several: bool, random: f64) -> Duration {
        let last = if several { LAST_OF_SEVERAL } else { LAST };
        let bound = doubled(FIRST, self.attempts).min(last);
        self.attempts = self.attempts.saturating_add(1);
        bound.mul_f64(random)
    }

    /// How long the next attempt may take. It doubles, so that gateways that are slow rather than
    /// away are given their time in the end.
    pub(crate) fn patience(&self, several: bool) -> Duration {
        if several {
            // The first wait comes before any attempt has failed.
            doubled(PATIENCE_OF_SEVERAL, self.attempts.saturating_sub(1)).min(PATIENCE)
        } else {
            PATIENCE
        }
    }

    pub(crate) const fn reset(&mut self) {
        self.attempts = 0;
    }
}

fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(several: bool) -> Vec<u128> {
        let mut backoff = Backoff::default();
        (0..9)
            .map(|_| backoff.next(several, 1.0).as_millis())
            .collect()
    }

    #[test]
    fn the_bound_doubles_from_100_ms_to_10_s_or_4_s_among_several() {
        let of_one = [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000];
        assert_eq!(bounds(false), of_one);
        let of_several = [100, 200, 400, 800, 1600, 3200, 4000, 4000, 4000];
        assert_eq!(bounds(true), of_several);
        let mut backoff = Backoff { attempts: 7 };
        backoff.reset();
        assert_eq!(backoff.next(false, 0.5).as_millis(), 50);
        assert_eq!(backoff.next(false, 0.0).as_millis(), 0);
    }

    #[test]
    fn patience_with_one_of_several_grows_from_3_s_to_10_s() {
        let mut backoff = Backoff::default();
        let mut patience = |several| {
            let patience = backoff.patience(several);
            backoff.next(several, 0.0);
            patience.as_secs()
        };
        assert_eq!([(); 5].map(|()| patience(true)), [3, 3, 6, 10, 10]);
        assert_eq!(patience(false), 10);
    }
}
