//! How late the harness itself is: all clients are one process, and on a busy machine what is due in
//! it waits for its turn. What it is late by is no delay of what it measures.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::record::{Event, Recorder};

/// How often is looked. What is less late than that is not recorded.
const INTERVAL: Duration = Duration::from_millis(200);

/// Looks until it is told that it is over.
pub(super) async fn watch(recorder: Recorder, over: CancellationToken) {
    loop {
        let due = Instant::now() + INTERVAL;
        tokio::select! {
            () = over.cancelled() => return,
            () = tokio::time::sleep_until(due) => {}
        }
        let late = due.elapsed();
        if late >= INTERVAL {
            recorder.record(&Event::Lag {
                at_us: recorder.now_us(),
                late_us: u64::try_from(late.as_micros()).unwrap_or(u64::MAX),
            });
        }
    }
}
