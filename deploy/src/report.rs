//! How a demonstration ended: for people, and as one JSON object. Pure.

use serde::Serialize;

use client_sdk::protocol::wire;

use crate::audit::Audit;
use crate::render::{on_one_screen, outcome_word};
use crate::story::Story;

/// What became of the instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The planner says so, and the floor looks like it.
    Done,
    /// Anything between.
    PartlyDone,
    /// The planner made no plan.
    Declined,
}

/// The end of a demonstration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// As it was given.
    pub instruction: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Steps of the last plan, and those of earlier plans that were begun.
    pub steps_planned: usize,
    /// Of these, finished.
    pub steps_done: usize,
    /// Of these, ended otherwise.
    pub steps_failed: usize,
    /// What was said.
    #[serde(flatten)]
    pub audit: Audit,
}

impl Report {
    /// Weighs the planner's word and the floor: neither alone makes it done.
    #[must_use]
    pub fn new(instruction: &str, story: &Story, goal_holds: bool, audit: Audit) -> Self {
        let outcome = match story.claimed() {
            wire::Outcome::Done if goal_holds => Outcome::Done,
            wire::Outcome::Declined => Outcome::Declined,
            wire::Outcome::Done | wire::Outcome::PartlyDone | wire::Outcome::Unspecified => {
                Outcome::PartlyDone
            }
        };
        Self {
            instruction: instruction.to_owned(),
            outcome,
            steps_planned: story.planned(),
            steps_done: story.done(),
            steps_failed: story.failed(),
            audit,
        }
    }

    /// Whether everything that was said was heard, once, and is kept.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        let Audit {
            duplicates,
            gaps,
            lost,
            ..
        } = self.audit;
        duplicates == 0 && gaps == 0 && lost == 0
    }

    /// For people.
    #[must_use]
    pub fn lines(&self, story: &Story, goal_holds: bool) -> Vec<String> {
        let said = outcome_word(story.claimed());
        let floor = if goal_holds { "shows" } else { "does not show" };
        let outcome = match self.outcome {
            Outcome::Done => "done",
            Outcome::PartlyDone => "partly done",
            Outcome::Declined => "declined",
        };
        let mut lines = vec![
            format!("instruction  {}", self.instruction),
            format!("outcome      {outcome} (planner: {said}; the floor {floor} what was asked)"),
        ];
        // Its further lines tell of the steps, as the next ones here do.
        let words = story
            .summary
            .iter()
            .flat_map(|summary| summary.text.lines());
        lines.extend(words.take(1).map(|words| format!("planner      {words}")));
        lines.extend(story.lines());
        let Audit {
            sent,
            acked,
            delivered,
            duplicates,
            gaps,
            lost,
            p50_us,
            p99_us,
        } = self.audit;
        let Self {
            steps_planned,
            steps_done,
            steps_failed,
            ..
        } = self;
        lines.extend([
            format!(
                "steps        {steps_planned} planned, {steps_done} done, {steps_failed} failed"
            ),
            format!("messages     {sent} sent, {acked} acknowledged, {delivered} delivered"),
            format!(
                "faults       {duplicates} duplicates, {gaps} gaps, \
                 {lost} acknowledged but missing in history"
            ),
            format!(
                "latency      from send to receipt: half within {}, 99 of 100 within {}",
                milliseconds(p50_us),
                milliseconds(p99_us)
            ),
        ]);
        lines.iter().map(|line| on_one_screen(line)).collect()
    }
}

fn milliseconds(us: u64) -> String {
    format!("{}.{} ms", us / 1000, us % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(claimed: wire::Outcome) -> Story {
        let summary = wire::Summary {
            outcome: claimed.into(),
            ..wire::Summary::default()
        };
        Story {
            summary: Some(summary),
            ..Story::default()
        }
    }

    #[test]
    fn done_needs_both_the_planner_and_the_floor() {
        let outcome =
            |claimed, holds| Report::new("x", &story(claimed), holds, Audit::default()).outcome;
        assert_eq!(outcome(wire::Outcome::Done, true), Outcome::Done);
        assert_eq!(outcome(wire::Outcome::Done, false), Outcome::PartlyDone);
        assert_eq!(
            outcome(wire::Outcome::PartlyDone, true),
            Outcome::PartlyDone
        );
        assert_eq!(outcome(wire::Outcome::Declined, false), Outcome::Declined);
        let silent = Report::new("x", &Story::default(), true, Audit::default());
        assert_eq!(silent.outcome, Outcome::PartlyDone);
    }

    #[test]
    fn the_object_has_the_keys_that_are_promised() {
        let report = Report::new("搬", &story(wire::Outcome::Done), true, Audit::default());
        let object = serde_json::to_value(&report).unwrap();
        let mut keys: Vec<_> = object.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(
            keys,
            [
                "acked",
                "delivered",
                "duplicates",
                "gaps",
                "instruction",
                "lost",
                "outcome",
                "p50_us",
                "p99_us",
                "sent",
                "steps_done",
                "steps_failed",
                "steps_planned",
            ]
        );
        assert_eq!(object["outcome"], "done");
        let partly = Report::new("x", &story(wire::Outcome::Done), false, Audit::default());
        assert_eq!(
            serde_json::to_value(partly).unwrap()["outcome"],
            "partly_done"
        );
    }

    #[test]
    fn one_fault_is_not_clean() {
        let report = |audit| Report::new("x", &Story::default(), false, audit);
        assert!(report(Audit::default()).is_clean());
        for audit in [
            Audit {
                duplicates: 1,
                ..Audit::default()
            },
            Audit {
                gaps: 1,
                ..Audit::default()
            },
            Audit {
                lost: 1,
                ..Audit::default()
            },
        ] {
            assert!(!report(audit).is_clean(), "{audit:?}");
        }
    }
}
