//! Coming back with a ticket: who somebody is stays what it was, and for how long is still asked.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection};
use rustls_pki_types::ServerName;
use service_kit::testing::Authority;
use service_kit::{clock, tls};

/// Three thousand years, in milliseconds: longer than any certificate of a test is good.
const LONG_MS: u64 = 3000 * 365 * 24 * 60 * 60 * 1000;

/// A client that holds a certificate of the authority for the name `robot`, and two gateways that
/// are reached under one name.
fn fleet(folder: &std::path::Path) -> (Arc<ClientConfig>, [Arc<ServerConfig>; 2]) {
    let authority = Authority::new();
    let (public, robot) = (
        authority.files(folder, "localhost"),
        authority.files(folder, "robot"),
    );
    let gateway = || tls::public_server(&public.certificate, &public.key, &public.ca).unwrap();
    let client = tls::internal_client(&robot).unwrap();
    let mut client = ClientConfig::clone(&client);
    client.alpn_protocols = vec![tls::ALPN_CLIENT.to_vec()];
    (Arc::new(client), [gateway(), gateway()])
}

/// Connects, and lets the client read what comes after the handshake.
fn connect(client: &Arc<ClientConfig>, gateway: &Arc<ServerConfig>) -> ServerConnection {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(gateway)).unwrap();
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut arriving = &wire[..];
        while !arriving.is_empty() {
            server.read_tls(&mut arriving).unwrap();
            server.process_new_packets().unwrap();
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut arriving = &wire[..];
        while !arriving.is_empty() {
            client.read_tls(&mut arriving).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    server
}

#[test]
fn who_comes_back_with_a_ticket_is_who_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (client, [gateway, other]) = fleet(folder.path());
    let first = connect(&client, &gateway);
    assert_eq!(first.handshake_kind(), Some(HandshakeKind::Full));
    for _ in 0..3 {
        // Every ticket is good for one connection, which brings the next.
        let back = connect(&client, &gateway);
        assert_eq!(back.handshake_kind(), Some(HandshakeKind::Resumed));
        assert_eq!(tls::peer_dns_name(&back).unwrap(), "robot");
    }
    // Another process has another key.
    let elsewhere = connect(&client, &other);
    assert_eq!(elsewhere.handshake_kind(), Some(HandshakeKind::Full));
    assert_eq!(tls::peer_dns_name(&elsewhere).unwrap(), "robot");
}

#[test]
fn a_ticket_does_not_outlive_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (client, [gateway, _]) = fleet(folder.path());
    connect(&client, &gateway);
    let back = connect(&client, &gateway);
    assert_eq!(back.handshake_kind(), Some(HandshakeKind::Resumed));
    let now_ms = clock::unix_ms();
    assert!(tls::peer_is_current(&back, now_ms));
    assert!(!tls::peer_is_current(&back, now_ms + LONG_MS));
}
