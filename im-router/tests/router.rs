//! A router over real links, with this test as its gateways, its store and its logic.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use im_router::service::{PEERS, Service};
use prost::Message;
use protocol::kind::{client, method};
use protocol::limits::FRAME_BYTES_MAX;
use protocol::wire::internal::{
    Commit, Commits, EstopGossip, Fanout, FanoutEphemeral, HeadHints, Heads, MembershipMoved,
    PassEphemeral, Register, Registered, Unregister,
};
use protocol::wire::{Entry, Ephemeral, Head, MemberChange, Push};
use protocol::{AccountId, ConversationId, ErrorCode, FrameCodec};
use service_kit::drain::Drain;
use service_kit::rpc::{self, Link, LinkConfig, LinkEvent, LinkEvents};
use service_kit::testing::Authority;
use service_kit::tls;
use tokio::net::TcpListener;
use tokio_util::codec::Decoder;

const WAIT: Duration = Duration::from_secs(30);

struct World {
    folder: tempfile::TempDir,
    authority: Authority,
    address: String,
    drain: Drain,
}

impl World {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
            authority: Authority::new(),
            address: listener.local_addr().unwrap().to_string(),
            drain: Drain::new(),
        };
        let files = world.authority.files(world.folder.path(), "im-router");
        let tls = tls::internal_server(&files).unwrap();
        let service = Arc::new(Service::new(world.drain.clone()));
        let drain = world.drain.clone();
        tokio::spawn(rpc::serve(listener, tls, PEERS, service, drain));
        world
    }

    async fn link(&self, name: &'static str) -> (Link, LinkEvents) {
        let files = self.authority.files(self.folder.path(), name);
        let config = LinkConfig {
            name: "im-router",
            address: self.address.clone(),
            tls: tls::internal_client(&files).unwrap(),
        };
        let (link, mut events) = rpc::connect(config, self.drain.clone());
        assert!(matches!(events.next().await, Some(LinkEvent::Up)));
        (link, events)
    }

    async fn gateway(&self, id: u64, groups: &[u64], accounts: &[u64]) -> Gateway {
        let (link, events) = self.link("im-gateway").await;
        let mut gateway = Gateway { id, link, events };
        gateway.register(true, groups, accounts).await;
        gateway
    }
}

struct Gateway {
    id: u64,
    link: Link,
    events: LinkEvents,
}

impl Gateway {
    async fn register(&mut self, replace: bool, groups: &[u64], accounts: &[u64]) -> Vec<Head> {
        let register = Register {
            gateway_id: self.id,
            replace,
            groups: groups.iter().map(|id| group(*id).to_bytes()).collect(),
            accounts: accounts.to_vec(),
        };
        let call = self
            .link
            .call(method::REGISTER, rpc::encode(&register), WAIT);
        Registered::decode(call.await.unwrap()).unwrap().heads
    }

    async fn next(&mut self) -> (u16, Bytes) {
        let event = tokio::time::timeout(WAIT, self.events.next())
            .await
            .unwrap();
        match event {
            Some(LinkEvent::Notice { method, body }) => (method, body),
            other => panic!("{other:?}"),
        }
    }

    async fn take<M: Message + Default>(&mut self, expected: u16) -> M {
        let (method, body) = self.next().await;
        assert_eq!(method, expected);
        M::decode(body).unwrap()
    }

    /// The sequence numbers of the next fan-out, from the client's frame within it.
    async fn pushed(&mut self, conversation: ConversationId) -> Vec<u64> {
        let fanout: Fanout = self.take(method::FANOUT).await;
        assert_eq!(fanout.conversation_id, conversation.to_bytes());
        let push: Push = open(&fanout.frame, client::PUSH);
        push.entries.iter().map(|entry| entry.sequence).collect()
    }
}

fn open<M: Message + Default>(frame: &[u8], kind: u16) -> M {
    let frame = FrameCodec::new(FRAME_BYTES_MAX).decode(&mut frame.into());
    let frame = frame.unwrap().unwrap();
    assert_eq!(frame.kind, kind);
    M::decode(frame.body).unwrap()
}

fn group(id: u64) -> ConversationId {
    ConversationId::group(id)
}

fn pair(a: u64, b: u64) -> ConversationId {
    ConversationId::pair(AccountId(a), AccountId(b))
}

fn commit(conversation: ConversationId, sequence: u64) -> Commit {
    Commit {
        entry: Some(Entry {
            conversation_id: conversation.to_bytes(),
            sequence,
            content: Bytes::from_static("搬到充电站".as_bytes()),
            ..Entry::default()
        }),
        membership_sequence: 1,
        ..Commit::default()
    }
}

fn joins(conversation: ConversationId, sequence: u64, account_id: u64) -> Commit {
    Commit {
        membership_sequence: sequence,
        previous_membership_sequence: 1,
        changes: vec![MemberChange {
            account_id,
            joined: true,
            ..MemberChange::default()
        }],
        ..commit(conversation, sequence)
    }
}

async fn tell(link: &Link, method: u16, message: &impl Message) {
    link.notify(method, rpc::encode(message)).await.unwrap();
}

async fn commits(store: &Link, commits: Vec<Commit>) {
    tell(store, method::COMMITS, &Commits { commits }).await;
}

fn head(conversation: ConversationId, head: u64) -> Head {
    Head {
        conversation_id: conversation.to_bytes(),
        head,
    }
}

#[tokio::test]
async fn commits_reach_the_gateways_of_their_members_in_order() {
    let world = World::start().await;
    let (store, _events) = world.link("im-store").await;
    let mut one = world.gateway(101, &[7], &[10]).await;
    let mut two = world.gateway(102, &[7, 8], &[20]).await;
    let batch = vec![
        commit(group(7), 2),
        commit(group(8), 2),
        commit(pair(10, 99), 1),
        commit(group(7), 3),
    ];
    commits(&store, batch).await;
    commits(&store, vec![commit(group(7), 4)]).await;
    assert_eq!(one.pushed(group(7)).await, [2, 3]);
    assert_eq!(one.pushed(pair(10, 99)).await, [1]);
    assert_eq!(one.pushed(group(7)).await, [4]);
    assert_eq!(two.pushed(group(7)).await, [2, 3]);
    assert_eq!(two.pushed(group(8)).await, [2]);
    assert_eq!(two.pushed(group(7)).await, [4]);

    let gone = Unregister {
        groups: vec![group(7).to_bytes()],
        accounts: vec![10],
    };
    tell(&one.link, method::UNREGISTER, &gone).await;
    // Registered after the notice, on the same link: the notice was taken.
    one.register(false, &[9], &[]).await;
    let batch = vec![commit(group(7), 5), commit(group(9), 1)];
    commits(&store, batch).await;
    assert_eq!(one.pushed(group(9)).await, [1]);
    assert_eq!(two.pushed(group(7)).await, [5]);
}

#[tokio::test]
async fn a_gateway_hears_of_a_new_member_before_the_entry_by_which_it_joins() {
    let world = World::start().await;
    let (store, _events) = world.link("im-store").await;
    let mut one = world.gateway(101, &[7], &[10]).await;
    let mut two = world.gateway(102, &[], &[20]).await;
    commits(&store, vec![joins(group(7), 5, 20), commit(group(7), 6)]).await;
    for gateway in [&mut one, &mut two] {
        let moved: MembershipMoved = gateway.take(method::MEMBERSHIP_MOVED).await;
        assert_eq!(
            (
                moved.previous_membership_sequence,
                moved.membership_sequence
            ),
            (1, 5)
        );
        assert_eq!(moved.changes[0].account_id, 20);
        assert_eq!(gateway.pushed(group(7)).await, [5]);
        assert_eq!(gateway.pushed(group(7)).await, [6]);
    }
}

#[tokio::test]
async fn heads_are_announced_remembered_and_told_to_who_registers() {
    let world = World::start().await;
    let (store, _events) = world.link("im-store").await;
    let mut one = world.gateway(101, &[7], &[10]).await;
    let announced = Heads {
        heads: vec![head(group(7), 5), head(group(8), 3), head(pair(20, 30), 2)],
        restarted: true,
    };
    tell(&store, method::HEADS, &announced).await;
    let (resync, _) = one.next().await;
    assert_eq!(resync, method::RESYNC);
    let hints: HeadHints = one.take(method::HEAD_HINTS).await;
    assert_eq!(hints.heads, [head(group(7), 5)]);

    let heads = one.register(false, &[8], &[20]).await;
    assert_eq!(heads, [head(group(8), 3), head(pair(20, 30), 2)]);
    let older = Heads {
        heads: vec![head(group(8), 2), head(group(7), 6)],
        restarted: false,
    };
    tell(&store, method::HEADS, &older).await;
    let hints: HeadHints = one.take(method::HEAD_HINTS).await;
    assert_eq!(hints.heads, [head(group(7), 6)]);
}

#[tokio::test]
async fn a_gateway_that_comes_back_replaces_what_it_had() {
    let world = World::start().await;
    let (store, _events) = world.link("im-store").await;
    let old = world.gateway(101, &[7], &[10]).await;
    let mut new = world.gateway(101, &[8], &[10]).await;
    commits(
        &store,
        vec![
            commit(group(7), 2),
            commit(group(8), 2),
            commit(pair(10, 10), 1),
        ],
    )
    .await;
    assert_eq!(new.pushed(group(8)).await, [2]);
    assert_eq!(new.pushed(pair(10, 10)).await, [1]);
    drop(old);
    commits(&store, vec![commit(group(8), 3)]).await;
    assert_eq!(new.pushed(group(8)).await, [3]);
}

#[tokio::test]
async fn ephemeral_messages_are_passed_on_as_client_frames() {
    let world = World::start().await;
    let (logic, _events) = world.link("im-logic").await;
    let mut one = world.gateway(101, &[7], &[]).await;
    let message = Ephemeral {
        conversation_id: group(7).to_bytes(),
        sender: 10,
        key: "step/s1".into(),
        ..Ephemeral::default()
    };
    let pass = PassEphemeral {
        ephemeral: Some(message.clone()),
    };
    tell(&logic, method::PASS_EPHEMERAL, &pass).await;
    let passed: FanoutEphemeral = one.take(method::FANOUT_EPHEMERAL).await;
    assert_eq!((passed.sender, passed.key.as_str()), (10, "step/s1"));
    assert_eq!(open::<Ephemeral>(&passed.frame, client::EPHEMERAL), message);
}

#[tokio::test]
async fn a_stop_goes_to_all_other_gateways_whoever_has_members() {
    let world = World::start().await;
    let first = world.gateway(1, &[], &[]).await;
    let mut second = world.gateway(2, &[], &[]).await;
    let mut third = world.gateway(3, &[7], &[5]).await;
    let gossip = EstopGossip {
        gateway_id: 1,
        ask: true,
        ..EstopGossip::default()
    };
    let body = rpc::encode(&gossip);
    first.link.try_notify(method::PASS_ESTOP, body).unwrap();
    for gateway in [&mut second, &mut third] {
        let told: EstopGossip = gateway.take(method::ESTOP_GOSSIP).await;
        assert_eq!(told, gossip);
    }
}

#[tokio::test]
async fn tiers_may_say_only_what_is_theirs_and_nonsense_costs_nobody_the_link() {
    let world = World::start().await;
    let (store, _events) = world.link("im-store").await;
    let (logic, _logic_events) = world.link("im-logic").await;
    let mut one = world.gateway(101, &[7], &[]).await;
    commits(&logic, vec![commit(group(7), 1)]).await;
    commits(&one.link, vec![commit(group(7), 1)]).await;
    let garbage = Bytes::from_static(&[0xff; 9]);
    store.notify(method::COMMITS, garbage).await.unwrap();
    let call = logic.call(method::REGISTER, Bytes::new(), WAIT);
    assert_eq!(call.await.unwrap_err().code, ErrorCode::UnknownKind);
    let short_id = Register {
        groups: vec![Bytes::from_static(b"short")],
        ..Register::default()
    };
    let call = one
        .link
        .call(method::REGISTER, rpc::encode(&short_id), WAIT);
    assert_eq!(call.await.unwrap_err().code, ErrorCode::BadRequest);
    commits(&store, vec![commit(group(7), 2)]).await;
    assert_eq!(one.pushed(group(7)).await, [2]);
}

/// The gateway reads nothing until its queue in the router has overflowed.
#[tokio::test]
async fn a_gateway_that_does_not_read_is_told_the_head_when_it_reads_again() {
    const CONTENT_BYTES: usize = 4096;
    const ENTRIES: u64 = 20_000;
    let world = World::start().await;
    let (store, _events) = world.link("im-store").await;
    let mut slow = world.gateway(101, &[7], &[20]).await;
    let content = Bytes::from(vec![7; CONTENT_BYTES]);
    for sequence in 2..=ENTRIES {
        let mut commit = commit(group(7), sequence);
        commit.entry.as_mut().unwrap().content = content.clone();
        commits(&store, vec![commit]).await;
    }
    commits(&store, vec![joins(group(7), ENTRIES + 1, 20)]).await;
    // Refused, and so answered after all of it has been taken.
    let call = store.call(method::REGISTER, Bytes::new(), WAIT);
    assert_eq!(call.await.unwrap_err().code, ErrorCode::UnknownKind);

    let (mut seen, mut hinted, mut resynced) = (1, 0, false);
    while hinted <= ENTRIES || !resynced {
        let (method, body) = slow.next().await;
        match method {
            method::FANOUT => {
                assert_eq!(hinted, 0, "an entry overtook its head");
                let fanout = Fanout::decode(body).unwrap();
                assert_eq!(fanout.first_sequence, seen + 1);
                seen = fanout.last_sequence;
            }
            method::HEAD_HINTS => hinted = HeadHints::decode(body).unwrap().heads[0].head,
            method::RESYNC => resynced = true,
            other => panic!("method {other}"),
        }
    }
    assert!(seen < ENTRIES, "the queue never overflowed");
    // It is served like any other again, once the last of what it was owed is out of the way.
    for sequence in ENTRIES + 2.. {
        commits(&store, vec![commit(group(7), sequence)]).await;
        if slow.next().await.0 == method::FANOUT {
            break;
        }
    }
}
