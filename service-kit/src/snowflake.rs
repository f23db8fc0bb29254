//! Snowflake ids: 64 bits that sort by time and need no coordination. The one file that names the
//! generator crate.

use ferroid::generator::AtomicSnowflakeGenerator;
use ferroid::id::SnowflakeTwitterId;
use ferroid::time::{MonotonicClock, TWITTER_EPOCH};

/// The greatest node number: ten bits.
pub const NODE_MAX: u16 = 1023;

/// Generates ids; one for each process, with a node number that no other process has.
pub struct Snowflakes {
    generator: AtomicSnowflakeGenerator<SnowflakeTwitterId, MonotonicClock>,
}

impl std::fmt::Debug for Snowflakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snowflakes").finish_non_exhaustive()
    }
}

impl Snowflakes {
    /// For this node. Numbers above [`NODE_MAX`] wrap around.
    #[must_use]
    pub fn new(node: u16) -> Self {
        let node = u64::from(node & NODE_MAX);
        Self {
            generator: AtomicSnowflakeGenerator::new(
                node,
                MonotonicClock::with_epoch(TWITTER_EPOCH),
            ),
        }
    }

    /// A new id. Waits for the next millisecond when this one's 4,096 are used up.
    pub fn next_id(&self) -> u64 {
        self.generator
            .next_id(|_| std::thread::yield_now())
            .to_raw()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_and_nodes_never_meet() {
        let (one, two) = (Snowflakes::new(1), Snowflakes::new(2));
        let mut ids: Vec<_> = (0..10_000).map(|_| one.next_id()).collect();
        assert!(ids.is_sorted());
        ids.extend((0..10_000).map(|_| two.next_id()));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 20_000);
    }
}
