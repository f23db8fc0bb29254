//! `/admin/v1/robots`: what there is, what it can do, and whether it is online.

use axum::Json;
use axum::extract::{Path, Query};
use protocol::AccountId;
use protocol::wire::Account;
use serde::Serialize;
use serde_json::Value;
use service_kit::http::{ErrorBody, Parameters, Refused};
use utoipa::ToSchema;

use super::caller::Asking;
use super::json::Paged;
use crate::robots::RobotPage;

/// A page of robots.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Robots {
    /// By rising account.
    robots: Vec<Robot>,
    /// `after` of the next page; absent: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// One robot.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Robot {
    /// Its account.
    account_id: String,
    /// Unique in the fleet.
    name: String,
    /// Whether it has a session; null: nobody knows at the moment.
    online: Option<bool>,
    /// As it says; empty: it has said nothing.
    model: String,
    /// What it is able to do.
    actions: Vec<RobotAction>,
}

/// What a robot is able to do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RobotAction {
    /// What a command names.
    name: String,
    /// For people and models.
    description: String,
    /// The JSON schema of its arguments.
    #[schema(value_type = Object)]
    arguments_schema: Value,
}

/// Lists all robots
#[utoipa::path(
    get, path = "/admin/v1/robots", operation_id = "list_robots", tag = "robots",
    params(Paged),
    responses((status = 200, description = "A page", body = Robots),
        (status = "default", description = "There is none", body = ErrorBody)),
)]
pub(super) async fn list(
    asking: Asking,
    paged: Parameters<Paged>,
) -> Result<Json<Robots>, Refused> {
    let Query(paged) = paged?;
    let after = AccountId(paged.number()?);
    let robots = &asking.api.service.robots;
    let page = robots.list(asking.caller, after, paged.limit).await?;
    let last = page.robots.last().map(|robot| robot.account_id.to_string());
    Ok(Json(Robots {
        next: last.filter(|_| page.more),
        robots: told(&page),
    }))
}

/// Shows one robot
#[utoipa::path(
    get, path = "/admin/v1/robots/{name}", operation_id = "show_robot", tag = "robots",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "It", body = Robot),
        (status = "default", description = "There is none", body = ErrorBody)),
)]
pub(super) async fn show(asking: Asking, Path(name): Path<String>) -> Result<Json<Robot>, Refused> {
    let robots = &asking.api.service.robots;
    let page = robots.one(asking.caller, &name).await?;
    let one = told(&page).pop();
    let nobody = || protocol::Refusal::internal("a robot was found, and none came");
    Ok(Json(one.ok_or_else(nobody)?))
}

fn told(page: &RobotPage) -> Vec<Robot> {
    let robot = |account: &Account| {
        let id = AccountId(account.account_id);
        let card = account.capabilities.clone().unwrap_or_default();
        let actions = card.actions.into_iter().map(|action| RobotAction {
            name: action.name,
            description: action.description,
            arguments_schema: serde_json::from_str(&action.arguments_schema_json)
                .unwrap_or_default(),
        });
        Robot {
            account_id: id.to_string(),
            name: account.name.clone(),
            online: page.online.as_ref().map(|online| online.contains(&id)),
            model: card.model,
            actions: actions.collect(),
        }
    };
    page.robots.iter().map(robot).collect()
}
