//! The driver: the threads, the connections and the counting of a load, the same for every system.
//!
//! Each thread has its share of the clients, one runtime and one buffer that all its connections
//! read into. A connection is one future that publishes, writes and reads until nothing more can be
//! done (`connection`); what arrives is counted in memory of the thread (`tally`).

mod connection;
mod tally;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::task::LocalSet;

use super::flight::Flights;
use super::job::{Job, Outcome};
use crate::clock;
use crate::dial::Dialler;
use crate::usage;
use connection::Connection;
use tally::Counts;
pub(super) use tally::PAYLOAD_BYTES_MIN;

/// Clients of a thread that are connecting or joining at once.
const OPENING_MAX: usize = 16;

/// How long receivers may take to catch up with nothing arriving, once no load is offered.
const QUIET: Duration = Duration::from_secs(5);

/// How often is looked whether all has arrived.
const POLL: Duration = Duration::from_millis(20);

/// What the threads of a load share.
pub(super) struct Shared {
    pub job: Job,
    pub flights: Flights,
    /// When the load begins, in microseconds since the Unix epoch; `u64::MAX`: not yet.
    begins_at_us: AtomicU64,
    ready: AtomicUsize,
    /// By thread: messages received.
    delivered: Vec<AtomicU64>,
    failed: Mutex<Option<String>>,
}

impl Shared {
    fn new(job: Job) -> Self {
        let threads = job.threads;
        let load = &job.load;
        let flights = Flights::new(job.shape, load.publishers, load.window, threads);
        Self {
            job,
            flights,
            begins_at_us: AtomicU64::new(u64::MAX),
            ready: AtomicUsize::new(0),
            delivered: (0..threads).map(|_| AtomicU64::new(0)).collect(),
            failed: Mutex::new(None),
        }
    }

    /// When load is offered and when it is counted.
    pub(super) fn times(&self) -> Times {
        let load = &self.job.load;
        let begins_us = self.begins_at_us.load(Ordering::Acquire);
        let counts_us = begins_us.saturating_add(load.warm_up_ms * 1000);
        Times {
            begins_us,
            counts_us,
            ends_us: counts_us.saturating_add(load.measured_ms * 1000),
        }
    }

    /// Whether it is a publisher of this group.
    pub(super) const fn publishes_to(&self, publisher: u32, group: usize) -> bool {
        publisher as usize / self.job.load.publishers == group
    }

    pub(super) fn is_ready(&self) {
        self.ready.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn has_received(&self, thread: usize, messages: u64) {
        self.delivered[thread].store(messages, Ordering::Relaxed);
    }

    /// The first failure is the one that is told.
    pub(super) fn fail(&self, error: &anyhow::Error) {
        self.failed
            .lock()
            .get_or_insert_with(|| format!("{error:#}"));
    }

    fn check(&self) -> anyhow::Result<()> {
        match &*self.failed.lock() {
            Some(error) => anyhow::bail!("{error}"),
            None => Ok(()),
        }
    }

    fn delivered(&self) -> u64 {
        let counts = self.delivered.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn owed(&self) -> u64 {
        let publishers = self.flights.publishers().iter();
        let sent: u64 = publishers
            .map(|publisher| publisher.sent.load(Ordering::Acquire))
            .sum();
        sent * self.job.shape.members as u64
    }
}

/// The moments of a run, in microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub begins_us: u64,
    pub counts_us: u64,
    pub ends_us: u64,
}

/// A load that is connected and waits to begin.
pub struct Driver {
    shared: Arc<Shared>,
    over: watch::Sender<bool>,
    threads: Vec<std::thread::JoinHandle<anyhow::Result<Counts>>>,
}

impl Driver {
    /// Connects every client and waits until each is in its group.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn connect(job: Job) -> anyhow::Result<Self> {
        let clients = job.shape.clients();
        let (over, is_over) = watch::channel(false);
        let shared = Arc::new(Shared::new(job));
        let start = |thread: usize| {
            let (shared, is_over) = (Arc::clone(&shared), is_over.clone());
            std::thread::Builder::new()
                .name(format!("load-{thread}"))
                .spawn(move || run_thread(thread, &shared, is_over))
        };
        let threads: Result<_, _> = (0..shared.job.threads).map(start).collect();
        let driver = Self {
            threads: threads?,
            shared,
            over,
        };
        while driver.shared.ready.load(Ordering::Acquire) < clients {
            driver.shared.check()?;
            tokio::time::sleep(POLL).await;
        }
        Ok(driver)
    }

    /// Offers the load, waits for what is on its way, and counts.
    ///
    /// # Errors
    /// When a connection breaks, or a server refuses a message.
    pub async fn run(self) -> anyhow::Result<Outcome> {
        let shared = &self.shared;
        shared
            .begins_at_us
            .store(clock::unix_us(), Ordering::Release);
        let publishers = shared.flights.publishers().iter();
        publishers.for_each(|publisher| publisher.waker.wake());
        let pacer = {
            let shared = Arc::clone(shared);
            std::thread::spawn(move || pace(&shared))
        };
        let times = shared.times();
        sleep_until(times.counts_us).await;
        let before = usage::Cpu::now(&shared.job.server_pids);
        sleep_until(times.ends_us).await;
        let used = usage::Cpu::now(&shared.job.server_pids).since(&before);
        self.drain().await?;
        self.over.send_replace(true);
        let mut counts = Counts::default();
        for thread in self.threads {
            let one = thread.join().ok().context("a thread of the load died")?;
            counts.add(&one?);
        }
        pacer.join().ok().context("the pacer died")?;
        shared.check()?;
        Ok(counts.outcome(times, used))
    }

    /// Waits until all has arrived, or nothing arrives any more.
    async fn drain(&self) -> anyhow::Result<()> {
        let (mut delivered, mut quiet) = (self.shared.delivered(), Duration::ZERO);
        while quiet < QUIET && delivered < self.shared.owed() {
            self.shared.check()?;
            tokio::time::sleep(POLL).await;
            let now = self.shared.delivered();
            quiet = if now == delivered {
                quiet + POLL
            } else {
                Duration::ZERO
            };
            delivered = now;
        }
        Ok(())
    }
}

async fn sleep_until(at_us: u64) {
    let wait_us = at_us.saturating_sub(clock::unix_us());
    tokio::time::sleep(Duration::from_micros(wait_us)).await;
}

/// Wakes publishers when a message of theirs is due: the runtime's timers are a millisecond coarse.
fn pace(shared: &Shared) {
    let rate = shared.job.load.rate_per_s;
    let publishers = shared.flights.publishers();
    if rate == 0 || publishers.is_empty() {
        return;
    }
    let times = shared.times();
    for message in 0_u64.. {
        let at_us = times.begins_us + due_us(message, rate);
        if at_us >= times.ends_us {
            return;
        }
        let wait_us = at_us.saturating_sub(clock::unix_us());
        if wait_us > 0 {
            std::thread::sleep(Duration::from_micros(wait_us));
        }
        let publisher = usize::try_from(message).unwrap_or(0) % publishers.len();
        publishers[publisher].waker.wake();
    }
}

/// How long after the beginning a message of all publishers together is due.
pub(super) fn due_us(message: u64, rate_per_s: u64) -> u64 {
    let us = u128::from(message) * 1_000_000 / u128::from(rate_per_s);
    u64::try_from(us).unwrap_or(u64::MAX)
}

/// One thread of the load, to its end.
fn run_thread(
    thread: usize,
    shared: &Arc<Shared>,
    mut is_over: watch::Receiver<bool>,
) -> anyhow::Result<Counts> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let counts = Rc::new(RefCell::new(Counts::new(thread, shared)));
    let local = LocalSet::new();
    let connecting = local.run_until(async {
        tokio::select! {
            opened = open_all(thread, shared, &counts) => opened?,
            _ = is_over.changed() => return Ok(()),
        }
        // The sender is gone only after a failure that has been told.
        is_over.changed().await.ok();
        Ok(())
    });
    let ended: anyhow::Result<()> = runtime.block_on(connecting);
    // The connections, and with them what else holds the counts.
    drop(local);
    if let Err(error) = ended {
        shared.fail(&error);
        return Err(error);
    }
    let mut counts = counts.take();
    counts.close(shared);
    Ok(counts)
}

/// Connects the thread's clients, some at once, each until it is in its group.
async fn open_all(
    thread: usize,
    shared: &Arc<Shared>,
    counts: &Rc<RefCell<Counts>>,
) -> anyhow::Result<()> {
    let target = &shared.job.target;
    let alpn = target.alpn.as_deref();
    let dialler = Dialler::new(target.address, &target.server_name, &target.ca, alpn)?
        .after_a_line(target.line_before_tls);
    let opening = Arc::new(Semaphore::new(OPENING_MAX));
    for client in 0..shared.job.shape.clients() {
        if shared.flights.thread_of(client) != thread {
            continue;
        }
        let place = Arc::clone(&opening).acquire_owned().await?;
        shared.check()?;
        let codec = target.clients.codec(&shared.job.shape, client)?;
        let (shared, counts, dialler) = (Arc::clone(shared), Rc::clone(counts), dialler.clone());
        tokio::task::spawn_local(async move {
            let run = async {
                let stream = dialler.dial().await?;
                let connection = Connection::new(client, stream, codec, &shared, counts, place);
                connection.run().await
            };
            if let Err(error) = run.await {
                shared.fail(&error.context(format!("client {client}")));
            }
        });
    }
    Ok(())
}
