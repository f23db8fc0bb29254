//! Groups: who makes and changes them, and what a repeat does.

use protocol::kind::{client, method};
use protocol::wire::{AccountKind, ChangeMembers, CreateGroup, GroupCreated, MembersChanged};
use protocol::{ConversationId, ErrorCode, Refusal};

use crate::fake_store::pair;
use crate::world::{ANA, CART, LIFT, Logic, PLANNER, World, message_id, settle};

fn group_of(what: &str, members: &[u64]) -> CreateGroup {
    CreateGroup {
        client_message_id: message_id(what).to_bytes(),
        name: "A区 巡检".into(),
        members: members.to_vec(),
        history_open: false,
    }
}

pub(crate) fn change(
    what: &str,
    conversation: ConversationId,
    add: &[u64],
    remove: &[u64],
) -> ChangeMembers {
    ChangeMembers {
        conversation_id: conversation.to_bytes(),
        client_message_id: message_id(what).to_bytes(),
        add: add.to_vec(),
        remove: remove.to_vec(),
        ..ChangeMembers::default()
    }
}

impl Logic {
    async fn create(&self, by: u64, request: &CreateGroup) -> Result<GroupCreated, Refusal> {
        self.client(by, client::CREATE_GROUP, request).await
    }

    pub(crate) async fn change(&self, by: u64, request: &ChangeMembers) -> Result<u64, Refusal> {
        let changed: MembersChanged = self.client(by, client::CHANGE_MEMBERS, request).await?;
        Ok(changed.sequence)
    }
}

#[tokio::test]
async fn a_group_has_its_creator_and_those_who_were_asked_for() {
    let (world, logic) = World::start().await;
    settle(&world.store);
    let request = group_of("make", &[CART, LIFT, CART, ANA]);
    let made = logic.create(ANA, &request).await.unwrap();
    assert_eq!(made.head, 1);
    let id = ConversationId::from_slice(&made.conversation_id).unwrap();
    assert_eq!(world.store.members(id), [ANA, LIFT, CART]);

    let again = logic.create(ANA, &request).await.unwrap();
    assert_eq!(again, made);
    assert_eq!(world.store.groups(), 2, "this one and the first");
    let other = logic.create(PLANNER, &group_of("make", &[])).await.unwrap();
    assert_ne!(other.conversation_id, made.conversation_id);
    let conflict = logic.create(ANA, &group_of("make", &[PLANNER])).await;
    assert_eq!(conflict.unwrap_err().code, ErrorCode::Conflict);
}

#[tokio::test]
async fn a_large_group_is_made_in_several_entries_which_a_repeat_ends() {
    let (world, logic) = World::start().await;
    settle(&world.store);
    let many: Vec<_> = (1000..6000).collect();
    for id in &many {
        world.store.account(AccountKind::Robot, *id);
    }
    let request = group_of("many", &many);
    let made = logic.create(ANA, &request).await.unwrap();
    assert_eq!(made.head, 3);
    let id = ConversationId::from_slice(&made.conversation_id).unwrap();
    assert_eq!(world.store.members(id).len(), many.len() + 1);
    assert_eq!(logic.create(ANA, &request).await.unwrap(), made);
    assert_eq!(world.store.log().len(), 3);
}

#[tokio::test]
async fn a_group_that_may_not_be_made_is_refused() {
    let (world, logic) = World::start().await;
    settle(&world.store);
    let nameless = CreateGroup {
        name: "  ".into(),
        ..group_of("a", &[])
    };
    let no_id = CreateGroup {
        client_message_id: vec![1, 2].into(),
        ..group_of("a", &[])
    };
    for (by, request, code) in [
        (LIFT, group_of("a", &[ANA]), ErrorCode::Forbidden),
        (ANA, group_of("a", &[LIFT, 999]), ErrorCode::NoSuchAccount),
        (ANA, nameless, ErrorCode::BadRequest),
        (ANA, no_id, ErrorCode::BadRequest),
    ] {
        let refused = logic.create(by, &request).await.unwrap_err();
        assert_eq!(refused.code, code, "{refused}");
    }
    assert_eq!(world.store.groups(), 1);
}

#[tokio::test]
async fn members_are_added_and_removed_once() {
    let (world, logic) = World::start().await;
    let group = settle(&world.store);
    let swap = change("swap", group, &[CART], &[LIFT]);
    assert_eq!(logic.change(PLANNER, &swap).await.unwrap(), 1);
    assert_eq!(world.store.members(group), [ANA, PLANNER, CART]);
    let back = change("back", group, &[LIFT], &[]);
    assert_eq!(logic.change(ANA, &back).await.unwrap(), 2);
    // A repeat is told of the first, and changes nothing.
    assert_eq!(logic.change(PLANNER, &swap).await.unwrap(), 1);
    assert_eq!(world.store.members(group), [ANA, PLANNER, LIFT, CART]);
    let nothing = change("nothing", group, &[LIFT], &[]);
    assert_eq!(logic.change(ANA, &nothing).await.unwrap(), 0);
}

#[tokio::test]
async fn everybody_may_leave() {
    let (world, logic) = World::start().await;
    let group = settle(&world.store);
    let leave = change("leave", group, &[], &[LIFT]);
    assert_eq!(logic.change(LIFT, &leave).await.unwrap(), 1);
    assert_eq!(logic.change(LIFT, &leave).await.unwrap(), 1, "a repeat");
    let replace = change("replace", group, &[CART], &[ANA]);
    assert_eq!(logic.change(ANA, &replace).await.unwrap(), 2);
    assert_eq!(world.store.members(group), [PLANNER, CART]);
}

#[tokio::test]
async fn changes_that_may_not_be_made_are_refused() {
    let (world, logic) = World::start().await;
    let group = settle(&world.store);
    let nowhere = ConversationId::group(99);
    for (by, request, code) in [
        (LIFT, change("a", group, &[CART], &[]), ErrorCode::Forbidden),
        (LIFT, change("a", group, &[], &[ANA]), ErrorCode::Forbidden),
        (
            LIFT,
            change("a", group, &[], &[ANA, LIFT]),
            ErrorCode::Forbidden,
        ),
        (
            CART,
            change("a", group, &[], &[CART]),
            ErrorCode::NotAMember,
        ),
        (
            ANA,
            change("a", group, &[999], &[]),
            ErrorCode::NoSuchAccount,
        ),
        (ANA, change("a", group, &[], &[]), ErrorCode::BadRequest),
        (
            ANA,
            change("a", nowhere, &[LIFT], &[]),
            ErrorCode::NoSuchConversation,
        ),
        (
            ANA,
            change("a", pair(ANA, LIFT), &[CART], &[]),
            ErrorCode::BadRequest,
        ),
    ] {
        let refused = logic.change(by, &request).await.unwrap_err();
        assert_eq!(refused.code, code, "{by} {request:?}: {refused}");
    }
    assert_eq!(world.store.members(group), [ANA, PLANNER, LIFT]);
    let other = logic.create(PLANNER, &group_of("other", &[])).await;
    let other = ConversationId::from_slice(&other.unwrap().conversation_id).unwrap();
    let refused = logic.change(ANA, &change("b", other, &[ANA], &[])).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::NotAMember);
    assert!(world.store.asked(method::MEMBERS) == 0, "the store checks");
}
