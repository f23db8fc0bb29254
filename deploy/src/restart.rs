//! Whether and when a tier that ended is started again. Pure: exits and `now` in, a decision out.

use std::time::{Duration, Instant};

use service_kit::exit::{EXIT_UNAVAILABLE, EXIT_USAGE};

/// The wait before the first restart: a crash is mended before people notice.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// The longest wait: a tier that cannot start costs little and is back soon after its mend.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// A tier that stayed up this long has recovered: its next crash is its first.
const RECOVERED_AFTER: Duration = Duration::from_secs(10);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Start it again after this long.
    RestartAfter(Duration),
    /// Starting it again would end the same: its configuration is wrong or its port is taken.
    GiveUp,
}

/// The history of one tier's exits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Restarts {
    /// Exits since the tier was last up for [`RECOVERED_AFTER`].
    in_a_row: u32,
}

impl Restarts {
    /// The process that was started at `started` has ended.
    pub fn ended(&mut self, exit: Exit, started: Instant, now: Instant) -> Decision {
        let hopeless = [EXIT_USAGE, EXIT_UNAVAILABLE].map(|code| Exit::Code(code.into()));
        if hopeless.contains(&exit) && self.in_a_row == 0 {
            return Decision::GiveUp;
        }
        if now.saturating_duration_since(started) >= RECOVERED_AFTER {
            self.in_a_row = 0;
        }
        let doublings = self.in_a_row.min(16);
        self.in_a_row = self.in_a_row.saturating_add(1);
        Decision::RestartAfter((BACKOFF_FIRST * 2_u32.pow(doublings)).min(BACKOFF_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASH: Exit = Exit::Signal(9);

    /// Ends after each of `lives` and returns the decisions.
    fn decisions(lives: &[(Exit, Duration)]) -> Vec<Decision> {
        let mut restarts = Restarts::default();
        let start = service_kit::clock::now();
        lives
            .iter()
            .map(|(exit, life)| restarts.ended(*exit, start, start + *life))
            .collect()
    }

    fn after_ms(ms: u64) -> Decision {
        Decision::RestartAfter(Duration::from_millis(ms))
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits = decisions(&[(CRASH, Duration::ZERO); 40]);
        let expected = [100, 200, 400, 800, 1600, 3200, 5000, 5000].map(after_ms);
        assert_eq!(waits[..8], expected);
        assert_eq!(waits[39], after_ms(5000));
    }

    #[test]
    fn a_tier_that_stayed_up_begins_anew() {
        let short = (CRASH, Duration::from_millis(9_999));
        let long = (CRASH, Duration::from_secs(10));
        let waits = decisions(&[short, short, long, short]);
        assert_eq!(waits, [100, 200, 100, 200].map(after_ms));
    }

    #[test]
    fn a_wrong_configuration_is_not_started_again_and_a_clean_end_is() {
        let life = Duration::ZERO;
        assert_eq!(decisions(&[(Exit::Code(64), life)]), [Decision::GiveUp]);
        assert_eq!(decisions(&[(Exit::Code(69), life)]), [Decision::GiveUp]);
        assert_eq!(decisions(&[(Exit::Code(0), life)]), [after_ms(100)]);
        // Its port was its own a moment ago: it will be again.
        assert_eq!(
            decisions(&[(CRASH, life), (Exit::Code(69), life)]),
            [100, 200].map(after_ms)
        );
    }
}
