//! What has come of an instruction: for people in its own language, for a model as the progress so
//! far, and in numbers. Pure.

use protocol::wire::{self, Outcome, StepState};
use serde_json::Value;

use crate::execution::{Execution, Run, RunState, arguments};
use crate::language::Language;
use crate::prompt::{FailedStep, FinishedStep, Progress};

/// Lines of a summary, one for each step; those beyond are counted.
const STEP_LINES_MAX: usize = 100;

/// The longest piece of text from outside in a line, in characters.
const PIECE_CHARS_MAX: usize = 300;

/// The longest word about a plan, in characters.
const REASON_CHARS_MAX: usize = 1000;

/// Blocked things that are named.
const BLOCKED_MAX: usize = 50;

/// Why there is no plan, or no further one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decline {
    /// The instruction says nothing.
    Blank,
    /// Too many instructions wait before it.
    QueueFull {
        /// How many wait.
        waiting: usize,
    },
    /// It was given too long ago.
    TooOld,
    /// The model says that it cannot be done.
    ByModel {
        /// Why, in the model's words.
        reason: String,
        /// Which model.
        model: String,
    },
    /// The model did not answer.
    NoAnswer(String),
    /// The model's answers were no plans that can be carried out.
    NoValidPlan {
        /// How often it was asked.
        asks: u32,
        /// What was wrong with the last.
        problem: String,
    },
    /// The members of the group or its world are not known, or are too much to tell.
    NoSituation(String),
    /// The group did not take the plan.
    PlanRefused(String),
}

impl Decline {
    /// For people.
    #[must_use]
    pub fn text(&self, language: Language) -> String {
        let pick = |english: String, chinese: String| language.pick(english, chinese);
        match self {
            Self::Blank => pick("The instruction is empty.".into(), "指令是空的。".into()),
            Self::QueueFull { waiting } => pick(
                format!("{waiting} instructions are waiting already. Please ask again later."),
                format!("已有{waiting}条指令在等待，请稍后再试。"),
            ),
            Self::TooOld => pick(
                "The instruction was given too long ago. Please give it again.".into(),
                "指令已过期，请重新下达。".into(),
            ),
            Self::ByModel { reason, .. } => shortened(reason, REASON_CHARS_MAX),
            Self::NoAnswer(error) => pick(
                format!("The model did not answer: {error}."),
                format!("模型没有回答：{error}。"),
            ),
            Self::NoValidPlan { asks, problem } => {
                let problem = shortened(problem, PIECE_CHARS_MAX);
                pick(
                    format!("The model made no usable plan in {asks} attempts. Last: {problem}"),
                    format!("模型{asks}次都没有给出可执行的计划。最后的问题：{problem}"),
                )
            }
            Self::NoSituation(error) => pick(
                format!("The robots and the world are not known: {error}."),
                format!("无法得知群组里的机器人和环境：{error}。"),
            ),
            Self::PlanRefused(error) => pick(
                format!("The plan could not be posted: {error}."),
                format!("计划无法发布：{error}。"),
            ),
        }
    }
}

/// Steps in numbers. A step that a newer plan has replaced before it was begun is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Planned, by the newest plan, or begun by one before.
    pub planned: u32,
    /// Of these, done.
    pub finished: u32,
    /// Of these, ended and not done.
    pub failed: u32,
}

impl Counts {
    /// Over all plans of an instruction.
    #[must_use]
    pub fn of(plans: &[Execution]) -> Self {
        let mut counts = Self::default();
        for (_, run, is_newest) in all_steps(plans) {
            let is_begun = run.state != RunState::Waiting;
            counts.planned += u32::from(is_newest || is_begun);
            counts.finished += u32::from(run.is_finished());
            counts.failed += u32::from(run.has_failed());
        }
        counts
    }
}

/// What a model is told of the plans so far.
#[must_use]
pub fn progress(plans: &[Execution]) -> Progress {
    let mut progress = Progress::default();
    for (step, run, _) in all_steps(plans) {
        let (id, robot) = (step.step_id.clone(), step.robot_name.clone());
        let (action, arguments) = (step.action.clone(), arguments(step));
        match run.ending() {
            Some(ending) if ending.state == StepState::Finished => {
                progress.finished.push(FinishedStep {
                    id,
                    robot,
                    action,
                    arguments,
                    result: ending.result.clone(),
                });
            }
            Some(_) | None => progress.failed.push(FailedStep {
                id,
                robot,
                action,
                arguments,
                reason: why(run, Language::English),
            }),
        }
    }
    progress
}

/// The text of a summary.
#[must_use]
pub fn text(
    language: Language,
    outcome: Outcome,
    plans: &[Execution],
    decline: Option<&Decline>,
) -> String {
    let mut lines = vec![headline(language, outcome, plans, decline)];
    let steps: Vec<_> = all_steps(plans)
        .filter(|(_, run, is_newest)| *is_newest || run.state != RunState::Waiting)
        .collect();
    for (step, run, _) in steps.iter().take(STEP_LINES_MAX) {
        lines.push(step_line(language, step, run));
    }
    if let Some(more) = steps.len().checked_sub(STEP_LINES_MAX).filter(|n| *n > 0) {
        let english = format!("- and {more} more steps");
        lines.push(language.pick(english, format!("- 还有{more}个步骤")));
    }
    lines.extend(blocked_line(language, plans));
    if plans.len() > 1 {
        let times = plans.len() - 1;
        let english = format!("New plans after a failure: {times}.");
        lines.push(language.pick(english, format!("失败后重新计划{times}次。")));
    }
    if !plans.is_empty()
        && let Some(decline) = decline
    {
        let why = decline.text(language);
        let english = format!("No further plan: {why}");
        lines.push(language.pick(english, format!("没有新的计划：{why}")));
    }
    lines.extend(model_line(language, plans, decline));
    lines.join("\n")
}

fn headline(
    language: Language,
    outcome: Outcome,
    plans: &[Execution],
    decline: Option<&Decline>,
) -> String {
    let Counts {
        planned,
        finished,
        failed,
    } = Counts::of(plans);
    match outcome {
        Outcome::Done if failed == 0 => language.pick(
            format!("Done: all {planned} steps are finished."),
            format!("完成：全部{planned}个步骤都已完成。"),
        ),
        Outcome::Done => language.pick(
            format!("Done: {finished} of {planned} steps finished, {failed} replaced by others."),
            format!("完成：{planned}个步骤中完成{finished}个，{failed}个失败后由其他步骤代替。"),
        ),
        Outcome::PartlyDone => language.pick(
            format!("Partly done: {finished} of {planned} steps finished, {failed} failed."),
            format!("部分完成：{planned}个步骤中完成{finished}个，失败{failed}个。"),
        ),
        Outcome::Declined | Outcome::Unspecified => {
            let why = decline.map_or_else(String::new, |decline| decline.text(language));
            language.pick(format!("Declined: {why}"), format!("无法执行：{why}"))
        }
    }
}

fn step_line(language: Language, step: &wire::Step, run: &Run) -> String {
    let said: String = arguments(step)
        .iter()
        .map(|(name, value)| format!(" {name}={}", piece(value)))
        .collect();
    let said = shortened(&said, PIECE_CHARS_MAX);
    let (id, robot, action) = (&step.step_id, &step.robot_name, &step.action);
    let became = if run.is_finished() {
        language.pick("finished".to_owned(), "已完成".to_owned())
    } else {
        let why = why(run, language);
        match run.ending() {
            Some(_) => language.pick(format!("failed: {why}"), format!("失败：{why}")),
            None => why,
        }
    };
    let attempts = match run.attempt {
        1 => String::new(),
        n => language.pick(format!(" (attempt {n})"), format!("（第{n}次）")),
    };
    language.pick(
        format!("- {id} {robot}: {action}{said}: {became}{attempts}"),
        format!("- {id} {robot}：{action}{said}：{became}{attempts}"),
    )
}

/// Why a step is not done.
fn why(run: &Run, language: Language) -> String {
    let state = match &run.state {
        RunState::Waiting => return language.pick("not started", "未开始").into(),
        RunState::Commanded { .. } => {
            return language.pick("its end is not known", "结果未知").into();
        }
        RunState::Ended(ending) if !ending.reason.trim().is_empty() => {
            return shortened(&ending.reason, PIECE_CHARS_MAX);
        }
        RunState::Ended(ending) => ending.state,
    };
    let (english, chinese) = match state {
        StepState::Rejected => ("the robot rejected it", "机器人拒绝执行"),
        StepState::Cancelled => ("cancelled", "已取消"),
        StepState::Expired => ("out of time", "超时"),
        StepState::Failed
        | StepState::Finished
        | StepState::Accepted
        | StepState::Running
        | StepState::Unspecified => ("no reason given", "没有说明原因"),
    };
    language.pick(english, chinese).into()
}

/// What inspections found in the way: the key `blocked` of a result is a list.
fn blocked_line(language: Language, plans: &[Execution]) -> Option<String> {
    let mut has_looked = false;
    let mut found: Vec<String> = Vec::new();
    for (_, run, _) in all_steps(plans) {
        let result = run.ending().map(|ending| &ending.result);
        if let Some(blocked) = result.and_then(|result| result.get("blocked")?.as_array()) {
            has_looked = true;
            let named = blocked.iter().map(piece);
            found.extend(named.filter(|name| !name.is_empty()));
        }
    }
    if !has_looked {
        return None;
    }
    found.sort();
    found.dedup();
    if found.is_empty() {
        return Some(language.pick("Nothing is blocked.".into(), "没有发现堵塞。".into()));
    }
    let count = found.len();
    found.truncate(BLOCKED_MAX);
    Some(language.pick(
        format!("Blocked ({count}): {}.", found.join(", ")),
        format!("发现堵塞{count}处：{}。", found.join("、")),
    ))
}

fn model_line(
    language: Language,
    plans: &[Execution],
    decline: Option<&Decline>,
) -> Option<String> {
    let (model, note) = match (plans.last(), decline) {
        (_, Some(Decline::ByModel { model, .. })) => (model.as_str(), ""),
        (Some(newest), _) => (newest.plan().model.as_str(), newest.plan().note.trim()),
        (None, _) => return None,
    };
    let model = shortened(model, PIECE_CHARS_MAX);
    let note = shortened(note, REASON_CHARS_MAX);
    Some(match (note.is_empty(), language) {
        (true, Language::English) => format!("Model: {model}."),
        (true, Language::Chinese) => format!("模型：{model}。"),
        (false, Language::English) => format!("Model {model}: {note}"),
        (false, Language::Chinese) => format!("模型{model}：{note}"),
    })
}

/// Every step of every plan, and whether it is of the newest.
fn all_steps(plans: &[Execution]) -> impl Iterator<Item = (&wire::Step, &Run, bool)> {
    let newest = plans.len();
    plans.iter().enumerate().flat_map(move |(at, plan)| {
        plan.steps()
            .map(move |(step, run)| (step, run, at + 1 == newest))
    })
}

/// A value without the quotes of a string, not longer than a piece.
fn piece(value: &Value) -> String {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    shortened(&text, PIECE_CHARS_MAX)
}

fn shortened(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(chars_max).collect();
    short.push_str("...");
    short
}

#[cfg(test)]
mod tests;
