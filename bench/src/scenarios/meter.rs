//! What one load process counts in one round of load, and how counts of several come together.

use protocol::Refusal;
use serde::{Deserialize, Serialize};

use crate::report::Latencies;
use crate::scenarios::pacing::Timing;
use crate::scenarios::processes::Progress;
use crate::scenarios::workload::Class;

/// Latencies and counts of one class.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Counted {
    /// Sends that count, by the moment they were due.
    pub sent: u64,
    /// Of these, acknowledged, at any time.
    pub acked: u64,
    /// Of these, refused for good.
    pub refused: u64,
    /// Acks that came while it counts.
    pub acked_within: u64,
    /// Deliveries that came while it counts.
    pub delivered_within: u64,
    /// From the moment a send was due to its ack.
    pub ack: Latencies,
    /// From the moment a send was due to a delivery.
    pub delivery: Latencies,
}

impl Counted {
    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acked += other.acked;
        self.refused += other.refused;
        self.acked_within += other.acked_within;
        self.delivered_within += other.delivered_within;
        self.ack.add(&other.ack);
        self.delivery.add(&other.delivery);
    }
}

/// What was counted in a round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Meter {
    /// The moments of the round.
    pub timing: Timing,
    /// By class.
    pub classes: [Counted; 3],
    /// How late sends were that only the generator held up.
    pub late: Latencies,
    /// Sends that were held up by the server: too many had no answer, or it did not read.
    pub held_up: u64,
    /// Sends that the server could not take at once, and that were repeated under their ids.
    pub repeated: u64,
    /// Entries that came by a pull and not by a push.
    pub pulled: u64,
    /// Acknowledged and not handed to a member.
    pub lost: u64,
    /// Handed over more than once.
    pub duplicated: u64,
    /// Handed over after one with a higher number.
    pub out_of_order: u64,
    /// Everything so far, warm-up and ramp included.
    pub so_far: Progress,
    /// The first refusal, for people.
    pub first_refusal: Option<String>,
}

impl Meter {
    /// Of a round that has these moments.
    #[must_use]
    pub fn new(timing: Timing) -> Self {
        Self {
            timing,
            classes: Default::default(),
            late: Latencies::default(),
            held_up: 0,
            repeated: 0,
            pulled: 0,
            lost: 0,
            duplicated: 0,
            out_of_order: 0,
            so_far: Progress::default(),
            first_refusal: None,
        }
    }

    /// One class.
    #[must_use]
    pub const fn of(&self, class: Class) -> &Counted {
        &self.classes[class as usize]
    }

    const fn of_mut(&mut self, class: Class) -> &mut Counted {
        &mut self.classes[class as usize]
    }

    /// A send that was due at this moment went out.
    pub(super) fn sent(&mut self, class: Class, due_us: u64) {
        self.so_far.sent += 1;
        if self.timing.counts(due_us) {
            self.of_mut(class).sent += 1;
        }
    }

    /// It was this late, and nobody but the generator held it up.
    pub(super) fn late(&mut self, due_us: u64, late_us: u64) {
        if self.timing.counts(due_us) {
            self.late.record(late_us);
        }
    }

    /// A send has its ack.
    pub(super) fn acked(&mut self, class: Class, due_us: u64, now_us: u64) {
        let (counts, within) = (self.timing.counts(due_us), self.timing.counts(now_us));
        self.so_far.acked += 1;
        let of = self.of_mut(class);
        of.acked_within += u64::from(within);
        if counts {
            of.acked += 1;
            of.ack.record(now_us.saturating_sub(due_us));
        }
    }

    /// A send is refused for good.
    pub(super) fn refused(&mut self, class: Class, due_us: u64, why: &Refusal) {
        self.so_far.failed += 1;
        self.first_refusal.get_or_insert_with(|| why.to_string());
        if self.timing.counts(due_us) {
            self.of_mut(class).refused += 1;
        }
    }

    /// A message has come.
    pub(super) fn delivered(&mut self, class: Class, due_us: u64, now_us: u64) {
        let (counts, within) = (self.timing.counts(due_us), self.timing.counts(now_us));
        self.so_far.delivered += 1;
        let of = self.of_mut(class);
        of.delivered_within += u64::from(within);
        if counts {
            of.delivery.record(now_us.saturating_sub(due_us));
        }
    }

    /// What another process counted in the same round.
    pub fn add(&mut self, other: &Self) {
        for (of, more) in self.classes.iter_mut().zip(&other.classes) {
            of.add(more);
        }
        self.late.add(&other.late);
        self.held_up += other.held_up;
        self.repeated += other.repeated;
        self.pulled += other.pulled;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.so_far.add(&other.so_far);
        if self.first_refusal.is_none() {
            self.first_refusal.clone_from(&other.first_refusal);
        }
    }

    /// A figure over all classes that are stored.
    #[must_use]
    pub fn stored(&self, figure: impl Fn(&Counted) -> u64) -> u64 {
        figure(self.of(Class::Chat)) + figure(self.of(Class::Command))
    }

    /// A figure over all classes.
    #[must_use]
    pub fn all(&self, figure: impl Fn(&Counted) -> u64) -> u64 {
        self.classes.iter().map(figure).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter() -> Meter {
        Meter::new(Timing {
            start_us: 0,
            ramp_us: 0,
            warm_up_us: 100,
            measure_us: 100,
        })
    }

    #[test]
    fn what_is_sent_while_it_warms_up_does_not_count() {
        let mut meter = meter();
        for due in [99, 100, 199, 200] {
            meter.sent(Class::Chat, due);
            meter.acked(Class::Chat, due, due + 50);
            meter.delivered(Class::Chat, due, due + 60);
        }
        let chat = meter.of(Class::Chat);
        assert_eq!((chat.sent, chat.acked), (2, 2));
        // Those of 99 and of 100 came while it counted.
        assert_eq!((chat.acked_within, chat.delivered_within), (2, 2));
        assert_eq!(chat.ack.count(), 2);
        assert_eq!(chat.ack.at(1.0), 50);
    }

    #[test]
    fn counts_travel_as_json_and_come_together() {
        let mut one = meter();
        one.sent(Class::Command, 150);
        one.acked(Class::Command, 150, 1_150);
        one.late(150, 7);
        let text = serde_json::to_string(&one).unwrap();
        let mut both: Meter = serde_json::from_str(&text).unwrap();
        both.add(&one);
        assert_eq!(both.stored(|of| of.sent), 2);
        assert_eq!(both.all(|of| of.acked), 2);
        assert_eq!(both.of(Class::Command).ack.count(), 2);
        assert_eq!(both.late.at(0.99), 7);
    }
}
