//! Each peer starts from its package, and what one member publishes comes to all, in order, once.

use std::sync::Arc;

use bench::peers::{self, Codec, Event, Server, Settings, Shape, System, Target};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Two, to see that nothing goes from one to the other; a publisher and three who only receive.
const SHAPE: Shape = Shape {
    groups: 2,
    members: 4,
};

const MESSAGES: u64 = 100;

/// A connection, and what its codec has told.
struct Link {
    stream: TlsStream<TcpStream>,
    codec: Box<dyn Codec>,
    input: Vec<u8>,
    is_ready: bool,
    acked: Vec<u64>,
    delivered: Vec<Vec<u8>>,
}

impl Link {
    async fn connect(target: &Target, client: usize) -> Self {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(&target.ca).unwrap();
        roots.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = TcpStream::connect(target.address).await.unwrap();
        while target.line_before_tls && tcp.read_u8().await.unwrap() != b'\n' {}
        let name = ServerName::try_from(target.server_name.clone()).unwrap();
        let connector = TlsConnector::from(Arc::new(tls));
        let mut link = Self {
            stream: connector.connect(name, tcp).await.unwrap(),
            codec: target.clients.codec(&SHAPE, client).unwrap(),
            input: Vec::new(),
            is_ready: false,
            acked: Vec::new(),
            delivered: Vec::new(),
        };
        let mut out = Vec::new();
        link.codec.open(0, &mut out);
        link.say(&out).await;
        link.hear_until(|link| link.is_ready).await;
        link
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn hear_until(&mut self, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            let read = self.stream.read_buf(&mut self.input).await.unwrap();
            assert_ne!(read, 0, "the server has closed the connection");
            let mut out = Vec::new();
            let (acked, delivered) = (&mut self.acked, &mut self.delivered);
            let mut tell = |event: Event<'_>| match event {
                Event::Ready => self.is_ready = true,
                Event::Acked { ticket } => acked.push(ticket),
                Event::Delivered { payload } => delivered.push(payload.to_vec()),
            };
            let taken = self.codec.read(&self.input, 0, &mut out, &mut tell);
            self.input.drain(..taken.unwrap());
            self.say(&out).await;
        }
    }
}

/// Any bytes may stand in a payload.
fn payload(group: usize, number: u64) -> Vec<u8> {
    format!("{group}\0\r\n<&>\u{ff}{number}").into_bytes()
}

async fn exchanges(system: System, settings: Settings) -> Server {
    let server = peers::start(system, settings, &SHAPE).await.unwrap();
    let mut links = Vec::new();
    for client in 0..SHAPE.clients() {
        links.push(Link::connect(&server.target, client).await);
    }
    for (group, members) in links.chunks_mut(SHAPE.members).enumerate() {
        let mut out = Vec::new();
        for ticket in 1..=MESSAGES {
            let payload = payload(group, ticket);
            members[0].codec.publish(ticket, &payload, 0, &mut out);
        }
        members[0].say(&out).await;
    }
    let count = usize::try_from(MESSAGES).unwrap();
    for (client, link) in links.iter_mut().enumerate() {
        let group = SHAPE.group_of(client);
        let publishes = client % SHAPE.members == 0 && server.target.acknowledges;
        let acks = if publishes { count } else { 0 };
        let enough = |link: &Link| link.delivered.len() >= count && link.acked.len() >= acks;
        link.hear_until(enough).await;
        let expected: Vec<_> = (1..=MESSAGES).map(|n| payload(group, n)).collect();
        assert_eq!(link.delivered, expected);
        link.acked.sort_unstable();
        let expected: Vec<_> = (1..=MESSAGES).take(acks).collect();
        assert_eq!(link.acked, expected);
    }
    server
}

#[tokio::test]
async fn mosquitto_passes_messages_on() {
    exchanges(System::Mosquitto, Settings::Default).await;
}

#[tokio::test]
async fn nats_passes_messages_on() {
    exchanges(System::Nats, Settings::Default).await;
}

#[tokio::test]
async fn jetstream_stores_messages_and_passes_them_on() {
    for settings in [Settings::Default, Settings::SyncAlways] {
        exchanges(System::Jetstream, settings).await;
    }
}

#[tokio::test]
async fn ejabberd_archives_messages_and_passes_them_on() {
    exchanges(System::Ejabberd, Settings::Default).await;
}

/// A row would say that a system syncs what it does not.
#[tokio::test]
async fn a_setting_that_a_system_lacks_is_refused() {
    for system in [System::Mosquitto, System::Nats, System::Ejabberd] {
        let started = peers::start(system, Settings::SyncAlways, &SHAPE).await;
        assert!(started.is_err(), "{system:?}");
    }
}
