//! The attempts by example, and how long a client is away under virtual time.

use std::collections::BTreeSet;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::*;

fn addresses(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("{name}:7443")).collect()
}

/// The next attempts, each failed.
fn next(attempts: &mut Attempts, rng: &mut SmallRng, count: usize) -> Vec<String> {
    let names = (0..count).map(|_| {
        let attempt = attempts.next(rng).unwrap();
        attempts.failed(rng);
        attempt.address.trim_end_matches(":7443").to_owned()
    });
    names.collect()
}

#[test]
fn the_live_come_first_then_the_configured_and_of_each_the_last_one_comes_last() {
    for seed in 0..50 {
        let rng = &mut SmallRng::seed_from_u64(seed);
        let mut attempts = Attempts::new(addresses(&["seed", "a"]));
        assert_eq!(attempts.listed(addresses(&["a", "b", "c"])), 0);
        attempts.connected("b:7443");
        let round = next(&mut attempts, rng, 4);
        assert_eq!(round[2..], ["b", "seed"], "{round:?}");
        let again: BTreeSet<_> = next(&mut attempts, rng, 4).into_iter().collect();
        assert_eq!(again, round.into_iter().collect());

        attempts.connected("seed:7443");
        assert_eq!(next(&mut attempts, rng, 4)[3], "seed");
    }
}

#[test]
fn the_clients_of_one_that_goes_spread_over_the_others() {
    let first = |seed| {
        let rng = &mut SmallRng::seed_from_u64(seed);
        let mut attempts = Attempts::new(addresses(&["a"]));
        attempts.listed(addresses(&["a", "b", "c", "d"]));
        attempts.connected("a:7443");
        attempts.lost(STEADY_AFTER, rng);
        next(&mut attempts, rng, 1).remove(0)
    };
    let firsts: Vec<_> = (0..300).map(first).collect();
    for other in ["b", "c", "d"] {
        let share = firsts.iter().filter(|first| *first == other).count();
        assert!((70..130).contains(&share), "{other} has {share}");
    }
}

#[test]
fn what_makes_no_sense_or_is_too_much_is_passed_over_and_nothing_says_nothing() {
    let rng = &mut SmallRng::seed_from_u64(1);
    let mut attempts = Attempts::new(addresses(&["seed"]));
    let long = format!("{}:1", "g".repeat(GATEWAY_ADDRESS_BYTES_MAX));
    let nonsense = ["b", "b:port", ":1", "", "b c:1", &long].map(str::to_owned);
    assert_eq!(attempts.listed(nonsense.into()), 6);
    assert_eq!(attempts.listed(Vec::new()), 0);
    assert_eq!(next(&mut attempts, rng, 2), ["seed", "seed"]);

    let many: Vec<_> = (0..GATEWAYS_LISTED_MAX + 3)
        .map(|n| format!("g{n}:1"))
        .collect();
    assert_eq!(attempts.listed(many), 3);
    assert_eq!(attempts.live.len(), GATEWAYS_LISTED_MAX);
    // Of a list that comes later nothing is left of this one.
    attempts.listed(addresses(&["b"]));
    assert_eq!(next(&mut attempts, rng, 3), ["b", "seed", "b"]);
}

/// What a gateway is like for so long after its clients were lost.
#[derive(Clone, Copy)]
struct Gateway {
    hangs_until: Duration,
    refuses_until: Duration,
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How long a client of the first gateway is away.
fn away(gateways: &[Gateway], seed: u64) -> Duration {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let configured: Vec<_> = (1..=gateways.len())
        .map(|port| format!("g:{port}"))
        .collect();
    let mut attempts = Attempts::new(configured);
    attempts.connected("g:1");
    let mut now = attempts.lost(STEADY_AFTER, rng);
    loop {
        assert!(now < seconds(120), "it never comes back");
        let attempt = attempts.next(rng).unwrap();
        let port: usize = attempt.address[2..].parse().unwrap();
        let gateway = gateways[port - 1];
        if now < gateway.refuses_until {
            now += attempts.failed(rng);
        } else if gateway.hangs_until <= now + attempt.patience {
            return now.max(gateway.hangs_until);
        } else {
            now += attempt.patience;
            now += attempts.failed(rng);
        }
    }
}

fn longest_away(gateways: &[Gateway]) -> Duration {
    (0..2_000).map(|seed| away(gateways, seed)).max().unwrap()
}

#[test]
fn one_gateway_that_hangs_holds_nobody_up_while_another_is_there() {
    let works = Gateway {
        hangs_until: Duration::ZERO,
        refuses_until: Duration::ZERO,
    };
    let hangs = Gateway {
        hangs_until: seconds(1_000),
        ..works
    };
    let restarts = Gateway {
        refuses_until: seconds(6),
        ..works
    };
    // Its own is gone, one of two others hangs.
    let longest = longest_away(&[restarts, hangs, works]);
    assert!((seconds(3)..seconds(4)).contains(&longest), "{longest:?}");
    // Both are away for six seconds, one hanging and one restarting: 6 s of fault, then at most an
    // attempt with the one that hangs and a wait.
    let pauses = Gateway {
        hangs_until: seconds(6),
        ..works
    };
    let longest = longest_away(&[restarts, pauses]);
    assert!(longest < seconds(10), "{longest:?}");
    let longest = longest_away(&[restarts, hangs]);
    assert!(longest < seconds(15), "{longest:?}");
    let longest = longest_away(&[restarts, restarts]);
    assert!(longest < seconds(10), "{longest:?}");
    // One alone, for comparison, is waited for as long as its attempts and waits may take.
    let alone = longest_away(&[restarts]);
    assert!(alone > longest_away(&[restarts, restarts]), "{alone:?}");
}
