//! Groups: roles, name and attributes, the end of a group. Who may do what stands in
//! `docs/PERMISSIONS.md`.

use std::collections::BTreeMap;

use protocol::kind::client as kind;
use protocol::wire::{self, Role};
use protocol::{AccountId, ConversationId, SequenceNumber};

use super::Client;
use super::requests::nonsense;
use crate::error::Error;
use crate::message::Account;

/// Members that are added or given roles in one request; more are several.
const CHANGES_PER_REQUEST_MAX: usize = 2048;

/// What a group is, as of a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: ConversationId,
    /// For people.
    pub name: String,
    /// What applications note of it.
    pub attributes: BTreeMap<String, String>,
    /// Whether one who joins later may read what was before.
    pub history_open: bool,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Its newest entry.
    pub head: SequenceNumber,
    /// How many members there are.
    pub members: u32,
    /// How many of them are owners.
    pub owners: u32,
    /// How many are admins.
    pub admins: u32,
    /// How many are observers.
    pub observers: u32,
    /// What this account is.
    pub role: Role,
}

/// One who is in a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Who, with its capabilities.
    pub account: Account,
    /// As what.
    pub role: Role,
}

/// What of a group is to change; what is not said stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupUpdate {
    /// Its name; 1 to 128 characters.
    pub name: Option<String>,
    /// Attributes that get these values: keys of at most 64 bytes, values of at most 4,096.
    pub set: BTreeMap<String, String>,
    /// Attributes that go.
    pub unset: Vec<String>,
}

impl Client {
    /// What a group is; only its members may ask.
    pub async fn group(&self, conversation: ConversationId) -> Result<Group, Error> {
        let request = wire::DescribeGroup {
            conversation_id: conversation.to_bytes(),
        };
        let told: wire::GroupDescription = self.request(kind::DESCRIBE_GROUP, &request).await?;
        let attributes = told
            .attributes
            .iter()
            .cloned()
            .map(|its| (its.key, its.value));
        Ok(Group {
            id: ConversationId::from_slice(&told.conversation_id).map_err(nonsense)?,
            attributes: attributes.collect(),
            history_open: told.history_open,
            created_at_ms: told.created_at_ms,
            head: SequenceNumber(told.head),
            members: told.members,
            owners: told.owners,
            admins: told.admins,
            observers: told.observers,
            role: told.role(),
            name: told.name,
        })
    }

    /// A page of the members with a greater id than `after`, and whether there are more. At most
    /// `limit`; 0: as many as the server puts into a page.
    pub async fn members_page(
        &self,
        conversation: ConversationId,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<(Vec<Member>, bool), Error> {
        let request = wire::ListMembers {
            conversation_id: conversation.to_bytes(),
            after_account_id: after.map_or(0, |id| id.0),
            limit,
        };
        let page: wire::MemberPage = self.request(kind::LIST_MEMBERS, &request).await?;
        let known = |role: &i32| Role::try_from(*role).unwrap_or_default();
        let roles: Vec<_> = page.roles.iter().map(known).collect();
        let roles = roles
            .into_iter()
            .chain(std::iter::repeat(Role::Unspecified));
        let member = |(account, role)| Member {
            account: Account::from_wire(account),
            role,
        };
        Ok((
            page.members.into_iter().zip(roles).map(member).collect(),
            page.more,
        ))
    }

    /// Adds accounts as this; those who are members already stay what they are. The number of the
    /// last entry; zero when nothing changed. Many are added in several entries, of which the first
    /// may be there when a later one fails: the same call again adds the rest.
    pub async fn add_members(
        &self,
        conversation: ConversationId,
        accounts: &[AccountId],
        role: Role,
    ) -> Result<SequenceNumber, Error> {
        let mut last = SequenceNumber::ZERO;
        for some in accounts.chunks(CHANGES_PER_REQUEST_MAX) {
            let request = wire::ChangeMembers {
                conversation_id: conversation.to_bytes(),
                client_message_id: self.inner.shared.new_message_id().to_bytes(),
                add: some.iter().map(|id| id.0).collect(),
                remove: Vec::new(),
                role: role.into(),
            };
            let changed: wire::MembersChanged =
                self.request(kind::CHANGE_MEMBERS, &request).await?;
            last = last.max(SequenceNumber(changed.sequence));
        }
        Ok(last)
    }

    /// Leaves a group. The last owner of others makes another one first, or dissolves it.
    pub async fn leave(&self, conversation: ConversationId) -> Result<SequenceNumber, Error> {
        let me = self.account().id;
        self.change_members(conversation, &[], &[me]).await
    }

    /// Gives members other roles, all of them or none, as one entry of the log.
    pub async fn change_roles(
        &self,
        conversation: ConversationId,
        roles: &[(AccountId, Role)],
    ) -> Result<SequenceNumber, Error> {
        let change = |(account, role): &(AccountId, Role)| wire::RoleChange {
            account_id: account.0,
            role: (*role).into(),
            name: String::new(),
        };
        let request = wire::ChangeRoles {
            conversation_id: conversation.to_bytes(),
            client_message_id: self.inner.shared.new_message_id().to_bytes(),
            roles: roles.iter().map(change).collect(),
        };
        let changed: wire::RolesChanged = self.request(kind::CHANGE_ROLES, &request).await?;
        Ok(SequenceNumber(changed.sequence))
    }

    /// Hands a group on: the other becomes its owner, and this account an admin.
    pub async fn transfer_group(
        &self,
        conversation: ConversationId,
        to: AccountId,
    ) -> Result<SequenceNumber, Error> {
        let me = self.account().id;
        self.change_roles(conversation, &[(to, Role::Owner), (me, Role::Admin)])
            .await
    }

    /// Changes the name and the attributes of a group, as one entry of its log.
    pub async fn update_group(
        &self,
        conversation: ConversationId,
        update: GroupUpdate,
    ) -> Result<SequenceNumber, Error> {
        let attribute = |(key, value)| wire::Attribute { key, value };
        self.change_group(wire::ChangeGroup {
            conversation_id: conversation.to_bytes(),
            name: update.name.unwrap_or_default(),
            set: update.set.into_iter().map(attribute).collect(),
            unset: update.unset,
            ..wire::ChangeGroup::default()
        })
        .await
    }

    /// Ends a group: all leave by one entry, its last. Those who were in it still read it.
    pub async fn dissolve_group(
        &self,
        conversation: ConversationId,
    ) -> Result<SequenceNumber, Error> {
        self.change_group(wire::ChangeGroup {
            conversation_id: conversation.to_bytes(),
            dissolve: true,
            ..wire::ChangeGroup::default()
        })
        .await
    }

    async fn change_group(&self, change: wire::ChangeGroup) -> Result<SequenceNumber, Error> {
        let request = wire::ChangeGroup {
            client_message_id: self.inner.shared.new_message_id().to_bytes(),
            ..change
        };
        let changed: wire::GroupChanged = self.request(kind::CHANGE_GROUP, &request).await?;
        Ok(SequenceNumber(changed.sequence))
    }
}
