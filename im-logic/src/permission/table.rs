//! The table itself.

use protocol::Roles;
use protocol::wire::Role;

use super::{Action, Allowed, Row};

const EVERY_MEMBER: Allowed = Allowed::As(Roles::ALL);
pub(super) const SENDERS: Allowed =
    Allowed::As(Roles::of(&[Role::Owner, Role::Admin, Role::Member]));
const ADMINS: Allowed = Allowed::As(Roles::of(&[Role::Owner, Role::Admin]));
const OWNERS: Allowed = Allowed::As(Roles::of(&[Role::Owner]));
pub(super) const NOBODY: Allowed = Allowed::Nobody;

const fn all(action: Action, words: &'static str, allowed: Allowed, note: &'static str) -> Row {
    Row {
        action,
        words,
        operator: allowed,
        planner: allowed,
        robot: allowed,
        note,
    }
}

/// The table.
pub const TABLE: &[Row] = &[
    all(
        Action::ReadHistory,
        "read history",
        EVERY_MEMBER,
        "from its join entry on, or all of it where the group says so; who has left reads up to \
         its leave entry",
    ),
    all(
        Action::SearchHistory,
        "search history",
        EVERY_MEMBER,
        "finds what the account may read",
    ),
    all(Action::ListMembers, "list members", EVERY_MEMBER, ""),
    all(Action::DescribeGroup, "describe a group", EVERY_MEMBER, ""),
    all(
        Action::ListLacking,
        "see who lacks an entry",
        EVERY_MEMBER,
        "",
    ),
    all(
        Action::SendMessage,
        "send a message",
        SENDERS,
        "both accounts of a pair are members",
    ),
    all(
        Action::SendEphemeral,
        "send an ephemeral message",
        SENDERS,
        "",
    ),
    Row {
        action: Action::SendEmergency,
        words: "send with emergency priority",
        operator: SENDERS,
        planner: NOBODY,
        robot: NOBODY,
        note: "",
    },
    all(
        Action::AmendOwn,
        "recall or edit a message of one's own",
        SENDERS,
        "never another's",
    ),
    Row {
        action: Action::AddMember,
        words: "add a member or an observer",
        operator: SENDERS,
        planner: SENDERS,
        robot: ADMINS,
        note: "a robot is told where it belongs, unless it was made an admin",
    },
    all(Action::MakeAdmin, "make an admin", OWNERS, ""),
    all(Action::MakeOwner, "make an owner", OWNERS, ""),
    all(
        Action::ChangeMember,
        "remove a member or an observer, or make one the other",
        ADMINS,
        "",
    ),
    all(
        Action::ChangeAdmin,
        "remove an admin, or give it another role",
        OWNERS,
        "an admin may itself become less",
    ),
    all(
        Action::ChangeOwner,
        "remove an owner, or give it another role",
        OWNERS,
        "never the last one while there are other members: LAST_OWNER",
    ),
    all(
        Action::Leave,
        "leave",
        EVERY_MEMBER,
        "the last owner only after the others: LAST_OWNER",
    ),
    all(Action::Rename, "rename a group", ADMINS, ""),
    all(
        Action::SetAttributes,
        "set and remove attributes",
        ADMINS,
        "",
    ),
    all(
        Action::Dissolve,
        "dissolve a group",
        OWNERS,
        "afterwards whatever would add to it is refused with GROUP_DISSOLVED",
    ),
    Row {
        action: Action::CreateGroup,
        words: "make a group",
        operator: Allowed::Anyone,
        planner: Allowed::Anyone,
        robot: NOBODY,
        note: "who makes it owns it",
    },
    Row {
        action: Action::ListOnline,
        words: "see who is online",
        operator: Allowed::Anyone,
        planner: Allowed::Anyone,
        robot: NOBODY,
        note: "",
    },
    Row {
        action: Action::CollectMedia,
        words: "collect media that no message refers to",
        operator: Allowed::Anyone,
        planner: NOBODY,
        robot: NOBODY,
        note: "whoever may read a message may fetch what it refers to; everybody uploads",
    },
    Row {
        action: Action::SendCommand,
        words: "command robots",
        operator: EVERY_MEMBER,
        planner: EVERY_MEMBER,
        robot: NOBODY,
        note: "the robots of a group that one is in, or by name those that one shares a group with",
    },
    Row {
        action: Action::SuperviseCommands,
        words: "see and cancel the commands of others",
        operator: Allowed::Anyone,
        planner: NOBODY,
        robot: NOBODY,
        note: "whoever sent a command may with that one",
    },
    Row {
        action: Action::TakeEpoch,
        words: "take the next epoch of a plan",
        operator: Allowed::Anyone,
        planner: Allowed::Anyone,
        robot: NOBODY,
        note: "",
    },
    Row {
        action: Action::StopGroup,
        words: "stop a group's robots in an emergency, and release them",
        operator: EVERY_MEMBER,
        planner: NOBODY,
        robot: NOBODY,
        note: "by the last known members, if nobody can be asked",
    },
    Row {
        action: Action::StopFleet,
        words: "stop all robots in an emergency, and release them",
        operator: Allowed::Anyone,
        planner: NOBODY,
        robot: NOBODY,
        note: "",
    },
    Row {
        action: Action::SeeStops,
        words: "see which emergency stops are in force",
        operator: Allowed::Anyone,
        planner: Allowed::Anyone,
        robot: NOBODY,
        note: "",
    },
    Row {
        action: Action::ListRobots,
        words: "list the robots of the fleet",
        operator: Allowed::Anyone,
        planner: Allowed::Anyone,
        robot: NOBODY,
        note: "by the administration API, like the next two",
    },
    Row {
        action: Action::SeeCluster,
        words: "see the processes of the cluster",
        operator: Allowed::Anyone,
        planner: NOBODY,
        robot: NOBODY,
        note: "",
    },
    Row {
        action: Action::ReadAudit,
        words: "read the audit",
        operator: Allowed::Anyone,
        planner: NOBODY,
        robot: NOBODY,
        note: "",
    },
    Row {
        action: Action::QueryRobots,
        words: "ask which robots can do what",
        operator: Allowed::Anyone,
        planner: Allowed::Anyone,
        robot: NOBODY,
        note: "among all robots of the fleet; the same for watching it",
    },
    all(
        Action::QueryMembers,
        "ask which robots of a group can do what",
        EVERY_MEMBER,
        "",
    ),
    Row {
        action: Action::AnalyseFleet,
        words: "watch all groups of the fleet",
        operator: Allowed::Anyone,
        planner: NOBODY,
        robot: NOBODY,
        note: "only those that `analysis.accounts` of im-logic names; everybody watches the own \
               conversations",
    },
    Row {
        action: Action::DeclareCapabilities,
        words: "declare capabilities",
        operator: NOBODY,
        planner: NOBODY,
        robot: Allowed::Anyone,
        note: "",
    },
    Row {
        action: Action::MakeEnrolmentToken,
        words: "let robots enrol",
        operator: Allowed::Anyone,
        planner: NOBODY,
        robot: NOBODY,
        note: "into groups where the operator may add members; never a sub-account",
    },
    Row {
        action: Action::RevokeRobot,
        words: "revoke a robot's or a planner's certificates",
        operator: Allowed::Anyone,
        planner: NOBODY,
        robot: NOBODY,
        note: "never a sub-account",
    },
];
