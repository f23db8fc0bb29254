//! The server's side of the limit probe: TLS, one task a connection, writes that gather what waits.
//!
//! It also stands for the least that an idle connection and a handshake can cost: a connection holds
//! no buffer of ours while nothing comes and nothing waits.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use anyhow::Context as _;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{LENGTH_BYTES, frame, put};

/// What is read at once, in bytes: one TLS record.
const READ_BYTES: usize = 16 * 1024;

/// Pending connections, as many as the system allows at most.
const BACKLOG: u32 = 4096;

thread_local! {
    /// Read into by whichever connection has something to read.
    static READ: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// The members of each group.
type Groups = Mutex<HashMap<u32, Arc<Mutex<Vec<Arc<Member>>>>>>;

/// What waits to be written to one connection.
#[derive(Default)]
struct Member {
    waiting: Mutex<Vec<u8>>,
    waker: AtomicWaker,
}

impl Member {
    fn put(&self, frames: &[u8]) {
        self.waiting.lock().extend_from_slice(frames);
        self.waker.wake();
    }
}

/// The probe's TLS: version 1.3, *ring*, session tickets.
///
/// # Errors
/// When the certificate or the key is not usable.
pub fn tls(certificate: &Path, key: &Path) -> anyhow::Result<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate)?.collect();
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain?, PrivateKeyDer::from_pem_file(key)?)?;
    tls.ticketer = rustls::crypto::ring::Ticketer::new()?;
    Ok(tls)
}

/// The process: `im-bench limit-probe`. Its first line says where it listens.
///
/// # Errors
/// When the certificate or the key is not usable, or it cannot listen.
pub async fn run(certificate: &Path, key: &Path) -> anyhow::Result<()> {
    let tls = tls(certificate, key)?;
    serve(tls, |address| {
        let mut out = io::stdout().lock();
        writeln!(out, "{address}")?;
        Ok(out.flush()?)
    })
    .await
}

/// Serves on a free port until the process ends. `listening` is told where.
///
/// # Errors
/// When it cannot listen.
pub async fn serve(
    tls: rustls::ServerConfig,
    listening: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let listener: TcpListener = socket.listen(BACKLOG)?;
    listening(listener.local_addr()?)?;
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let groups = Arc::new(Groups::default());
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept")?;
        let (acceptor, groups) = (acceptor.clone(), Arc::clone(&groups));
        tokio::spawn(async move {
            // A client that goes away is no fault of the probe.
            connection(stream, &acceptor, &groups).await.ok();
        });
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    groups: &Groups,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    // Boxed, so that what a handshake needs is not kept for as long as the connection.
    let stream = Box::pin(acceptor.accept(stream)).await?;
    let mut connection = Connection {
        stream,
        member: Arc::default(),
        group: None,
        rest: Vec::new(),
        writing: Vec::new(),
        written: 0,
    };
    let ended = poll_fn(|cx| connection.poll(cx, groups)).await;
    if let Some(group) = &connection.group {
        let mut members = group.lock();
        members.retain(|member| !Arc::ptr_eq(member, &connection.member));
    }
    ended
}

struct Connection {
    stream: TlsStream<TcpStream>,
    member: Arc<Member>,
    group: Option<Arc<Mutex<Vec<Arc<Member>>>>>,
    /// The beginning of a frame.
    rest: Vec<u8>,
    /// What is being written, and how much of it is.
    writing: Vec<u8>,
    written: usize,
}

impl Connection {
    /// Ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>, groups: &Groups) -> Poll<anyhow::Result<()>> {
        self.member.waker.register(cx.waker());
        while let Poll::Ready(more) = self.poll_read(cx, groups)? {
            if !more {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_write(cx).map(|failed| failed.map_err(Into::into))
    }

    /// Reads once and passes on what came; false: the client has closed.
    fn poll_read(&mut self, cx: &mut Context<'_>, groups: &Groups) -> Poll<anyhow::Result<bool>> {
        READ.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            let came = read.filled();
            if came.is_empty() {
                return Poll::Ready(Ok(false));
            }
            if self.rest.is_empty() {
                let taken = self.take(came, groups)?;
                self.rest.extend_from_slice(&came[taken..]);
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(came);
                let taken = self.take(&whole, groups)?;
                self.rest = whole.split_off(taken);
            }
            Poll::Ready(Ok(true))
        })
    }

    /// Passes whole frames on, as they came, and says how many bytes that was.
    fn take(&mut self, input: &[u8], groups: &Groups) -> anyhow::Result<usize> {
        let mut taken = 0;
        if self.group.is_none() {
            let Some(hello) = frame(input)? else {
                return Ok(0);
            };
            taken = LENGTH_BYTES + hello.len();
            let number = u32::from_be_bytes(hello.try_into().context("no group")?);
            let group = Arc::clone(groups.lock().entry(number).or_default());
            group.lock().push(Arc::clone(&self.member));
            self.group = Some(group);
            let mut ready = Vec::new();
            put(&[], &mut ready);
            self.member.put(&ready);
        }
        let from = taken;
        while let Some(payload) = frame(&input[taken..])? {
            taken += LENGTH_BYTES + payload.len();
        }
        if let Some(group) = &self.group
            && taken > from
        {
            for member in group.lock().iter() {
                member.put(&input[from..taken]);
            }
        }
        Ok(taken)
    }

    /// Writes what waits, all of it at once, until there is nothing or the socket is full.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.written == self.writing.len() {
                self.written = 0;
                self.writing = std::mem::take(&mut *self.member.waiting.lock());
                if self.writing.is_empty() {
                    ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                    // Only what comes wakes us now, or what is put there.
                    return Poll::Pending;
                }
            }
            let rest = &self.writing[self.written..];
            self.written += ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
        }
    }
}
