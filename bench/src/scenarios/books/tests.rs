//! The books of one member, with a lean client that nobody answers.

use super::sending::WAITING_MAX;
use super::*;
use crate::lean::Lean;

const GROUP: u64 = 7;

fn timing() -> Timing {
    Timing {
        start_us: 1_000,
        ramp_us: 0,
        warm_up_us: 0,
        measure_us: 1_000_000,
    }
}

struct Member {
    lean: Lean,
    books: Books,
    meter: Meter,
    out: Vec<u8>,
}

impl Member {
    fn new(pace: Pace, through: Through) -> Self {
        let mut books = Books::new(0);
        let group = Entered {
            id: ConversationId::group(GROUP),
            index: 0,
            start: 5,
        };
        let stream = Stream {
            from: 0,
            to: crate::scenarios::workload::To::Group(0),
            class: Class::Chat,
            share: 1.0,
        };
        books.enter(&[group], &[(stream, 0, 0.0)]);
        books.begin(timing(), pace, through);
        Self {
            lean: Lean::new(None, crate::lean::Start::Head, [1; 10]),
            books,
            meter: Meter::new(timing()),
            out: Vec::new(),
        }
    }

    fn act(&mut self, now_us: u64) -> u64 {
        let Self {
            lean,
            books,
            meter,
            out,
        } = self;
        books.act(lean, now_us, meter, out)
    }

    fn acked(&mut self, ticket: u64, sequence: u64, now_us: u64) {
        let told = Told::Acked { ticket, sequence };
        self.books.take(told, now_us, &mut self.meter);
    }

    fn came(&mut self, sequence: u64, now_us: u64) {
        let id = ConversationId::group(GROUP);
        let entry = Entry {
            conversation: id.as_bytes(),
            sequence,
            ..Entry::default()
        };
        self.books.take(Told::Entry(entry), now_us, &mut self.meter);
    }

    fn sent(&self) -> u64 {
        self.meter.so_far.sent
    }
}

#[test]
fn a_closed_loop_sends_when_something_is_through() {
    let mut member = Member::new(Pace::Closed { window: 2 }, Through::Acked);
    assert_eq!(member.act(999), 1_000);
    member.act(1_000);
    assert_eq!(member.sent(), 2);
    member.act(1_100);
    assert_eq!(member.sent(), 2);
    member.acked(1, 6, 1_200);
    member.act(1_200);
    assert_eq!(member.sent(), 3);
    assert_eq!(member.meter.of(Class::Chat).ack.at(1.0), 200);
    // After the end nothing more is sent.
    member.acked(2, 7, 1_001_000);
    assert_eq!(member.act(1_001_000), u64::MAX);
    assert_eq!((member.sent(), member.books.waiting()), (3, 1));
}

#[test]
fn a_fan_out_that_is_slow_holds_its_publisher_up() {
    let mut member = Member::new(Pace::Closed { window: 1 }, Through::Returned);
    member.act(1_000);
    member.acked(1, 6, 1_100);
    member.act(1_100);
    assert_eq!(member.sent(), 1);
    member.came(6, 1_200);
    member.act(1_200);
    assert_eq!(member.sent(), 2);
    // The other way round.
    member.came(7, 1_300);
    member.act(1_300);
    assert_eq!(member.sent(), 2);
    member.acked(2, 7, 1_400);
    member.act(1_400);
    assert_eq!(member.sent(), 3);
}

#[test]
fn an_open_loop_counts_from_the_moment_a_send_was_due() {
    let mut member = Member::new(Pace::Open { per_s: 1_000.0 }, Through::Acked);
    assert_eq!(member.act(1_000), 2_000);
    // The generator was away for three milliseconds.
    assert_eq!(member.act(4_500), 5_000);
    assert_eq!(member.sent(), 4);
    // The histogram has three digits.
    assert!((2_500..=2_503).contains(&member.meter.late.at(1.0)));
    member.acked(2, 6, 5_000);
    assert!((3_000..=3_003).contains(&member.meter.of(Class::Chat).ack.at(1.0)));
}

#[test]
fn a_server_that_does_not_answer_is_the_servers_fault() {
    let mut member = Member::new(Pace::Open { per_s: 1_000.0 }, Through::Acked);
    for ms in 1..=WAITING_MAX as u64 {
        member.act(ms * 1_000);
    }
    assert_eq!(member.act(500_000), timing().until_us());
    assert_eq!(member.sent(), WAITING_MAX as u64);
    member.acked(1, 6, 600_000);
    member.act(600_000);
    assert_eq!(member.sent(), WAITING_MAX as u64 + 1);
    assert_eq!(member.meter.held_up, 1);
    assert_eq!(member.meter.late.at(1.0), 1);
}

#[test]
fn what_has_not_come_is_missing_and_the_next_round_begins_behind() {
    let mut member = Member::new(Pace::Closed { window: 1 }, Through::Acked);
    member.came(6, 1_100);
    member.came(8, 1_200);
    member.came(8, 1_200);
    assert!(member.books.lacks(&[8]));
    member.books.close(&[9], &mut member.meter);
    let meter = &member.meter;
    assert_eq!(
        (meter.lost, meter.duplicated, meter.out_of_order),
        (2, 1, 0)
    );
    member.meter = Meter::new(timing());
    member
        .books
        .begin(timing(), Pace::Closed { window: 1 }, Through::Acked);
    member.came(10, 2_000);
    assert!(!member.books.lacks(&[10]));
    member.books.close(&[10], &mut member.meter);
    assert_eq!(member.meter.lost, 0);
}
