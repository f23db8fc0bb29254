//! The gateway over real TLS, between a logic and a router that the test plays.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cluster;
mod estop;
mod news;
mod talker;

use std::time::Duration;

use bytes::Bytes;
use cluster::Cluster;
use protocol::error::decode_body;
use protocol::kind::{client, method};
use protocol::wire::internal::{Fanout, FanoutEphemeral, HeadHints, MembershipMoved, Resync};
use protocol::wire::{
    Entry, Ephemeral, GoAway, Head, Mark, Marks, MemberChange, Membership, MembershipNotice, Ping,
    Push,
};
use protocol::{ConversationId, ErrorCode, Frame, Refusal};
use service_kit::drain::DrainOutcome;
use talker::{Client, hello};

fn group() -> Bytes {
    ConversationId::group(7).to_bytes()
}

fn membership(head: u64) -> Membership {
    Membership {
        conversation_id: group(),
        name: "仓库".into(),
        head,
        joined_sequence: 1,
        readable_from: 1,
        ..Membership::default()
    }
}

/// A cluster whose account 1, "anna", is in the group as of entry 1.
async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.shared.with(|world| {
        world.accounts = [("anna".into(), 1), ("ben".into(), 2)].into();
        world.memberships.insert(1, vec![membership(1)]);
        world.members.insert(group(), (vec![1], 1));
    });
    cluster
}

fn fanout(membership: u64, sequence: u64) -> Fanout {
    let push = Push {
        entries: vec![Entry {
            conversation_id: group(),
            sequence,
            ..Entry::default()
        }],
    };
    Fanout {
        conversation_id: group(),
        membership_sequence: membership,
        first_sequence: sequence,
        last_sequence: sequence,
        frame: Frame::notice(client::PUSH, &push).to_bytes(),
        ..Fanout::default()
    }
}

fn pushed(frame: Frame) -> Vec<u64> {
    let push: Push = decode_body(frame.body).unwrap();
    push.entries.iter().map(|entry| entry.sequence).collect()
}

/// Pushes until the view is known, which a first entry may find unknown.
async fn known(cluster: &Cluster, anna: &mut Client, membership: u64, from: u64) -> u64 {
    for sequence in from.. {
        let entry = fanout(membership, sequence);
        cluster.shared.router_says(method::FANOUT, &entry).await;
        let frame = anna.next().await.unwrap();
        if frame.kind == client::PUSH {
            assert_eq!(pushed(frame), [sequence]);
            return sequence;
        }
        assert_eq!(frame.kind, client::HEAD);
    }
    unreachable!("the numbers do not end")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_registered_before_its_memberships_are_read() {
    let cluster = cluster().await;
    cluster.shared.with(|world| world.asked.clear());
    let (_anna, welcome) = cluster.welcomed("anna").await;
    assert_eq!(welcome.account.unwrap().account_id, 1);
    assert_eq!(welcome.memberships, [membership(1)]);
    cluster.shared.with(|world| {
        assert_eq!(world.asked[..2], ["register", "memberships"]);
        let registered = world.registers.iter().flat_map(|register| &register.groups);
        assert_eq!(registered.collect::<Vec<_>>(), [&group()]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_hears_why() {
    let cluster = cluster().await;
    let mut stranger = cluster.connect().await;
    stranger.send(client::HELLO, 1, &hello("eve")).await;
    stranger.is_refused(ErrorCode::Unauthenticated).await;

    let mut hasty = cluster.connect().await;
    hasty.send(client::PING, 1, &Ping::default()).await;
    hasty.is_refused(ErrorCode::WrongState).await;

    let mut long = cluster.connect().await;
    long.send_body(client::HELLO, 1, vec![0; 100_000].into())
        .await;
    long.is_refused(ErrorCode::FrameTooLong).await;
    // The process has stayed up.
    cluster.welcomed("anna").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_passed_on_in_order_and_answered_by_correlation() {
    let cluster = cluster().await;
    let (mut anna, _) = cluster.welcomed("anna").await;
    for n in 1..=100_u32 {
        let body = Bytes::from(format!("第{n}"));
        anna.send_body(client::SEND, n, body).await;
    }
    anna.send_body(client::PULL, 101, Bytes::from_static(b"!"))
        .await;
    anna.send_body(999, 102, Bytes::new()).await;
    let mut answered = Vec::new();
    while answered.len() < 102 {
        let frame = anna.next().await.unwrap();
        match frame.correlation {
            101 => assert_eq!(Refusal::decode(&frame.body).code, ErrorCode::NotAMember),
            102 => assert_eq!(Refusal::decode(&frame.body).code, ErrorCode::UnknownKind),
            n => {
                assert_eq!(frame.kind, client::SEND_ACK);
                assert_eq!(frame.body, format!("第{n}"));
            }
        }
        answered.push(frame.correlation);
    }
    answered.sort_unstable();
    assert_eq!(answered, (1..=102).collect::<Vec<_>>());
    cluster.shared.with(|world| {
        let bodies: Vec<_> = world.requests.iter().map(|r| r.body.clone()).collect();
        let sent: Vec<_> = (1..=100).map(|n| Bytes::from(format!("第{n}"))).collect();
        assert_eq!(bodies[..100], sent);
        assert!(world.requests.iter().all(|request| request.account_id == 1));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_go_to_members_under_the_view_they_were_committed_with() {
    let cluster = cluster().await;
    let (mut anna, _) = cluster.welcomed("anna").await;
    let last = known(&cluster, &mut anna, 1, 2).await;
    // A membership entry whose move was lost: its entries are told by their head.
    let doubtful = fanout(last + 1, last + 2);
    cluster.shared.with(|world| {
        world.members.insert(group(), (vec![1], last + 1));
    });
    cluster.shared.router_says(method::FANOUT, &doubtful).await;
    let head: Head = decode_body(anna.receive(client::HEAD).await.body).unwrap();
    assert_eq!(head.head, last + 2);
    known(&cluster, &mut anna, last + 1, last + 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_is_told_and_followed_by_entries() {
    let cluster = cluster().await;
    let (mut anna, _) = cluster.welcomed("anna").await;
    let (mut ben, _) = cluster.welcomed("ben").await;
    let last = known(&cluster, &mut anna, 1, 2).await;
    let joins = MembershipMoved {
        conversation_id: group(),
        previous_membership_sequence: 1,
        membership_sequence: last + 1,
        changes: vec![MemberChange {
            account_id: 2,
            joined: true,
            ..MemberChange::default()
        }],
        history_open: false,
        name: "仓库".into(),
    };
    let (shared, entry) = (&cluster.shared, fanout(last + 1, last + 1));
    shared.router_says(method::MEMBERSHIP_MOVED, &joins).await;
    shared.router_says(method::FANOUT, &entry).await;
    let notice: MembershipNotice =
        decode_body(ben.receive(client::MEMBERSHIP_NOTICE).await.body).unwrap();
    let told = notice.membership.unwrap();
    assert!(notice.joined);
    assert_eq!((told.name.as_str(), told.readable_from), ("仓库", last + 1));
    assert_eq!(pushed(ben.receive(client::PUSH).await), [last + 1]);
    assert_eq!(pushed(anna.receive(client::PUSH).await), [last + 1]);

    let message = Ephemeral {
        key: "位置".into(),
        ..Ephemeral::default()
    };
    let ephemeral = FanoutEphemeral {
        conversation_id: group(),
        sender: 1,
        key: "位置".into(),
        frame: Frame::notice(client::EPHEMERAL, &message).to_bytes(),
    };
    shared
        .router_says(method::FANOUT_EPHEMERAL, &ephemeral)
        .await;
    let received: Ephemeral = decode_body(ben.receive(client::EPHEMERAL).await.body).unwrap();
    assert_eq!(received.key, "位置");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_router_hears_of_everything_and_what_was_missed_is_told() {
    let mut cluster = cluster().await;
    let (mut anna, _) = cluster.welcomed("anna").await;
    // While the router is away ben joins and entries are committed.
    cluster.shared.with(|world| {
        world.memberships.insert(1, vec![membership(9)]);
    });
    cluster.restart_router().await;
    let head: Head = decode_body(anna.receive(client::HEAD).await.body).unwrap();
    assert_eq!(head.head, 9);
    cluster.shared.with(|world| {
        let registered = |of: &dyn Fn(&protocol::wire::internal::Register) -> bool| {
            world.registers.iter().any(of)
        };
        assert!(registered(&|register| register.groups.contains(&group())));
        assert!(registered(&|register| register.accounts.contains(&1)));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resync_finds_conversations_joined_and_left() {
    let cluster = cluster().await;
    let (mut anna, _) = cluster.welcomed("anna").await;
    let (mut ben, _) = cluster.welcomed("ben").await;
    cluster.shared.with(|world| {
        world.memberships.insert(1, vec![]);
        world.memberships.insert(2, vec![membership(3)]);
        world.members.insert(group(), (vec![2], 3));
    });
    cluster.shared.router_says(method::RESYNC, &Resync {}).await;
    let of = |frame: Frame| decode_body::<MembershipNotice>(frame.body).unwrap().joined;
    assert!(!of(anna.receive(client::MEMBERSHIP_NOTICE).await));
    assert!(of(ben.receive(client::MEMBERSHIP_NOTICE).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_reach_pairs_and_the_gone_are_unregistered() {
    let cluster = cluster().await;
    let (mut anna, _) = cluster.welcomed("anna").await;
    let pair = ConversationId::pair(protocol::AccountId(1), protocol::AccountId(9)).to_bytes();
    let hints = HeadHints {
        heads: vec![Head {
            conversation_id: pair.clone(),
            head: 4,
        }],
    };
    cluster.shared.router_says(method::HEAD_HINTS, &hints).await;
    let head: Head = decode_body(anna.receive(client::HEAD).await.body).unwrap();
    assert_eq!((head.conversation_id, head.head), (pair, 4));
    drop(anna);
    let gone = |world: &cluster::World| {
        let all = &world.unregisters;
        all.iter().any(|gone| gone.accounts.contains(&1))
            && all.iter().any(|gone| gone.groups.contains(&group()))
    };
    cluster.shared.until("anna is unregistered", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_are_conflated_and_only_rise() {
    let cluster = cluster().await;
    let (mut anna, _) = cluster.welcomed("anna").await;
    for delivered in [3, 8, 5] {
        let mark = Mark {
            conversation_id: group(),
            delivered,
            read: 0,
        };
        let marks = Marks {
            marks: vec![mark],
            history_generation: 0,
        };
        anna.send(client::MARKS, 0, &marks).await;
    }
    let highest = |world: &cluster::World| {
        let marks = world.marks.iter().filter_map(|of| of.mark.as_ref());
        marks.map(|mark| mark.delivered).max() == Some(8)
    };
    cluster.shared.until("the marks arrive", highest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_goes_down_says_so_and_waits_for_its_sessions() {
    let cluster = cluster().await;
    let (mut anna, _) = cluster.welcomed("anna").await;
    let drain = cluster.drain.clone();
    let draining = tokio::spawn(async move { drain.finish(Duration::from_secs(10)).await });
    let away: GoAway = decode_body(anna.receive(client::GO_AWAY).await.body).unwrap();
    assert!(away.reconnect);
    // What is in flight is still answered.
    anna.send_body(client::SEND, 5, Bytes::from_static(b"x"))
        .await;
    drop(anna);
    assert_eq!(draining.await.unwrap(), DrainOutcome::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_the_router_refused_is_repeated() {
    let cluster = cluster().await;
    let (_ben, _) = cluster.welcomed("ben").await;
    cluster.shared.with(|world| {
        world.memberships.insert(2, vec![membership(3)]);
        world.members.insert(group(), (vec![1, 2], 3));
        world.refuses_registers = 1;
    });
    cluster.shared.router_says(method::RESYNC, &Resync {}).await;
    let registered = |world: &cluster::World| {
        let mut all = world.registers.iter();
        all.any(|register| register.groups.contains(&group()))
    };
    cluster.shared.until("ben's group", registered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_it_is_there_and_never_reads_is_given_up() {
    let cluster = Cluster::start_with(|config| {
        config.session.heartbeat_interval_ms = 400;
    })
    .await;
    cluster
        .shared
        .with(|world| world.accounts = [("anna".into(), 1)].into());
    let (mut anna, _) = cluster.welcomed("anna").await;
    let pair = ConversationId::pair(protocol::AccountId(1), protocol::AccountId(9)).to_bytes();
    let gone = |world: &cluster::World| {
        let mut all = world.unregisters.iter();
        all.any(|gone| gone.accounts.contains(&1))
    };
    let pushing = async {
        // More than the sockets hold between them.
        for sequence in 1..=400 {
            let mut long = fanout(0, sequence);
            long.conversation_id = pair.clone();
            long.frame = Frame {
                body: vec![0; 250_000].into(),
                ..Frame::notice(client::PUSH, &Push::default())
            }
            .to_bytes();
            cluster.shared.router_says(method::FANOUT, &long).await;
        }
        cluster.shared.until("anna is gone", gone).await;
    };
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let pinging = async {
        loop {
            ticks.tick().await;
            if !anna.try_send(client::PING, 1, &Ping::default()).await {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = pushing => {}
        () = pinging => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_that_wait_at_a_drain_are_passed_on() {
    let cluster = cluster().await;
    let (mut anna, _) = cluster.welcomed("anna").await;
    let mark = |delivered| Marks {
        marks: vec![Mark {
            conversation_id: group(),
            delivered,
            read: 0,
        }],
        history_generation: 0,
    };
    anna.send(client::MARKS, 0, &mark(3)).await;
    let drain = cluster.drain.clone();
    let draining = tokio::spawn(async move { drain.finish(Duration::from_secs(10)).await });
    anna.receive(client::GO_AWAY).await;
    anna.send(client::MARKS, 0, &mark(8)).await;
    drop(anna);
    assert_eq!(draining.await.unwrap(), DrainOutcome::Clean);
    let highest = |world: &cluster::World| {
        let mut marks = world.marks.iter().filter_map(|of| of.mark.as_ref());
        marks.any(|mark| mark.delivered == 8)
    };
    cluster.shared.until("the last mark", highest).await;
}
