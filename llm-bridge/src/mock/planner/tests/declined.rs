//! What is declined, and in which words.

use super::*;

/// Instructions, and how the reason begins.
const DECLINED: [(&str, &str); 31] = [
    ("", "The instruction is empty."),
    ("  \n", "The instruction is empty."),
    ("fly to the moon", "I do not know \"fly\", \"moon\"."),
    ("paint the wall", "I do not know \"paint wall\"."),
    ("给植物浇水", "我不认识“植物浇水”。"),
    ("hello", "It does not say what to do."),
    (
        "boxes",
        "I do not understand how the parts belong together.",
    ),
    ("bring boxes", "It does not say where to."),
    ("bring to storage", "It does not say with what."),
    (
        "bring all boxes from area Z to storage",
        "I do not know \"Z\".",
    ),
    (
        "bring the boxes in area 3 to storage",
        "I do not see what 3 counts.",
    ),
    (
        "move the area 3 boxes to storage",
        "I do not see what 3 counts.",
    ),
    ("bring all red boxes to storage", "I do not know \"red\"."),
    ("bring box-9 to storage", "I do not know \"box-9\"."),
    (
        "bring four boxes from area A to storage",
        "4 boxes are asked for; there are 3 at area A.",
    ),
    ("把A区的五个箱子搬到仓库", "要5个箱子，A区只有3个。"),
    (
        "bring all pallets from dock 1 to storage",
        "There is no pallets at dock 1.",
    ),
    ("bring all pallets to dock 2", "Already at dock 2: pallets."),
    ("把托盘搬到月球", "我不认识“月球”。"),
    (
        "bring box 1 to storage and dock 1",
        "It names several destinations at once.",
    ),
    (
        "bring box 1 next to storage",
        "There is no place next to storage.",
    ),
    ("bring box 1 from to storage", "I do not understand"),
    ("charge it", "I do not understand"),
    ("inspect the boxes", "I do not understand"),
    (
        "send carrier-1 to dock 1",
        "Robots are not sent to places without work there.",
    ),
    (
        "let lifter-1 carry box 1 to storage",
        "lifter-1 cannot carry.",
    ),
    ("让lifter-1巡检走廊", "lifter-1不会巡检。"),
    ("do not bring box 1 to storage", "I do not know \"not\"."),
    (
        "inspect the corridor before moving box 1 to storage",
        "I do not know \"before moving\".",
    ),
    ("```json", "I do not know"),
    (
        "bring 99999999999999999999 boxes to storage",
        "I do not know \"99999999999999999999\".",
    ),
];

#[test]
fn what_cannot_be_done_is_declined_in_its_language() {
    for (instruction, reason) in DECLINED {
        let plan = plan_of(&block(instruction));
        let declined = plan.declined.unwrap_or_default();
        assert!(
            declined.starts_with(reason),
            "{instruction}: {declined:?} {:?}",
            plan.steps
        );
        assert!(plan.steps.is_empty());
        let mark = if Language::of(instruction) == Language::English {
            "[mock model] "
        } else {
            "[模拟模型] "
        };
        assert!(plan.note.starts_with(mark), "{}", plan.note);
    }
    assert!(answer(None).declined.is_some());
}

#[test]
fn without_a_robot_or_a_world_it_is_declined() {
    let mut without_lifters = block("bring all pallets from dock 2 to storage");
    let robots = without_lifters["robots"].as_array_mut().unwrap();
    robots.retain(|robot| robot["model"] != "lifter");
    assert_eq!(
        plan_of(&without_lifters).declined.unwrap(),
        "No robot here can lift."
    );

    let mut nowhere = block("inspect the corridor");
    nowhere["world"] = Value::Null;
    assert_eq!(
        plan_of(&nowhere).declined.unwrap(),
        "I know of no places and things here."
    );
    nowhere["instruction"] = json!("charge all robots");
    assert_eq!(plan_of(&nowhere).steps.len(), 6);
    nowhere["instruction"] = json!("巡检");
    assert!(plan_of(&nowhere).declined.is_some());
    nowhere["robots"] = json!([]);
    nowhere["instruction"] = json!("charge all robots");
    assert_eq!(
        plan_of(&nowhere).declined.unwrap(),
        "No robot here can charge."
    );
}
