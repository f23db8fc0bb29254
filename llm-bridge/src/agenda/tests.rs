//! Whole stories in a group: what is said, after failures, crashes and refusals.

mod cluster;

use protocol::content::{instruction, text};
use protocol::identity;
use protocol::wire::{EntryKind, Outcome, StepState};

use super::*;
use cluster::{CARRIER, Cluster, PERSON, PLANNER, POLICY, SCOUT, START_MS};

fn two_plans() -> Cluster {
    let mut cluster = Cluster::new(vec![
        Some(vec![
            ("s1", CARRIER, vec![]),
            ("s2", CARRIER, vec![]),
            ("s3", SCOUT, vec!["s1"]),
            ("s4", SCOUT, vec!["s2"]),
        ]),
        Some(vec![
            ("v2-1", SCOUT, vec![]),
            ("v2-2", CARRIER, vec!["v2-1"]),
        ]),
    ]);
    cluster.script.insert((1, "s2"), Some(StepState::Failed));
    cluster
}

#[test]
fn a_failure_is_planned_anew_and_the_rest_is_done() {
    let mut cluster = two_plans();
    cluster.person(1, "巡检一遍走廊");
    let agenda = cluster.run(None);
    let [summary] = &cluster.summaries()[..] else {
        panic!("one summary");
    };
    assert_eq!(summary.outcome(), Outcome::Done, "{}", summary.text);
    let counts = (
        summary.steps_planned,
        summary.steps_finished,
        summary.steps_failed,
    );
    assert_eq!(counts, (5, 4, 1), "{}", summary.text);
    assert!(summary.text.contains("轮子卡住了"), "{}", summary.text);
    assert!(agenda.active().is_none());
    assert_eq!(agenda.settled(), agenda.folded());
}

/// After a crash at any entry the planner says the same things as if there had been none: the same
/// ids, the same words, no command twice.
#[test]
fn a_crash_after_any_entry_changes_nothing() {
    for script in [
        vec![],
        vec![((1, "s2"), Some(StepState::Failed))],
        vec![((1, "s1"), Some(StepState::Rejected))],
        vec![((1, "s3"), None)],
        vec![((1, "s2"), Some(StepState::Failed)), ((2, "v2-1"), None)],
    ] {
        let story = |crash_at| {
            let mut cluster = two_plans();
            cluster.script = script.iter().copied().collect();
            cluster.person(1, "巡检一遍走廊");
            cluster.person(2, "inspect the corridor");
            cluster.run(crash_at);
            cluster
        };
        let whole = story(None);
        assert_eq!(whole.summaries().len(), 2);
        for crash_at in 2..=whole.log.len() {
            let crashed = story(Some(crash_at));
            let keys = |cluster: &Cluster| cluster.said.keys().copied().collect::<Vec<_>>();
            assert_eq!(keys(&crashed), keys(&whole), "{script:?}, {crash_at}");
            let texts = |cluster: &Cluster| {
                let summaries = cluster.summaries().into_iter();
                summaries.map(|summary| summary.text).collect::<Vec<_>>()
            };
            assert_eq!(texts(&crashed), texts(&whole), "{script:?}, {crash_at}");
        }
    }
}

/// From any prefix of the log alone: what is asked for is either new or, word for word, what was
/// said before.
#[test]
fn every_prefix_of_the_log_leads_to_the_same_next_outputs() {
    let mut cluster = two_plans();
    cluster.person(1, "巡检一遍走廊");
    cluster.run(None);
    for length in 0..=cluster.log.len() {
        let entries = &cluster.log[..length];
        let now_ms = entries.last().map_or(START_MS, |last| last.committed_at_ms);
        let fresh = || {
            let mut agenda = Agenda::new(cluster.group, PLANNER, POLICY, SequenceNumber::ZERO);
            for entry in entries {
                agenda.fold(entry.clone());
            }
            agenda.next(now_ms)
        };
        let outputs = fresh();
        assert_eq!(outputs, fresh());
        for (_, output) in outputs {
            if let Output::Send(letter) = output {
                let said = cluster.said.get(&letter.id);
                assert_eq!(said, Some(&letter.content), "after {length} entries");
            }
        }
    }
}

#[test]
fn a_robot_that_says_nothing_expires() {
    let mut cluster = Cluster::new(vec![Some(vec![("s1", CARRIER, vec![])]), None]);
    cluster.script.insert((1, "s1"), None);
    cluster.person(1, "巡检一遍走廊");
    cluster.run(None);
    let expired = cluster.log.iter().any(|entry| {
        matches!(&entry.content, Some(Content::StepUpdate(update))
            if entry.sender == PLANNER && update.state() == StepState::Expired)
    });
    assert!(expired);
    let summary = &cluster.summaries()[0];
    assert_eq!(summary.outcome(), Outcome::PartlyDone);
    assert!(summary.text.contains("没有机器人会飞"), "{}", summary.text);
}

#[test]
fn blank_declined_and_too_many_instructions_are_answered() {
    let mut cluster = Cluster::new(vec![None]);
    let blank = cluster.person(1, " \n");
    for n in 2..=30 {
        cluster.person(n, "fly to the moon");
    }
    let mut agenda = cluster.agenda();
    let outputs = agenda.next(cluster.now_ms);
    let asks = outputs.iter().filter(|(_, o)| matches!(o, Output::Ask(_)));
    assert_eq!(asks.count(), 1, "one at a time");
    assert!(!outputs.contains(&(blank, Output::Ask(ask_about(blank)))));
    cluster.run(None);
    let summaries = cluster.summaries();
    assert_eq!(summaries.len(), 30);
    assert!(summaries.iter().all(|s| s.outcome() == Outcome::Declined));
    let waiting = summaries.iter().filter(|s| s.text.contains("are waiting"));
    assert_eq!(waiting.count(), 29 - MISSIONS_MAX);
}

fn ask_about(instruction: ClientMessageId) -> crate::mission::Question {
    crate::mission::Question {
        instruction,
        version: 1,
        text: " \n".into(),
        progress: None,
    }
}

#[test]
fn instructions_beyond_all_bounds_are_dropped() {
    let mut agenda = Cluster::new(vec![None]).agenda();
    for n in 1..=OPEN_MAX as u64 + 1 {
        let change = agenda.fold(LogEntry {
            sequence: SequenceNumber(n),
            sender: PERSON,
            id: Some(ClientMessageId::new(START_MS + n, [1; 10])),
            content: Some(instruction("")),
            committed_at_ms: START_MS,
        });
        let is_dropped = matches!(change, Some(Change::Dropped(_)));
        assert_eq!(is_dropped, n > OPEN_MAX as u64);
    }
}

#[test]
fn what_others_say_in_the_planners_words_does_not_count() {
    let mut cluster = Cluster::new(vec![Some(vec![("s1", CARRIER, vec![])])]);
    let id = cluster.person(1, "巡检一遍走廊");
    let plan = cluster.plan(id, 1).unwrap();
    cluster.commit(PERSON, identity::plan(id, 1), Content::Plan(plan.clone()));
    let summary = wire::Summary {
        instruction_id: id.to_bytes(),
        ..wire::Summary::default()
    };
    cluster.commit(PERSON, identity::summary(id), Content::Summary(summary));
    let mut agenda = cluster.agenda();
    assert!(agenda.active().unwrap().plans().is_empty());
    assert!(matches!(agenda.next(cluster.now_ms)[0].1, Output::Ask(_)));

    // Another robot cannot end a step either.
    cluster.commit(PLANNER, identity::plan(id, 1), Content::Plan(plan));
    let update = wire::StepUpdate {
        instruction_id: id.to_bytes(),
        plan_version: 1,
        step_id: "s1".into(),
        attempt: 1,
        state: StepState::Finished.into(),
        ..wire::StepUpdate::default()
    };
    let id = ClientMessageId::new(START_MS, [9; 10]);
    cluster.commit(SCOUT, id, Content::StepUpdate(update));
    let agenda = cluster.agenda();
    assert!(agenda.active().unwrap().plans()[0].is_running());
}

#[test]
fn a_robot_may_instruct_and_the_planner_may_not() {
    let mut cluster = Cluster::new(vec![None]);
    let id = |n| ClientMessageId::new(START_MS, [n; 10]);
    cluster.commit(PLANNER, id(1), instruction("巡检"));
    cluster.commit(SCOUT, id(2), instruction("巡检"));
    cluster.commit(SCOUT, id(2), instruction("巡检"));
    cluster.commit(SCOUT, id(3), text("巡检"));
    let agenda = cluster.agenda();
    assert_eq!(agenda.missions.len(), 1);
    assert_eq!(agenda.active().unwrap().id(), id(2));
}

#[test]
fn what_was_asked_before_the_planner_came_is_not_its_affair() {
    let mut cluster = Cluster::new(vec![None]);
    cluster.person(1, "巡检");
    let joined = |account: AccountId| {
        Content::Membership(wire::MembershipChange {
            changes: vec![wire::MemberChange {
                account_id: account.0,
                joined: true,
                ..wire::MemberChange::default()
            }],
            roles: vec![],
        })
    };
    let id = |n| ClientMessageId::new(START_MS, [n; 10]);
    cluster.commit(AccountId(0), id(100), joined(SCOUT));
    assert_eq!(cluster.agenda().missions.len(), 1);
    cluster.commit(AccountId(0), id(101), joined(PLANNER));
    assert!(cluster.agenda().missions.is_empty());
}

#[test]
fn an_old_instruction_is_declined() {
    let mut cluster = Cluster::new(vec![None]);
    cluster.person(1, "巡检");
    cluster.now_ms += POLICY.instruction_age_ms_max + 1;
    cluster.run(None);
    assert_eq!(
        cluster.summaries()[0].text,
        "无法执行：指令已过期，请重新下达。"
    );
}

#[test]
fn a_message_that_is_refused_does_not_stop_the_mission() {
    for (kind, summaries, word) in [
        (EntryKind::Plan, 1, "计划无法发布"),
        (EntryKind::Command, 1, "could not be sent"),
        (EntryKind::Summary, 0, ""),
    ] {
        let steps = || Some(vec![("s1", CARRIER, vec![])]);
        let mut cluster = Cluster::new(vec![steps(), steps()]);
        cluster.refuses = Some(kind);
        cluster.person(1, "巡检");
        let agenda = cluster.run(None);
        let found = cluster.summaries();
        assert_eq!(found.len(), summaries, "{kind:?}");
        assert!(found.iter().all(|s| s.text.contains(word)), "{found:?}");
        assert!(agenda.active().is_none(), "{kind:?}");
    }
}

#[test]
fn the_newest_world_is_kept_and_one_from_before_is_older() {
    let mut cluster = Cluster::new(vec![]);
    let world = |payload: &'static [u8]| {
        Content::Data(wire::Data {
            schema: WORLD_SCHEMA.into(),
            payload: Bytes::from_static(payload),
        })
    };
    let mut agenda = cluster.agenda();
    agenda.learn_world(Bytes::from_static(b"0"));
    assert_eq!(agenda.world(), Some(&Bytes::from_static(b"0")));
    let id = |n| ClientMessageId::new(START_MS, [n; 10]);
    cluster.commit(PERSON, id(1), world(b"1"));
    cluster.commit(PERSON, id(2), text("hello"));
    cluster.commit(PERSON, id(3), world(b"2"));
    let mut agenda = cluster.agenda();
    agenda.learn_world(Bytes::from_static(b"0"));
    assert_eq!(agenda.world(), Some(&Bytes::from_static(b"2")));
    assert_eq!(agenda.settled(), SequenceNumber(3));
    cluster.person(4, "巡检");
    assert_eq!(cluster.agenda().settled(), SequenceNumber(3));
}
