//! Getting a plan: ask a model, read and check its answer, have it mended, and give up in time.

use client_sdk::{Account, AccountKind};
use protocol::AccountId;
use serde_json::{Value, json};

use crate::check::{PlanKey, PlanLimits, check};
use crate::events;
use crate::mission::{Answer, Question};
use crate::plan;
use crate::prompt::{self, Action, ChatMessage, Robot, Situation};
use crate::provider::chat::Message;
use crate::provider::{ChatRequest, Form, ModelError, Reply, Service, chat};
use crate::routing::Providers;
use crate::summary::Decline;

/// What answers.
pub trait Model: Send + Sync {
    /// Answers the conversation.
    fn ask(
        &self,
        messages: &[ChatMessage],
    ) -> impl Future<Output = Result<Reply, ModelError>> + Send;

    /// The name of the model, if its reply does not say it.
    fn name(&self) -> &str;
}

impl Model for Providers {
    async fn ask(&self, messages: &[ChatMessage]) -> Result<Reply, ModelError> {
        Self::ask(self, &request(messages)).await
    }

    fn name(&self) -> &str {
        self.services().first().map_or("", Service::model)
    }
}

/// What is asked for: a plan, by its schema where the provider has such a thing.
#[must_use]
pub fn request(messages: &[ChatMessage]) -> ChatRequest {
    let message = |its: &ChatMessage| {
        let role = match its.role {
            prompt::Role::System => chat::Role::System,
            prompt::Role::User => chat::Role::User,
            prompt::Role::Assistant => chat::Role::Assistant,
        };
        Message::new(role, its.content.clone())
    };
    ChatRequest {
        messages: messages.iter().map(message).collect(),
        form: Form::Schema {
            name: plan::SCHEMA_NAME.into(),
            schema: plan::schema().clone(),
        },
        is_streamed: true,
        ..ChatRequest::default()
    }
}

/// How plans are got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanningPolicy {
    /// Requests for one plan, those to mend it included.
    pub asks_max: u32,
    /// The bounds of a plan.
    pub limits: PlanLimits,
}

/// What the model is told of the group.
#[must_use]
pub fn situation(question: &Question, members: &[Account], world: Option<&[u8]>) -> Situation {
    let world: Option<Value> = world.and_then(|bytes| serde_json::from_slice(bytes).ok());
    let robots = members
        .iter()
        .filter(|member| member.kind == AccountKind::Robot)
        .map(|member| robot(member, world.as_ref()));
    Situation {
        instruction: question.text.clone(),
        robots: robots.collect(),
        progress: question.progress.clone(),
        world,
    }
}

fn robot(member: &Account, world: Option<&Value>) -> Robot {
    let card = member.capabilities.clone().unwrap_or_default();
    let actions = card.actions.into_iter().filter_map(|spec| {
        let arguments_schema = match spec.arguments_schema_json.trim() {
            "" => Ok(json!({ "type": "object" })),
            schema => serde_json::from_str(schema),
        };
        match arguments_schema {
            Ok(arguments_schema) => Some(Action {
                name: spec.name,
                description: spec.description,
                arguments_schema,
            }),
            Err(error) => {
                events::schema_unusable(&member.name, &spec.name, &error);
                None
            }
        }
    });
    Robot {
        account: AccountId(member.id.0),
        name: member.name.clone(),
        model: card.model,
        position: position(&member.name, world),
        actions: actions.collect(),
    }
}

/// Where the world says that a robot is.
fn position(name: &str, world: Option<&Value>) -> Option<Value> {
    let robots = world?.get("robots")?.as_array()?;
    let robot = robots
        .iter()
        .find(|robot| robot.get("name").and_then(Value::as_str) == Some(name))?;
    robot.get("at").filter(|at| !at.is_null()).cloned()
}

/// Asks until there is a plan that can be carried out, or a reason why there is none.
pub async fn plan(
    model: &impl Model,
    situation: &Situation,
    key: PlanKey,
    policy: &PlanningPolicy,
) -> Answer {
    let mut answer = Answer {
        plan: Err(Decline::Blank),
        prompt_tokens: 0,
        completion_tokens: 0,
    };
    let mut messages = match prompt::ask(situation) {
        Ok(messages) => messages,
        Err(too_long) => {
            answer.plan = Err(Decline::NoSituation(too_long.to_string()));
            return answer;
        }
    };
    let mut asks = 0;
    answer.plan = loop {
        asks += 1;
        let reply = match model.ask(&messages).await {
            Ok(reply) => reply,
            Err(ModelError::Refused(reason)) => {
                let model = model.name().to_owned();
                break Err(Decline::ByModel { reason, model });
            }
            Err(error) => break Err(Decline::NoAnswer(error.to_string())),
        };
        answer.prompt_tokens += reply.cost().prompt_tokens;
        answer.completion_tokens += reply.cost().completion_tokens;
        let name = match reply.model.as_str() {
            "" => model.name(),
            name => name,
        };
        let problems = match judge(&reply.text, name, key, situation, policy) {
            Verdict::Plan(plan) => break Ok(plan),
            Verdict::Declined(decline) => break Err(decline),
            Verdict::Problems(problems) => problems,
        };
        events::plan_invalid(problems.len(), asks);
        if asks >= policy.asks_max {
            let problem = problems.into_iter().next().unwrap_or_default();
            break Err(Decline::NoValidPlan { asks, problem });
        }
        // The newest answer alone is mended: earlier ones are of no use to anybody.
        messages.truncate(2);
        messages.extend(prompt::mend(&reply.text, &problems));
    };
    answer
}

enum Verdict {
    Plan(protocol::wire::Plan),
    Declined(Decline),
    Problems(Vec<String>),
}

fn judge(
    text: &str,
    model: &str,
    key: PlanKey,
    situation: &Situation,
    policy: &PlanningPolicy,
) -> Verdict {
    let parsed = match plan::parse(text) {
        Ok(parsed) => parsed,
        Err(error) => return Verdict::Problems(vec![error.to_string()]),
    };
    let reason = parsed.declined.as_deref().map_or("", str::trim);
    if !reason.is_empty() {
        if parsed.steps.is_empty() {
            return Verdict::Declined(Decline::ByModel {
                reason: reason.to_owned(),
                model: model.to_owned(),
            });
        }
        let problem = "The plan has steps and a reason in \"declined\": give one of them.";
        return Verdict::Problems(vec![problem.into()]);
    }
    match check(&parsed, model, key, &situation.robots, &policy.limits) {
        Ok(plan) => Verdict::Plan(plan),
        Err(problems) => Verdict::Problems(problems),
    }
}

#[cfg(test)]
mod tests;
