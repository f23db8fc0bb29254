//! What became of an earlier plan for the same instruction. Each finished step counts once.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::mock::prompt::{PastStep, Place, Progress, Prompt, World};

pub(super) struct Past<'a> {
    world: &'a World,
    finished: &'a [PastStep],
    failed: &'a [PastStep],
    /// Finished steps that a clause has counted.
    counted: BTreeSet<usize>,
    prefix: String,
}

impl<'a> Past<'a> {
    pub(super) fn new(prompt: &'a Prompt, world: &'a World) -> Self {
        static NOTHING: Progress = Progress {
            finished: Vec::new(),
            failed: Vec::new(),
        };
        let progress = prompt.progress.as_ref();
        let prefix = progress.map_or_else(|| "s".to_owned(), unused_prefix);
        let Progress { finished, failed } = progress.unwrap_or(&NOTHING);
        Self {
            world,
            finished,
            failed,
            counted: BTreeSet::new(),
            prefix,
        }
    }

    /// What the new steps' ids begin with.
    pub(super) fn id_prefix(&self) -> &str {
        &self.prefix
    }

    /// Where each thing is, by the world or by a finished step that the world may not know of yet.
    pub(super) fn places_of_things(&self, world: &World) -> Vec<Option<usize>> {
        let place = |id: &str| world.places.iter().position(|place| is_called(place, id));
        world
            .objects
            .iter()
            .map(|object| {
                let carried = self.finished.iter().rev().find_map(|step| {
                    let carried = step.action == "carry" && names(step, "object", &object.id);
                    carried.then(|| argument(step, "to")).and_then(place)
                });
                carried.or_else(|| object.at.as_deref().and_then(place))
            })
            .collect()
    }

    /// The things that are lifted and were not carried since.
    pub(super) fn raised(&self, world: &World) -> BTreeSet<usize> {
        let is_raised = |id: &str| {
            let mut handled = self.finished.iter().rev().filter(|step| {
                ["lift", "carry"].contains(&step.action.as_str()) && names(step, "object", id)
            });
            handled.next().is_some_and(|last| last.action == "lift")
        };
        let objects = world.objects.iter().enumerate();
        objects
            .filter(|(_, object)| is_raised(&object.id))
            .map(|(index, _)| index)
            .collect()
    }

    /// Whether a thing was carried there; counts it.
    pub(super) fn carried(&mut self, thing: usize, to: usize) -> bool {
        let (id, to) = (&self.world.objects[thing].id, &self.world.places[to]);
        self.count(|step| {
            step.action == "carry"
                && names(step, "object", id)
                && is_called(to, argument(step, "to"))
        })
    }

    /// Whether an area was inspected; counts it.
    pub(super) fn inspected(&mut self, area: &Place) -> bool {
        self.count(|step| step.action == "inspect" && is_called(area, argument(step, "area")))
    }

    /// Whether a robot was charged; counts it.
    pub(super) fn charged(&mut self, robot: &str) -> bool {
        self.count(|step| step.action == "charge" && step.robot == robot)
    }

    /// Whether the earlier plan had chosen the thing to be carried there and did not get to it.
    pub(super) fn begun(&self, thing: usize, to: usize) -> bool {
        let (id, to) = (&self.world.objects[thing].id, &self.world.places[to]);
        let steps = || {
            let steps = self.finished.iter().chain(self.failed);
            steps.filter(|step| names(step, "object", id))
        };
        let mut carries = steps().filter(|step| step.action == "carry").peekable();
        if carries.peek().is_none() {
            return steps().any(|step| step.action == "lift");
        }
        let mut failed = self.failed.iter();
        failed.any(|step| {
            step.action == "carry"
                && names(step, "object", id)
                && is_called(to, argument(step, "to"))
        })
    }

    /// The areas that the earlier plan had inspected or was to inspect.
    pub(super) fn areas(&self, world: &World) -> Vec<usize> {
        let steps = self.finished.iter().chain(self.failed);
        steps
            .filter(|step| step.action == "inspect")
            .filter_map(|step| {
                let area = argument(step, "area");
                world.places.iter().position(|place| is_called(place, area))
            })
            .collect()
    }

    fn count(&mut self, wanted: impl Fn(&PastStep) -> bool) -> bool {
        let mut steps = self.finished.iter().enumerate();
        let found = steps.find(|(index, step)| !self.counted.contains(index) && wanted(step));
        found.is_some_and(|(index, _)| self.counted.insert(index))
    }
}

/// The first plan has s1, s2 and so on, a new one v2-1, v2-2, so that no id has two meanings.
fn unused_prefix(progress: &Progress) -> String {
    let steps = || progress.finished.iter().chain(&progress.failed);
    let mut version = 2_usize;
    loop {
        let prefix = format!("v{version}-");
        if !steps().any(|step| step.id.starts_with(&prefix)) {
            return prefix;
        }
        version += 1;
    }
}

fn argument<'a>(step: &'a PastStep, name: &str) -> &'a str {
    step.arguments
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn names(step: &PastStep, argument_name: &str, id: &str) -> bool {
    argument(step, argument_name) == id
}

fn is_called(place: &Place, name: &str) -> bool {
    place.id == name || place.aliases.iter().any(|alias| alias == name)
}
