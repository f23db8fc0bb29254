//! Snowflake ids: 64 bits that sort by time and need no coordination. The one file that names the
//! generator crate.
//!
//! Not here: who has which node number. One process alone is given it; in a cluster it is leased,
//! see `registry`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ferroid::generator::{AtomicSnowflakeGenerator, Poll};
use ferroid::id::SnowflakeTwitterId;
use ferroid::time::{TWITTER_EPOCH, TimeSource};
use protocol::Refusal;
use thiserror::Error;
use tokio::time::sleep;

use crate::clock;

/// The greatest node number: ten bits.
pub const NODE_MAX: u16 = 1023;

/// A clock that was set back by no more is waited for. Time daemons correct less than that by
/// running slower, and every request has more time than that.
pub const CLOCK_BACK_WAIT_MAX: Duration = Duration::from_millis(500);

/// Why there is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SnowflakeError {
    /// The clock was set back by more than is waited for. Ids come again when it has caught up.
    #[error(
        "the clock of the machine was set back by {behind_ms} ms; ids wait until it catches up"
    )]
    ClockWentBack {
        /// How far it is behind the last id.
        behind_ms: u64,
    },
    /// Another process has taken the node number, or this one has given it back.
    #[error("this process has no node number any more")]
    NodeLost,
}

impl From<SnowflakeError> for Refusal {
    fn from(error: SnowflakeError) -> Self {
        Self::unavailable(error.to_string())
    }
}

/// Generates ids; one for each process, with a node number that no other process has.
pub struct Snowflakes {
    generator: AtomicSnowflakeGenerator<SnowflakeTwitterId, WallClock>,
    last_ms: AtomicU64,
    closed: AtomicBool,
}

impl std::fmt::Debug for Snowflakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snowflakes").finish_non_exhaustive()
    }
}

/// The wall clock, from the generator's epoch on.
struct WallClock(Box<dyn Fn() -> u64 + Send + Sync>);

impl TimeSource<u64> for WallClock {
    fn current_millis(&self) -> u64 {
        (self.0)().saturating_sub(EPOCH_MS)
    }
}

/// The generator's epoch, in milliseconds of Unix.
const EPOCH_MS: u64 = TWITTER_EPOCH.as_secs() * 1000 + TWITTER_EPOCH.subsec_millis() as u64;

impl Snowflakes {
    /// For this node, from now on: it is not known up to when there are ids of the node already.
    /// Numbers above [`NODE_MAX`] wrap around.
    #[must_use]
    pub fn new(node: u16) -> Self {
        Self::after(node, 0, clock::unix_ms)
    }

    /// For this node, with ids of later milliseconds than this one by this clock. Both are in
    /// milliseconds of Unix.
    #[must_use]
    pub fn after(
        node: u16,
        used_ms: u64,
        unix_ms: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let since_epoch = used_ms.saturating_sub(EPOCH_MS);
        let sequence_max = SnowflakeTwitterId::max_sequence();
        let clock = WallClock(Box::new(unix_ms));
        let node = u64::from(node & NODE_MAX);
        Self {
            generator: AtomicSnowflakeGenerator::from_components(
                since_epoch,
                node,
                sequence_max,
                clock,
            ),
            last_ms: AtomicU64::new(used_ms),
            closed: AtomicBool::new(false),
        }
    }

    /// A new id. Waits for the next millisecond when this one's 4,096 are used up, and for a clock
    /// that was set back by at most [`CLOCK_BACK_WAIT_MAX`].
    ///
    /// # Errors
    /// When the clock was set back further, or the node is lost.
    pub async fn next_id(&self) -> Result<u64, SnowflakeError> {
        let mut waited = Duration::ZERO;
        loop {
            if self.closed.load(Ordering::Acquire) {
                return Err(SnowflakeError::NodeLost);
            }
            let behind_ms = match self.generator.poll_id() {
                Poll::Ready { id } => {
                    self.last_ms
                        .fetch_max(id.timestamp() + EPOCH_MS, Ordering::AcqRel);
                    return Ok(id.to_raw());
                }
                // Another thread was faster.
                Poll::Pending { yield_for: 0 } => continue,
                Poll::Pending { yield_for } => yield_for,
            };
            let wait = Duration::from_millis(behind_ms);
            if waited + wait > CLOCK_BACK_WAIT_MAX {
                return Err(SnowflakeError::ClockWentBack { behind_ms });
            }
            sleep(wait).await;
            waited += wait;
        }
    }

    /// The last millisecond of which there may be ids.
    #[must_use]
    pub fn last_ms(&self) -> u64 {
        self.last_ms.load(Ordering::Acquire)
    }

    /// No more ids.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::*;

    /// A clock that runs with the (paused) time of the test and can be set.
    #[derive(Clone)]
    struct SetClock {
        start: Instant,
        offset_ms: Arc<AtomicU64>,
    }

    impl SetClock {
        fn at(unix_ms: u64) -> Self {
            Self {
                start: Instant::now(),
                offset_ms: Arc::new(AtomicU64::new(unix_ms)),
            }
        }

        fn unix_ms(&self) -> u64 {
            let ran = u64::try_from(self.start.elapsed().as_millis()).unwrap();
            self.offset_ms.load(Ordering::Relaxed) + ran
        }

        fn set_back(&self, ms: u64) {
            self.offset_ms.fetch_sub(ms, Ordering::Relaxed);
        }

        fn snowflakes(&self, used_ms: u64) -> Snowflakes {
            let clock = self.clone();
            Snowflakes::after(5, used_ms, move || clock.unix_ms())
        }
    }

    const NOW_MS: u64 = 1_800_000_000_000;

    #[tokio::test]
    async fn ids_rise_and_nodes_never_meet() {
        let mut ids = Vec::new();
        for snowflakes in [Snowflakes::new(1), Snowflakes::new(2)] {
            let from = ids.len();
            for _ in 0..10_000 {
                ids.push(snowflakes.next_id().await.unwrap());
            }
            assert!(ids[from..].is_sorted());
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 20_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_steps_back_a_little_is_waited_for() {
        let clock = SetClock::at(NOW_MS);
        let snowflakes = clock.snowflakes(0);
        let before = snowflakes.next_id().await.unwrap();
        let from = Instant::now();
        clock.set_back(400);
        let after = snowflakes.next_id().await.unwrap();
        assert!(after > before);
        assert!(from.elapsed() >= Duration::from_millis(400));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_steps_back_far_is_an_error_until_it_has_caught_up() {
        let clock = SetClock::at(NOW_MS);
        let snowflakes = clock.snowflakes(0);
        let before = snowflakes.next_id().await.unwrap();
        clock.set_back(10_000);
        let behind_ms = 10_000;
        let error = snowflakes.next_id().await.unwrap_err();
        assert_eq!(error, SnowflakeError::ClockWentBack { behind_ms });
        assert_eq!(Refusal::from(error).code, protocol::ErrorCode::Unavailable);
        tokio::time::advance(Duration::from_millis(10_000)).await;
        assert!(snowflakes.next_id().await.unwrap() > before);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_holder_begins_after_the_last_one_whatever_its_clock_says() {
        let clock = SetClock::at(NOW_MS);
        let first = clock.snowflakes(0);
        let last = first.next_id().await.unwrap();
        assert_eq!(first.last_ms(), NOW_MS);
        clock.set_back(300);
        let second = clock.snowflakes(first.last_ms());
        assert!(second.next_id().await.unwrap() > last);
    }

    #[tokio::test]
    async fn who_has_lost_the_node_generates_nothing() {
        let snowflakes = Snowflakes::new(1);
        snowflakes.next_id().await.unwrap();
        snowflakes.close();
        assert_eq!(snowflakes.next_id().await, Err(SnowflakeError::NodeLost));
    }
}
