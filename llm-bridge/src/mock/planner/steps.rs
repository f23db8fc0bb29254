//! From clauses to steps: which things, by which robots, after what.
//!
//! "Report anything blocked" is an inspection of every place that the instruction has named so far,
//! sources and destinations; after an inspection it asks for nothing more, as that reports too.

mod crew;
mod past;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::mock::prompt::{Prompt, World};

use super::Step;
use super::clause::{Chosen, Clause, Selection, Spot};
use super::lexicon::Verb;
use super::wording::Reason;
use crew::Crew;
use past::Past;

/// The kind of place where robots charge.
const CHARGER: &str = "charger";

/// Plans what is left to do.
pub(super) fn plan(
    prompt: &Prompt,
    world: &World,
    clauses: &[Clause],
) -> Result<Vec<Step>, Reason> {
    let mut planner = Planner {
        world,
        crew: Crew::new(prompt),
        past: Past::new(prompt, world),
        at: Vec::new(),
        steps: Vec::new(),
        group_start: 0,
        before_group: Vec::new(),
        last_step: BTreeMap::new(),
        raised: BTreeSet::new(),
        claimed: BTreeSet::new(),
        them: Vec::new(),
        there: None,
        named: Vec::new(),
        inspected: BTreeSet::new(),
    };
    planner.at = planner.past.places_of_things(world);
    planner.raised = planner.past.raised(world);
    let mut verb_before = None;
    for clause in clauses {
        if clause.sequential {
            planner.end_group();
        }
        planner.clause(clause, verb_before)?;
        verb_before = Some(clause.verb);
    }
    if planner.steps.is_empty() {
        return Err(match prompt.progress {
            Some(_) => Reason::NothingLeft,
            None => Reason::NothingToDo,
        });
    }
    Ok(planner.steps)
}

struct Planner<'a> {
    world: &'a World,
    crew: Crew<'a>,
    past: Past<'a>,
    /// Where each thing is when the steps so far are done.
    at: Vec<Option<usize>>,
    steps: Vec<Step>,
    /// The first step of the clauses that may run side by side.
    group_start: usize,
    /// What they wait for.
    before_group: Vec<String>,
    /// The last step with a thing in it.
    last_step: BTreeMap<usize, usize>,
    /// Things that have been lifted.
    raised: BTreeSet<usize>,
    /// Things that a clause already has.
    claimed: BTreeSet<usize>,
    /// The things of the last clause that had some.
    them: Vec<usize>,
    /// The last destination.
    there: Option<usize>,
    /// Every place so far.
    named: Vec<usize>,
    inspected: BTreeSet<usize>,
}

impl Planner<'_> {
    /// What follows waits for every step of the group on which no other waits.
    fn end_group(&mut self) {
        let group = &self.steps[self.group_start..];
        if group.is_empty() {
            return;
        }
        let awaited: BTreeSet<&String> = group.iter().flat_map(|step| &step.depends_on).collect();
        let last = group.iter().filter(|step| !awaited.contains(&step.id));
        self.before_group = last.map(|step| step.id.clone()).collect();
        self.group_start = self.steps.len();
    }

    fn clause(&mut self, clause: &Clause, verb_before: Option<Verb>) -> Result<(), Reason> {
        match clause.verb {
            Verb::Move | Verb::Take | Verb::Put => self.carry_all(clause),
            Verb::Lift => {
                for thing in self.things_to_lift(clause)? {
                    self.lift(thing, &clause.robots)?;
                }
                Ok(())
            }
            Verb::Inspect => self.inspect_all(clause),
            Verb::Charge => self.charge_all(clause),
            Verb::Report if !clause.places.is_empty() || clause.everything => {
                self.inspect_all(clause)
            }
            // Without "blocked" it is about the work itself, which is reported anyway.
            Verb::Report if !clause.blocked || verb_before == Some(Verb::Inspect) => Ok(()),
            Verb::Report => self.inspect_all(clause),
        }
    }

    fn carry_all(&mut self, clause: &Clause) -> Result<(), Reason> {
        let to = match clause.destination {
            Some(Spot::Place(place)) => place,
            Some(Spot::There) => self.there.ok_or(Reason::Unclear)?,
            None => return Err(Reason::NoDestination),
        };
        if clause.selections.is_empty() && !clause.them && !clause.everything {
            // Robots without things: only to where they charge.
            return if self.world.places[to].kind == CHARGER {
                self.charge_all(clause)
            } else {
                Err(Reason::RobotsAreNotSent)
            };
        }
        let mut selections = clause.selections.clone();
        if clause.everything {
            selections.push(Selection {
                word: String::new(),
                things: (0..self.world.objects.len()).collect(),
                count: None,
                sources: clause.places.clone(),
            });
        }
        let mut things = Vec::new();
        let mut to_carry = Vec::new();
        if clause.them {
            if self.them.is_empty() {
                return Err(Reason::Unclear);
            }
            let them = self.them.clone();
            to_carry.extend(
                them.iter()
                    .copied()
                    .filter(|thing| !self.past.carried(*thing, to)),
            );
            things.extend(them);
        }
        for selection in &selections {
            let (done, left) = self.select(selection, to)?;
            self.claimed.extend(done.iter().chain(&left));
            to_carry.extend(&left);
            things.extend(done.into_iter().chain(left));
            self.named.extend(&selection.sources);
            if selection.sources.is_empty() {
                self.named
                    .extend(to_carry.iter().filter_map(|thing: &usize| self.at[*thing]));
            }
        }
        for thing in to_carry {
            self.carry(thing, to, &clause.robots)?;
        }
        self.named.push(to);
        self.them = things;
        self.there = Some(to);
        Ok(())
    }

    /// The things that an earlier plan has carried there, and those that are left to carry.
    fn select(
        &mut self,
        selection: &Selection,
        to: usize,
    ) -> Result<(Vec<usize>, Vec<usize>), Reason> {
        let (mut done, mut begun, mut fresh, mut taken) = (vec![], vec![], vec![], vec![]);
        for thing in selection.things.iter().copied() {
            let at_source = match self.at[thing] {
                Some(at) => {
                    selection.sources.contains(&at) || (selection.sources.is_empty() && at != to)
                }
                None => selection.sources.is_empty(),
            };
            let claimed = self.claimed.contains(&thing);
            if !claimed && self.past.carried(thing, to) {
                done.push(thing);
            } else if !claimed && self.past.begun(thing, to) {
                begun.push(thing);
            } else if at_source && claimed {
                taken.push(thing);
            } else if at_source {
                fresh.push(thing);
            }
        }
        let mut left: Vec<usize> = begun.into_iter().chain(fresh).chain(taken).collect();
        let (word, sources) = (selection.word.clone(), selection.sources.clone());
        if let Some(wanted) = selection.count {
            let found = done.len() + left.len();
            if found < wanted {
                return Err(Reason::TooFew {
                    word,
                    wanted,
                    found,
                    sources,
                });
            }
            left.truncate(wanted.saturating_sub(done.len()));
        } else if done.is_empty() && left.is_empty() {
            let there = |thing: &usize| self.at[*thing] == Some(to);
            return Err(
                if sources.is_empty() && selection.things.iter().any(there) {
                    Reason::AlreadyThere { word, place: to }
                } else {
                    Reason::NothingThere { word, sources }
                },
            );
        }
        Ok((done, left))
    }

    fn things_to_lift(&mut self, clause: &Clause) -> Result<Vec<usize>, Reason> {
        let mut things = if clause.them {
            self.them.clone()
        } else {
            Vec::new()
        };
        for selection in &clause.selections {
            let (word, sources) = (selection.word.clone(), selection.sources.clone());
            let mut chosen = selection.things.clone();
            chosen.retain(|thing| {
                sources.is_empty() || self.at[*thing].is_some_and(|at| sources.contains(&at))
            });
            let (wanted, found) = (selection.count.unwrap_or(chosen.len()), chosen.len());
            if found < wanted {
                return Err(Reason::TooFew {
                    word,
                    wanted,
                    found,
                    sources,
                });
            }
            if found == 0 {
                return Err(Reason::NothingThere { word, sources });
            }
            chosen.truncate(wanted);
            things.extend(chosen);
        }
        if clause.everything {
            things.extend(0..self.world.objects.len());
        }
        self.them.clone_from(&things);
        things.retain(|thing| !self.raised.contains(thing));
        Ok(things)
    }

    fn lift(&mut self, thing: usize, robots: &Chosen) -> Result<usize, Reason> {
        let robot = self.crew.pick("lift", robots)?;
        let depends_on = self.after(Some(thing));
        let object = &self.world.objects[thing].id;
        let step = self.add(robot, "lift", &[("object", object)], depends_on);
        self.last_step.insert(thing, step);
        self.raised.insert(thing);
        Ok(step)
    }

    fn carry(&mut self, thing: usize, to: usize, robots: &Chosen) -> Result<(), Reason> {
        if self.world.objects[thing].heavy && !self.raised.contains(&thing) {
            let lifters = self.crew.those_who_can("lift", robots);
            self.lift(thing, &lifters)?;
        }
        let robot = self.crew.pick("carry", robots)?;
        let depends_on = self.after(Some(thing));
        let (object, place) = (&self.world.objects[thing].id, &self.world.places[to].id);
        let arguments = [("object", object.as_str()), ("to", place)];
        let step = self.add(robot, "carry", &arguments, depends_on);
        self.last_step.insert(thing, step);
        self.raised.remove(&thing);
        self.at[thing] = Some(to);
        Ok(())
    }

    fn inspect_all(&mut self, clause: &Clause) -> Result<(), Reason> {
        let asked = !clause.places.is_empty();
        let mut areas = clause.places.clone();
        if !asked && !clause.everything {
            areas.clone_from(&self.named);
            if clause.verb == Verb::Report && !areas.is_empty() {
                // What an earlier plan inspected was named by things that may be gone from there.
                areas.extend(self.past.areas(self.world));
            }
        }
        if areas.is_empty() {
            areas.extend(0..self.world.places.len());
        }
        if areas.is_empty() {
            return Err(Reason::NoWorld);
        }
        let mut seen = BTreeSet::new();
        areas.retain(|area| seen.insert(*area));
        for area in areas {
            let needless = clause.verb == Verb::Report && self.inspected.contains(&area);
            self.inspected.insert(area);
            self.named.push(area);
            if needless || self.past.inspected(&self.world.places[area]) {
                continue;
            }
            let robot = self.crew.pick("inspect", &clause.robots)?;
            let depends_on = self.after(None);
            let id = &self.world.places[area].id;
            self.add(robot, "inspect", &[("area", id)], depends_on);
        }
        Ok(())
    }

    fn charge_all(&mut self, clause: &Clause) -> Result<(), Reason> {
        let is_charger = |place: &usize| self.world.places[*place].kind == CHARGER;
        if !clause.places.iter().all(is_charger) {
            return Err(Reason::RobotsAreNotSent);
        }
        for robot in self.crew.all("charge", &clause.robots)? {
            if self.past.charged(self.crew.name(robot)) {
                continue;
            }
            let depends_on = self.after(None);
            self.add(robot, "charge", &[], depends_on);
        }
        Ok(())
    }

    /// What a step waits for: the last step of its group with the same thing, else the group before.
    fn after(&self, thing: Option<usize>) -> Vec<String> {
        let last = thing.and_then(|thing| self.last_step.get(&thing).copied());
        match last.filter(|step| *step >= self.group_start) {
            Some(step) => vec![self.steps[step].id.clone()],
            None => self.before_group.clone(),
        }
    }

    fn add(
        &mut self,
        robot: usize,
        action: &'static str,
        arguments: &[(&str, &str)],
        depends_on: Vec<String>,
    ) -> usize {
        let number = self.steps.len() + 1;
        self.steps.push(Step {
            id: format!("{}{number}", self.past.id_prefix()),
            robot: self.crew.name(robot).to_owned(),
            action,
            arguments: arguments
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
                .collect(),
            depends_on,
            time_limit_s: self.crew.occupy(robot, action),
        });
        number - 1
    }
}
