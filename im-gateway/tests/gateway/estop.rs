//! Emergency stops at the gateway: let out before they are stored, told again until they are
//! confirmed, in force until they are released.

use bytes::Bytes;
use protocol::content::{self, Content};
use protocol::error::decode_body;
use protocol::kind::{client, method};
use protocol::wire::internal::{EstopGossip, EstopList};
use protocol::wire::{
    EmergencyStop, EntryKind, Estop, EstopConfirm, EstopNotice, EstopPage, EstopRelease, EstopSent,
    ListEstops, Send, SendAck, Welcome,
};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal};

use super::{cluster, group, membership};
use crate::cluster::{Cluster, World};
use crate::talker::{Client, hello};

const ANNA: AccountId = AccountId(1);

/// Anna, an operator, and the robot "lift" are in the group; the robot "cart" is not.
async fn hall() -> Cluster {
    let cluster = cluster().await;
    cluster.shared.with(|world| {
        world.accounts.insert("lift".into(), 3);
        world.accounts.insert("cart".into(), 4);
        world.robots = vec![3, 4];
        world.memberships.insert(3, vec![membership(1)]);
        world.members.insert(group(), (vec![1, 3], 1));
    });
    cluster
}

fn id(n: u8) -> ClientMessageId {
    ClientMessageId::new(1_700_000_000_000, [n; 10])
}

fn send(n: u8, conversation: Bytes, content: Content) -> Send {
    Send {
        conversation_id: conversation,
        client_message_id: id(n).to_bytes(),
        kind: content::kind_of(&content).into(),
        content: content::encode(content),
        ..Send::default()
    }
}

fn stop(n: u8) -> Send {
    let stop = Estop {
        fleet: false,
        reason: "有人".into(),
    };
    send(n, group(), Content::Estop(stop))
}

fn release(n: u8, of: u8) -> Send {
    let release = EstopRelease {
        stop_ids: vec![id(of).to_bytes()],
        reason: "好了".into(),
    };
    send(n, group(), Content::EstopRelease(release))
}

async fn noticed(client: &mut Client) -> EmergencyStop {
    let frame = client.receive(client::ESTOP_NOTICE).await;
    let mut notice: EstopNotice = decode_body(frame.body).unwrap();
    notice.stops.pop().unwrap()
}

/// The next frame that is no word of a stop.
async fn other(client: &mut Client) -> protocol::Frame {
    loop {
        let frame = client.next().await.expect("it is open");
        if !matches!(frame.kind, client::ESTOP_NOTICE | client::ESTOP_SENT) {
            return frame;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_goes_out_before_it_is_stored_and_again_until_it_is_confirmed() {
    let cluster = hall().await;
    let (mut anna, _) = cluster.welcomed("anna").await;
    let (mut lift, _) = cluster.welcomed("lift").await;
    let (mut cart, _) = cluster.welcomed("cart").await;
    cluster.shared.with(|world| world.store_is_away = true);

    anna.send(client::ESTOP, 5, &stop(1)).await;
    assert_eq!(noticed(&mut anna).await.reason, "有人");
    let sent = anna.receive(client::ESTOP_SENT).await;
    let sent: EstopSent = decode_body(sent.body).unwrap();
    assert_eq!((sent.sessions, sent.routers), (2, 1));
    let answer = anna.receive(client::ERROR).await;
    assert_eq!(Refusal::decode(&answer.body).code, ErrorCode::Unavailable);

    let told = noticed(&mut lift).await;
    assert_eq!((told.sender, told.stored, told.fleet), (1, false, false));
    let again = noticed(&mut lift).await;
    assert_eq!(again.stop_id, told.stop_id);
    let confirm = EstopConfirm {
        stop_ids: vec![told.stop_id.clone()],
    };
    lift.send(client::ESTOP_CONFIRM, 0, &confirm).await;
    let is_told = |world: &World| {
        let progress = world.gossip.iter().flat_map(|gossip| &gossip.progress);
        progress.flat_map(|its| &its.confirmed).any(|id| *id == 3)
    };
    cluster.shared.until("it is passed on", is_told).await;

    // The gateway stores it for its sender as soon as that is possible.
    cluster.shared.with(|world| world.store_is_away = false);
    let is_stored = |world: &World| !world.commits.is_empty();
    cluster.shared.until("it is stored", is_stored).await;
    let commit = cluster.shared.with(|world| world.commits[0].clone());
    let of = commit.send.unwrap();
    assert_eq!(
        (commit.account_id, of.client_message_id),
        (1, id(1).to_bytes())
    );
    assert_eq!(of.content, stop(1).content);

    // Whoever is not in the group has heard nothing.
    cart.send(client::LIST_ESTOPS, 6, &ListEstops::default())
        .await;
    let refused = cart.receive(client::ERROR).await;
    assert_eq!(Refusal::decode(&refused.body).code, ErrorCode::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_in_force_for_whoever_comes_until_it_is_released() {
    let cluster = hall().await;
    let (mut anna, _) = cluster.welcomed("anna").await;
    anna.send(client::ESTOP, 5, &stop(1)).await;
    let ack = other(&mut anna).await;
    let ack: SendAck = decode_body(ack.body).unwrap();
    assert_eq!(ack.sequence, 7);

    let (mut lift, welcome) = cluster.welcomed("lift").await;
    assert_eq!(welcome.estops.len(), 1, "before anything else");
    let (_cart, welcome) = cluster.welcomed("cart").await;
    assert!(welcome.estops.is_empty(), "it is not in the group");

    anna.send(client::ESTOP, 6, &release(2, 1)).await;
    assert_eq!(other(&mut anna).await.kind, client::answer(client::ESTOP));
    loop {
        let told = noticed(&mut lift).await;
        if told.released_at_ms != 0 {
            assert_eq!((told.released_by, &told.release_reason[..]), (1, "好了"));
            break;
        }
    }
    // Whoever still holds it is told that it is over, and a late repeat is ignored.
    cluster
        .shared
        .router_says(method::ESTOP_GOSSIP, &gossip(1))
        .await;
    let mut back = cluster.connect().await;
    let mut hello = hello("lift");
    hello.latched_stop_ids = vec![id(1).to_bytes()];
    back.send(client::HELLO, 1, &hello).await;
    let welcome = back.receive(client::WELCOME).await;
    let welcome: Welcome = decode_body(welcome.body).unwrap();
    let [ended] = &welcome.estops[..] else {
        panic!("{:?}", welcome.estops);
    };
    assert!(ended.released_at_ms > 0);
}

fn gossip(n: u8) -> EstopGossip {
    EstopGossip {
        gateway_id: 77,
        stops: vec![EmergencyStop {
            stop_id: id(n).to_bytes(),
            conversation_id: group(),
            sender: 1,
            sent_at_ms: 5,
            ..EmergencyStop::default()
        }],
        ..EstopGossip::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_gateway_or_the_store_has_is_in_force_here() {
    let cluster = hall().await;
    let (mut lift, _) = cluster.welcomed("lift").await;
    cluster
        .shared
        .router_says(method::ESTOP_GOSSIP, &gossip(1))
        .await;
    assert_eq!(noticed(&mut lift).await.stop_id, id(1).to_bytes());
    let stored = EmergencyStop {
        stored: true,
        ..gossip(2).stops.remove(0)
    };
    cluster.shared.with(|world| {
        world.stops = EstopList {
            stops: vec![stored],
            more: false,
        };
    });
    while noticed(&mut lift).await.stop_id != id(2).to_bytes() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn only_operators_stop_and_only_where_they_are() {
    let cluster = hall().await;
    let (mut lift, _) = cluster.welcomed("lift").await;
    lift.send(client::ESTOP, 5, &stop(1)).await;
    let answer = lift.receive(client::ERROR).await;
    assert_eq!(Refusal::decode(&answer.body).code, ErrorCode::Forbidden);

    let (mut anna, _) = cluster.welcomed("anna").await;
    let elsewhere = ConversationId::group(8).to_bytes();
    let stop = Content::Estop(Estop::default());
    anna.send(client::ESTOP, 5, &send(1, elsewhere, stop)).await;
    let answer = anna.receive(client::ERROR).await;
    assert_eq!(Refusal::decode(&answer.body).code, ErrorCode::NotAMember);
    let text = send(2, group(), content::text("停"));
    anna.send(client::ESTOP, 6, &text).await;
    let answer = anna.receive(client::ERROR).await;
    assert_eq!(Refusal::decode(&answer.body).code, ErrorCode::BadRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_of_the_fleet_concerns_everybody_and_says_who_has_not_confirmed() {
    let cluster = hall().await;
    let (mut anna, _) = cluster.welcomed("anna").await;
    let (mut cart, _) = cluster.welcomed("cart").await;
    let own = ConversationId::pair(ANNA, ANNA).to_bytes();
    let all = Content::Estop(Estop {
        fleet: true,
        reason: String::new(),
    });
    let send = send(1, own, all);
    assert_eq!(send.kind, i32::from(EntryKind::Estop));
    anna.send(client::ESTOP, 5, &send).await;
    assert!(noticed(&mut cart).await.fleet);
    assert_eq!(other(&mut anna).await.kind, client::answer(client::ESTOP));
    let list = ListEstops {
        stop_id: id(1).to_bytes(),
        ..ListEstops::default()
    };
    anna.send(client::LIST_ESTOPS, 6, &list).await;
    let page = other(&mut anna).await;
    assert_eq!(page.kind, client::LIST_ESTOPS + 1);
    let page: EstopPage = decode_body(page.body).unwrap();
    assert_eq!((page.stops[0].reached, page.stops[0].confirmed), (1, 0));
    assert_eq!((page.missing[0].account_id, page.all_known), (4, false));
}
