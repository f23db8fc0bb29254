//! The serving end of links.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use protocol::kind::method;
use protocol::{Frame, FrameError, Refusal};
use rustls::ServerConfig;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::codec::FramedRead;

use super::connection::{codec, set_options, write_frames};
use super::{CONNECT_TIMEOUT, QUEUE_FRAMES_MAX, REQUESTS_AT_WORK_MAX};
use crate::drain::Drain;
use crate::tls;

/// After a failed accept: long enough not to spin while the process is out of files.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// What a process does with what arrives on its links.
pub trait Handler: Send + Sync + 'static {
    /// Answers a request. It is polled once in the order of arrival, so that what it does before
    /// its first wait keeps the sender's order; after that requests run side by side.
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

    /// A peer is gone; nothing of it arrives any more.
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
    queue: mpsc::Sender<Frame>,
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
    /// Unique among the connections of this process.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The verified DNS name of the peer's certificate.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Queues a notice, if there is room.
    pub fn notify(&self, method: u16, body: Bytes) -> Result<(), NotifyError> {
        self.queue
            .try_send(notice(method, body))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => NotifyError::Full,
                mpsc::error::TrySendError::Closed(_) => NotifyError::Closed,
            })
    }

    /// Queues a notice, waiting for room. Cancel-safe: cancelled, nothing is queued.
    pub async fn notify_wait(&self, method: u16, body: Bytes) -> Result<(), Closed> {
        self.queue
            .send(notice(method, body))
            .await
            .map_err(|_| Closed)
    }
}

const fn notice(method: u16, body: Bytes) -> Frame {
    Frame {
        kind: method,
        correlation: 0,
        deadline_ms: 0,
        body,
    }
}

/// Serves links until the drain. Only peers whose certificate names one of `allowed_peers` get in.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    allowed_peers: &'static [&'static str],
    handler: Arc<H>,
    drain: Drain,
) {
    let acceptor = TlsAcceptor::from(tls);
    let next_id = Arc::new(AtomicU64::new(1));
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a link");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            },
            () = drain.draining() => return,
        };
        let (acceptor, next_id) = (acceptor.clone(), Arc::clone(&next_id));
        let (handler, tasks) = (Arc::clone(&handler), drain.clone());
        drain.spawn(async move {
            if let Some((stream, name)) = admit(stream, &acceptor, allowed_peers).await {
                let id = next_id.fetch_add(1, Ordering::Relaxed);
                run(stream, id, name, handler, tasks).await;
            }
        });
    }
}

type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

async fn admit(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    allowed_peers: &[&str],
) -> Option<(TlsStream, String)> {
    set_options(&stream);
    let stream = match tokio::time::timeout(CONNECT_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            refused("handshake", &error.to_string());
            return None;
        }
        Err(_) => {
            refused("handshake", "timed out");
            return None;
        }
    };
    let name = tls::peer_dns_name(stream.get_ref().1).unwrap_or_default();
    if allowed_peers.contains(&name.as_str()) {
        Some((stream, name))
    } else {
        refused("name", &name);
        None
    }
}

fn refused(why: &'static str, detail: &str) {
    metrics::counter!("im_link_peers_refused_total", "why" => why).increment(1);
    tracing::info!(why, detail, "refused a link");
}

async fn run<H: Handler>(stream: TlsStream, id: u64, name: String, handler: Arc<H>, drain: Drain) {
    let (reader, writer) = tokio::io::split(stream);
    let (queue, frames) = mpsc::channel(QUEUE_FRAMES_MAX);
    drain.spawn(write_frames(writer, frames));
    let peer = Peer {
        id,
        name: name.into(),
        queue,
    };
    handler.connected(&peer);
    tracing::debug!(peer = peer.name(), "link up");
    let mut frames = FramedRead::new(reader, codec());
    let at_work = Arc::new(Semaphore::new(REQUESTS_AT_WORK_MAX));
    loop {
        let frame = tokio::select! {
            frame = frames.next() => frame,
            () = drain.draining() => break,
        };
        match frame {
            Some(Ok(frame)) => take(frame, &peer, &handler, &at_work, &drain).await,
            Some(Err(error)) => {
                lost(&peer, &error);
                break;
            }
            None => break,
        }
    }
    handler.closed(&peer);
    tracing::debug!(peer = peer.name(), "link down");
}

fn lost(peer: &Peer, error: &FrameError) {
    if error.refusal().is_some() {
        tracing::warn!(peer = peer.name(), %error, "a link sent what is no frame");
    } else {
        tracing::debug!(peer = peer.name(), %error, "link lost");
    }
}

async fn take<H: Handler>(
    frame: Frame,
    peer: &Peer,
    handler: &Arc<H>,
    at_work: &Arc<Semaphore>,
    drain: &Drain,
) {
    if frame.correlation == 0 {
        handler.notice(peer, frame.kind, frame.body).await;
        return;
    }
    let Ok(permit) = Arc::clone(at_work).acquire_owned().await else {
        return; // The semaphore is never closed.
    };
    let wait = u64::from(frame.deadline_ms);
    let deadline = (wait > 0).then(|| Instant::now() + Duration::from_millis(wait));
    let request = Request {
        method: frame.kind,
        body: frame.body,
        deadline,
    };
    let mut call = Box::pin(handler.call(peer, request));
    match futures_util::poll!(call.as_mut()) {
        Poll::Ready(result) => answer(peer, frame.correlation, result).await,
        Poll::Pending => {
            let (peer, correlation) = (peer.clone(), frame.correlation);
            drain.spawn(async move {
                let result = call.await;
                answer(&peer, correlation, result).await;
                drop(permit);
            });
        }
    }
}

/// Waits for room: the answers of a peer that does not read hold its requests up.
async fn answer(peer: &Peer, correlation: u32, result: Result<Bytes, Refusal>) {
    let (kind, body) = match result {
        Ok(body) => (method::OK, body),
        Err(refusal) => (method::FAILED, refusal.encode()),
    };
    let frame = Frame {
        kind,
        correlation,
        deadline_ms: 0,
        body,
    };
    if peer.queue.send(frame).await.is_err() {
        tracing::debug!(peer = peer.name(), "an answer came too late for its link");
    }
}
