//! The view by example: when entries go out, when only heads do, and what an answer is worth.

use super::*;

const ANNA: AccountId = AccountId(1);
const BEN: AccountId = AccountId(2);
const CHEN: AccountId = AccountId(3);

const fn at(sequence: u64) -> SequenceNumber {
    SequenceNumber(sequence)
}

fn moved(previous: u64, sequence: u64, joined: &[AccountId], left: &[AccountId]) -> Move {
    Move {
        previous: at(previous),
        sequence: at(sequence),
        joined: joined.into(),
        left: left.into(),
    }
}

fn answer(view: &mut View, members: &[AccountId], as_of: u64, asked_at: u64, now: u64) {
    let asked = view.question().expect("it is unknown");
    let members = members.iter().copied().collect();
    view.answered(&asked, members, at(as_of), (Tick(asked_at), Tick(now)));
}

#[test]
fn an_answer_names_those_who_are_no_members_any_more() {
    let mut view = View::default();
    view.admit(ANNA, at(1), Tick(0));
    view.admit(BEN, at(1), Tick(0));
    let asked = view.question().unwrap();
    let gone = view.answered(&asked, [ANNA].into(), at(6), (Tick(0), Tick(1)));
    assert_eq!(gone, [BEN]);
}

#[test]
fn one_that_an_answer_did_not_know_joins_by_its_move_all_the_same() {
    let mut view = View::default();
    view.admit(ANNA, at(1), Tick(0));
    answer(&mut view, &[ANNA], 6, 0, 1);
    view.moved(&moved(1, 6, &[BEN], &[]), Tick(2));
    assert_eq!(view.question(), Some(vec![ANNA, BEN]));
}

/// Anna is a member as of entry 1.
fn known() -> View {
    let mut view = View::default();
    view.admit(ANNA, at(1), Tick(0));
    answer(&mut view, &[ANNA], 1, 0, 1);
    view
}

#[test]
fn an_unknown_view_tells_heads_until_it_is_answered() {
    let mut view = View::default();
    view.admit(ANNA, at(1), Tick(0));
    assert_eq!(view.recipients(at(1), at(2)), Recipients::Heads(vec![ANNA]));
    answer(&mut view, &[ANNA], 1, 0, 1);
    assert_eq!(view.question(), None);
    let entries = view.recipients(at(1), at(3));
    assert_eq!(entries, Recipients::Entries(vec![ANNA]));
}

#[test]
fn one_that_connects_later_is_a_member_at_once_if_nothing_changed_since_it_was_asked() {
    let mut view = known();
    view.admit(BEN, at(1), Tick(1));
    let entries = view.recipients(at(1), at(2));
    assert_eq!(entries, Recipients::Entries(vec![ANNA, BEN]));
    // Asked before the view was known, or joined after it: doubtful.
    for (joined, asked_at) in [(1, 0), (5, 1)] {
        let mut view = known();
        view.admit(BEN, at(joined), Tick(asked_at));
        let heads = view.recipients(at(1), at(2));
        assert_eq!(heads, Recipients::Heads(vec![ANNA, BEN]));
        assert_eq!(view.question(), Some(vec![ANNA, BEN]));
    }
}

#[test]
fn a_move_that_follows_is_applied_and_one_that_does_not_is_asked_about() {
    let mut view = known();
    view.moved(&moved(1, 4, &[BEN], &[]), Tick(2));
    let entries = view.recipients(at(4), at(4));
    assert_eq!(entries, Recipients::Entries(vec![ANNA, BEN]));
    view.moved(&moved(9, 10, &[CHEN], &[]), Tick(3));
    let heads = view.recipients(at(10), at(10));
    assert_eq!(heads, Recipients::Heads(vec![ANNA, BEN, CHEN]));
    assert_eq!(view.question(), Some(vec![ANNA, BEN, CHEN]));
    assert_eq!(view.question(), None, "one question at a time");
}

#[test]
fn a_leaver_gets_the_entry_by_which_it_leaves_and_nothing_after() {
    let mut view = known();
    view.admit(BEN, at(1), Tick(1));
    view.moved(&moved(1, 4, &[], &[BEN]), Tick(2));
    assert_eq!(view.take_leavers(at(3)), []);
    let entries = view.recipients(at(4), at(4));
    assert_eq!(entries, Recipients::Entries(vec![ANNA, BEN]));
    assert_eq!(view.take_leavers(at(4)), [BEN]);
    let entries = view.recipients(at(4), at(5));
    assert_eq!(entries, Recipients::Entries(vec![ANNA]));
}

#[test]
fn the_last_to_leave_is_owed_its_entry_too() {
    let mut view = known();
    view.moved(&moved(1, 4, &[], &[ANNA]), Tick(2));
    assert!(!view.is_empty());
    let entries = view.recipients(at(4), at(4));
    assert_eq!(entries, Recipients::Entries(vec![ANNA]));
    view.take_leavers(at(4));
    assert!(view.is_empty());
}

#[test]
fn entries_of_another_view_are_never_shown() {
    let mut view = known();
    // Committed under a later membership entry, whose move was lost.
    let heads = view.recipients(at(5), at(6));
    assert_eq!(heads, Recipients::Heads(vec![ANNA]));
    assert_eq!(view.question(), Some(vec![ANNA]));
    // Committed under an earlier one: an answer was ahead of the stream.
    let mut view = View::default();
    view.admit(ANNA, at(9), Tick(0));
    answer(&mut view, &[ANNA], 9, 0, 1);
    let heads = view.recipients(at(5), at(6));
    assert_eq!(heads, Recipients::Heads(vec![ANNA]));
}

#[test]
fn an_answer_that_a_change_overtook_is_no_answer() {
    let mut view = View::default();
    view.admit(ANNA, at(1), Tick(0));
    let asked = view.question().unwrap();
    view.moved(&moved(1, 4, &[], &[ANNA]), Tick(2));
    view.admit(BEN, at(1), Tick(2));
    view.answered(&asked, [ANNA].into(), at(1), (Tick(1), Tick(3)));
    let heads = view.recipients(at(4), at(5));
    assert_eq!(heads, Recipients::Heads(vec![BEN]));
    assert_eq!(view.question(), Some(vec![BEN]));
}

#[test]
fn an_answer_without_all_who_are_here_is_no_answer() {
    let mut view = View::default();
    view.admit(ANNA, at(1), Tick(0));
    let asked = view.question().unwrap();
    view.admit(BEN, at(1), Tick(0));
    view.answered(&asked, [ANNA].into(), at(1), (Tick(0), Tick(1)));
    assert_eq!(view.question(), Some(vec![ANNA, BEN]));
}

#[test]
fn an_answer_that_is_ahead_outlives_the_moves_that_it_knows() {
    let mut view = View::default();
    view.admit(ANNA, at(1), Tick(0));
    view.admit(BEN, at(1), Tick(0));
    answer(&mut view, &[ANNA], 6, 0, 1);
    view.moved(&moved(1, 6, &[], &[BEN]), Tick(2));
    let entries = view.recipients(at(6), at(7));
    assert_eq!(entries, Recipients::Entries(vec![ANNA]));
}

#[test]
fn a_doubtful_view_shows_nothing_until_it_is_asked_for() {
    let mut view = known();
    view.doubt(Tick(2));
    assert_eq!(view.known_members(), None);
    view.admit(BEN, at(1), Tick(1));
    answer(&mut view, &[ANNA, BEN], 1, 2, 3);
    assert_eq!(view.known_members().unwrap().len(), 2);
    view.dismiss(BEN);
    assert_eq!(view.known_members().unwrap().len(), 1);
}
