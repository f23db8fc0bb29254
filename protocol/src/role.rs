//! Sets of roles, and what the store is told of a sender's rights in a group.
//!
//! Which role may do what is not decided here: that is the logic tier's table, documented in
//! `docs/PERMISSIONS.md`. The store holds the sender's role, as of the transaction that stores the
//! entry, against what the table says.

use crate::wire::Role;

/// The roles that a member may have.
pub const ROLES: [Role; 4] = [Role::Owner, Role::Admin, Role::Member, Role::Observer];

/// A set of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(u8);

impl Roles {
    /// No role.
    pub const NONE: Self = Self(0);
    /// Every role.
    pub const ALL: Self = Self::of(&ROLES);

    /// These.
    #[must_use]
    pub const fn of(roles: &[Role]) -> Self {
        let (mut set, mut at) = (0, 0);
        while at < roles.len() {
            set |= bit(roles[at]);
            at += 1;
        }
        Self(set)
    }

    /// Whether it is one of them.
    #[must_use]
    pub const fn has(self, role: Role) -> bool {
        self.0 & bit(role) != 0
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// What both have.
    #[must_use]
    pub const fn both(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// The wire form: bit N is the role of number N.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0 as u32
    }

    /// From the wire; bits that name no role are dropped.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits.to_le_bytes()[0] & Self::ALL.0)
    }
}

/// What a sender may do in a group, by the role that it turns out to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights {
    /// The roles that may send this entry at all.
    pub senders: Roles,
    /// By the sender's role: those whom it may remove, or give another role.
    pub over: [Roles; 4],
    /// By the sender's role: what it may make of others.
    pub given: [Roles; 4],
}

impl Rights {
    /// Everything, for entries that are decided elsewhere.
    pub const EVERYTHING: Self = Self {
        senders: Roles::ALL,
        over: [Roles::ALL; 4],
        given: [Roles::ALL; 4],
    };

    /// To send, and to change nobody.
    #[must_use]
    pub const fn to_send(senders: Roles) -> Self {
        Self {
            senders,
            over: [Roles::NONE; 4],
            given: [Roles::NONE; 4],
        }
    }

    /// Whom a sender of this role may remove, or give another role.
    #[must_use]
    pub fn over(&self, sender: Role) -> Roles {
        by_role(&self.over, sender)
    }

    /// What a sender of this role may make of others.
    #[must_use]
    pub fn given(&self, sender: Role) -> Roles {
        by_role(&self.given, sender)
    }

    /// From the wire form of the two lists; what is missing is nothing.
    #[must_use]
    pub fn from_wire(senders: u32, over: &[u32], given: &[u32]) -> Self {
        let list = |bits: &[u32]| {
            let mut roles = [Roles::NONE; 4];
            for (role, bits) in roles.iter_mut().zip(bits) {
                *role = Roles::from_bits(*bits);
            }
            roles
        };
        Self {
            senders: Roles::from_bits(senders),
            over: list(over),
            given: list(given),
        }
    }
}

fn by_role(roles: &[Roles; 4], of: Role) -> Roles {
    let at = ROLES.iter().position(|role| *role == of);
    at.map_or(Roles::NONE, |at| roles[at])
}

/// Nothing for [`Role::Unspecified`], which no member has.
const fn bit(role: Role) -> u8 {
    match role {
        Role::Unspecified => 0,
        Role::Owner => 1 << Role::Owner as u8,
        Role::Admin => 1 << Role::Admin as u8,
        Role::Member => 1 << Role::Member as u8,
        Role::Observer => 1 << Role::Observer as u8,
    }
}

/// The role that is meant: one that is not said is [`Role::Member`].
#[must_use]
pub const fn or_member(role: Role) -> Role {
    match role {
        Role::Unspecified => Role::Member,
        Role::Owner | Role::Admin | Role::Member | Role::Observer => role,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_roles_comes_back_from_the_wire() {
        let set = Roles::of(&[Role::Owner, Role::Observer]);
        assert!(set.has(Role::Owner) && set.has(Role::Observer));
        assert!(!set.has(Role::Admin) && !set.has(Role::Unspecified));
        assert_eq!(Roles::from_bits(set.bits()), set);
        assert_eq!(Roles::from_bits(u32::MAX), Roles::ALL);
        assert_eq!(Roles::from_bits(0), Roles::NONE);
    }

    #[test]
    fn rights_that_are_not_said_are_none() {
        let rights = Rights::from_wire(Roles::ALL.bits(), &[Roles::ALL.bits()], &[]);
        assert_eq!(rights.over(Role::Owner), Roles::ALL);
        assert_eq!(rights.over(Role::Admin), Roles::NONE);
        assert_eq!(rights.given(Role::Owner), Roles::NONE);
        assert_eq!(rights.over(Role::Unspecified), Roles::NONE);
    }
}
