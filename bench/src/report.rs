//! What a load run says: a table for people, one JSON object for machines.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies are kept from a microsecond to a minute, to three digits.
const LATENCY_US_MAX: u64 = 60_000_000;

/// Latencies of one run. Memory does not grow with the run.
#[derive(Debug, Clone)]
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

    /// What this part of them lie at or below, in microseconds.
    #[must_use]
    pub fn at(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }
}

/// The figures of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Sends begun each second.
    pub sent_per_s: f64,
    /// Sends acknowledged as committed each second.
    pub acked_per_s: f64,
    /// Messages handed to receivers each second.
    pub deliveries_per_s: f64,
    /// The median latency in microseconds: of the ack (`send`), of the delivery (`fanout`).
    pub p50_us: u64,
    /// One in a hundred is slower.
    pub p99_us: u64,
    /// One in a thousand is slower.
    pub p999_us: u64,
    /// Acknowledged and not handed to a receiver that was entitled to it.
    pub lost: u64,
    /// Handed over more than once.
    pub duplicated: u64,
    /// Handed over after one with a higher number.
    pub out_of_order: u64,
}

/// What was counted, before it is divided by the time.
#[derive(Debug, Default)]
pub struct Counts {
    /// Sends begun.
    pub sent: u64,
    /// Sends acknowledged.
    pub acked: u64,
    /// Messages handed over.
    pub delivered: u64,
    /// See [`Report::lost`].
    pub lost: u64,
    /// See [`Report::duplicated`].
    pub duplicated: u64,
    /// See [`Report::out_of_order`].
    pub out_of_order: u64,
}

/// How long a run took, from the first send.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// To the last ack.
    pub offered: Duration,
    /// To the last hand-over: what piled up on the way is not counted as fast.
    pub delivered: Duration,
}

impl Report {
    /// From what was counted in this time.
    #[must_use]
    pub fn new(counts: &Counts, latencies: &Latencies, span: Span) -> Self {
        Self {
            sent_per_s: rate(counts.sent, span.offered),
            acked_per_s: rate(counts.acked, span.offered),
            deliveries_per_s: rate(counts.delivered, span.delivered),
            p50_us: latencies.at(0.5),
            p99_us: latencies.at(0.99),
            p999_us: latencies.at(0.999),
            lost: counts.lost,
            duplicated: counts.duplicated,
            out_of_order: counts.out_of_order,
        }
    }
}

/// Each second, to one digit.
#[expect(clippy::cast_precision_loss, reason = "rates are for reading")]
fn rate(count: u64, time: Duration) -> f64 {
    (count as f64 / time.as_secs_f64() * 10.0).round() / 10.0
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sent         {:>12.1} /s", self.sent_per_s)?;
        writeln!(f, "acknowledged {:>12.1} /s", self.acked_per_s)?;
        writeln!(f, "delivered    {:>12.1} /s", self.deliveries_per_s)?;
        writeln!(f, "latency p50  {:>12} us", self.p50_us)?;
        writeln!(f, "        p99  {:>12} us", self.p99_us)?;
        writeln!(f, "        p999 {:>12} us", self.p999_us)?;
        writeln!(f, "lost         {:>12}", self.lost)?;
        writeln!(f, "duplicated   {:>12}", self.duplicated)?;
        write!(f, "out of order {:>12}", self.out_of_order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_keys_that_machines_read() {
        let mut latencies = Latencies::default();
        (1..=1000).for_each(|us| latencies.record(us));
        let counts = Counts {
            sent: 20,
            acked: 10,
            delivered: 40,
            ..Counts::default()
        };
        let span = Span {
            offered: Duration::from_secs(2),
            delivered: Duration::from_secs(4),
        };
        let report = Report::new(&counts, &latencies, span);
        let json = serde_json::to_value(&report).unwrap();
        let mut keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        let expected = "acked_per_s deliveries_per_s duplicated lost out_of_order p50_us p999_us \
                        p99_us sent_per_s";
        assert_eq!(keys.join(" "), expected);
        assert_eq!((report.sent_per_s, report.acked_per_s), (10.0, 5.0));
        assert!((report.deliveries_per_s - 10.0).abs() < 0.01);
        assert!((499..=501).contains(&report.p50_us), "{}", report.p50_us);
        assert!((989..=991).contains(&report.p99_us), "{}", report.p99_us);
    }
}
