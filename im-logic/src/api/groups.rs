//! `/admin/v1/groups`: the groups of the caller, and who is in them. Not here: what it changes of them
//! ([`super::regroup`]), and what it may, which is decided where the protocol's own requests are.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query};
use bytes::Bytes;
use prost::Message as _;
use protocol::id::ConversationKind;
use protocol::wire::{DescribeGroup, GroupDescription, ListConversations, ListMembers};
use protocol::{ConversationId, Refusal};
use serde::Serialize;
use service_kit::http::{ErrorBody, Parameters, Refused};
use utoipa::ToSchema;

use super::caller::Asking;
use super::json::{Kind, Paged, Role, group};

/// A page of groups.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Groups {
    /// By rising id. A page may be empty and not be the last one.
    groups: Vec<Listed>,
    /// `after` of the next page; absent: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A group that the caller is in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Listed {
    /// `g17`.
    id: String,
    /// What people call it.
    name: String,
    /// What the caller is in it.
    role: Role,
    /// The newest sequence number.
    head: u64,
    /// How many entries the caller has not marked as read.
    unread: u64,
}

/// What a group is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Group {
    /// `g17`.
    id: String,
    /// What people call it.
    name: String,
    /// Its attributes.
    attributes: BTreeMap<String, String>,
    /// Whoever joins may read what was before.
    history_open: bool,
    /// In milliseconds since the Unix epoch.
    created_at_ms: u64,
    /// The newest sequence number.
    head: u64,
    /// What the caller is in it.
    role: Role,
    /// How many are in it.
    members_total: u32,
    /// How many of them are owners,
    owners: u32,
    /// admins,
    admins: u32,
    /// and observers.
    observers: u32,
}

/// A page of members.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Members {
    /// By rising account.
    members: Vec<Member>,
    /// `after` of the next page; absent: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A member of a group.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Member {
    /// Its account.
    account_id: String,
    /// Unique in the fleet.
    name: String,
    /// What it is.
    kind: Kind,
    /// What it is in the group.
    role: Role,
}

/// Lists the groups of the caller
#[utoipa::path(
    get, path = "/admin/v1/groups", operation_id = "list_groups", tag = "groups",
    params(Paged),
    responses((status = 200, description = "A page", body = Groups),
        (status = "default", description = "There is none", body = ErrorBody)),
)]
pub(super) async fn list(
    asking: Asking,
    paged: Parameters<Paged>,
) -> Result<Json<Groups>, Refused> {
    let Query(paged) = paged?;
    let after = match &paged.after[..] {
        "" => Bytes::new(),
        text => {
            let id: ConversationId = text.parse().map_err(Refusal::from)?;
            id.to_bytes()
        }
    };
    let list = ListConversations {
        after_conversation_id: after,
        limit: paged.limit,
        history_generation: 0,
    };
    let listing = &asking.api.service.listing;
    let page = listing.conversations(asking.caller, list).await?;
    let ids = page.memberships.iter();
    let mut ids = ids.filter_map(|its| ConversationId::from_slice(&its.conversation_id).ok());
    let last = ids.next_back().map(|id| id.to_string());
    let groups = page.memberships.into_iter().filter_map(|its| {
        let id = ConversationId::from_slice(&its.conversation_id).ok()?;
        let is_group = matches!(id.kind(), ConversationKind::Group(_));
        is_group.then(|| Listed {
            id: id.to_string(),
            role: its.role().into(),
            name: its.name,
            head: its.head,
            unread: its.unread,
        })
    });
    Ok(Json(Groups {
        groups: groups.collect(),
        next: last.filter(|_| page.more),
    }))
}

/// Shows a group
#[utoipa::path(
    get, path = "/admin/v1/groups/{id}", operation_id = "show_group", tag = "groups",
    params(("id" = String, Path, description = "`g17`")),
    responses((status = 200, description = "It", body = Group),
        (status = "default", description = "There is none", body = ErrorBody)),
)]
pub(super) async fn show(asking: Asking, Path(id): Path<String>) -> Result<Json<Group>, Refused> {
    let describe = DescribeGroup {
        conversation_id: group(&id)?.to_bytes(),
    };
    let groups = &asking.api.service.groups;
    let told = groups.describe(asking.caller, describe).await?;
    let told = GroupDescription::decode(told)
        .map_err(|error| Refusal::internal(format!("a group does not parse: {error}")))?;
    let attributes = told.attributes.iter();
    let attributes = attributes.map(|its| (its.key.clone(), its.value.clone()));
    Ok(Json(Group {
        id,
        role: told.role().into(),
        attributes: attributes.collect(),
        name: told.name,
        history_open: told.history_open,
        created_at_ms: told.created_at_ms,
        head: told.head,
        members_total: told.members,
        owners: told.owners,
        admins: told.admins,
        observers: told.observers,
    }))
}

/// Lists the members of a group
#[utoipa::path(
    get, path = "/admin/v1/groups/{id}/members", operation_id = "list_members", tag = "groups",
    params(("id" = String, Path, description = "`g17`"), Paged),
    responses((status = 200, description = "A page", body = Members),
        (status = "default", description = "There is none", body = ErrorBody)),
)]
pub(super) async fn members(
    asking: Asking,
    Path(id): Path<String>,
    paged: Parameters<Paged>,
) -> Result<Json<Members>, Refused> {
    let Query(paged) = paged?;
    let list = ListMembers {
        conversation_id: group(&id)?.to_bytes(),
        after_account_id: paged.number()?,
        limit: paged.limit,
    };
    let listing = &asking.api.service.listing;
    let page = listing.members(asking.caller, list).await?;
    let last = page.members.last().map(|its| its.account_id.to_string());
    let roles = page.roles().map(Role::from);
    let members = page.members.iter().zip(roles);
    let members = members.map(|(account, role)| Member {
        account_id: account.account_id.to_string(),
        name: account.name.clone(),
        kind: account.kind().into(),
        role,
    });
    Ok(Json(Members {
        members: members.collect(),
        next: last.filter(|_| page.more),
    }))
}
