//! The asking end of a link. It connects again for ever; what was asked on a broken connection
//! fails at once, saying whether it may have taken effect.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use protocol::kind::method;
use protocol::{ErrorCode, Frame, Refusal};
use rand::RngExt as _;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::TlsConnector;
use tokio_util::codec::FramedRead;

use super::connection::{codec, set_options, write_frames};
use super::{CONNECT_TIMEOUT, EVENTS_MAX, QUEUE_FRAMES_MAX};
use crate::drain::Drain;

/// The first upper bound of the wait before the next connect; it doubles.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// The last one.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Where a link goes.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// The tier at the other end; its certificate must name it.
    pub name: &'static str,
    /// `HOST:PORT`.
    pub address: String,
    /// Who we are, and whom we trust.
    pub tls: Arc<ClientConfig>,
}

/// Asks a process of another tier. Clones share one connection.
#[derive(Debug, Clone)]
pub struct Link {
    shared: Arc<Shared>,
}

/// What happens on a link, in order.
#[derive(Debug)]
pub enum LinkEvent {
    /// Connected, the first time or again.
    Up,
    /// The connection is lost; another is being made.
    Down,
    /// The other end says something.
    Notice {
        /// What it is.
        method: u16,
        /// The encoded message.
        body: Bytes,
    },
}

/// The events of a link. Whoever reads them must not wait for an answer on the same link meanwhile:
/// when 1024 events are waiting, nothing more is read from the socket, answers included.
#[derive(Debug)]
pub struct LinkEvents(mpsc::Receiver<LinkEvent>);

#[derive(Debug)]
struct Shared {
    name: &'static str,
    state: Mutex<State>,
    up: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    /// Present while connected.
    queue: Option<mpsc::Sender<Frame>>,
    waiting: HashMap<u32, oneshot::Sender<Result<Bytes, Refusal>>>,
    last_correlation: u32,
}

/// Opens a link and keeps it open until the drain.
pub fn connect(config: LinkConfig, drain: Drain) -> (Link, LinkEvents) {
    let (events, receiver) = mpsc::channel(EVENTS_MAX);
    let shared = Arc::new(Shared {
        name: config.name,
        state: Mutex::default(),
        up: watch::channel(false).0,
    });
    let link = Link {
        shared: Arc::clone(&shared),
    };
    let tasks = drain.clone();
    drain.spawn(async move {
        tokio::select! {
            () = keep(&config, &shared, &events, &tasks) => {}
            () = tasks.draining() => {}
        }
        shared.fail_all(None);
    });
    (link, LinkEvents(receiver))
}

impl LinkEvents {
    /// The next event; `None` when the link is closed for good. Cancel-safe.
    pub async fn next(&mut self) -> Option<LinkEvent> {
        self.0.recv().await
    }
}

impl Link {
    /// Asks. The request is queued before this returns, so that requests leave in the order of the
    /// calls. Cancelled, the answer is dropped.
    ///
    /// # Errors
    /// What the other end answered; *unavailable* when the request never left; *outcome unknown*
    /// when it left and no answer came within `timeout`.
    pub fn call(
        &self,
        method: u16,
        body: Bytes,
        timeout: Duration,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + 'static {
        let asked = self.shared.ask(method, body, timeout);
        let shared = Arc::clone(&self.shared);
        async move {
            let (correlation, answer) = asked?;
            match tokio::time::timeout(timeout, answer).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(shared.unavailable()),
                Err(_) => {
                    shared.state.lock().waiting.remove(&correlation);
                    Err(shared.unknown("did not answer in time"))
                }
            }
        }
    }

    /// Queues a notice, waiting for room. Cancel-safe: cancelled, nothing is queued.
    pub async fn notify(&self, method: u16, body: Bytes) -> Result<(), Refusal> {
        let queue = self.shared.state.lock().queue.clone();
        let queue = queue.ok_or_else(|| self.shared.unavailable())?;
        let frame = Frame {
            kind: method,
            correlation: 0,
            deadline_ms: 0,
            body,
        };
        queue
            .send(frame)
            .await
            .map_err(|_| self.shared.unavailable())
    }

    /// Queues a notice if the link is up and has room.
    pub fn try_notify(&self, method: u16, body: Bytes) -> Result<(), Refusal> {
        let state = self.shared.state.lock();
        let queue = state
            .queue
            .as_ref()
            .ok_or_else(|| self.shared.unavailable())?;
        let frame = Frame {
            kind: method,
            correlation: 0,
            deadline_ms: 0,
            body,
        };
        queue.try_send(frame).map_err(|_| self.shared.unavailable())
    }

    /// Whether it is connected.
    #[must_use]
    pub fn is_up(&self) -> bool {
        *self.shared.up.borrow()
    }

    /// Ends when it is connected. Cancel-safe.
    pub async fn up(&self) {
        let mut up = self.shared.up.subscribe();
        // The sender lives in `shared`, which this link holds.
        drop(up.wait_for(|up| *up).await);
    }
}

impl Shared {
    fn ask(
        &self,
        method: u16,
        body: Bytes,
        timeout: Duration,
    ) -> Result<(u32, oneshot::Receiver<Result<Bytes, Refusal>>), Refusal> {
        let mut state = self.state.lock();
        let Some(queue) = state.queue.clone() else {
            return Err(self.unavailable());
        };
        let correlation = state.next_correlation();
        let deadline_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let (sender, answer) = oneshot::channel();
        state.waiting.insert(correlation, sender);
        if queue
            .try_send(Frame {
                kind: method,
                correlation,
                deadline_ms,
                body,
            })
            .is_err()
        {
            state.waiting.remove(&correlation);
            metrics::counter!("im_link_calls_refused_total", "link" => self.name).increment(1);
            return Err(self.unavailable());
        }
        Ok((correlation, answer))
    }

    fn unavailable(&self) -> Refusal {
        Refusal::unavailable(format!("{} is away or overloaded", self.name))
    }

    fn unknown(&self, why: &str) -> Refusal {
        Refusal::new(ErrorCode::OutcomeUnknown, format!("{} {why}", self.name))
    }

    fn opened(&self, queue: mpsc::Sender<Frame>) {
        self.state.lock().queue = Some(queue);
        self.up.send_replace(true);
    }

    fn answered(&self, frame: Frame) {
        let Some(waiting) = self.state.lock().waiting.remove(&frame.correlation) else {
            return; // Its caller has stopped waiting.
        };
        let result = match frame.kind {
            method::OK => Ok(frame.body),
            _ => Err(Refusal::decode(&frame.body)),
        };
        drop(waiting.send(result));
    }

    /// Every caller is told now: *unavailable* if its frame is still in the queue, else *unknown*.
    fn fail_all(&self, unwritten: Option<&mut mpsc::Receiver<Frame>>) {
        self.up.send_replace(false);
        let mut state = self.state.lock();
        state.queue = None;
        if let Some(queue) = unwritten {
            queue.close();
            while let Ok(frame) = queue.try_recv() {
                if let Some(waiting) = state.waiting.remove(&frame.correlation) {
                    drop(waiting.send(Err(self.unavailable())));
                }
            }
        }
        for (_, waiting) in state.waiting.drain() {
            drop(waiting.send(Err(self.unknown("went away before it answered"))));
        }
    }
}

impl State {
    /// Never 0, and not one that is still waited for.
    fn next_correlation(&mut self) -> u32 {
        loop {
            self.last_correlation = self.last_correlation.wrapping_add(1);
            let free = !self.waiting.contains_key(&self.last_correlation);
            if self.last_correlation != 0 && free {
                return self.last_correlation;
            }
        }
    }
}

async fn keep(
    config: &LinkConfig,
    shared: &Arc<Shared>,
    events: &mpsc::Sender<LinkEvent>,
    drain: &Drain,
) {
    let mut bound = BACKOFF_MIN;
    loop {
        match open(config).await {
            Ok(stream) => {
                bound = BACKOFF_MIN;
                if !use_connection(stream, shared, events, drain).await {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(peer = config.name, address = config.address, %error, "no link");
            }
        }
        let wait = rand::rng().random_range(BACKOFF_MIN / 2..=bound);
        tokio::time::sleep(wait).await;
        bound = (bound * 2).min(BACKOFF_MAX);
        metrics::counter!("im_link_connects_total", "link" => config.name).increment(1);
    }
}

type TlsStream = tokio_rustls::client::TlsStream<TcpStream>;

async fn open(config: &LinkConfig) -> std::io::Result<TlsStream> {
    let connect = async {
        let stream = TcpStream::connect(&config.address).await?;
        set_options(&stream);
        let name = ServerName::try_from(config.name).map_err(std::io::Error::other)?;
        TlsConnector::from(Arc::clone(&config.tls))
            .connect(name, stream)
            .await
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connect)
        .await
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

/// Returns whether anybody still listens to the events.
async fn use_connection(
    stream: TlsStream,
    shared: &Arc<Shared>,
    events: &mpsc::Sender<LinkEvent>,
    drain: &Drain,
) -> bool {
    let (reader, writer) = tokio::io::split(stream);
    let (queue, frames) = mpsc::channel(QUEUE_FRAMES_MAX);
    let mut writing = drain.spawn(write_frames(writer, frames));
    shared.opened(queue);
    let mut listened = events.send(LinkEvent::Up).await.is_ok();
    let mut reader = FramedRead::new(reader, codec());
    let mut unwritten = None;
    while listened {
        let frame = tokio::select! {
            frame = reader.next() => frame,
            // The writer ends first only when the socket failed.
            ended = &mut writing => {
                unwritten = ended.ok();
                break;
            }
        };
        match frame {
            Some(Ok(frame)) if frame.correlation == 0 => {
                let notice = LinkEvent::Notice {
                    method: frame.kind,
                    body: frame.body,
                };
                listened = events.send(notice).await.is_ok();
            }
            Some(Ok(frame)) => shared.answered(frame),
            Some(Err(error)) => {
                tracing::debug!(peer = shared.name, %error, "link lost");
                break;
            }
            None => break,
        }
    }
    if unwritten.is_none() {
        // The other half is dead: what the writer still holds cannot be told from what it wrote.
        writing.abort();
    }
    shared.fail_all(unwritten.as_mut().map(|(queue, _)| queue));
    listened && events.send(LinkEvent::Down).await.is_ok()
}
