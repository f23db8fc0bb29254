//! A store process that is stopped (SIGSTOP) between INSERT and COMMIT, and goes on when another
//! store has appended to the same conversation. On one server, and across the nodes of a cluster.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use im_store::writer::Writer;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::kind::method;
use protocol::wire::EntryKind;
use protocol::wire::internal::{Append, Appended};
use protocol::{ClientMessageId, ErrorCode, Refusal, Roles, content};
use service_kit::drain::Drain;
use service_kit::rpc::{self, Link, LinkConfig};
use service_kit::testing::Authority;
use service_kit::{clock, tls};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::backend::{Backend, MySql};
use crate::cut::{Line, Next};
use crate::galera::Nodes;
use crate::writer::{history, pair, start, text};

/// What the SDK gives a send, unless told otherwise.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the other end of a link may take for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A store of its own, as it is installed.
struct Process {
    process: Child,
    link: Link,
    _folder: TempDir,
    _drain: Drain,
}

impl Process {
    async fn start(database: &str) -> Self {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        let own = authority.files(folder.path(), "im-store");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = port.local_addr().unwrap().to_string();
        drop(port);
        let process = Command::new(env!("CARGO_BIN_EXE_im-store"))
            .env("IM_STORE__DATABASE__URL", database)
            .env("IM_STORE__LISTEN__ADDRESS", &address)
            .env("IM_STORE__ADMIN__LISTEN", "127.0.0.1:0")
            .env("IM_STORE__LINKS__ROUTER", "127.0.0.1:9")
            .env("IM_STORE__INTERNAL_TLS__CA", own.ca)
            .env("IM_STORE__INTERNAL_TLS__CERTIFICATE", own.certificate)
            .env("IM_STORE__INTERNAL_TLS__KEY", own.key)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let logic = authority.files(folder.path(), "im-logic");
        let to_store = LinkConfig {
            name: "im-store",
            address,
            tls: tls::internal_client(&logic).unwrap(),
        };
        let drain = Drain::new();
        let (link, _) = rpc::connect(to_store, drain.clone());
        let up = tokio::time::timeout(SEND_TIMEOUT, link.up()).await;
        up.expect("it is reached, or has said why not");
        Self {
            process,
            link,
            _folder: folder,
            _drain: drain,
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id().unwrap()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }
}

async fn append(link: Link, id: u8) -> Result<Appended, Refusal> {
    let ask = Append {
        conversation_id: pair().to_bytes(),
        sender: 1,
        client_message_id: ClientMessageId::new(clock::unix_ms(), [id; 10]).to_bytes(),
        kind: EntryKind::Text.into(),
        content: content::encode(content::text("x")),
        sender_roles: Roles::ALL.bits(),
        ..Append::default()
    };
    let body = rpc::encode(&ask);
    loop {
        match link
            .call(method::APPEND, body.clone(), ANSWER_TIMEOUT)
            .await
        {
            Ok(stored) => return rpc::decode(stored),
            Err(refusal) => retryable(&refusal),
        }
    }
}

fn retryable(refusal: &Refusal) {
    let codes = [ErrorCode::Unavailable, ErrorCode::OutcomeUnknown];
    assert!(codes.contains(&refusal.code), "{refusal}");
}

/// Each send has an end, an ack or an error that says to try again, within its send timeout.
async fn send(writer: &Writer, id: u16) -> u64 {
    loop {
        let began = Instant::now();
        let sent = writer.append(text(pair(), 2, id, "y")).await;
        assert!(began.elapsed() < SEND_TIMEOUT, "{:?}", began.elapsed());
        match sent {
            Ok(stored) => return stored.sequence.0,
            Err(refusal) => retryable(&refusal),
        }
    }
}

/// `url` is over the line.
async fn stops_between_insert_and_commit(backend: &impl Backend, line: &Line, url: &str) {
    let owner = Process::start(url).await;
    let first = append(owner.link.clone(), 1).await.unwrap();
    assert_eq!(first.sequence, 1);
    let (other, _task) = start(backend).await;
    line.at_the_next_commit(Next::Stall);
    let its = tokio::spawn(append(owner.link.clone(), 2));
    line.stalled().await;
    owner.signal(Signal::SIGSTOP);
    assert_eq!(send(&other, 1).await, 2);
    // Its COMMIT was on the way when it was stopped, and arrives now.
    line.release().await;
    owner.signal(Signal::SIGCONT);
    assert_eq!(its.await.unwrap().unwrap().sequence, 3);
    assert_eq!(send(&other, 2).await, 4);
    let log = history(backend, pair(), 1).await;
    let senders: Vec<_> = log.entries.iter().map(|e| (e.sequence, e.sender)).collect();
    assert_eq!(senders, [(1, 1), (2, 2), (3, 1), (4, 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_store_process_on_one_server() {
    let backend = MySql::start().await;
    let line = Line::to((Ipv4Addr::LOCALHOST, backend.server.port()).into()).await;
    let url = format!("mysql://root@{}/im?ssl-mode=DISABLED", line.address);
    stops_between_insert_and_commit(&backend, &line, &url).await;
}

/// The line leads to the first node; the other store is at the second.
pub(crate) async fn a_stopped_store_process_on_a_cluster(nodes: &Nodes) {
    let line = Line::to(nodes.cluster.address(0)).await;
    nodes.begin_at(1);
    stops_between_insert_and_commit(nodes, &line, &nodes.url_over(&line)).await;
}
