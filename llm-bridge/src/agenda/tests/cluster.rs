//! A group in a box: a log, robots that follow a script, a model that follows a script, and a
//! planner that may crash after any entry.

use std::collections::{BTreeMap, VecDeque};

use protocol::content::{instruction, kind_of};
use protocol::identity;
use protocol::wire::{EntryKind, StepState};
use serde_json::json;

use super::super::*;
use crate::mission::Recipient;

pub(super) const PLANNER: AccountId = AccountId(1);
pub(super) const PERSON: AccountId = AccountId(2);
pub(super) const CARRIER: AccountId = AccountId(11);
pub(super) const SCOUT: AccountId = AccountId(12);
pub(super) const START_MS: u64 = 1_700_000_000_000;

pub(super) const POLICY: MissionPolicy = MissionPolicy {
    replans_max: 1,
    attempts_max: 1,
    update_grace_ms: 5_000,
    instruction_age_ms_max: 3_600_000,
};

/// What a robot does with a step: how it ends, if it says so.
pub(super) type Script = BTreeMap<(u32, &'static str), Option<StepState>>;

/// Steps of a plan: id, robot, dependencies.
pub(super) type Steps = Vec<(&'static str, AccountId, Vec<&'static str>)>;

pub(super) struct Cluster {
    pub(super) group: ConversationId,
    pub(super) log: Vec<LogEntry>,
    /// Every message of the planner, by id, the commands included.
    pub(super) said: BTreeMap<ClientMessageId, Content>,
    pub(super) inboxes: BTreeMap<AccountId, VecDeque<wire::Command>>,
    pub(super) now_ms: u64,
    pub(super) script: Script,
    /// Of each version; `None`: the model declines.
    pub(super) plans: Vec<Option<Steps>>,
    pub(super) refuses: Option<EntryKind>,
}

impl Cluster {
    pub(super) fn new(plans: Vec<Option<Steps>>) -> Self {
        Self {
            group: ConversationId::group(5),
            log: Vec::new(),
            said: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            now_ms: START_MS,
            script: Script::new(),
            plans,
            refuses: None,
        }
    }

    pub(super) fn commit(&mut self, sender: AccountId, id: ClientMessageId, content: Content) {
        self.now_ms += 10;
        self.log.push(LogEntry {
            sequence: SequenceNumber(self.log.len() as u64 + 1),
            sender,
            id: Some(id),
            content: Some(content),
            committed_at_ms: self.now_ms,
        });
    }

    pub(super) fn person(&mut self, n: u8, words: &str) -> ClientMessageId {
        let id = ClientMessageId::new(START_MS, [n; 10]);
        self.commit(PERSON, id, instruction(words));
        id
    }

    pub(super) fn agenda(&self) -> Agenda {
        let mut agenda = Agenda::new(self.group, PLANNER, POLICY, SequenceNumber::ZERO);
        for entry in &self.log {
            agenda.fold(entry.clone());
        }
        agenda
    }

    /// As the store does: the first message of an id counts.
    pub(super) fn send(&mut self, letter: &Letter) -> SendOutcome {
        if self.refuses == Some(kind_of(&letter.content)) {
            return SendOutcome::Refused("no".into());
        }
        if let Some(before) = self.said.get(&letter.id) {
            return if *before == letter.content {
                SendOutcome::Committed
            } else {
                SendOutcome::CommittedOtherwise
            };
        }
        self.said.insert(letter.id, letter.content.clone());
        match (letter.to, letter.content.clone()) {
            (Recipient::Robot(robot), Content::Command(command)) => {
                self.inboxes.entry(robot).or_default().push_back(command);
            }
            (_, content) => self.commit(PLANNER, letter.id, content),
        }
        SendOutcome::Committed
    }

    pub(super) fn plan(&self, id: ClientMessageId, version: u32) -> Result<wire::Plan, Decline> {
        let declined = || Decline::ByModel {
            reason: "没有机器人会飞。".into(),
            model: "m-1".into(),
        };
        let steps = self.plans[version as usize - 1].clone();
        let steps = steps.ok_or_else(declined)?.into_iter();
        let step = |(step_id, robot, needs): (&str, AccountId, Vec<&str>)| wire::Step {
            step_id: step_id.into(),
            robot: robot.0,
            robot_name: format!("robot-{robot}"),
            action: "inspect".into(),
            arguments_json: json!({ "area": "走廊" }).to_string(),
            depends_on: needs.into_iter().map(Into::into).collect(),
            time_limit_ms: 60_000,
        };
        Ok(wire::Plan {
            instruction_id: id.to_bytes(),
            version,
            steps: steps.map(step).collect(),
            model: "m-1".into(),
            note: "先巡检".into(),
        })
    }

    /// A robot takes its oldest command and says what comes of it.
    pub(super) fn robots_work(&mut self) {
        for robot in [CARRIER, SCOUT] {
            let inbox = self.inboxes.entry(robot).or_default();
            let Some(command) = inbox.pop_front() else {
                continue;
            };
            let key = (command.plan_version, command.step_id.as_str());
            let script = self.script.iter();
            let end = script
                .filter(|(of, _)| **of == key)
                .map(|(_, end)| *end)
                .next()
                .unwrap_or(Some(StepState::Finished));
            let Some(end) = end else { continue };
            let id = ClientMessageId::from_slice(&command.instruction_id).unwrap();
            for state in [StepState::Accepted, end] {
                let update = wire::StepUpdate {
                    instruction_id: command.instruction_id.clone(),
                    plan_version: command.plan_version,
                    step_id: command.step_id.clone(),
                    attempt: command.attempt,
                    state: state.into(),
                    reason: if state == StepState::Failed {
                        "轮子卡住了".into()
                    } else {
                        String::new()
                    },
                    result_json: r#"{"blocked":[]}"#.into(),
                    ..wire::StepUpdate::default()
                };
                let command_id = identity::CommandIdentity {
                    instruction: id,
                    plan_version: command.plan_version,
                    step_id: command.step_id.clone(),
                    attempt: command.attempt,
                }
                .message_id();
                let update_id = identity::step_update(command_id, state);
                self.commit(robot, update_id, Content::StepUpdate(update));
            }
        }
    }

    /// Runs until nothing happens any more. With `crash_at` the planner forgets everything when the
    /// log is that long, before anything else is done.
    pub(super) fn run(&mut self, mut crash_at: Option<usize>) -> Agenda {
        let mut agenda = self.agenda();
        for _ in 0..1000 {
            for entry in self.log.clone() {
                agenda.fold(entry);
            }
            if crash_at.is_some_and(|at| self.log.len() >= at) {
                crash_at = None;
                agenda = self.agenda();
            }
            let outputs = agenda.next(self.now_ms);
            let is_idle = outputs.is_empty();
            for (id, output) in outputs {
                match output {
                    Output::Ask(question) => {
                        let answer = Answer {
                            plan: self.plan(id, question.version),
                            prompt_tokens: 0,
                            completion_tokens: 0,
                        };
                        agenda.answered(id, question.version, answer);
                    }
                    Output::Send(letter) => {
                        let outcome = self.send(&letter);
                        agenda.sent(id, &letter, outcome, self.now_ms);
                    }
                }
                if crash_at.is_some_and(|at| self.log.len() >= at) {
                    break;
                }
            }
            let before = self.log.len();
            self.robots_work();
            let is_quiet = is_idle && before == self.log.len();
            if is_quiet && agenda.folded().0 == before as u64 {
                match agenda.wake_at_ms() {
                    Some(at_ms) => self.now_ms = self.now_ms.max(at_ms),
                    None => return agenda,
                }
            }
        }
        panic!("it does not end");
    }

    pub(super) fn summaries(&self) -> Vec<wire::Summary> {
        let contents = self.log.iter().filter_map(|entry| entry.content.clone());
        contents
            .filter_map(|content| match content {
                Content::Summary(summary) => Some(summary),
                Content::Text(_)
                | Content::Data(_)
                | Content::Instruction(_)
                | Content::Plan(_)
                | Content::Command(_)
                | Content::StepUpdate(_)
                | Content::Membership(_)
                | Content::Recall(_)
                | Content::Edit(_)
                | Content::Group(_)
                | Content::Media(_)
                | Content::Pose(_)
                | Content::Estop(_)
                | Content::EstopRelease(_) => None,
            })
            .collect()
    }
}
