//! The wall clock: the one place that reads it. Pure code takes `now` as an argument instead.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Longer waits are as good as this one, and the sum with the clock stays within its range.
const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// This moment and a wait that the application chose, which may be as long as a `Duration` can be.
pub(crate) fn after(now: Instant, wait: Duration) -> Instant {
    now + wait.min(WAIT_MAX)
}

/// Milliseconds since the Unix epoch, UTC, as this machine's clock has it.
///
/// A machine whose clock stands before 1970 reads 0.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_wait_can_be_added() {
        let now = Instant::now();
        assert!(after(now, Duration::MAX) > now);
        assert_eq!(
            after(now, Duration::from_secs(1)) - now,
            Duration::from_secs(1)
        );
    }
}
