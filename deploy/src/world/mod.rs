//! The simulated world: a grid, things, and robots that move a cell a tick. Pure and seeded: orders
//! in, what happens out; whoever owns it makes it tick.
//!
//! Not a physics engine: robots pass each other, and several things may share a cell.

pub(crate) mod map;
mod orders;
mod seed;
pub(crate) mod things;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::world::map::{Cell, PLACES, place_at};
use crate::world::orders::Job;
use crate::world::seed::Seed;
use crate::world::things::Rests;

pub use crate::world::map::Place;
pub use crate::world::orders::{Fault, Order};
pub use crate::world::things::{Ability, Model, Object};

/// The schema under which a world is described to a group.
pub const WORLD_SCHEMA: &str = "im.world.v1";

/// Cells that a full battery lasts for.
const BATTERY_CELLS_MAX: u32 = 2000;

/// One robot on the floor.
#[derive(Debug)]
pub(crate) struct Robot {
    name: String,
    model: Model,
    cell: Cell,
    /// Cells that it can still go.
    battery_cells: u32,
    job: Option<Job>,
}

/// What became of a robot's order in a tick.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// It is so far along, in percent.
    Progress(u8),
    /// It is done; what the action returns.
    Finished(Value),
    /// It is not going to be done.
    Failed(Fault),
}

/// An area that a robot has looked at, every cell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The id of the place.
    pub area: &'static str,
    /// When it was finished.
    pub tick: u64,
}

/// A thing that was set down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The id of the thing.
    pub object: String,
    /// The id of the place.
    pub place: &'static str,
    /// When.
    pub tick: u64,
}

/// A heavy thing that was raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lift {
    /// The id of the thing.
    pub object: String,
    /// When.
    pub tick: u64,
}

/// A battery that was filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The robot's name.
    pub robot: String,
    /// When.
    pub tick: u64,
}

/// The world.
#[derive(Debug)]
pub struct World {
    robots: Vec<Robot>,
    objects: Vec<Object>,
    blocked: BTreeSet<Cell>,
    tick: u64,
    pickups: u32,
    /// The pickup at which a gripper slips, the first being 1.
    slips_at: Option<u32>,
    inspections: Vec<Inspection>,
    deliveries: Vec<Delivery>,
    lifts: Vec<Lift>,
    charges: Vec<Charge>,
}

impl World {
    /// A world with these robots. Seed 0 is the one in which nothing fails.
    #[must_use]
    pub fn new(seed: u64, robots: &[(String, Model)]) -> Self {
        let mut random = Seed::new(seed);
        let blocked = blocked_cells(&mut random);
        let starts: Vec<Cell> = PLACES
            .iter()
            .filter(|place| ["charging-station", "entrance"].contains(&place.id))
            .flat_map(Place::cells)
            .collect();
        let robots = robots
            .iter()
            .map(|(name, model)| Robot {
                name: name.clone(),
                model: *model,
                cell: starts[random.below(starts.len())],
                battery_cells: BATTERY_CELLS_MAX,
                job: None,
            })
            .collect();
        let slips = seed != 0 && random.below(2) == 0;
        let slips_at = slips.then(|| u32::try_from(random.below(3) + 1).unwrap_or(1));
        Self {
            robots,
            objects: things::objects(),
            blocked,
            tick: 0,
            pickups: 0,
            slips_at,
            inspections: Vec::new(),
            deliveries: Vec::new(),
            lifts: Vec::new(),
            charges: Vec::new(),
        }
    }

    /// Gives a robot something to do, or says why it cannot.
    pub fn begin(&mut self, robot: usize, order: Order) -> Result<(), Fault> {
        let job = self.plan(robot, order)?;
        self.robots[robot].job = Some(job);
        Ok(())
    }

    /// The robot stops where it is and sets down what it carries.
    pub fn cancel(&mut self, robot: usize) {
        self.robots[robot].job = None;
        self.drop_load(robot);
    }

    /// Lets a moment pass.
    pub fn tick(&mut self) -> Vec<(usize, Happening)> {
        self.tick += 1;
        (0..self.robots.len())
            .filter_map(|robot| Some((robot, self.advance(robot)?)))
            .collect()
    }

    /// The world as a group is told of it.
    #[must_use]
    pub fn description(&self) -> Value {
        let objects: Vec<Value> = self
            .objects
            .iter()
            .map(|object| {
                json!({
                    "id": object.id,
                    "kind": object.kind,
                    "aliases": object.aliases,
                    "at": self.place_of(object),
                    "heavy": object.heavy,
                })
            })
            .collect();
        let robots: Vec<Value> = self
            .robots
            .iter()
            .map(|robot| {
                json!({ "name": robot.name, "at": place_at(robot.cell).map(|place| place.id) })
            })
            .collect();
        let places: Vec<Value> = PLACES
            .iter()
            .map(|place| json!({ "id": place.id, "kind": place.kind, "aliases": place.aliases }))
            .collect();
        json!({ "places": places, "objects": objects, "robots": robots })
    }

    /// Everything that can be carried.
    #[must_use]
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// The place where a thing stands; `None` on the way and outside of all places.
    #[must_use]
    pub fn place_of(&self, object: &Object) -> Option<&'static str> {
        match object.rests {
            Rests::On(cell) => place_at(cell).map(|place| place.id),
            Rests::With(_) => None,
        }
    }

    /// The areas that were looked at, in the order in which that was finished.
    #[must_use]
    pub fn inspections(&self) -> &[Inspection] {
        &self.inspections
    }

    /// The heavy things that were raised, in order.
    #[must_use]
    pub fn lifts(&self) -> &[Lift] {
        &self.lifts
    }

    /// The batteries that were filled, in order.
    #[must_use]
    pub fn charges(&self) -> &[Charge] {
        &self.charges
    }

    /// Who is there.
    pub fn robot_names(&self) -> impl Iterator<Item = &str> {
        self.robots.iter().map(|robot| robot.name.as_str())
    }

    /// The things that were carried somewhere, in order.
    #[must_use]
    pub fn deliveries(&self) -> &[Delivery] {
        &self.deliveries
    }
}

/// One cell in the corridor and one in the storage are always blocked: there is something to find.
fn blocked_cells(random: &mut Seed) -> BTreeSet<Cell> {
    PLACES
        .iter()
        .filter(|place| ["corridor", "storage"].contains(&place.id))
        .map(|place| {
            let cells: Vec<Cell> = place.cells().collect();
            cells[random.below(cells.len())]
        })
        .collect()
}
