//! What becomes of commands that are opened, of epochs, and of reports.

use super::*;

const NOW_MS: u64 = 1_800_000_000_000;

fn key() -> CommandKey {
    CommandKey::new(ClientMessageId::new(NOW_MS, [3; 10]), "s1")
}

fn opening(epoch: u64) -> Opening {
    Opening {
        command: Command {
            key: key(),
            epoch,
            issuer: AccountId(1),
            action: "清扫".into(),
            arguments: "{}".into(),
            digest: [1; 16],
            deadline_ms: NOW_MS + 1000,
            created_at_ms: NOW_MS,
            is_cancelled: false,
            cancel_reason: String::new(),
        },
        targets: Targets::Named(vec![AccountId(7)]),
    }
}

fn present(epoch: Option<u64>, command: Option<Command>) -> Present {
    Present { epoch, command }
}

fn code(judged: Result<Judged, Refusal>) -> ErrorCode {
    judged.unwrap_err().code
}

#[test]
fn an_operators_own_command_takes_the_first_epoch_of_its_plan() {
    let new = judge(&opening(0), present(None, None), NOW_MS).unwrap();
    let first = Judged::New {
        epoch: 1,
        is_first: true,
    };
    assert_eq!(new, first);
}

#[test]
fn an_epoch_below_the_plans_is_refused_and_one_that_was_never_taken_too() {
    let stale = judge(&opening(2), present(Some(3), None), NOW_MS);
    assert_eq!(code(stale), ErrorCode::StaleEpoch);
    let own = judge(&opening(0), present(Some(2), None), NOW_MS);
    assert_eq!(code(own), ErrorCode::StaleEpoch);
    for present in [present(Some(3), None), present(None, None)] {
        let invented = judge(&opening(4), present, NOW_MS);
        assert_eq!(code(invented), ErrorCode::BadRequest);
    }
}

#[test]
fn the_same_key_under_a_newer_epoch_is_the_same_command() {
    let known = opening(1).command;
    let again = judge(&opening(2), present(Some(2), Some(known.clone())), NOW_MS).unwrap();
    let adopted = Command {
        epoch: 2,
        ..known.clone()
    };
    assert_eq!(again, Judged::Known(adopted));
    let stale = judge(&opening(1), present(Some(2), Some(known.clone())), NOW_MS);
    assert_eq!(code(stale), ErrorCode::StaleEpoch);
    let mut other = opening(2);
    other.command.digest = [2; 16];
    let conflict = judge(&other, present(Some(2), Some(known)), NOW_MS);
    assert_eq!(code(conflict), ErrorCode::Conflict);
}

#[test]
fn what_is_late_or_too_old_is_not_stored() {
    let late = judge(&opening(0), Present::default(), NOW_MS + 1000);
    assert_eq!(code(late), ErrorCode::Expired);
    let old = judge(&opening(0), Present::default(), NOW_MS + ID_HORIZON_MS + 1);
    assert_eq!(code(old), ErrorCode::TooOld);
    // A repeat of one that is there is answered, however late it comes.
    let known = present(Some(1), Some(opening(1).command));
    assert!(judge(&opening(0), known, NOW_MS + 2000).is_ok());
}

#[test]
fn an_epoch_is_taken_once_and_a_repeat_is_told_so() {
    let [mine, theirs] = [1, 2].map(|n| ClientMessageId::new(NOW_MS, [n; 10]));
    assert_eq!(take_epoch(None, 0, mine), (Taking::First, 1));
    assert_eq!(take_epoch(None, 3, mine), (Taking::Refused, 0));
    assert_eq!(take_epoch(Some((3, theirs)), 3, mine), (Taking::Next, 4));
    assert_eq!(take_epoch(Some((4, mine)), 3, mine), (Taking::Repeated, 4));
    assert_eq!(take_epoch(Some((4, theirs)), 3, mine), (Taking::Refused, 4));
}

#[test]
fn reports_of_one_batch_follow_each_other() {
    let report = |account, state| Report {
        command: key().id(),
        account: AccountId(account),
        state,
        reason: "r".into(),
        result: String::new(),
    };
    let reports = [
        report(7, OutcomeState::Accepted),
        report(8, OutcomeState::Accepted),
        report(7, OutcomeState::Finished),
        report(7, OutcomeState::Running),
        report(9, OutcomeState::Accepted),
    ];
    let states = States::from([
        ((key().id(), AccountId(7)), OutcomeState::Stored),
        ((key().id(), AccountId(8)), OutcomeState::Cancelled),
    ]);
    let settled = settle(&reports, states, NOW_MS);
    assert_eq!(
        settled.states,
        [
            OutcomeState::Accepted,
            OutcomeState::Cancelled,
            OutcomeState::Finished,
            OutcomeState::Finished,
            OutcomeState::Unspecified,
        ]
    );
    let changed: Vec<_> = settled.changes.iter().map(|c| c.outcome.state).collect();
    assert_eq!(changed, [OutcomeState::Finished]);
}

#[test]
fn a_digest_tells_bodies_apart_and_not_epochs_or_the_order_of_targets() {
    let send = wire::SendCommand {
        action: "ab".into(),
        arguments_json: "c".into(),
        targets: vec![1, 2],
        ..Default::default()
    };
    let same = wire::SendCommand {
        targets: vec![2, 1],
        epoch: 9,
        deadline_at_ms: 9,
        ..send.clone()
    };
    let other = wire::SendCommand {
        action: "a".into(),
        arguments_json: "bc".into(),
        ..send.clone()
    };
    assert_eq!(digest(&send), digest(&same));
    assert_ne!(digest(&send), digest(&other));
}

#[test]
fn whom_a_condition_chose_is_not_what_makes_a_repeat_the_same() {
    let selection = |query: &str, count| wire::RobotSelection {
        query: query.into(),
        count,
        ..Default::default()
    };
    let send = |selection, targets: &[u64]| wire::SendCommand {
        action: "抬".into(),
        selection: Some(selection),
        targets: targets.to_vec(),
        ..Default::default()
    };
    let first = digest(&send(selection("battery > 20", 2), &[1, 2]));
    assert_eq!(first, digest(&send(selection("battery > 20", 2), &[])));
    for other in [
        send(selection("battery > 20", 3), &[1, 2]),
        send(selection("battery > 30", 2), &[1, 2]),
        wire::SendCommand {
            targets: vec![1, 2],
            selection: None,
            ..send(selection("", 0), &[])
        },
    ] {
        assert_ne!(first, digest(&other));
    }
}
