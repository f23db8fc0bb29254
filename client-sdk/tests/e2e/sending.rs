//! A message is stored once, under one id, in order; or the sender learns what is known of it.

use std::time::Duration;

use client_sdk::protocol::limits::CONTENT_BYTES_MAX;
use client_sdk::{
    Client, ClientMessageId, Content, ConversationId, Credential, ErrorCode, Outgoing, Refusal,
    SendError, clock, content, journal::MemoryJournal,
};

use super::gateway::Fleet;
use super::state::{Fault, ME, PLANNER, State};

fn group() -> ConversationId {
    ConversationId::group(1)
}

fn text(n: usize) -> Outgoing {
    Outgoing::new(group(), content::text(n.to_string()))
}

fn lost(stored: bool) -> Fault {
    Fault::HangUp { stored }
}

fn unavailable() -> Fault {
    Fault::Refuse(Refusal::unavailable("the store is away").retry_after_ms(1))
}

fn ids(fleet: &Fleet) -> Vec<ClientMessageId> {
    fleet.with(|state| state.sends.iter().map(|(_, id)| *id).collect())
}

#[tokio::test]
async fn a_send_ends_when_the_message_is_stored() {
    let fleet = Fleet::new();
    let (client, _events) = fleet.client().await;
    let receipt = client.send(group(), content::text("hello")).await.unwrap();
    assert_eq!(receipt.sequence.0, 1);
    assert_eq!((receipt.duplicate, receipt.attempts), (false, 1));
    assert_eq!(ids(&fleet), [receipt.client_message_id]);
    let stored = fleet.with(|state| state.contents(group()));
    assert_eq!(stored, [content::text("hello")]);
}

#[tokio::test]
async fn an_ack_that_is_lost_is_asked_for_again_under_the_same_id() {
    for stored in [true, false] {
        let fleet = Fleet::new();
        let (client, _events) = fleet.client().await;
        fleet.with(|state| state.faults.push_back(lost(stored)));
        let receipt = client.send_with(text(1)).await.unwrap();
        assert_eq!((receipt.duplicate, receipt.attempts), (stored, 2));
        let id = receipt.client_message_id;
        assert_eq!(ids(&fleet), [id, id]);
        assert_eq!(fleet.with(|state| state.logs[&group()].len()), 1);
        let stats = client.stats();
        assert_eq!((stats.sent, stats.acked, stats.resent), (1, 1, 1));
    }
}

#[tokio::test]
async fn many_messages_stay_in_order_over_losses_and_are_stored_once() {
    let fleet = Fleet::new();
    let (client, _events) = fleet.client().await;
    client.send_with(text(0)).await.unwrap();
    // The loss comes when many are in flight, and again with the first of the next connection.
    fleet.with(|state| state.faults.extend([lost(true), lost(false)]));
    let handles: Vec<_> = (1..=200).map(|n| client.send_nowait(text(n))).collect();
    for handle in handles {
        handle.await.unwrap();
    }
    let expected: Vec<Content> = (0..=200).map(|n| content::text(n.to_string())).collect();
    fleet.with(|state| {
        assert_eq!(state.contents(group()), expected);
        assert_eq!(state.hellos.len(), 3);
    });
}

#[tokio::test]
async fn on_a_new_connection_nothing_follows_the_first_message_before_its_ack() {
    let fleet = Fleet::new();
    let (client, _events) = fleet.client().await;
    client.send_with(text(0)).await.unwrap();
    fleet.with(|state| state.faults.extend([lost(false), Fault::Silence]));
    let first = client.send_nowait(text(1).timeout(Duration::from_secs(1)));
    let rest = [2, 3].map(|n| client.send_nowait(text(n)));
    let lost_first = first.client_message_id();
    fleet.until(|state| on_second(state).len() == 1).await;
    fleet.settled().await;
    assert_eq!(fleet.with(|state| on_second(state)), [lost_first], "alone");
    let error = first.await.unwrap_err();
    assert!(matches!(error, SendError::OutcomeUnknown { .. }), "{error}");
    for handle in rest {
        handle.await.unwrap();
    }
    let texts = [0, 2, 3].map(|n| content::text(n.to_string()));
    assert_eq!(fleet.with(|state| state.contents(group())), texts);
}

/// The sends that came on the second connection.
fn on_second(state: &State) -> Vec<ClientMessageId> {
    let second = state.sends.iter().filter(|(at, _)| *at == 2);
    second.map(|(_, id)| *id).collect()
}

#[tokio::test]
async fn a_server_that_is_unavailable_is_asked_again() {
    let fleet = Fleet::new();
    let (client, _events) = fleet.client().await;
    fleet.with(|state| state.faults.extend([unavailable(), unavailable()]));
    let receipt = client.send_with(text(1)).await.unwrap();
    assert_eq!((receipt.sequence.0, receipt.attempts), (1, 3));
    assert!(!receipt.duplicate);
}

#[tokio::test]
async fn a_refusal_for_good_ends_the_send_and_lets_the_next_pass() {
    let fleet = Fleet::new();
    let (client, _events) = fleet.client().await;
    let refusal = Refusal::new(ErrorCode::NotAMember, "not a member");
    fleet.with(|state| state.faults.push_back(Fault::Refuse(refusal.clone())));
    let refused = client.send_nowait(text(1));
    let next = client.send_nowait(text(2));
    assert_eq!(refused.await.unwrap_err(), SendError::Refused(refusal));
    assert_eq!(next.await.unwrap().sequence.0, 1);
}

#[tokio::test]
async fn a_send_whose_time_is_over_says_what_is_known() {
    let fleet = Fleet::new();
    let (client, _events) = fleet.client().await;
    let patience = Duration::from_millis(100);
    fleet.with(|state| state.faults.push_back(Fault::Silence));
    let silent = client.send_with(text(1).timeout(patience)).await;
    let error = silent.unwrap_err();
    assert!(matches!(error, SendError::OutcomeUnknown { .. }), "{error}");
    // Each attempt is answered with a refusal: certainly not stored.
    fleet.with(|state| {
        let refusal = Refusal::unavailable("the store is away").retry_after_ms(60_000);
        state.faults.push_back(Fault::Refuse(refusal));
    });
    let refused = client.send_with(text(2).timeout(patience)).await;
    let error = refused.unwrap_err();
    assert!(
        matches!(error, SendError::NotSent { last: Some(_), .. }),
        "{error}"
    );
    // The lane is not blocked by what was given up.
    assert_eq!(client.send_with(text(3)).await.unwrap().sequence.0, 1);
}

#[tokio::test]
async fn the_outbox_is_bounded_in_messages_and_in_bytes() {
    let fleet = Fleet::new();
    let address = fleet.gateway().await;
    let credential = Credential::Token("operator".into());
    let mut config = fleet.authority.config(&[&address], credential);
    config.outbox_messages_max = 2;
    config.outbox_bytes_max = 1000;
    let (client, _events) = Client::connect(config).await.unwrap();
    let accepted = [1, 2].map(|n| client.send_nowait(text(n)));
    let refused = client.send_nowait(text(3)).await;
    assert_eq!(refused.unwrap_err(), SendError::QueueFull);
    for handle in accepted {
        handle.await.unwrap();
    }
    assert!(
        client.send_with(text(4)).await.is_ok(),
        "there is room again"
    );
    let large = content::text("x".repeat(2000));
    let refused = client.send(group(), large).await;
    assert_eq!(refused.unwrap_err(), SendError::QueueFull);
}

#[tokio::test]
async fn content_over_the_limit_is_refused_before_it_is_sent() {
    let fleet = Fleet::new();
    let (client, _events) = fleet.client().await;
    let huge = content::text("x".repeat(CONTENT_BYTES_MAX));
    let SendError::Refused(refusal) = client.send(group(), huge).await.unwrap_err() else {
        panic!("it is refused");
    };
    assert_eq!(refusal.code, ErrorCode::ContentTooLong);
    assert!(ids(&fleet).is_empty());
    // The longest that is allowed passes, compressed on the way.
    let long = content::text("x".repeat(CONTENT_BYTES_MAX - 16));
    assert!(client.send(group(), long.clone()).await.is_ok());
    assert_eq!(fleet.with(|state| state.contents(group())), [long]);
}

#[tokio::test]
async fn what_a_journal_keeps_is_sent_by_the_next_run_under_its_id() {
    let fleet = Fleet::new();
    let address = fleet.gateway().await;
    let credential = Credential::Token("operator".into());
    let config = fleet.authority.config(&[&address], credential);
    let journal = MemoryJournal::default();
    let (client, _events) = Client::connect_with_journal(config.clone(), Box::new(journal.clone()))
        .await
        .unwrap();
    fleet.with(|state| state.faults.push_back(Fault::Silence));
    let handle = client.send_nowait(text(1));
    let id = handle.client_message_id();
    fleet.until(|state| state.sends.len() == 1).await;
    client.close().await;
    let error = handle.await.unwrap_err();
    assert!(matches!(error, SendError::OutcomeUnknown { .. }), "{error}");
    let _next = Client::connect_with_journal(config, Box::new(journal))
        .await
        .unwrap();
    fleet.until(|state| state.sends.len() == 2).await;
    assert_eq!(ids(&fleet), [id, id]);
}

#[tokio::test]
async fn an_ephemeral_message_is_not_stored_and_not_repeated() {
    let fleet = Fleet::new();
    let (client, _events) = fleet.client().await;
    let pair = client.pair_with(PLANNER);
    client
        .send_ephemeral(pair, "typing", content::text("..."))
        .await
        .unwrap();
    fleet.with(|state| {
        assert_eq!(state.ephemerals.len(), 1);
        assert!(state.logs.is_empty());
    });
    assert!(pair.is_pair_of(ME));
}

/// A robot whose clock is a year off would make ids that the store refuses.
#[tokio::test]
async fn a_new_id_is_of_the_servers_time_whatever_our_clock_says() {
    const YEAR_MS: i64 = 365 * 24 * 3600 * 1000;
    for ahead in [-YEAR_MS, YEAR_MS] {
        let fleet = Fleet::new();
        fleet.with(|state| state.clock_ahead_ms = ahead);
        let (client, _events) = fleet.client().await;
        let theirs = clock::unix_ms().saturating_add_signed(ahead);
        client.send(group(), content::text("hello")).await.unwrap();
        let made_at_ms = ids(&fleet)[0].made_at_ms();
        for time in [made_at_ms, client.server_time_ms()] {
            assert!(time.abs_diff(theirs) < 60_000, "{time} {theirs}");
        }
    }
}
