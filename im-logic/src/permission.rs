//! Who may do what: one table, which is also the documentation.
//!
//! Pure. [`TABLE`] says of each action which roles of a group may do it, for robots, for operators
//! and for planners; every check of this crate asks [`check`]. What the store decides in its
//! transaction it decides by the same table: [`rights`] and [`senders`] go with the entry. The page
//! `docs/PERMISSIONS.md` is written from the table ([`page`]), and a test drives every cell of it
//! through a running cluster.

mod page;
mod table;

use protocol::role::ROLES;
use protocol::wire::{AccountKind, Role};
use protocol::{ErrorCode, Refusal, Rights, Roles};

pub use self::page::page;
pub use self::table::TABLE;
use self::table::{NOBODY, SENDERS};
use crate::send::{Membership, Standing};

/// What an account may want to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Pull entries of a conversation.
    ReadHistory,
    /// Search them.
    SearchHistory,
    /// List who is in it.
    ListMembers,
    /// See a group's name, attributes and numbers.
    DescribeGroup,
    /// See who lacks an entry.
    ListLacking,
    /// Send a message that is stored.
    SendMessage,
    /// Send a message that is not.
    SendEphemeral,
    /// Send with the priority of an emergency.
    SendEmergency,
    /// Take back or edit a message of one's own.
    AmendOwn,
    /// Let a member or an observer join.
    AddMember,
    /// Make somebody an admin, who joins or is a member.
    MakeAdmin,
    /// Make somebody an owner.
    MakeOwner,
    /// Remove a member or an observer, or make one the other.
    ChangeMember,
    /// Remove an admin, or give it another role.
    ChangeAdmin,
    /// Remove an owner, or give it another role.
    ChangeOwner,
    /// Remove oneself.
    Leave,
    /// Give the group another name.
    Rename,
    /// Set and remove attributes.
    SetAttributes,
    /// End the group.
    Dissolve,
    /// Make a group.
    CreateGroup,
    /// See who is online.
    ListOnline,
    /// Have the media collected that no message refers to.
    CollectMedia,
    /// Send a command to robots.
    SendCommand,
    /// See and cancel the commands of others.
    SuperviseCommands,
    /// Take the next epoch of a plan.
    TakeEpoch,
    /// Stop the robots of a group in an emergency, and release them.
    StopGroup,
    /// Stop all robots, and release them.
    StopFleet,
    /// See which emergency stops are in force.
    SeeStops,
    /// List all robots.
    ListRobots,
    /// See which processes there are.
    SeeCluster,
    /// Read who has administered what.
    ReadAudit,
    /// Ask among all robots which can do what.
    QueryRobots,
    /// Ask it among the robots of a group.
    QueryMembers,
    /// Watch all groups of the fleet.
    AnalyseFleet,
    /// Declare what one is able to do.
    DeclareCapabilities,
    /// Let robots enrol.
    MakeEnrolmentToken,
    /// Take the certificates of a robot away.
    RevokeRobot,
}

/// Who may do one action.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The action.
    pub action: Action,
    /// The same in words.
    pub words: &'static str,
    /// As an operator.
    pub operator: Allowed,
    /// As a planner.
    pub planner: Allowed,
    /// As a robot.
    pub robot: Allowed,
    /// What else there is to know.
    pub note: &'static str,
}

/// Which members may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Members of a group with one of these roles.
    As(Roles),
    /// The account, whatever it is a member of.
    Anyone,
    /// Not the account, whatever it is a member of.
    Nobody,
}

impl Action {
    /// Its row of the table.
    #[must_use]
    pub fn row(self) -> &'static Row {
        let row = TABLE.iter().find(|row| row.action == self);
        row.expect("a test looks every action up")
    }
}

impl Row {
    /// What it says of accounts of this kind.
    #[must_use]
    pub const fn of(&self, kind: AccountKind) -> Allowed {
        match kind {
            AccountKind::Operator => self.operator,
            AccountKind::Planner => self.planner,
            AccountKind::Robot => self.robot,
            AccountKind::Unspecified => NOBODY,
        }
    }
}

/// Whether an account of this kind may do it, being this in the group; `None`: no member.
///
/// # Errors
/// *Not a member*, or *forbidden*.
pub fn check(action: Action, kind: AccountKind, role: Option<Role>) -> Result<(), Refusal> {
    match (action.row().of(kind), role) {
        (Allowed::Anyone, _) => Ok(()),
        (Allowed::As(roles), Some(role)) if roles.has(role) => Ok(()),
        (Allowed::As(_), None) => Err(Refusal::new(
            ErrorCode::NotAMember,
            format!("only members may {}", action.row().words),
        )),
        (Allowed::As(_) | Allowed::Nobody, _) => Err(forbidden(action)),
    }
}

/// The same of one whose standing the store has told.
///
/// # Errors
/// As [`check`].
pub fn check_standing(action: Action, standing: Standing) -> Result<(), Refusal> {
    let role = match standing.membership {
        Membership::Member(role) => Some(role),
        Membership::Stranger | Membership::Unknown => None,
    };
    check(action, standing.kind.unwrap_or_default(), role)
}

/// Whether the action is closed to all accounts of this kind.
///
/// # Errors
/// *Forbidden*.
pub fn check_kind(action: Action, kind: AccountKind) -> Result<(), Refusal> {
    match action.row().of(kind) {
        Allowed::Anyone | Allowed::As(_) => Ok(()),
        Allowed::Nobody => Err(forbidden(action)),
    }
}

/// The refusal of one who is a member, or of a kind, that may not.
pub(crate) fn forbidden(action: Action) -> Refusal {
    let row = action.row();
    let who = page::who(row);
    Refusal::new(ErrorCode::Forbidden, format!("{who} may {}", row.words))
}

/// The roles that may do it, being of this kind.
#[must_use]
pub fn roles(action: Action, kind: AccountKind) -> Roles {
    match action.row().of(kind) {
        Allowed::As(roles) => roles,
        Allowed::Anyone => Roles::ALL,
        Allowed::Nobody => Roles::NONE,
    }
}

/// The roles that may send, whatever the account is: sending needs no look at its kind.
#[must_use]
pub const fn senders() -> Roles {
    match SENDERS {
        Allowed::As(roles) => roles,
        Allowed::Anyone | Allowed::Nobody => Roles::NONE,
    }
}

/// What a sender of this kind may do to the members of a group, by the role that the store finds.
#[must_use]
pub fn rights(kind: AccountKind) -> Rights {
    let allowed = |action, role| roles(action, kind).has(role);
    let set = |sender: Role, by: [(Action, &[Role]); 3]| {
        let may = by.iter().filter(|(action, _)| allowed(*action, sender));
        may.fold(Roles::NONE, |set, (_, roles)| set.and(Roles::of(roles)))
    };
    let lower = &[Role::Member, Role::Observer][..];
    let over = |sender| {
        set(
            sender,
            [
                (Action::ChangeMember, lower),
                (Action::ChangeAdmin, &[Role::Admin]),
                (Action::ChangeOwner, &[Role::Owner]),
            ],
        )
    };
    let given = |sender| {
        set(
            sender,
            [
                (Action::AddMember, lower),
                (Action::MakeAdmin, &[Role::Admin]),
                (Action::MakeOwner, &[Role::Owner]),
            ],
        )
    };
    Rights {
        senders: roles(Action::Leave, kind),
        over: ROLES.map(over),
        given: ROLES.map(given),
    }
}

#[cfg(test)]
mod tests;
