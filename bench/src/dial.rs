//! TLS connections of the load: version 1.3 with *ring*, whatever is spoken within.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The longest line that a server says before TLS, in bytes.
const LINE_BYTES_MAX: usize = 4096;

/// Makes connections to one server.
#[derive(Clone)]
pub struct Dialler {
    address: SocketAddr,
    name: ServerName<'static>,
    tls: TlsConnector,
    line_before_tls: bool,
}

impl Dialler {
    /// To this address, where a certificate for `server_name` is shown that the authority in the
    /// file `ca` has signed.
    ///
    /// # Errors
    /// When there is no authority in the file, or the name is none.
    pub fn new(
        address: SocketAddr,
        server_name: &str,
        ca: &Path,
        alpn: Option<&str>,
    ) -> anyhow::Result<Self> {
        let mut tls = trusting(ca)?.with_no_client_auth();
        tls.alpn_protocols = alpn.iter().map(|name| name.as_bytes().into()).collect();
        Ok(Self {
            address,
            name: ServerName::try_from(server_name.to_owned())?,
            tls: TlsConnector::from(Arc::new(tls)),
            line_before_tls: false,
        })
    }

    /// The same with a client certificate and its key, in PEM. `ca` as in [`Dialler::new`].
    ///
    /// # Errors
    /// When they are none.
    pub fn with_certificate(self, ca: &Path, certificate: &str, key: &str) -> anyhow::Result<Self> {
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        let mut tls = trusting(ca)?.with_client_auth_cert(chain, key)?;
        tls.alpn_protocols = self.tls.config().alpn_protocols.clone();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(tls)),
            ..self
        })
    }

    /// The same to a server that says one line in clear before TLS begins.
    #[must_use]
    pub fn after_a_line(self, line_before_tls: bool) -> Self {
        Self {
            line_before_tls,
            ..self
        }
    }

    /// One connection.
    ///
    /// # Errors
    /// When nobody is there, or TLS fails.
    pub async fn dial(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let address = self.address;
        let mut tcp = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to {address}"))?;
        tcp.set_nodelay(true)?;
        if self.line_before_tls {
            let mut length = 0;
            while tcp.read_u8().await? != b'\n' {
                length += 1;
                ensure!(length < LINE_BYTES_MAX, "no line before TLS");
            }
        }
        let connecting = self.tls.connect(self.name.clone(), tcp);
        connecting.await.context("TLS fails")
    }
}

/// Trusts the authority in this file.
fn trusting(ca: &Path) -> anyhow::Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(ca);
    roots.add(authority.with_context(|| format!("no certificate in {}", ca.display()))?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    Ok(builder.with_root_certificates(roots))
}
