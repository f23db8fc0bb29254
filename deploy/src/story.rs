//! What became of an instruction, read from the group's history: its plans, who did which step and
//! how that ended. Pure.

use std::collections::{BTreeMap, BTreeSet};

use client_sdk::content::Content;
use client_sdk::protocol::wire::{self, Outcome, StepState};
use client_sdk::{ClientMessageId, Entry};

/// The story of one instruction.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Story {
    /// The steps of the last plan, and those of earlier plans that were begun.
    pub steps: Vec<StepTold>,
    /// The newest plan's version; 0 without a plan.
    pub version: u32,
    /// The planner's last word.
    pub summary: Option<wire::Summary>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTold {
    /// The version of its plan.
    pub version: u32,
    /// Its id within the plan.
    pub id: String,
    /// Who.
    pub robot: String,
    /// What, with its arguments.
    pub action: String,
    /// How it stands.
    pub state: StepState,
    /// From the robot's word that it begins to its last, in milliseconds.
    pub took_ms: Option<u64>,
    /// Why it failed, or what it returned.
    pub words: String,
}

/// The newest word of each step, and when it was begun.
#[derive(Default)]
struct Word {
    begun_at_ms: Option<u64>,
    last: Option<(u64, wire::StepUpdate)>,
}

impl Story {
    /// Reads it.
    #[must_use]
    pub fn read(instruction: ClientMessageId, history: &[Entry]) -> Self {
        let is_mine = |id: &[u8]| ClientMessageId::from_slice(id) == Ok(instruction);
        let mut plans: BTreeMap<u32, &wire::Plan> = BTreeMap::new();
        let mut words: BTreeMap<(u32, &str), Word> = BTreeMap::new();
        let mut summary = None;
        for entry in history {
            match &entry.content {
                Some(Content::Plan(plan)) if is_mine(&plan.instruction_id) => {
                    plans.insert(plan.version, plan);
                }
                Some(Content::StepUpdate(update)) if is_mine(&update.instruction_id) => {
                    let step = (update.plan_version, update.step_id.as_str());
                    words.entry(step).or_default().add(entry, update);
                }
                Some(Content::Summary(told)) if is_mine(&told.instruction_id) => {
                    summary = Some(told.clone());
                }
                _ => {}
            }
        }
        let version = plans.keys().last().copied().unwrap_or(0);
        let mut steps = Vec::new();
        for plan in plans.values() {
            for step in &plan.steps {
                let word = words.get(&(plan.version, step.step_id.as_str()));
                if plan.version == version || word.is_some() {
                    steps.push(told(plan.version, step, word));
                }
            }
        }
        Self {
            steps,
            version,
            summary,
        }
    }

    /// Steps that were to be done: see [`Story::steps`].
    #[must_use]
    pub fn planned(&self) -> usize {
        self.steps.len()
    }

    /// Steps that were finished.
    #[must_use]
    pub fn done(&self) -> usize {
        let is_done = |step: &&StepTold| step.state == StepState::Finished;
        self.steps.iter().filter(is_done).count()
    }

    /// Steps that ended otherwise.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.steps.iter().filter(|step| step.has_failed()).count()
    }

    /// What the planner says of it all.
    #[must_use]
    pub fn claimed(&self) -> Outcome {
        self.summary
            .as_ref()
            .map_or(Outcome::Unspecified, wire::Summary::outcome)
    }

    /// The lines for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let versions: BTreeSet<u32> = self.steps.iter().map(|step| step.version).collect();
        let mut lines = Vec::new();
        for version in versions {
            if self.version > 1 {
                lines.push(format!("plan {version}"));
            }
            let steps = self.steps.iter().filter(|step| step.version == version);
            lines.extend(steps.map(StepTold::line));
        }
        lines
    }
}

impl Word {
    fn add(&mut self, entry: &Entry, update: &wire::StepUpdate) {
        if update.state() == StepState::Accepted {
            self.begun_at_ms.get_or_insert(entry.committed_at_ms);
        }
        self.last = Some((entry.committed_at_ms, update.clone()));
    }
}

fn told(version: u32, step: &wire::Step, word: Option<&Word>) -> StepTold {
    let last = word.and_then(|word| word.last.as_ref());
    let state = last.map_or(StepState::Unspecified, |(_, update)| update.state());
    let ended_at_ms = last.map(|(at_ms, _)| *at_ms);
    let took_ms = word
        .and_then(|word| word.begun_at_ms)
        .zip(ended_at_ms)
        .map(|(begun, ended)| ended.saturating_sub(begun));
    let words = last.map_or("", |(_, update)| match update.reason.as_str() {
        "" => &update.result_json,
        reason => reason,
    });
    StepTold {
        version,
        id: step.step_id.clone(),
        robot: step.robot_name.clone(),
        action: format!("{} {}", step.action, step.arguments_json),
        state,
        took_ms,
        words: words.to_owned(),
    }
}

impl StepTold {
    const fn has_failed(&self) -> bool {
        matches!(
            self.state,
            StepState::Failed | StepState::Rejected | StepState::Cancelled | StepState::Expired
        )
    }

    fn line(&self) -> String {
        let state = state_word(self.state);
        let took = match self.took_ms {
            Some(ms) if state != "accepted" => {
                format!(" in {}.{} s", ms / 1000, ms % 1000 / 100)
            }
            Some(_) | None => String::new(),
        };
        let words = match self.words.as_str() {
            "" => String::new(),
            words => format!(": {words}"),
        };
        let (id, robot, action) = (&self.id, &self.robot, &self.action);
        format!("  {id:<4} {robot}  {action}  {state}{took}{words}")
    }
}

/// A state for people.
#[must_use]
pub const fn state_word(state: StepState) -> &'static str {
    match state {
        StepState::Unspecified => "not begun",
        StepState::Accepted => "accepted",
        StepState::Running => "running",
        StepState::Finished => "finished",
        StepState::Failed => "failed",
        StepState::Rejected => "rejected",
        StepState::Cancelled => "cancelled",
        StepState::Expired => "expired",
    }
}

#[cfg(test)]
mod tests {
    use client_sdk::{AccountId, ConversationId, EntryKind, Priority, SequenceNumber};

    use super::*;

    fn instruction() -> ClientMessageId {
        ClientMessageId::new(1, [1; 10])
    }

    fn history(contents: Vec<Content>) -> Vec<Entry> {
        let entry = |(n, content): (u64, Content)| Entry {
            conversation: ConversationId::group(1),
            sequence: SequenceNumber(n + 1),
            sender: AccountId(1),
            client_message_id: Some(ClientMessageId::new(n, [0; 10])),
            kind: EntryKind::Text,
            content: Some(content),
            committed_at_ms: 1000 * n,
            priority: Priority::Chat,
            deliver_before_ms: 0,
            content_bytes: 0,
            refers: Default::default(),
        };
        (0..).zip(contents).map(entry).collect()
    }

    fn plan(version: u32, steps: &[&str]) -> Content {
        let step = |id: &&str| wire::Step {
            step_id: (*id).into(),
            robot_name: "carrier-1".into(),
            action: "carry".into(),
            arguments_json: "{}".into(),
            ..wire::Step::default()
        };
        Content::Plan(wire::Plan {
            instruction_id: instruction().to_bytes(),
            version,
            steps: steps.iter().map(step).collect(),
            ..wire::Plan::default()
        })
    }

    fn update(version: u32, step: &str, state: StepState) -> Content {
        Content::StepUpdate(wire::StepUpdate {
            instruction_id: instruction().to_bytes(),
            plan_version: version,
            step_id: step.into(),
            attempt: 1,
            state: state.into(),
            ..wire::StepUpdate::default()
        })
    }

    #[test]
    fn steps_of_a_plan_that_was_replaced_count_when_they_were_begun() {
        let story = Story::read(
            instruction(),
            &history(vec![
                plan(1, &["s1", "s2", "s3"]),
                update(1, "s1", StepState::Accepted),
                update(1, "s1", StepState::Finished),
                update(1, "s2", StepState::Accepted),
                update(1, "s2", StepState::Failed),
                plan(2, &["s1", "s2"]),
                update(2, "s1", StepState::Accepted),
                update(2, "s1", StepState::Finished),
            ]),
        );
        assert_eq!((story.planned(), story.done(), story.failed()), (4, 2, 1));
        assert_eq!(story.steps[0].took_ms, Some(1000));
        assert_eq!(story.claimed(), Outcome::Unspecified);
        let lines = story.lines();
        assert_eq!(lines.len(), 6, "{lines:?}");
        assert!(lines[2].contains("failed"), "{lines:?}");
        assert!(lines[5].contains("not begun"), "{lines:?}");
    }

    #[test]
    fn another_instruction_in_the_same_group_is_another_story() {
        let other = ClientMessageId::new(2, [2; 10]);
        let story = Story::read(
            other,
            &history(vec![
                plan(1, &["s1"]),
                update(1, "s1", StepState::Finished),
                Content::Summary(wire::Summary {
                    instruction_id: other.to_bytes(),
                    outcome: Outcome::Declined.into(),
                    ..wire::Summary::default()
                }),
            ]),
        );
        assert_eq!((story.planned(), story.done(), story.failed()), (0, 0, 0));
        assert_eq!(story.claimed(), Outcome::Declined);
    }
}
