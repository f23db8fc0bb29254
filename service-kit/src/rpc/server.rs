//! The serving end of links.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use protocol::kind::method;
use protocol::{ErrorCode, Frame, FrameCodec, FrameError, Refusal};
use rustls::ServerConfig;
use thiserror::Error;
use tokio::io::ReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::codec::FramedRead;
use tokio_util::sync::CancellationToken;

use super::admission::{TlsStream, admit};
use super::connection::{Outgoing, check_length, read_frames, write_frames};
use super::queue::Queue;
use super::{ADMITTED, PEERS_MAX, REQUESTS_AT_WORK_MAX};
use crate::drain::Drain;
use crate::events;

/// After a failed accept: long enough not to spin while the process is out of files.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// The next peer's id, for all listeners of the process.
static NEXT_PEER: AtomicU64 = AtomicU64::new(1);

/// What a process does with what arrives on its links.
pub trait Handler: Send + Sync + 'static {
    /// Answers a request. It is polled once in the order of arrival, so that what it does before
    /// its first wait keeps the sender's order; after that requests run side by side. It is not
    /// cut off at its deadline, nor when its peer is lost: what it has begun it ends.
    fn call(
        self: &Arc<Self>,
        peer: &Peer,
        request: Request,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + 'static;

    /// Takes a notice. Notices of one connection are taken one after the other, and nothing else
    /// is read meanwhile: waiting here slows the sender down.
    fn notice(
        self: &Arc<Self>,
        peer: &Peer,
        method: u16,
        body: Bytes,
    ) -> impl Future<Output = ()> + Send;

    /// A verified peer has connected.
    fn connected(self: &Arc<Self>, _peer: &Peer) {}

    /// A peer is gone, or will be when the requests at work are answered; nothing of it arrives
    /// any more.
    fn closed(self: &Arc<Self>, _peer: &Peer) {}
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is asked.
    pub method: u16,
    /// The encoded message.
    pub body: Bytes,
    /// When its sender stops waiting.
    pub deadline: Option<Instant>,
}

/// The other end of one connection. Clones are the same peer.
#[derive(Debug, Clone)]
pub struct Peer {
    id: u64,
    name: Arc<str>,
    queue: Queue,
}

/// A notice that did not get into the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotifyError {
    /// The peer does not read as fast as we write.
    #[error("the peer's queue is full")]
    Full,
    /// The peer is gone.
    #[error("the peer is gone")]
    Closed,
}

/// The peer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the peer is gone")]
pub struct Closed;

impl From<Closed> for NotifyError {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl Peer {
    /// Unique among the connections of this process; a later connection has a higher one.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The verified DNS name of the peer's certificate.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Queues a notice, if there is room. An urgent one overtakes what waits.
    pub fn notify(&self, method: u16, body: Bytes) -> Result<(), NotifyError> {
        self.queue
            .try_notice(method, body)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => {
                    events::notice_refused(&self.name);
                    NotifyError::Full
                }
                mpsc::error::TrySendError::Closed(_) => NotifyError::Closed,
            })
    }

    /// Queues a notice, waiting for room. Cancel-safe: cancelled, nothing is queued.
    pub async fn notify_wait(&self, method: u16, body: Bytes) -> Result<(), Closed> {
        self.queue
            .others
            .send(Outgoing::notice(method, body))
            .await
            .map_err(|_| Closed)
    }
}

/// Serves links until the drain. Only peers whose certificate names one of `allowed_peers` get in.
///
/// When the drain starts nothing more is read; what is at work is answered, then the connections
/// close.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    allowed_peers: &'static [&'static str],
    handler: Arc<H>,
    drain: Drain,
) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(PEERS_MAX));
    loop {
        let (stream, place) = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = drain.draining() => return,
        };
        let (acceptor, handler, tasks) = (acceptor.clone(), Arc::clone(&handler), drain.clone());
        drain.spawn(async move {
            let admitted = tokio::select! {
                admitted = admit(stream, &acceptor, allowed_peers) => admitted,
                () = tasks.draining() => None,
            };
            if let Some((stream, name)) = admitted {
                run(stream, name, handler, tasks).await;
            }
            drop(place);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    let place = permit(places).await;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                events::accept_failed(&error);
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn permit(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(semaphore)
        .acquire_owned()
        .await
        .expect("the semaphores of links are never closed")
}

async fn run<H: Handler>(stream: TlsStream, name: String, handler: Arc<H>, drain: Drain) {
    let (reader, writer) = tokio::io::split(stream);
    let (queue, frames) = Queue::new();
    let finish = CancellationToken::new();
    let mut writing = drain.spawn(write_frames(writer, frames, finish.clone()));
    let peer = Peer {
        id: NEXT_PEER.fetch_add(1, Ordering::Relaxed),
        name: name.into(),
        queue,
    };
    if peer.notify_wait(ADMITTED, Bytes::new()).await.is_err() {
        return; // The socket has failed already.
    }
    let at_work = Arc::new(Semaphore::new(REQUESTS_AT_WORK_MAX as usize));
    let connection = Connection::open(handler, peer.clone(), Arc::clone(&at_work), drain);
    let ended = connection.read(read_frames(reader), &mut writing).await;
    drop(connection);
    match ended {
        Ended::Draining => {
            // All permits: no request is at work any more, and each is answered.
            drop(at_work.acquire_many(REQUESTS_AT_WORK_MAX).await);
            finish.cancel();
        }
        Ended::Lost => {
            events::frames_dropped(&peer.name, peer.queue.len());
            writing.abort();
        }
    }
}

/// Why nothing more is read.
enum Ended {
    Draining,
    Lost,
}

/// A connection that is being read. However it ends, the handler hears of it.
struct Connection<H: Handler> {
    handler: Arc<H>,
    peer: Peer,
    at_work: Arc<Semaphore>,
    drain: Drain,
}

impl<H: Handler> Drop for Connection<H> {
    fn drop(&mut self) {
        self.handler.closed(&self.peer);
        events::peer_closed(&self.peer.name);
    }
}

impl<H: Handler> Connection<H> {
    fn open(handler: Arc<H>, peer: Peer, at_work: Arc<Semaphore>, drain: Drain) -> Self {
        events::peer_connected(&peer.name);
        handler.connected(&peer);
        Self {
            handler,
            peer,
            at_work,
            drain,
        }
    }

    async fn read(
        &self,
        mut frames: FramedRead<ReadHalf<TlsStream>, FrameCodec>,
        writing: &mut JoinHandle<Result<(), FrameError>>,
    ) -> Ended {
        let draining = self.drain.draining();
        tokio::pin!(draining);
        loop {
            let frame = tokio::select! {
                frame = frames.next() => frame,
                () = &mut draining => return Ended::Draining,
                // By itself the writer ends only when the socket has failed.
                _ = &mut *writing => None,
            };
            match frame {
                Some(Ok(frame)) if frame.correlation == 0 => {
                    self.handler
                        .notice(&self.peer, frame.kind, frame.body)
                        .await;
                }
                Some(Ok(frame)) => self.take(frame).await,
                Some(Err(error)) => {
                    if error.refusal().is_some() {
                        events::frame_refused(&self.peer.name, &error);
                    } else {
                        events::connection_failed(&self.peer.name, &error);
                    }
                    return Ended::Lost;
                }
                None => return Ended::Lost,
            }
        }
    }

    async fn take(&self, frame: Frame) {
        let wait = u64::from(frame.deadline_ms);
        let deadline = (wait > 0).then(|| Instant::now() + Duration::from_millis(wait));
        let owed = Owed {
            peer: self.peer.clone(),
            correlation: frame.correlation,
            _permit: permit(&self.at_work).await,
            paid: false,
        };
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            owed.forget();
            return;
        }
        let request = Request {
            method: frame.kind,
            body: frame.body,
            deadline,
        };
        let mut call = Box::pin(self.handler.call(&self.peer, request));
        // Not held to what is left of the reader's budget: a queue with room must be entered now,
        // or a later request would overtake this one.
        match futures_util::poll!(unconstrained(call.as_mut())) {
            Poll::Ready(result) => owed.pay(result).await,
            Poll::Pending => {
                self.drain.spawn(async move { owed.pay(call.await).await });
            }
        }
    }
}

/// An answer that is owed. Dropped unpaid, as when a handler panics, it says that much.
struct Owed {
    peer: Peer,
    correlation: u32,
    _permit: OwnedSemaphorePermit,
    paid: bool,
}

impl Owed {
    /// Waits for room: the answers of a peer that does not read hold its requests up.
    async fn pay(mut self, result: Result<Bytes, Refusal>) {
        let result = result.and_then(|body| {
            check_length(&body).map_err(|refusal| Refusal::internal(refusal.message))?;
            Ok(body)
        });
        let (kind, body) = match result {
            Ok(body) => (method::OK, body),
            Err(refusal) => (method::FAILED, refusal.encode()),
        };
        let answer = Outgoing::answer(kind, self.correlation, body);
        let sent = self.peer.queue.others.send(answer).await;
        self.paid = true;
        if sent.is_err() {
            events::answer_dropped(&self.peer.name);
        }
    }

    /// Nobody waits for it any more.
    fn forget(mut self) {
        self.paid = true;
        events::request_expired(&self.peer.name);
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if self.paid {
            return;
        }
        events::answer_lost(&self.peer.name);
        let refusal = Refusal::new(ErrorCode::OutcomeUnknown, "the request was not ended");
        let answer = Outgoing::answer(method::FAILED, self.correlation, refusal.encode());
        if self.peer.queue.others.try_send(answer).is_err() {
            events::answer_dropped(&self.peer.name);
        }
    }
}
