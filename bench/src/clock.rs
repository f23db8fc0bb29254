//! The clock of the load: microseconds, because that is what is measured.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch. Sender and receiver are on one machine.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub(crate) fn unix_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
