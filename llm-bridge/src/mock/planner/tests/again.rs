//! New plans for what is left.

use super::*;

fn past(id: &str, robot: &str, action: &str, arguments: Value) -> Value {
    json!({ "id": id, "robot": robot, "action": action, "arguments": arguments, "result": null })
}

#[test]
fn a_new_plan_is_for_what_is_left_and_for_other_robots() {
    let mut again = block("把A区的三个箱子搬到充电站旁边，然后巡检一遍走廊");
    let to = "beside-charging-station";
    again["world"]["objects"][0]["at"] = json!(to);
    // Dropped on the way.
    again["world"]["objects"][1]["at"] = Value::Null;
    again["progress"] = json!({
        "finished": [past("s1", "carrier-1", "carry", json!({ "object": "box-1", "to": to }))],
        "failed": [past("s2", "carrier-2", "carry", json!({ "object": "box-2", "to": to }))],
    });
    let plan = plan_of(&again);
    assert_eq!(
        lines(&plan),
        [
            "v2-1 carrier-1 carry box-2 beside-charging-station",
            "v2-2 carrier-1 carry box-3 beside-charging-station",
            "v2-3 inspector-1 inspect corridor < v2-1 v2-2",
        ],
        "{:?}",
        plan.declined
    );
}

#[test]
fn what_is_lifted_stays_lifted_until_it_is_carried() {
    let mut again = block("bring all pallets from dock 2 to storage and report anything blocked");
    again["world"]["objects"][3]["at"] = json!("corridor");
    again["progress"] = json!({
        "finished": [
            past("s1", "lifter-1", "lift", json!({ "object": "pallet-1" })),
            past("s3", "lifter-2", "lift", json!({ "object": "pallet-2" })),
            past("s4", "carrier-2", "carry", json!({ "object": "pallet-2", "to": "storage" })),
            past("s5", "inspector-1", "inspect", json!({ "area": "dock-2" })),
        ],
        "failed": [
            past("s2", "carrier-1", "carry", json!({ "object": "pallet-1", "to": "storage" })),
            past("s6", "inspector-2", "inspect", json!({ "area": "storage" })),
        ],
    });
    // The world of the group still has pallet-2 at the dock: the finished step knows better.
    let plan = plan_of(&again);
    let expected = [
        "v2-1 carrier-2 carry pallet-1 storage",
        "v2-2 inspector-1 inspect storage",
    ];
    assert_eq!(lines(&plan), expected, "{:?}", plan.declined);
    assert!(plan.note.contains("what is left"), "{}", plan.note);

    again["progress"]["finished"]
        .as_array_mut()
        .unwrap()
        .extend([
            past(
                "v2-1",
                "carrier-2",
                "carry",
                json!({ "object": "pallet-1", "to": "storage" }),
            ),
            past(
                "v2-2",
                "inspector-1",
                "inspect",
                json!({ "area": "storage" }),
            ),
        ]);
    assert_eq!(plan_of(&again).declined.unwrap(), "Nothing is left to do.");
    again["progress"]["finished"].as_array_mut().unwrap().pop();
    assert_eq!(
        lines(&plan_of(&again)),
        ["v3-1 inspector-1 inspect storage"]
    );
}

#[test]
fn a_failed_robot_is_taken_when_there_is_no_other() {
    let mut again = block("把4号箱子搬到仓库");
    let robots = again["robots"].as_array_mut().unwrap();
    robots.retain(|robot| robot["name"] != "carrier-2");
    let carry = json!({ "object": "box-4", "to": "storage" });
    again["progress"] =
        json!({ "finished": [], "failed": [past("s1", "carrier-1", "carry", carry)] });
    assert_eq!(
        lines(&plan_of(&again)),
        ["v2-1 carrier-1 carry box-4 storage"]
    );
}
