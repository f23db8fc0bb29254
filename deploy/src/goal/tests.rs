//! Goals against floors that were really walked on.

use super::*;
use crate::world::{Happening, Model, Order};

const CHINESE: &str = "把A区的三个箱子搬到充电站旁边，然后巡检一遍走廊";
const ENGLISH: &str = "bring all pallets from dock 2 to storage and report anything blocked";

const CARRIER: usize = 0;
const LIFTER: usize = 1;
const INSPECTOR: usize = 2;

fn world() -> World {
    let robots: Vec<_> = Model::fleet(3)
        .map(|model| (model.word().to_owned(), model))
        .collect();
    World::new(0, &robots)
}

/// Lets one robot do one thing to its end.
fn order(world: &mut World, robot: usize, order: Order) {
    world.begin(robot, order).unwrap();
    loop {
        for (who, what) in world.tick() {
            match what {
                Happening::Progress(_) => {}
                Happening::Finished(_) if who == robot => return,
                Happening::Finished(_) | Happening::Failed(_) => panic!("{what:?}"),
            }
        }
    }
}

fn carry(world: &mut World, object: &str, to: &str) {
    let (object, to) = (object.into(), to.into());
    order(world, CARRIER, Order::Carry { object, to });
}

fn lift(world: &mut World, object: &str) {
    let object = object.into();
    order(world, LIFTER, Order::Lift { object });
}

fn inspect(world: &mut World, area: &str) {
    order(world, INSPECTOR, Order::Inspect { area: area.into() });
}

#[test]
fn boxes_beside_the_charger_and_then_a_look_at_the_corridor() {
    let mut world = world();
    let goal = Goal::read(CHINESE, &world).unwrap();
    assert!(!goal.holds(&world));
    // Too early: it was to be done after the boxes.
    inspect(&mut world, "corridor");
    for n in 1..=3 {
        assert!(!goal.holds(&world));
        carry(&mut world, &format!("box-{n}"), "beside-charging-station");
    }
    assert!(!goal.holds(&world));
    inspect(&mut world, "corridor");
    assert!(goal.holds(&world));
    // And it has to stay so.
    carry(&mut world, "box-2", "storage");
    assert!(!goal.holds(&world));
}

#[test]
fn the_wrong_place_or_the_wrong_box_is_not_done() {
    let mut world = world();
    let goal = Goal::read(CHINESE, &world).unwrap();
    for name in ["box-1", "box-2", "box-4"] {
        carry(&mut world, name, "beside-charging-station");
    }
    inspect(&mut world, "corridor");
    assert!(!goal.holds(&world), "box-4 is not from area A");
    carry(&mut world, "box-3", "charging-station");
    inspect(&mut world, "corridor");
    assert!(!goal.holds(&world), "at the charger is not beside it");
}

#[test]
fn pallets_to_storage_and_a_report_of_what_is_blocked() {
    let mut world = world();
    let goal = Goal::read(ENGLISH, &world).unwrap();
    for name in ["pallet-1", "pallet-2"] {
        lift(&mut world, name);
        carry(&mut world, name, "storage");
    }
    assert!(!goal.holds(&world), "nobody has looked");
    inspect(&mut world, "storage");
    inspect(&mut world, "dock-2");
    assert!(goal.holds(&world));
}

#[test]
fn so_many_means_so_many() {
    let mut world = world();
    let goal = Goal::read("move two boxes to the storage", &world).unwrap();
    carry(&mut world, "box-1", "storage");
    assert!(!goal.holds(&world));
    carry(&mut world, "box-4", "storage");
    assert!(goal.holds(&world));
    carry(&mut world, "box-2", "storage");
    assert!(!goal.holds(&world), "three are not two");
}

#[test]
fn charging_and_lifting_are_seen() {
    let mut world = world();
    let charge = Goal::read("让所有机器人充电", &world).unwrap();
    let lifted = Goal::read("lift pallet 1", &world).unwrap();
    for robot in [CARRIER, LIFTER, INSPECTOR] {
        assert!(!charge.holds(&world));
        order(&mut world, robot, Order::Charge);
    }
    assert!(charge.holds(&world));
    lift(&mut world, "pallet-2");
    assert!(!lifted.holds(&world));
    lift(&mut world, "pallet-1");
    assert!(lifted.holds(&world));
}

#[test]
fn an_instruction_may_be_said_in_other_words() {
    let world = world();
    let goals = |instructions: &[&str]| {
        let read = |text: &&str| Goal::read(text, &world).unwrap_or_else(|| panic!("{text}"));
        instructions.iter().map(read).collect::<Vec<_>>()
    };
    let same = goals(&[
        CHINESE,
        "请把A区的三个箱子，搬运到充电站旁边。然后检查走廊",
        "Move the three boxes in area A next to the charging station, then inspect the corridor.",
        "take 3 boxes from area A to the place beside the charging station and then patrol the hallway",
    ]);
    for goal in &same[1..] {
        assert_eq!(*goal, same[0]);
    }
    let same = goals(&[
        "put box 4 in the storage",
        "把4号箱子放到仓库",
        "carry box-4 to storage",
    ]);
    assert_eq!(same[0], same[2]);
    assert_eq!(same[1], same[2]);
}

#[test]
fn what_cannot_be_read_or_cannot_be_is_never_done() {
    let world = world();
    for instruction in [
        "",
        "  　",
        "给我煮一壶咖啡",
        "paint the hall blue",
        "do not move the boxes to storage",
        "bring nine boxes to storage",
        "bring the boxes",
        "inspect",
        "boxes, storage",
        "move the pallets from area A to storage",
    ] {
        assert_eq!(Goal::read(instruction, &world), None, "{instruction:?}");
    }
}
