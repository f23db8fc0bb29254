//! One version of a plan and how far it has come: a fold of the step updates in the log. Which
//! commands are due follows from the log alone, so a restarted planner finds the same. Pure.

use protocol::wire::{self, StepState};
use serde_json::{Map, Value};

/// How a plan is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecutionPolicy {
    /// Commands that one step may cost; each one after the first repeats a failed one.
    pub attempts_max: u32,
    /// Nothing more is begun once a step has failed, because a new plan is to come.
    pub stops_at_failure: bool,
}

/// A plan under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    plan: wire::Plan,
    runs: Vec<Run>,
    policy: ExecutionPolicy,
}

/// A step under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// 1, then one more for each repeat.
    pub attempt: u32,
    /// How far it is.
    pub state: RunState,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq)]
pub enum RunState {
    /// For other steps, or for its robot.
    Waiting,
    /// Its robot is to do it.
    Commanded {
        /// The commit that made it ready, in milliseconds since the Unix epoch.
        since_ms: u64,
        /// The robot has said that it will.
        accepted: bool,
    },
    /// Nothing more comes of it.
    Ended(Ending),
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// FINISHED, or one of those that are not.
    pub state: StepState,
    /// Why, unless it finished.
    pub reason: String,
    /// What the action returned, if it finished.
    pub result: Value,
    /// The planner says so, because the robot did not.
    pub by_planner: bool,
}

impl Execution {
    /// A plan that was committed at `now_ms`. Its first steps are commanded at once.
    #[must_use]
    pub fn new(plan: wire::Plan, policy: ExecutionPolicy, now_ms: u64) -> Self {
        let runs = plan.steps.iter().map(|_| Run::FIRST).collect();
        let mut execution = Self { plan, runs, policy };
        execution.command_ready(now_ms);
        execution
    }

    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &wire::Plan {
        &self.plan
    }

    /// Every step and how far it is, in the plan's order.
    pub fn steps(&self) -> impl Iterator<Item = (&wire::Step, &Run)> {
        self.plan.steps.iter().zip(&self.runs)
    }

    /// Whether some robot still has a command.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.runs.iter().any(Run::is_commanded)
    }

    /// Whether every step is finished.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.runs.iter().all(Run::is_finished)
    }

    /// A committed update of a step, of the step's robot or of the planner. Returns whether it
    /// changes anything.
    pub fn apply(&mut self, update: &wire::StepUpdate, by_planner: bool) -> bool {
        let place = self
            .plan
            .steps
            .iter()
            .position(|step| step.step_id == update.step_id);
        let Some(run) = place.and_then(|at| self.runs.get_mut(at)) else {
            return false;
        };
        match update.state() {
            StepState::Unspecified | StepState::Running => false,
            StepState::Accepted => run.accept(update.attempt),
            StepState::Finished
            | StepState::Failed
            | StepState::Rejected
            | StepState::Cancelled
            | StepState::Expired => run.end(update, by_planner, self.policy.attempts_max),
        }
    }

    /// Commands what is ready: every dependency is finished and the robot has nothing else to do.
    /// The moment is that of the entry that made it ready.
    pub fn command_ready(&mut self, now_ms: u64) {
        if self.policy.stops_at_failure && self.runs.iter().any(Run::has_failed) {
            return;
        }
        for at in 0..self.runs.len() {
            if self.is_ready(at) {
                self.runs[at].state = RunState::Commanded {
                    since_ms: now_ms,
                    accepted: false,
                };
            }
        }
    }

    fn is_ready(&self, at: usize) -> bool {
        let step = &self.plan.steps[at];
        let needs_are_finished = || {
            step.depends_on.iter().all(|needed| {
                self.steps()
                    .any(|(other, run)| other.step_id == *needed && run.is_finished())
            })
        };
        let robot_is_free = || {
            !self
                .steps()
                .any(|(other, run)| other.robot == step.robot && run.is_commanded())
        };
        self.runs[at].state == RunState::Waiting && robot_is_free() && needs_are_finished()
    }
}

impl Run {
    const FIRST: Self = Self {
        attempt: 1,
        state: RunState::Waiting,
    };

    /// Whether its robot has a command.
    #[must_use]
    pub const fn is_commanded(&self) -> bool {
        matches!(self.state, RunState::Commanded { .. })
    }

    /// Whether it is done.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.ending()
            .is_some_and(|ending| ending.state == StepState::Finished)
    }

    /// Whether it ended and is not done.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.ending()
            .is_some_and(|ending| ending.state != StepState::Finished)
    }

    /// How it ended, if it has.
    #[must_use]
    pub const fn ending(&self) -> Option<&Ending> {
        match &self.state {
            RunState::Ended(ending) => Some(ending),
            RunState::Waiting | RunState::Commanded { .. } => None,
        }
    }

    fn accept(&mut self, of_attempt: u32) -> bool {
        match &mut self.state {
            RunState::Commanded { accepted, .. } if of_attempt == self.attempt && !*accepted => {
                *accepted = true;
                true
            }
            RunState::Commanded { .. } | RunState::Waiting | RunState::Ended(_) => false,
        }
    }

    fn end(&mut self, update: &wire::StepUpdate, by_planner: bool, attempts_max: u32) -> bool {
        let state = update.state();
        let is_finished = state == StepState::Finished;
        let is_open = match &self.state {
            RunState::Waiting | RunState::Commanded { .. } => true,
            // A robot that was given up knows better: what is done is done.
            RunState::Ended(ending) => ending.by_planner && is_finished,
        };
        if !is_open || by_planner && is_finished || !is_finished && update.attempt != self.attempt {
            return false;
        }
        let may_be_repeated = matches!(state, StepState::Failed | StepState::Expired);
        if may_be_repeated && self.attempt < attempts_max {
            self.attempt += 1;
            self.state = RunState::Waiting;
            return true;
        }
        self.state = RunState::Ended(Ending {
            state,
            reason: update.reason.clone(),
            result: serde_json::from_str(&update.result_json).unwrap_or(Value::Null),
            by_planner,
        });
        true
    }
}

/// The arguments of a step; empty if they are none.
#[must_use]
pub fn arguments(step: &wire::Step) -> Map<String, Value> {
    serde_json::from_str(&step.arguments_json).unwrap_or_default()
}

#[cfg(test)]
mod tests;
