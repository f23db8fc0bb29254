//! One connection, from its first frame to its last: the shell around [`crate::session`].
//!
//! Not here: what a frame means, and what waits to be written.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use protocol::limits::{
    CAPABILITY_CARD_BYTES_MAX, FRAME_BYTES_MAX, GATEWAY_ADDRESS_BYTES_MAX, GATEWAYS_LISTED_MAX,
    HELLO_FRAME_BYTES_MAX,
};
use protocol::wire::Membership;
use protocol::wire::internal::{Authenticate, MembershipsPage};
use protocol::{AccountId, Frame, FrameCodec, FrameError, Refusal};
use service_kit::drain::Drain;
use service_kit::{clock, tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tokio_util::codec::FramedRead;

use crate::events;
use crate::gateway::Gateway;
use crate::handle::SessionHandle;
use crate::session::{Introduction, Next, Now, Passed, Session, go_away};
use crate::upstream::Upstream;

/// What a connection reads at once, in bytes: small, for there are many and most are idle.
const READ_BYTES: usize = 2 * 1024;

/// How much is gathered into one write, in bytes: four TLS records.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// How long the last word may take.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(2);

/// How much of what a client still sends is read away after the last word, in bytes, so that the
/// system does not cut the word off.
const LINGER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The memberships in one Welcome, encoded, in bytes: a frame, and room for the account, the list
/// of gateways and what is around them. The client asks for the others.
const WELCOME_MEMBERSHIPS_BYTES_MAX: usize =
    FRAME_BYTES_MAX - CAPABILITY_CARD_BYTES_MAX - WELCOME_GATEWAYS_BYTES_MAX - 4 * 1024;

/// The list of gateways in one Welcome, encoded, in bytes.
const WELCOME_GATEWAYS_BYTES_MAX: usize = GATEWAYS_LISTED_MAX * (GATEWAY_ADDRESS_BYTES_MAX + 3);

type Reader = FramedRead<ReadHalf<TlsStream<TcpStream>>, FrameCodec>;
type Writer = WriteHalf<TlsStream<TcpStream>>;
type Answer = Pin<Box<dyn Future<Output = (Passed, Result<Bytes, Refusal>)> + Send>>;

/// How a connection ended.
enum Ended {
    /// The client is gone.
    Gone(&'static str),
    /// The client is told why.
    LastWord(Frame, &'static str),
}

/// Serves one connection. `half_open` is given back once the session is established.
pub async fn run(
    stream: TlsStream<TcpStream>,
    gateway: Arc<Gateway>,
    drain: Drain,
    half_open: OwnedSemaphorePermit,
) {
    let subject = tls::peer_uri(stream.get_ref().1).unwrap_or_default();
    let (reader, writer) = tokio::io::split(stream);
    let codec = FrameCodec::new(HELLO_FRAME_BYTES_MAX);
    let mut frames = FramedRead::with_capacity(reader, codec, READ_BYTES);
    let mut session = Session::new(gateway.rules.clone(), Instant::now());

    let opened = tokio::select! {
        opened = open(&mut session, &mut frames, subject, &gateway) => opened,
        () = drain.draining() => Err(Ended::LastWord(leaving(Duration::ZERO), "drain")),
    };
    drop(half_open);
    match opened {
        Ok(present) => serve(&mut session, frames, writer, &present, &drain).await,
        Err(Ended::LastWord(frame, _)) => {
            let mut writer = writer;
            let said = async {
                writer.write_all(&frame.to_bytes()).await?;
                writer.shutdown().await
            };
            if let Ok(Ok(())) = tokio::time::timeout(LAST_WORD_TIMEOUT, said).await {
                linger(frames).await;
            }
        }
        Err(Ended::Gone(_)) => {}
    }
}

/// A session that is in the registry; dropped, it is not.
struct Present {
    gateway: Arc<Gateway>,
    handle: Arc<SessionHandle>,
}

impl Drop for Present {
    fn drop(&mut self) {
        self.gateway.leave(&self.handle);
    }
}

/// From the first frame to the Welcome, which is then in the outbox.
async fn open(
    session: &mut Session,
    frames: &mut Reader,
    subject: String,
    gateway: &Arc<Gateway>,
) -> Result<Present, Ended> {
    let gives_up_at = session.gives_up_at();
    let give_up = |session: &mut Session| Ended::LastWord(session.give_up(), "silent");
    let Ok(first) = tokio::time::timeout_at(gives_up_at, frames.next()).await else {
        return Err(give_up(session));
    };
    let first = frame(first, session)?;
    let introduction = match session.frame(first, now()) {
        Next::Authenticate(introduction) => introduction,
        Next::Close(word) => return Err(refused(word)),
        Next::Nothing | Next::Answer(_) | Next::Pong(..) | Next::Pass(_) | Next::Marks(_) => {
            return Err(Ended::Gone("not established"));
        }
    };
    let admitted = admit(&introduction, subject, gateway);
    let (present, account, mut page) = match tokio::time::timeout_at(gives_up_at, admitted).await {
        Ok(Ok(admitted)) => admitted,
        Ok(Err(refusal)) => {
            events::not_admitted(&refusal);
            return Err(Ended::LastWord(session.refuse(&refusal), "refused"));
        }
        Err(_) => return Err(give_up(session)),
    };
    let fitting = fitting(&page.memberships);
    page.more = page.memberships.len() > fitting;
    page.memberships.truncate(fitting);
    let (codec, handle) = (frames.decoder_mut(), &present.handle);
    codec.set_frame_bytes_max(FRAME_BYTES_MAX);
    codec.set_zstd(introduction.zstd);
    events::session_began(handle.session, &account, &introduction);
    let list = gateway.listed();
    let welcome = session.welcome(handle.session, &introduction, account, page, list, now());
    handle.welcome(&welcome);
    Ok(present)
}

async fn admit(
    introduction: &Introduction,
    certificate_subject: String,
    gateway: &Arc<Gateway>,
) -> Result<(Present, protocol::wire::Account, MembershipsPage), Refusal> {
    let session = gateway.next_session();
    let credential = Authenticate {
        certificate_subject,
        token: introduction.token.clone(),
        session_id: session.0,
    };
    let account = gateway.upstream.authenticate(credential).await?;
    let id = AccountId(account.account_id);
    let present = Present {
        gateway: Arc::clone(gateway),
        handle: Arc::new(SessionHandle::new(session, id, introduction.zstd)),
    };
    let page = gateway
        .arrive(&present.handle, introduction.history_generation)
        .await?;
    Ok((present, account, page))
}

/// Reads and writes until one of them ends.
async fn serve(
    session: &mut Session,
    mut frames: Reader,
    writer: Writer,
    present: &Present,
    drain: &Drain,
) {
    let handle = &present.handle;
    let writing = write(handle, writer, session.patience());
    tokio::pin!(writing);
    let ended = tokio::select! {
        ended = read(session, &mut frames, present, drain) => ended,
        result = &mut writing => {
            if let Err(error) = result {
                events::connection_failed(&error);
            }
            Ended::Gone("connection")
        }
    };
    let why = match ended {
        Ended::Gone(why) => why,
        Ended::LastWord(frame, why) => {
            handle.close(&frame);
            if let Ok(Ok(())) = tokio::time::timeout(LAST_WORD_TIMEOUT, writing).await {
                linger(frames).await;
            }
            why
        }
    };
    events::session_ended(why);
}

async fn read(
    session: &mut Session,
    frames: &mut Reader,
    present: &Present,
    drain: &Drain,
) -> Ended {
    let Present { gateway, handle } = present;
    let mut logic = gateway.upstream.link_for(handle.session);
    let mut answers = FuturesUnordered::<Answer>::new();
    let mut leaves_at = None;
    let draining = drain.draining();
    tokio::pin!(draining);
    loop {
        let gives_up_at = session.gives_up_at();
        let wakes_at = leaves_at.map_or(gives_up_at, |at| gives_up_at.min(at));
        let next = tokio::select! {
            Some((passed, outcome)) = answers.next() => {
                if let Err(refusal) = &outcome {
                    events::request_failed(refusal);
                }
                session.answer(&passed, outcome)
            }
            // While answers wait to be read, no more requests are.
            received = async { handle.room().await; frames.next().await } => {
                match frame(received, session) {
                    Ok(frame) => session.frame(frame, now()),
                    Err(ended) => return ended,
                }
            }
            reason = handle.evicted() => {
                let word = go_away(reason, LAST_WORD_TIMEOUT, false);
                return Ended::LastWord(word, "evicted");
            }
            () = &mut draining, if leaves_at.is_none() => {
                let grace = gateway.leave_grace;
                leaves_at = Some(Instant::now() + grace);
                Next::Answer(leaving(grace))
            }
            () = tokio::time::sleep_until(wakes_at) => {
                if wakes_at == gives_up_at && handle.is_congested() {
                    // It is we who do not read; the writer knows whether the client does.
                    session.excuse(Instant::now());
                    continue;
                }
                if wakes_at == gives_up_at {
                    return Ended::LastWord(session.give_up(), "silent");
                }
                return Ended::LastWord(leaving(Duration::ZERO), "drain");
            }
        };
        match next {
            Next::Nothing => {}
            Next::Answer(frame) => handle.answer(&frame),
            Next::Pong(correlation, pong) => handle.pong(correlation, pong),
            Next::Pass(passed) => {
                events::request_passed(passed.kind);
                let answer = Upstream::pass(&mut logic, (handle.account, handle.session), &passed);
                answers.push(Box::pin(async move { (passed, answer.await) }));
            }
            Next::Marks(marks) => gateway.mark(handle.account, &marks),
            Next::Close(word) => return refused(word),
            // Only before the Welcome.
            Next::Authenticate(_) => {}
        }
    }
}

/// Writes what waits until the session is closed, then everything that is left, and shuts down.
/// Gives up when nothing can be written for as long as `patience`: a client may say that it is there
/// and never read.
async fn write(
    handle: &SessionHandle,
    mut writer: Writer,
    patience: Duration,
) -> std::io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        // Looked at first: what is put in before the session is closed is still written.
        let is_closed = handle.is_closed();
        while handle.take_into(&mut buffer, WRITE_BYTES_MAX, clock::unix_ms()) {
            while !buffer.is_empty() {
                let written = tokio::time::timeout(patience, writer.write_buf(&mut buffer));
                if written.await?? == 0 {
                    return Err(std::io::ErrorKind::WriteZero.into());
                }
            }
        }
        tokio::time::timeout(patience, writer.flush()).await??;
        if is_closed {
            return writer.shutdown().await;
        }
        // An idle session holds no buffer.
        buffer = BytesMut::new();
        handle.filled().await;
    }
}

/// The frame that was received, or how the connection ended.
fn frame(
    received: Option<Result<Frame, FrameError>>,
    session: &mut Session,
) -> Result<Frame, Ended> {
    match received {
        Some(Ok(frame)) => Ok(frame),
        Some(Err(error)) => match error.refusal() {
            Some(refusal) => {
                let word = session.broken(&refusal);
                Err(refused(word))
            }
            None => {
                events::connection_failed(&error);
                Err(Ended::Gone("connection"))
            }
        },
        None => Err(Ended::Gone("client")),
    }
}

fn refused(word: Frame) -> Ended {
    events::frame_refused(&Refusal::decode(&word.body));
    Ended::LastWord(word, "refused")
}

/// Reads away what the client still sends, for a moment.
async fn linger(frames: Reader) {
    let reading = async {
        let mut rest = frames.into_inner().take(LINGER_BYTES_MAX);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // However it ends, the connection is closed now.
    drop(tokio::time::timeout(LAST_WORD_TIMEOUT, reading).await);
}

fn leaving(grace: Duration) -> Frame {
    go_away("the server is going down", grace, true)
}

/// How many of these fit into a Welcome.
fn fitting(memberships: &[Membership]) -> usize {
    let mut bytes = 0;
    memberships
        .iter()
        .take_while(|membership| {
            bytes += prost::Message::encoded_len(*membership) + 5;
            bytes <= WELCOME_MEMBERSHIPS_BYTES_MAX
        })
        .count()
}

fn now() -> Now {
    Now {
        at: Instant::now(),
        unix_ms: clock::unix_ms(),
    }
}
