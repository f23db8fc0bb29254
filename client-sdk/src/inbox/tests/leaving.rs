//! What a member that has left is still handed: everything up to its leave, and nothing after.

use protocol::content::Content;

use super::*;

/// Pulls pages of the log until nothing more is asked for.
pub(super) fn read(inbox: &mut Inbox, log: u64) {
    let now = Instant::now();
    while let Some((_, after)) = inbox.next_pull(now) {
        let mut answer = page(log, 0, after);
        for entry in &mut answer.entries {
            if entry.sequence.0 == LEAVE {
                *entry = leave_entry();
            }
        }
        inbox.page(group(), answer, now + REST);
    }
}

/// By which the account leaves, in the tests of leaving.
const LEAVE: u64 = 4;

fn leave_entry() -> Entry {
    let change = protocol::wire::MemberChange {
        account_id: ME.0,
        joined: false,
        ..Default::default()
    };
    let changes = vec![change];
    Entry {
        kind: EntryKind::Membership,
        content: Some(Content::Membership(protocol::wire::MembershipChange {
            changes,
            roles: vec![],
        })),
        ..entry(LEAVE)
    }
}

/// What comes out, in words.
fn told(inbox: &mut Inbox) -> Vec<String> {
    let outputs = std::iter::from_fn(|| inbox.next_output());
    outputs
        .filter_map(|output| match output {
            Output::Message(message, _) => Some(message.sequence.to_string()),
            Output::Joined(..) => Some("joined".into()),
            Output::Left(_) => Some("left".into()),
            Output::Skip(_, sequence) => Some(format!("skip {sequence}")),
            Output::Trimmed { .. }
            | Output::MembershipsUnsure
            | Output::Duplicate(..)
            | Output::Gap(..)
            | Output::Repaired(_)
            | Output::Forgotten(_)
            | Output::Parted(..)
            | Output::ContentUnknown(..) => None,
        })
        .collect()
}

#[test]
fn one_that_was_behind_when_it_left_reads_up_to_its_leave_and_no_further() {
    let mut inbox = inbox(StartFrom::Mark, 0, 0);
    inbox.push(entry(1));
    inbox.left(group());
    assert_eq!(told(&mut inbox), ["1"]);
    read(&mut inbox, 9);
    assert_eq!(told(&mut inbox), ["2", "3", "4", "left"]);
    assert_eq!(inbox.next_pull(Instant::now()), None);
}

#[test]
fn one_that_has_its_leave_already_has_left_at_once() {
    let mut inbox = inbox(StartFrom::Mark, 0, 0);
    (1..LEAVE).for_each(|sequence| inbox.push(entry(sequence)));
    inbox.push(leave_entry());
    inbox.left(group());
    assert_eq!(told(&mut inbox), ["1", "2", "3", "4", "left"]);
    assert_eq!(inbox.next_pull(Instant::now()), None);
}

#[test]
fn one_that_may_not_read_any_more_has_left() {
    let mut inbox = inbox(StartFrom::Mark, 0, 0);
    inbox.left(group());
    let now = Instant::now();
    inbox.next_pull(now).unwrap();
    let refusal = Refusal::new(ErrorCode::NotAMember, "never was");
    inbox.pull_failed(group(), Some(&refusal), now + REST);
    assert_eq!(told(&mut inbox), ["left"]);
}

#[test]
fn one_that_is_back_before_its_leave_was_read_misses_nothing() {
    let mut inbox = inbox(StartFrom::Mark, 0, 0);
    inbox.left(group());
    let back = Conversation {
        readable_from: SequenceNumber(7),
        joined: SequenceNumber(7),
        ..membership(9, 0)
    };
    inbox.joined(&back);
    read(&mut inbox, 9);
    let told = told(&mut inbox);
    let all = [
        "left", "joined", "1", "2", "3", "4", "skip 5", "6", "7", "8", "9",
    ];
    assert_eq!(told, all);
}
