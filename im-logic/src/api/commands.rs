//! `/admin/v1/commands`: one command to many robots, what becomes of it, and its end. Not here: who
//! may, and what a command is ([`crate::commands`]).

use std::collections::HashMap;

use axum::Json;
use axum::body::Body;
use axum::extract::Query;
use bytes::Bytes;
use prost::Message;
use protocol::command::{self, CommandKey};
use protocol::wire::{
    CancelCommand, CommandCancelled, CommandSent, CommandStatus, GetCommand, RobotSelection,
    SendCommand,
};
use protocol::{AccountId, ClientMessageId, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service_kit::clock;
use service_kit::http::{ErrorBody, Parameters, Refused};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::caller::Asking;
use super::json::{Counts, Paged, counts, group, numbers};
use crate::store::Caller;

/// A command that is to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewCommand {
    /// `PLAN/STEP/ATTEMPT`, PLAN a UUIDv7: the same key is the same command, and is not run again.
    key: String,
    /// The plan's epoch; 0: an operator's own command under a plan of its own.
    #[serde(default)]
    epoch: u64,
    /// What the robots are to do.
    action: String,
    /// And how.
    #[serde(default)]
    #[schema(value_type = Object)]
    arguments: Option<Value>,
    /// To the robots of this group, as they are when it is stored,
    #[serde(default)]
    group: String,
    /// or to the robots of these names.
    #[serde(default)]
    robots: Vec<String>,
    /// or to robots that meet this condition, of the group if one is given:
    #[serde(default, rename = "where")]
    condition: Option<String>,
    /// any so many of them; 0: all.
    #[serde(default)]
    count: u32,
    /// Within how many milliseconds it has to be begun.
    within_ms: u64,
}

/// It is stored, and its robots are told.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Sent {
    /// `PLAN/STEP/ATTEMPT`.
    key: String,
    /// The plan's epoch.
    epoch: u64,
    /// How many robots it is for.
    robots: u32,
    /// How many are in each state.
    counts: Counts,
    /// Until when it has to be begun, in milliseconds since the Unix epoch.
    deadline_at_ms: u64,
    /// It was stored before this request.
    duplicate: bool,
}

/// A command that is to end.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Cancel {
    /// `PLAN/STEP/ATTEMPT`.
    key: String,
    /// For the robots and for people.
    #[serde(default)]
    reason: String,
}

/// It has ended where it had not begun, and robots that have begun are told to end.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Cancelled {
    /// `PLAN/STEP/ATTEMPT`.
    key: String,
    /// How many robots are in each state.
    counts: Counts,
}

/// Of which command what.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// `PLAN/STEP/ATTEMPT`.
    key: String,
    /// No outcomes, only how many there are of each.
    #[serde(default)]
    counts_only: bool,
    /// The `next` of the page before; absent: the first page.
    #[serde(default)]
    after: String,
    /// At most so many; 0 or more than the server allows: the server's page size.
    #[serde(default)]
    limit: u32,
}

/// What has become of a command.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    /// `PLAN/STEP/ATTEMPT`.
    key: String,
    /// The newest epoch that it was sent under.
    epoch: u64,
    /// Until when it has to be begun, in milliseconds since the Unix epoch.
    deadline_at_ms: u64,
    /// How many robots it is for.
    robots: u32,
    /// How many of them more is expected of.
    open: u32,
    /// How many are in each state.
    counts: Counts,
    /// By rising account.
    outcomes: Vec<Outcome>,
    /// `after` of the next page; absent: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What has become of it at one robot.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Outcome {
    /// The robot's account.
    account_id: String,
    /// The same by name.
    robot: String,
    /// For example `finished`.
    state: String,
    /// 0 to 100, while it runs.
    progress_percent: u32,
    /// Why it did not finish.
    reason: String,
    /// What the robot said of it.
    #[schema(value_type = Object)]
    result: Value,
    /// Since when, in milliseconds since the Unix epoch.
    changed_at_ms: u64,
}

/// A page of commands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Commands {
    /// Those of the newest plans first.
    commands: Vec<Listed>,
    /// `after` of the next page; absent: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// One command.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Listed {
    /// `PLAN/STEP/ATTEMPT`.
    key: String,
    /// What the robots are to do.
    action: String,
    /// Who sent it: the account,
    issuer_id: String,
    /// and its name.
    issuer: String,
    /// When, in milliseconds since the Unix epoch.
    created_at_ms: u64,
    /// Until when it has to be begun.
    deadline_at_ms: u64,
    /// Somebody has ended it.
    cancelled: bool,
    /// How many robots it is for.
    robots: u32,
    /// How many are in each state.
    counts: Counts,
}

/// Sends a command to robots
///
/// The answer means that it is stored. What becomes of it is asked for by its key.
#[utoipa::path(
    post, path = "/admin/v1/commands", operation_id = "send_command", tag = "commands",
    request_body = NewCommand,
    responses((status = 200, description = "It is stored", body = Sent),
        (status = "default", description = "It is not, or that is not known", body = ErrorBody)),
)]
pub(super) async fn send(asking: Asking, body: Body) -> Result<Json<Sent>, Refused> {
    let (change, new) = asking.begin::<NewCommand>("command.send", "", body).await?;
    change
        .carry_out(move |api, caller| async move {
            let key: CommandKey = new.key.parse()?;
            let accounts = &api.service.accounts;
            let robots = accounts.named(&new.robots, caller.deadline).await?;
            let group_id = match &new.group[..] {
                "" => Bytes::new(),
                text => group(text)?.to_bytes(),
            };
            let count = new.count;
            let (group_id, selection) = match new.condition {
                None => (group_id, None),
                Some(query) => {
                    let selection = RobotSelection {
                        query,
                        group_id,
                        count,
                    };
                    (Bytes::new(), Some(selection))
                }
            };
            let send = SendCommand {
                key: Some(key.to_wire()),
                epoch: new.epoch,
                targets: numbers(robots.into_iter().map(|profile| profile.account)),
                group_id,
                selection,
                action: new.action,
                arguments_json: new
                    .arguments
                    .map_or_else(|| "{}".to_owned(), |its| its.to_string()),
                deadline_at_ms: clock::unix_ms().saturating_add(new.within_ms),
            };
            let sent: CommandSent = parsed(api.service.commands.send(caller, send).await?)?;
            let known = sent.counts.unwrap_or_default();
            let sent = Sent {
                key: key.to_string(),
                epoch: sent.epoch,
                robots: command::total(&known),
                counts: counts(&known),
                deadline_at_ms: sent.deadline_at_ms,
                duplicate: sent.duplicate,
            };
            Ok((sent.key.clone(), sent))
        })
        .await
}

/// Says what has become of a command
#[utoipa::path(
    get, path = "/admin/v1/command", operation_id = "command_status", tag = "commands",
    params(Which),
    responses((status = 200, description = "A page of its outcomes", body = Status),
        (status = "default", description = "There is none", body = ErrorBody)),
)]
pub(super) async fn status(
    asking: Asking,
    which: Parameters<Which>,
) -> Result<Json<Status>, Refused> {
    let Query(which) = which?;
    let key: CommandKey = which.key.parse()?;
    let paged = Paged {
        after: which.after,
        limit: which.limit,
    };
    let get = GetCommand {
        key: Some(key.to_wire()),
        after_account_id: paged.number()?,
        limit: paged.limit,
        counts_only: which.counts_only,
    };
    let (api, caller) = (&asking.api, asking.caller);
    let status: CommandStatus = parsed(api.service.commands.get(caller, get).await?)?;
    let ids = status.outcomes.iter().map(|its| AccountId(its.account_id));
    let names = names(api, caller, ids.collect()).await?;
    let last = status.outcomes.last().map(|its| its.account_id.to_string());
    let known = status.counts.unwrap_or_default();
    let outcomes = status.outcomes.into_iter().map(|its| Outcome {
        account_id: its.account_id.to_string(),
        robot: name(&names, its.account_id),
        state: command::name(its.state()),
        progress_percent: its.progress_percent,
        reason: its.reason,
        result: serde_json::from_str(&its.result_json).unwrap_or_default(),
        changed_at_ms: its.changed_at_ms,
    });
    Ok(Json(Status {
        key: key.to_string(),
        epoch: status.epoch,
        deadline_at_ms: status.deadline_at_ms,
        robots: command::total(&known),
        open: command::open(&known),
        counts: counts(&known),
        outcomes: outcomes.collect(),
        next: last.filter(|_| status.more),
    }))
}

/// Ends a command where it has not begun
#[utoipa::path(
    post, path = "/admin/v1/command/cancel", operation_id = "cancel_command", tag = "commands",
    request_body = Cancel,
    responses((status = 200, description = "It is done", body = Cancelled),
        (status = "default", description = "It is not, or that is not known", body = ErrorBody)),
)]
pub(super) async fn cancel(asking: Asking, body: Body) -> Result<Json<Cancelled>, Refused> {
    let (change, cancel) = asking.begin::<Cancel>("command.cancel", "", body).await?;
    change
        .carry_out(move |api, caller| async move {
            let key: CommandKey = cancel.key.parse()?;
            let request = CancelCommand {
                key: Some(key.to_wire()),
                reason: cancel.reason,
            };
            let commands = &api.service.commands;
            let done: CommandCancelled = parsed(commands.cancel(caller, request).await?)?;
            let cancelled = Cancelled {
                key: key.to_string(),
                counts: counts(&done.counts.unwrap_or_default()),
            };
            Ok((cancelled.key.clone(), cancelled))
        })
        .await
}

/// Lists commands
///
/// Operators see all, planners their own.
#[utoipa::path(
    get, path = "/admin/v1/commands", operation_id = "list_commands", tag = "commands",
    params(Paged),
    responses((status = 200, description = "A page", body = Commands),
        (status = "default", description = "There is none", body = ErrorBody)),
)]
pub(super) async fn list(
    asking: Asking,
    paged: Parameters<Paged>,
) -> Result<Json<Commands>, Refused> {
    let Query(paged) = paged?;
    let before = match &paged.after[..] {
        "" => None,
        text => Some(text.parse::<ClientMessageId>().map_err(Refusal::from)?),
    };
    let (api, caller) = (&asking.api, asking.caller);
    let list = api
        .service
        .commands
        .list(caller, before, paged.limit)
        .await?;
    let issuers = list.commands.iter().map(|its| AccountId(its.issuer));
    let names = names(api, caller, issuers.collect()).await?;
    let last = match list.commands.last() {
        Some(last) => Some(ClientMessageId::from_slice(&last.command_id).map_err(Refusal::from)?),
        None => None,
    };
    let mut commands = Vec::with_capacity(list.commands.len());
    for its in list.commands {
        let known = its.counts.unwrap_or_default();
        commands.push(Listed {
            key: CommandKey::from_wire(its.key)?.to_string(),
            action: its.action,
            issuer_id: its.issuer.to_string(),
            issuer: name(&names, its.issuer),
            created_at_ms: its.created_at_ms,
            deadline_at_ms: its.deadline_at_ms,
            cancelled: its.is_cancelled,
            robots: command::total(&known),
            counts: counts(&known),
        });
    }
    Ok(Json(Commands {
        commands,
        next: last.filter(|_| list.more).map(|id| id.to_string()),
    }))
}

async fn names(
    api: &Api,
    caller: Caller,
    mut accounts: Vec<AccountId>,
) -> Result<HashMap<u64, String>, Refusal> {
    accounts.sort_unstable();
    accounts.dedup();
    let known = api
        .service
        .directory
        .all(&accounts, caller.deadline)
        .await?;
    let named = known.into_iter();
    Ok(named
        .map(|profile| (profile.account.0, profile.name.to_string()))
        .collect())
}

fn name(names: &HashMap<u64, String>, account: u64) -> String {
    names.get(&account).cloned().unwrap_or_default()
}

fn parsed<M: Message + Default>(answer: Bytes) -> Result<M, Refusal> {
    M::decode(answer).map_err(|error| Refusal::internal(format!("an answer: {error}")))
}
