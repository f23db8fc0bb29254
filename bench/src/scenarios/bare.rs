//! A bare TLS server, the limit of what holding and accepting connections can cost: tokio and
//! rustls as they come, the certificates and the settings of our gateways, nothing behind them.

use std::time::Duration;

use anyhow::Context as _;
use deploy::authority::Authority;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::processes::{Processes, Station, Work};
use super::site::Access;
use crate::clock;

/// After a failed accept: long enough not to spin while the process is out of files.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// One that runs, in a process of its own. Dropped, it is gone.
pub struct Bare {
    /// How it is reached. It knows no tokens.
    pub access: Access,
    /// Its process.
    pub pid: i32,
    _process: Processes<Serving>,
    _folder: tempfile::TempDir,
}

/// What the process does.
#[derive(Debug, Serialize, Deserialize)]
pub struct Serving {
    certificate: std::path::PathBuf,
    key: std::path::PathBuf,
    ca: std::path::PathBuf,
}

impl Bare {
    /// On a free port, with an authority of its own.
    ///
    /// # Errors
    /// When `im-bench` is not built.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::open(folder.path(), clock::unix_us() / 1000)?;
        let files = authority.public_certificate();
        let serving = Serving {
            certificate: files.certificate,
            key: files.key,
            ca: authority.fleet_ca(),
        };
        let mut process = Processes::start(vec![serving]).await?;
        let addresses = process.meet::<String>().await?;
        let pid = process.pids().first().copied().context("it has ended")?;
        Ok(Self {
            access: Access {
                addresses,
                ca_pem: std::fs::read_to_string(authority.fleet_ca())?,
                token: String::new(),
                first_account: 0,
            },
            pid,
            _process: process,
            _folder: folder,
        })
    }
}

impl Work for Serving {
    const NAME: &'static str = "bare";
    type Outcome = ();

    async fn run(self, mut station: Station) -> anyhow::Result<()> {
        let tls = service_kit::tls::public_server(&self.certificate, &self.key, &self.ca)?;
        let acceptor = TlsAcceptor::from(tls);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let accepting = async move {
            loop {
                match listener.accept().await {
                    Ok((tcp, _)) => drop(tokio::spawn(serve(acceptor.clone(), tcp))),
                    Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
                }
            }
        };
        tokio::select! {
            () = accepting => Ok(()),
            // It never is answered: the process ends with its coordinator.
            over = station.meet::<()>(&address) => over,
        }
    }
}

/// Sends back what comes, for as long as something does.
async fn serve(acceptor: TlsAcceptor, tcp: tokio::net::TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    // Boxed, so that a connection does not keep what its handshake needs.
    let mut stream = Box::pin(acceptor.accept(tcp)).await?;
    let mut byte = [0; 1];
    while stream.read(&mut byte).await? > 0 {
        stream.write_all(&byte).await?;
        stream.flush().await?;
    }
    Ok(())
}
