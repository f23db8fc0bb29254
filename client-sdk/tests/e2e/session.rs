//! How a session begins, ends and begins again.

use std::time::Duration;

use client_sdk::protocol::Frame;
use client_sdk::protocol::kind::client as kind;
use client_sdk::protocol::wire;
use client_sdk::{
    AccountKind, Client, CloseReason, Credential, Error, ErrorCode, Event, SessionId, content,
};
use tokio::net::TcpListener;

use super::authority::Authority;
use super::gateway::{Fleet, next};
use super::state::ME;

fn operator() -> Credential {
    Credential::Token("operator".into())
}

/// An address at which nobody listens.
async fn dead_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

fn go_away(reconnect: bool) -> Frame {
    let go_away = wire::GoAway {
        reason: "drained".into(),
        grace_ms: 5000,
        reconnect,
    };
    Frame::notice(kind::GO_AWAY, &go_away)
}

fn disconnected(event: Event) -> Option<String> {
    match event {
        Event::Disconnected { reason } => Some(reason),
        _ => None,
    }
}

fn closed(event: Event) -> Option<CloseReason> {
    match event {
        Event::Closed { reason } => Some(reason),
        _ => None,
    }
}

#[tokio::test]
async fn a_robot_is_who_its_certificate_says() {
    let fleet = Fleet::new();
    let address = fleet.gateway().await;
    let config = fleet
        .authority
        .config(&[&address], fleet.authority.robot("lift-1"));
    let (client, mut events) = Client::connect(config).await.unwrap();
    let account = client.account();
    assert_eq!((account.id, account.kind), (ME, AccountKind::Robot));
    assert_eq!(account.name, "lift-1");
    assert_eq!(client.session(), Some(SessionId(1)));
    assert_eq!(events.next().await, Some(Event::Connected));
    fleet.with(|state| {
        let (_, hello) = &state.hellos[0];
        assert_eq!((hello.min_version, hello.max_version), (1, 1));
        assert_eq!(hello.features, [i32::from(wire::Feature::Zstd)]);
        assert_eq!(hello.token, "");
        assert!(hello.client_name.starts_with("client-sdk/"));
    });
    client.close().await;
    let reason = next(&mut events, closed).await;
    assert_eq!(reason, CloseReason::ByApplication);
    assert_eq!(events.next().await, None);
    let late = client
        .send(client.pair_with(ME), content::text("late"))
        .await;
    assert_eq!(late.unwrap_err(), client_sdk::SendError::Closed);
}

#[tokio::test]
async fn a_person_shows_a_token_and_a_wrong_one_fails_at_once() {
    let fleet = Fleet::new();
    let (client, _events) = fleet.client().await;
    assert_eq!(client.account().kind, AccountKind::Operator);
    let address = fleet.gateway().await;
    let wrong = Credential::Token("stolen".into());
    let refused = Client::connect(fleet.authority.config(&[&address], wrong)).await;
    let error = refused.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn certificates_that_do_not_match_fail_at_once_on_either_side() {
    let fleet = Fleet::new();
    let address = fleet.gateway().await;
    let stranger = Authority::new();
    let untrusted_server = stranger.config(&[&address], operator());
    let untrusted_robot = fleet
        .authority
        .config(&[&address], stranger.robot("lift-1"));
    for config in [untrusted_server, untrusted_robot] {
        let error = Client::connect(config).await.unwrap_err();
        assert!(matches!(error, Error::Certificate(_)), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_given_up_after_the_connect_timeout() {
    let fleet = Fleet::new();
    let address = dead_address().await;
    let mut config = fleet.authority.config(&[&address], operator());
    config.connect_timeout = Duration::from_millis(50);
    let error = Client::connect(config).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn of_several_addresses_one_that_works_is_enough() {
    let fleet = Fleet::new();
    let (dead, live) = (dead_address().await, fleet.gateway().await);
    for _ in 0..4 {
        let config = fleet.authority.config(&[&dead, &live], operator());
        let (client, _events) = Client::connect(config).await.unwrap();
        assert!(client.session().is_some());
    }
}

#[tokio::test]
async fn a_server_that_goes_away_answers_what_is_in_flight_and_the_client_goes_elsewhere() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.gateway().await, fleet.gateway().await);
    let config = fleet.authority.config(&[&one, &other], operator());
    let (client, mut events) = Client::connect(config).await.unwrap();
    for connections in 1..=4 {
        fleet.say(&go_away(true));
        assert_eq!(next(&mut events, disconnected).await, "drained");
        fleet
            .until(|state| state.hellos.len() == connections + 1)
            .await;
        fleet.with(|state| {
            let at = |n: usize| &state.hellos[n].0;
            assert_ne!(at(connections), at(connections - 1), "elsewhere");
        });
        let receipt = client.send(client.pair_with(ME), content::text("hello"));
        assert_eq!(receipt.await.unwrap().sequence.0, connections as u64);
    }
    assert_eq!(client.stats().reconnects, 4);
}

#[tokio::test]
async fn a_client_that_is_sent_away_for_good_ends() {
    let fleet = Fleet::new();
    let (client, mut events) = fleet.client().await;
    fleet.say(&go_away(false));
    let reason = next(&mut events, closed).await;
    assert_eq!(reason, CloseReason::SentAway("drained".into()));
    assert_eq!(events.next().await, None);
    assert_eq!(client.session(), None);
}

#[tokio::test]
async fn a_heartbeat_keeps_the_session_and_a_silent_server_is_left() {
    let fleet = Fleet::new();
    fleet.with(|state| state.heartbeat_interval_ms = 200);
    let (client, mut events) = fleet.client().await;
    fleet.until(|state| state.pings >= 4).await;
    assert_eq!(client.session(), Some(SessionId(1)));
    fleet.with(|state| state.answers_pings = false);
    let reason = next(&mut events, disconnected).await;
    assert_eq!(reason, "the server is silent");
}

#[tokio::test]
async fn dropping_every_handle_ends_the_client() {
    let fleet = Fleet::new();
    let (client, mut events) = fleet.client().await;
    drop(client);
    let reason = next(&mut events, closed).await;
    assert_eq!(reason, CloseReason::ByApplication);
}
