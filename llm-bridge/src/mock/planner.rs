//! The planner by rules: an instruction in English or Chinese and what the prompt says of robots,
//! places and things, to a plan. Pure: the same prompt, the same plan.
//!
//! It understands carrying, lifting, inspecting and charging, and declines a text in which one word
//! is foreign to it: a plan for half an instruction would be a wrong plan. Read in this order:
//! `text`, `lexicon`, `words`, `sentence`, `clause`, `steps`, `wording`.

mod clause;
mod lexicon;
mod sentence;
mod steps;
mod text;
mod wording;
mod words;

#[cfg(test)]
mod tests;

use serde::Serialize;
use serde_json::{Map, Value};

use super::prompt::{Prompt, World};
use wording::{Language, Reason};

/// A plan, as the content of a reply has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// What is to be done.
    pub steps: Vec<Step>,
    /// For people; says that this is the mock.
    pub note: String,
    /// Why there are no steps.
    pub declined: Option<String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Unique among all steps for the instruction.
    pub id: String,
    /// Who.
    pub robot: String,
    /// What.
    pub action: &'static str,
    /// With what.
    pub arguments: Map<String, Value>,
    /// The ids of the steps that are done before.
    pub depends_on: Vec<String>,
    /// How long it may take.
    pub time_limit_s: u64,
}

impl Plan {
    /// The plan as the text of a reply.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings and numbers under string keys: there is nothing that could fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Plans, or says why not.
#[must_use]
pub fn answer(prompt: Option<Prompt>) -> Plan {
    let Some(prompt) = prompt else {
        return declined(Language::English, &Reason::NoInstruction, &World::default());
    };
    let language = Language::of(&prompt.instruction);
    let nowhere = World::default();
    let world = prompt.world.as_ref().unwrap_or(&nowhere);
    match plan(&prompt, world) {
        Ok(steps) => Plan {
            note: wording::note(language, &steps, prompt.progress.is_some()),
            steps,
            declined: None,
        },
        Err(reason) => declined(language, &reason, world),
    }
}

fn plan(prompt: &Prompt, world: &World) -> Result<Vec<Step>, Reason> {
    if prompt.instruction.trim().is_empty() {
        return Err(Reason::Empty);
    }
    let lexicon = lexicon::Lexicon::new(world, &prompt.robots);
    let tokens = match lexicon.read(&prompt.instruction) {
        Err(Reason::Unknown(_)) if prompt.world.is_none() => return Err(Reason::NoWorld),
        read => read?,
    };
    let tokens = lexicon::beside(tokens, world)?;
    let clauses = clause::read(sentence::split(tokens)?)?;
    steps::plan(prompt, world, &clauses)
}

fn declined(language: Language, reason: &Reason, world: &World) -> Plan {
    let reason = wording::reason(language, reason, world);
    Plan {
        steps: Vec::new(),
        note: wording::declined_note(language, &reason),
        declined: Some(reason),
    }
}
