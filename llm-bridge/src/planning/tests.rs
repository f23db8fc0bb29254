//! A model that says what it is told, and what is made of it.

use std::collections::VecDeque;
use std::sync::Mutex;

use client_sdk::{ActionSpec, CapabilityCard};
use protocol::ClientMessageId;

use super::*;
use crate::check::PlanLimits;
use crate::prompt::Role;
use crate::provider::Usage;

const GOOD: &str = r#"{"steps":[{"id":"s1","robot":"scout-1","action":"inspect",
    "arguments":{"area":"走廊"},"depends_on":[],"time_limit_s":60}],"note":"巡检走廊"}"#;

const UNKNOWN_ROBOT: &str = r#"{"steps":[{"id":"s1","robot":"scout-9","action":"inspect",
    "arguments":{"area":"走廊"},"time_limit_s":60}]}"#;

const POLICY: PlanningPolicy = PlanningPolicy {
    asks_max: 3,
    limits: PlanLimits {
        steps_max: 8,
        step_time_limit_s_min: 1,
        step_time_limit_s_max: 600,
    },
};

struct Scripted {
    replies: Mutex<VecDeque<Result<&'static str, ModelError>>>,
    asked: Mutex<Vec<Vec<ChatMessage>>>,
}

impl Scripted {
    fn new<const N: usize>(replies: [Result<&'static str, ModelError>; N]) -> Self {
        Self {
            replies: Mutex::new(replies.into()),
            asked: Mutex::default(),
        }
    }
}

impl Model for Scripted {
    fn ask(
        &self,
        messages: &[ChatMessage],
    ) -> impl Future<Output = Result<Reply, ModelError>> + Send {
        self.asked.lock().unwrap().push(messages.to_vec());
        let next = self.replies.lock().unwrap().pop_front().unwrap();
        std::future::ready(next.map(|text| Reply {
            text: text.into(),
            usage: Some(Usage {
                prompt_tokens: 100,
                completion_tokens: 10,
                ..Usage::default()
            }),
            ..Reply::default()
        }))
    }

    fn name(&self) -> &str {
        "m-1"
    }
}

fn question() -> Question {
    Question {
        instruction: ClientMessageId::new(1_700_000_000_000, [1; 10]),
        version: 1,
        text: "巡检一遍走廊".into(),
        progress: None,
    }
}

fn members() -> Vec<Account> {
    let action = |name: &str, schema: &str| ActionSpec {
        name: name.into(),
        description: "Looks at an area.".into(),
        arguments_schema_json: schema.into(),
        ..ActionSpec::default()
    };
    let account = |id, kind, name: &str, actions| Account {
        id: AccountId(id),
        kind,
        name: name.into(),
        capabilities: Some(CapabilityCard {
            model: "quadruped".into(),
            actions,
            ..CapabilityCard::default()
        }),
    };
    vec![
        account(1, AccountKind::Planner, "planner", vec![]),
        account(2, AccountKind::Operator, "chen", vec![]),
        account(
            3,
            AccountKind::Robot,
            "scout-1",
            vec![
                action("inspect", r#"{"type":"object","required":["area"]}"#),
                action("charge", ""),
                action("broken", "{"),
            ],
        ),
    ]
}

async fn run(model: &Scripted) -> Answer {
    let question = question();
    let world = br#"{"robots":[{"name":"scout-1","at":"dock-2"}]}"#;
    let situation = situation(&question, &members(), Some(world));
    let key = PlanKey {
        instruction: question.instruction,
        version: question.version,
    };
    plan(model, &situation, key, &POLICY).await
}

#[test]
fn the_model_is_told_of_robots_only_and_of_their_usable_actions() {
    let world = br#"{"robots":[{"name":"scout-1","at":"dock-2"}]}"#;
    let situation = situation(&question(), &members(), Some(world));
    let [robot] = &situation.robots[..] else {
        panic!("{situation:?}");
    };
    let actions: Vec<_> = robot.actions.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(actions, ["inspect", "charge"]);
    assert_eq!(robot.position, Some(json!("dock-2")));
    assert_eq!(super::situation(&question(), &[], Some(b"{")).world, None);
}

#[tokio::test]
async fn a_good_plan_is_taken_at_once() {
    let answer = run(&Scripted::new([Ok(GOOD)])).await;
    let plan = answer.plan.unwrap();
    assert_eq!((&plan.model[..], plan.steps[0].robot), ("m-1", 3));
    assert_eq!((answer.prompt_tokens, answer.completion_tokens), (100, 10));
}

#[tokio::test]
async fn a_plan_is_mended_with_its_problems_named() {
    let model = Scripted::new([Ok("{\"steps\":"), Ok(UNKNOWN_ROBOT), Ok(GOOD)]);
    let answer = run(&model).await;
    assert!(answer.plan.is_ok());
    assert_eq!(answer.prompt_tokens, 300);
    let asked = model.asked.lock().unwrap();
    let lengths: Vec<_> = asked.iter().map(Vec::len).collect();
    assert_eq!(lengths, [2, 4, 4]);
    assert!(asked[1][3].content.contains("not a JSON object"));
    assert_eq!(asked[2][2].role, Role::Assistant);
    assert_eq!(asked[2][2].content, UNKNOWN_ROBOT);
    assert!(asked[2][3].content.contains("no robot here is named"));
}

#[tokio::test]
async fn after_three_bad_plans_it_is_declined() {
    let answer = run(&Scripted::new([Ok("no"), Ok(""), Ok(UNKNOWN_ROBOT)])).await;
    let Err(Decline::NoValidPlan { asks: 3, problem }) = answer.plan else {
        panic!("{answer:?}");
    };
    assert!(problem.contains("scout-9"), "{problem}");
}

#[tokio::test]
async fn a_model_may_decline_refuse_or_not_answer() {
    let declined = r#"{"steps":[],"declined":"没有机器人会飞。"}"#;
    let answer = run(&Scripted::new([Ok(declined)])).await;
    let by_model = |reason: &str| Decline::ByModel {
        reason: reason.into(),
        model: "m-1".into(),
    };
    assert_eq!(answer.plan, Err(by_model("没有机器人会飞。")));
    let refused = ModelError::Refused("No.".into());
    let answer = run(&Scripted::new([Err(refused)])).await;
    assert_eq!(answer.plan, Err(by_model("No.")));
    let answer = run(&Scripted::new([Err(ModelError::Quota)])).await;
    assert!(
        matches!(answer.plan, Err(Decline::NoAnswer(_))),
        "{answer:?}"
    );
}

#[tokio::test]
async fn steps_together_with_a_reason_against_them_are_mended() {
    let both = r#"{"steps":[{"id":"s1","robot":"scout-1","action":"inspect",
        "arguments":{"area":"a"},"time_limit_s":9}],"declined":"perhaps"}"#;
    let model = Scripted::new([Ok(both), Ok(GOOD)]);
    assert!(run(&model).await.plan.is_ok());
}
