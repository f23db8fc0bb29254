//! What the rounds come to: one row for each system and load, with its share of what the limit
//! probe reached in the same round. Pure.

mod show;

use serde::Serialize;

use super::job::Outcome;
use super::{Settings, System};

/// What is compared.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    serde::Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// One publisher to every member of one group.
    Fanout,
    /// Groups of ten in which everybody publishes.
    Groups,
    /// Sessions in groups of ten in which nobody says anything.
    Idle,
}

/// One load on one system: the same in every round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Whose.
    pub system: System,
    /// How it is set.
    pub settings: Settings,
    /// Whether it syncs before it acknowledges.
    pub durable: bool,
    /// What is done.
    pub load: Offered,
}

/// A load, whatever the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offered {
    /// Its kind.
    pub scenario: Scenario,
    /// Members of each group.
    pub members: usize,
    /// A publisher's messages in flight; 0: as the rate brings them.
    pub window: usize,
    /// Deliveries a second that are offered; 0: as the window lets them.
    pub rate_per_s: u64,
}

/// What one run of a case came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figures {
    /// Of a load.
    Load(Outcome),
    /// Of idle sessions: memory of the server for each, in bytes.
    Idle(f64),
}

/// One run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    /// In which round.
    pub round: usize,
    /// Of what.
    pub case: Case,
    /// What it came to.
    pub figures: Figures,
}

/// The medians of one case over all rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Whose.
    pub system: System,
    /// How it is set.
    pub settings: Settings,
    /// What was done.
    pub scenario: Scenario,
    /// Whether a message is on disk, synced, before it is acknowledged.
    pub durable: bool,
    /// Members of each group; idle: of all together.
    pub members: usize,
    /// A publisher's messages in flight; 0: a fixed rate.
    pub window: usize,
    /// Deliveries a second that were offered; 0: as many as the window let through.
    pub offered_per_s: u64,
    /// Messages published each second.
    pub sent_per_s: f64,
    /// Messages acknowledged each second; 0 for a system that does not acknowledge.
    pub acked_per_s: f64,
    /// Messages received each second, by all members together.
    pub deliveries_per_s: f64,
    /// The median latency: fanout of the delivery, groups of the acknowledgement, or of the own
    /// delivery where there is none.
    pub p50_us: u64,
    /// One in a hundred is slower.
    pub p99_us: u64,
    /// The median of the rounds' deliveries over the limit's; idle: of the bytes over the limit's.
    pub ratio_to_limit: f64,
    /// Published and not received, in all rounds, summed over members.
    pub lost: u64,
    /// Cores that the server used.
    pub server_cores: f64,
    /// Cores that the load used.
    pub load_cores: f64,
    /// Deliveries for each second of a core that the server used.
    pub deliveries_per_server_core_s: f64,
    /// CPU of the load for each delivery, in microseconds: far above the limit's, the load was in
    /// the way.
    pub load_us_per_delivery: f64,
    /// Idle: memory of the server for each session, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_session: Option<f64>,
}

/// All of them, in the order of their first runs.
#[must_use]
pub fn rows(runs: &[Run]) -> Vec<Row> {
    let mut cases: Vec<Case> = Vec::new();
    for run in runs {
        if !cases.contains(&run.case) {
            cases.push(run.case);
        }
    }
    cases.iter().map(|case| row(*case, runs)).collect()
}

fn row(case: Case, runs: &[Run]) -> Row {
    let of = |case: Case| runs.iter().filter(move |run| run.case == case);
    let outcomes = || {
        of(case).filter_map(|run| match run.figures {
            Figures::Load(outcome) => Some(outcome),
            Figures::Idle(_) => None,
        })
    };
    let per_s = |count: fn(&Outcome) -> u64| {
        median(outcomes().map(|o| rate(count(&o), o.measured_us))).unwrap_or_default()
    };
    let latency = |of: fn(&Outcome) -> u64| {
        let mut all: Vec<_> = outcomes().map(|outcome| of(&outcome)).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    let by_ack = case.load.scenario == Scenario::Groups;
    let ratios = of(case).filter_map(|run| {
        let is_limit = |other: &&Run| {
            let limit = other.case.system == System::Limit && other.case.load == case.load;
            limit && other.round == run.round
        };
        let limit = runs.iter().find(is_limit)?;
        Some(run.figures.speed() / limit.figures.speed())
    });
    let bytes = of(case).filter_map(|run| match run.figures {
        Figures::Load(_) => None,
        Figures::Idle(bytes) => Some(bytes),
    });
    let ratio = |of: fn(&Outcome) -> (u64, u64)| {
        let ratios = outcomes().map(|outcome| of(&outcome));
        median(ratios.map(|(part, whole)| quotient(part, whole))).unwrap_or_default()
    };
    Row {
        system: case.system,
        settings: case.settings,
        scenario: case.load.scenario,
        durable: case.durable,
        members: case.load.members,
        window: case.load.window,
        offered_per_s: case.load.rate_per_s,
        sent_per_s: to_digits(per_s(|o| o.sent), 1),
        acked_per_s: to_digits(per_s(|o| o.acked), 1),
        deliveries_per_s: to_digits(per_s(|o| o.delivered), 1),
        p50_us: latency(if by_ack {
            |o| o.ack.p50_us
        } else {
            |o| o.delivery.p50_us
        }),
        p99_us: latency(if by_ack {
            |o| o.ack.p99_us
        } else {
            |o| o.delivery.p99_us
        }),
        ratio_to_limit: to_digits(median(ratios).unwrap_or_default(), 4),
        lost: outcomes().map(|outcome| outcome.lost).sum(),
        server_cores: to_digits(per_s(|o| o.server_cpu_us) / 1e6, 2),
        load_cores: to_digits(per_s(|o| o.load_cpu_us) / 1e6, 2),
        deliveries_per_server_core_s: to_digits(1e6 * ratio(|o| (o.delivered, o.server_cpu_us)), 0),
        load_us_per_delivery: to_digits(ratio(|o| (o.load_cpu_us, o.delivered)), 3),
        bytes_per_session: median(bytes).map(|bytes| bytes.round()),
    }
}

impl Figures {
    fn speed(&self) -> f64 {
        match self {
            Self::Load(outcome) => rate(outcome.delivered, outcome.measured_us),
            Self::Idle(bytes) => *bytes,
        }
    }
}

fn rate(count: u64, measured_us: u64) -> f64 {
    1e6 * quotient(count, measured_us)
}

#[expect(clippy::cast_precision_loss, reason = "rates are for reading")]
fn quotient(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn to_digits(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    let rounded = (value * scale).round() / scale;
    if rounded.is_finite() { rounded } else { 0.0 }
}

/// Of an even number the upper one: every figure is one that was measured.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.filter(|value| value.is_finite()).collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The rows for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Table(pub Vec<Row>);

#[cfg(test)]
mod tests {
    use super::*;

    fn run(round: usize, system: System, delivered: u64, lost: u64) -> Run {
        Run {
            round,
            case: Case {
                system,
                settings: Settings::Default,
                durable: system == System::Ours,
                load: Offered {
                    scenario: Scenario::Fanout,
                    members: 1000,
                    window: 8,
                    rate_per_s: 0,
                },
            },
            figures: Figures::Load(Outcome {
                measured_us: 2_000_000,
                sent: delivered / 1000,
                delivered,
                lost,
                ..Outcome::default()
            }),
        }
    }

    #[test]
    fn the_ratio_is_the_median_of_those_within_a_round() {
        let runs = [
            run(0, System::Limit, 1_000_000, 0),
            run(0, System::Ours, 500_000, 0),
            run(1, System::Limit, 2_000_000, 0),
            run(1, System::Ours, 1_400_000, 3),
            run(2, System::Limit, 4_000_000, 0),
            run(2, System::Ours, 2_400_000, 0),
        ];
        let rows = rows(&runs);
        assert_eq!(rows.len(), 2);
        let ours = &rows[1];
        assert_eq!(
            (ours.system, ours.lost, ours.durable),
            (System::Ours, 3, true)
        );
        // 0.5, 0.7 and 0.6; the medians of the rates would be 0.7.
        assert!((ours.ratio_to_limit - 0.6).abs() < 1e-9, "{ours:?}");
        assert!((ours.deliveries_per_s - 700_000.0).abs() < 1e-9);
        assert!((rows[0].ratio_to_limit - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_row_has_the_keys_that_machines_read() {
        let mut runs = vec![run(0, System::Limit, 1000, 0)];
        let keys = |runs: &[Run]| {
            let json = serde_json::to_value(Table(rows(runs))).unwrap();
            let row = json[0].as_object().unwrap().clone();
            row.keys().map(String::as_str).collect::<Vec<_>>().join(" ")
        };
        let known = keys(&runs);
        for key in "system scenario durable members window sent_per_s acked_per_s deliveries_per_s \
                    p50_us p99_us ratio_to_limit settings lost deliveries_per_server_core_s \
                    load_us_per_delivery"
            .split_whitespace()
        {
            assert!(known.split(' ').any(|known| known == key), "{key}: {known}");
        }
        runs[0].case.load.scenario = Scenario::Idle;
        runs[0].figures = Figures::Idle(8_400.4);
        assert!(keys(&runs).contains("bytes_per_session"));
        assert_eq!(rows(&runs)[0].bytes_per_session, Some(8_400.0));
        assert!(Table(rows(&runs)).to_string().contains("8400 B"));
    }
}
