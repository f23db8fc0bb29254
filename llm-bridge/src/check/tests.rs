//! Every kind of problem, and that a good plan has none.

use protocol::AccountId;
use serde_json::json;

use super::*;
use crate::plan;

const LIMITS: PlanLimits = PlanLimits {
    steps_max: 4,
    step_time_limit_s_min: 1,
    step_time_limit_s_max: 600,
};

fn robots() -> Vec<Robot> {
    let action = |name: &str, schema: Value| Action {
        name: name.into(),
        description: String::new(),
        arguments_schema: schema,
    };
    let carry = json!({
        "type": "object",
        "properties": { "object": { "type": "string" }, "to": { "type": "string" } },
        "required": ["object", "to"],
        "additionalProperties": false,
    });
    let robot = |id: u64, name: &str, actions: Vec<Action>| Robot {
        account: AccountId(id),
        name: name.into(),
        actions,
        ..Robot::default()
    };
    vec![
        robot(1, "carrier-1", vec![action("carry", carry)]),
        robot(
            2,
            "scout-1",
            vec![
                action("inspect", json!({ "type": "object" })),
                action("odd", json!({ "type": 7 })),
                action("far", json!({ "$ref": "https://example.com/schema.json" })),
            ],
        ),
        robot(3, "post-1", vec![]),
    ]
}

fn step(id: &str, depends_on: &[&str]) -> Value {
    json!({
        "id": id,
        "robot": "carrier-1",
        "action": "carry",
        "arguments": { "object": "box-1", "to": "storage" },
        "depends_on": depends_on,
        "time_limit_s": 60,
    })
}

fn with(key: &str, value: Value) -> Value {
    let mut step = step("s1", &[]);
    step[key] = value;
    step
}

fn run(steps: &[Value]) -> Result<wire::Plan, Vec<String>> {
    let answer = json!({ "steps": steps, "note": "先搬箱子" }).to_string();
    let key = PlanKey {
        instruction: ClientMessageId::new(1_700_000_000_000, [1; 10]),
        version: 2,
    };
    check(
        &plan::parse(&answer).unwrap(),
        "m-1",
        key,
        &robots(),
        &LIMITS,
    )
}

#[test]
fn a_good_plan_becomes_a_message() {
    let mut inspect = step("巡检", &["s1"]);
    inspect["robot"] = json!("scout-1");
    inspect["action"] = json!("inspect");
    inspect["arguments"] = json!({ "area": "走廊" });
    let message = run(&[step("s1", &[]), inspect]).unwrap();
    assert_eq!((message.version, &message.model[..]), (2, "m-1"));
    assert_eq!(message.note, "先搬箱子");
    let last = &message.steps[1];
    assert_eq!((last.robot, &last.robot_name[..]), (2, "scout-1"));
    assert_eq!(last.arguments_json, r#"{"area":"走廊"}"#);
    assert_eq!(last.depends_on, ["s1"]);
    assert_eq!(last.time_limit_ms, 60_000);
}

#[test]
fn every_kind_of_problem_names_its_step() {
    let long_id = "x".repeat(STEP_ID_BYTES_MAX + 1);
    let table: Vec<(Vec<Value>, &str)> = vec![
        (vec![], "The plan has neither steps nor a reason"),
        (
            (0..5).map(|n| step(&format!("s{n}"), &[])).collect(),
            "The plan has 5 steps, and at most 4",
        ),
        (vec![step("", &[])], "Step number 1 has no id."),
        (vec![step(" ", &[])], "Step number 1 has no id."),
        (
            vec![step(&long_id, &[])],
            "Step number 1 has an id of more than 64",
        ),
        (
            vec![step("s1", &[]), step("s1", &[])],
            "Step \"s1\": another step has the same id.",
        ),
        (
            vec![with("robot", json!("carrier-9"))],
            "Step \"s1\": no robot here is named \"carrier-9\".",
        ),
        (
            vec![with("action", json!("fly"))],
            "Step \"s1\": robot carrier-1 has no action \"fly\"; it has carry.",
        ),
        (
            vec![with("robot", json!("post-1"))],
            "Step \"s1\": robot post-1 has no action \"carry\"; it has no action at all.",
        ),
        (
            vec![with("arguments", json!({ "object": "box-1" }))],
            "Step \"s1\": the arguments of \"carry\" are not valid: \"to\" is a required",
        ),
        (
            vec![with("arguments", json!({ "object": 7, "to": "x" }))],
            "Step \"s1\": argument /object of \"carry\" are not valid: 7 is not of type",
        ),
        (
            vec![with(
                "arguments",
                json!({ "object": "a", "to": "b", "by": "c" }),
            )],
            "Step \"s1\": the arguments of \"carry\" are not valid: Additional properties",
        ),
        (
            vec![step("s1", &["s9"])],
            "Step \"s1\" depends on \"s9\", which is no step",
        ),
        (
            vec![step("s1", &["s1"])],
            "Step \"s1\" depends on itself by way of",
        ),
        (
            vec![step("s1", &["s2"]), step("s2", &["s1"]), step("s3", &[])],
            "Step \"s2\" depends on itself by way of",
        ),
        (
            vec![with("time_limit_s", json!(0))],
            "Step \"s1\": \"time_limit_s\" is 0, and it is from 1 to 600.",
        ),
        (
            vec![with("time_limit_s", json!(601))],
            "Step \"s1\": \"time_limit_s\" is 601",
        ),
    ];
    for (steps, sentence) in table {
        let problems = run(&steps).unwrap_err();
        let named = problems.iter().any(|problem| problem.starts_with(sentence));
        assert!(named, "{sentence}\n{problems:#?}");
    }
}

#[test]
fn a_schema_that_is_none_or_far_away_is_a_problem_and_is_not_fetched() {
    for action in ["odd", "far"] {
        let mut bad = with("action", json!(action));
        bad["robot"] = json!("scout-1");
        let problems = run(&[bad]).unwrap_err();
        assert!(problems[0].contains("cannot be used"), "{problems:?}");
    }
}

#[test]
fn a_plan_that_fits_in_no_message_is_a_problem() {
    let mut long = step("s1", &[]);
    long["arguments"]["object"] = json!("x".repeat(CONTENT_BYTES_MAX - PLAN_ENVELOPE_BYTES));
    let problems = run(&[long]).unwrap_err();
    assert!(problems[0].contains("as a message"), "{problems:?}");
}

#[test]
fn all_problems_are_named_at_once() {
    let mut bad = step("s1", &["s9"]);
    bad["robot"] = json!("nobody");
    bad["time_limit_s"] = json!(0);
    assert_eq!(run(&[bad]).unwrap_err().len(), 3);
}

proptest::proptest! {
    /// Whatever depends on whatever: it ends, and what passes can be carried out in some order.
    #[test]
    fn what_passes_has_an_order(edges in proptest::collection::vec((0..4_usize, 0..4_usize), 0..8)) {
        let steps: Vec<_> = (0..4)
            .map(|n| {
                let needs = edges.iter().filter(|(from, _)| *from == n);
                let needs: Vec<_> = needs.map(|(_, to)| format!("s{to}")).collect();
                let needs: Vec<_> = needs.iter().map(String::as_str).collect();
                step(&format!("s{n}"), &needs)
            })
            .collect();
        if let Ok(plan) = run(&steps) {
            let mut done = BTreeSet::new();
            for _ in 0..4 {
                let ready = plan.steps.iter().filter(|step| {
                    step.depends_on.iter().all(|needed| done.contains(needed))
                });
                let ready: Vec<_> = ready.map(|step| step.step_id.clone()).collect();
                done.extend(ready);
            }
            proptest::prop_assert_eq!(done.len(), 4);
        }
    }
}
