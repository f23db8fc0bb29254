//! The registry by example: who gets what, who is told of joins and leaves, what the router hears.

use bytes::BytesMut;
use protocol::FrameCodec;
use protocol::limits::FRAME_BYTES_MAX;
use protocol::wire::{self, Priority};
use tokio_util::codec::Decoder as _;

use super::*;

const ANNA: AccountId = AccountId(1);
const BEN: AccountId = AccountId(2);

fn group() -> ConversationId {
    ConversationId::group(7)
}

fn membership(joined: u64) -> Membership {
    Membership {
        conversation_id: group().to_bytes(),
        name: "仓库".into(),
        joined_sequence: joined,
        ..Membership::default()
    }
}

fn session(registry: &Registry, id: u64, account: AccountId) -> Arc<SessionHandle> {
    let handle = Arc::new(SessionHandle::new(SessionId(id), account, false));
    handle.welcome(&Frame::notice(client::WELCOME, &wire::Welcome::default()));
    registry.arrive(&handle, 2);
    told(&handle);
    handle
}

/// Settles the account into the group.
fn settle(registry: &Registry, account: AccountId, joined: u64) -> (Routes, Routes) {
    let asked_at = registry.next_tick();
    registry
        .settle(account, &[membership(joined)], asked_at, None)
        .unwrap()
}

fn answer(registry: &Registry, members: &[AccountId], as_of: u64) -> Routes {
    let question = registry.question(group()).expect("it is unknown");
    let members = members.iter().copied().collect();
    registry.answered(&question, members, SequenceNumber(as_of))
}

/// What went into the session's outbox, by kind.
fn told(handle: &SessionHandle) -> Vec<u16> {
    let mut buffer = BytesMut::new();
    while handle.take_into(&mut buffer, usize::MAX, 0) {}
    let mut codec = FrameCodec::new(FRAME_BYTES_MAX);
    let mut kinds = Vec::new();
    while let Some(frame) = codec.decode(&mut buffer).unwrap() {
        kinds.push(frame.kind);
    }
    kinds
}

fn push(conversation: ConversationId, sequence: u64) -> Push {
    let frame = Frame::notice(client::PUSH, &wire::Push::default());
    Push {
        conversation,
        first: SequenceNumber(sequence),
        last: SequenceNumber(sequence),
        priority: Priority::Chat,
        deliver_before_ms: 0,
        frame: SharedFrame::from(&frame),
    }
}

fn moved(previous: u64, sequence: u64, joined: &[AccountId], left: &[AccountId]) -> Move {
    Move {
        previous: SequenceNumber(previous),
        sequence: SequenceNumber(sequence),
        joined: joined.into(),
        left: left.into(),
    }
}

const fn at(sequence: u64) -> SequenceNumber {
    SequenceNumber(sequence)
}

#[test]
fn the_router_hears_of_the_first_and_the_last_session_of_an_account() {
    let registry = Registry::default();
    let handles = [1, 2].map(|id| Arc::new(SessionHandle::new(SessionId(id), ANNA, false)));
    let routes = handles
        .each_ref()
        .map(|handle| registry.arrive(handle, 2).0);
    assert_eq!(routes[0].accounts, [ANNA]);
    assert_eq!(routes[1], Routes::default());
    let (new, _) = settle(&registry, ANNA, 1);
    assert_eq!(new.groups, [group()]);
    assert_eq!(registry.everything().groups, [group()]);
    assert_eq!(registry.leave(&handles[0]), Routes::default());
    let gone = registry.leave(&handles[1]);
    assert_eq!(
        (&gone.groups[..], &gone.accounts[..]),
        (&[group()][..], &[ANNA][..])
    );
    assert_eq!(registry.everything(), Routes::default());
}

#[test]
fn the_oldest_session_makes_room() {
    let registry = Registry::default();
    let first = session(&registry, 1, ANNA);
    session(&registry, 2, ANNA);
    let third = Arc::new(SessionHandle::new(SessionId(3), ANNA, false));
    let (_, evicted) = registry.arrive(&third, 2);
    assert_eq!(evicted.unwrap().session, first.session);
    // It leaves when it is gone already.
    assert_eq!(registry.leave(&first), Routes::default());
}

#[test]
fn entries_go_to_members_and_heads_until_the_view_is_known() {
    let registry = Registry::default();
    let (anna, ben) = (session(&registry, 1, ANNA), session(&registry, 2, BEN));
    settle(&registry, ANNA, 1);
    assert_eq!(told(&anna), [client::MEMBERSHIP_NOTICE]);
    assert_eq!(
        registry.push(&push(group(), 2), at(1)),
        Sent::Heads { sessions: 1 }
    );
    assert_eq!(told(&anna), [client::HEAD]);
    answer(&registry, &[ANNA], 1);
    assert_eq!(
        registry.push(&push(group(), 3), at(1)),
        Sent::Entries { sessions: 1 }
    );
    // Told by another router, or again.
    registry.push(&push(group(), 3), at(1));
    assert_eq!(told(&anna), [client::PUSH]);
    assert!(told(&ben).is_empty());
}

#[test]
fn pairs_need_no_view_and_one_with_oneself_is_told_once() {
    let registry = Registry::default();
    let anna = session(&registry, 1, ANNA);
    let with_ben = ConversationId::pair(ANNA, BEN);
    assert_eq!(
        registry.push(&push(with_ben, 1), at(0)),
        Sent::Entries { sessions: 1 }
    );
    let alone = ConversationId::pair(ANNA, ANNA);
    assert_eq!(
        registry.push(&push(alone, 1), at(0)),
        Sent::Entries { sessions: 1 }
    );
    registry.head(with_ben, at(4));
    assert_eq!(told(&anna), [client::PUSH, client::PUSH, client::HEAD]);
}

#[test]
fn of_a_pair_an_older_entry_is_not_pushed_after_a_newer_one() {
    let registry = Registry::default();
    let anna = session(&registry, 1, ANNA);
    let with_ben = ConversationId::pair(ANNA, BEN);
    registry.push(&push(with_ben, 3), at(0));
    // A session that comes later has its own order.
    let later = session(&registry, 2, ANNA);
    registry.push(&push(with_ben, 2), at(0));
    registry.push(&push(with_ben, 4), at(0));
    assert_eq!(told(&anna), [client::PUSH, client::PUSH]);
    assert_eq!(told(&later), [client::PUSH, client::PUSH]);
}

#[test]
fn joining_is_news_once_and_leaving_comes_after_its_entry() {
    let registry = Registry::default();
    let (anna, ben) = (session(&registry, 1, ANNA), session(&registry, 2, BEN));
    settle(&registry, ANNA, 1);
    answer(&registry, &[ANNA], 1);
    told(&anna);

    let new = registry.moved(group(), moved(1, 2, &[BEN], &[]), &membership(2));
    assert_eq!(new, Routes::default(), "the group is here already");
    registry.push(&push(group(), 2), at(2));
    assert_eq!(told(&ben), [client::MEMBERSHIP_NOTICE, client::PUSH]);
    settle(&registry, BEN, 2);
    assert!(told(&ben).is_empty());

    registry.moved(group(), moved(2, 3, &[], &[ANNA]), &membership(3));
    registry.push(&push(group(), 3), at(3));
    registry.push(&push(group(), 4), at(3));
    assert_eq!(
        told(&anna),
        [client::PUSH, client::PUSH, client::MEMBERSHIP_NOTICE]
    );
    assert_eq!(told(&ben), [client::PUSH, client::PUSH]);
}

#[test]
fn a_group_that_the_last_member_leaves_is_forgotten_when_that_is_told() {
    let registry = Registry::default();
    let anna = session(&registry, 1, ANNA);
    settle(&registry, ANNA, 1);
    answer(&registry, &[ANNA], 1);
    told(&anna);
    registry.moved(group(), moved(1, 2, &[], &[ANNA]), &membership(2));
    assert!(!registry.is_deserted(group()));
    // Its entry is told by its head alone.
    registry.head(group(), at(2));
    assert_eq!(told(&anna), [client::MEMBERSHIP_NOTICE, client::HEAD]);
    assert!(registry.is_deserted(group()));
    assert_eq!(registry.tidy(group()).groups, [group()]);
}

#[test]
fn memberships_that_a_move_overtook_are_not_believed() {
    let registry = Registry::default();
    let ben = session(&registry, 2, BEN);
    let asked_at = registry.next_tick();
    let new = registry.moved(group(), moved(1, 2, &[BEN], &[]), &membership(2));
    assert_eq!(new.groups, [group()]);
    assert_eq!(registry.settle(BEN, &[], asked_at, None), Err(Overtaken));
    assert_eq!(told(&ben), [client::MEMBERSHIP_NOTICE]);
    let (_, gone) = registry
        .settle(BEN, &[], registry.next_tick(), None)
        .unwrap();
    assert_eq!(gone.groups, [group()]);
    assert_eq!(told(&ben), [client::MEMBERSHIP_NOTICE]);
}

#[test]
fn one_that_an_answer_does_not_name_has_left() {
    let registry = Registry::default();
    let (anna, ben) = (session(&registry, 1, ANNA), session(&registry, 2, BEN));
    settle(&registry, ANNA, 1);
    settle(&registry, BEN, 1);
    assert_eq!(told(&ben), [client::MEMBERSHIP_NOTICE]);
    answer(&registry, &[ANNA], 5);
    assert_eq!(told(&ben), [client::MEMBERSHIP_NOTICE]);
    registry.push(&push(group(), 6), at(5));
    assert_eq!(told(&anna), [client::MEMBERSHIP_NOTICE, client::PUSH]);
    assert!(told(&ben).is_empty());
}

#[test]
fn after_a_doubt_only_heads_are_told_and_nothing_ephemeral() {
    let registry = Registry::default();
    let anna = session(&registry, 1, ANNA);
    settle(&registry, ANNA, 1);
    answer(&registry, &[ANNA], 1);
    told(&anna);
    let key = |sender| EphemeralKey {
        conversation: group(),
        sender,
        key: "位置".into(),
    };
    let frame = SharedFrame::from(&Frame::notice(
        client::EPHEMERAL,
        &wire::Ephemeral::default(),
    ));
    assert_eq!(registry.ephemeral(&key(BEN), &frame), Some(1));
    assert_eq!(
        registry.ephemeral(&key(ANNA), &frame),
        Some(0),
        "not to its sender"
    );
    assert_eq!(registry.accounts(), [ANNA]);
    registry.doubt();
    assert_eq!(registry.ephemeral(&key(BEN), &frame), None);
    registry.push(&push(group(), 2), at(1));
    assert_eq!(told(&anna), [client::HEAD, client::EPHEMERAL]);
}

#[test]
fn what_was_pushed_while_memberships_were_read_is_told_by_its_head() {
    let registry = Registry::default();
    session(&registry, 1, ANNA);
    settle(&registry, ANNA, 1);
    answer(&registry, &[ANNA], 1);
    let ben = session(&registry, 2, BEN);
    // Read before the entry was committed, and settled after it was pushed to who was here.
    let asked_at = registry.next_tick();
    registry.push(&push(group(), 2), at(1));
    let read = Membership {
        head: 1,
        ..membership(1)
    };
    let settled = registry.settle(BEN, &[read], asked_at, Some(ben.session));
    assert_eq!(settled, Ok((Routes::default(), Routes::default())));
    assert_eq!(told(&ben), [client::HEAD]);
}

#[test]
fn memberships_that_were_read_before_others_are_not_believed_after_them() {
    let registry = Registry::default();
    session(&registry, 1, ANNA);
    let (older, newer) = (registry.next_tick(), registry.next_tick());
    registry
        .settle(ANNA, &[membership(1)], newer, None)
        .unwrap();
    assert_eq!(registry.settle(ANNA, &[], older, None), Err(Overtaken));
    assert_eq!(registry.everything().groups, [group()]);
}

#[test]
fn one_that_is_back_is_not_told_that_it_left() {
    let registry = Registry::default();
    let (anna, _ben) = (session(&registry, 1, ANNA), session(&registry, 2, BEN));
    settle(&registry, ANNA, 1);
    settle(&registry, BEN, 1);
    answer(&registry, &[ANNA, BEN], 1);
    told(&anna);
    // The entry by which she left was lost on the way.
    registry.moved(group(), moved(1, 2, &[], &[ANNA]), &membership(2));
    registry.moved(group(), moved(2, 3, &[ANNA], &[]), &membership(3));
    registry.push(&push(group(), 3), at(3));
    assert_eq!(told(&anna), [client::MEMBERSHIP_NOTICE, client::PUSH]);
}

#[test]
fn a_group_that_nobody_here_is_in_is_given_back() {
    let registry = Registry::default();
    // The router counts us in when an account of ours joins, even if it has left us by then.
    registry.moved(group(), moved(1, 2, &[BEN], &[]), &membership(2));
    assert_eq!(registry.push(&push(group(), 2), at(2)), Sent::Nothing);
    assert!(registry.is_deserted(group()));
    assert_eq!(registry.tidy(group()).groups, [group()]);
    let pair = ConversationId::pair(ANNA, BEN);
    assert!(!registry.is_deserted(pair));
}

#[test]
fn a_move_that_an_answer_was_ahead_of_takes_nobody_out_of_its_group() {
    let registry = Registry::default();
    let anna = session(&registry, 1, ANNA);
    settle(&registry, ANNA, 1);
    // She left by entry 5 and was back by 6 when it was asked.
    answer(&registry, &[ANNA], 6);
    registry.moved(group(), moved(1, 5, &[], &[ANNA]), &membership(5));
    assert_eq!(registry.leave(&anna).groups, [group()]);
    assert_eq!(registry.everything(), Routes::default());
}
