//! Texts, word for word where people read them.

use serde_json::json;

use super::*;
use crate::execution::ExecutionPolicy;

/// One plan: steps `(id, robot, action, arguments)`, all of them independent.
fn plan(version: u32, steps: &[(&str, &str, &str, Value)]) -> Execution {
    let steps = steps.iter().enumerate();
    let plan = wire::Plan {
        version,
        model: "mock-planner".into(),
        note: "[mock model] Plan.".into(),
        steps: steps
            .map(|(at, (id, robot, action, arguments))| wire::Step {
                step_id: (*id).into(),
                robot: at as u64 + 1,
                robot_name: (*robot).into(),
                action: (*action).into(),
                arguments_json: arguments.to_string(),
                ..wire::Step::default()
            })
            .collect(),
        ..wire::Plan::default()
    };
    let policy = ExecutionPolicy {
        attempts_max: 1,
        stops_at_failure: version == 1,
    };
    Execution::new(plan, policy, 0)
}

fn end(plan: &mut Execution, step_id: &str, state: StepState, reason: &str, result: &Value) {
    let update = wire::StepUpdate {
        step_id: step_id.into(),
        attempt: 1,
        state: state.into(),
        reason: reason.into(),
        result_json: result.to_string(),
        ..wire::StepUpdate::default()
    };
    assert!(plan.apply(&update, false));
}

fn carried() -> Execution {
    let mut plan = plan(
        1,
        &[
            (
                "s1",
                "carrier-1",
                "carry",
                json!({ "object": "box-1", "to": "charger" }),
            ),
            ("s2", "scout-1", "inspect", json!({ "area": "corridor" })),
        ],
    );
    end(&mut plan, "s1", StepState::Finished, "", &json!({}));
    plan
}

#[test]
fn everything_done_in_english() {
    let mut plan = carried();
    let result = json!({ "blocked": ["shelf-3", "aisle-2", "shelf-3"] });
    end(&mut plan, "s2", StepState::Finished, "", &result);
    assert_eq!(
        text(Language::English, Outcome::Done, &[plan], None),
        "Done: all 2 steps are finished.\n\
         - s1 carrier-1: carry object=box-1 to=charger: finished\n\
         - s2 scout-1: inspect area=corridor: finished\n\
         Blocked (2): aisle-2, shelf-3.\n\
         Model mock-planner: [mock model] Plan."
    );
}

#[test]
fn a_failure_and_a_new_plan_that_is_declined_in_chinese() {
    let mut first = carried();
    end(
        &mut first,
        "s2",
        StepState::Failed,
        "前方有障碍物",
        &Value::Null,
    );
    let second = plan(2, &[("v2-1", "scout-2", "inspect", json!({}))]);
    let mut plans = vec![first, second];
    end(&mut plans[1], "v2-1", StepState::Rejected, "", &Value::Null);
    let decline = Decline::ByModel {
        reason: "没有其他机器人会巡检。".into(),
        model: "m-1".into(),
    };
    assert_eq!(
        text(
            Language::Chinese,
            Outcome::PartlyDone,
            &plans,
            Some(&decline)
        ),
        "部分完成：3个步骤中完成1个，失败2个。\n\
         - s1 carrier-1：carry object=box-1 to=charger：已完成\n\
         - s2 scout-1：inspect area=corridor：失败：前方有障碍物\n\
         - v2-1 scout-2：inspect：失败：机器人拒绝执行\n\
         失败后重新计划1次。\n\
         没有新的计划：没有其他机器人会巡检。\n\
         模型：m-1。"
    );
}

#[test]
fn an_inspection_that_found_nothing_says_so() {
    let mut plan = carried();
    let result = json!({ "blocked": [] });
    end(&mut plan, "s2", StepState::Finished, "", &result);
    let plans = [plan];
    let english = text(Language::English, Outcome::Done, &plans, None);
    assert!(english.contains("\nNothing is blocked.\n"), "{english}");
    let chinese = text(Language::Chinese, Outcome::Done, &plans, None);
    assert!(
        chinese.starts_with("完成：全部2个步骤都已完成。"),
        "{chinese}"
    );
    assert!(chinese.contains("\n没有发现堵塞。\n"), "{chinese}");
}

#[test]
fn every_reason_for_no_plan_has_words_in_both_languages() {
    let word = || "x".to_owned();
    let model = || "m-1".to_owned();
    for decline in [
        Decline::Blank,
        Decline::QueueFull { waiting: 16 },
        Decline::TooOld,
        Decline::ByModel {
            reason: word(),
            model: model(),
        },
        Decline::NoAnswer(word()),
        Decline::NoValidPlan {
            asks: 3,
            problem: word(),
        },
        Decline::NoSituation(word()),
        Decline::PlanRefused(word()),
    ] {
        for language in [Language::English, Language::Chinese] {
            let text = text(language, Outcome::Declined, &[], Some(&decline));
            assert!(text.chars().count() > "Declined: ".len() / 2, "{text}");
            if !matches!(decline, Decline::ByModel { .. }) {
                assert_eq!(Language::of(&text), language, "{text}");
            }
        }
    }
}

#[test]
fn progress_names_what_is_done_and_everything_that_is_not() {
    let mut plan = plan(
        1,
        &[
            ("s1", "a", "inspect", json!({ "area": "走廊" })),
            ("s2", "b", "carry", json!({})),
            ("s3", "b", "carry", json!({})),
        ],
    );
    let blocked = json!({ "blocked": ["shelf-3"] });
    end(&mut plan, "s1", StepState::Finished, "", &blocked);
    end(&mut plan, "s2", StepState::Expired, "", &Value::Null);
    let progress = progress(&[plan]);
    assert_eq!(progress.finished[0].result, blocked);
    assert_eq!(progress.finished[0].arguments["area"], "走廊");
    let failed: Vec<_> = progress.failed.iter().map(|s| s.reason.as_str()).collect();
    assert_eq!(failed, ["out of time", "its end is not known"]);
}

#[test]
fn long_words_and_many_steps_are_cut() {
    let ids: Vec<_> = (0..150).map(|n| format!("s{n}")).collect();
    let long = json!({ "object": "箱".repeat(10_000) });
    let steps: Vec<_> = ids
        .iter()
        .map(|id| (id.as_str(), "r", "carry", long.clone()))
        .collect();
    let text = text(
        Language::English,
        Outcome::PartlyDone,
        &[plan(1, &steps)],
        None,
    );
    assert!(text.contains("\n- and 50 more steps\n"));
    assert!(text.len() < protocol::limits::CONTENT_BYTES_MAX / 2);
}
