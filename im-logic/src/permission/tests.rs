//! What follows from the table.

use super::*;

const KINDS: [AccountKind; 3] = [
    AccountKind::Operator,
    AccountKind::Planner,
    AccountKind::Robot,
];

#[test]
fn every_action_has_one_row() {
    for row in TABLE {
        let rows = TABLE.iter().filter(|other| other.action == row.action);
        assert_eq!(rows.count(), 1, "{:?}", row.action);
        assert_eq!(row.action.row().words, row.words);
    }
    assert_eq!(TABLE[TABLE.len() - 1].action, Action::RevokeRobot);
    assert_eq!(TABLE.len(), Action::RevokeRobot as usize + 1);
}

#[test]
fn sending_is_the_same_for_every_kind_of_account() {
    for kind in KINDS {
        for action in [Action::SendMessage, Action::SendEphemeral, Action::AmendOwn] {
            assert_eq!(roles(action, kind), senders(), "{kind:?} {action:?}");
        }
    }
}

#[test]
fn the_gateway_goes_by_the_same_rows_in_an_emergency() {
    let unspecified = AccountKind::Unspecified;
    for kind in KINDS.into_iter().chain([unspecified]) {
        for action in [Action::StopGroup, Action::StopFleet] {
            let may = protocol::estop::may_stop(kind).is_ok();
            assert_eq!(check_kind(action, kind).is_ok(), may, "{kind:?} {action:?}");
        }
        let may = protocol::estop::may_see(kind).is_ok();
        assert_eq!(check_kind(Action::SeeStops, kind).is_ok(), may, "{kind:?}");
    }
}

#[test]
fn the_store_is_told_what_the_table_says() {
    let operator = rights(AccountKind::Operator);
    let lower = Roles::of(&[Role::Member, Role::Observer]);
    assert_eq!(operator.over(Role::Owner), Roles::ALL);
    assert_eq!(operator.over(Role::Admin), lower);
    assert_eq!(operator.over(Role::Member), Roles::NONE);
    assert_eq!(operator.given(Role::Owner), Roles::ALL);
    assert_eq!(operator.given(Role::Member), lower);
    assert_eq!(operator.given(Role::Observer), Roles::NONE);
    let robot = rights(AccountKind::Robot);
    assert_eq!(robot.given(Role::Member), Roles::NONE);
    assert_eq!(robot.given(Role::Admin), lower);
    assert_eq!(robot.senders, Roles::ALL);
    assert_eq!(rights(AccountKind::Unspecified), Rights::default());
}

#[test]
fn who_is_no_member_is_told_so_and_others_why() {
    let code = |action, kind, role| check(action, kind, role).err().map(|why| why.code);
    let operator = AccountKind::Operator;
    let sends = |role| code(Action::SendMessage, operator, role);
    assert_eq!(sends(Some(Role::Member)), None);
    assert_eq!(sends(Some(Role::Observer)), Some(ErrorCode::Forbidden));
    assert_eq!(sends(None), Some(ErrorCode::NotAMember));
    let makes = |kind| code(Action::CreateGroup, kind, None);
    assert_eq!(makes(operator), None);
    assert_eq!(makes(AccountKind::Robot), Some(ErrorCode::Forbidden));
    let why = check(Action::Rename, operator, Some(Role::Member)).unwrap_err();
    assert_eq!(why.message, "owner, admin may rename a group");
}
