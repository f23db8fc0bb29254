//! The asking end of a link, as its user sees it. What is asked on a broken connection fails at
//! once, saying whether it may have taken effect. Making the connection is not here.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use protocol::kind::method;
use protocol::{ErrorCode, Frame, Refusal};
use rustls::ClientConfig;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::connection::{Outgoing, Ticket, check_length};
use super::queue::{Frames, Queue};
use super::{CALLS_WAITING_MAX, EVENTS_MAX, keeper};
use crate::drain::Drain;
use crate::events;

/// The longest timeout of a call: what `deadline_ms` can say.
const TIMEOUT_MAX: Duration = Duration::from_millis(u32::MAX as u64);

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
    /// The connection is closed when the last of these, and of the events, is dropped.
    _held: Arc<DropGuard>,
}

/// What happens on a link, in order.
#[derive(Debug)]
pub enum LinkEvent {
    /// Connected and let in, the first time or again.
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
/// when 1024 events are waiting, nothing more is read from the socket, answers included. Whoever
/// drops them gives up the notices, which are then dropped and counted; calls go on.
#[derive(Debug)]
pub struct LinkEvents {
    events: mpsc::Receiver<LinkEvent>,
    drain: Drain,
    _held: Arc<DropGuard>,
}

/// What the link and the task that keeps it connected both know.
#[derive(Debug)]
pub(super) struct Shared {
    name: &'static str,
    call_seconds: metrics::Histogram,
    state: Mutex<State>,
    up: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    /// Present while connected.
    open: Option<Open>,
    waiting: HashMap<u32, Waiting>,
    last_correlation: u32,
}

#[derive(Debug)]
struct Open {
    queue: Queue,
    /// Makes the writer write what is queued, and close.
    finish: CancellationToken,
}

#[derive(Debug)]
struct Waiting {
    caller: oneshot::Sender<Result<Bytes, Refusal>>,
    ticket: Arc<Ticket>,
}

/// A call that waits for its answer. Dropped, it is forgotten, and withdrawn if it has not left.
struct Asked {
    link: Link,
    correlation: u32,
    ticket: Arc<Ticket>,
    answer: oneshot::Receiver<Result<Bytes, Refusal>>,
    asked_at: Instant,
}

/// An urgent notice: in no order with the events of its link.
#[derive(Debug)]
pub struct Urgent {
    /// What it is.
    pub method: u16,
    /// The encoded message.
    pub body: Bytes,
}

/// Opens a link and keeps it open, for the tasks of the drain and a little longer than they run.
pub fn connect(config: LinkConfig, drain: Drain) -> (Link, LinkEvents) {
    connect_urgently(config, None, drain)
}

/// The same, with a way of their own for urgent notices: dropped and counted when it is full.
pub fn connect_urgently(
    config: LinkConfig,
    urgent: Option<mpsc::Sender<Urgent>>,
    drain: Drain,
) -> (Link, LinkEvents) {
    let (sender, receiver) = mpsc::channel(EVENTS_MAX);
    let shared = Arc::new(Shared {
        name: config.name,
        call_seconds: events::call_seconds(config.name),
        state: Mutex::default(),
        up: watch::channel(false).0,
    });
    let released = CancellationToken::new();
    let held = Arc::new(released.clone().drop_guard());
    drain.spawn_last(keeper::keep(
        config,
        Arc::clone(&shared),
        (sender, urgent),
        released,
        drain.clone(),
    ));
    let events = LinkEvents {
        events: receiver,
        drain,
        _held: Arc::clone(&held),
    };
    (
        Link {
            shared,
            _held: held,
        },
        events,
    )
}

impl LinkEvents {
    /// The next event; `None` once the drain has started. Cancel-safe.
    pub async fn next(&mut self) -> Option<LinkEvent> {
        tokio::select! {
            biased;
            () = self.drain.draining() => None,
            event = self.events.recv() => event,
        }
    }
}

impl Link {
    /// Asks. The request is queued before this returns, so that requests leave in the order of the
    /// calls. Dropped, the future forgets the call, which may be carried out all the same.
    ///
    /// # Errors
    /// What the other end answered; *unavailable* (or *rate limited*, when too many calls wait)
    /// when the request never left; *outcome unknown* when it left and no answer came.
    pub fn call(
        &self,
        method: u16,
        body: Bytes,
        timeout: Duration,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + use<> {
        let asked = self.ask(method, body, timeout);
        async move { asked?.answer().await }
    }

    /// Queues a notice, waiting for room. Cancel-safe: cancelled, nothing is queued. A notice that
    /// is queued when the connection is lost is lost with it.
    pub async fn notify(&self, method: u16, body: Bytes) -> Result<(), Refusal> {
        check_length(&body)?;
        let queue = self.shared.queue()?;
        queue
            .others
            .send(Outgoing::notice(method, body))
            .await
            .map_err(|_| self.shared.away())
    }

    /// Queues a notice if the link is up and has room. An urgent one overtakes what waits.
    pub fn try_notify(&self, method: u16, body: Bytes) -> Result<(), Refusal> {
        check_length(&body)?;
        let queue = self.shared.queue()?;
        queue.try_notice(method, body).map_err(|_| {
            events::notice_refused(self.shared.name);
            self.shared.overloaded()
        })
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

    fn ask(&self, method: u16, body: Bytes, timeout: Duration) -> Result<Asked, Refusal> {
        check_length(&body)?;
        let asked_at = Instant::now();
        let ticket = Arc::new(Ticket::new(asked_at + timeout.min(TIMEOUT_MAX)));
        let (caller, answer) = oneshot::channel();
        let correlation = self
            .shared
            .enqueue(method, body, &ticket, caller)
            .inspect_err(|refusal| {
                let refused = Err::<(), _>(refusal.clone());
                self.shared.call_ended(asked_at, &refused);
            })?;
        Ok(Asked {
            link: self.clone(),
            correlation,
            ticket,
            answer,
            asked_at,
        })
    }
}

impl Asked {
    async fn answer(mut self) -> Result<Bytes, Refusal> {
        let shared = &self.link.shared;
        let waited = tokio::time::timeout_at(self.ticket.deadline(), &mut self.answer).await;
        let result = match waited {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(shared.away()),
            Err(_) if self.ticket.withdraw() => Err(shared.overloaded()),
            Err(_) => Err(shared.unknown("did not answer in time")),
        };
        shared.call_ended(self.asked_at, &result);
        result
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.ticket.withdraw();
        self.link
            .shared
            .state
            .lock()
            .waiting
            .remove(&self.correlation);
    }
}

impl Shared {
    fn enqueue(
        &self,
        method: u16,
        body: Bytes,
        ticket: &Arc<Ticket>,
        caller: oneshot::Sender<Result<Bytes, Refusal>>,
    ) -> Result<u32, Refusal> {
        let mut state = self.state.lock();
        if state.waiting.len() >= CALLS_WAITING_MAX {
            events::call_refused(self.name, "waiting");
            let why = format!("too many calls wait for {}", self.name);
            return Err(Refusal::new(ErrorCode::RateLimited, why));
        }
        let correlation = state.next_correlation();
        let open = state.open.as_ref().ok_or_else(|| {
            events::call_refused(self.name, "down");
            self.away()
        })?;
        let request = Outgoing::request(method, correlation, body, Arc::clone(ticket));
        open.queue.others.try_send(request).map_err(|_| {
            events::call_refused(self.name, "queue");
            self.overloaded()
        })?;
        let ticket = Arc::clone(ticket);
        state
            .waiting
            .insert(correlation, Waiting { caller, ticket });
        Ok(correlation)
    }

    fn queue(&self) -> Result<Queue, Refusal> {
        let state = self.state.lock();
        let open = state.open.as_ref().ok_or_else(|| self.away())?;
        Ok(open.queue.clone())
    }

    fn call_ended<T>(&self, asked_at: Instant, result: &Result<T, Refusal>) {
        let took = asked_at.elapsed();
        events::call_ended(&self.call_seconds, self.name, took, result);
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// Takes a new connection into use and returns the queue for its writer.
    pub(super) fn opened(&self, finish: CancellationToken) -> Frames {
        let (queue, frames) = Queue::new();
        self.state.lock().open = Some(Open { queue, finish });
        self.up.send_replace(true);
        events::link_opened(self.name);
        frames
    }

    pub(super) fn answered(&self, frame: Frame) {
        let Some(waiting) = self.state.lock().waiting.remove(&frame.correlation) else {
            events::answer_unclaimed(self.name); // Its caller has stopped waiting.
            return;
        };
        let result = match frame.kind {
            method::OK => Ok(frame.body),
            _ => Err(Refusal::decode(&frame.body)),
        };
        drop(waiting.caller.send(result));
    }

    /// The connection is lost. Every caller is told now: *unavailable* if its request has not left
    /// and never will, else *outcome unknown*.
    pub(super) fn lost(&self) {
        if let Some(open) = self.fail_calls() {
            events::frames_dropped(self.name, open.queue.len());
        }
    }

    /// The connection is to be closed: its callers are told, and queued notices are still written.
    pub(super) fn close(&self) {
        if let Some(open) = self.fail_calls() {
            open.finish.cancel();
        }
    }

    fn fail_calls(&self) -> Option<Open> {
        self.up.send_replace(false);
        let mut state = self.state.lock();
        let open = state.open.take();
        if open.is_some() {
            events::link_closed(self.name);
        }
        for (_, waiting) in state.waiting.drain() {
            let refusal = if waiting.ticket.withdraw() {
                self.away()
            } else {
                self.unknown("went away before it answered")
            };
            drop(waiting.caller.send(Err(refusal)));
        }
        open
    }

    fn away(&self) -> Refusal {
        Refusal::unavailable(format!("{} is away", self.name))
    }

    fn overloaded(&self) -> Refusal {
        Refusal::unavailable(format!("{} does not take more", self.name))
    }

    fn unknown(&self, why: &str) -> Refusal {
        Refusal::new(ErrorCode::OutcomeUnknown, format!("{} {why}", self.name))
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

#[cfg(test)]
mod tests;
