//! Each fault of a draft, alone; and a draft without one.

use serde_json::json;

use super::*;
use crate::plan::parse;

fn account(id: u64, name: &str, action: &str, schema: &Value) -> wire::Account {
    wire::Account {
        account_id: id,
        kind: wire::AccountKind::Robot.into(),
        name: name.into(),
        capabilities: Some(wire::CapabilityCard {
            model: "test".into(),
            actions: vec![wire::ActionSpec {
                name: action.into(),
                description: String::new(),
                arguments_schema_json: schema.to_string(),
            }],
        }),
    }
}

fn roster() -> Roster {
    let carry = json!({
        "type": "object",
        "required": ["object", "to"],
        "properties": {"object": {"type": "string"}, "to": {"type": "string"}},
        "additionalProperties": false
    });
    let (roster, unusable) = Roster::new(&[
        account(7, "carry-1", "carry", &carry),
        account(8, "charge-1", "charge", &json!({"type": "object"})),
    ]);
    assert_eq!(unusable, []);
    roster
}

fn step(id: &str) -> Value {
    json!({
        "id": id, "robot": "carry-1", "action": "carry",
        "arguments": {"object": "box-1", "to": "A区"}, "depends_on": [], "time_limit_s": 60
    })
}

fn judge(draft: &Value) -> Result<Verdict, Vec<Fault>> {
    let identity = PlanIdentity {
        instruction: ClientMessageId::new(1, [1; 10]),
        version: 1,
        model: "test".into(),
    };
    check(&parse(&draft.to_string()).unwrap(), &roster(), &identity)
}

/// The faults of a plan of `s1` as it should be and `s2` with one field changed.
fn faults(field: &str, value: Value) -> String {
    let mut second = step("s2");
    second[field] = value;
    let faults = judge(&json!({"steps": [step("s1"), second]})).unwrap_err();
    let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[test]
fn a_sound_draft_becomes_the_wire_plan() {
    let mut second = step("s2");
    second["depends_on"] = json!(["s1"]);
    let verdict = judge(&json!({"steps": [step("s1"), second], "note": "好"})).unwrap();
    let Verdict::Plan(plan) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(plan.steps[1].robot, 7);
    assert_eq!(plan.steps[1].depends_on, ["s1"]);
    assert_eq!(plan.steps[1].time_limit_ms, 60_000);
    assert_eq!((plan.version, plan.note.as_str()), (1, "好"));
}

#[test]
fn declining_is_sound_and_exclusive() {
    let declined = judge(&json!({"declined": "no robot can paint", "steps": []}));
    assert_eq!(declined, Ok(Verdict::Declined("no robot can paint".into())));
    let both = judge(&json!({"declined": "no", "steps": [step("s1")]}));
    assert_eq!(both, Err(vec![Fault::DeclinedWithSteps]));
    let neither = judge(&json!({"declined": " ", "steps": []}));
    assert_eq!(neither, Err(vec![Fault::Empty]));
}

#[test]
fn each_fault_is_named_exactly() {
    let text = faults("robot", json!("carry-9"));
    assert_eq!(
        text,
        "step `s2`: there is no robot `carry-9`; the robots are `carry-1`, `charge-1`"
    );
    let text = faults("action", json!("fly"));
    assert_eq!(
        text,
        "step `s2`: robot `carry-1` has no action `fly`; its actions are `carry`"
    );
    let text = faults("arguments", json!({"object": 3, "to": "A区"}));
    assert!(text.starts_with("step `s2`: arguments: at `/object`"), "{text}");
    let text = faults("arguments", json!(["box-1"]));
    assert_eq!(text, "step `s2`: arguments: they are not an object");
    let text = faults("depends_on", json!(["s7"]));
    assert!(text.contains("depends on `s7`"), "{text}");
    assert!(faults("id", json!("s1")).contains("`s1` is used more than once"));
    assert!(faults("id", json!("")).contains("1 to 64 bytes"));
    assert!(faults("time_limit_s", json!(0)).contains("must be 1 to 3600"));
    assert!(faults("time_limit_s", json!(4000)).contains("must be 1 to 3600"));
}

#[test]
fn a_cycle_is_found_and_what_precedes_it_is_not_named() {
    let mut second = step("s2");
    second["depends_on"] = json!(["s1", "s3"]);
    let mut third = step("s3");
    third["depends_on"] = json!(["s2"]);
    let faults = judge(&json!({"steps": [step("s1"), second, third]})).unwrap_err();
    assert_eq!(faults, [Fault::Cycle("`s2`, `s3`".into())]);
    let mut own = step("s1");
    own["depends_on"] = json!(["s1"]);
    assert!(matches!(judge(&json!({"steps": [own]})).unwrap_err()[..], [Fault::Cycle(_)]));
}

#[test]
fn a_plan_has_a_bounded_number_of_steps() {
    let steps: Vec<_> = (0..=STEPS_MAX).map(|n| step(&format!("s{n}"))).collect();
    let faults = judge(&json!({ "steps": steps })).unwrap_err();
    assert_eq!(faults, [Fault::TooManySteps(STEPS_MAX + 1)]);
}

#[test]
fn an_action_with_a_schema_that_does_not_compile_is_left_out() {
    let accounts = [
        account(7, "carry-1", "carry", &json!({"type": "nonsense"})),
        account(8, "carry-2", "carry", &json!({"$ref": "http://127.0.0.1:1/x"})),
    ];
    let (roster, unusable) = Roster::new(&accounts);
    assert_eq!(unusable.len(), 2);
    assert!(roster.robots().all(|(_, robot)| robot.actions.is_empty()));
}
