//! The planner itself over each provider: the prompt, the form, the plan.

use llm_bridge::check::PlanKey;
use llm_bridge::config::{Config, DEFAULTS};
use llm_bridge::mocks::brand::Brand;
use llm_bridge::mocks::scenario::Scenario;
use llm_bridge::planning;
use llm_bridge::prompt::{Action, Robot, Situation};
use llm_bridge::provider::ProviderKind;
use llm_bridge::routing::Providers;
use protocol::{AccountId, ClientMessageId};
use serde_json::json;

use crate::subject::Subject;

fn situation() -> Situation {
    let area = json!({ "type": "string" });
    let inspect = Action {
        name: "inspect".into(),
        description: "Looks at an area.".into(),
        arguments_schema: json!({ "type": "object", "properties": { "area": area } }),
    };
    Situation {
        instruction: "巡检一遍走廊".into(),
        robots: vec![Robot {
            account: AccountId(3),
            name: "inspector-1".into(),
            model: "inspector".into(),
            position: None,
            actions: vec![inspect],
        }],
        progress: None,
        world: Some(json!({
            "places": [{ "id": "corridor", "kind": "corridor", "aliases": ["corridor", "走廊"] }],
            "objects": [],
        })),
    }
}

pub(crate) async fn a_plan_is_got_and_one_that_is_cut_off_is_mended(
    kind: ProviderKind,
    brand: Brand,
) {
    let subject = Subject::new(kind, brand).await;
    let config: Config = service_kit::config::defaults(DEFAULTS).unwrap();
    let policy = config.planning.planning().unwrap();
    let services = vec![(subject.service.clone(), 1)];
    let providers = Providers::new(services, config.routing.policy().unwrap());
    let key = PlanKey {
        instruction: ClientMessageId::new(1_700_000_000_000, [1; 10]),
        version: 1,
    };
    assert!(
        subject
            .mock
            .push(Scenario::say("{\"steps\": [{\"id\": \"s1\", "))
    );
    let answer = planning::plan(&providers, &situation(), key, &policy).await;
    let plan = answer.plan.unwrap();
    assert!(!plan.steps.is_empty(), "{plan:?}");
    assert!(answer.prompt_tokens > 100, "{}", answer.prompt_tokens);
    assert_eq!(
        subject.mock.take_seen().len(),
        2,
        "asked, and asked to mend"
    );
}
