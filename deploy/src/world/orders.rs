//! What a robot is told to do, turned into legs, and walked leg by leg.

use std::collections::VecDeque;

use serde_json::{Value, json};
use thiserror::Error;

use super::map::{Cell, Place, place, place_at, way};
use super::things::{Ability, Rests};
use super::{BATTERY_CELLS_MAX, Charge, Delivery, Happening, Inspection, Lift, World};

/// Ticks that a gripper or a fork takes.
const HANDLING_TICKS: u32 = 3;

/// Ticks that a full charge takes.
const CHARGING_TICKS: u32 = 20;

/// What a robot is told to do. Places and things are named by id or alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Bring a thing somewhere.
    Carry {
        /// The thing.
        object: String,
        /// Where to.
        to: String,
    },
    /// Raise a heavy thing.
    Lift {
        /// The thing.
        object: String,
    },
    /// Look at every cell.
    Inspect {
        /// Of this area.
        area: String,
    },
    /// Fill the battery.
    Charge,
}

/// Why a robot does not do it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// Not this robot.
    #[error("this robot has not the means")]
    Unable,
    /// It does something else.
    #[error("the robot is busy")]
    Busy,
    /// There is no such thing or place.
    #[error("there is no {0:?} here")]
    Unknown(String),
    /// The name is that of several things.
    #[error("{0:?} is more than one thing; name one by its id")]
    Ambiguous(String),
    /// It has to be lifted first.
    #[error("{0} is heavy: a lifting robot must lift it first")]
    TooHeavy(String),
    /// It is not where it was.
    #[error("{0} is not there any more")]
    Gone(String),
    /// No way leads there.
    #[error("there is no way to {0}")]
    NoWay(String),
    /// The battery.
    #[error("the battery is empty")]
    BatteryEmpty,
    /// Bad luck; trying again helps.
    #[error("the gripper slipped at {0}")]
    GripperSlipped(String),
}

/// An order being carried out.
#[derive(Debug)]
pub(super) struct Job {
    legs: VecDeque<Leg>,
    ticks_total: u32,
    ticks_done: u32,
    result: Value,
}

#[derive(Debug)]
enum Leg {
    /// To a neighbouring cell: one tick.
    Step(Cell),
    /// Stand still: one tick.
    Wait,
    /// At once.
    PickUp(usize),
    PutDown(usize),
    Raise(usize),
    Inspected(&'static Place),
    Charged,
}

impl Order {
    const fn ability(&self) -> Ability {
        match self {
            Self::Carry { .. } => Ability::Carry,
            Self::Lift { .. } => Ability::Lift,
            Self::Inspect { .. } => Ability::Inspect,
            Self::Charge => Ability::Charge,
        }
    }
}

impl World {
    pub(super) fn plan(&self, robot: usize, order: Order) -> Result<Job, Fault> {
        let doer = &self.robots[robot];
        if !doer.model.abilities().contains(&order.ability()) {
            return Err(Fault::Unable);
        }
        if doer.job.is_some() {
            return Err(Fault::Busy);
        }
        let mut legs = VecDeque::new();
        let result = match order {
            Order::Carry { object, to } => {
                let (object, to) = (self.find(&object)?, find_place(&to)?);
                self.carry(doer.cell, object, to, &mut legs)?
            }
            Order::Lift { object } => {
                let object = self.find(&object)?;
                let at = self.resting_cell(object)?;
                self.walk(doer.cell, at, &mut legs)?;
                legs.extend((0..HANDLING_TICKS).map(|_| Leg::Wait));
                legs.push_back(Leg::Raise(object));
                json!({ "lifted": self.objects[object].id })
            }
            Order::Inspect { area } => {
                let area = find_place(&area)?;
                self.inspect(doer.cell, area, &mut legs)?
            }
            Order::Charge => {
                let station = find_place("charging-station")?;
                self.walk(doer.cell, self.free_cell(station)?, &mut legs)?;
                legs.extend((0..CHARGING_TICKS).map(|_| Leg::Wait));
                legs.push_back(Leg::Charged);
                json!({ "battery_percent": 100 })
            }
        };
        let ticks = legs.iter().filter(|leg| leg.takes_a_tick()).count();
        Ok(Job {
            legs,
            ticks_total: u32::try_from(ticks).unwrap_or(u32::MAX),
            ticks_done: 0,
            result,
        })
    }

    fn carry(
        &self,
        from: Cell,
        object: usize,
        to: &'static Place,
        legs: &mut VecDeque<Leg>,
    ) -> Result<Value, Fault> {
        let thing = &self.objects[object];
        let at = self.resting_cell(object)?;
        let result = json!({ "object": thing.id, "at": to.id });
        if to.contains(at) {
            return Ok(result);
        }
        if thing.heavy && !thing.raised {
            return Err(Fault::TooHeavy(thing.id.clone()));
        }
        self.walk(from, at, legs)?;
        legs.extend((0..HANDLING_TICKS).map(|_| Leg::Wait));
        legs.push_back(Leg::PickUp(object));
        self.walk(at, self.free_cell(to)?, legs)?;
        legs.extend((0..HANDLING_TICKS).map(|_| Leg::Wait));
        legs.push_back(Leg::PutDown(object));
        Ok(result)
    }

    fn inspect(
        &self,
        from: Cell,
        area: &'static Place,
        legs: &mut VecDeque<Leg>,
    ) -> Result<Value, Fault> {
        let mut at = from;
        let mut found = Vec::new();
        for cell in area.cells() {
            if self.blocked.contains(&cell) {
                found.push(format!("{} ({}, {})", area.id, cell.0, cell.1));
            } else {
                self.walk(at, cell, legs)?;
                at = cell;
            }
        }
        legs.push_back(Leg::Inspected(area));
        Ok(json!({ "area": area.id, "blocked": found }))
    }

    /// One tick of one robot's job.
    pub(super) fn advance(&mut self, robot: usize) -> Option<Happening> {
        let mut job = self.robots[robot].job.take()?;
        let mut moved = false;
        while let Some(leg) = job.legs.front() {
            if leg.takes_a_tick() && std::mem::replace(&mut moved, true) {
                break;
            }
            let Some(leg) = job.legs.pop_front() else {
                break;
            };
            if let Err(fault) = self.walk_leg(robot, leg) {
                self.drop_load(robot);
                return Some(Happening::Failed(fault));
            }
        }
        if job.legs.is_empty() {
            return Some(Happening::Finished(job.result));
        }
        job.ticks_done += 1;
        let percent = job.ticks_done * 100 / job.ticks_total.max(1);
        self.robots[robot].job = Some(job);
        Some(Happening::Progress(u8::try_from(percent).unwrap_or(99)))
    }

    fn walk_leg(&mut self, robot: usize, leg: Leg) -> Result<(), Fault> {
        match leg {
            Leg::Wait => {}
            Leg::Step(cell) => {
                let walker = &mut self.robots[robot];
                walker.battery_cells = walker
                    .battery_cells
                    .checked_sub(1)
                    .ok_or(Fault::BatteryEmpty)?;
                walker.cell = cell;
            }
            Leg::PickUp(object) => {
                self.expect_here(robot, object)?;
                self.pickups += 1;
                if self.slips_at == Some(self.pickups) {
                    return Err(Fault::GripperSlipped(self.objects[object].id.clone()));
                }
                self.objects[object].rests = Rests::With(robot);
            }
            Leg::PutDown(object) => {
                self.objects[object].raised = false;
                self.set_down(robot, object);
            }
            Leg::Raise(object) => {
                self.expect_here(robot, object)?;
                self.objects[object].raised = true;
                self.lifts.push(Lift {
                    object: self.objects[object].id.clone(),
                    tick: self.tick,
                });
            }
            Leg::Inspected(area) => self.inspections.push(Inspection {
                area: area.id,
                tick: self.tick,
            }),
            Leg::Charged => {
                self.robots[robot].battery_cells = BATTERY_CELLS_MAX;
                self.charges.push(Charge {
                    robot: self.robots[robot].name.clone(),
                    tick: self.tick,
                });
            }
        }
        Ok(())
    }

    fn expect_here(&self, robot: usize, object: usize) -> Result<(), Fault> {
        let thing = &self.objects[object];
        if thing.rests == Rests::On(self.robots[robot].cell) {
            Ok(())
        } else {
            Err(Fault::Gone(thing.id.clone()))
        }
    }

    /// What a robot carries stands where the robot stopped.
    pub(super) fn drop_load(&mut self, robot: usize) {
        let load = self
            .objects
            .iter()
            .position(|object| object.rests == Rests::With(robot));
        if let Some(object) = load {
            self.set_down(robot, object);
        }
    }

    fn set_down(&mut self, robot: usize, object: usize) {
        let cell = self.robots[robot].cell;
        self.objects[object].rests = Rests::On(cell);
        if let Some(place) = place_at(cell) {
            self.deliveries.push(Delivery {
                object: self.objects[object].id.clone(),
                place: place.id,
                tick: self.tick,
            });
        }
    }

    fn find(&self, name: &str) -> Result<usize, Fault> {
        let wanted = name.trim().to_lowercase();
        let by_id = self.objects.iter().position(|object| object.id == wanted);
        if let Some(object) = by_id {
            return Ok(object);
        }
        let mut called_so = self.objects.iter().enumerate().filter(|(_, object)| {
            let mut aliases = object.aliases.iter();
            aliases.any(|alias| alias.to_lowercase() == wanted)
        });
        match (called_so.next(), called_so.next()) {
            (Some((object, _)), None) => Ok(object),
            (Some(_), Some(_)) => Err(Fault::Ambiguous(name.into())),
            (None, _) => Err(Fault::Unknown(name.into())),
        }
    }

    fn resting_cell(&self, object: usize) -> Result<Cell, Fault> {
        match self.objects[object].rests {
            Rests::On(cell) => Ok(cell),
            Rests::With(_) => Err(Fault::Gone(self.objects[object].id.clone())),
        }
    }

    /// A cell of a place where nothing stands, else any that is not blocked.
    fn free_cell(&self, place: &Place) -> Result<Cell, Fault> {
        let open = || place.cells().filter(|cell| !self.blocked.contains(cell));
        let taken = |cell: &Cell| {
            let mut things = self.objects.iter();
            things.any(|object| object.rests == Rests::On(*cell))
        };
        open()
            .find(|cell| !taken(cell))
            .or_else(|| open().next())
            .ok_or_else(|| Fault::NoWay(place.id.into()))
    }

    fn walk(&self, from: Cell, to: Cell, legs: &mut VecDeque<Leg>) -> Result<(), Fault> {
        let name = || place_at(to).map_or_else(|| format!("{to:?}"), |place| place.id.into());
        let way = way(from, to, &self.blocked).ok_or_else(|| Fault::NoWay(name()))?;
        legs.extend(way.into_iter().map(Leg::Step));
        Ok(())
    }
}

impl Leg {
    const fn takes_a_tick(&self) -> bool {
        matches!(self, Self::Step(_) | Self::Wait)
    }
}

fn find_place(name: &str) -> Result<&'static Place, Fault> {
    place(name).ok_or_else(|| Fault::Unknown(name.into()))
}
