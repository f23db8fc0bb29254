//! The plan of the faults: which strikes what and when, drawn from the seed. Pure.

use std::fmt;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;

use super::dice;

/// Load is offered so long before the first fault.
const FIRST_AFTER: Duration = Duration::from_millis(1_500);

/// The shortest and the longest time between two faults. In a short run the longest is shorter, so
/// that every fault strikes everything that it can.
const GAP_MS: (u64, u64) = (500, 5_000);

/// One fault in so many strikes together with the one before it.
const TOGETHER_ONE_IN: u32 = 5;

/// How long a fault lasts that lasts: some shorter than what the tiers and clients wait for each
/// other, some longer.
const LASTS_MS: (u64, u64) = (100, 6_000);

/// How long a killed server is away before it is started again.
const AWAY_MS: (u64, u64) = (0, 3_000);

/// What a slow link adds to the way of every byte.
const LAG_MS: (u64, u64) = (10, 400);

/// What a narrow link passes in a second.
const NARROW_BYTES: (u32, u32) = (16 * 1024, 256 * 1024);

/// What can be struck.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// An instance as the run file calls it, a server, or the disk.
    pub name: String,
    /// What of it.
    pub part: Part,
}

/// What of a target is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A process of ours, which its supervisor starts again.
    Process,
    /// The way to an instance, for all who connect to it.
    Link,
    /// The way of clients to a gateway that is not the only one.
    ClientLink,
    /// Where the store keeps history.
    Disk,
    /// A server that is not ours: a node of the database, or Redis.
    Server,
}

impl Part {
    /// What can be done to it.
    #[must_use]
    pub const fn kinds(self) -> &'static [Kind] {
        use Kind::{Cut, Delay, Fill, Kill, Move, Narrow, Pause, Restart, Stall};
        match self {
            Self::Process => &[Kill, Pause],
            Self::Link => &[Cut, Stall, Delay, Narrow],
            Self::ClientLink => &[Cut, Stall, Delay, Narrow, Move],
            Self::Disk => &[Fill],
            Self::Server => &[Restart, Pause],
        }
    }
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL; its supervisor starts another.
    Kill,
    /// SIGKILL; it is started again on the same data after a while.
    Restart,
    /// SIGSTOP, and SIGCONT after a while.
    Pause,
    /// All connections are reset, and new ones refused.
    Cut,
    /// Connections hold, and nothing passes: in one direction or both.
    Stall,
    /// Every byte is late.
    Delay,
    /// Few bytes pass in a second.
    Narrow,
    /// Every second connection is reset: its client goes on at another gateway.
    Move,
    /// There is no room on it.
    Fill,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Kill,
        Self::Restart,
        Self::Pause,
        Self::Cut,
        Self::Stall,
        Self::Delay,
        Self::Narrow,
        Self::Move,
        Self::Fill,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Cut => "cut",
            Self::Stall => "stall",
            Self::Delay => "delay",
            Self::Narrow => "narrow",
            Self::Move => "move",
            Self::Fill => "fill",
        })
    }
}

/// How bad it is; what a kind has no use for is drawn and left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// How long it lasts, or how long a server is away.
    pub lasts: Duration,
    /// Whether what goes to the instance, and what comes from it, is held up: one of them or both.
    pub stalls: (bool, bool),
    /// How late bytes are, and by how much that varies.
    pub lag: (Duration, Duration),
    /// What passes in a second.
    pub bytes_per_second: u32,
    /// Whether what keeps nothing that cannot be made again, which is Redis, comes back empty.
    pub forgets: bool,
}

/// One fault to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strike {
    /// When, from the start of the load.
    pub after: Duration,
    /// Where.
    pub target: Target,
    /// What.
    pub kind: Kind,
    /// How.
    pub measure: Measure,
}

/// The faults of a run. Each kind strikes each target that it can once before any strikes it again.
#[must_use]
pub fn plan(seed: u64, targets: &[Target], time: Duration) -> Vec<Strike> {
    let mut random = dice(seed, 2);
    let mut strikes = Vec::new();
    let mut deck = Vec::new();
    let gap_max = longest_gap(targets, time);
    let mut after = FIRST_AFTER;
    while after < time {
        if deck.is_empty() {
            let all = targets.iter();
            deck.extend(
                all.flat_map(|target| target.part.kinds().iter().map(move |k| (target, *k))),
            );
            deck.shuffle(&mut random);
        }
        let Some((target, kind)) = deck.pop() else {
            break;
        };
        let mut measure = draw(kind, &mut random);
        // It is over when the load is, so that the end is that of a whole cluster.
        measure.lasts = measure.lasts.min(time - after);
        strikes.push(Strike {
            after,
            target: target.clone(),
            kind,
            measure,
        });
        let gap = random.random_range(GAP_MS.0.min(gap_max)..=gap_max);
        if !random.random_ratio(1, TOGETHER_ONE_IN) {
            after += Duration::from_millis(gap);
        }
    }
    strikes
}

/// So that the time is enough for one round of everything.
fn longest_gap(targets: &[Target], time: Duration) -> u64 {
    let strikes: usize = targets.iter().map(|target| target.part.kinds().len()).sum();
    let time = time.saturating_sub(FIRST_AFTER).as_millis();
    // A gap is half of the longest on average.
    let fits = time.checked_div(strikes as u128).unwrap_or_default();
    u64::try_from(fits).unwrap_or(u64::MAX).clamp(1, GAP_MS.1)
}

fn draw(kind: Kind, random: &mut SmallRng) -> Measure {
    let lasts = if kind == Kind::Restart {
        AWAY_MS
    } else {
        LASTS_MS
    };
    let mut millis = |(from, to)| Duration::from_millis(random.random_range(from..=to));
    let (lasts, lag) = (millis(lasts), millis(LAG_MS));
    let varies = lag.mul_f64(random.random_range(0.0..1.0));
    let ways = [(true, true), (true, false), (false, true)];
    Measure {
        lasts,
        stalls: ways[random.random_range(0..ways.len())],
        lag: (lag, varies),
        bytes_per_second: random.random_range(NARROW_BYTES.0..=NARROW_BYTES.1),
        forgets: random.random_bool(0.5),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const TIME: Duration = Duration::from_secs(40);

    fn targets() -> Vec<Target> {
        let target = |(name, part): (&str, Part)| Target {
            name: name.into(),
            part,
        };
        [
            ("im-gateway", Part::Process),
            ("im-gateway-2", Part::Process),
            ("im-gateway", Part::ClientLink),
            ("im-gateway-2", Part::ClientLink),
            ("im-store", Part::Process),
            ("im-store", Part::Link),
            ("disk", Part::Disk),
            ("mariadb", Part::Server),
        ]
        .map(target)
        .to_vec()
    }

    #[test]
    fn a_seed_is_a_plan_and_another_seed_another() {
        assert_eq!(plan(7, &targets(), TIME), plan(7, &targets(), TIME));
        assert_ne!(plan(7, &targets(), TIME), plan(8, &targets(), TIME));
    }

    #[test]
    fn every_kind_strikes_whatever_it_can_before_any_strikes_again() {
        for seed in 0..100 {
            let plan = plan(seed, &targets(), TIME);
            let what = |s: &Strike| (s.target.clone(), s.kind);
            let round: BTreeSet<_> = plan.iter().take(23).map(what).collect();
            assert_eq!(round.len(), 23, "seed {seed}");
            let kinds: BTreeSet<_> = round.iter().map(|(_, kind)| *kind).collect();
            assert_eq!(kinds.len(), Kind::ALL.len());
            assert!(plan.iter().all(|s| s.after + s.measure.lasts <= TIME));
        }
    }

    #[test]
    fn a_long_run_is_not_denser_than_a_short_one_has_to_be() {
        let of_minutes =
            |minutes: u64| plan(3, &targets(), Duration::from_secs(60 * minutes)).len();
        assert!(of_minutes(10) < 600 * 1_000 / 1_500, "{}", of_minutes(10));
        assert!(of_minutes(10) > 2 * of_minutes(4));
    }

    #[test]
    fn nothing_to_strike_is_no_plan() {
        assert_eq!(plan(1, &[], TIME), []);
    }
}
