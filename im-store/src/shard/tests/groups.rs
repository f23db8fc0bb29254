//! Roles, names, attributes, and the end of a group.

use protocol::Roles;

use super::*;

/// A group with an owner (1), an admin (2), a member (3) and an observer (4).
fn ranked() -> (ConversationId, Known) {
    let (g, mut known) = group(&[]);
    let roles = [Role::Owner, Role::Admin, Role::Member, Role::Observer];
    let members = (1..).map(AccountId).zip(roles).collect();
    known.conversations.get_mut(&g).unwrap().members = Arc::new(members);
    (g, known)
}

fn changing(sender: u64, id: u8, changes: Vec<MemberChange>) -> Append {
    Append {
        changes,
        ..membership(ConversationId::group(7), id, &[])
    }
    .by(sender)
}

impl Append {
    fn by(self, sender: u64) -> Self {
        Self {
            sender: AccountId(sender),
            ..self
        }
    }
}

#[test]
fn a_role_is_held_against_the_rights_that_come_with_the_entry() {
    let (g, known) = ranked();
    let members_only = Rights::to_send(Roles::of(&[Role::Owner, Role::Admin, Role::Member]));
    let says = |sender, id| Append {
        rights: members_only,
        ..append(g, sender, id, "a")
    };
    let plan = decide(&[says(3, 1), says(4, 2), says(5, 3)], &known);
    assert_eq!(plan.verdicts[0], Verdict::Store(SequenceNumber(11)));
    assert_eq!(code(&plan.verdicts[1]), Some(ErrorCode::Forbidden));
    assert_eq!(code(&plan.verdicts[2]), Some(ErrorCode::NotAMember));
}

#[test]
fn who_is_touched_and_what_it_becomes_are_checked_and_everybody_may_leave() {
    let (_, known) = ranked();
    let lower = Roles::of(&[Role::Member, Role::Observer]);
    let mut rights = Rights::to_send(Roles::ALL);
    rights.over = [Roles::ALL, lower, Roles::NONE, Roles::NONE];
    rights.given = rights.over;
    let by = |sender, change| {
        let append = Append {
            rights,
            ..changing(sender, 1, vec![change])
        };
        code(&decide(&[append], &known).verdicts[0])
    };
    let (leaves, becomes) = (
        |id| MemberChange::Leaves(AccountId(id)),
        |id, role| MemberChange::Becomes(AccountId(id), role),
    );
    let joins = |role| MemberChange::Joins(AccountId(9), role);
    let no = Some(ErrorCode::Forbidden);
    for (sender, change, expected) in [
        (2, leaves(3), None),
        (2, leaves(1), no),
        (2, leaves(2), None),
        (4, leaves(4), None),
        (3, leaves(4), no),
        (2, joins(Role::Observer), None),
        (2, joins(Role::Admin), no),
        (1, joins(Role::Owner), None),
        (2, becomes(3, Role::Observer), None),
        (2, becomes(2, Role::Member), None),
        (2, becomes(2, Role::Owner), no),
        (3, becomes(3, Role::Admin), no),
        (1, becomes(2, Role::Owner), None),
        (1, becomes(9, Role::Admin), Some(ErrorCode::NotAMember)),
    ] {
        assert_eq!(by(sender, change), expected, "{sender} {change:?}");
    }
}

#[test]
fn a_group_with_members_keeps_an_owner() {
    let (_, known) = ranked();
    let (owner, admin) = (AccountId(1), AccountId(2));
    let last = |changes| code(&decide(&[changing(1, 1, changes)], &known).verdicts[0]);
    let gone = Some(ErrorCode::LastOwner);
    assert_eq!(last(vec![MemberChange::Leaves(owner)]), gone);
    let less = MemberChange::Becomes(owner, Role::Admin);
    assert_eq!(last(vec![less]), gone);
    let handed_on = vec![less, MemberChange::Becomes(admin, Role::Owner)];
    assert_eq!(last(handed_on), None);
    let all = (1..5).map(|id| MemberChange::Leaves(AccountId(id)));
    assert_eq!(last(all.collect()), None, "nobody is left to own");
    // Made before there were owners.
    let (g, known) = group(&[1, 2]);
    let leave = membership(g, 1, &[(1, false)]);
    assert_eq!(code(&decide(&[leave], &known).verdicts[0]), None);
}

fn regrouping(id: u8, change: GroupChange) -> Append {
    Append {
        kind: EntryKind::Group,
        group: Some(change),
        ..append(ConversationId::group(7), 1, id, "g")
    }
}

#[test]
fn a_group_is_renamed_and_noted_of_and_nothing_is_written_for_nothing() {
    let (g, known) = ranked();
    let note = |key: &str, value: &str| GroupChange {
        set: [(key.to_owned(), value.to_owned())].into(),
        ..GroupChange::default()
    };
    let rename = GroupChange {
        name: Some("夜班".into()),
        ..note("区", "B")
    };
    let unset = GroupChange {
        unset: vec!["区".into()],
        ..GroupChange::default()
    };
    let plan = decide(
        &[
            regrouping(1, rename),
            regrouping(2, note("区", "B")),
            regrouping(3, note("班", "夜")),
            regrouping(4, unset),
        ],
        &known,
    );
    assert_eq!(plan.verdicts[0], Verdict::Store(SequenceNumber(11)));
    assert_eq!(plan.verdicts[1], Verdict::NothingToDo);
    let head = &plan.heads[&g];
    assert!(head.regroups && plan.entries.iter().all(NewEntry::moves));
    assert_eq!((&*head.to.name, head.to.membership.0), ("夜班", 13));
    let left: Vec<_> = head.to.attributes.iter().collect();
    assert_eq!(left, [(&"班".to_owned(), &"夜".to_owned())]);
    let large = note(
        "k",
        &"x".repeat(protocol::limits::GROUP_ATTRIBUTES_BYTES_MAX),
    );
    let plan = decide(&[regrouping(5, large)], &known);
    assert_eq!(code(&plan.verdicts[0]), Some(ErrorCode::LimitReached));
    assert!(plan.heads.is_empty(), "what is refused changes nothing");
}

#[test]
fn by_a_groups_end_all_leave_and_nothing_comes_after_it() {
    let (g, known) = ranked();
    let end = GroupChange {
        dissolves: true,
        ..GroupChange::default()
    };
    let plan = decide(
        &[
            regrouping(1, end.clone()),
            append(g, 1, 2, "after"),
            regrouping(3, end),
            regrouping(1, GroupChange::default()),
        ],
        &known,
    );
    assert_eq!(plan.verdicts[0], Verdict::Store(SequenceNumber(11)));
    for after in &plan.verdicts[1..3] {
        assert_eq!(code(after), Some(ErrorCode::GroupDissolved));
    }
    assert!(
        matches!(plan.verdicts[3], Verdict::Duplicate { .. }),
        "a repeat"
    );
    assert_eq!(plan.entries[0].changes.len(), 4);
    let to = &plan.heads[&g].to;
    assert!(to.members.is_empty() && to.dissolved.0 == 11);
}
