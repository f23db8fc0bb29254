//! One connection of the load: a future that publishes, writes and reads until nothing more can be
//! done, and waits.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tokio_rustls::client::TlsStream;

use super::tally::{Counts, Stamp};
use super::{Shared, Times, due_us};
use crate::clock;
use crate::peers::codec::{Codec, Event};

/// What a thread reads at once, in bytes: far more than a TLS record and the rest of a frame.
const READ_BYTES: usize = 256 * 1024;

/// Messages of a publisher with a rate that may wait for their acknowledgement: beyond it the next
/// one waits, and its latency counts from when it was due.
const UNACKED_MAX: usize = 64 * 1024;

thread_local! {
    /// Read into by whichever connection of the thread has something to read.
    static READ: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// The future's state.
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    codec: Box<dyn Codec>,
    /// The beginning of a frame.
    rest: Vec<u8>,
    out: Vec<u8>,
    written: usize,
    timer: Option<Pin<Box<Sleep>>>,
    timer_at_us: u64,
    side: Side,
}

/// What the codec's events change, apart from the codec.
struct Side {
    shared: Arc<Shared>,
    counts: Rc<RefCell<Counts>>,
    /// Which of the thread's clients this is.
    client: usize,
    group: usize,
    publishing: Option<Publishing>,
    /// Held until the client is in its group.
    opening: Option<OwnedSemaphorePermit>,
}

/// What a publisher has sent.
struct Publishing {
    /// Its number among all publishers.
    number: usize,
    payload: Vec<u8>,
    sent: u64,
    acked: u64,
    /// When a message was sent, or was due, by its number.
    sent_at_us: Vec<u64>,
}

impl Connection {
    pub(super) fn new(
        client: usize,
        stream: TlsStream<TcpStream>,
        codec: Box<dyn Codec>,
        shared: &Arc<Shared>,
        counts: Rc<RefCell<Counts>>,
        opening: OwnedSemaphorePermit,
    ) -> Self {
        let load = &shared.job.load;
        let unacked = match load.window {
            0 => UNACKED_MAX,
            window => window.next_power_of_two(),
        };
        let publishing = shared
            .flights
            .publisher_of(client)
            .map(|number| Publishing {
                number,
                payload: vec![b'.'; load.payload_bytes],
                sent: 0,
                acked: 0,
                sent_at_us: vec![0; unacked],
            });
        Self {
            stream,
            codec,
            rest: Vec::new(),
            out: Vec::new(),
            written: 0,
            timer: None,
            timer_at_us: u64::MAX,
            side: Side {
                shared: Arc::clone(shared),
                counts,
                client: client / shared.job.threads,
                group: shared.job.shape.group_of(client),
                publishing,
                opening: Some(opening),
            },
        }
    }

    /// Until it breaks: the run ends by dropping it.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        self.codec.open(clock::unix_us(), &mut self.out);
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<anyhow::Result<()>> {
        if let Some(publishing) = &self.side.publishing {
            let publisher = self.side.shared.flights.publisher(publishing.number);
            publisher.waker.register(cx.waker());
        }
        loop {
            self.tick(cx);
            if let Some(publishing) = &mut self.side.publishing {
                let counts = &mut self.side.counts.borrow_mut();
                publishing.publish(&self.side.shared, &mut *self.codec, counts, &mut self.out);
            }
            // A server that does not read does not keep us from reading.
            let _pending = self.poll_write(cx)?;
            ready!(self.poll_read(cx))?;
        }
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let Some(due_us) = self.codec.due_at_us() else {
            return;
        };
        let now_us = clock::unix_us();
        if due_us <= now_us {
            self.codec.tick(now_us, &mut self.out);
        }
        let due_us = self.codec.due_at_us().unwrap_or(u64::MAX);
        let has_fired = self.timer.as_ref().is_none_or(|timer| timer.is_elapsed());
        if due_us >= self.timer_at_us && !has_fired {
            // The timer knows whom to wake.
            return;
        }
        self.timer_at_us = due_us;
        let wait = Duration::from_micros(due_us.saturating_sub(now_us));
        let at = Instant::now() + wait.min(Duration::from_secs(24 * 60 * 60));
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        timer.as_mut().reset(at);
        if timer.as_mut().poll(cx).is_ready() {
            // It was due within the timer's coarseness: looked at again at once.
            self.timer_at_us = 0;
            cx.waker().wake_by_ref();
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<anyhow::Result<()>> {
        while self.written < self.out.len() {
            let rest = &self.out[self.written..];
            self.written += ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
        }
        if self.written > 0 {
            self.out.clear();
            self.written = 0;
        }
        Pin::new(&mut self.stream)
            .poll_flush(cx)
            .map(|flushed| Ok(flushed?))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<anyhow::Result<()>> {
        READ.with_borrow_mut(|buffer| {
            let rest = self.rest.len();
            if buffer.len() < rest + READ_BYTES / 2 {
                buffer.resize(rest + READ_BYTES, 0);
            }
            let mut read = ReadBuf::new(&mut buffer[rest..]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read)).context("cannot read")?;
            let came = read.filled().len();
            if came == 0 {
                let closed = anyhow::anyhow!("the server has closed the connection");
                return Poll::Ready(Err(closed));
            }
            buffer[..rest].copy_from_slice(&self.rest);
            self.rest.clear();
            let input = &buffer[..rest + came];
            let (now_us, times) = (clock::unix_us(), self.side.shared.times());
            let (side, mut failed) = (&mut self.side, None);
            let mut tell = |event: Event<'_>| side.take(event, now_us, times, &mut failed);
            let taken = self.codec.read(input, now_us, &mut self.out, &mut tell)?;
            if let Some(error) = failed {
                return Poll::Ready(Err(error));
            }
            self.rest.extend_from_slice(&input[taken..]);
            side.counts.borrow().tell(&side.shared);
            Poll::Ready(Ok(()))
        })
    }
}

impl Side {
    fn take(
        &mut self,
        event: Event<'_>,
        now_us: u64,
        times: Times,
        failed: &mut Option<anyhow::Error>,
    ) {
        match event {
            Event::Ready => {
                if self.opening.take().is_some() {
                    self.shared.is_ready();
                }
            }
            Event::Acked { ticket } => self.acked(ticket, true, now_us, times),
            Event::Delivered { payload } => {
                let known = Stamp::read(payload)
                    .filter(|stamp| self.shared.publishes_to(stamp.publisher, self.group));
                let Some(stamp) = known else {
                    failed.get_or_insert_with(|| anyhow::anyhow!("a message of somebody else"));
                    return;
                };
                let mut counts = self.counts.borrow_mut();
                counts.delivered(&self.shared, self.client, stamp, now_us, times);
                drop(counts);
                let own = self.publishing.as_ref();
                let is_own = own.is_some_and(|own| own.number == stamp.publisher as usize);
                if is_own && !self.shared.job.target.acknowledges {
                    self.acked(stamp.message, false, now_us, times);
                }
            }
        }
    }

    fn acked(&mut self, message: u64, counts: bool, now_us: u64, times: Times) {
        let Some(publishing) = &mut self.publishing else {
            return;
        };
        publishing.acked += 1;
        let sent_at_us = publishing.sent_at_us[publishing.slot(message)];
        let took_us = now_us.saturating_sub(sent_at_us);
        let mut all = self.counts.borrow_mut();
        all.acked(counts, took_us, now_us, times);
    }
}

impl Publishing {
    fn slot(&self, message: u64) -> usize {
        let mask = self.sent_at_us.len() as u64 - 1;
        usize::try_from(message & mask).unwrap_or(0)
    }

    /// Publishes what may be published now.
    fn publish(
        &mut self,
        shared: &Shared,
        codec: &mut dyn Codec,
        counts: &mut Counts,
        out: &mut Vec<u8>,
    ) {
        let times = shared.times();
        if times.begins_us == u64::MAX {
            return;
        }
        let load = &shared.job.load;
        let publisher = shared.flights.publisher(self.number);
        loop {
            let complete = publisher.complete.load(Ordering::Acquire);
            let in_flight = self.sent - complete.min(self.acked);
            let unacked = self.sent - self.acked;
            if (load.window > 0 && in_flight >= load.window as u64)
                || unacked >= self.sent_at_us.len() as u64
            {
                return;
            }
            let now_us = clock::unix_us();
            let at_us = match load.rate_per_s {
                0 => now_us,
                rate => {
                    let all = shared.flights.publishers().len() as u64;
                    times.begins_us + due_us(self.sent * all + self.number as u64, rate)
                }
            };
            if at_us > now_us || at_us >= times.ends_us {
                return;
            }
            self.sent += 1;
            let stamp = Stamp {
                at_us,
                publisher: u32::try_from(self.number).unwrap_or(u32::MAX),
                message: self.sent,
            };
            stamp.write(&mut self.payload);
            let slot = self.slot(self.sent);
            self.sent_at_us[slot] = at_us;
            codec.publish(self.sent, &self.payload, now_us, out);
            publisher.sent.store(self.sent, Ordering::Release);
            counts.sent(now_us - at_us, now_us, times);
        }
    }
}
