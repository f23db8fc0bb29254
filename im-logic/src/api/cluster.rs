//! `/admin/v1/cluster` and `/admin/v1/sessions`: the processes as this one sees them, and who is
//! online.

use axum::Json;
use axum::extract::Query;
use protocol::wire::ListOnline;
use serde::Serialize;
use service_kit::http::{ErrorBody, Parameters, Refused};
use utoipa::ToSchema;

use super::caller::Asking;
use super::json::{Kind, Paged};

/// The cluster, as the process that answers sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Cluster {
    /// Whose accounts come in.
    fleet: String,
    /// The release of the process that answers.
    version: String,
    /// Gateways that are linked to it.
    gateways: u32,
    /// The stores and routers.
    processes: Vec<Process>,
}

/// One process.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Process {
    /// `im-store` or `im-router`.
    tier: String,
    /// Which: another one after each start.
    id: String,
    /// Where it is reached.
    address: String,
    /// Whether the link to it is up.
    linked: bool,
}

/// A page of accounts that are online.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Sessions {
    /// By rising account.
    accounts: Vec<Online>,
    /// `after` of the next page; absent: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// An account that has a session.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Online {
    /// Its account.
    account_id: String,
    /// Unique in the fleet.
    name: String,
    /// What it is.
    kind: Kind,
}

/// Shows the processes of the cluster
#[utoipa::path(
    get, path = "/admin/v1/cluster", operation_id = "show_cluster", tag = "cluster",
    responses((status = 200, description = "As seen from here", body = Cluster),
        (status = "default", description = "It is not said", body = ErrorBody)),
)]
pub(super) async fn show(asking: Asking) -> Result<Json<Cluster>, Refused> {
    let service = &asking.api.service;
    let (linked, gateways) = service.links.list(asking.caller).await?;
    let processes = linked.into_iter().map(|its| Process {
        tier: its.tier.to_owned(),
        id: its.id,
        address: its.address,
        linked: its.is_up,
    });
    Ok(Json(Cluster {
        fleet: service.fleet.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        gateways,
        processes: processes.collect(),
    }))
}

/// Lists who is online
#[utoipa::path(
    get, path = "/admin/v1/sessions", operation_id = "list_sessions", tag = "cluster",
    params(Paged),
    responses((status = 200, description = "A page", body = Sessions),
        (status = "default", description = "There is none", body = ErrorBody)),
)]
pub(super) async fn sessions(
    asking: Asking,
    paged: Parameters<Paged>,
) -> Result<Json<Sessions>, Refused> {
    let Query(paged) = paged?;
    let list = ListOnline {
        after_account_id: paged.number()?,
        limit: paged.limit,
    };
    let page = asking.api.service.online.list(asking.caller, list).await?;
    let last = page.accounts.last().map(|its| its.account_id.to_string());
    let accounts = page.accounts.iter().map(|account| Online {
        account_id: account.account_id.to_string(),
        name: account.name.clone(),
        kind: account.kind().into(),
    });
    Ok(Json(Sessions {
        next: last.filter(|_| page.more),
        accounts: accounts.collect(),
    }))
}
