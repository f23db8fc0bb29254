//! A killed tier delays and loses nothing: every send is acknowledged in the end, every member hears
//! everything once and in order, and the log has it all.

use std::collections::BTreeSet;

use bench::cluster::Cluster;
use client_sdk::{Outgoing, SequenceNumber};
use deploy::tiers::{Instance, Tier};
use nix::sys::signal::Signal;

use crate::people::{Group, said, text};

const MESSAGES: usize = 400;
/// Acks after which the tier is killed: in the middle of the traffic.
const KILL_AFTER: usize = 100;

async fn survives(tier: Tier, gateways: usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start_in(folder, gateways).await.unwrap();
    let mut group = Group::make(&cluster).await;
    outlives(&mut cluster, &mut group, Instance { tier, number: 0 }).await;
    let (status, _folder) = cluster.stop().await.unwrap();
    assert!(status.success(), "{status}");
}

/// Ana talks while this process is killed, and Bo hears all of it.
pub(crate) async fn outlives(cluster: &mut Cluster, group: &mut Group, killed: Instance) {
    let conversation = group.conversation;
    let before = group.ana.client.send(conversation, text("before")).await;
    group
        .bo
        .hear_up_to(conversation, before.unwrap().sequence)
        .await;
    let mut sends: Vec<_> = (0..MESSAGES)
        .map(|n| {
            group
                .ana
                .client
                .send_nowait(Outgoing::new(conversation, text(n.to_string())))
        })
        .collect();
    let rest = sends.split_off(KILL_AFTER);
    let mut acked = BTreeSet::new();
    for send in sends {
        acked.insert(send.await.unwrap().sequence);
    }
    cluster.kill_one(killed).await.unwrap();
    for send in rest {
        acked.insert(send.await.unwrap().sequence);
    }
    assert_eq!(acked.len(), MESSAGES, "two messages with one number");
    let last = group
        .ana
        .client
        .send(conversation, text("last"))
        .await
        .unwrap()
        .sequence;

    let heard = group.bo.hear_up_to(conversation, last).await;
    let numbers: Vec<_> = heard.iter().map(|message| message.sequence.0).collect();
    let first = numbers[0];
    assert_eq!(
        numbers,
        (first..=last.0).collect::<Vec<_>>(),
        "a gap, a repeat or a swap"
    );
    assert_eq!(
        heard.iter().filter(|m| acked.contains(&m.sequence)).count(),
        MESSAGES
    );
    let words: BTreeSet<_> = heard
        .iter()
        .map(|message| said(message).to_owned())
        .collect();
    assert_eq!(
        words.len(),
        heard.len(),
        "the same message under two numbers"
    );

    let log = group
        .bo
        .client
        .history(conversation, SequenceNumber::ZERO)
        .await
        .unwrap();
    let stored: Vec<_> = log.iter().map(|entry| entry.sequence.0).collect();
    assert_eq!(stored, (1..=last.0).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_killed_gateway_loses_nothing() {
    survives(Tier::Gateway, 1).await;
}

#[tokio::test]
async fn a_killed_logic_tier_loses_nothing() {
    survives(Tier::Logic, 1).await;
}

#[tokio::test]
async fn a_killed_router_loses_nothing() {
    survives(Tier::Router, 2).await;
}

#[tokio::test]
async fn a_killed_store_loses_nothing() {
    survives(Tier::Store, 2).await;
}

#[tokio::test]
async fn a_killed_gateway_of_several_loses_nothing() {
    survives(Tier::Gateway, 3).await;
}

/// The last message of a conversation is committed and acknowledged, and its push dies with the
/// router and the store. No later message tells of it: the heads of the new store do.
#[tokio::test]
async fn what_was_committed_and_never_streamed_is_heard_all_the_same() {
    let mut cluster = Cluster::start().await.unwrap();
    let mut group = Group::make(&cluster).await;
    let conversation = group.conversation;
    // Stopped, the router takes nothing of the commit stream; what is on its way dies with it.
    let router = cluster.signal(Tier::Router, Signal::SIGSTOP).unwrap();
    let sent = group.ana.client.send(conversation, text("最后")).await;
    let sequence = sent.unwrap().sequence;
    let store = cluster.signal(Tier::Store, Signal::SIGKILL).unwrap();
    cluster.signal(Tier::Router, Signal::SIGKILL).unwrap();
    cluster.replaced(router).await.unwrap();
    cluster.replaced(store).await.unwrap();
    cluster.ready().await.unwrap();
    let heard = group.bo.hear_up_to(conversation, sequence).await;
    assert_eq!(said(heard.last().unwrap()), "最后");
}
