//! Whether a model's plan can be carried out by these robots. What is wrong is said in one sentence
//! each, for the model to mend; a plan without problems becomes the message to the group.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::{PatternOptions, Validator};
use protocol::content::{self, Content};
use protocol::limits::CONTENT_BYTES_MAX;
use protocol::{ClientMessageId, wire};
use serde_json::Value;

use crate::plan::{ModelPlan, ModelStep};
use crate::prompt::{Action, Robot};

/// The longest id of a step, in bytes. It is part of the key of ephemeral progress.
pub const STEP_ID_BYTES_MAX: usize = 64;

/// The longest note, in characters; what is beyond it is cut.
pub const NOTE_CHARS_MAX: usize = 2000;

/// Room in a plan's message for what is around the steps, in bytes.
const PLAN_ENVELOPE_BYTES: usize = 256;

/// Problems of one step's arguments that are named.
const ARGUMENT_PROBLEMS_MAX: usize = 3;

/// How much of a value from outside a sentence repeats, in characters.
const QUOTED_CHARS_MAX: usize = 80;

/// The bounds of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLimits {
    /// Steps of one plan.
    pub steps_max: usize,
    /// The least time that a step may be given, in seconds.
    pub step_time_limit_s_min: u64,
    /// The most.
    pub step_time_limit_s_max: u64,
}

/// Which plan it is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanKey {
    /// The instruction.
    pub instruction: ClientMessageId,
    /// 1, then one more for each re-plan.
    pub version: u32,
}

/// Makes the message of a plan with steps, or says everything that is wrong with it.
pub fn check(
    plan: &ModelPlan,
    model: &str,
    key: PlanKey,
    robots: &[Robot],
    limits: &PlanLimits,
) -> Result<wire::Plan, Vec<String>> {
    let mut problems = Vec::new();
    check_count(plan, limits, &mut problems);
    // A plan beyond the bound is not looked at step by step.
    let steps = &plan.steps[..plan.steps.len().min(limits.steps_max)];
    check_ids(steps, &mut problems);
    let by_name: BTreeMap<_, _> = robots.iter().map(|r| (r.name.as_str(), r)).collect();
    let mut validators = BTreeMap::new();
    let mut wire_steps = Vec::with_capacity(steps.len());
    for step in steps {
        check_time_limit(step, limits, &mut problems);
        let Some(robot) = by_name.get(step.robot.as_str()) else {
            let step_id = quoted(&step.id);
            let robot = quoted(&step.robot);
            problems.push(format!("Step {step_id}: no robot here is named {robot}."));
            continue;
        };
        if let Some(action) = find_action(step, robot, &mut problems) {
            let validator = validators
                .entry((robot.account, step.action.as_str()))
                .or_insert_with(|| validator(action));
            check_arguments(step, validator.as_ref(), &mut problems);
        }
        wire_steps.push(wire_step(step, robot));
    }
    check_dependencies(steps, &mut problems);
    let message = wire::Plan {
        instruction_id: key.instruction.to_bytes(),
        version: key.version,
        steps: wire_steps,
        model: model.chars().take(QUOTED_CHARS_MAX).collect(),
        note: plan.note.chars().take(NOTE_CHARS_MAX).collect(),
    };
    if problems.is_empty() {
        check_size(&message, &mut problems);
    }
    if problems.is_empty() {
        Ok(message)
    } else {
        Err(problems)
    }
}

fn wire_step(step: &ModelStep, robot: &Robot) -> wire::Step {
    wire::Step {
        step_id: step.id.clone(),
        robot: robot.account.0,
        robot_name: robot.name.clone(),
        action: step.action.clone(),
        arguments_json: Value::Object(step.arguments.clone()).to_string(),
        depends_on: step.depends_on.clone(),
        time_limit_ms: step.time_limit_s.saturating_mul(1000),
    }
}

fn check_count(plan: &ModelPlan, limits: &PlanLimits, problems: &mut Vec<String>) {
    let count = plan.steps.len();
    if count == 0 {
        problems.push("The plan has neither steps nor a reason in \"declined\".".into());
    }
    if count > limits.steps_max {
        let max = limits.steps_max;
        problems.push(format!(
            "The plan has {count} steps, and at most {max} are allowed."
        ));
    }
}

fn check_ids(steps: &[ModelStep], problems: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (index, step) in steps.iter().enumerate() {
        let number = index + 1;
        if step.id.trim().is_empty() {
            problems.push(format!("Step number {number} has no id."));
        } else if step.id.len() > STEP_ID_BYTES_MAX {
            problems.push(format!(
                "Step number {number} has an id of more than {STEP_ID_BYTES_MAX} bytes."
            ));
        } else if !seen.insert(step.id.as_str()) {
            let id = quoted(&step.id);
            problems.push(format!("Step {id}: another step has the same id."));
        }
    }
}

fn check_time_limit(step: &ModelStep, limits: &PlanLimits, problems: &mut Vec<String>) {
    let (min, max) = (limits.step_time_limit_s_min, limits.step_time_limit_s_max);
    if !(min..=max).contains(&step.time_limit_s) {
        let id = quoted(&step.id);
        let given = step.time_limit_s;
        problems.push(format!(
            "Step {id}: \"time_limit_s\" is {given}, and it is from {min} to {max}."
        ));
    }
}

fn find_action<'a>(
    step: &ModelStep,
    robot: &'a Robot,
    problems: &mut Vec<String>,
) -> Option<&'a Action> {
    let action = robot.actions.iter().find(|a| a.name == step.action);
    if action.is_none() {
        let names: Vec<_> = robot.actions.iter().map(|a| a.name.as_str()).collect();
        let able = if names.is_empty() {
            "no action at all".to_owned()
        } else {
            names.join(", ")
        };
        let (id, robot, wanted) = (quoted(&step.id), &robot.name, quoted(&step.action));
        problems.push(format!(
            "Step {id}: robot {robot} has no action {wanted}; it has {able}."
        ));
    }
    action
}

/// A robot's schema comes from outside: nothing is fetched for it, and its patterns cannot run long.
fn validator(action: &Action) -> Result<Validator, String> {
    jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .offline()
        .build(&action.arguments_schema)
        .map_err(|error| error.to_string())
}

fn check_arguments(
    step: &ModelStep,
    validator: Result<&Validator, &String>,
    problems: &mut Vec<String>,
) {
    let id = quoted(&step.id);
    let action = quoted(&step.action);
    let validator = match validator {
        Ok(validator) => validator,
        Err(error) => {
            let why = shortened(error);
            problems.push(format!(
                "Step {id}: action {action} cannot be used, its schema is none: {why}."
            ));
            return;
        }
    };
    let arguments = Value::Object(step.arguments.clone());
    for error in validator
        .iter_errors(&arguments)
        .take(ARGUMENT_PROBLEMS_MAX)
    {
        let at = error.instance_path().to_string();
        let place = if at.is_empty() {
            "the arguments".to_owned()
        } else {
            format!("argument {at}")
        };
        let why = shortened(&error.to_string());
        problems.push(format!(
            "Step {id}: {place} of {action} are not valid: {why}."
        ));
    }
}

fn check_dependencies(steps: &[ModelStep], problems: &mut Vec<String>) {
    let ids: BTreeSet<_> = steps.iter().map(|step| step.id.as_str()).collect();
    for step in steps {
        for needed in &step.depends_on {
            if !ids.contains(needed.as_str()) {
                let (id, needed) = (quoted(&step.id), quoted(needed));
                problems.push(format!(
                    "Step {id} depends on {needed}, which is no step of the plan."
                ));
            }
        }
    }
    for id in in_circles(steps, &ids) {
        let id = quoted(id);
        problems.push(format!(
            "Step {id} depends on itself by way of its dependencies."
        ));
    }
}

/// The steps on a circle of dependencies, or behind one: those that are left when every step whose
/// dependencies are gone is taken away, again and again.
fn in_circles<'a>(steps: &'a [ModelStep], ids: &BTreeSet<&str>) -> Vec<&'a str> {
    let mut gone: BTreeSet<&str> = BTreeSet::new();
    loop {
        let before = gone.len();
        for step in steps {
            let needs = step.depends_on.iter().map(String::as_str);
            if needs
                .filter(|needed| ids.contains(needed))
                .all(|needed| gone.contains(needed))
            {
                gone.insert(&step.id);
            }
        }
        if gone.len() == before {
            break;
        }
    }
    let left: BTreeSet<_> = steps
        .iter()
        .map(|step| step.id.as_str())
        .filter(|id| !gone.contains(id))
        .collect();
    left.into_iter().collect()
}

fn check_size(message: &wire::Plan, problems: &mut Vec<String>) {
    let bytes = content::encode(Content::Plan(message.clone())).len();
    let max = CONTENT_BYTES_MAX - PLAN_ENVELOPE_BYTES;
    if bytes > max {
        problems.push(format!(
            "The plan has {bytes} bytes as a message, and at most {max} are allowed."
        ));
    }
}

fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= QUOTED_CHARS_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    short.push_str("...");
    short
}

#[cfg(test)]
mod tests;
