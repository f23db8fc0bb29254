//! What a chaos run comes to: the verdict, what was done to the cluster, and its memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::memory::Row;
use crate::checker::Verdict;
use crate::record::Event;

const MEBIBYTE: u64 = 1024 * 1024;

/// What was done, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// The seed of the run.
    pub seed: u64,
    /// When it was, in milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// How long it took with all that comes before and after the load, in milliseconds.
    pub took_ms: u64,
    /// Clients.
    pub clients: u64,
    /// Faults, as "fault target".
    pub faults: BTreeMap<String, u64>,
    /// Clients that began anew, by how they ended.
    pub client_restarts: BTreeMap<String, u64>,
    /// Changes of members that were answered.
    pub member_changes: u64,
    /// Changes of members without an answer.
    pub member_changes_unanswered: u64,
}

impl Faults {
    /// One line of the record.
    pub fn count(&mut self, event: &Event) {
        match event {
            Event::Began { seed, unix_ms, .. } => (self.seed, self.unix_ms) = (*seed, *unix_ms),
            Event::Client { .. } => self.clients += 1,
            Event::Fault { target, fault, .. } => {
                let what = fault.split(':').next().unwrap_or_default();
                *self.faults.entry(format!("{what} {target}")).or_default() += 1;
            }
            Event::RunEnded { by, .. } if by != "end" => {
                *self.client_restarts.entry(by.clone()).or_default() += 1;
            }
            Event::Change { outcome, .. } => match outcome.parse::<u64>() {
                Ok(_) => self.member_changes += 1,
                Err(_) => self.member_changes_unanswered += 1,
            },
            Event::Finished { at_us } => self.took_ms = at_us / 1000,
            Event::Conversation { .. }
            | Event::RunBegan { .. }
            | Event::RunEnded { .. }
            | Event::ServerMark { .. }
            | Event::Marked { .. }
            | Event::Sent { .. }
            | Event::Ended { .. }
            | Event::Delivered { .. }
            | Event::Membership { .. }
            | Event::Link { .. }
            | Event::Memory { .. }
            | Event::Entry { .. }
            | Event::History { .. } => {}
        }
    }

    /// Whether each of these was struck by each of these kinds.
    #[must_use]
    pub fn have_all(&self, kinds: &[&str], targets: &[String]) -> bool {
        let fired: BTreeSet<_> = self.faults.keys().map(String::as_str).collect();
        kinds.iter().all(|kind| {
            let mut targets = targets.iter();
            targets.all(|target| fired.contains(&*format!("{kind} {target}")))
        })
    }
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Whether every promise was kept.
    pub passed: bool,
    /// What was done.
    pub faults: Faults,
    /// What the checker says.
    pub verdict: Verdict,
    /// The processes' memory. It is told and judged apart from the promises.
    pub memory: Vec<Row>,
}

impl Outcome {
    pub(super) fn new(verdict: Verdict, faults: Faults, memory: Vec<Row>) -> Self {
        Self {
            passed: verdict.is_clean(),
            faults,
            verdict,
            memory,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = &self.faults;
        writeln!(f, "seed {}, {} clients", done.seed, done.clients)?;
        for (what, count) in &done.faults {
            writeln!(f, "{what:<34} {count:>7}")?;
        }
        for (by, count) in &done.client_restarts {
            writeln!(f, "{:<34} {count:>7}", format!("client restarts: {by}"))?;
        }
        let (answered, not) = (done.member_changes, done.member_changes_unanswered);
        writeln!(f, "{:<34} {answered:>7}", "changes of members")?;
        writeln!(f, "{:<34} {not:>7}", "changes without an answer")?;
        writeln!(f, "\nmemory, MiB: the median of each minute")?;
        for row in &self.memory {
            write!(f, "{:<14} ", row.target)?;
            for bytes in &row.minutes {
                write!(f, "{:>5}", bytes / MEBIBYTE)?;
            }
            let judged = match row.growth_percent {
                Some(percent) if row.bounded => format!("{percent:+} %"),
                Some(percent) => format!("{percent:+} %: not bounded"),
                None => "too young to be judged".into(),
            };
            writeln!(f, "   {} restarts, {judged}", row.restarts)?;
        }
        writeln!(f, "\n{}", self.verdict)?;
        f.write_str(if self.passed { "passed" } else { "FAILED" })
    }
}
