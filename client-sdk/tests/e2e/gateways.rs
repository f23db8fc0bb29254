//! Where a client goes when it loses its gateway, and how long one that hangs may hold it.

use std::time::Duration;

use client_sdk::protocol::Frame;
use client_sdk::protocol::kind::client as kind;
use client_sdk::protocol::wire::{Gateways, GoAway};
use client_sdk::{Client, Credential, Event, Events};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::gateway::{Fleet, next};

async fn client_of(fleet: &Fleet, address: &str) -> (Client, Events) {
    let config = fleet
        .authority
        .config(&[address], Credential::Token("operator".into()));
    let (client, mut events) = Client::connect(config).await.unwrap();
    connected(&mut events).await;
    (client, events)
}

async fn connected(events: &mut Events) {
    next(events, |event| (event == Event::Connected).then_some(())).await;
}

/// Where the last hello came to.
fn last_at(fleet: &Fleet) -> String {
    fleet.with(|state| state.hellos.last().unwrap().0.clone())
}

#[tokio::test]
async fn a_client_goes_to_the_gateways_that_it_was_told_of() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.gateway().await, fleet.gateway().await);
    let c = fleet.gateway().await;
    fleet.with(|state| state.listed = vec!["no address".into(), b.clone()]);
    let (client, mut events) = client_of(&fleet, &a).await;
    fleet.hang_up();
    connected(&mut events).await;
    assert_eq!(last_at(&fleet), b);
    // From the first hello and the second.
    assert_eq!(client.stats().gateways_passed_over, 2);

    // The list changes, and then its own gateway is drained.
    let addresses = vec![c.clone()];
    fleet.say(&Frame::notice(kind::GATEWAYS, &Gateways { addresses }));
    let away = GoAway {
        reason: "drained".into(),
        grace_ms: 5_000,
        reconnect: true,
    };
    fleet.say(&Frame::notice(kind::GO_AWAY, &away));
    connected(&mut events).await;
    assert_eq!(last_at(&fleet), c);
}

#[tokio::test]
async fn the_configured_addresses_stay_when_those_told_are_gone() {
    let fleet = Fleet::new();
    let a = fleet.gateway().await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = gone.local_addr().unwrap().to_string();
    fleet.with(|state| state.listed = vec![gone]);
    let (_client, mut events) = client_of(&fleet, &a).await;
    fleet.hang_up();
    connected(&mut events).await;
    assert_eq!(last_at(&fleet), a);
}

#[tokio::test]
async fn a_gateway_that_hangs_holds_a_client_for_seconds() {
    let fleet = Fleet::new();
    let a = fleet.gateway().await;
    // Connections are made by the kernel, and nobody answers, as with a paused process.
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = hangs.local_addr().unwrap().to_string();
    fleet.with(|state| state.listed = vec![address]);
    let (_client, mut events) = client_of(&fleet, &a).await;
    let lost = Instant::now();
    fleet.hang_up();
    connected(&mut events).await;
    let away = lost.elapsed();
    assert!(away >= Duration::from_secs(3), "it was not tried: {away:?}");
    assert!(away < Duration::from_secs(9), "{away:?}");
}
