//! The clocks of a shell. Pure code takes `now` as an argument instead.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since the Unix epoch, UTC.
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
