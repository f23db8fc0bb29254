//! Lists and cards: members, conversations, capabilities, names.

use protocol::ErrorCode;
use protocol::kind::{client, method};
use protocol::limits::FIND_ACCOUNTS_MAX;
use protocol::wire::internal::{CheckMembers, CheckedMembers, Memberships, MembershipsPage};
use protocol::wire::{
    AccountKind, AccountsFound, ActionSpec, Announce, Announced, CapabilityCard, ConversationPage,
    FindAccounts, ListConversations, ListMembers, ListOnline, MemberPage, OnlinePage,
};

use crate::world::{ANA, CART, LIFT, PLANNER, World, settle};

fn card(action: &str, schema: &str) -> Announce {
    let action = ActionSpec {
        name: action.into(),
        description: "抬起一个箱子".into(),
        arguments_schema_json: schema.into(),
        ..ActionSpec::default()
    };
    Announce {
        capabilities: Some(CapabilityCard {
            model: "forklift-2t".into(),
            actions: vec![action],
            ..CapabilityCard::default()
        }),
    }
}

#[tokio::test]
async fn a_robot_declares_what_it_can_and_others_find_it() {
    let (world, logic) = World::start().await;
    let group = settle(&world.store);
    let lift = card("lift", r#"{"type":"object"}"#);
    let announced = logic.client::<Announced>(LIFT, client::ANNOUNCE, &lift);
    announced.await.unwrap();
    for (by, announce, code) in [
        (ANA, &lift, ErrorCode::Forbidden),
        (PLANNER, &lift, ErrorCode::Forbidden),
        (CART, &card("two words", "{}"), ErrorCode::BadRequest),
        (CART, &card("lift", "["), ErrorCode::BadRequest),
    ] {
        let refused = logic.client::<Announced>(by, client::ANNOUNCE, announce);
        assert_eq!(refused.await.unwrap_err().code, code);
    }

    let names = vec![format!("a{LIFT}"), "nobody".into()];
    let find = FindAccounts { names };
    let found: AccountsFound = logic
        .client(ANA, client::FIND_ACCOUNTS, &find)
        .await
        .unwrap();
    assert_eq!(found.accounts.len(), 1);
    assert_eq!(found.accounts[0].account_id, LIFT);
    assert_eq!(found.accounts[0].capabilities, lift.capabilities);
    let names = vec!["x".into(); FIND_ACCOUNTS_MAX + 1];
    let refused =
        logic.client::<AccountsFound>(ANA, client::FIND_ACCOUNTS, &FindAccounts { names });
    assert_eq!(refused.await.unwrap_err().code, ErrorCode::LimitReached);

    let list = ListMembers {
        conversation_id: group.to_bytes(),
        ..ListMembers::default()
    };
    let page: MemberPage = logic
        .client(ANA, client::LIST_MEMBERS, &list)
        .await
        .unwrap();
    let ids: Vec<_> = page.members.iter().map(|m| m.account_id).collect();
    assert_eq!((&ids[..], page.more), (&[ANA, PLANNER, LIFT][..], false));
    assert_eq!(page.members[2].capabilities, lift.capabilities);
    let refused = logic.client::<MemberPage>(CART, client::LIST_MEMBERS, &list);
    assert_eq!(refused.await.unwrap_err().code, ErrorCode::NotAMember);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let (world, logic) = World::start().await;
    settle(&world.store);
    for id in 100..400 {
        world.store.account(AccountKind::Robot, id);
    }
    let everybody: Vec<_> = (100..400).chain([ANA]).collect();
    for id in 1000..1300 {
        world.store.group(id, &everybody);
    }
    let group = world.store.group(1000, &everybody);
    let mut list = ListMembers {
        conversation_id: group.to_bytes(),
        ..ListMembers::default()
    };
    let mut members = Vec::new();
    for more in [true, false] {
        let page = logic.client::<MemberPage>(ANA, client::LIST_MEMBERS, &list);
        let page = page.await.unwrap();
        assert_eq!(page.more, more);
        members.extend(page.members.iter().map(|member| member.account_id));
        list.after_account_id = *members.last().unwrap();
    }
    members.rotate_left(1);
    assert_eq!(members, everybody);

    let mut list = ListConversations::default();
    let mut count = 0;
    for more in [true, false] {
        let page = logic.client::<ConversationPage>(ANA, client::LIST_CONVERSATIONS, &list);
        let page = page.await.unwrap();
        assert_eq!(page.more, more);
        count += page.memberships.len();
        let last = page.memberships.last().unwrap();
        list.after_conversation_id = last.conversation_id.clone();
    }
    assert_eq!(count, 301);
    list.after_conversation_id.truncate(3);
    let refused = logic.client::<ConversationPage>(ANA, client::LIST_CONVERSATIONS, &list);
    assert_eq!(refused.await.unwrap_err().code, ErrorCode::BadRequest);

    let ask = Memberships {
        account_id: ANA,
        limit: 2,
        ..Memberships::default()
    };
    let page: MembershipsPage = logic.ask(method::MEMBERSHIPS, &ask).await.unwrap();
    assert_eq!((page.memberships.len(), page.more), (2, true));
}

#[tokio::test]
async fn a_gateway_learns_which_of_its_accounts_are_members() {
    let (world, logic) = World::start().await;
    let group = settle(&world.store);
    let ask = CheckMembers {
        conversation_id: group.to_bytes(),
        account_ids: vec![CART, LIFT, ANA, 999, 1],
    };
    let checked: CheckedMembers = logic.ask(method::CHECK_MEMBERS, &ask).await.unwrap();
    assert_eq!(checked.members, [ANA, LIFT]);
    assert_eq!(checked.membership_sequence, 1);
    let nowhere = CheckMembers {
        conversation_id: vec![0; 3].into(),
        ..ask
    };
    let refused = logic.ask::<CheckedMembers>(method::CHECK_MEMBERS, &nowhere);
    assert_eq!(refused.await.unwrap_err().code, ErrorCode::BadRequest);
}

#[tokio::test]
async fn operators_see_who_is_online_a_page_at_a_time() {
    let (world, logic) = World::start().await;
    settle(&world.store);
    let mut list = ListOnline {
        limit: 2,
        ..ListOnline::default()
    };
    let mut seen = Vec::new();
    for more in [true, false] {
        let page: OnlinePage = logic.client(ANA, client::LIST_ONLINE, &list).await.unwrap();
        assert_eq!(page.more, more);
        seen.extend(page.accounts.iter().map(|account| account.account_id));
        assert!(page.accounts.iter().all(|account| !account.name.is_empty()));
        list.after_account_id = *seen.last().unwrap();
    }
    let mut all = vec![ANA, LIFT, CART];
    all.sort_unstable();
    assert_eq!(seen, all);
    let refused = logic.client::<OnlinePage>(LIFT, client::LIST_ONLINE, &list);
    assert_eq!(refused.await.unwrap_err().code, ErrorCode::Forbidden);
}
