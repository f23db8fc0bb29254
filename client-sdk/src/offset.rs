//! How far the server's clock is from this machine's: from the heartbeat, by half of the way there
//! and back. Pure.
//!
//! What is measured is kept against the monotonic clock, so that a wall clock that jumps, or is wrong
//! by an hour, moves nothing.

use std::time::Duration;

use tokio::time::Instant;

/// A sample that took this much longer than the best says nothing.
const WORSE_MAX: Duration = Duration::from_millis(10);

/// How old the best sample may be: clocks drift apart.
const AGE_MAX: Duration = Duration::from_secs(600);

/// The samples of one session.
#[derive(Debug, Default)]
pub(crate) struct Offset {
    asked_at: Option<Instant>,
    best: Option<(Duration, Instant)>,
}

impl Offset {
    /// The server is asked for a sign of life now.
    pub(crate) const fn asked(&mut self, now: Instant) {
        self.asked_at = Some(now);
    }

    /// It has answered, and its clock said this then. What it says now, if that is worth knowing.
    pub(crate) fn answered(&mut self, server_ms: u64, now: Instant) -> Option<u64> {
        let trip = now.saturating_duration_since(self.asked_at.take()?);
        let is_better = self.best.is_none_or(|(best, at)| {
            trip <= best + WORSE_MAX || now.saturating_duration_since(at) > AGE_MAX
        });
        if !is_better {
            return None;
        }
        let best = self.best.map_or(trip, |(best, _)| best.min(trip));
        self.best = Some((best, now));
        let half_ms = u64::try_from(trip.as_millis() / 2).unwrap_or(0);
        Some(server_ms.saturating_add(half_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_way_is_added_and_a_slow_answer_says_nothing() {
        let mut offset = Offset::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(offset.answered(5000, at(0)), None, "nothing was asked");
        offset.asked(at(0));
        assert_eq!(offset.answered(5000, at(40)), Some(5020));
        offset.asked(at(1000));
        assert_eq!(offset.answered(6400, at(1800)), None);
        offset.asked(at(2000));
        assert_eq!(offset.answered(7000, at(2020)), Some(7010));
        // After a while anything is better than what is old.
        let later = 3000 + 600_000;
        offset.asked(at(later));
        assert_eq!(offset.answered(600_000, at(later + 800)), Some(600_400));
    }
}
