//! Links over real TLS: order, deadlines, what a break tells its callers, who gets in.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use protocol::{ErrorCode, Refusal};
use service_kit::drain::Drain;
use service_kit::rpc::{self, Handler, Link, LinkConfig, LinkEvent, LinkEvents, Peer, Request};
use service_kit::testing::Authority;
use service_kit::{listen, tls};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};

const ECHO: u16 = 1;
const NEVER: u16 = 2;
const LATER: u16 = 3;
const REFUSE: u16 = 4;
const TELL_ME: u16 = 5;
const QUEUED: u16 = 6;
const WAIT: Duration = Duration::from_secs(10);

/// Room for every request of a test: a queue of this length never makes a handler wait.
const QUEUE: usize = 16 * 1024;

struct Recorder {
    queue: mpsc::Sender<Bytes>,
    queued: Mutex<mpsc::Receiver<Bytes>>,
    started: Mutex<Vec<u8>>,
    noticed: Mutex<Vec<u8>>,
    noticed_one: Notify,
    go: Notify,
}

impl Default for Recorder {
    fn default() -> Self {
        let (queue, queued) = mpsc::channel(QUEUE);
        Self {
            queue,
            queued: Mutex::new(queued),
            started: Mutex::default(),
            noticed: Mutex::default(),
            noticed_one: Notify::new(),
            go: Notify::new(),
        }
    }
}

impl Handler for Recorder {
    fn call(
        self: &Arc<Self>,
        peer: &Peer,
        request: Request,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + 'static {
        let (recorder, peer) = (Arc::clone(self), peer.clone());
        async move {
            recorder.started.lock().extend_from_slice(&request.body);
            match request.method {
                NEVER => std::future::pending().await,
                QUEUED => recorder.queue.send(request.body.clone()).await.unwrap(),
                LATER => recorder.go.notified().await,
                REFUSE => return Err(Refusal::new(ErrorCode::Forbidden, peer.name())),
                TELL_ME => peer.notify_wait(9, request.body.clone()).await.unwrap(),
                _ => {}
            }
            Ok(request.body)
        }
    }

    async fn notice(self: &Arc<Self>, _: &Peer, _: u16, body: Bytes) {
        self.noticed.lock().extend_from_slice(&body);
        self.noticed_one.notify_one();
    }
}

struct World {
    folder: tempfile::TempDir,
    authority: Authority,
    recorder: Arc<Recorder>,
    /// `None` only while it is being dropped.
    server: Option<Runtime>,
    client: Drain,
    address: std::net::SocketAddr,
}

impl World {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
            authority: Authority::new(),
            recorder: Arc::default(),
            server: Some(Runtime::new().unwrap()),
            client: Drain::new(),
            address: listener.local_addr().unwrap(),
        };
        world.serve(listener);
        world
    }

    /// Serves on a runtime of its own, so that dropping it is like killing the process.
    fn serve(&self, listener: std::net::TcpListener) {
        let tls = tls::internal_server(&self.authority.files(self.folder.path(), "the-server"));
        let recorder = Arc::clone(&self.recorder);
        self.server.as_ref().unwrap().spawn(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = TcpListener::from_std(listener).unwrap();
            rpc::serve(
                listener,
                tls.unwrap(),
                &["the-client"],
                recorder,
                Drain::new(),
            )
            .await;
        });
    }

    fn link_as(&self, authority: &Authority, name: &str) -> (Link, LinkEvents) {
        let tls = tls::internal_client(&authority.files(self.folder.path(), name)).unwrap();
        let address = self.address.to_string();
        rpc::connect(
            LinkConfig {
                name: "the-server",
                address,
                tls,
            },
            self.client.clone(),
        )
    }

    async fn link(&self) -> (Link, LinkEvents) {
        let (link, mut events) = self.link_as(&self.authority, "the-client");
        assert!(matches!(events.next().await, Some(LinkEvent::Up)));
        (link, events)
    }
}

/// A runtime must not be dropped where it could block: inside another.
impl Drop for World {
    fn drop(&mut self) {
        if let Some(runtime) = self.server.take() {
            runtime.shutdown_background();
        }
    }
}

fn body(byte: u8) -> Bytes {
    Bytes::from(vec![byte])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_queues_at_once_is_queued_in_the_order_of_the_calls() {
    let world = World::start();
    let (link, _events) = world.link().await;
    let calls: Vec<_> = (0..10_000_u32)
        .map(|n| link.call(QUEUED, Bytes::copy_from_slice(&n.to_be_bytes()), WAIT))
        .collect();
    let asked = calls.len();
    let answered = futures_util::future::join_all(calls).await;
    // What the bounds of the link refuse is refused at once; the rest keeps its order.
    let taken = answered.iter().filter(|answer| answer.is_ok()).count();
    assert!(taken > asked / 2, "{taken} of {asked}");
    let mut queued = world.recorder.queued.lock();
    let order: Vec<_> = std::iter::from_fn(|| queued.try_recv().ok()).collect();
    assert_eq!(order.len(), taken);
    assert!(order.is_sorted());
}

#[tokio::test]
async fn pipelined_calls_start_in_order_and_each_gets_its_answer() {
    let world = World::start();
    let (link, _events) = world.link().await;
    let calls: Vec<_> = (0..200).map(|n| link.call(ECHO, body(n), WAIT)).collect();
    for (n, call) in (0..200).zip(calls) {
        assert_eq!(call.await, Ok(body(n)));
    }
    assert_eq!(*world.recorder.started.lock(), (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_slow_call_holds_nothing_up_and_a_refusal_arrives_typed() {
    let world = World::start();
    let (link, _events) = world.link().await;
    let slow = link.call(LATER, body(1), WAIT);
    assert_eq!(link.call(ECHO, body(2), WAIT).await, Ok(body(2)));
    let refusal = link.call(REFUSE, body(3), WAIT).await.unwrap_err();
    assert_eq!(
        (refusal.code, refusal.message.as_str()),
        (ErrorCode::Forbidden, "the-client")
    );
    world.recorder.go.notify_one();
    assert_eq!(slow.await, Ok(body(1)));
}

#[tokio::test]
async fn a_call_past_its_deadline_has_an_unknown_outcome() {
    let world = World::start();
    let (link, _events) = world.link().await;
    let refusal = link
        .call(NEVER, body(1), Duration::from_millis(30))
        .await
        .unwrap_err();
    assert_eq!(refusal.code, ErrorCode::OutcomeUnknown);
    assert_eq!(link.call(ECHO, body(2), WAIT).await, Ok(body(2)));
}

#[tokio::test]
async fn a_break_fails_what_waits_and_the_link_comes_back_on_the_same_port() {
    let mut world = World::start();
    let (link, mut events) = world.link().await;
    let waiting = link.call(NEVER, body(1), WAIT);
    // An answered call after it: the first one has certainly left.
    assert_eq!(link.call(ECHO, body(2), WAIT).await, Ok(body(2)));
    world
        .server
        .replace(Runtime::new().unwrap())
        .unwrap()
        .shutdown_background();
    assert_eq!(waiting.await.unwrap_err().code, ErrorCode::OutcomeUnknown);
    assert!(matches!(events.next().await, Some(LinkEvent::Down)));
    let refusal = link.call(ECHO, body(3), WAIT).await.unwrap_err();
    assert_eq!(refusal.code, ErrorCode::Unavailable);

    let listener = listen::bind("test", world.address)
        .await
        .unwrap()
        .into_std()
        .unwrap();
    world.serve(listener);
    assert!(matches!(events.next().await, Some(LinkEvent::Up)));
    assert_eq!(link.call(ECHO, body(4), WAIT).await, Ok(body(4)));
}

#[tokio::test]
async fn notices_go_both_ways_in_order() {
    let world = World::start();
    let (link, mut events) = world.link().await;
    for n in 0..100 {
        link.notify(7, body(n)).await.unwrap();
    }
    while world.recorder.noticed.lock().len() < 100 {
        world.recorder.noticed_one.notified().await;
    }
    assert_eq!(*world.recorder.noticed.lock(), (0..100).collect::<Vec<_>>());
    assert_eq!(link.call(TELL_ME, body(5), WAIT).await, Ok(body(5)));
    let told = events.next().await;
    assert!(matches!(told, Some(LinkEvent::Notice { method: 9, body: b }) if b == body(5)));
}

#[tokio::test]
async fn strangers_and_peers_of_another_name_do_not_get_in() {
    let world = World::start();
    for (authority, name) in [
        (&Authority::new(), "the-client"),
        (&world.authority, "a-stranger"),
    ] {
        let (link, _events) = world.link_as(authority, name);
        let ended = tokio::time::timeout(Duration::from_millis(300), async {
            loop {
                link.up().await;
                if link.call(ECHO, body(1), WAIT).await.is_ok() {
                    break;
                }
            }
        });
        assert!(ended.await.is_err(), "{name} got in");
    }
    assert!(world.recorder.started.lock().is_empty());
    let (link, _events) = world.link().await;
    assert_eq!(link.call(ECHO, body(1), WAIT).await, Ok(body(1)));
}
