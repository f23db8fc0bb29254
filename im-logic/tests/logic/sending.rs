//! Messages: which go to the store, which to the router, and which go nowhere.

use std::time::Duration;

use bytes::Bytes;
use protocol::kind::{client, method};
use protocol::limits::CONTENT_BYTES_MAX;
use protocol::wire::internal::{AccountMark, AccountMarks};
use protocol::wire::{Mark, Pull, PullPage, Send};
use protocol::{ConversationId, ErrorCode, content};
use service_kit::{clock, rpc};

use crate::fake_store::pair;
use crate::world::{ANA, ANY_PORT, CART, LIFT, PLANNER, World, emergency, ephemeral, settle, text};

#[tokio::test]
async fn a_member_sends_and_a_repeat_is_answered_as_the_first() {
    let (world, logic) = World::start().await;
    let group = settle(&world.store);
    let send = text(group, "把三个箱子搬到充电站旁边");
    let first = logic.send(ANA, &send).await.unwrap();
    assert_eq!((first.sequence, first.duplicate), (1, false));
    let again = logic.send(ANA, &send).await.unwrap();
    assert_eq!((again.sequence, again.duplicate), (1, true));
    assert_eq!(world.store.log()[0].content, send.content);
    // A group is known to the store: nothing has to be asked first.
    assert_eq!(world.store.asked(method::MEMBERS), 0);
    assert_eq!(world.store.asked(method::LOOK_UP_ACCOUNTS), 0);
}

#[tokio::test]
async fn what_may_not_be_sent_is_refused_with_its_reason() {
    let (world, logic) = World::start().await;
    let group = settle(&world.store);
    let nowhere = ConversationId::group(99);
    let too_long = "x".repeat(CONTENT_BYTES_MAX);
    let with = |change: fn(&mut Send)| {
        let mut send = text(group, "a");
        change(&mut send);
        send
    };
    let long = Send {
        content: content::encode(content::text(too_long)),
        ..text(group, "a")
    };
    for (sender, send, code) in [
        (CART, text(group, "a"), ErrorCode::NotAMember),
        (ANA, text(nowhere, "a"), ErrorCode::NoSuchConversation),
        (
            ANA,
            with(|send| send.deliver_before_ms = 1),
            ErrorCode::Expired,
        ),
        (ANA, long, ErrorCode::ContentTooLong),
        (
            ANA,
            with(|send| send.conversation_id = Bytes::from_static(&[0; 16])),
            ErrorCode::BadRequest,
        ),
        (
            ANA,
            with(|send| send.client_message_id = Bytes::from_static(&[0; 16])),
            ErrorCode::BadRequest,
        ),
        (
            ANA,
            with(|send| send.client_message_id.clear()),
            ErrorCode::BadRequest,
        ),
        (LIFT, emergency(group, "停"), ErrorCode::Forbidden),
        (PLANNER, emergency(group, "停"), ErrorCode::Forbidden),
        (CART, ephemeral(group, "a"), ErrorCode::NotAMember),
        (ANA, ephemeral(nowhere, "a"), ErrorCode::NoSuchConversation),
        (
            ANA,
            with(|send| {
                send.ephemeral_key = "k".into();
                send.deliver_before_ms = 1;
            }),
            ErrorCode::Expired,
        ),
        (LIFT, text(pair(ANA, PLANNER), "a"), ErrorCode::NotAMember),
        (ANA, text(pair(ANA, 999), "a"), ErrorCode::NoSuchAccount),
    ] {
        let refused = logic.send(sender, &send).await.unwrap_err();
        assert_eq!(refused.code, code, "{sender} {send:.0?}: {refused}");
    }
    assert!(world.store.log().is_empty());
}

#[tokio::test]
async fn an_operators_emergency_and_the_first_of_a_pair_are_sent() {
    let (world, logic) = World::start().await;
    let group = settle(&world.store);
    logic.send(ANA, &emergency(group, "停")).await.unwrap();
    let first = text(pair(PLANNER, CART), "去充电");
    assert_eq!(logic.send(PLANNER, &first).await.unwrap().sequence, 1);
    let asked = world.store.asked(method::LOOK_UP_ACCOUNTS);
    let second = text(pair(PLANNER, CART), "回来");
    assert_eq!(logic.send(CART, &second).await.unwrap().sequence, 2);
    assert_eq!(world.store.asked(method::LOOK_UP_ACCOUNTS), asked, "warm");
}

#[tokio::test]
async fn an_ephemeral_message_goes_to_the_router_alone() {
    let (mut world, logic) = World::start().await;
    let group = settle(&world.store);
    let in_time = Send {
        deliver_before_ms: clock::unix_ms() + 60_000,
        ..ephemeral(group, "C4")
    };
    let ack = logic.send(LIFT, &in_time).await.unwrap();
    assert_eq!((ack.sequence, ack.duplicate), (0, false));
    let passed = world.passed_on().await.ephemeral.unwrap();
    assert_eq!(passed.conversation_id, group.to_bytes());
    assert_eq!((passed.sender, &passed.key[..]), (LIFT, "位置"));
    assert_eq!(passed.content, in_time.content);
    assert_eq!(passed.sent_at_ms, ack.committed_at_ms);
    assert!(world.store.log().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn messages_stay_in_order_while_the_first_of_them_waits() {
    let (world, logic) = World::start().await;
    let group = settle(&world.store);
    // More than a task does in one go, so that some come when its budget is used up.
    let said: Vec<_> = (0..400).map(|n| n.to_string()).collect();
    for (conversation, first_waits_for) in [
        (group, method::MEMBERS),
        (pair(ANA, CART), method::LOOK_UP_ACCOUNTS),
    ] {
        let before = world.store.log().len();
        let asked = world.store.asked(first_waits_for);
        world.store.hold(first_waits_for);
        // The others need not know who sends them, or will know it by then.
        let mut answers = vec![logic.send(ANA, &emergency(conversation, &said[0]))];
        answers.extend(
            said[1..]
                .iter()
                .map(|said| logic.send(ANA, &text(conversation, said))),
        );
        world.store.is_asked(first_waits_for, asked + 1).await;
        assert_eq!(world.store.log().len(), before, "nobody overtakes");
        world.store.release();
        for answer in answers {
            answer.await.unwrap();
        }
        let log = world.store.log();
        let stored = log[before..].iter().map(|entry| entry.content.clone());
        let expected = said.iter().map(|said| content::encode(content::text(said)));
        assert!(stored.eq(expected), "out of order in {conversation}");
    }
}

#[tokio::test]
async fn history_and_marks_pass_through() {
    let (world, logic) = World::start().await;
    let group = settle(&world.store);
    logic.send(ANA, &text(group, "你好")).await.unwrap();
    let mut pull = Pull {
        conversation_id: group.to_bytes(),
        ..Pull::default()
    };
    let page: PullPage = logic.client(LIFT, client::PULL, &pull).await.unwrap();
    assert_eq!((page.conversation_id, page.head), (group.to_bytes(), 1));
    let refused = logic.client::<PullPage>(CART, client::PULL, &pull).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::NotAMember);
    pull.conversation_id.clear();
    let refused = logic.client::<PullPage>(LIFT, client::PULL, &pull).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::BadRequest);

    let marks = AccountMarks {
        marks: vec![AccountMark {
            account_id: LIFT,
            mark: Some(Mark {
                conversation_id: group.to_bytes(),
                delivered: 1,
                read: 1,
            }),
            history_generation: 5,
        }],
    };
    let body = rpc::encode(&marks);
    logic
        .gateway
        .notify(method::PASS_MARKS, body)
        .await
        .unwrap();
    let mut heard = world.store.marks.subscribe();
    heard.wait_for(|heard| *heard == marks).await.unwrap();
}

#[tokio::test]
async fn without_a_store_everything_is_refused_at_once() {
    let (world, _) = World::start().await;
    let group = settle(&world.store);
    let nobody = std::net::TcpListener::bind(ANY_PORT).unwrap().local_addr();
    let (logic, _) = world.logic_of(nobody.unwrap()).await;
    // Far less than what the gateway would wait.
    let at_once = Duration::from_secs(5);
    for send in [
        text(group, "a"),
        emergency(group, "a"),
        ephemeral(group, "a"),
        text(pair(ANA, LIFT), "a"),
    ] {
        let answer = tokio::time::timeout(at_once, logic.send(ANA, &send)).await;
        assert_eq!(answer.unwrap().unwrap_err().code, ErrorCode::Unavailable);
    }
    let come_in = logic.authenticate("im://dev/robot/lift-1", "");
    let answer = tokio::time::timeout(at_once, come_in).await;
    assert_eq!(answer.unwrap().unwrap_err().code, ErrorCode::Unavailable);
}

#[tokio::test]
async fn what_is_no_request_of_a_client_is_refused() {
    let (_world, logic) = World::start().await;
    for kind in [client::HELLO, client::MARKS, client::SEND_ACK, 9999] {
        let refused = logic.client::<Send>(ANA, kind, &Send::default()).await;
        assert_eq!(refused.unwrap_err().code, ErrorCode::UnknownKind);
    }
    let refused = logic.ask::<Send>(299, &Send::default()).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::UnknownKind);
}
