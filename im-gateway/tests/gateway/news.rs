//! What a session is told without asking: how far its conversations are, and who the gateways are.

use std::sync::Arc;

use protocol::error::decode_body;
use protocol::kind::client;
use protocol::limits::GATEWAY_ADDRESS_BYTES_MAX;
use protocol::wire::{Gateways, Head, Ping, Pong};
use service_kit::live::{Instance, InstanceId, LiveSet};

use super::{cluster, group, known};

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_says_how_far_a_conversation_is_whose_last_push_was_told() {
    let cluster = cluster().await;
    let (mut anna, _) = cluster.welcomed("anna").await;
    let last = known(&cluster, &mut anna, 1, 2).await;
    let head = Head {
        conversation_id: group(),
        head: last,
    };
    for heads in [vec![head], vec![]] {
        anna.send(client::PING, 5, &Ping { sent_at_ms: 9 }).await;
        let pong: Pong = decode_body(anna.receive(client::PONG).await.body).unwrap();
        assert_eq!((pong.ping_sent_at_ms, pong.heads), (9, heads));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_where_gateways_live_at_hello_and_when_that_changes() {
    let cluster = cluster().await;
    let set = |addresses: &[&str]| {
        let instance = |(n, address): (usize, &&str)| Instance {
            id: InstanceId(n as u64),
            address: (*address).to_owned(),
        };
        let instances = addresses.iter().enumerate().map(instance);
        Arc::new(LiveSet::new(instances.collect()))
    };
    cluster.gateways.send_replace(set(&["gate-1:7443"]));
    let (mut anna, welcome) = cluster.welcomed("anna").await;
    assert_eq!(welcome.gateways, ["gate-1:7443"]);

    // What no list holds is left out, and so is what is not known.
    let long = format!("{}:7443", "g".repeat(GATEWAY_ADDRESS_BYTES_MAX));
    cluster.gateways.send_replace(set(&[]));
    let two = set(&["gate-1:7443", &long, "gate-2:7443"]);
    cluster.gateways.send_replace(two);
    let told = loop {
        let list: Gateways = decode_body(anna.receive(client::GATEWAYS).await.body).unwrap();
        // The one from before the hello may come again.
        if list.addresses != ["gate-1:7443"] {
            break list.addresses;
        }
    };
    assert_eq!(told, ["gate-1:7443", "gate-2:7443"]);
}
