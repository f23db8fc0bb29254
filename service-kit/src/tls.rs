//! TLS 1.3 with *ring*: mutual between tiers, and towards clients with an optional certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use thiserror::Error;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::config::{ConfigError, InternalTlsConfig, read_file};

/// What the public port speaks within TLS.
pub const ALPN_CLIENT: &[u8] = b"im/1";
/// What tiers speak within TLS.
pub const ALPN_INTERNAL: &[u8] = b"im-internal/1";
/// What the public HTTP port speaks within TLS.
pub const ALPN_HTTP: &[u8] = b"http/1.1";

/// A certificate or a key that cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// The file holds no certificate, or no key.
    #[error("{key}: {path} holds no usable PEM {what}")]
    Pem {
        /// The configuration key.
        key: &'static str,
        /// The file.
        path: String,
        /// "certificate" or "key".
        what: &'static str,
    },
    /// rustls refuses them.
    #[error("the certificate and its key do not work together")]
    Rustls(#[from] rustls::Error),
    /// No client could ever be verified.
    #[error("the authority of the clients is not usable")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The section `[public_tls]`: a listener where clients come.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicTlsConfig {
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority of robots' certificates.
    pub client_ca: PathBuf,
}

impl PublicTlsConfig {
    /// What clients are shown.
    ///
    /// # Errors
    /// When a file cannot be read, or is not what it should be.
    pub fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        public_server(&self.certificate, &self.key, &self.client_ca)
    }
}

/// The server's end of a link between tiers: the client must have a certificate.
pub fn internal_server(config: &InternalTlsConfig) -> Result<Arc<ServerConfig>, TlsError> {
    let roots = roots("internal_tls.ca", &config.ca)?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            certificates("internal_tls.certificate", &config.certificate)?,
            private_key("internal_tls.key", &config.key)?,
        )?;
    server.alpn_protocols = vec![ALPN_INTERNAL.to_vec()];
    Ok(Arc::new(server))
}

/// The client's end of a link between tiers.
pub fn internal_client(config: &InternalTlsConfig) -> Result<Arc<ClientConfig>, TlsError> {
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots("internal_tls.ca", &config.ca)?)
        .with_client_auth_cert(
            certificates("internal_tls.certificate", &config.certificate)?,
            private_key("internal_tls.key", &config.key)?,
        )?;
    client.alpn_protocols = vec![ALPN_INTERNAL.to_vec()];
    Ok(Arc::new(client))
}

/// The client's end of a connection where HTTP is spoken, to a server of this authority.
///
/// # Errors
/// When the file cannot be read, or is not what it should be.
pub fn http_client(ca: &Path) -> Result<Arc<ClientConfig>, TlsError> {
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots("authority", ca)?)
        .with_no_client_auth();
    client.alpn_protocols = vec![ALPN_HTTP.to_vec()];
    Ok(Arc::new(client))
}

/// The public port: a client may present a certificate of `client_ca`; one of another authority
/// fails the handshake.
///
/// A client that comes back presents a ticket of its last connection instead, which no other process
/// can read: it takes a third of the work. The ticket holds the certificate that was verified then,
/// so that [`peer_uri`] is the same; whether it is still good has to be asked
/// ([`peer_is_current`]). No data travels before the handshake is over.
pub fn public_server(
    certificate: &Path,
    key: &Path,
    client_ca: &Path,
) -> Result<Arc<ServerConfig>, TlsError> {
    let roots = roots("public_tls.client_ca", client_ca)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()?;
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            certificates("public_tls.certificate", certificate)?,
            private_key("public_tls.key", key)?,
        )?;
    server.alpn_protocols = vec![ALPN_CLIENT.to_vec()];
    server.ticketer = rustls::crypto::ring::Ticketer::new()?;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    // One is enough: whoever uses it gets the next.
    server.send_tls13_tickets = 1;
    Ok(Arc::new(server))
}

/// The same for a port where HTTP is spoken.
#[must_use]
pub fn for_http(public: &ServerConfig) -> Arc<ServerConfig> {
    let mut http = public.clone();
    http.alpn_protocols = vec![ALPN_HTTP.to_vec()];
    Arc::new(http)
}

/// The first DNS name of the certificate that the other side presented and that was verified.
#[must_use]
pub fn peer_dns_name(connection: &rustls::CommonState) -> Option<String> {
    peer_name(connection, |name| {
        if let GeneralName::DNSName(dns) = name {
            Some((*dns).to_owned())
        } else {
            None
        }
    })
}

/// The first URI of the certificate that the other side presented and that was verified.
#[must_use]
pub fn peer_uri(connection: &rustls::CommonState) -> Option<String> {
    peer_name(connection, |name| {
        if let GeneralName::URI(uri) = name {
            Some((*uri).to_owned())
        } else {
            None
        }
    })
}

/// Who the other side is by its certificate, for as long as the connection is kept elsewhere than
/// its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The first URI of the certificate; empty: it presented none, or it has none.
    pub uri: String,
    /// The serial number of that certificate.
    pub serial: Vec<u8>,
    /// Until when the certificates are good, in seconds since the Unix epoch; `None`: there are
    /// none.
    good_until_s: Option<u64>,
}

impl PeerIdentity {
    /// Of the other side of a connection.
    #[must_use]
    pub fn of(connection: &rustls::CommonState) -> Self {
        let presented = connection.peer_certificates().unwrap_or_default();
        let good_until_s = presented.iter().map(|certificate| {
            X509Certificate::from_der(certificate).map_or(0, |(_, parsed)| {
                u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0)
            })
        });
        Self {
            uri: peer_uri(connection).unwrap_or_default(),
            serial: presented
                .first()
                .and_then(|certificate| X509Certificate::from_der(certificate).ok())
                .map_or_else(Vec::new, |(_, parsed)| parsed.raw_serial().to_vec()),
            good_until_s: good_until_s.min(),
        }
    }

    /// Until when the certificates are good, in milliseconds since the Unix epoch; 0: there are
    /// none.
    #[must_use]
    pub fn good_until_ms(&self) -> u64 {
        let until_s = self.good_until_s.unwrap_or(0);
        until_s.saturating_mul(1000)
    }

    /// Whether the certificates are still good at this moment, in milliseconds since the Unix
    /// epoch. True of one that presented none.
    #[must_use]
    pub fn is_current(&self, now_ms: u64) -> bool {
        self.good_until_s.is_none_or(|until| now_ms / 1000 <= until)
    }
}

/// Whether the certificates that the other side presented are still good at this moment, in
/// milliseconds since the Unix epoch. True of one that presented none.
#[must_use]
pub fn peer_is_current(connection: &rustls::CommonState, now_ms: u64) -> bool {
    PeerIdentity::of(connection).is_current(now_ms)
}

fn peer_name(
    connection: &rustls::CommonState,
    pick: impl Fn(&GeneralName<'_>) -> Option<String>,
) -> Option<String> {
    let certificate = connection.peer_certificates()?.first()?;
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(pick)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(key: &'static str, path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, path)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read_file(key, path)?;
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| TlsError::Pem {
            key,
            path: path.display().to_string(),
            what: "certificate",
        })
}

fn private_key(key: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read_file(key, path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::Pem {
        key,
        path: path.display().to_string(),
        what: "key",
    })
}
