//! What travels as JSON in several answers. Ids of accounts are strings, because a reader of JSON may
//! not keep 64 bits of a number.

use std::collections::BTreeMap;

use protocol::command::{self, STATES};
use protocol::id::ConversationKind;
use protocol::wire::{AccountKind, OutcomeCounts, Role as WireRole};
use protocol::{AccountId, ClientMessageId, ConversationId, Refusal};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Paged {
    /// The `next` of the page before; absent: the first page.
    #[serde(default)]
    pub(super) after: String,
    /// At most so many; 0 or more than the server allows: the server's page size.
    #[serde(default)]
    pub(super) limit: u32,
}

impl Paged {
    /// The number that the page begins after; 0: the first page.
    pub(super) fn number(&self) -> Result<u64, Refusal> {
        match &self.after[..] {
            "" => Ok(0),
            text => text
                .parse()
                .map_err(|_| Refusal::bad_request("after: not the next of a page of this list")),
        }
    }
}

/// What an account is.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// A machine.
    Robot,
    /// A person.
    Operator,
    /// A model.
    Planner,
    /// It is not known here.
    Unknown,
}

impl From<AccountKind> for Kind {
    fn from(kind: AccountKind) -> Self {
        match kind {
            AccountKind::Robot => Self::Robot,
            AccountKind::Operator => Self::Operator,
            AccountKind::Planner => Self::Planner,
            AccountKind::Unspecified => Self::Unknown,
        }
    }
}

/// What a member of a group is.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    /// May do everything.
    Owner,
    /// Lets in and removes, renames, sets attributes.
    Admin,
    /// Reads and sends.
    #[default]
    Member,
    /// Reads.
    Observer,
}

impl From<Role> for WireRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Owner => Self::Owner,
            Role::Admin => Self::Admin,
            Role::Member => Self::Member,
            Role::Observer => Self::Observer,
        }
    }
}

impl From<WireRole> for Role {
    fn from(role: WireRole) -> Self {
        match role {
            WireRole::Owner => Self::Owner,
            WireRole::Admin => Self::Admin,
            WireRole::Member => Self::Member,
            WireRole::Observer | WireRole::Unspecified => Self::Observer,
        }
    }
}

/// How many targets of a command are in each state, by its name.
pub(super) type Counts = BTreeMap<String, u32>;

/// From the wire.
pub(super) fn counts(counts: &OutcomeCounts) -> Counts {
    let all = STATES.iter().map(|state| {
        let targets = command::count(counts, *state);
        (command::name(*state), targets)
    });
    all.collect()
}

/// A group's id as it is written, `g17`.
pub(super) fn group(text: &str) -> Result<ConversationId, Refusal> {
    let id: ConversationId = text.parse()?;
    match id.kind() {
        ConversationKind::Group(_) => Ok(id),
        ConversationKind::Pair(..) => Err(Refusal::bad_request("a pair is no group")),
    }
}

/// The id of a change, a UUID.
pub(super) fn message_id(text: &str) -> Result<bytes::Bytes, Refusal> {
    Ok(text.parse::<ClientMessageId>()?.to_bytes())
}

/// The ids of these, for the wire.
pub(super) fn numbers(accounts: impl IntoIterator<Item = AccountId>) -> Vec<u64> {
    accounts.into_iter().map(|account| account.0).collect()
}
