//! The planner decides: tables of batches and what becomes of them.

mod groups;

use super::*;

const NOW_MS: u64 = 1_800_000_000_000;

fn append(conversation: ConversationId, sender: u64, id: u8, said: &'static str) -> Append {
    Append {
        conversation,
        sender: AccountId(sender),
        message_id: ClientMessageId::new(NOW_MS, [id; 10]),
        kind: EntryKind::Text,
        content: Bytes::from_static(said.as_bytes()),
        priority: Priority::Chat,
        deliver_before_ms: 0,
        rights: Rights::EVERYTHING,
        changes: Vec::new(),
        group: None,
        target: None,
        ruled: Ruled::default(),
        reply_to: None,
    }
}

fn membership(conversation: ConversationId, id: u8, changes: &[(u64, bool)]) -> Append {
    let changes = changes
        .iter()
        .map(|(account, joins)| MemberChange::joins(AccountId(*account), *joins))
        .collect();
    Append {
        kind: EntryKind::Membership,
        changes,
        ..append(conversation, 1, id, "m")
    }
}

fn group(members: &[u64]) -> (ConversationId, Known) {
    let conversation = ConversationId::group(7);
    let state = ConversationState {
        head: SequenceNumber(10),
        membership: SequenceNumber(3),
        owner_epoch: 0,
        name: "".into(),
        history_open: false,
        members: Arc::new(
            members
                .iter()
                .map(|id| (AccountId(*id), Role::Member))
                .collect(),
        ),
        attributes: Arc::default(),
        dissolved: SequenceNumber::ZERO,
    };
    (
        conversation,
        Known {
            conversations: [(conversation, state)].into(),
            ..Known::default()
        },
    )
}

fn digest(append: &Append) -> Digest {
    let mut digest = [0; 16];
    let cut = append.said().len().min(16);
    digest[..cut].copy_from_slice(&append.said()[..cut]);
    digest
}

fn decide(batch: &[Append], known: &Known) -> BatchPlan {
    plan(batch, digest, known, NOW_MS)
}

fn code(verdict: &Verdict) -> Option<ErrorCode> {
    if let Verdict::Refuse(refusal) = verdict {
        Some(refusal.code)
    } else {
        None
    }
}

#[test]
fn numbers_are_dense_and_refused_messages_take_none() {
    let (g, known) = group(&[1, 2]);
    let plan = decide(
        &[
            append(g, 1, 1, "a"),
            append(g, 9, 2, "b"),
            append(g, 2, 3, "c"),
        ],
        &known,
    );
    assert_eq!(plan.verdicts[0], Verdict::Store(SequenceNumber(11)));
    assert_eq!(code(&plan.verdicts[1]), Some(ErrorCode::NotAMember));
    assert_eq!(plan.verdicts[2], Verdict::Store(SequenceNumber(12)));
    assert_eq!(plan.heads[&g].from.head, SequenceNumber(10));
    assert_eq!(plan.heads[&g].to.head, SequenceNumber(12));
}

#[test]
fn twice_the_same_id_in_a_batch_is_one_message_and_another_body_a_conflict() {
    let (g, known) = group(&[1]);
    let plan = decide(
        &[
            append(g, 1, 1, "a"),
            append(g, 1, 1, "a"),
            append(g, 1, 1, "b"),
        ],
        &known,
    );
    assert_eq!(
        plan.verdicts[1],
        Verdict::Duplicate {
            sequence: SequenceNumber(11),
            committed_at_ms: NOW_MS
        }
    );
    assert_eq!(code(&plan.verdicts[2]), Some(ErrorCode::Conflict));
    assert_eq!(plan.entries.len(), 1);
}

#[test]
fn membership_holds_from_its_entry_on_within_the_batch() {
    let (g, known) = group(&[1]);
    let plan = decide(
        &[
            append(g, 2, 1, "too early"),
            membership(g, 2, &[(2, true), (1, true)]),
            append(g, 2, 3, "in"),
            membership(g, 4, &[(2, false)]),
            append(g, 2, 5, "too late"),
            membership(g, 6, &[(1, true)]),
        ],
        &known,
    );
    assert_eq!(code(&plan.verdicts[0]), Some(ErrorCode::NotAMember));
    assert_eq!(plan.verdicts[2], Verdict::Store(SequenceNumber(12)));
    assert_eq!(code(&plan.verdicts[4]), Some(ErrorCode::NotAMember));
    assert_eq!(plan.verdicts[5], Verdict::NothingToDo);
    let joined = &plan.entries[0];
    assert_eq!(
        joined.changes,
        [MemberChange::Joins(AccountId(2), Role::Member)]
    );
    assert_eq!((joined.previous_membership.0, joined.membership.0), (3, 11));
    assert_eq!(plan.entries[2].previous_membership, SequenceNumber(11));
}

#[test]
fn a_pair_has_no_membership_to_change() {
    let pair = ConversationId::pair(AccountId(1), AccountId(2));
    let plan = decide(&[membership(pair, 1, &[(3, true)])], &Known::default());
    assert_eq!(code(&plan.verdicts[0]), Some(ErrorCode::BadRequest));
}

#[test]
fn a_pair_needs_no_set_up_and_a_group_does() {
    let pair = ConversationId::pair(AccountId(1), AccountId(2));
    let nowhere = ConversationId::group(99);
    let plan = decide(
        &[
            append(pair, 2, 1, "hi"),
            append(pair, 3, 2, "me too"),
            append(nowhere, 1, 3, "x"),
        ],
        &Known::default(),
    );
    assert_eq!(plan.verdicts[0], Verdict::Store(SequenceNumber(1)));
    assert_eq!(code(&plan.verdicts[1]), Some(ErrorCode::NotAMember));
    assert_eq!(code(&plan.verdicts[2]), Some(ErrorCode::NoSuchConversation));
}

#[test]
fn times_are_bounded() {
    let (g, known) = group(&[1]);
    let made = |at_ms| Append {
        message_id: ClientMessageId::new(at_ms, [1; 10]),
        ..append(g, 1, 1, "a")
    };
    let expired = Append {
        deliver_before_ms: NOW_MS,
        ..append(g, 1, 2, "b")
    };
    let batch = [
        made(NOW_MS - ID_HORIZON_MS - 1),
        made(NOW_MS + ID_AHEAD_MS_MAX + 1),
        expired,
    ];
    let plan = decide(&batch, &known);
    let codes: Vec<_> = plan.verdicts.iter().map(code).collect();
    let expected = [ErrorCode::TooOld, ErrorCode::BadRequest, ErrorCode::Expired];
    assert_eq!(codes, expected.map(Some));
}

#[test]
fn only_the_words_of_the_sender_itself_are_taken_back_and_only_once() {
    let (conversation, mut known) = group(&[1, 2]);
    let target = |sender, kind| Target {
        sender: AccountId(sender),
        kind,
    };
    let stored = [
        (1, target(1, EntryKind::Text)),
        (2, target(2, EntryKind::Data)),
        (3, target(1, EntryKind::Edit)),
        (4, target(1, EntryKind::Recalled)),
        (5, target(1, EntryKind::Membership)),
        (6, target(1, EntryKind::Command)),
        (7, target(1, EntryKind::Text)),
    ];
    let keyed = stored.map(|(n, target)| ((conversation, SequenceNumber(n)), target));
    known.targets = keyed.into();
    let about = |id, kind, n| Append {
        kind,
        target: Some(SequenceNumber(n)),
        ..append(conversation, 1, id, "about")
    };
    let (recall, edit) = (EntryKind::Recall, EntryKind::Edit);
    let (forbidden, gone) = (Err(ErrorCode::Forbidden), Err(ErrorCode::NoSuchEntry));
    let cases = [
        (edit, 1, Ok(11)),
        (edit, 1, Ok(12)),
        (recall, 1, Ok(13)),
        (recall, 1, gone),
        (edit, 1, gone),
        (recall, 2, forbidden),
        (edit, 3, forbidden),
        (recall, 3, Ok(14)),
        (recall, 4, gone),
        (recall, 5, forbidden),
        (recall, 6, forbidden),
        (edit, 8, gone),
        (edit, 7, Ok(15)),
    ];
    let batch: Vec<_> = (1..)
        .zip(cases)
        .map(|(id, (kind, n, _))| about(id, kind, n))
        .collect();
    let plan = plan(&batch, digest, &known, NOW_MS);
    for (verdict, (kind, n, expected)) in plan.verdicts.iter().zip(cases) {
        let found = match verdict {
            Verdict::Store(sequence) => Ok(sequence.0),
            Verdict::Refuse(refusal) => Err(refusal.code),
            Verdict::Duplicate { .. } | Verdict::NothingToDo => panic!("{verdict:?}"),
        };
        assert_eq!(found, expected, "{kind:?} {n}");
    }
    let head = &plan.heads[&conversation];
    assert_eq!((head.to.head.0, head.bytes), (15, 5 * 5));
}

#[test]
fn a_rule_refuses_what_is_new_and_never_a_repeat() {
    let (g, known) = group(&[1]);
    let refused = |id| Append {
        ruled: Ruled {
            refusal: Some(Refusal::new(ErrorCode::ContentBlocked, "no")),
            ..Ruled::default()
        },
        ..append(g, 1, id, "word")
    };
    let masked = |id, content| Append {
        content: Bytes::from_static(content),
        ruled: Ruled {
            original: Some(Bytes::from_static(b"word")),
            ..Ruled::default()
        },
        ..append(g, 1, id, "word")
    };
    // Sent plain, then masked, then refused: all the same message. And the other way about.
    let plan = decide(
        &[
            append(g, 1, 1, "word"),
            masked(1, b"****"),
            refused(1),
            refused(2),
            masked(3, b"****"),
            append(g, 1, 3, "word"),
            masked(3, b"w***"),
            append(g, 1, 3, "****"),
        ],
        &known,
    );
    assert_eq!(plan.verdicts[0], Verdict::Store(SequenceNumber(11)));
    for repeat in [1, 2] {
        assert!(matches!(plan.verdicts[repeat], Verdict::Duplicate { .. }));
    }
    assert_eq!(code(&plan.verdicts[3]), Some(ErrorCode::ContentBlocked));
    assert_eq!(plan.verdicts[4], Verdict::Store(SequenceNumber(12)));
    for repeat in [5, 6] {
        assert!(matches!(plan.verdicts[repeat], Verdict::Duplicate { .. }));
    }
    assert_eq!(code(&plan.verdicts[7]), Some(ErrorCode::Conflict));
}

#[test]
fn an_answer_is_to_an_entry_that_is_there() {
    let (g, known) = group(&[1]);
    let answers = |id, to| Append {
        reply_to: Some(SequenceNumber(to)),
        ..append(g, 1, id, "a")
    };
    let plan = decide(&[answers(1, 10), answers(2, 11), answers(3, 13)], &known);
    assert_eq!(plan.verdicts[0], Verdict::Store(SequenceNumber(11)));
    let own = Verdict::Store(SequenceNumber(12));
    assert_eq!(plan.verdicts[1], own, "one of the same batch");
    assert_eq!(code(&plan.verdicts[2]), Some(ErrorCode::NoSuchEntry));
}
