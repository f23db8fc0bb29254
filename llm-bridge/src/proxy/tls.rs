//! Where bridges connect: TLS with handshakes apart from each other, so that a slow one holds up
//! nobody; or plain HTTP on this machine.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use service_kit::config::{ConfigError, read_file};
use service_kit::drain::Drain;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::config::ListenConfig;
use crate::provider::install_crypto;

/// Connections whose handshake is done and that are not served yet; further ones wait.
const READY_MAX: usize = 128;

/// Handshakes at once; further connections wait to be accepted.
const HANDSHAKES_MAX: usize = 64;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after the listener failed, for want of descriptors for example.
const PAUSE: Duration = Duration::from_millis(100);

/// The configuration of TLS; none for plain HTTP on this machine.
///
/// # Errors
/// When a file is no certificate or key, or plain HTTP would leave this machine.
pub fn server_config(config: &ListenConfig) -> Result<Option<Arc<ServerConfig>>, ConfigError> {
    let refuse = |key: &str, why: String| ConfigError::Value(format!("listen.{key}: {why}"));
    if config.certificate.is_empty() && config.key.is_empty() {
        if config.address.ip().is_loopback() {
            return Ok(None);
        }
        let why = "plain HTTP is for addresses of this machine only; keys would be readable";
        return Err(refuse("certificate", why.into()));
    }
    install_crypto();
    let certificate = read_file("listen.certificate", Path::new(&config.certificate))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
    let chain = chain.map_err(|error| refuse("certificate", error.to_string()))?;
    let key = read_file("listen.key", Path::new(&config.key))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|e| refuse("key", e.to_string()))?;
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| refuse("certificate", error.to_string()))?;
    Ok(Some(Arc::new(server)))
}

/// Connections after their handshake.
#[derive(Debug)]
pub struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl TlsListener {
    /// Accepts from this listener until the drain.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn new(
        listener: TcpListener,
        config: Arc<ServerConfig>,
        drain: &Drain,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(READY_MAX);
        let acceptor = TlsAcceptor::from(config);
        let (places, end) = (Arc::new(Semaphore::new(HANDSHAKES_MAX)), drain.clone());
        drain.spawn(async move {
            loop {
                let Ok(place) = places.clone().acquire_owned().await else {
                    return;
                };
                let accepted = tokio::select! {
                    () = end.draining() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((stream, peer)) = accepted else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
                    if let Ok(Ok(stream)) = shaken.await {
                        // Nobody serves any more when it fails.
                        drop(sender.send((stream, peer)).await);
                    } else {
                        metrics::counter!("im_proxy_handshakes_failed_total").increment(1);
                    }
                    drop(place);
                });
            }
        });
        Ok(Self { ready, address })
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(ready) => ready,
            // The drain has begun, which ends the serving.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
