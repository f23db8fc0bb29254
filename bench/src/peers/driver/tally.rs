//! What one thread of the load counts, in memory of its own.

use std::sync::Arc;

use super::{Shared, Times};
use crate::peers::flight::Share;
use crate::peers::job::{Outcome, Quantiles};
use crate::report::Latencies;
use crate::tally::Tally;
use crate::usage;

/// Where things are in a payload: when it was sent or due (microseconds since the Unix epoch), the
/// number of its publisher, and that of the message; the rest is filling.
const STAMP: std::ops::Range<usize> = 0..8;
const PUBLISHER: std::ops::Range<usize> = 8..12;
const MESSAGE: std::ops::Range<usize> = 12..20;

/// The shortest payload, in bytes.
pub(in crate::peers) const PAYLOAD_BYTES_MIN: usize = MESSAGE.end;

/// What a payload says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub at_us: u64,
    pub publisher: u32,
    pub message: u64,
}

impl Stamp {
    /// Writes it to the start of a payload that is long enough.
    pub(super) fn write(self, payload: &mut [u8]) {
        payload[STAMP].copy_from_slice(&self.at_us.to_be_bytes());
        payload[PUBLISHER].copy_from_slice(&self.publisher.to_be_bytes());
        payload[MESSAGE].copy_from_slice(&self.message.to_be_bytes());
    }

    /// `None`: it is no message of the load.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        Some(Self {
            at_us: u64::from_be_bytes(payload.get(STAMP)?.try_into().ok()?),
            publisher: u32::from_be_bytes(payload.get(PUBLISHER)?.try_into().ok()?),
            message: u64::from_be_bytes(payload.get(MESSAGE)?.try_into().ok()?),
        })
    }
}

/// The counts of one thread, or of all.
#[derive(Debug, Default)]
pub(super) struct Counts {
    thread: usize,
    share: Option<Share>,
    /// By client of the thread and publisher of its group.
    tallies: Vec<Vec<Tally>>,
    /// All that was received, measured or not.
    received: u64,
    sent: u64,
    acked: u64,
    delivered: u64,
    delivery: Latencies,
    ack: Latencies,
    late: Latencies,
    lost: u64,
    duplicated: u64,
    out_of_order: u64,
}

impl Counts {
    pub(super) fn new(thread: usize, shared: &Arc<Shared>) -> Self {
        let shape = &shared.job.shape;
        let mine = (0..shape.clients()).filter(|c| shared.flights.thread_of(*c) == thread);
        let tallies = vec![Tally::after(0); shared.job.load.publishers];
        Self {
            thread,
            share: Some(shared.flights.share(thread)),
            tallies: mine.map(|_| tallies.clone()).collect(),
            ..Self::default()
        }
    }

    /// A message came to the client that is the thread's `client`th.
    pub(super) fn delivered(
        &mut self,
        shared: &Shared,
        client: usize,
        stamp: Stamp,
        now_us: u64,
        times: Times,
    ) {
        let publisher = stamp.publisher as usize;
        let place = publisher % shared.job.load.publishers;
        let tally = &mut self.tallies[client][place];
        let before = tally.delivered;
        tally.arrived(stamp.message);
        if tally.delivered == before {
            return;
        }
        self.received += 1;
        if times.measures(now_us) {
            self.delivered += 1;
            self.delivery.record(now_us.saturating_sub(stamp.at_us));
        }
        if let Some(share) = &mut self.share {
            shared.flights.received(share, publisher, stamp.message);
        }
    }

    /// Tells the other threads how much came so far.
    pub(super) fn tell(&self, shared: &Shared) {
        shared.has_received(self.thread, self.received);
    }

    /// A message was published, so long after it was due.
    pub(super) fn sent(&mut self, late_us: u64, now_us: u64, times: Times) {
        if times.measures(now_us) {
            self.sent += 1;
            self.late.record(late_us);
        }
    }

    /// A message was acknowledged, or stands for its acknowledgement (`counts` is false).
    pub(super) fn acked(&mut self, counts: bool, took_us: u64, now_us: u64, times: Times) {
        if times.measures(now_us) {
            self.acked += u64::from(counts);
            self.ack.record(took_us);
        }
    }

    /// The run is over: what was published and has not come is lost.
    pub(super) fn close(&mut self, shared: &Shared) {
        let publishers = shared.job.load.publishers;
        let mine = (0..shared.job.shape.clients())
            .filter(|client| shared.flights.thread_of(*client) == self.thread);
        for (client, tallies) in mine.zip(&self.tallies) {
            let first = shared.job.shape.group_of(client) * publishers;
            for (place, tally) in tallies.iter().enumerate() {
                let sent = &shared.flights.publisher(first + place).sent;
                let sent = sent.load(std::sync::atomic::Ordering::Acquire);
                self.lost += tally.lost(sent);
                self.duplicated += tally.duplicated;
                self.out_of_order += tally.out_of_order;
            }
        }
    }

    /// Those of another thread.
    pub(super) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acked += other.acked;
        self.delivered += other.delivered;
        self.delivery.add(&other.delivery);
        self.ack.add(&other.ack);
        self.late.add(&other.late);
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
    }

    /// What they come to.
    pub(super) fn outcome(&self, times: Times, used: usage::Used) -> Outcome {
        Outcome {
            measured_us: times.ends_us - times.counts_us,
            sent: self.sent,
            acked: self.acked,
            delivered: self.delivered,
            delivery: quantiles(&self.delivery),
            ack: quantiles(&self.ack),
            late: quantiles(&self.late),
            lost: self.lost,
            duplicated: self.duplicated,
            out_of_order: self.out_of_order,
            server_cpu_us: used.those_us,
            load_cpu_us: used.own_us,
        }
    }
}

impl Times {
    const fn measures(self, now_us: u64) -> bool {
        self.counts_us <= now_us && now_us < self.ends_us
    }
}

fn quantiles(latencies: &Latencies) -> Quantiles {
    Quantiles {
        p50_us: latencies.at(0.5),
        p99_us: latencies.at(0.99),
        p999_us: latencies.at(0.999),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back_and_what_is_too_short_has_none() {
        let stamp = Stamp {
            at_us: 1_700_000_000_000_000,
            publisher: 7,
            message: 300,
        };
        let mut payload = [0; PAYLOAD_BYTES_MIN];
        stamp.write(&mut payload);
        assert_eq!(Stamp::read(&payload), Some(stamp));
        assert_eq!(Stamp::read(&payload[1..]), None);
    }
}
