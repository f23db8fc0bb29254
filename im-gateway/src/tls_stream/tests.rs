//! Over real sockets, with rustls' own client at the other end.

use bytes::Bytes;
use rustls::client::ClientConnection;
use rustls_pki_types::ServerName;
use service_kit::testing::Authority;
use service_kit::tls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use super::*;

type Client = tokio_rustls::client::TlsStream<TcpStream>;

/// Both ends of a connection.
async fn pair() -> (TlsStream, Client) {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let public = authority.files(folder.path(), "localhost");
    let server = tls::public_server(&public.certificate, &public.key, &public.ca).unwrap();
    let client = tls::internal_client(&authority.files(folder.path(), "robot")).unwrap();
    let mut client = rustls::ClientConfig::clone(&client);
    client.alpn_protocols = vec![tls::ALPN_CLIENT.to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connecting = async {
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(client));
        connector.connect(name, tcp).await.unwrap()
    };
    let accepting = async {
        let (tcp, _) = listener.accept().await.unwrap();
        TlsStream::accept(tcp, server).await.unwrap()
    };
    let (client, server) = tokio::join!(connecting, accepting);
    (server, client)
}

async fn receive(stream: &mut TlsStream) -> io::Result<bool> {
    std::future::poll_fn(|cx| stream.poll_receive(cx)).await
}

async fn send(stream: &mut TlsStream, plain: &[u8]) -> io::Result<()> {
    std::future::poll_fn(|cx| Poll::Ready(stream.write(cx, plain))).await?;
    std::future::poll_fn(|cx| stream.poll_flush(cx)).await
}

fn text(bytes: usize) -> Bytes {
    (0..=250).cycle().take(bytes).collect()
}

#[tokio::test]
async fn what_is_written_is_read_both_ways_in_pieces_of_any_size() {
    let (mut server, mut client) = pair().await;
    assert!(tls::peer_dns_name(server.session()).is_some_and(|name| name == "robot"));
    for bytes in [1, 100, 16_384, 16_385, 300_000] {
        let sent = text(bytes);
        let writing = async {
            client.write_all(&sent).await.unwrap();
            client.flush().await.unwrap();
        };
        let reading = async {
            while server.plain().len() < bytes {
                assert!(receive(&mut server).await.unwrap());
            }
            server.plain().split()
        };
        let ((), received) = tokio::join!(writing, reading);
        assert_eq!(received, sent);
        let mut received = vec![0; bytes];
        let (sent_back, heard) =
            tokio::join!(send(&mut server, &sent), client.read_exact(&mut received));
        sent_back.unwrap();
        heard.unwrap();
        assert_eq!(received, sent);
    }
    // Nothing is kept once nothing moves.
    assert_eq!(server.received.capacity(), 0);
    assert_eq!(server.unsent.capacity(), 0);
}

#[tokio::test]
async fn what_a_client_does_not_read_is_kept_and_written_in_order_later() {
    let (mut server, mut client) = pair().await;
    let sent = text(60_000);
    let mut written = 0;
    while !server.has_unsent() {
        std::future::poll_fn(|cx| Poll::Ready(server.write(cx, &sent)))
            .await
            .unwrap();
        written += sent.len();
    }
    let mut received = vec![0; written];
    let (flushed, heard) = tokio::join!(
        std::future::poll_fn(|cx| server.poll_flush(cx)),
        client.read_exact(&mut received)
    );
    flushed.unwrap();
    heard.unwrap();
    assert!(received.chunks(sent.len()).all(|chunk| chunk == sent));
    assert!(!server.has_unsent());
}

#[tokio::test]
async fn the_end_of_either_side_is_told() {
    let (mut server, mut client) = pair().await;
    client.write_all(b"last").await.unwrap();
    client.shutdown().await.unwrap();
    while receive(&mut server).await.unwrap() {}
    assert_eq!(&server.plain()[..], b"last");
    send(&mut server, b"word").await.unwrap();
    server.shutdown().await.unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "word");
}

#[tokio::test]
async fn a_change_of_keys_is_followed() {
    let (mut server, mut client) = pair().await;
    for round in 0..3_u8 {
        let (_, connection): (_, &mut ClientConnection) = client.get_mut();
        connection.refresh_traffic_keys().unwrap();
        client.write_all(&[round; 10]).await.unwrap();
        client.flush().await.unwrap();
        while server.plain().len() < 10 {
            assert!(receive(&mut server).await.unwrap());
        }
        assert_eq!(server.plain().split()[..], [round; 10]);
        send(&mut server, &[round; 7]).await.unwrap();
        let mut heard = [0; 7];
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, [round; 7]);
    }
}

#[tokio::test]
async fn a_record_that_was_tampered_with_ends_the_connection_with_an_alert() {
    let (mut server, mut client) = pair().await;
    // A record of the right form that nobody has encrypted.
    let mut forged = vec![23, 3, 3, 0, 40];
    forged.extend([7; 40]);
    client.get_mut().0.write_all(&forged).await.unwrap();
    let error = receive(&mut server).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let heard = client.read_u8().await.unwrap_err();
    let alert = heard.get_ref().and_then(|inner| inner.downcast_ref());
    assert_eq!(
        alert,
        Some(&rustls::Error::AlertReceived(
            rustls::AlertDescription::BadRecordMac
        ))
    );
}
