//! The memory of the tiers' processes: looked up while the run goes on, told per minute afterwards,
//! and judged for those that lived long enough to tell growth from warming up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use deploy::state::State;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::record::{Event, Recorder};
use crate::usage;

/// How often it is looked up.
const INTERVAL: Duration = Duration::from_secs(2);

const MINUTE_US: u64 = 60_000_000;

/// How long a process must have lived to be judged.
const JUDGED_AFTER_US: u64 = 3 * MINUTE_US;

/// How much more the last minute may have than the second, in percent.
const GROWTH_PERCENT_MAX: f64 = 20.0;

/// Looks it up until the load is over.
pub(super) async fn watch(state: PathBuf, recorder: Recorder, over: CancellationToken) {
    let state = State::new(Some(state));
    let mut due = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            () = over.cancelled() => return,
            _ = due.tick() => {}
        }
        // While the run file is being replaced, or a process ends, there is one look less.
        let Ok(run) = state.running() else { continue };
        for process in &run.tiers {
            if let Some(rss_bytes) = usage::resident_bytes(process.pid) {
                recorder.record(&Event::Memory {
                    at_us: recorder.now_us(),
                    target: process.instance().to_string(),
                    pid: process.pid,
                    rss_bytes,
                });
            }
        }
    }
}

/// What was looked up, by process.
#[derive(Debug, Default)]
pub struct Samples(BTreeMap<String, Vec<Life>>);

#[derive(Debug)]
struct Life {
    pid: i32,
    samples: Vec<(u64, u64)>,
}

/// One process of the cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its tier and which of them.
    pub target: String,
    /// The median of each minute of the run, in bytes, over all its lives; 0: it was away.
    pub minutes: Vec<u64>,
    /// How often it began anew.
    pub restarts: usize,
    /// What its last life has more in its last 60 s than in its second minute; `None`: too young.
    pub growth_percent: Option<f64>,
    /// Whether that is bounded; true while it is too young to tell.
    pub bounded: bool,
}

impl Samples {
    /// One line of the record.
    pub fn take(&mut self, event: &Event) {
        let Event::Memory {
            at_us,
            target,
            pid,
            rss_bytes,
        } = event
        else {
            return;
        };
        let lives = self.0.entry(target.clone()).or_default();
        if lives.last().is_none_or(|life| life.pid != *pid) {
            lives.push(Life {
                pid: *pid,
                samples: Vec::new(),
            });
        }
        if let Some(life) = lives.last_mut() {
            life.samples.push((*at_us, *rss_bytes));
        }
    }

    /// What they come to.
    #[must_use]
    pub fn table(&self) -> Vec<Row> {
        let rows = self.0.iter().map(|(target, lives)| {
            let all = lives.iter().flat_map(|life| &life.samples).copied();
            let growth_percent = lives.last().and_then(growth_percent);
            Row {
                target: target.clone(),
                minutes: medians(0, all),
                restarts: lives.len() - 1,
                growth_percent,
                bounded: growth_percent.is_none_or(|percent| percent <= GROWTH_PERCENT_MAX),
            }
        });
        rows.collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "percents are for reading")]
fn growth_percent(life: &Life) -> Option<f64> {
    let (began, _) = *life.samples.first()?;
    let (ended, _) = *life.samples.last()?;
    let age = ended.saturating_sub(began);
    let of = |from: u64| {
        let within = |(at, _): &(u64, u64)| (from..=from + MINUTE_US).contains(at);
        median(
            life.samples
                .iter()
                .copied()
                .filter(within)
                .map(|(_, bytes)| bytes),
        )
    };
    let (second, last) = (of(began + MINUTE_US), of(ended.checked_sub(MINUTE_US)?));
    let judged = age >= JUDGED_AFTER_US && second > 0;
    judged.then(|| ((last as f64 / second as f64 - 1.0) * 1000.0).round() / 10.0)
}

/// Of each minute from this moment.
fn medians(began: u64, samples: impl Iterator<Item = (u64, u64)>) -> Vec<u64> {
    let mut minutes: Vec<Vec<u64>> = Vec::new();
    for (at, bytes) in samples {
        let minute = usize::try_from(at.saturating_sub(began) / MINUTE_US).unwrap_or(usize::MAX);
        if minutes.len() <= minute {
            minutes.resize(minute + 1, Vec::new());
        }
        minutes[minute].push(bytes);
    }
    minutes.into_iter().map(median).collect()
}

/// 0 when there is nothing.
fn median(of: impl IntoIterator<Item = u64>) -> u64 {
    let mut of: Vec<_> = of.into_iter().collect();
    of.sort_unstable();
    of.get(of.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(pid: i32, from_minute: u64, of_minutes: &[u64]) -> Vec<Event> {
        let minutes = (from_minute..).zip(of_minutes);
        let looks = minutes.flat_map(|(minute, bytes)| {
            (0..6).map(move |look| Event::Memory {
                at_us: minute * MINUTE_US + look * MINUTE_US / 5,
                target: "im-store".into(),
                pid,
                rss_bytes: *bytes,
            })
        });
        looks.collect()
    }

    fn row(events: &[Event]) -> Row {
        let mut samples = Samples::default();
        events.iter().for_each(|event| samples.take(event));
        samples.table().remove(0)
    }

    #[test]
    fn growth_is_from_the_second_minute_to_the_last() {
        let row_of = |minutes: &[u64]| row(&samples(1, 0, minutes));
        let steady = row_of(&[50, 100, 105, 110]);
        assert_eq!((steady.growth_percent, steady.bounded), (Some(10.0), true));
        let grows = row_of(&[50, 100, 110, 130]);
        assert_eq!((grows.growth_percent, grows.bounded), (Some(30.0), false));
        assert_eq!(row_of(&[50, 100]).growth_percent, None);
    }

    #[test]
    fn a_restart_begins_anew() {
        let mut events = samples(1, 0, &[50, 100, 300, 300]);
        events.extend(samples(2, 4, &[50, 60]));
        let row = row(&events);
        assert_eq!((row.restarts, row.growth_percent), (1, None));
        assert!(row.bounded && row.minutes.len() >= 6, "{row:?}");
    }
}
