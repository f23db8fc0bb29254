//! What a chaos run comes to: the verdict, what was done to the cluster, and its memory.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::memory::Row;
use super::plan::Kind;
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
    /// Faults that were made, by kind.
    pub kinds: BTreeMap<String, u64>,
    /// The same by target and kind; with those that found their target away, as "missed", and
    /// those that this machine does not allow, as "skipped".
    pub targets: BTreeMap<String, BTreeMap<String, u64>>,
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
                let kind = fault.split([' ', ':']).next().unwrap_or_default();
                if Kind::ALL.iter().any(|known| known.to_string() == kind) {
                    *self.kinds.entry(kind.to_owned()).or_default() += 1;
                }
                let of_target = self.targets.entry(target.clone()).or_default();
                *of_target.entry(kind.to_owned()).or_default() += 1;
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
            | Event::Resolved { .. }
            | Event::EphemeralSent { .. }
            | Event::EphemeralDelivered { .. }
            | Event::Delivered { .. }
            | Event::Membership { .. }
            | Event::Link { .. }
            | Event::Lag { .. }
            | Event::Memory { .. }
            | Event::Entry { .. }
            | Event::History { .. } => {}
        }
    }

    /// Whether faults of this kind were made.
    #[must_use]
    pub fn have(&self, kind: Kind) -> bool {
        self.kinds.contains_key(&kind.to_string())
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<16}", "faults")?;
        let mut columns: Vec<_> = Kind::ALL.iter().map(ToString::to_string).collect();
        columns.extend(["missed", "skipped"].map(String::from));
        for column in &columns {
            write!(f, "{column:>8}")?;
        }
        let mut all: BTreeMap<String, u64> = BTreeMap::new();
        for (kind, count) in self.targets.values().flatten() {
            *all.entry(kind.clone()).or_default() += count;
        }
        for (target, kinds) in self.targets.iter().chain([(&"all".to_owned(), &all)]) {
            write!(f, "\n{target:<16}")?;
            for column in &columns {
                let count = kinds.get(column).copied().unwrap_or_default();
                write!(f, "{count:>8}")?;
            }
        }
        writeln!(f)
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
    /// Whether no process grew that lived long enough to be judged. It is judged apart from the
    /// promises.
    pub memory_bounded: bool,
    /// The processes' memory.
    pub memory: Vec<Row>,
}

impl Outcome {
    pub(super) fn new(verdict: Verdict, faults: Faults, memory: Vec<Row>) -> Self {
        Self {
            passed: verdict.is_clean(),
            faults,
            verdict,
            memory_bounded: memory.iter().all(|row| row.bounded),
            memory,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = &self.faults;
        writeln!(f, "seed {}, {} clients", done.seed, done.clients)?;
        writeln!(f, "\n{done}")?;
        for (by, count) in &done.client_restarts {
            writeln!(f, "{:<34} {count:>7}", format!("client restarts: {by}"))?;
        }
        let (answered, not) = (done.member_changes, done.member_changes_unanswered);
        writeln!(f, "{:<34} {answered:>7}", "changes of members")?;
        writeln!(f, "{:<34} {not:>7}", "changes without an answer")?;
        writeln!(f, "\nmemory, MiB: the median of each minute")?;
        for row in &self.memory {
            write!(f, "{:<16}", row.target)?;
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
        let judged = self
            .memory
            .iter()
            .filter(|row| row.growth_percent.is_some());
        let (judged, of) = (judged.count(), self.memory.len());
        let bounded = if self.memory_bounded {
            "bounded"
        } else {
            "NOT BOUNDED"
        };
        writeln!(
            f,
            "memory: {bounded}, {judged} of {of} processes old enough to be judged"
        )?;
        f.write_str(if self.passed { "passed" } else { "FAILED" })
    }
}
