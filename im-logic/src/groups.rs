//! Groups: making them, and changing who is in them.
//!
//! Who may do what is the table's to say ([`crate::permission`]); that the caller has the role that
//! it takes is the store's, in the transaction. Here is checked what makes no sense whoever asks,
//! and what no account of the caller's kind may do.

mod regroup;
mod wanted;

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::content::{self, Content};
use protocol::id::ConversationKind;
use protocol::kind::method;
use protocol::limits::{CONTENT_BYTES_MAX, GROUP_MEMBERS_MAX};
use protocol::role::or_member;
use protocol::wire::internal::{Append, Appended, ConversationCreated, CreateConversation};
use protocol::wire::{
    ChangeMembers, CreateGroup, EntryKind, GroupCreated, MemberChange, MembersChanged,
    MembershipChange, Priority, Role,
};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal, Rights, Roles};
use service_kit::snowflake::Snowflakes;

use self::wanted::{Wanted, group_name};
use crate::directory::{Directory, Profile};
use crate::events;
use crate::members::Members;
use crate::permission::{self, Action};
use crate::store::{Caller, Store, To};

/// Changes in one membership entry. More are several entries.
pub(crate) const CHANGES_PER_ENTRY_MAX: usize = 2048;

/// The longest change in an entry, in bytes: an id, a name of 64, a kind, a flag, a role, and their tags.
const CHANGE_BYTES_MAX: usize = 98;

const _: () = assert!(CHANGES_PER_ENTRY_MAX * CHANGE_BYTES_MAX < CONTENT_BYTES_MAX);

/// Makes and changes groups.
#[derive(Debug)]
pub struct Groups {
    snowflakes: Arc<Snowflakes>,
    directory: Arc<Directory>,
    members: Arc<Members>,
    store: Store,
    owned_max: u32,
}

impl Groups {
    /// Over these. Who owns `owned_max` groups makes no other; 0: no limit.
    #[must_use]
    pub const fn new(
        snowflakes: Arc<Snowflakes>,
        directory: Arc<Directory>,
        members: Arc<Members>,
        store: Store,
        owned_max: u32,
    ) -> Self {
        Self {
            snowflakes,
            directory,
            members,
            store,
            owned_max,
        }
    }

    /// Makes a group with the caller in it. A repeat finds the first one, and ends what that began.
    pub async fn create(
        &self,
        caller: Caller,
        request: CreateGroup,
    ) -> Result<GroupCreated, Refusal> {
        let id = ClientMessageId::from_slice(&request.client_message_id)?;
        let name = group_name(request.name)?;
        let asked = request.members.iter().copied().map(AccountId);
        let others: BTreeSet<_> = asked.filter(|other| *other != caller.account).collect();
        if others.len() >= GROUP_MEMBERS_MAX {
            return Err(too_many());
        }
        let creator = self.directory.one(caller.account, caller.deadline).await?;
        permission::check(Action::CreateGroup, creator.kind, None)?;
        let rights = permission::rights(creator.kind);
        // The creator first: it is a member before it adds the others.
        let mut changes = vec![change(&creator, Some(Role::Owner))];
        let others: Vec<_> = others.into_iter().collect();
        for profile in self.directory.all(&others, caller.deadline).await? {
            changes.push(change(&profile, Some(Role::Member)));
        }

        let (first, rest) = changes.split_at(changes.len().min(CHANGES_PER_ENTRY_MAX));
        let proposed = ConversationId::group(self.snowflakes.next_id().await?);
        let create = CreateConversation {
            conversation_id: proposed.to_bytes(),
            name,
            history_open: request.history_open,
            creator: caller.account.0,
            client_message_id: request.client_message_id,
            members: first.to_vec(),
            owned_max: self.owned_max,
        };
        let created: ConversationCreated = self
            .store
            .ask(
                To::Owner(proposed),
                method::CREATE_CONVERSATION,
                &create,
                caller.deadline,
            )
            .await?;
        let conversation = ConversationId::from_slice(&created.conversation_id)?;
        let last = self
            .append(caller, conversation, id, rights, rest, 1)
            .await?;
        events::group_created(caller, conversation, changes.len());
        Ok(GroupCreated {
            conversation_id: created.conversation_id,
            head: created.head.max(last),
        })
    }

    /// Adds and removes members.
    pub async fn change(
        &self,
        caller: Caller,
        request: ChangeMembers,
    ) -> Result<MembersChanged, Refusal> {
        let conversation = group(&request.conversation_id)?;
        let id = ClientMessageId::from_slice(&request.client_message_id)?;
        let wanted = Wanted::parse(&request, caller.account)?;
        let role = or_member(request.role());
        let kind = self
            .directory
            .one(caller.account, caller.deadline)
            .await?
            .kind;
        let accounts: Vec<_> = wanted
            .in_order
            .iter()
            .map(|(account, _)| *account)
            .collect();
        let profiles = self.directory.all(&accounts, caller.deadline).await?;
        let changes: Vec<_> = profiles
            .iter()
            .zip(&wanted.in_order)
            .map(|(profile, (_, joins))| change(profile, joins.then_some(role)))
            .collect();
        let rights = permission::rights(kind);
        let sequence = self
            .append(caller, conversation, id, rights, &changes, 0)
            .await?;
        events::members_changed(caller, conversation, sequence, changes.len());
        Ok(MembersChanged { sequence })
    }

    /// Appends membership entries, and returns the last one's number; 0 if nothing changed. The
    /// n-th entry of a request has an id that is derived, so that a repeat stores none twice.
    async fn append(
        &self,
        caller: Caller,
        conversation: ConversationId,
        id: ClientMessageId,
        rights: Rights,
        changes: &[MemberChange],
        first: u32,
    ) -> Result<u64, Refusal> {
        let mut last = 0;
        for (n, changes) in (first..).zip(changes.chunks(CHANGES_PER_ENTRY_MAX)) {
            let id = match n {
                0 => id,
                n => id.derive(&[b"members", &n.to_be_bytes()]),
            };
            let append = Append {
                content: content::encode(Content::Membership(MembershipChange {
                    changes: changes.to_vec(),
                    roles: Vec::new(),
                })),
                changes: changes.to_vec(),
                ..entry(caller, conversation, id, EntryKind::Membership, rights)
            };
            let appended = self.put(caller, conversation, &append).await;
            // Also when the outcome is not known. That somebody has joined is left to be asked: the
            // answer may be to a repeat, and the member gone since.
            let changed = changes.iter().map(|change| AccountId(change.account_id));
            self.members.forget(conversation, changed);
            last = last.max(appended?.sequence);
        }
        Ok(last)
    }

    async fn put(
        &self,
        caller: Caller,
        conversation: ConversationId,
        append: &Append,
    ) -> Result<Appended, Refusal> {
        let to = To::Owner(conversation);
        self.store
            .ask(to, method::APPEND, append, caller.deadline)
            .await
    }
}

/// One who joins as this, or leaves.
fn change(profile: &Profile, joins: Option<Role>) -> MemberChange {
    MemberChange {
        account_id: profile.account.0,
        name: profile.name.to_string(),
        kind: profile.kind.into(),
        joined: joins.is_some(),
        role: joins.unwrap_or_default().into(),
    }
}

/// An entry by which a group changes, that says nothing yet.
fn entry(
    caller: Caller,
    conversation: ConversationId,
    id: ClientMessageId,
    kind: EntryKind,
    rights: Rights,
) -> Append {
    Append {
        conversation_id: conversation.to_bytes(),
        sender: caller.account.0,
        client_message_id: id.to_bytes(),
        kind: kind.into(),
        priority: Priority::Chat.into(),
        sender_roles: rights.senders.bits(),
        over_roles: rights.over.map(Roles::bits).into(),
        given_roles: rights.given.map(Roles::bits).into(),
        ..Append::default()
    }
}

/// The group that is named; a pair has nothing to change.
fn group(conversation_id: &[u8]) -> Result<ConversationId, Refusal> {
    let conversation = ConversationId::from_slice(conversation_id)?;
    match conversation.kind() {
        ConversationKind::Group(_) => Ok(conversation),
        ConversationKind::Pair(..) => Err(Refusal::bad_request(
            "conversation_id: the members of a pair do not change; make a group",
        )),
    }
}

fn too_many() -> Refusal {
    Refusal::new(
        ErrorCode::LimitReached,
        format!("a group has at most {GROUP_MEMBERS_MAX} members"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use protocol::limits::ACCOUNT_NAME_BYTES_MAX;
    use protocol::wire::AccountKind;

    #[test]
    fn the_longest_change_is_as_long_as_it_says() {
        let longest = MemberChange {
            account_id: u64::MAX,
            name: "x".repeat(ACCOUNT_NAME_BYTES_MAX),
            kind: AccountKind::Planner.into(),
            joined: true,
            role: Role::Observer.into(),
        };
        assert!(longest.encoded_len() + 3 <= CHANGE_BYTES_MAX);
    }
}
