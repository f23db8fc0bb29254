//! The one task of a client: keeps a connection, moves frames between it and the engine. Waits for
//! whatever comes first, then applies it without waiting.

mod ending;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use protocol::wire;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::ending::{CLOSE_GRACE, written};
use crate::attempts::{Attempts, STEADY_AFTER};
use crate::clock;
use crate::config::ClientConfig;
use crate::connection::{Connection, DialError, Dialer, Turn};
use crate::engine::{Engine, Opened, Verdict, is_final};
use crate::error::{ConfigError, Error};
use crate::events;
use crate::incoming::CloseReason;
use crate::journal::{JournalError, Kept, Writer};
use crate::message::Account;
use crate::shared::{Call, Recovered, Shared};

/// Calls and frames taken at once, before what they bring about is written.
const BATCH_MAX: usize = 256;

/// A client's task.
pub(crate) struct Started {
    /// Tells of the first session.
    pub(crate) welcomed: oneshot::Receiver<Result<Account, Error>>,
    pub(crate) recovered: Vec<Recovered>,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) task: JoinHandle<()>,
}

/// Starts the task on the current runtime.
pub(crate) fn start(
    config: ClientConfig,
    journal: Option<(Writer, Kept)>,
    shared: Arc<Shared>,
    calls: mpsc::Receiver<Call>,
) -> Result<Started, ConfigError> {
    let dialer = Arc::new(Dialer::new(&config)?);
    let now = Instant::now();
    let (writer, opened) = journal.map_or((None, None), |(writer, kept)| {
        let place = writer.place().to_owned();
        (Some(writer), Some(Opened { place, kept }))
    });
    let seed = rand::random();
    let mut engine = Engine::new(&config, Arc::clone(&shared), opened, seed, now);
    let recovered = engine.take_recovered();
    let (welcomed, first) = oneshot::channel();
    let driver = Driver {
        engine,
        shared,
        writer,
        calls,
        dialer: Arc::clone(&dialer),
        attempts: Attempts::new(config.addresses),
        link: Link::Waiting(now),
        first: Some(First {
            welcomed,
            until: clock::after(now, config.connect_timeout),
            last: "no attempt was made".into(),
        }),
        up_since: now,
        settled_at: now,
        closing: None,
        ended: None,
    };
    let task = tokio::spawn(driver.run());
    Ok(Started {
        welcomed: first,
        recovered,
        dialer,
        task,
    })
}

struct Driver {
    engine: Engine,
    shared: Arc<Shared>,
    /// Present if there is a journal.
    writer: Option<Writer>,
    calls: mpsc::Receiver<Call>,
    dialer: Arc<Dialer>,
    attempts: Attempts,
    link: Link,
    /// Present until the first session.
    first: Option<First>,
    up_since: Instant,
    settled_at: Instant,
    closing: Option<Closing>,
    ended: Option<CloseReason>,
}

/// Whoever waits in `Client::connect`.
struct First {
    welcomed: oneshot::Sender<Result<Account, Error>>,
    until: Instant,
    last: String,
}

/// The application closes the client.
struct Closing {
    until: Instant,
    /// Dropped when everything is over.
    done: Vec<oneshot::Sender<()>>,
}

type Dialled = (String, Result<(Connection, wire::Welcome), DialError>);

enum Link {
    Waiting(Instant),
    Dialing(Pin<Box<dyn Future<Output = Dialled> + Send>>),
    Up(Box<Connection>),
}

/// Everything that wakes the task.
enum Wake {
    Call(Option<Call>),
    Rested,
    Dialled(Box<Dialled>),
    Turn(Turn),
    Written(Result<(), JournalError>),
    Nudge,
    Tick,
}

impl Driver {
    async fn run(mut self) {
        let reason = loop {
            let wake = self.wait().await;
            self.apply(wake);
            if let Some(reason) = self.settle() {
                break reason;
            }
        };
        self.end(reason).await;
    }

    /// Cancel-safe in each of its parts, so that nothing is lost when another is first.
    async fn wait(&mut self) -> Wake {
        let wake_at = [
            self.engine.next_wake(self.settled_at),
            self.first.as_ref().map(|first| first.until),
            self.closing.as_ref().map(|closing| closing.until),
        ];
        let wake_at = wake_at.into_iter().flatten().min();
        let tick = async {
            match wake_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            call = self.calls.recv(), if self.closing.is_none() => Wake::Call(call),
            wake = link_turn(&mut self.link) => wake,
            done = written(&mut self.writer) => Wake::Written(done),
            () = self.shared.nudge.notified() => Wake::Nudge,
            () = tick => Wake::Tick,
        }
    }

    fn apply(&mut self, wake: Wake) {
        let now = Instant::now();
        match wake {
            Wake::Call(call) => {
                self.call(call, now);
                for _ in 1..BATCH_MAX {
                    match self.calls.try_recv() {
                        Ok(call) => self.call(Some(call), now),
                        Err(_) => break,
                    }
                }
            }
            Wake::Rested => self.dial(now),
            Wake::Dialled(dialled) => {
                let (address, dialled) = *dialled;
                self.dialled(&address, dialled, now);
            }
            Wake::Turn(turn) => {
                self.turn(turn, now);
                for _ in 1..BATCH_MAX {
                    let Link::Up(connection) = &mut self.link else {
                        break;
                    };
                    match connection.arrived() {
                        Some(turn) => self.turn(turn, now),
                        None => break,
                    }
                }
            }
            Wake::Written(done) => self.engine.written(done, now),
            Wake::Nudge => {
                if self.shared.take_probe() {
                    self.engine.probe(now);
                }
                self.engine.nudged();
            }
            Wake::Tick => {}
        }
    }

    /// After whatever happened: what is due, what can be written, whether it is over.
    fn settle(&mut self) -> Option<CloseReason> {
        let now = Instant::now();
        self.settled_at = now;
        if let Some(list) = self.engine.take_listed() {
            let passed_over = self.attempts.listed(list);
            self.shared.counters.gateways_passed_over(passed_over);
        }
        if self.ended.is_some() {
            return self.ended.take();
        }
        match self.engine.tick(now) {
            Verdict::Stay => {}
            Verdict::Reconnect(reason) => {
                if let Link::Up(connection) = self.leave(&reason, now) {
                    // Its last bytes must not hold up the next connection.
                    tokio::spawn(connection.shutdown());
                }
            }
            Verdict::End(reason) => return Some(reason),
        }
        if let Some(first) = self.first.take_if(|first| first.until <= now) {
            let error = Error::Unreachable { last: first.last };
            drop(first.welcomed.send(Err(error)));
            return Some(CloseReason::ByApplication);
        }
        if let Some(writer) = self.writer.as_mut().filter(|w| !w.is_writing())
            && let Some(changes) = self.engine.next_batch(now, false)
        {
            writer.start(changes);
        }
        if let Link::Up(connection) = &mut self.link {
            while connection.has_room()
                && let Some(frame) = self.engine.next_frame(now)
            {
                if let Err(error) = connection.enqueue(&frame) {
                    self.engine.too_long(&frame, &error.to_string(), now);
                }
            }
        }
        let closing = self.closing.as_ref()?;
        let over = match self.link {
            Link::Up(_) => self.engine.is_idle() || closing.until <= now,
            Link::Waiting(_) | Link::Dialing(_) => true,
        };
        over.then_some(CloseReason::ByApplication)
    }

    fn call(&mut self, call: Option<Call>, now: Instant) {
        match call {
            Some(Call::Send(letter, reply)) => self.engine.send(letter, reply),
            Some(Call::Request(request, reply)) => self.engine.request(request, reply),
            Some(Call::PersistMarks(reply)) => self.engine.persist_marks(reply),
            Some(Call::Close(done)) => self.close(Some(done), now),
            None => self.close(None, now),
        }
    }

    fn close(&mut self, done: Option<oneshot::Sender<()>>, now: Instant) {
        let closing = self.closing.get_or_insert_with(|| Closing {
            until: now + CLOSE_GRACE,
            done: Vec::new(),
        });
        closing.done.extend(done);
    }

    fn dial(&mut self, now: Instant) {
        let Some(attempt) = self.attempts.next(&mut rand::rng()) else {
            self.link = Link::Waiting(now + STEADY_AFTER);
            return;
        };
        let dialer = Arc::clone(&self.dialer);
        let known = (self.engine.history_generation(), self.engine.latched());
        self.link = Link::Dialing(Box::pin(async move {
            let address = attempt.address.clone();
            (address, dialer.dial(attempt, known).await)
        }));
    }

    fn dialled(
        &mut self,
        address: &str,
        dialled: Result<(Connection, wire::Welcome), DialError>,
        now: Instant,
    ) {
        match dialled {
            Ok((connection, welcome)) => {
                let account = match self.engine.connected(&welcome, now) {
                    Ok(account) => account,
                    Err(error) => return self.not_ours(error, now),
                };
                self.shared.act_on_stops();
                self.link = Link::Up(Box::new(connection));
                self.up_since = now;
                self.attempts.connected(address);
                self.shared.set_gateway(address);
                let first = self.first.take();
                self.shared
                    .counters
                    .connected(welcome.session_id, address, first.is_some());
                if let Some(first) = first {
                    drop(first.welcomed.send(Ok(account)));
                }
            }
            Err(error) => {
                events::attempt_failed(address, &error);
                self.failed(error, now);
            }
        }
    }

    fn failed(&mut self, error: DialError, now: Instant) {
        let mut wait = self.attempts.failed(&mut rand::rng());
        if let DialError::Refused(refusal) = &error {
            wait = wait.max(Duration::from_millis(refusal.retry_after_ms.into()));
        }
        self.link = Link::Waiting(now + wait);
        let last = error.to_string();
        let hopeless = match error {
            DialError::Refused(refusal) if is_final(&refusal) => Some(Error::Refused(refusal)),
            // A running client goes on trying: certificates are renewed.
            DialError::Certificate(fault) if self.first.is_some() => {
                Some(Error::Certificate(fault))
            }
            DialError::Refused(_) | DialError::Certificate(_) | DialError::Failed(_) => None,
        };
        match (hopeless, self.first.take()) {
            (Some(error), Some(first)) => {
                drop(first.welcomed.send(Err(error)));
                self.close(None, now);
            }
            (Some(Error::Refused(refusal)), None) => {
                self.ended = Some(CloseReason::Refused(refusal));
            }
            (_, Some(first)) => self.first = Some(First { last, ..first }),
            (_, None) => {}
        }
    }

    fn turn(&mut self, turn: Turn, now: Instant) {
        match turn {
            Turn::Frame(frame) => {
                self.engine.frame(frame, now);
                self.shared.act_on_stops();
            }
            Turn::Wrote => {}
            Turn::Lost { reason, .. } => {
                // The last frame may have said why, and that it is for good.
                if let Verdict::End(end) = self.engine.tick(now) {
                    self.ended = Some(end);
                }
                drop(self.leave(&reason, now));
            }
        }
    }

    /// Gives the connection up, and says when the next one is made.
    fn leave(&mut self, reason: &str, now: Instant) -> Link {
        self.engine.lost(reason.to_owned());
        let held = now.duration_since(self.up_since);
        let wait = self.attempts.lost(held, &mut rand::rng());
        std::mem::replace(&mut self.link, Link::Waiting(now + wait))
    }
}

async fn link_turn(link: &mut Link) -> Wake {
    match link {
        Link::Waiting(until) => {
            tokio::time::sleep_until(*until).await;
            Wake::Rested
        }
        Link::Dialing(dialing) => Wake::Dialled(Box::new(dialing.await)),
        Link::Up(connection) => Wake::Turn(connection.turn().await),
    }
}
