//! One instruction on its way from a person's words to a summary. What has happened is a fold of the
//! group's log; what is asked of the shell follows from that and from what this process has asked
//! already, which a crash may forget: then it is asked again, under the same ids. Pure.

mod letter;
mod question;

use std::collections::BTreeMap;

use protocol::content::Content;
use protocol::identity::CommandIdentity;
use protocol::wire::{self, StepState};
use protocol::{AccountId, ClientMessageId, ConversationId};

pub use self::letter::{Letter, Recipient, SendOutcome};
pub use self::question::{Answer, Question};
use crate::execution::{Execution, ExecutionPolicy, RunState};
use crate::language::Language;
use crate::summary::{self, Decline};

/// A message whose outcome is not known is sent again after this long.
const SEND_AGAIN_AFTER_MS: u64 = 1_000;

/// How instructions are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissionPolicy {
    /// New plans after the first.
    pub replans_max: u32,
    /// Commands that one step may cost.
    pub attempts_max: u32,
    /// How long after a command's deadline the robot's word is waited for.
    pub update_grace_ms: u64,
    /// An instruction that has waited longer is declined.
    pub instruction_age_ms_max: u64,
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Ask the model; the answer goes to [`Mission::answered`].
    Ask(Question),
    /// Send this; what became of it goes to [`Mission::sent`].
    Send(Letter),
}

#[derive(Debug, Clone, PartialEq)]
enum Sent {
    InFlight,
    Committed,
    /// A command that is committed: its robot has until then to say how it ended.
    Running {
        expires_at_ms: u64,
    },
    Again {
        at_ms: u64,
    },
    Refused(String),
}

/// What this process has done for the mission; a crash forgets it.
#[derive(Debug, Clone, Default)]
struct Local {
    sent: BTreeMap<ClientMessageId, Sent>,
    /// The version that the model is being asked for.
    asking: Option<u32>,
    /// The model's answer and the version that it is about.
    answer: Option<(u32, Result<wire::Plan, Decline>)>,
    prompt_tokens: u64,
    completion_tokens: u64,
    /// The summary cannot be posted.
    abandoned: bool,
}

/// An instruction as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// The id of its message.
    pub id: ClientMessageId,
    /// Its words.
    pub text: String,
    /// When it was committed, in milliseconds since the Unix epoch.
    pub committed_at_ms: u64,
}

/// An instruction under way.
#[derive(Debug, Clone)]
pub struct Mission {
    group: ConversationId,
    instruction: Instruction,
    policy: MissionPolicy,
    /// It was declined before a model is asked.
    declined: Option<Decline>,
    plans: Vec<Execution>,
    local: Local,
}

impl Mission {
    /// An instruction that was committed to the group, and whether it is declined as it is.
    #[must_use]
    pub fn new(
        group: ConversationId,
        instruction: Instruction,
        declined: Option<Decline>,
        policy: MissionPolicy,
    ) -> Self {
        Self {
            group,
            instruction,
            policy,
            declined,
            plans: Vec::new(),
            local: Local::default(),
        }
    }

    /// The id of the instruction.
    #[must_use]
    pub const fn id(&self) -> ClientMessageId {
        self.instruction.id
    }

    /// Whether it needs neither a model nor robots.
    #[must_use]
    pub const fn is_declined(&self) -> bool {
        self.declined.is_some()
    }

    /// Whether even its summary was refused: there is nothing more to be done.
    #[must_use]
    pub const fn is_abandoned(&self) -> bool {
        self.local.abandoned
    }

    /// Every plan so far, the newest last.
    #[must_use]
    pub fn plans(&self) -> &[Execution] {
        &self.plans
    }

    /// A plan of this planner, committed.
    pub fn fold_plan(&mut self, plan: wire::Plan, committed_at_ms: u64) {
        let next = self.next_version();
        if plan.version != next {
            return;
        }
        let policy = ExecutionPolicy {
            attempts_max: self.policy.attempts_max.max(1),
            stops_at_failure: self.may_replan_after(next),
        };
        self.plans
            .push(Execution::new(plan, policy, committed_at_ms));
        self.local.asking = None;
        self.local.answer = None;
    }

    /// A step update, committed.
    pub fn fold_update(
        &mut self,
        sender: AccountId,
        by_planner: bool,
        update: &wire::StepUpdate,
        committed_at_ms: u64,
    ) {
        let newest = self.plans.len();
        let version = update.plan_version;
        let plans = self.plans.iter_mut().enumerate();
        let Some((at, plan)) = plans
            .map(|(at, plan)| (at + 1, plan))
            .find(|(_, plan)| plan.plan().version == version)
        else {
            return;
        };
        let is_the_robots = plan
            .steps()
            .any(|(step, _)| step.step_id == update.step_id && step.robot == sender.0);
        if !(by_planner || is_the_robots) || !plan.apply(update, by_planner) {
            return;
        }
        if at == newest {
            plan.command_ready(committed_at_ms);
        }
        // What a model was asked about is no longer so.
        self.local.asking = None;
        self.local.answer = None;
    }

    /// The model's answer about a version. One that is not waited for any more is dropped.
    pub fn answered(&mut self, version: u32, answer: Answer) {
        self.local.prompt_tokens += answer.prompt_tokens;
        self.local.completion_tokens += answer.completion_tokens;
        if self.local.asking == Some(version) {
            self.local.asking = None;
            self.local.answer = Some((version, answer.plan));
        }
    }

    /// What became of a message that [`Mission::next`] asked for.
    pub fn sent(&mut self, letter: &Letter, outcome: SendOutcome, now_ms: u64) {
        let sent = match (&letter.content, outcome) {
            (_, SendOutcome::Unknown) => Sent::Again {
                at_ms: now_ms + SEND_AGAIN_AFTER_MS,
            },
            (Content::Command(command), SendOutcome::Committed) => Sent::Running {
                expires_at_ms: command.deadline_at_ms + self.policy.update_grace_ms,
            },
            // The robot has it with another deadline, which an earlier run knew.
            (Content::Command(command), SendOutcome::CommittedOtherwise) => Sent::Running {
                expires_at_ms: now_ms.max(command.deadline_at_ms) + self.policy.update_grace_ms,
            },
            (_, SendOutcome::Committed | SendOutcome::CommittedOtherwise) => Sent::Committed,
            (content, SendOutcome::Refused(reason)) => {
                self.refused(content, &reason, now_ms);
                Sent::Refused(reason)
            }
        };
        self.local.sent.insert(letter.id, sent);
    }

    /// A message that can never be in the log: go on as if it were.
    fn refused(&mut self, content: &Content, reason: &str, now_ms: u64) {
        match content {
            Content::Plan(plan) => {
                let why = Decline::PlanRefused(reason.to_owned());
                self.local.answer = Some((plan.version, Err(why)));
            }
            Content::StepUpdate(update) => {
                self.fold_update(AccountId(0), true, update, now_ms);
            }
            Content::Summary(_) => self.local.abandoned = true,
            // The next output is the word that it failed.
            Content::Command(_)
            | Content::Text(_)
            | Content::Data(_)
            | Content::Instruction(_)
            | Content::Membership(_)
            | Content::Recall(_)
            | Content::Edit(_)
            | Content::Group(_)
            | Content::Media(_)
            | Content::Pose(_)
            | Content::Estop(_)
            | Content::EstopRelease(_) => {}
        }
    }

    /// What is to be done now and has not been asked for yet.
    pub fn next(&mut self, now_ms: u64) -> Vec<Output> {
        if self.local.abandoned {
            return Vec::new();
        }
        if let Some(decline) = self.declined.clone() {
            let summary = self.summary(Some(&decline));
            return self.send_all(vec![summary], now_ms);
        }
        let Some(newest) = self.plans.last() else {
            let age_ms = now_ms.saturating_sub(self.instruction.committed_at_ms);
            let is_new = self.local.asking.is_none() && self.local.answer.is_none();
            if is_new && age_ms > self.policy.instruction_age_ms_max {
                self.declined = Some(Decline::TooOld);
                return self.next(now_ms);
            }
            return self.plan_next(now_ms);
        };
        if newest.is_running() {
            let letters = self.commands_and_ends(now_ms);
            return self.send_all(letters, now_ms);
        }
        if !newest.is_finished() && self.may_replan_after(newest.plan().version) {
            return self.plan_next(now_ms);
        }
        let summary = self.summary(None);
        self.send_all(vec![summary], now_ms)
    }

    /// When [`Mission::next`] may have something new although nothing has happened.
    #[must_use]
    pub fn wake_at_ms(&self) -> Option<u64> {
        let times = self.local.sent.iter().filter_map(|(id, sent)| match sent {
            Sent::Again { at_ms } => Some(*at_ms),
            Sent::Running { expires_at_ms } if self.is_commanded(*id) => Some(expires_at_ms + 1),
            Sent::Running { .. } | Sent::InFlight | Sent::Committed | Sent::Refused(_) => None,
        });
        times.min()
    }

    fn is_commanded(&self, id: ClientMessageId) -> bool {
        let Some(newest) = self.plans.last() else {
            return false;
        };
        let mut running = newest.steps().filter(|(_, run)| run.is_commanded());
        running.any(|(step, run)| {
            self.identity(newest.plan().version, step, run.attempt)
                .message_id()
                == id
        })
    }

    fn next_version(&self) -> u32 {
        self.plans.last().map_or(1, |plan| plan.plan().version + 1)
    }

    const fn may_replan_after(&self, version: u32) -> bool {
        version <= self.policy.replans_max
    }

    /// Asks for the next version, or posts the answer.
    fn plan_next(&mut self, now_ms: u64) -> Vec<Output> {
        let version = self.next_version();
        match self.local.answer.clone().filter(|(of, _)| *of == version) {
            Some((_, Ok(plan))) => {
                let letter = letter::plan(self.id(), plan);
                self.send_all(vec![letter], now_ms)
            }
            Some((_, Err(decline))) => {
                let summary = self.summary(Some(&decline));
                self.send_all(vec![summary], now_ms)
            }
            None if self.local.asking == Some(version) => Vec::new(),
            None => {
                self.local.asking = Some(version);
                vec![Output::Ask(Question {
                    instruction: self.id(),
                    version,
                    text: self.instruction.text.clone(),
                    progress: (!self.plans.is_empty()).then(|| summary::progress(&self.plans)),
                })]
            }
        }
    }

    /// Commands for the steps that are ready, and the end of those that nobody else ends.
    fn commands_and_ends(&self, now_ms: u64) -> Vec<Letter> {
        let Some(newest) = self.plans.last() else {
            return Vec::new();
        };
        let mut letters = Vec::new();
        for (step, run) in newest.steps() {
            let RunState::Commanded { since_ms, .. } = run.state else {
                continue;
            };
            let identity = self.identity(newest.plan().version, step, run.attempt);
            match self.local.sent.get(&identity.message_id()) {
                Some(Sent::Running { expires_at_ms }) if now_ms > *expires_at_ms => {
                    let reason = "no word of its end came within the time limit";
                    letters.push(letter::ended(&identity, StepState::Expired, reason.into()));
                }
                Some(Sent::Refused(why)) => {
                    let reason = format!("the command could not be sent: {why}");
                    letters.push(letter::ended(&identity, StepState::Failed, reason));
                }
                Some(Sent::Running { .. } | Sent::InFlight | Sent::Committed) => {}
                Some(Sent::Again { .. }) | None => {
                    letters.push(letter::command(
                        self.group, &identity, step, since_ms, now_ms,
                    ));
                }
            }
        }
        letters
    }

    fn summary(&self, decline: Option<&Decline>) -> Letter {
        let language = Language::of(&self.instruction.text);
        let tokens = (self.local.prompt_tokens, self.local.completion_tokens);
        letter::summary(self.id(), language, &self.plans, decline, tokens)
    }

    fn identity(&self, plan_version: u32, step: &wire::Step, attempt: u32) -> CommandIdentity {
        CommandIdentity {
            instruction: self.id(),
            plan_version,
            step_id: step.step_id.clone(),
            attempt,
        }
    }

    /// Leaves out what is on its way already, or has arrived.
    fn send_all(&mut self, letters: Vec<Letter>, now_ms: u64) -> Vec<Output> {
        let mut outputs = Vec::new();
        for letter in letters {
            let is_due = match self.local.sent.get(&letter.id) {
                None => true,
                Some(Sent::Again { at_ms }) => now_ms >= *at_ms,
                Some(
                    Sent::InFlight | Sent::Committed | Sent::Running { .. } | Sent::Refused(_),
                ) => false,
            };
            if is_due {
                self.local.sent.insert(letter.id, Sent::InFlight);
                outputs.push(Output::Send(letter));
            }
        }
        outputs
    }
}

#[cfg(test)]
mod tests;
