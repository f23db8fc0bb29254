//! Keeps a link connected: connects, waits to be let in, reads, and connects again for ever.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use protocol::kind::method;
use protocol::{Frame, FrameCodec, FrameError, Refusal};
use rand::RngExt as _;
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_util::codec::FramedRead;
use tokio_util::sync::CancellationToken;

use super::connection::{read_frames, set_options, write_frames};
use super::link::{LinkConfig, LinkEvent, Shared, Urgent};
use super::{ADMITTED, CONNECT_TIMEOUT};
use crate::drain::Drain;
use crate::events;

/// The first upper bound of the wait before the next connect; it doubles.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// The last one.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Runs until nobody holds the link any more, or all that was to be drained has ended.
pub(super) async fn keep(
    config: LinkConfig,
    shared: Arc<Shared>,
    (events, urgent): (mpsc::Sender<LinkEvent>, Option<mpsc::Sender<Urgent>>),
    released: CancellationToken,
    drain: Drain,
) {
    let outlet = Outlet {
        sender: events,
        urgent,
        link: config.name,
        drain: drain.clone(),
    };
    tokio::select! {
        () = connect_for_ever(&config, &shared, &outlet, &drain) => {}
        () = released.cancelled() => {}
        () = drain.drained() => {}
    }
    shared.close();
}

async fn connect_for_ever(
    config: &LinkConfig,
    shared: &Arc<Shared>,
    outlet: &Outlet,
    drain: &Drain,
) {
    let mut bound = BACKOFF_MIN;
    let mut first = true;
    loop {
        match open(config).await {
            Ok(halves) => {
                (bound, first) = (BACKOFF_MIN, true);
                use_connection(halves, shared, outlet, drain).await;
            }
            Err(error) => {
                events::link_not_made(config.name, &config.address, &error, first);
                first = false;
            }
        }
        let wait = rand::rng().random_range(bound / 2..=bound);
        tokio::time::sleep(wait).await;
        bound = (bound * 2).min(BACKOFF_MAX);
    }
}

type TlsStream = tokio_rustls::client::TlsStream<TcpStream>;
type Halves = (
    FramedRead<ReadHalf<TlsStream>, FrameCodec>,
    WriteHalf<TlsStream>,
);

/// Why there is no connection.
#[derive(Debug, Error)]
enum OpenError {
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error("not a name for a server")]
    Name(#[from] rustls_pki_types::InvalidDnsNameError),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("refused there: {0}")]
    Refused(Refusal),
    #[error("closed before we were let in")]
    Closed,
    #[error("no answer in {} s", CONNECT_TIMEOUT.as_secs())]
    TimedOut(#[from] tokio::time::error::Elapsed),
}

async fn open(config: &LinkConfig) -> Result<Halves, OpenError> {
    tokio::time::timeout(CONNECT_TIMEOUT, async {
        let stream = TcpStream::connect(&config.address).await?;
        set_options(&stream);
        let name = ServerName::try_from(config.name)?;
        let connector = TlsConnector::from(Arc::clone(&config.tls));
        let (reader, writer) = tokio::io::split(connector.connect(name, stream).await?);
        // In TLS 1.3 a client is connected before the server has looked at its certificate.
        let mut frames = read_frames(reader);
        let first = frames.next().await.ok_or(OpenError::Closed)??;
        match first.kind {
            ADMITTED => Ok((frames, writer)),
            method::FAILED => Err(OpenError::Refused(Refusal::decode(&first.body))),
            _ => Err(OpenError::Closed),
        }
    })
    .await?
}

async fn use_connection(
    (mut frames, writer): Halves,
    shared: &Arc<Shared>,
    outlet: &Outlet,
    drain: &Drain,
) {
    let finish = CancellationToken::new();
    let queue = shared.opened(finish.clone());
    let mut writing = drain.spawn_last(write_frames(writer, queue, finish));
    events::link_up(shared.name());
    outlet.send(LinkEvent::Up).await;
    loop {
        let frame = tokio::select! {
            frame = frames.next() => frame,
            // By itself the writer ends only when the socket has failed.
            _ = &mut writing => None,
        };
        match frame {
            Some(Ok(frame)) => take(frame, shared, outlet).await,
            Some(Err(error)) => {
                events::link_down(shared.name(), &error);
                break;
            }
            None => {
                events::link_down(shared.name(), &"closed");
                break;
            }
        }
    }
    shared.lost();
    writing.abort();
    outlet.send(LinkEvent::Down).await;
}

async fn take(frame: Frame, shared: &Shared, outlet: &Outlet) {
    if frame.correlation == 0 {
        if let Some(urgent) = outlet
            .urgent
            .as_ref()
            .filter(|_| method::is_urgent(frame.kind))
        {
            let (method, body) = (frame.kind, frame.body);
            if urgent.try_send(Urgent { method, body }).is_err() {
                events::notice_dropped(outlet.link);
            }
            return;
        }
        outlet
            .send(LinkEvent::Notice {
                method: frame.kind,
                body: frame.body,
            })
            .await;
    } else {
        shared.answered(frame);
    }
}

/// Towards the reader of the events. A slow one is waited for; one that is gone is not.
struct Outlet {
    sender: mpsc::Sender<LinkEvent>,
    /// Urgent notices do not wait behind the others, nor hold them up.
    urgent: Option<mpsc::Sender<Urgent>>,
    link: &'static str,
    drain: Drain,
}

impl Outlet {
    async fn send(&self, event: LinkEvent) {
        let is_notice = matches!(event, LinkEvent::Notice { .. });
        let sent = tokio::select! {
            biased;
            sent = self.sender.send(event) => sent.is_ok(),
            () = self.drain.draining() => false,
        };
        if !sent && is_notice {
            events::notice_dropped(self.link);
        }
    }
}
