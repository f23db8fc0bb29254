//! An action's life, without a network.

use serde::Deserialize;
use serde_json::json;

use super::*;

/// Lifts a load.
#[derive(Deserialize, JsonSchema)]
struct Lift {
    /// Metres above the floor.
    height_m: f64,
}

#[tokio::test]
async fn an_action_finishes_and_tells_its_progress() {
    let lift = |lift: Lift, context: ActionContext| async move {
        context.progress(50);
        context.progress(150);
        Ok(json!({ "height_m": lift.height_m }))
    };
    let trial = run_action(lift, json!({ "height_m": 1.5 })).await;
    assert_eq!(trial.state, StepState::Finished);
    assert_eq!(trial.result, Some(json!({ "height_m": 1.5 })));
    assert_eq!(trial.progress, [50, 100]);
}

#[tokio::test]
async fn wrong_arguments_are_rejected_before_anything_runs() {
    let lift = |_: Lift, _: ActionContext| async { panic!("it must not run") };
    let trial = run_action(lift, json!({ "height_m": "high" })).await;
    assert_eq!(trial.state, StepState::Rejected);
    assert!(trial.reason.contains("arguments"), "{}", trial.reason);
}

#[tokio::test]
async fn an_error_and_a_panic_are_failures() {
    let jammed = |_: Lift, _: ActionContext| async { Err("the fork is jammed".into()) };
    let trial = run_action(jammed, json!({ "height_m": 1 })).await;
    assert_eq!(
        (trial.state, trial.reason.as_str()),
        (StepState::Failed, "the fork is jammed")
    );
    let broken = |_: Lift, _: ActionContext| async { panic!("on purpose") };
    let trial = run_action(broken, json!({ "height_m": 1 })).await;
    assert_eq!(trial.state, StepState::Failed);
}

#[tokio::test]
async fn a_late_action_is_told_so_and_what_it_returns_is_too_late() {
    let (told, hears) = tokio::sync::oneshot::channel();
    let told = Arc::new(Mutex::new(Some(told)));
    let slow = move |_: Lift, context: ActionContext| {
        let told = told.lock().take();
        async move {
            context.until_cancelled().await;
            told.unwrap().send(context.cancelled()).unwrap();
            Ok(Value::Null)
        }
    };
    let limit = Duration::from_millis(20);
    let trial = run_action_within(slow, json!({ "height_m": 1 }), limit).await;
    assert_eq!(trial.state, StepState::Expired);
    assert!(hears.await.unwrap());
}

#[test]
fn the_schema_and_the_description_come_from_the_type() {
    let action = Action::new("lift", |_: Lift, _| async { Ok(Value::Null) });
    assert_eq!(action.spec.description, "Lifts a load.");
    let schema: Value = serde_json::from_str(&action.spec.arguments_schema_json).unwrap();
    assert_eq!(schema["type"], "object");
    assert_eq!(schema["required"], json!(["height_m"]));
    assert_eq!(
        schema["properties"]["height_m"]["description"],
        "Metres above the floor."
    );
}
