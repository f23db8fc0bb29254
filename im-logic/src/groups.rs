//! Groups: making them, and changing who is in them.
//!
//! Operators and planners make and change groups: people form teams, and the planner calls in the
//! robots that it needs. Robots do neither, in the field a robot is told where it belongs; like
//! everybody, they may leave. Whoever changes a group is in it, which the store checks.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::content::{self, Content};
use protocol::id::ConversationKind;
use protocol::kind::method;
use protocol::limits::{CONTENT_BYTES_MAX, GROUP_MEMBERS_MAX, GROUP_NAME_CHARS_MAX};
use protocol::wire::internal::{Append, Appended, ConversationCreated, CreateConversation};
use protocol::wire::{
    AccountKind, ChangeMembers, CreateGroup, EntryKind, GroupCreated, MemberChange, MembersChanged,
    MembershipChange, Priority,
};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal};
use service_kit::snowflake::Snowflakes;

use crate::directory::{Directory, Profile};
use crate::events;
use crate::members::Members;
use crate::store::{Caller, Store, To};

/// Changes in one membership entry. More are several entries.
const CHANGES_PER_ENTRY_MAX: usize = 2048;

/// The longest change in an entry, in bytes: an id, a name of 64, a kind, a flag, and their tags.
const CHANGE_BYTES_MAX: usize = 96;

const _: () = assert!(CHANGES_PER_ENTRY_MAX * CHANGE_BYTES_MAX < CONTENT_BYTES_MAX);

/// Makes and changes groups.
#[derive(Debug)]
pub struct Groups {
    snowflakes: Arc<Snowflakes>,
    directory: Arc<Directory>,
    members: Arc<Members>,
    store: Store,
}

impl Groups {
    /// Over these.
    #[must_use]
    pub const fn new(
        snowflakes: Arc<Snowflakes>,
        directory: Arc<Directory>,
        members: Arc<Members>,
        store: Store,
    ) -> Self {
        Self {
            snowflakes,
            directory,
            members,
            store,
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
        may_change(creator.kind)?;
        // The creator first: it is a member before it adds the others.
        let mut changes = vec![change(&creator, true)];
        let others: Vec<_> = others.into_iter().collect();
        for profile in self.directory.all(&others, caller.deadline).await? {
            changes.push(change(&profile, true));
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
        let last = self.append(caller, conversation, id, rest, 1).await?;
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
        let conversation = ConversationId::from_slice(&request.conversation_id)?;
        let id = ClientMessageId::from_slice(&request.client_message_id)?;
        if matches!(conversation.kind(), ConversationKind::Pair(..)) {
            return Err(Refusal::bad_request(
                "conversation_id: the members of a pair do not change; make a group",
            ));
        }
        let wanted = Wanted::parse(&request, caller.account)?;
        if !wanted.only_leaves {
            let caller = self.directory.one(caller.account, caller.deadline).await?;
            may_change(caller.kind)?;
        }
        let accounts: Vec<_> = wanted
            .in_order
            .iter()
            .map(|(account, _)| *account)
            .collect();
        let profiles = self.directory.all(&accounts, caller.deadline).await?;
        let changes: Vec<_> = profiles
            .iter()
            .zip(&wanted.in_order)
            .map(|(profile, (_, joins))| change(profile, *joins))
            .collect();
        let sequence = self.append(caller, conversation, id, &changes, 0).await?;
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
                conversation_id: conversation.to_bytes(),
                sender: caller.account.0,
                client_message_id: id.to_bytes(),
                kind: EntryKind::Membership.into(),
                content: content::encode(Content::Membership(MembershipChange {
                    changes: changes.to_vec(),
                })),
                priority: Priority::Chat.into(),
                deliver_before_ms: 0,
                changes: changes.to_vec(),
                target_sequence: 0,
                ..Append::default()
            };
            let appended: Result<Appended, _> = self
                .store
                .ask(
                    To::Owner(conversation),
                    method::APPEND,
                    &append,
                    caller.deadline,
                )
                .await;
            // Also when the outcome is not known. That somebody has joined is left to be asked: the
            // answer may be to a repeat, and the member gone since.
            let changed = changes.iter().map(|change| AccountId(change.account_id));
            self.members.forget(conversation, changed);
            last = last.max(appended?.sequence);
        }
        Ok(last)
    }
}

/// The changes of a request, in the order in which they are made.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// Who, and whether it joins. Those who go make room for those who come; the caller goes last,
    /// because it has to be a member for the others.
    in_order: Vec<(AccountId, bool)>,
    /// The caller leaves, and that is all.
    only_leaves: bool,
}

impl Wanted {
    fn parse(request: &ChangeMembers, caller: AccountId) -> Result<Self, Refusal> {
        let set = |ids: &[u64]| ids.iter().copied().map(AccountId).collect::<BTreeSet<_>>();
        let (add, mut remove) = (set(&request.add), set(&request.remove));
        if add.is_empty() && remove.is_empty() {
            return Err(Refusal::bad_request("add, remove: both are empty"));
        }
        if let Some(both) = add.intersection(&remove).next() {
            return Err(Refusal::bad_request(format!(
                "add, remove: {both} is in both"
            )));
        }
        if add.len() > GROUP_MEMBERS_MAX || remove.len() > GROUP_MEMBERS_MAX {
            return Err(too_many());
        }
        let leaves = remove.remove(&caller);
        let only_leaves = leaves && add.is_empty() && remove.is_empty();
        let mut in_order: Vec<_> = remove.into_iter().map(|account| (account, false)).collect();
        in_order.extend(add.into_iter().map(|account| (account, true)));
        in_order.extend(leaves.then_some((caller, false)));
        Ok(Self {
            in_order,
            only_leaves,
        })
    }
}

fn may_change(kind: AccountKind) -> Result<(), Refusal> {
    match kind {
        AccountKind::Operator | AccountKind::Planner => Ok(()),
        AccountKind::Robot | AccountKind::Unspecified => Err(Refusal::new(
            ErrorCode::Forbidden,
            "operators and planners make and change groups; a robot may leave",
        )),
    }
}

/// A name that people can read. Its length is in characters, of any script.
fn group_name(name: String) -> Result<String, Refusal> {
    let chars = name.chars().count();
    if name.trim().is_empty() {
        return Err(Refusal::bad_request("name: empty"));
    }
    if chars > GROUP_NAME_CHARS_MAX {
        return Err(Refusal::bad_request(format!(
            "name: {chars} characters, and at most {GROUP_NAME_CHARS_MAX} are allowed"
        )));
    }
    if name.chars().any(char::is_control) {
        return Err(Refusal::bad_request("name: has control characters"));
    }
    Ok(name)
}

fn change(profile: &Profile, joined: bool) -> MemberChange {
    MemberChange {
        account_id: profile.account.0,
        name: profile.name.to_string(),
        kind: profile.kind.into(),
        joined,
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

    fn request(add: &[u64], remove: &[u64]) -> ChangeMembers {
        ChangeMembers {
            add: add.to_vec(),
            remove: remove.to_vec(),
            ..ChangeMembers::default()
        }
    }

    fn wanted(add: &[u64], remove: &[u64]) -> Result<Wanted, Refusal> {
        Wanted::parse(&request(add, remove), AccountId(10))
    }

    #[test]
    fn those_who_go_make_room_and_the_caller_goes_last() {
        let wanted = wanted(&[5, 3, 5], &[10, 20, 4]).unwrap();
        let order = [(4, false), (20, false), (3, true), (5, true), (10, false)];
        assert_eq!(
            wanted.in_order,
            order.map(|(id, joins)| (AccountId(id), joins))
        );
        assert!(!wanted.only_leaves);
    }

    #[test]
    fn leaving_alone_is_told_from_changing_others() {
        assert!(wanted(&[], &[10]).unwrap().only_leaves);
        assert!(!wanted(&[], &[10, 11]).unwrap().only_leaves);
        assert!(!wanted(&[11], &[10]).unwrap().only_leaves);
        assert!(!wanted(&[10], &[]).unwrap().only_leaves);
    }

    #[test]
    fn changes_that_make_no_sense_are_refused() {
        let many: Vec<u64> = (1..=GROUP_MEMBERS_MAX as u64 + 1).collect();
        assert_eq!(wanted(&[], &[]).unwrap_err().code, ErrorCode::BadRequest);
        assert_eq!(wanted(&[3], &[3]).unwrap_err().code, ErrorCode::BadRequest);
        assert_eq!(
            wanted(&many, &[]).unwrap_err().code,
            ErrorCode::LimitReached
        );
    }

    #[test]
    fn names_are_counted_in_characters() {
        let ok = |name: &str| group_name(name.into()).is_ok();
        assert!(ok("仓") && ok("A区 巡检 🤖"));
        assert!(ok(&"组".repeat(GROUP_NAME_CHARS_MAX)));
        assert!(!ok(&"组".repeat(GROUP_NAME_CHARS_MAX + 1)));
        assert!(!ok("") && !ok(" \u{3000}") && !ok("a\nb"));
    }

    #[test]
    fn people_and_planners_change_groups_and_robots_do_not() {
        assert!(may_change(AccountKind::Operator).is_ok());
        assert!(may_change(AccountKind::Planner).is_ok());
        let refusal = may_change(AccountKind::Robot).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::Forbidden);
    }

    #[test]
    fn the_longest_change_is_as_long_as_it_says() {
        let longest = MemberChange {
            account_id: u64::MAX,
            name: "x".repeat(ACCOUNT_NAME_BYTES_MAX),
            kind: AccountKind::Planner.into(),
            joined: true,
        };
        assert!(longest.encoded_len() + 3 <= CHANGE_BYTES_MAX);
    }
}
