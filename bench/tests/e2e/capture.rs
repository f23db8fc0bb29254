//! What somebody on the wire sees: TLS 1.3, and nothing of what is said.

use std::sync::Arc;

use bench::cluster::Cluster;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::people::{Person, said, text};

/// The extension `supported_versions` of a `ServerHello` that chose TLS 1.3 (RFC 8446, 4.2.1).
const TLS_1_3_CHOSEN: [u8; 6] = [0x00, 0x2b, 0x00, 0x02, 0x03, 0x04];

/// The content type of a handshake record.
const HANDSHAKE: u8 = 0x16;

#[derive(Default)]
struct Captured {
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

/// Passes one connection on and keeps what it sees.
async fn listen_in(
    listener: TcpListener,
    server: std::net::SocketAddr,
    seen: Arc<Mutex<Captured>>,
) {
    let (client, _) = listener.accept().await.unwrap();
    let server = TcpStream::connect(server).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let also_seen = Arc::clone(&seen);
    let up = async move {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = from_client.read(&mut buffer).await {
            seen.lock().to_server.extend_from_slice(&buffer[..n]);
            to_server.write_all(&buffer[..n]).await.unwrap();
        }
    };
    let down = async move {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = from_server.read(&mut buffer).await {
            also_seen.lock().to_client.extend_from_slice(&buffer[..n]);
            to_client.write_all(&buffer[..n]).await.unwrap();
        }
    };
    tokio::join!(up, down);
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn the_wire_shows_tls_1_3_and_no_clear_text() {
    let cluster = Cluster::start().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = cluster.operator("ana").unwrap();
    config.addresses = vec![listener.local_addr().unwrap().to_string()];
    let seen = Arc::new(Mutex::new(Captured::default()));
    let server = cluster.run_file().unwrap().addresses.clients;
    tokio::spawn(listen_in(listener, server, Arc::clone(&seen)));

    let mut ana = Person::connect(config).await;
    let secret =
        "把A区的箱子搬走 - a secret of a hundred bytes and more, so that it would show ".repeat(4);
    let own = ana.client.pair_with(ana.client.account().id);
    ana.client.send(own, text(&secret)).await.unwrap();
    assert_eq!(said(&ana.hear(own).await), secret);

    let seen = seen.lock();
    assert_eq!(
        (seen.to_server[0], seen.to_client[0]),
        (HANDSHAKE, HANDSHAKE)
    );
    assert!(contains(&seen.to_client, &TLS_1_3_CHOSEN), "not TLS 1.3");
    for way in [&seen.to_server, &seen.to_client] {
        assert!(way.len() > 500, "{} bytes", way.len());
        for word in ["把A区的箱子", "secret", "im://", "ana", "client-sdk"] {
            assert!(!contains(way, word.as_bytes()), "{word} in clear text");
        }
    }
}
