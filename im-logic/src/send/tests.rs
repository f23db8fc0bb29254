//! Tables: what is sent, and what becomes of it.

use protocol::content::Content;
use protocol::wire::{MembershipChange, Send};

use super::*;

const NOW_MS: u64 = 1_700_000_000_000;
const ME: AccountId = AccountId(10);

fn text(text: &str) -> Send {
    Send {
        conversation_id: ConversationId::group(7).to_bytes(),
        client_message_id: ClientMessageId::new(NOW_MS, [1; 10]).to_bytes(),
        kind: EntryKind::Text.into(),
        content: content::encode(content::text(text)),
        ..Send::default()
    }
}

/// A good text with one thing changed.
fn with(change: impl FnOnce(&mut Send)) -> Send {
    let mut send = text("把三个箱子搬到充电站旁边");
    change(&mut send);
    send
}

fn code(result: Result<Outgoing, Refusal>) -> Option<ErrorCode> {
    result.err().map(|refusal| refusal.code)
}

#[test]
fn a_message_that_makes_sense_is_taken_as_it_is() {
    let send = text("把三个箱子搬到充电站旁边");
    let outgoing = Outgoing::parse(send.clone()).unwrap();
    assert_eq!(outgoing.conversation, ConversationId::group(7));
    assert_eq!(outgoing.content, send.content);
    assert_eq!(outgoing.priority, Priority::Chat, "unspecified is chat");
    assert_eq!(outgoing.kind, EntryKind::Text);
    let id = ClientMessageId::new(NOW_MS, [1; 10]);
    assert_eq!(outgoing.keeping, Keeping::Stored(id));

    let ephemeral = with(|send| {
        send.ephemeral_key = "位置".into();
        send.client_message_id = Bytes::new();
    });
    let key = "位置".to_owned();
    let outgoing = Outgoing::parse(ephemeral).unwrap();
    assert_eq!(outgoing.keeping, Keeping::Ephemeral { key });
}

#[test]
fn what_makes_no_sense_is_refused_whoever_sends_it() {
    let membership = content::encode(Content::Membership(MembershipChange::default()));
    let too_long = "长".repeat(CONTENT_BYTES_MAX / 3 + 1);
    let cases = [
        (
            with(|s| s.conversation_id = Bytes::new()),
            ErrorCode::BadRequest,
        ),
        (
            with(|s| s.conversation_id = vec![0; 16].into()),
            ErrorCode::BadRequest,
        ),
        (
            with(|s| s.client_message_id = vec![0; 16].into()),
            ErrorCode::BadRequest,
        ),
        (
            with(|s| s.client_message_id = vec![1; 15].into()),
            ErrorCode::BadRequest,
        ),
        (with(|s| s.kind = 0), ErrorCode::BadRequest),
        (with(|s| s.kind = 99), ErrorCode::BadRequest),
        (
            with(|s| s.kind = EntryKind::Command.into()),
            ErrorCode::BadRequest,
        ),
        (
            with(|s| s.kind = EntryKind::Placeholder.into()),
            ErrorCode::Forbidden,
        ),
        (
            with(|s| s.kind = EntryKind::Membership.into()),
            ErrorCode::Forbidden,
        ),
        (with(|s| s.content = membership), ErrorCode::BadRequest),
        (with(|s| s.content = Bytes::new()), ErrorCode::BadRequest),
        (
            with(|s| s.content = vec![0xff; 20].into()),
            ErrorCode::BadRequest,
        ),
        (text(&too_long), ErrorCode::ContentTooLong),
        (with(|s| s.priority = 9), ErrorCode::BadRequest),
        (
            with(|s| s.ephemeral_key = "k".repeat(129)),
            ErrorCode::BadRequest,
        ),
        (
            with(|s| s.ephemeral_key = "a\nb".into()),
            ErrorCode::BadRequest,
        ),
    ];
    for (at, (send, expected)) in cases.into_iter().enumerate() {
        assert_eq!(code(Outgoing::parse(send)), Some(expected), "case {at}");
    }
    let longest = "x".repeat(CONTENT_BYTES_MAX - 8);
    assert_eq!(code(Outgoing::parse(text(&longest))), None);
}

fn check(send: Send, standing: Standing) -> Verdict {
    decide(&Outgoing::parse(send).unwrap(), ME, standing, NOW_MS)
}

fn refused(verdict: Verdict) -> Option<ErrorCode> {
    match verdict {
        Verdict::Refuse(refusal) => Some(refusal.code),
        Verdict::Allow | Verdict::NeedStanding => None,
    }
}

const fn of(kind: AccountKind, membership: Membership) -> Standing {
    Standing {
        kind: Some(kind),
        membership,
    }
}

/// A kind that matters only with emergencies.
const fn robot(membership: Membership) -> Standing {
    of(AccountKind::Robot, membership)
}

const NOTHING_KNOWN: Standing = Standing {
    kind: None,
    membership: Membership::Unknown,
};

#[test]
fn the_store_judges_what_it_stores_and_nobody_else_what_is_passed_on() {
    let stored = || text("你好");
    let ephemeral = || with(|send| send.ephemeral_key = "typing".into());
    let table = [
        (robot(Membership::Member(Role::Member)), Verdict::Allow),
        (robot(Membership::Unknown), Verdict::NeedStanding),
        (NOTHING_KNOWN, Verdict::NeedStanding),
    ];
    for (standing, when_ephemeral) in table {
        assert_eq!(check(stored(), standing), Verdict::Allow, "{standing:?}");
        assert_eq!(check(ephemeral(), standing), when_ephemeral, "{standing:?}");
    }
    let stranger = robot(Membership::Stranger);
    // It may repeat what it sent while it was a member.
    assert_eq!(check(stored(), stranger), Verdict::Allow);
    let code = refused(check(ephemeral(), stranger));
    assert_eq!(code, Some(ErrorCode::NotAMember));
}

#[test]
fn a_pair_is_open_to_its_two_accounts_alone() {
    let to = |a, b| {
        with(|send| {
            let pair = ConversationId::pair(AccountId(a), AccountId(b));
            send.conversation_id = pair.to_bytes();
        })
    };
    let member = robot(Membership::Member(Role::Member));
    assert_eq!(check(to(10, 20), NOTHING_KNOWN), Verdict::NeedStanding);
    assert_eq!(check(to(5, 10), member), Verdict::Allow);
    assert_eq!(check(to(10, 10), member), Verdict::Allow);
    for standing in [NOTHING_KNOWN, member] {
        let code = refused(check(to(5, 20), standing));
        assert_eq!(code, Some(ErrorCode::NotAMember));
    }
}

#[test]
fn only_operators_send_emergencies() {
    let stop = || with(|send| send.priority = Priority::Emergency.into());
    let table = [
        (AccountKind::Operator, None),
        (AccountKind::Planner, Some(ErrorCode::Forbidden)),
        (AccountKind::Robot, Some(ErrorCode::Forbidden)),
        (AccountKind::Unspecified, Some(ErrorCode::Forbidden)),
    ];
    for (kind, expected) in table {
        for membership in [
            Membership::Member(Role::Member),
            Membership::Unknown,
            Membership::Stranger,
        ] {
            assert_eq!(refused(check(stop(), of(kind, membership))), expected);
        }
    }
    let from_operator = of(AccountKind::Operator, Membership::Unknown);
    assert_eq!(check(stop(), from_operator), Verdict::Allow, "at once");
    assert_eq!(check(stop(), NOTHING_KNOWN), Verdict::NeedStanding);
}

#[test]
fn an_ephemeral_message_that_came_too_late_is_not_sent() {
    let until = |ms| {
        with(|send| {
            send.deliver_before_ms = ms;
            send.ephemeral_key = "k".into();
        })
    };
    let member = of(AccountKind::Operator, Membership::Member(Role::Member));
    for ms in [1, NOW_MS] {
        let code = refused(check(until(ms), member));
        assert_eq!(code, Some(ErrorCode::Expired));
    }
    assert_eq!(check(until(NOW_MS + 1), member), Verdict::Allow);
    assert_eq!(check(until(0), member), Verdict::Allow);
    let stored = with(|send| send.deliver_before_ms = 1);
    assert_eq!(check(stored, member), Verdict::Allow, "it may be a repeat");
}

#[test]
fn a_recall_and_an_edit_name_what_they_are_about() {
    let about = |kind: EntryKind, said: Content| {
        with(|send| {
            send.kind = kind.into();
            send.content = content::encode(said);
        })
    };
    let target = SequenceNumber(5);
    let recall = about(EntryKind::Recall, content::recall(target));
    let edit = content::edit(target, content::text("改")).unwrap();
    let edit = about(EntryKind::Edit, edit);
    for send in [&recall, &edit] {
        assert_eq!(Outgoing::parse(send.clone()).unwrap().target, Some(target));
    }
    assert_eq!(Outgoing::parse(text("喂")).unwrap().target, None);

    let nowhere = about(EntryKind::Recall, content::recall(SequenceNumber::ZERO));
    let silent = Content::Edit(wire::Edit {
        target_sequence: 5,
        content: None,
    });
    let silent = about(EntryKind::Edit, silent);
    let unkept = Send {
        ephemeral_key: "k".into(),
        ..recall
    };
    for send in [nowhere, silent, unkept] {
        assert_eq!(code(Outgoing::parse(send)), Some(ErrorCode::BadRequest));
    }
    let recalled = with(|send| send.kind = EntryKind::Recalled.into());
    assert_eq!(code(Outgoing::parse(recalled)), Some(ErrorCode::Forbidden));
}
