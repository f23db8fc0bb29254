//! The planner's tests: instructions of both languages to plans, through one harness.

use serde_json::{Value, json};

use super::*;

mod again;
mod declined;
mod laws;

const BOX: [&str; 5] = ["箱子", "boxes", "box", "纸箱", "箱"];
const PALLET: [&str; 4] = ["托盘", "pallets", "pallet", "栈板"];

fn robot(name: &str, action: &str) -> Value {
    let declared = |name: &str| json!({ "name": name, "description": "", "arguments_schema": { "type": "object" } });
    let model = name.split('-').next();
    json!({ "name": name, "model": model, "actions": [declared(action), declared("charge")] })
}

fn place(id: &str, kind: &str, aliases: &[&str]) -> Value {
    json!({ "id": id, "kind": kind, "aliases": aliases })
}

fn object(kind: &str, number: u32, at: &str, words: &[&str]) -> Value {
    let mut aliases = vec![
        format!("{kind} {number}"),
        format!("{number}号{}", words[0]),
    ];
    aliases.extend(words.iter().map(|&word| word.to_owned()));
    json!({
        "id": format!("{kind}-{number}"),
        "kind": kind,
        "aliases": aliases,
        "at": at,
        "heavy": kind == "pallet",
    })
}

/// The demonstration's floor and six of its robots.
fn block(instruction: &str) -> Value {
    json!({
        "instruction": instruction,
        "robots": [
            robot("carrier-1", "carry"), robot("lifter-1", "lift"), robot("inspector-1", "inspect"),
            robot("carrier-2", "carry"), robot("lifter-2", "lift"), robot("inspector-2", "inspect"),
        ],
        "world": {
            "places": [
                place("area-a", "area", &["area A", "zone A", "A区", "A 区"]),
                place("area-b", "area", &["area B", "zone B", "B区", "B 区"]),
                place("corridor", "corridor", &["corridor", "hallway", "走廊", "过道"]),
                place("charging-station", "charger",
                    &["charging station", "charger", "充电站", "充电桩"]),
                place("beside-charging-station", "area",
                    &["beside the charging station", "next to the charging station", "充电站旁边"]),
                place("entrance", "area", &["entrance", "门口", "入口"]),
                place("dock-1", "dock", &["dock 1", "dock one", "1号码头", "一号码头"]),
                place("dock-2", "dock", &["dock 2", "dock two", "2号码头", "二号码头"]),
                place("storage", "storage", &["storage", "storeroom", "仓库", "库房"]),
            ],
            "objects": [
                object("box", 1, "area-a", &BOX),
                object("box", 2, "area-a", &BOX),
                object("box", 3, "area-a", &BOX),
                object("pallet", 1, "dock-2", &PALLET),
                object("pallet", 2, "dock-2", &PALLET),
                object("box", 4, "area-b", &BOX),
            ],
            "robots": [{ "name": "carrier-1", "at": "entrance" }],
        },
        "progress": null,
    })
}

fn plan_of(block: &Value) -> Plan {
    answer(Some(serde_json::from_value(block.clone()).unwrap()))
}

/// A step on one line: `id robot action arguments < what it waits for`.
fn lines(plan: &Plan) -> Vec<String> {
    let line = |step: &Step| {
        let arguments: Vec<_> = step.arguments.values().filter_map(Value::as_str).collect();
        let mut line = format!("{} {} {}", step.id, step.robot, step.action);
        for argument in arguments {
            line += &format!(" {argument}");
        }
        if !step.depends_on.is_empty() {
            line += &format!(" < {}", step.depends_on.join(" "));
        }
        line
    };
    plan.steps.iter().map(line).collect()
}

#[track_caller]
fn check(instructions: &[&str], expected: &[&str]) {
    for instruction in instructions {
        let plan = plan_of(&block(instruction));
        assert_eq!(plan.declined, None, "{instruction}");
        assert_eq!(lines(&plan), expected, "{instruction}");
    }
}

#[test]
fn three_boxes_and_then_the_corridor() {
    check(
        &[
            "把A区的三个箱子搬到充电站旁边，然后巡检一遍走廊",
            "请先把 A 区的 3 个箱子，搬到充电站旁边。再检查一下走廊！",
            "从A区搬三个箱子到充电桩旁边，之后巡视走廊",
            "拿起A区的所有箱子，放到充电站旁边，最后巡检过道",
            "Bring three boxes from area A next to the charging station, then inspect the corridor.",
            "please carry the 3 area A boxes to beside the charger and then patrol the hallway",
            "Pick up all boxes in zone A and put them beside the charging station; then go to the \
             corridor and inspect it",
        ],
        &[
            "s1 carrier-1 carry box-1 beside-charging-station",
            "s2 carrier-2 carry box-2 beside-charging-station",
            "s3 carrier-1 carry box-3 beside-charging-station",
            "s4 inspector-1 inspect corridor < s1 s2 s3",
        ],
    );
}

#[test]
fn heavy_things_are_lifted_first_and_blocked_ways_reported() {
    check(
        &[
            "bring all pallets from dock 2 to storage and report anything blocked",
            "Move the pallets from dock two to the storeroom, and check for blockages.",
            "把2号码头的所有托盘搬到仓库，并报告有没有堵塞",
            "把二号码头的两个栈板运到库房，检查有没有障碍物",
        ],
        &[
            "s1 lifter-1 lift pallet-1",
            "s2 carrier-1 carry pallet-1 storage < s1",
            "s3 lifter-2 lift pallet-2",
            "s4 carrier-2 carry pallet-2 storage < s3",
            "s5 inspector-1 inspect dock-2",
            "s6 inspector-2 inspect storage",
        ],
    );
}

#[test]
fn counts_are_digits_or_words() {
    for (amount, boxes) in [
        ("a", 1),
        ("one", 1),
        ("2", 2),
        ("two", 2),
        ("all three", 3),
        ("the", 3),
    ] {
        let plan = plan_of(&block(&format!(
            "bring {amount} boxes from area A to dock 1"
        )));
        assert_eq!(plan.steps.len(), boxes, "{amount}: {:?}", plan.declined);
    }
    for (amount, boxes) in [
        ("一个", 1),
        ("两个", 2),
        ("二个", 2),
        ("3个", 3),
        ("三", 3),
        ("全部", 3),
        ("", 3),
    ] {
        let plan = plan_of(&block(&format!("把A区的{amount}箱子送到1号码头")));
        assert_eq!(plan.steps.len(), boxes, "{amount}: {:?}", plan.declined);
    }
}

#[test]
fn sentences_are_joined_in_many_ways() {
    check(
        &[
            "bring box 4 and pallet-1 to the entrance",
            "把4号箱子和1号托盘送到门口",
        ],
        &[
            "s1 carrier-1 carry box-4 entrance",
            "s2 lifter-1 lift pallet-1",
            "s3 carrier-2 carry pallet-1 entrance < s2",
        ],
    );
    check(
        &["bring one box from area A to storage and one to dock 1"],
        &[
            "s1 carrier-1 carry box-1 storage",
            "s2 carrier-2 carry box-2 dock-1",
        ],
    );
    check(
        &[
            "move box-4 to storage, then move it back to area B",
            "把4号箱子搬到仓库，然后把它搬回到B区",
        ],
        &[
            "s1 carrier-1 carry box-4 storage",
            "s2 carrier-2 carry box-4 area-b < s1",
        ],
    );
    check(
        &["move box-4 to storage and move it to area A"],
        &[
            "s1 carrier-1 carry box-4 storage",
            "s2 carrier-2 carry box-4 area-a < s1",
        ],
    );
    check(
        &["get box 4 and drop it off at dock one"],
        &["s1 carrier-1 carry box-4 dock-1"],
    );
    check(
        &[
            "lift pallet-2 and carry it to storage",
            "抬起2号托盘，再搬到仓库",
        ],
        &[
            "s1 lifter-1 lift pallet-2",
            "s2 carrier-1 carry pallet-2 storage < s1",
        ],
    );
}

#[test]
fn things_are_where_it_is_said_of_them() {
    check(
        &[
            "bring boxes from area A and area B to dock 1",
            "把A区和B区的箱子搬到1号码头",
        ],
        &[
            "s1 carrier-1 carry box-1 dock-1",
            "s2 carrier-2 carry box-2 dock-1",
            "s3 carrier-1 carry box-3 dock-1",
            "s4 carrier-2 carry box-4 dock-1",
        ],
    );
    check(
        &[
            "把B区的箱子和2号码头的一个托盘搬到仓库",
            "carry boxes from area B and a pallet from dock 2 to storage",
        ],
        &[
            "s1 carrier-1 carry box-4 storage",
            "s2 lifter-1 lift pallet-1",
            "s3 carrier-2 carry pallet-1 storage < s2",
        ],
    );
}

#[test]
fn places_are_inspected() {
    check(
        &[
            "inspect the corridor",
            "巡检走廊",
            "Take a look at the corridor and report back",
            "去走廊巡检一遍",
            "inspect the corridor and report anything blocked",
            "检查走廊有没有堵塞，并汇报结果",
        ],
        &["s1 inspector-1 inspect corridor"],
    );
    check(
        &[
            "inspect all docks",
            "check dock 1 and dock 2",
            "巡检1号码头和2号码头",
        ],
        &[
            "s1 inspector-1 inspect dock-1",
            "s2 inspector-2 inspect dock-2",
        ],
    );
    check(
        &[
            "inspect dock 1, then dock 2",
            "先检查1号码头，然后检查2号码头",
        ],
        &[
            "s1 inspector-1 inspect dock-1",
            "s2 inspector-2 inspect dock-2 < s1",
        ],
    );
    check(
        &[
            "let inspector-2 inspect the entrance",
            "让inspector-2去门口检查一下",
        ],
        &["s1 inspector-2 inspect entrance"],
    );
    assert_eq!(plan_of(&block("inspect everywhere")).steps.len(), 9);
}

#[test]
fn robots_are_charged() {
    let every = [
        "s1 carrier-1 charge",
        "s2 lifter-1 charge",
        "s3 inspector-1 charge",
        "s4 carrier-2 charge",
        "s5 lifter-2 charge",
        "s6 inspector-2 charge",
    ];
    check(
        &[
            "charge all robots",
            "让所有机器人去充电",
            "把所有机器人送到充电站充电",
            "send all robots to the charging station",
            "Have every robot recharge!",
        ],
        &every,
    );
    check(
        &[
            "charge carrier-2 and lifter-1",
            "send carrier-2 and lifter-1 to charge",
            "让carrier-2和lifter-1充电",
        ],
        &["s1 lifter-1 charge", "s2 carrier-2 charge"],
    );
    check(
        &["charge all carriers"],
        &["s1 carrier-1 charge", "s2 carrier-2 charge"],
    );
    check(
        &[
            "inspect the corridor and then charge two robots",
            "巡检走廊，然后给两台机器人充电",
        ],
        &[
            "s1 inspector-1 inspect corridor",
            "s2 carrier-1 charge < s1",
            "s3 lifter-1 charge < s1",
        ],
    );
}

#[test]
fn named_robots_are_taken() {
    check(
        &[
            "carrier-2, bring two boxes from area A to storage",
            "让carrier-2把A区的两个箱子搬到仓库",
        ],
        &[
            "s1 carrier-2 carry box-1 storage",
            "s2 carrier-2 carry box-2 storage",
        ],
    );
    check(
        &["let carrier-2 bring pallet 1 to storage"],
        &[
            "s1 lifter-1 lift pallet-1",
            "s2 carrier-2 carry pallet-1 storage < s1",
        ],
    );
}
