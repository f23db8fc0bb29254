//! Who may command whom, and what is refused before anybody is asked.

use protocol::AccountId;
use protocol::wire::RobotSelection;

use super::*;

const NOW_MS: u64 = 1_800_000_000_000;

type Spoil = fn(&mut SendCommand);

fn send() -> SendCommand {
    let plan = ClientMessageId::new(NOW_MS, [7; 10]);
    SendCommand {
        key: Some(CommandKey::new(plan, "步骤").to_wire()),
        targets: vec![AccountId(9).0],
        action: "清扫".into(),
        deadline_at_ms: NOW_MS + 1000,
        ..SendCommand::default()
    }
}

#[test]
fn a_command_is_seen_by_its_issuer_and_by_operators() {
    assert!(may_supervise(AccountKind::Operator, false).is_ok());
    assert!(may_supervise(AccountKind::Planner, true).is_ok());
    assert!(may_supervise(AccountKind::Planner, false).is_err());
    for kind in [AccountKind::Robot, AccountKind::Unspecified] {
        assert!(may_supervise(kind, true).is_err());
    }
}

#[test]
fn a_command_makes_sense_or_is_refused() {
    assert!(check_command(&send(), NOW_MS).is_ok());
    let wrong: [(&str, Spoil); 8] = [
        ("key", |send| send.key = None),
        ("action", |send| send.action = String::new()),
        ("action", |send| send.action = "a".repeat(65)),
        ("arguments_json", |send| {
            send.arguments_json = "a".repeat(65 * 1024)
        }),
        ("targets", |send| send.targets = Vec::new()),
        ("targets", |send| {
            send.targets = vec![1; COMMAND_TARGETS_MAX + 1]
        }),
        ("deadline_at_ms", |send| send.deadline_at_ms = 0),
        ("deadline_at_ms", |send| {
            send.deadline_at_ms = NOW_MS + COMMAND_DEADLINE_MS_MAX + 1;
        }),
    ];
    for (field, spoil) in wrong {
        let mut send = send();
        spoil(&mut send);
        let refusal = check_command(&send, NOW_MS).unwrap_err();
        assert!(refusal.message.starts_with(field), "{refusal}");
    }
    let both = SendCommand {
        group_id: ConversationId::group(7).to_bytes(),
        ..send()
    };
    assert!(check_command(&both, NOW_MS).is_err());
    let selected = SendCommand {
        selection: Some(RobotSelection::default()),
        ..send()
    };
    assert!(check_command(&selected, NOW_MS).is_err(), "and targets");
    let selected = SendCommand {
        targets: Vec::new(),
        ..selected
    };
    assert!(check_command(&selected, NOW_MS).is_ok());
    let pair = SendCommand {
        targets: Vec::new(),
        group_id: ConversationId::pair(AccountId(1), AccountId(2)).to_bytes(),
        ..send()
    };
    assert!(check_command(&pair, NOW_MS).is_err());
}

#[test]
fn a_robot_says_only_what_is_its_to_say() {
    let report = |state: OutcomeState| OutcomeReport {
        key: send().key,
        state: state.into(),
        ..OutcomeReport::default()
    };
    assert!(check_report(&report(OutcomeState::Accepted)).is_ok());
    assert!(check_report(&report(OutcomeState::Stored)).is_err());
    assert!(check_report(&report(OutcomeState::Unspecified)).is_err());
    let long = OutcomeReport {
        reason: "长".repeat(200),
        ..report(OutcomeState::Failed)
    };
    assert!(check_report(&long).is_err());
}
