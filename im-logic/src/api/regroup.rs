//! `/admin/v1/groups`: groups are made, changed and ended. Not here: who may, which is decided where
//! the protocol's own requests are.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::body::Body;
use axum::extract::Path;
use protocol::role::or_member;
use protocol::wire::{Attribute, ChangeGroup, ChangeMembers, ChangeRoles, CreateGroup, RoleChange};
use protocol::{AccountId, ConversationId, Refusal};
use serde::{Deserialize, Serialize};
use service_kit::http::{ErrorBody, Refused};
use utoipa::ToSchema;

use super::caller::Asking;
use super::json::{Role, group, message_id, numbers};

/// A group that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewGroup {
    /// A UUIDv7, chosen once for the change and all its repeats.
    client_message_id: String,
    /// What people call it.
    name: String,
    /// The names of accounts that are in it from the beginning, beside the caller, who owns it.
    #[serde(default)]
    members: Vec<String>,
    /// Whoever joins later may read what was before.
    #[serde(default)]
    history_open: bool,
}

/// Who comes, and who goes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MembersChange {
    /// A UUIDv7, chosen once for the change and all its repeats.
    client_message_id: String,
    /// The names of accounts that come.
    #[serde(default)]
    add: Vec<String>,
    /// The names of accounts that go.
    #[serde(default)]
    remove: Vec<String>,
    /// As what they come.
    #[serde(default)]
    role: Role,
}

/// Who becomes what.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RolesChange {
    /// A UUIDv7, chosen once for the change and all its repeats.
    client_message_id: String,
    /// New roles by the names of members.
    roles: BTreeMap<String, Role>,
}

/// What a group becomes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupChange {
    /// A UUIDv7, chosen once for the change and all its repeats.
    client_message_id: String,
    /// Another name; empty: it keeps its own.
    #[serde(default)]
    name: String,
    /// Attributes that are set,
    #[serde(default)]
    set: BTreeMap<String, String>,
    /// and those that are removed.
    #[serde(default)]
    unset: Vec<String>,
}

/// A change that needs no other word.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Only {
    /// A UUIDv7, chosen once for the change and all its repeats.
    client_message_id: String,
}

/// It is done, for good.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GroupChanged {
    /// `g17`.
    group: String,
    /// The entry that says so in the group's log; 0: there was nothing to change.
    sequence: u64,
}

/// Makes a group
#[utoipa::path(
    post, path = "/admin/v1/groups", operation_id = "create_group", tag = "groups",
    request_body = NewGroup,
    responses((status = 200, description = "It is made", body = GroupChanged),
        (status = "default", description = "It is not, or that is not known", body = ErrorBody)),
)]
pub(super) async fn create(asking: Asking, body: Body) -> Result<Json<GroupChanged>, Refused> {
    let (change, new) = asking.begin::<NewGroup>("group.create", "", body).await?;
    change
        .carry_out(move |api, caller| async move {
            let accounts = &api.service.accounts;
            let members = accounts.named(&new.members, caller.deadline).await?;
            let create = CreateGroup {
                client_message_id: message_id(&new.client_message_id)?,
                name: new.name,
                members: numbers(members.into_iter().map(|profile| profile.account)),
                history_open: new.history_open,
            };
            let made = api.service.groups.create(caller, create).await?;
            changed(
                ConversationId::from_slice(&made.conversation_id)?,
                made.head,
            )
        })
        .await
}

/// Lets accounts into a group, and removes them
#[utoipa::path(
    post, path = "/admin/v1/groups/{id}/members", operation_id = "change_members",
    tag = "groups", params(("id" = String, Path, description = "`g17`")),
    request_body = MembersChange,
    responses((status = 200, description = "It is done", body = GroupChanged),
        (status = "default", description = "It is not, or that is not known", body = ErrorBody)),
)]
pub(super) async fn change_members(
    asking: Asking,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<GroupChanged>, Refused> {
    let begun = asking.begin::<MembersChange>("group.members", &id, body);
    let (change, wanted) = begun.await?;
    change
        .carry_out(move |api, caller| async move {
            let group = group(&id)?;
            let accounts = &api.service.accounts;
            let add = accounts.named(&wanted.add, caller.deadline).await?;
            let remove = accounts.named(&wanted.remove, caller.deadline).await?;
            let request = ChangeMembers {
                conversation_id: group.to_bytes(),
                client_message_id: message_id(&wanted.client_message_id)?,
                add: numbers(add.into_iter().map(|profile| profile.account)),
                remove: numbers(remove.into_iter().map(|profile| profile.account)),
                role: or_member(wanted.role.into()).into(),
            };
            let done = api.service.groups.change(caller, request).await?;
            changed(group, done.sequence)
        })
        .await
}

/// Gives members other roles
#[utoipa::path(
    post, path = "/admin/v1/groups/{id}/roles", operation_id = "change_roles", tag = "groups",
    params(("id" = String, Path, description = "`g17`")), request_body = RolesChange,
    responses((status = 200, description = "It is done", body = GroupChanged),
        (status = "default", description = "It is not, or that is not known", body = ErrorBody)),
)]
pub(super) async fn change_roles(
    asking: Asking,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<GroupChanged>, Refused> {
    let (change, wanted) = asking
        .begin::<RolesChange>("group.roles", &id, body)
        .await?;
    change
        .carry_out(move |api, caller| async move {
            let group = group(&id)?;
            let names: Vec<_> = wanted.roles.keys().cloned().collect();
            let found = api.service.accounts.named(&names, caller.deadline).await?;
            let ids: HashMap<_, _> = names
                .iter()
                .zip(found.iter().map(|profile| profile.account))
                .collect();
            let id_of = |name: &String| ids.get(name).copied().unwrap_or(AccountId(0));
            let roles = wanted.roles.iter().map(|(name, role)| RoleChange {
                account_id: id_of(name).0,
                role: protocol::wire::Role::from(*role).into(),
                name: String::new(),
            });
            let request = ChangeRoles {
                conversation_id: group.to_bytes(),
                client_message_id: message_id(&wanted.client_message_id)?,
                roles: roles.collect(),
            };
            let done = api.service.groups.roles(caller, request).await?;
            changed(group, done.sequence)
        })
        .await
}

/// Renames a group, sets and removes attributes
#[utoipa::path(
    patch, path = "/admin/v1/groups/{id}", operation_id = "update_group", tag = "groups",
    params(("id" = String, Path, description = "`g17`")), request_body = GroupChange,
    responses((status = 200, description = "It is done", body = GroupChanged),
        (status = "default", description = "It is not, or that is not known", body = ErrorBody)),
)]
pub(super) async fn update(
    asking: Asking,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<GroupChanged>, Refused> {
    let (change, wanted) = asking
        .begin::<GroupChange>("group.update", &id, body)
        .await?;
    change
        .carry_out(move |api, caller| async move {
            let set = wanted.set.into_iter();
            let request = ChangeGroup {
                name: wanted.name,
                set: set.map(|(key, value)| Attribute { key, value }).collect(),
                unset: wanted.unset,
                ..regroup(&id, &wanted.client_message_id)?
            };
            let done = api.service.groups.regroup(caller, request).await?;
            changed(group(&id)?, done.sequence)
        })
        .await
}

/// Ends a group: all leave, and its history stays
#[utoipa::path(
    post, path = "/admin/v1/groups/{id}/dissolve", operation_id = "dissolve_group",
    tag = "groups", params(("id" = String, Path, description = "`g17`")), request_body = Only,
    responses((status = 200, description = "It is done", body = GroupChanged),
        (status = "default", description = "It is not, or that is not known", body = ErrorBody)),
)]
pub(super) async fn dissolve(
    asking: Asking,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<GroupChanged>, Refused> {
    let (change, wanted) = asking.begin::<Only>("group.dissolve", &id, body).await?;
    change
        .carry_out(move |api, caller| async move {
            let request = ChangeGroup {
                dissolve: true,
                ..regroup(&id, &wanted.client_message_id)?
            };
            let done = api.service.groups.regroup(caller, request).await?;
            changed(group(&id)?, done.sequence)
        })
        .await
}

/// Leaves a group
#[utoipa::path(
    post, path = "/admin/v1/groups/{id}/leave", operation_id = "leave_group", tag = "groups",
    params(("id" = String, Path, description = "`g17`")), request_body = Only,
    responses((status = 200, description = "It is done", body = GroupChanged),
        (status = "default", description = "It is not, or that is not known", body = ErrorBody)),
)]
pub(super) async fn leave(
    asking: Asking,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<GroupChanged>, Refused> {
    let (change, wanted) = asking.begin::<Only>("group.leave", &id, body).await?;
    change
        .carry_out(move |api, caller| async move {
            let group = group(&id)?;
            let request = ChangeMembers {
                conversation_id: group.to_bytes(),
                client_message_id: message_id(&wanted.client_message_id)?,
                remove: vec![caller.account.0],
                ..ChangeMembers::default()
            };
            let done = api.service.groups.change(caller, request).await?;
            changed(group, done.sequence)
        })
        .await
}

fn regroup(id: &str, client_message_id: &str) -> Result<ChangeGroup, Refusal> {
    Ok(ChangeGroup {
        conversation_id: group(id)?.to_bytes(),
        client_message_id: message_id(client_message_id)?,
        ..ChangeGroup::default()
    })
}

/// What was changed, and the answer.
fn changed(group: ConversationId, sequence: u64) -> Result<(String, GroupChanged), Refusal> {
    let group = group.to_string();
    Ok((group.clone(), GroupChanged { group, sequence }))
}
