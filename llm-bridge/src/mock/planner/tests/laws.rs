//! What holds for every text.

use super::*;

#[test]
fn the_same_prompt_makes_the_same_plan() {
    let block = block("bring all boxes to storage, inspect all areas, then charge all robots");
    let plan = plan_of(&block);
    assert!(plan.declined.is_none(), "{:?}", plan.declined);
    for _ in 0..5 {
        assert_eq!(plan_of(&block).to_json(), plan.to_json());
    }
    let json: Value = serde_json::from_str(&plan.to_json()).unwrap();
    assert_eq!(json["declined"], Value::Null);
    assert_eq!(
        json["steps"][0]["arguments"],
        json!({ "object": "box-1", "to": "storage" })
    );
    assert!(json["steps"][0]["time_limit_s"].as_u64().unwrap() >= 60);
}

proptest::proptest! {
    /// Whatever is typed, there are steps or a reason, and steps wait only for steps before them.
    #[test]
    fn any_text_is_planned_or_declined(words in proptest::collection::vec(0..VOCABULARY.len(), 0..12)) {
        let text: Vec<&str> = words.into_iter().map(|word| VOCABULARY[word]).collect();
        for instruction in [text.join(" "), text.concat()] {
            let plan = plan_of(&block(&instruction));
            assert_eq!(plan.steps.is_empty(), plan.declined.is_some(), "{instruction}");
            let mut before: Vec<&str> = Vec::new();
            for step in &plan.steps {
                let known = |id: &String| before.contains(&id.as_str());
                assert!(step.depends_on.iter().all(known), "{instruction}: {plan:?}");
                before.push(&step.id);
            }
        }
    }
}

const VOCABULARY: [&str; 40] = [
    "bring",
    "put",
    "lift",
    "inspect",
    "charge",
    "report",
    "all",
    "three",
    "a",
    "2",
    "boxes",
    "pallet-1",
    "things",
    "from",
    "to",
    "in",
    "next to",
    "area A",
    "dock 2",
    "storage",
    "charger",
    "and",
    "then",
    ",",
    "it",
    "there",
    "everything",
    "blocked",
    "carrier-1",
    "robots",
    "go",
    "把",
    "A区",
    "两个",
    "箱子",
    "搬",
    "到",
    "旁边",
    "巡检",
    "moon",
];
