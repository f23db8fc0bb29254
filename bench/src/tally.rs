//! What one receiver saw of one conversation: what is missing, what came twice, what came late.
//!
//! Independent of the SDK's inbox, whose promise it checks. Pure.

use std::collections::BTreeSet;

/// One receiver's count of one conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// The number before the first that counts.
    start: u64,
    /// The highest number seen.
    highest: u64,
    /// Numbers between `start` and `highest` that have not come.
    missing: BTreeSet<u64>,
    /// How many came, each once.
    pub delivered: u64,
    /// How many came again.
    pub duplicated: u64,
    /// How many came after a higher one.
    pub out_of_order: u64,
}

impl Tally {
    /// Counts what comes after `start`.
    #[must_use]
    pub fn after(start: u64) -> Self {
        Self {
            start,
            highest: start,
            ..Self::default()
        }
    }

    /// One arrived. What lies before the start does not count.
    pub fn arrived(&mut self, sequence: u64) {
        if sequence <= self.start {
            return;
        }
        if sequence > self.highest {
            self.missing.extend(self.highest + 1..sequence);
            self.highest = sequence;
            self.delivered += 1;
        } else if self.missing.remove(&sequence) {
            self.out_of_order += 1;
            self.delivered += 1;
        } else {
            self.duplicated += 1;
        }
    }

    /// How many up to `head` have not come.
    #[must_use]
    pub fn lost(&self, head: u64) -> u64 {
        let below = self
            .missing
            .iter()
            .filter(|missing| **missing <= head)
            .count() as u64;
        below + head.saturating_sub(self.highest)
    }

    /// The highest number seen.
    #[must_use]
    pub const fn highest(&self) -> u64 {
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: &[u64]) -> Tally {
        let mut tally = Tally::after(2);
        numbers.iter().for_each(|n| tally.arrived(*n));
        tally
    }

    #[test]
    fn in_order_and_once_is_clean() {
        let tally = of(&[1, 2, 3, 4, 5]);
        assert_eq!(
            (tally.delivered, tally.duplicated, tally.out_of_order),
            (3, 0, 0)
        );
        assert_eq!((tally.lost(5), tally.lost(7)), (0, 2));
    }

    #[test]
    fn gaps_repeats_and_late_ones_are_told_apart() {
        let tally = of(&[3, 6, 5, 5, 3]);
        assert_eq!(
            (tally.delivered, tally.duplicated, tally.out_of_order),
            (3, 2, 1)
        );
        assert_eq!(tally.lost(6), 1);
    }
}
