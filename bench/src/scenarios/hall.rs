//! All members of one load process, each a lean client with its books, and the sockets under them.
//!
//! A member's task reads, writes and waits; everything else is decided in its [`Books`] and its lean
//! client, which the process's own task may touch as well: all are of one thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::{Buf as _, BytesMut};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use protocol::AccountId;
use protocol::kind::client as kind;
use protocol::wire::Pull;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::clock;
use crate::lean::{Lean, Start};
use crate::scenarios::alarm::Alarm;
use crate::scenarios::books::{Books, Heard};
use crate::scenarios::meter::Meter;
use crate::scenarios::pacing::Timing;
use crate::scenarios::processes::Progress;
use crate::scenarios::site::Access;

/// Connections that are being made at once: a handshake is work for both ends.
const CONNECTING_MAX: usize = 16;

/// How long one connection may take to be made and let in.
const CONNECTED_WITHIN: Duration = Duration::from_secs(60);

/// What is read at once, in bytes: as much as TLS has in one record.
const READ_BYTES: usize = 16 * 1024;

/// Files that a load process needs beside its connections.
const OTHER_FILES: u64 = 64;

/// A member between its task and the process's.
pub(super) struct Core {
    pub lean: Lean,
    pub books: Books,
    /// To be written.
    pub out: Vec<u8>,
}

/// The members of one load process.
pub(super) struct Hall {
    accounts: Range<u32>,
    cores: Vec<RefCell<Core>>,
    ids: RefCell<Vec<Option<AccountId>>>,
    meter: RefCell<Meter>,
    heads: RefCell<HashMap<usize, u64>>,
    failed: RefCell<Option<String>>,
    connected: Cell<u64>,
    alarm: Alarm,
}

impl Hall {
    /// Connects every account of these; [`Hall::ids`] says when all are in.
    ///
    /// # Errors
    /// When the process may not have so many files, or the authority is no certificate.
    pub(super) fn open(
        access: &Access,
        accounts: Range<u32>,
        payload_bytes: usize,
    ) -> anyhow::Result<Rc<Self>> {
        allow_files(accounts.len() as u64 + OTHER_FILES)?;
        let core = |account| {
            let token = access.token_of(account);
            RefCell::new(Core {
                lean: Lean::new(Some(&token), Start::Head, rand::random()),
                books: Books::new(payload_bytes),
                out: Vec::new(),
            })
        };
        let hall = Rc::new(Self {
            cores: accounts.clone().map(core).collect(),
            ids: RefCell::new(vec![None; accounts.len()]),
            meter: RefCell::new(Meter::new(Timing::default())),
            heads: RefCell::default(),
            failed: RefCell::default(),
            connected: Cell::new(0),
            alarm: Alarm::new(accounts.len()),
            accounts,
        });
        let tls = TlsConnector::from(Arc::new(client_tls(&access.ca_pem)?));
        let doors = Rc::new(Semaphore::new(CONNECTING_MAX));
        for member in 0..hall.cores.len() {
            let gateways = &access.addresses;
            let address = gateways[member % gateways.len()].clone();
            let (hall, tls, doors) = (Rc::clone(&hall), tls.clone(), Rc::clone(&doors));
            tokio::task::spawn_local(async move {
                if let Err(error) = hall.live(member, tls, &address, &doors).await {
                    hall.fail(format!("{address}: {error:#}"));
                }
            });
        }
        let ringing = Rc::clone(&hall);
        tokio::task::spawn_local(async move {
            if let Err(error) = ringing.alarm.run().await {
                ringing.fail(format!("{error:#}"));
            }
        });
        Ok(hall)
    }

    /// The accounts whose members these are.
    pub(super) const fn accounts(&self) -> &Range<u32> {
        &self.accounts
    }

    /// Every member in turn, to be told something; it acts upon it at once.
    pub(super) fn each(&self, mut tell: impl FnMut(usize, &mut Core)) {
        for (member, core) in self.cores.iter().enumerate() {
            tell(member, &mut core.borrow_mut());
            self.alarm.ring_now(member);
        }
    }

    /// Asks, as this member, how far the conversation with this index is; [`Hall::heads`] will have
    /// the answer.
    pub(super) fn ask_head(&self, member: usize, index: usize) {
        let mut core = self.cores[member].borrow_mut();
        let Core { lean, books, out } = &mut *core;
        if let Some(id) = books.conversation(index) {
            let pull = Pull {
                conversation_id: id.to_bytes(),
                limit: 1,
                ..Pull::default()
            };
            books.asks(lean.request(kind::PULL, &pull, out), index);
            self.alarm.ring_now(member);
        }
    }

    /// Something summed over all members.
    pub(super) fn sum(&self, of: impl Fn(&Core) -> u64) -> u64 {
        self.cores.iter().map(|core| of(&core.borrow())).sum()
    }

    /// Counts anew from here on; returns what was counted.
    pub(super) fn exchange_meter(&self, meter: Meter) -> Meter {
        self.meter.replace(meter)
    }

    /// The counts.
    pub(super) const fn meter(&self) -> &RefCell<Meter> {
        &self.meter
    }

    /// Heads that conversations were found to have.
    pub(super) const fn heads(&self) -> &RefCell<HashMap<usize, u64>> {
        &self.heads
    }

    /// Who they are, once all are in.
    pub(super) fn ids(&self) -> Option<Vec<u64>> {
        let ids = self.ids.borrow();
        ids.iter().map(|id| id.map(|id| id.0)).collect()
    }

    /// What went wrong first.
    ///
    /// # Errors
    /// That.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        match &*self.failed.borrow() {
            Some(why) => anyhow::bail!("{why}"),
            None => Ok(()),
        }
    }

    /// How far they are.
    pub(super) fn progress(&self) -> Progress {
        let mut progress = self.meter.borrow().so_far;
        progress.connected = self.connected.get();
        progress.failed += self.sum(|core| core.lean.detours().repeated);
        progress
    }

    fn fail(&self, why: String) {
        self.failed.borrow_mut().get_or_insert(why);
    }

    async fn live(
        &self,
        member: usize,
        tls: TlsConnector,
        address: &str,
        doors: &Semaphore,
    ) -> anyhow::Result<()> {
        // Held until the member is let in.
        let mut door = Some(doors.acquire().await?);
        let connecting = tokio::time::timeout(CONNECTED_WITHIN, connect(tls, address));
        let mut stream = connecting.await.context("no connection in time")??;
        {
            let mut core = self.cores[member].borrow_mut();
            let core = &mut *core;
            core.lean.open(&mut core.out);
        }
        let mut input = BytesMut::new();
        loop {
            let (mut out, next_us) = self.act(member);
            if !out.is_empty() {
                let held_up = write(&mut stream, &out).await?;
                out.clear();
                let mut core = self.cores[member].borrow_mut();
                if core.out.is_empty() {
                    core.out = out;
                }
                if held_up {
                    core.books.was_held_up(clock::unix_us());
                    continue;
                }
            }
            self.alarm.set(member, next_us);
            input.reserve(READ_BYTES);
            tokio::select! {
                read = stream.read_buf(&mut input) => {
                    ensure!(read? > 0, "the server has closed a connection");
                    let taken = self.read(member, &input)?;
                    input.advance(taken);
                }
                () = self.alarm.rings(member) => {}
            }
            if door.is_some() && self.ids.borrow()[member].is_some() {
                drop(door.take());
            }
        }
    }

    /// What a member has to say now, and when it has more.
    fn act(&self, member: usize) -> (Vec<u8>, u64) {
        let now_us = clock::unix_us();
        let mut core = self.cores[member].borrow_mut();
        let Core { lean, books, out } = &mut *core;
        if lean.due_at_us().is_some_and(|due_us| due_us <= now_us) {
            lean.tick(now_us, out);
        }
        let due_us = books.act(lean, now_us, &mut self.meter.borrow_mut(), out);
        let next_us = due_us.min(lean.due_at_us().unwrap_or(u64::MAX));
        (std::mem::take(out), next_us)
    }

    fn read(&self, member: usize, input: &[u8]) -> anyhow::Result<usize> {
        let now_us = clock::unix_us();
        let mut core = self.cores[member].borrow_mut();
        let mut meter = self.meter.borrow_mut();
        let Core { lean, books, out } = &mut *core;
        let taken = lean.read(input, now_us, out, &mut |told| {
            books.take(told, now_us, &mut meter);
        })?;
        for heard in books.news() {
            match heard {
                Heard::Welcome(id) => {
                    self.ids.borrow_mut()[member] = Some(id);
                    self.connected.set(self.connected.get() + 1);
                }
                Heard::Head { conversation, head } => {
                    self.heads.borrow_mut().insert(conversation, head);
                }
                Heard::Broken(why) => anyhow::bail!("{why}"),
            }
        }
        Ok(taken)
    }
}

async fn connect(tls: TlsConnector, address: &str) -> anyhow::Result<TlsStream<TcpStream>> {
    let (host, _) = address.rsplit_once(':').context("not HOST:PORT")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned())?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(tls.connect(name, stream).await?)
}

/// Writes all of it. Whether the server did not take it at once.
async fn write(stream: &mut TlsStream<TcpStream>, bytes: &[u8]) -> std::io::Result<bool> {
    let (mut written, mut held_up) = (0, false);
    while written < bytes.len() {
        written += std::future::poll_fn(|context| {
            let polled = Pin::new(&mut *stream).poll_write(context, &bytes[written..]);
            held_up |= polled.is_pending();
            polled
        })
        .await?;
    }
    std::future::poll_fn(|context| {
        let polled = Pin::new(&mut *stream).poll_flush(context);
        held_up |= polled.is_pending();
        polled
    })
    .await?;
    Ok(held_up)
}

fn client_tls(ca_pem: &str) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.context("the authority is no certificate in PEM")?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"im/1".to_vec()];
    Ok(tls)
}

/// Raises the process's limit of open files as far as it needs and may.
fn allow_files(files: u64) -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < files {
        ensure!(
            hard >= files,
            "a load process needs {files} open files and may have {hard}: ulimit -n, or more \
             --load-processes"
        );
        setrlimit(Resource::RLIMIT_NOFILE, files, hard)?;
    }
    Ok(())
}
