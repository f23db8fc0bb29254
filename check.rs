//! Whether a model's draft is a plan: every robot exists and has the action, every argument
//! satisfies the action's schema, the dependencies make an order. What passes is the wire plan;
//! what does not is the exact list of faults, worded for the model that has to mend them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use client_sdk::protocol::ClientMessageId;
use client_sdk::protocol::wire;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::plan::{Draft, DraftStep};

/// Steps in one plan. A plan is one message, and a person has to be able to read it.
pub const STEPS_MAX: usize = 200;

/// The longest time limit of one step, in seconds: an hour is longer than any single action.
pub const STEP_TIME_LIMIT_S_MAX: u64 = 3600;

/// A step's id, in bytes: it travels in every update.
pub const STEP_ID_BYTES_MAX: usize = 64;

/// Faults told of one step's arguments: more would not help the model.
const ARGUMENT_FAULTS_MAX: usize = 3;

/// The robots of a group and what each is able to do, by name.
#[derive(Debug, Default)]
pub struct Roster {
    robots: BTreeMap<String, Robot>,
}

/// One robot of a [`Roster`].
#[derive(Debug)]
pub struct Robot {
    /// Its account.
    pub account_id: u64,
    /// What it says it is, for example "forklift-2t".
    pub model: String,
    /// Its actions by name.
    pub actions: BTreeMap<String, Action>,
}

/// One action of a robot.
#[derive(Debug)]
pub struct Action {
    /// One sentence for the model.
    pub description: String,
    /// The schema of its arguments.
    pub schema: Value,
    validator: Validator,
}

/// An action that a robot declared and that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableAction {
    /// The robot's name.
    pub robot: String,
    /// The action's name.
    pub action: String,
    /// What is wrong with its schema.
    pub why: String,
}

impl Roster {
    /// The robots among the members of a group. An action whose schema does not compile is left
    /// out and named.
    #[must_use]
    pub fn new(members: &[wire::Account]) -> (Self, Vec<UnusableAction>) {
        let mut unusable = Vec::new();
        let robots = members
            .iter()
            .filter(|account| account.kind() == wire::AccountKind::Robot)
            .map(|account| (account.name.clone(), Robot::new(account, &mut unusable)))
            .collect();
        (Self { robots }, unusable)
    }

    /// The robots in the order of their names.
    pub fn robots(&self) -> impl Iterator<Item = (&str, &Robot)> {
        self.robots.iter().map(|(name, robot)| (&**name, robot))
    }

    fn names(&self) -> String {
        listed(self.robots.keys())
    }
}

impl Robot {
    fn new(account: &wire::Account, unusable: &mut Vec<UnusableAction>) -> Self {
        let card = account.capabilities.clone().unwrap_or_default();
        let mut actions = BTreeMap::new();
        for spec in card.actions {
            match Action::new(&spec) {
                Ok(action) => {
                    actions.insert(spec.name, action);
                }
                Err(why) => unusable.push(UnusableAction {
                    robot: account.name.clone(),
                    action: spec.name,
                    why,
                }),
            }
        }
        Self {
            account_id: account.account_id,
            model: card.model,
            actions,
        }
    }
}

impl Action {
    fn new(spec: &wire::ActionSpec) -> Result<Self, String> {
        let schema: Value =
            serde_json::from_str(&spec.arguments_schema_json).map_err(|error| error.to_string())?;
        // The pattern engine without backtracking: the schema is a stranger's.
        let validator = jsonschema::options()
            .with_pattern_options(PatternOptions::regex())
            .build(&schema)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            description: spec.description.clone(),
            schema,
            validator,
        })
    }
}

/// What is wrong with a draft. `Display` is for the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No steps, and no reason why not.
    Empty,
    /// Steps, and a reason why not.
    DeclinedWithSteps,
    /// More than [`STEPS_MAX`].
    TooManySteps(usize),
    /// An id that is empty or longer than [`STEP_ID_BYTES_MAX`].
    BadId(String),
    /// Two steps with one id.
    DuplicateId(String),
    /// No robot of that name in the group.
    UnknownRobot {
        /// The step.
        step: String,
        /// The name.
        robot: String,
        /// Those that there are.
        known: String,
    },
    /// The robot does not have the action.
    UnknownAction {
        /// The step.
        step: String,
        /// The robot.
        robot: String,
        /// The action.
        action: String,
        /// Those that it has.
        known: String,
    },
    /// The arguments do not satisfy the action's schema.
    BadArguments {
        /// The step.
        step: String,
        /// The place within the arguments and what is wrong there.
        why: String,
    },
    /// A dependency on no step of the plan.
    UnknownDependency {
        /// The step.
        step: String,
        /// What it names.
        dependency: String,
    },
    /// Steps that wait for each other.
    Cycle(String),
    /// A time limit of 0, or more than [`STEP_TIME_LIMIT_S_MAX`].
    BadTimeLimit {
        /// The step.
        step: String,
        /// In seconds.
        time_limit_s: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "there are no steps; if nothing can be done, say why in `declined`"),
            Self::DeclinedWithSteps => write!(f, "`declined` is set and there are steps; decide for one"),
            Self::TooManySteps(count) => write!(f, "{count} steps; at most {STEPS_MAX} are allowed"),
            Self::BadId(id) => write!(f, "step id `{id}`: 1 to {STEP_ID_BYTES_MAX} bytes, please"),
            Self::DuplicateId(id) => write!(f, "step id `{id}` is used more than once"),
            Self::UnknownRobot { step, robot, known } => {
                write!(f, "step `{step}`: there is no robot `{robot}`; the robots are {known}")
            }
            Self::UnknownAction { step, robot, action, known } => write!(
                f,
                "step `{step}`: robot `{robot}` has no action `{action}`; its actions are {known}"
            ),
            Self::BadArguments { step, why } => write!(f, "step `{step}`: arguments: {why}"),
            Self::UnknownDependency { step, dependency } => {
                write!(f, "step `{step}` depends on `{dependency}`, which is no step of the plan")
            }
            Self::Cycle(steps) => write!(f, "these steps wait for each other: {steps}"),
            Self::BadTimeLimit { step, time_limit_s } => write!(
                f,
                "step `{step}`: time_limit_s is {time_limit_s}; it must be 1 to {STEP_TIME_LIMIT_S_MAX}"
            ),
        }
    }
}

/// What a sound draft says.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// To be posted.
    Plan(wire::Plan),
    /// Nothing can be done, and why.
    Declined(String),
}

/// Which plan a draft would become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanIdentity {
    /// The instruction.
    pub instruction: ClientMessageId,
    /// The plan's version.
    pub version: u32,
    /// The model, as the provider names it.
    pub model: String,
}

/// Checks a draft against the robots.
///
/// # Errors
/// Every fault found; never an empty list.
pub fn check(draft: &Draft, roster: &Roster, identity: &PlanIdentity) -> Result<Verdict, Vec<Fault>> {
    let declined = draft.declined.as_deref().map(str::trim).filter(|why| !why.is_empty());
    match (declined, draft.steps.is_empty()) {
        (Some(why), true) => return Ok(Verdict::Declined(why.to_owned())),
        (Some(_), false) => return Err(vec![Fault::DeclinedWithSteps]),
        (None, true) => return Err(vec![Fault::Empty]),
        (None, false) => {}
    }
    if draft.steps.len() > STEPS_MAX {
        return Err(vec![Fault::TooManySteps(draft.steps.len())]);
    }
    let mut faults = duplicate_ids(&draft.steps);
    let ids: BTreeSet<&str> = draft.steps.iter().map(|step| &*step.id).collect();
    let mut steps = Vec::with_capacity(draft.steps.len());
    for step in &draft.steps {
        let before = faults.len();
        check_step(step, &ids, &mut faults);
        match robot_of(step, roster) {
            Ok(robot) if faults.len() == before => steps.push(to_wire(step, robot)),
            Ok(_) => {}
            Err(mut more) => faults.append(&mut more),
        }
    }
    faults.extend(cycle(&draft.steps).map(Fault::Cycle));
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Verdict::Plan(wire::Plan {
        instruction_id: identity.instruction.to_bytes(),
        version: identity.version,
        steps,
        model: identity.model.clone(),
        note: draft.note.clone(),
    }))
}

fn duplicate_ids(steps: &[DraftStep]) -> Vec<Fault> {
    let mut seen = BTreeMap::<&str, usize>::new();
    for step in steps {
        *seen.entry(&step.id).or_default() += 1;
    }
    let twice = seen.into_iter().filter(|(_, count)| *count > 1);
    twice.map(|(id, _)| Fault::DuplicateId(id.to_owned())).collect()
}

/// What can be said of a step without the robots.
fn check_step(step: &DraftStep, ids: &BTreeSet<&str>, faults: &mut Vec<Fault>) {
    if step.id.is_empty() || step.id.len() > STEP_ID_BYTES_MAX {
        faults.push(Fault::BadId(step.id.clone()));
    }
    if !(1..=STEP_TIME_LIMIT_S_MAX).contains(&step.time_limit_s) {
        faults.push(Fault::BadTimeLimit {
            step: step.id.clone(),
            time_limit_s: step.time_limit_s,
        });
    }
    for dependency in &step.depends_on {
        if !ids.contains(&**dependency) {
            faults.push(Fault::UnknownDependency {
                step: step.id.clone(),
                dependency: dependency.clone(),
            });
        }
    }
}

/// The robot that is to do the step, if it is able to.
fn robot_of<'a>(step: &DraftStep, roster: &'a Roster) -> Result<&'a Robot, Vec<Fault>> {
    let robot = roster.robots.get(&step.robot).ok_or_else(|| {
        vec![Fault::UnknownRobot {
            step: step.id.clone(),
            robot: step.robot.clone(),
            known: roster.names(),
        }]
    })?;
    let action = robot.actions.get(&step.action).ok_or_else(|| {
        vec![Fault::UnknownAction {
            step: step.id.clone(),
            robot: step.robot.clone(),
            action: step.action.clone(),
            known: listed(robot.actions.keys()),
        }]
    })?;
    let bad = |why: String| Fault::BadArguments {
        step: step.id.clone(),
        why,
    };
    if !step.arguments.is_object() {
        return Err(vec![bad("they are not an object".into())]);
    }
    let faults: Vec<_> = action
        .validator
        .iter_errors(&step.arguments)
        .take(ARGUMENT_FAULTS_MAX)
        .map(|error| bad(format!("at `{}`: {error}", error.instance_path())))
        .collect();
    if faults.is_empty() { Ok(robot) } else { Err(faults) }
}

/// The steps that are on a cycle or behind one, if any.
fn cycle(steps: &[DraftStep]) -> Option<String> {
    let mut waiting: BTreeMap<&str, BTreeSet<&str>> = steps
        .iter()
        .map(|step| (&*step.id, step.depends_on.iter().map(String::as_str).collect()))
        .collect();
    // An unknown dependency is a fault of its own.
    let ids: BTreeSet<&str> = waiting.keys().copied().collect();
    for dependencies in waiting.values_mut() {
        dependencies.retain(|id| ids.contains(id));
    }
    loop {
        let free: Vec<&str> = waiting
            .iter()
            .filter(|(_, dependencies)| dependencies.is_empty())
            .map(|(id, _)| *id)
            .collect();
        if free.is_empty() {
            return (!waiting.is_empty()).then(|| listed(waiting.keys()));
        }
        for id in free {
            waiting.remove(id);
            for dependencies in waiting.values_mut() {
                dependencies.remove(id);
            }
        }
    }
}

fn to_wire(step: &DraftStep, robot: &Robot) -> wire::Step {
    wire::Step {
        step_id: step.id.clone(),
        robot: robot.account_id,
        robot_name: step.robot.clone(),
        action: step.action.clone(),
        arguments_json: step.arguments.to_string(),
        depends_on: step.depends_on.clone(),
        time_limit_ms: step.time_limit_s * 1000,
    }
}

fn listed<T: fmt::Display>(names: impl Iterator<Item = T>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
