//! Latencies: counted without growing, carried between processes, told by quantiles.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Latencies are kept from a microsecond to a minute, to three digits.
const LATENCY_US_MAX: u64 = 60_000_000;

/// Latencies of one run. Memory does not grow with the run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "Vec<(u64, u64)>", from = "Vec<(u64, u64)>")]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3);
        Self(histogram.expect("the bounds are good"))
    }
}

impl Latencies {
    /// One more, in microseconds; longer than a minute counts as a minute.
    pub fn record(&mut self, us: u64) {
        self.0.saturating_record(us.max(1));
    }

    /// Those of another worker.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("the same bounds");
    }

    /// What this part of them do not exceed, in microseconds; 0 when there are none.
    #[must_use]
    pub fn at(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }
}

/// Values and how often they were, as they travel.
impl From<Latencies> for Vec<(u64, u64)> {
    fn from(latencies: Latencies) -> Self {
        let values = latencies.0.iter_recorded();
        values
            .map(|value| {
                (
                    value.value_iterated_to(),
                    value.count_since_last_iteration(),
                )
            })
            .collect()
    }
}

impl From<Vec<(u64, u64)>> for Latencies {
    fn from(values: Vec<(u64, u64)>) -> Self {
        let mut latencies = Self::default();
        for (us, count) in values {
            latencies.0.saturating_record_n(us.max(1), count);
        }
        latencies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_keep_their_quantiles_and_travel() {
        let mut latencies = Latencies::default();
        (1..=1000).for_each(|us| latencies.record(us));
        latencies.record(u64::MAX);
        let text = serde_json::to_string(&latencies).unwrap();
        let there: Latencies = serde_json::from_str(&text).unwrap();
        for of in [&latencies, &there] {
            assert_eq!(of.count(), 1001);
            assert!((499..=502).contains(&of.at(0.5)), "{}", of.at(0.5));
            assert!((989..=992).contains(&of.at(0.99)), "{}", of.at(0.99));
            assert!(of.at(1.0) >= LATENCY_US_MAX);
        }
        let mut both = latencies;
        both.add(&there);
        assert_eq!(both.count(), 2002);
    }
}
