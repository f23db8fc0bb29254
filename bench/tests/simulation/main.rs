//! The pure state machines of all tiers and the SDK, together under virtual time and a seeded lossy
//! network. One seed is one history: it runs on one thread, in the same order each time.
//!
//! Two stores and two routers own the conversations, as far as each host knows; a store and a router
//! are taken for other instances now and then, and what belonged to them moves.
//!
//! A longer run: `cargo nextest run -p bench --test simulation --run-ignored all`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "what a host is never given ends the test"
)]

mod checker;
mod client;
mod gateway;
mod link;
mod live;
mod log;
mod logic;
mod net;
mod router;
mod store;
mod world;

use bytes::{Bytes, BytesMut};
use protocol::limits::FRAME_BYTES_MAX;
use protocol::{Frame, FrameCodec};
use tokio_util::codec::Decoder as _;

use self::world::{Outcome, run};

/// Seeds in every run of the tests.
const SEEDS: u64 = 250;

/// Seeds in the long run.
const SEEDS_LONG: u64 = 6_000;

/// Within so many seeds a tier that is broken on purpose is caught.
const SEEDS_TO_CATCH: u64 = 60;

/// A seed to be looked at: `IM_SEED=7 cargo test -p bench --test simulation one_seed`.
const ONE_SEED: Option<&str> = option_env!("IM_SEED");

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Fault {
    #[default]
    None,
    /// A gateway drops pushes and tells no head.
    DropPush,
    /// A gateway answers heartbeats without heads.
    MutePong,
    /// A gateway repeats pushes out of their order.
    PushAgain,
    /// A store that takes conversations over tells no heads.
    NoTakeover,
    /// The store gives a number twice.
    NumberTwice,
    /// The store shows everybody everything.
    NoVeil,
}

fn decode(frame: Bytes) -> Frame {
    let mut codec = FrameCodec::new(FRAME_BYTES_MAX);
    codec.decode(&mut BytesMut::from(frame)).unwrap().unwrap()
}

/// The outcome of a seed, or what was violated and how to see it again.
fn check(seed: u64) -> Result<Outcome, String> {
    let outcome = run(seed, Fault::None);
    if outcome.violations.is_empty() {
        return Ok(outcome);
    }
    let few: Vec<_> = outcome.violations.iter().take(3).collect();
    Err(format!(
        "seed {seed}: {few:#?}\n\
         again: IM_SEED={seed} cargo test -p bench --test simulation one_seed -- --nocapture\n"
    ))
}

/// On two threads, each with every other seed.
fn check_all(seeds: std::ops::Range<u64>) -> Vec<Outcome> {
    let checked = |first: usize| {
        let mine = seeds.clone().skip(first).step_by(2);
        mine.map(check).collect::<Vec<_>>()
    };
    let (ours, theirs) = std::thread::scope(|scope| {
        let other = scope.spawn(|| checked(1));
        (checked(0), other.join().unwrap())
    });
    let (held, broken): (Vec<_>, Vec<_>) = ours.into_iter().chain(theirs).partition(Result::is_ok);
    let broken: Vec<_> = broken.into_iter().filter_map(Result::err).collect();
    let few = broken.iter().take(5).map(String::as_str);
    assert!(
        broken.is_empty(),
        "{} seeds of {seeds:?}:\n{}",
        broken.len(),
        few.collect::<String>()
    );
    held.into_iter().flatten().collect()
}

#[test]
fn the_contract_holds_whatever_goes_wrong() {
    let outcomes = check_all(0..SEEDS);
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let sums = [
        ("acked", sum(|one| one.counts.acked)),
        ("refused", sum(|one| one.counts.refused)),
        ("unknown", sum(|one| one.counts.unknown)),
        ("not sent", sum(|one| one.counts.not_sent)),
        ("shown", sum(|one| one.counts.shown)),
        ("shown again", sum(|one| one.counts.again)),
        ("pulls", sum(|one| one.counts.pulls)),
        ("crashes", sum(|one| one.crashes)),
        ("broken", sum(|one| one.broken)),
        ("heads", sum(|one| one.counts.heads)),
        ("lists", sum(|one| one.counts.lists)),
        ("moves", sum(|one| one.moves)),
        ("behind", sum(|one| one.behind)),
        ("overflowed", sum(|one| one.overflowed)),
        ("events", sum(|one| one.events)),
    ];
    println!("{sums:?}");
    for (what, sum) in sums {
        assert!(sum > SEEDS / 10, "hardly any {what}: {sum}");
    }
}

#[test]
#[ignore = "the long run"]
fn the_contract_holds_for_many_seeds() {
    check_all(SEEDS..SEEDS_LONG);
}

#[test]
fn one_seed() {
    let seed = ONE_SEED.map_or(1, |seed| seed.parse().unwrap());
    match check(seed) {
        Ok(outcome) => println!("{outcome:#?}"),
        Err(violations) => panic!("{violations}"),
    }
}

#[test]
fn a_seed_runs_the_same_each_time() {
    for seed in [3, 1_000_003] {
        assert_eq!(run(seed, Fault::None), run(seed, Fault::None));
        let other = run(seed + 1, Fault::None);
        assert_ne!(run(seed, Fault::None).trace, other.trace);
    }
}

/// Whether a broken tier is caught, by a violation that says this.
fn is_caught(fault: Fault, says: &str) -> bool {
    is_caught_from(0, fault, says)
}

/// The same, from this seed on.
fn is_caught_from(first: u64, fault: Fault, says: &str) -> bool {
    let seeds = first..first + SEEDS_TO_CATCH;
    let mut violations = seeds.flat_map(|seed| run(seed, fault).violations);
    violations.any(|violation| violation.contains(says))
}

#[test]
fn a_gateway_that_drops_pushes_is_caught() {
    assert!(is_caught(Fault::DropPush, "never saw"));
}

#[test]
fn a_gateway_whose_heartbeats_say_nothing_is_caught() {
    assert!(is_caught(Fault::MutePong, "never saw"));
}

#[test]
fn a_gateway_that_pushes_out_of_order_is_caught() {
    assert!(is_caught(Fault::PushAgain, "was pushed after"));
}

#[test]
fn a_store_that_takes_over_in_silence_is_caught() {
    // Another store has to begin within the moment in which the last entries of a conversation are on
    // their way: it happens in one seed of some hundreds, of which 804 is one.
    assert!(is_caught_from(800, Fault::NoTakeover, "never saw"));
}

#[test]
fn a_store_that_gives_a_number_twice_is_caught() {
    assert!(is_caught(Fault::NumberTwice, "not dense"));
}

#[test]
fn a_store_that_shows_everything_is_caught() {
    assert!(is_caught(Fault::NoVeil, "was shown to"));
}
