//! One version of a plan being carried out: which step is due, which runs, which has ended.
//!
//! Pure, and a function of the log alone: a step is issued at the moment of the entry (or of the
//! time-out) that made it due, in the plan's order, one at a time per robot. So whoever folds the
//! same log issues the same commands with the same deadlines.

use client_sdk::protocol::{AccountId, wire};
use wire::StepState;

/// How long after a command's deadline its robot's last word may still come, in milliseconds: a
/// reconnect of the robot, and the difference between two machines' clocks.
pub const REPORT_GRACE_MS: u64 = 10_000;

/// What has become of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepStatus {
    /// Not commanded yet.
    Waiting,
    /// Commanded, or due to be.
    Issued {
        /// The command's deadline, in milliseconds since the Unix epoch.
        deadline_at_ms: u64,
        /// The robot's newest word.
        heard: Heard,
    },
    /// Done.
    Finished {
        /// What the action returned, a JSON value; may be empty.
        result_json: String,
    },
    /// Not done, and will not be.
    Failed {
        /// The robot's word, or `None` when it said nothing in time.
        state: Option<StepState>,
        /// Why.
        reason: String,
    },
}

/// A robot's newest word on a step that it has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// None yet.
    Nothing,
    /// It will start it.
    Accepted,
    /// It is at it.
    Running {
        /// 0 to 100.
        progress_percent: u32,
    },
}

/// A step and what has become of it.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRun {
    /// The step.
    pub step: wire::Step,
    /// What has become of it.
    pub status: StepStatus,
}

impl StepRun {
    /// Whether the robot has it, or is about to.
    #[must_use]
    pub const fn is_issued(&self) -> bool {
        matches!(self.status, StepStatus::Issued { .. })
    }

    /// Whether it is done.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        matches!(self.status, StepStatus::Finished { .. })
    }

    /// Whether it will not be done.
    #[must_use]
    pub const fn is_failed(&self) -> bool {
        matches!(self.status, StepStatus::Failed { .. })
    }
}

/// What to do on a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Issue nothing more: a new plan will be made.
    Stop,
    /// Go on with whatever does not depend on it: there will be no other plan.
    GoOn,
}

/// A plan being carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// The plan's version.
    pub version: u32,
    /// The model that made it.
    pub model: String,
    /// The steps in the plan's order.
    pub steps: Vec<StepRun>,
    on_failure: OnFailure,
}

impl Execution {
    /// Starts a plan that was committed at `now_ms`.
    #[must_use]
    pub fn start(plan: wire::Plan, on_failure: OnFailure, now_ms: u64) -> Self {
        let run = |step| StepRun {
            step,
            status: StepStatus::Waiting,
        };
        let mut execution = Self {
            version: plan.version,
            model: plan.model,
            steps: plan.steps.into_iter().map(run).collect(),
            on_failure,
        };
        execution.issue(now_ms);
        execution
    }

    /// Folds a robot's word. One that is not of the step's robot, or comes after the last word, is
    /// passed over; says whether it was taken.
    pub fn handle_update(
        &mut self,
        sender: AccountId,
        update: &wire::StepUpdate,
        now_ms: u64,
    ) -> bool {
        let state = update.state();
        let Some(run) = self.issued_mut(&update.step_id) else {
            return false;
        };
        let StepStatus::Issued { heard, .. } = &mut run.status else {
            return false;
        };
        if run.step.robot != sender.0 {
            return false;
        }
        match state {
            StepState::Accepted if *heard == Heard::Nothing => *heard = Heard::Accepted,
            StepState::Accepted | StepState::Unspecified => {}
            StepState::Running => {
                *heard = Heard::Running {
                    progress_percent: update.progress_percent.min(100),
                };
            }
            StepState::Finished => {
                run.status = StepStatus::Finished {
                    result_json: update.result_json.clone(),
                };
            }
            StepState::Failed | StepState::Rejected | StepState::Cancelled | StepState::Expired => {
                run.status = StepStatus::Failed {
                    state: Some(state),
                    reason: update.reason.clone(),
                };
            }
        }
        self.issue(now_ms);
        true
    }

    /// The command could not be given to the robot, for good.
    pub fn handle_undeliverable(&mut self, step_id: &str, reason: &str, now_ms: u64) {
        if let Some(run) = self.issued_mut(step_id) {
            run.status = StepStatus::Failed {
                state: None,
                reason: reason.to_owned(),
            };
        }
        self.issue(now_ms);
    }

    /// Lets time pass: steps whose robot was silent for too long have failed, each at its moment.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        while let Some(at_ms) = self.timeout_at_ms().filter(|at_ms| *at_ms <= now_ms) {
            for run in &mut self.steps {
                if run_timeout(run) == Some(at_ms) {
                    run.status = StepStatus::Failed {
                        state: None,
                        reason: String::new(),
                    };
                }
            }
            self.issue(at_ms);
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn timeout_at_ms(&self) -> Option<u64> {
        self.steps.iter().filter_map(run_timeout).min()
    }

    /// No step is issued and none will be.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !self.steps.iter().any(StepRun::is_issued)
    }

    /// Every step is finished.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.steps.iter().all(StepRun::is_finished)
    }

    fn issued_mut(&mut self, step_id: &str) -> Option<&mut StepRun> {
        let same = |run: &&mut StepRun| run.step.step_id == step_id && run.is_issued();
        self.steps.iter_mut().find(same)
    }

    /// Issues what is due: dependencies finished, robot free.
    fn issue(&mut self, now_ms: u64) {
        let failed = self.steps.iter().any(StepRun::is_failed);
        if failed && self.on_failure == OnFailure::Stop {
            return;
        }
        while let Some(index) = (0..self.steps.len()).find(|index| self.is_due(*index)) {
            let run = &mut self.steps[index];
            run.status = StepStatus::Issued {
                deadline_at_ms: now_ms.saturating_add(run.step.time_limit_ms),
                heard: Heard::Nothing,
            };
        }
    }

    fn is_due(&self, index: usize) -> bool {
        let due = &self.steps[index];
        let finished = |id: &String| {
            let step = self.steps.iter().find(|run| run.step.step_id == *id);
            step.is_some_and(StepRun::is_finished)
        };
        let busy = |run: &StepRun| run.is_issued() && run.step.robot == due.step.robot;
        due.status == StepStatus::Waiting
            && due.step.depends_on.iter().all(finished)
            && !self.steps.iter().any(busy)
    }
}

fn run_timeout(run: &StepRun) -> Option<u64> {
    match run.status {
        StepStatus::Issued { deadline_at_ms, .. } => {
            Some(deadline_at_ms.saturating_add(REPORT_GRACE_MS))
        }
        StepStatus::Waiting | StepStatus::Finished { .. } | StepStatus::Failed { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(id: &str, robot: u64, depends_on: &[&str]) -> wire::Step {
        wire::Step {
            step_id: id.into(),
            robot,
            depends_on: depends_on.iter().map(ToString::to_string).collect(),
            time_limit_ms: 1000,
            ..Default::default()
        }
    }

    fn start(steps: Vec<wire::Step>, on_failure: OnFailure) -> Execution {
        let plan = wire::Plan {
            steps,
            version: 1,
            ..Default::default()
        };
        Execution::start(plan, on_failure, 0)
    }

    fn issued(execution: &Execution) -> Vec<&str> {
        let issued = execution.steps.iter().filter(|run| run.is_issued());
        issued.map(|run| &*run.step.step_id).collect()
    }

    fn report(execution: &mut Execution, robot: u64, id: &str, state: StepState) -> bool {
        let update = wire::StepUpdate {
            step_id: id.into(),
            state: state.into(),
            ..Default::default()
        };
        execution.handle_update(AccountId(robot), &update, 500)
    }

    #[test]
    fn dependencies_and_one_step_at_a_time_per_robot() {
        let steps = vec![
            step("a", 1, &[]),
            step("b", 1, &[]),
            step("c", 2, &["a"]),
            step("d", 3, &[]),
        ];
        let mut execution = start(steps, OnFailure::Stop);
        assert_eq!(issued(&execution), ["a", "d"]);
        assert!(report(&mut execution, 1, "a", StepState::Finished));
        assert_eq!(issued(&execution), ["b", "c", "d"]);
        let StepStatus::Issued { deadline_at_ms, .. } = execution.steps[1].status else {
            panic!("b is issued")
        };
        assert_eq!(deadline_at_ms, 1500);
    }

    #[test]
    fn only_its_robot_may_speak_of_a_step_and_its_last_word_counts() {
        let mut execution = start(vec![step("a", 1, &[])], OnFailure::Stop);
        assert!(!report(&mut execution, 2, "a", StepState::Finished));
        assert!(!report(&mut execution, 1, "z", StepState::Finished));
        assert!(report(&mut execution, 1, "a", StepState::Failed));
        assert!(!report(&mut execution, 1, "a", StepState::Finished));
        assert!(execution.is_over() && !execution.is_done());
    }

    #[test]
    fn a_failure_stops_the_first_plan_and_not_the_last() {
        let steps = || vec![step("a", 1, &[]), step("b", 1, &[]), step("c", 2, &["a"])];
        let mut first = start(steps(), OnFailure::Stop);
        report(&mut first, 1, "a", StepState::Rejected);
        assert!(first.is_over());
        let mut last = start(steps(), OnFailure::GoOn);
        report(&mut last, 1, "a", StepState::Rejected);
        assert_eq!(issued(&last), ["b"]);
    }

    #[test]
    fn silence_fails_a_step_at_its_moment_and_frees_its_robot() {
        let steps = vec![step("a", 1, &[]), step("b", 1, &[])];
        let mut execution = start(steps, OnFailure::GoOn);
        let at_ms = execution.timeout_at_ms().unwrap();
        assert_eq!(at_ms, 1000 + REPORT_GRACE_MS);
        execution.handle_timeout(at_ms - 1);
        assert_eq!(issued(&execution), ["a"]);
        // Noticed late: the next step was due at the moment itself.
        execution.handle_timeout(at_ms + 5);
        assert_eq!(execution.timeout_at_ms(), Some(at_ms + 1000 + REPORT_GRACE_MS));
        execution.handle_timeout(u64::MAX);
        assert!(execution.is_over() && execution.timeout_at_ms().is_none());
    }
}
