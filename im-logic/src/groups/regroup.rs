//! Roles, names, attributes, and the end of a group.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::content::{self, Content};
use protocol::kind::method;
use protocol::limits::{ATTRIBUTE_KEY_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX, GROUP_ATTRIBUTES_MAX};
use protocol::role::or_member;
use protocol::wire::internal::{Append, Describe};
use protocol::wire::{
    AccountKind, ChangeGroup, ChangeRoles, DescribeGroup, EntryKind, GroupChange, GroupChanged,
    MembershipChange, Role, RoleChange, RolesChanged,
};
use protocol::{AccountId, ClientMessageId, ErrorCode, Refusal, Rights, Roles};
use service_kit::rpc;

use super::wanted::group_name;
use super::{CHANGES_PER_ENTRY_MAX, Groups, entry, group};
use crate::events;
use crate::permission::{self, Action};
use crate::store::{Caller, To};

impl Groups {
    /// An encoded `GroupDescription`, as the store made it for this account.
    pub async fn describe(&self, caller: Caller, request: DescribeGroup) -> Result<Bytes, Refusal> {
        let conversation = group(&request.conversation_id)?;
        let describe = Describe {
            conversation_id: request.conversation_id,
            account_id: caller.account.0,
        };
        self.store
            .pass(
                To::Any(conversation.as_bytes()),
                method::DESCRIBE,
                rpc::encode(&describe),
                caller.deadline,
            )
            .await
    }

    /// Renames a group, changes its attributes, or ends it.
    pub async fn regroup(
        &self,
        caller: Caller,
        request: ChangeGroup,
    ) -> Result<GroupChanged, Refusal> {
        let conversation = group(&request.conversation_id)?;
        let id = ClientMessageId::from_slice(&request.client_message_id)?;
        let change = parse(request)?;
        let kind = self
            .directory
            .one(caller.account, caller.deadline)
            .await?
            .kind;
        let rights = Rights::to_send(may(&change, kind)?);
        let append = Append {
            content: content::encode(Content::Group(change.clone())),
            group: Some(change.clone()),
            ..entry(caller, conversation, id, EntryKind::Group, rights)
        };
        let appended = self.put(caller, conversation, &append).await;
        if change.dissolved {
            // Also when the outcome is not known.
            self.members.forget_all();
        }
        let sequence = appended?.sequence;
        events::group_changed(caller, conversation, sequence, change.dissolved);
        Ok(GroupChanged { sequence })
    }

    /// Gives members other roles.
    pub async fn roles(
        &self,
        caller: Caller,
        request: ChangeRoles,
    ) -> Result<RolesChanged, Refusal> {
        let conversation = group(&request.conversation_id)?;
        let id = ClientMessageId::from_slice(&request.client_message_id)?;
        let wanted = roles_of(&request)?;
        let accounts: Vec<_> = wanted.keys().copied().collect();
        let profiles = self.directory.all(&accounts, caller.deadline).await?;
        let role = |(account, role): (&AccountId, &Role), name: &str| RoleChange {
            account_id: account.0,
            role: (*role).into(),
            name: name.to_owned(),
        };
        let roles: Vec<_> = wanted
            .iter()
            .zip(&profiles)
            .map(|(wanted, profile)| role(wanted, &profile.name))
            .collect();
        let kind = self
            .directory
            .one(caller.account, caller.deadline)
            .await?
            .kind;
        let append = Append {
            content: content::encode(Content::Membership(MembershipChange {
                changes: Vec::new(),
                roles: roles.clone(),
            })),
            roles,
            ..entry(
                caller,
                conversation,
                id,
                EntryKind::Membership,
                permission::rights(kind),
            )
        };
        let appended = self.put(caller, conversation, &append).await;
        self.members.forget(conversation, accounts.iter().copied());
        let sequence = appended?.sequence;
        events::members_changed(caller, conversation, sequence, accounts.len());
        Ok(RolesChanged { sequence })
    }
}

/// The roles that may do all of it.
fn may(change: &GroupChange, kind: AccountKind) -> Result<Roles, Refusal> {
    let asked = [
        (change.dissolved, Action::Dissolve),
        (!change.name.is_empty(), Action::Rename),
        (
            !change.set.is_empty() || !change.unset.is_empty(),
            Action::SetAttributes,
        ),
    ];
    let mut roles = Roles::ALL;
    for (_, action) in asked.into_iter().filter(|(is_asked, _)| *is_asked) {
        permission::check_kind(action, kind)?;
        roles = roles.both(permission::roles(action, kind));
    }
    Ok(roles)
}

fn parse(request: ChangeGroup) -> Result<GroupChange, Refusal> {
    let changes = !request.name.is_empty() || !request.set.is_empty() || !request.unset.is_empty();
    if changes == request.dissolve {
        let why = "name, set, unset, dissolve: say what changes; an end goes alone";
        return Err(Refusal::bad_request(why));
    }
    let name = match request.name {
        name if name.is_empty() => name,
        name => group_name(name)?,
    };
    if request.set.len() + request.unset.len() > 2 * GROUP_ATTRIBUTES_MAX {
        return Err(too_many_attributes());
    }
    let mut keys = std::collections::BTreeSet::new();
    let given = request.set.iter().map(|its| its.key.as_str());
    for key in given.chain(request.unset.iter().map(String::as_str)) {
        check_key(key)?;
        if !keys.insert(key) {
            let why = format!("set, unset: `{key}` is there twice");
            return Err(Refusal::bad_request(why));
        }
    }
    for its in &request.set {
        if its.value.len() > ATTRIBUTE_VALUE_BYTES_MAX {
            let why = format!(
                "set: the value of `{}` has {} bytes, and at most {ATTRIBUTE_VALUE_BYTES_MAX} are \
                 allowed",
                its.key,
                its.value.len()
            );
            return Err(Refusal::new(ErrorCode::LimitReached, why));
        }
    }
    Ok(GroupChange {
        name,
        set: request.set,
        unset: request.unset,
        dissolved: request.dissolve,
    })
}

fn check_key(key: &str) -> Result<(), Refusal> {
    if key.is_empty() || key.len() > ATTRIBUTE_KEY_BYTES_MAX || key.chars().any(char::is_control) {
        return Err(Refusal::bad_request(format!(
            "set, unset: a key has 1 to {ATTRIBUTE_KEY_BYTES_MAX} bytes, and no control characters"
        )));
    }
    Ok(())
}

fn too_many_attributes() -> Refusal {
    Refusal::new(
        ErrorCode::LimitReached,
        format!("a group has at most {GROUP_ATTRIBUTES_MAX} attributes"),
    )
}

/// Who becomes what, by account.
fn roles_of(request: &ChangeRoles) -> Result<BTreeMap<AccountId, Role>, Refusal> {
    let mut wanted = BTreeMap::new();
    for change in &request.roles {
        let account = AccountId(change.account_id);
        if wanted.insert(account, or_member(change.role())).is_some() {
            let why = format!("roles: {account} is there twice");
            return Err(Refusal::bad_request(why));
        }
    }
    if wanted.is_empty() {
        return Err(Refusal::bad_request("roles: empty"));
    }
    if wanted.len() > CHANGES_PER_ENTRY_MAX {
        let why = format!("roles: at most {CHANGES_PER_ENTRY_MAX} at once");
        return Err(Refusal::new(ErrorCode::LimitReached, why));
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use protocol::wire::Attribute;

    use super::*;

    fn set(key: &str, value: &str) -> ChangeGroup {
        ChangeGroup {
            set: vec![Attribute {
                key: key.into(),
                value: value.into(),
            }],
            ..ChangeGroup::default()
        }
    }

    fn code(request: ChangeGroup) -> Option<ErrorCode> {
        parse(request).err().map(|refusal| refusal.code)
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let end = ChangeGroup {
            dissolve: true,
            ..ChangeGroup::default()
        };
        let end_and_more = ChangeGroup {
            dissolve: true,
            ..set("区", "b")
        };
        let twice = ChangeGroup {
            unset: vec!["区".into()],
            ..set("区", "b")
        };
        let long = "值".repeat(ATTRIBUTE_VALUE_BYTES_MAX / 3 + 1);
        assert_eq!(code(end), None);
        assert_eq!(code(set("区", "B 区")), None);
        for (request, expected) in [
            (ChangeGroup::default(), ErrorCode::BadRequest),
            (end_and_more, ErrorCode::BadRequest),
            (twice, ErrorCode::BadRequest),
            (set("", "b"), ErrorCode::BadRequest),
            (set("a\nb", "b"), ErrorCode::BadRequest),
            (set("区", &long), ErrorCode::LimitReached),
        ] {
            assert_eq!(code(request.clone()), Some(expected), "{request:?}");
        }
    }

    #[test]
    fn several_changes_take_the_right_to_each() {
        let rename = GroupChange {
            name: "新名".into(),
            ..GroupChange::default()
        };
        let end = GroupChange {
            dissolved: true,
            ..GroupChange::default()
        };
        let admins = Roles::of(&[Role::Owner, Role::Admin]);
        assert_eq!(may(&rename, AccountKind::Robot).unwrap(), admins);
        let owners = Roles::of(&[Role::Owner]);
        assert_eq!(may(&end, AccountKind::Operator).unwrap(), owners);
    }

    #[test]
    fn an_account_becomes_one_thing() {
        let role = |account_id, role: Role| RoleChange {
            account_id,
            role: role.into(),
            name: String::new(),
        };
        let request = |roles: Vec<RoleChange>| ChangeRoles {
            roles,
            ..ChangeRoles::default()
        };
        let two = request(vec![role(1, Role::Owner), role(2, Role::Unspecified)]);
        let wanted = roles_of(&two).unwrap();
        assert_eq!(wanted[&AccountId(2)], Role::Member);
        let twice = request(vec![role(1, Role::Owner), role(1, Role::Admin)]);
        assert!(roles_of(&twice).is_err() && roles_of(&request(vec![])).is_err());
    }
}
