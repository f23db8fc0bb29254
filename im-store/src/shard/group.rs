//! What changes a group: who is in it and as what, its name and attributes, its end.
//!
//! Pure. Which role may do what comes with the entry, as its [`Rights`](protocol::Rights); that the
//! sender has that role is decided here, from the state that the transaction commits against.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::id::ConversationKind;
use protocol::limits::{GROUP_ATTRIBUTES_BYTES_MAX, GROUP_ATTRIBUTES_MAX, GROUP_MEMBERS_MAX};
use protocol::wire::Role;
use protocol::{AccountId, ErrorCode, Refusal, SequenceNumber};

use super::{Append, ConversationState};

/// What applications note of a group, by key.
pub type Attributes = BTreeMap<String, String>;

/// What becomes of one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberChange {
    /// It joins, as this.
    Joins(AccountId, Role),
    /// It leaves.
    Leaves(AccountId),
    /// It is a member, and has another role.
    Becomes(AccountId, Role),
}

impl MemberChange {
    /// Who.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        match self {
            Self::Joins(account, _) | Self::Leaves(account) | Self::Becomes(account, _) => *account,
        }
    }

    /// Joins as a member, or leaves.
    #[must_use]
    pub const fn joins(account: AccountId, joins: bool) -> Self {
        if joins {
            Self::Joins(account, Role::Member)
        } else {
            Self::Leaves(account)
        }
    }

    /// Whether both are one kind of change, so that one statement makes them.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Joins(_, mine), Self::Joins(_, its))
            | (Self::Becomes(_, mine), Self::Becomes(_, its)) => mine == its,
            (Self::Leaves(_), Self::Leaves(_)) => true,
            (Self::Joins(..) | Self::Leaves(_) | Self::Becomes(..), _) => false,
        }
    }
}

/// How a group changes beside its members.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupChange {
    /// Its new name.
    pub name: Option<String>,
    /// Attributes that get these values.
    pub set: Attributes,
    /// Attributes that go.
    pub unset: Vec<String>,
    /// All members leave, and it ends.
    pub dissolves: bool,
}

/// What of an entry's changes has an effect.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Moves {
    /// On members.
    pub changes: Vec<MemberChange>,
    /// On the name, the attributes or the end of the group.
    pub regroups: bool,
}

/// The sender's role, if it may send this. `opens`: the first entry of a group is the one by which
/// its creator joins.
pub(super) fn sender(
    now: &ConversationState,
    append: &Append,
    opens: bool,
) -> Result<Option<Role>, Refusal> {
    if opens {
        return Ok(None);
    }
    if now.dissolved != SequenceNumber::ZERO {
        let why = format!(
            "{} is dissolved: nothing is added to it",
            append.conversation
        );
        return Err(Refusal::new(ErrorCode::GroupDissolved, why));
    }
    let Some(role) = now.members.get(&append.sender).copied() else {
        let why = format!(
            "{} is not a member of {}",
            append.sender, append.conversation
        );
        return Err(Refusal::new(ErrorCode::NotAMember, why));
    };
    if append.rights.senders.has(role) {
        return Ok(Some(role));
    }
    Err(forbidden(role, "this"))
}

/// Applies what has an effect, and returns it.
pub(super) fn apply(
    state: &mut ConversationState,
    append: &Append,
    sender: Option<Role>,
) -> Result<Moves, Refusal> {
    if append.changes.is_empty() && append.group.is_none() {
        return Ok(Moves::default());
    }
    if matches!(append.conversation.kind(), ConversationKind::Pair(..)) {
        return Err(Refusal::bad_request(
            "the members of a pair do not change: make a group",
        ));
    }
    match &append.group {
        Some(change) if change.dissolves => Ok(dissolve(state)),
        Some(change) => Ok(Moves {
            regroups: regroup(state, change)?,
            changes: Vec::new(),
        }),
        None => Ok(Moves {
            changes: move_members(state, append, sender)?,
            regroups: false,
        }),
    }
}

fn dissolve(state: &mut ConversationState) -> Moves {
    let gone = std::mem::take(&mut state.members);
    state.dissolved = state.head;
    Moves {
        changes: gone.keys().copied().map(MemberChange::Leaves).collect(),
        regroups: true,
    }
}

fn regroup(state: &mut ConversationState, change: &GroupChange) -> Result<bool, Refusal> {
    let mut regroups = false;
    if let Some(name) = change.name.as_deref().filter(|name| *name != &*state.name) {
        state.name = name.into();
        regroups = true;
    }
    if change.set.is_empty() && change.unset.is_empty() {
        return Ok(regroups);
    }
    let mut attributes = Attributes::clone(&state.attributes);
    attributes.retain(|key, _| !change.unset.contains(key));
    attributes.extend(change.set.clone());
    if attributes == *state.attributes {
        return Ok(regroups);
    }
    let bytes: usize = attributes
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if attributes.len() > GROUP_ATTRIBUTES_MAX || bytes > GROUP_ATTRIBUTES_BYTES_MAX {
        let why = format!(
            "a group has at most {GROUP_ATTRIBUTES_MAX} attributes, and at most \
             {GROUP_ATTRIBUTES_BYTES_MAX} bytes of them"
        );
        return Err(Refusal::new(ErrorCode::LimitReached, why));
    }
    state.attributes = Arc::new(attributes);
    Ok(true)
}

fn move_members(
    state: &mut ConversationState,
    append: &Append,
    sender: Option<Role>,
) -> Result<Vec<MemberChange>, Refusal> {
    let members = Arc::make_mut(&mut state.members);
    let had_owner = has_owner(members);
    let mut effective = Vec::new();
    for change in &append.changes {
        let before = members.get(&change.account()).copied();
        if let Some(sender) = sender {
            check(append, sender, change, before)?;
        }
        let after = match (change, before) {
            (MemberChange::Joins(_, role), None) => Some(*role),
            (MemberChange::Leaves(_), Some(_)) => None,
            (MemberChange::Becomes(_, role), Some(before)) if before != *role => Some(*role),
            (MemberChange::Becomes(account, _), None) => {
                let why = format!("{account} is not a member, and has no role");
                return Err(Refusal::new(ErrorCode::NotAMember, why));
            }
            // It is so already.
            (MemberChange::Joins(..) | MemberChange::Becomes(..), Some(_))
            | (MemberChange::Leaves(_), None) => continue,
        };
        match after {
            Some(role) => members.insert(change.account(), role),
            None => members.remove(&change.account()),
        };
        effective.push(*change);
    }
    if members.len() > GROUP_MEMBERS_MAX {
        return Err(Refusal::new(
            ErrorCode::LimitReached,
            format!("a group has at most {GROUP_MEMBERS_MAX} members"),
        ));
    }
    if had_owner && !members.is_empty() && !has_owner(members) {
        let why = "the last owner goes only after the others: make another owner, or dissolve it";
        return Err(Refusal::new(ErrorCode::LastOwner, why));
    }
    Ok(effective)
}

fn has_owner(members: &BTreeMap<AccountId, Role>) -> bool {
    members.values().any(|role| *role == Role::Owner)
}

/// Whether a sender of this role may do this to one that is `before`. Everybody may leave, and be
/// less.
fn check(
    append: &Append,
    sender: Role,
    change: &MemberChange,
    before: Option<Role>,
) -> Result<(), Refusal> {
    let rights = &append.rights;
    let is_self = change.account() == append.sender;
    let may_touch = |before: Option<Role>| {
        is_self || before.is_none_or(|before| rights.over(sender).has(before))
    };
    let may = match change {
        MemberChange::Joins(_, role) => rights.given(sender).has(*role),
        MemberChange::Leaves(_) => {
            is_self || rights.over(sender).has(before.unwrap_or(Role::Member))
        }
        MemberChange::Becomes(_, role) => rights.given(sender).has(*role) && may_touch(before),
    };
    if may {
        return Ok(());
    }
    Err(forbidden(sender, &format!("this to {}", change.account())))
}

fn forbidden(role: Role, what: &str) -> Refusal {
    let role = role
        .as_str_name()
        .trim_start_matches("ROLE_")
        .to_lowercase();
    Refusal::new(
        ErrorCode::Forbidden,
        format!("who is {role} of the group may not do {what}"),
    )
}
