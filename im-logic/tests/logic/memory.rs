//! What the logic remembers, and how that never outlives what the store says.

use std::sync::Arc;

use im_logic::directory::Directory;
use im_logic::members::{MEMBER_AGE_MAX, Members};
use im_logic::send::Membership;
use im_logic::store::Deadline;
use protocol::kind::method;
use protocol::wire::Role;
use protocol::{AccountId, ErrorCode};
use service_kit::rpc::Request;
use tokio::time::Instant;

use crate::fake_store::{FakeStore, pair};
use crate::groups::change;
use crate::world::{ANA, CART, LIFT, PLANNER, WAIT, World, ephemeral, settle, text};

fn deadline() -> Deadline {
    Deadline::of(&Request {
        method: 0,
        body: bytes::Bytes::new(),
        deadline: Some(Instant::now() + WAIT),
    })
}

#[tokio::test]
async fn a_member_is_asked_for_once_and_again_when_it_was_removed() {
    let (mut world, logic) = World::start().await;
    let group = settle(&world.store);
    for said in ["C1", "C2", "C3"] {
        logic.send(LIFT, &ephemeral(group, said)).await.unwrap();
        world.passed_on().await;
    }
    assert_eq!(world.store.asked(method::MEMBERS), 1);
    let remove = change("remove", group, &[], &[LIFT]);
    logic.change(ANA, &remove).await.unwrap();
    let refused = logic.send(LIFT, &ephemeral(group, "C4")).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::NotAMember);
    // Nobody is remembered as a stranger.
    let add = change("add", group, &[LIFT], &[]);
    logic.change(ANA, &add).await.unwrap();
    logic.send(LIFT, &ephemeral(group, "C5")).await.unwrap();
}

#[tokio::test]
async fn the_repeat_of_an_old_change_brings_nobody_back() {
    let (world, logic) = World::start().await;
    let group = settle(&world.store);
    let add = change("add", group, &[CART], &[]);
    let remove = change("remove", group, &[], &[CART]);
    for change in [&add, &remove, &add] {
        logic.change(ANA, change).await.unwrap();
    }
    let refused = logic.send(CART, &ephemeral(group, "C1")).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::NotAMember);
}

#[tokio::test]
async fn an_answer_that_a_change_overtook_is_not_remembered() {
    let (world, logic) = World::start().await;
    let group = settle(&world.store);
    world.store.hold(method::MEMBERS);
    let first = logic.send(LIFT, &ephemeral(group, "C1"));
    world.store.is_asked(method::MEMBERS, 1).await;
    let remove = change("remove", group, &[], &[LIFT]);
    logic.change(ANA, &remove).await.unwrap();
    world.store.release();
    first.await.unwrap(); // It was a member when the store was asked.
    let refused = logic.send(LIFT, &ephemeral(group, "C2")).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::NotAMember);
}

#[tokio::test]
async fn a_change_through_another_logic_shows_at_once_in_what_is_stored_and_then_in_the_rest() {
    let (world, one) = World::start().await;
    let other = world.logic().await;
    let group = settle(&world.store);
    one.send(LIFT, &ephemeral(group, "C1")).await.unwrap();
    let remove = change("remove", group, &[], &[LIFT]);
    other.change(ANA, &remove).await.unwrap();
    let refused = one.send(LIFT, &text(group, "还在吗")).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::NotAMember);
    let refused = one.send(LIFT, &ephemeral(group, "C2")).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::NotAMember);
}

#[tokio::test]
async fn a_member_is_not_taken_for_one_for_longer_than_it_says() {
    let (world, _) = World::start().await;
    let group = settle(&world.store);
    let store = world.other_store().await;
    let directory = Arc::new(Directory::new(store.clone()));
    let members = Members::new(store, directory);
    let key = (group, AccountId(LIFT));
    let membership = |at| members.standing(key, at).membership;
    assert_eq!(membership(Instant::now()), Membership::Unknown);
    let before = Instant::now();
    let asked = members.ask(key, deadline()).await.unwrap();
    assert_eq!(asked.membership, Membership::Member(Role::Member));
    assert_eq!(membership(Instant::now()), Membership::Member(Role::Member));
    let late = Instant::now() + MEMBER_AGE_MAX;
    assert_eq!(membership(late), Membership::Unknown);
    assert_eq!(membership(before), Membership::Member(Role::Member));
    members.forget_all();
    assert_eq!(membership(Instant::now()), Membership::Unknown);
}

#[tokio::test]
async fn accounts_that_are_forgotten_meanwhile_are_not_missed() {
    let (world, _) = World::start().await;
    settle(&world.store);
    let directory = Directory::new(world.other_store().await);
    let (ana, planner) = (AccountId(ANA), AccountId(PLANNER));
    directory.one(ana, deadline()).await.unwrap();
    world.store.hold(method::LOOK_UP_ACCOUNTS);
    let both = [ana, planner];
    let asking = directory.all(&both, deadline());
    let forgetting = async {
        world.store.is_asked(method::LOOK_UP_ACCOUNTS, 2).await;
        directory.forget_all();
        world.store.release();
    };
    let (found, ()) = tokio::join!(asking, forgetting);
    let found: Vec<_> = found.unwrap().iter().map(|p| p.account).collect();
    assert_eq!(found, both);
}

#[tokio::test]
async fn a_store_that_was_set_up_anew_is_asked_about_everybody_again() {
    let (mut world, mut logic) = World::start().await;
    let group = settle(&world.store);
    logic.send(LIFT, &ephemeral(group, "C1")).await.unwrap();
    logic
        .send(ANA, &text(pair(ANA, CART), "你好"))
        .await
        .unwrap();

    world.store_drain.finish(WAIT).await;
    world.store = Arc::new(FakeStore::default());
    world.start_store().await;
    logic.store_comes_up(2).await;
    for (sender, send, code) in [
        (LIFT, ephemeral(group, "C2"), ErrorCode::NoSuchConversation),
        (
            ANA,
            text(pair(ANA, CART), "还在吗"),
            ErrorCode::NoSuchAccount,
        ),
    ] {
        let refused = logic.send(sender, &send).await.unwrap_err();
        assert_eq!(refused.code, code, "{refused}");
    }
}
