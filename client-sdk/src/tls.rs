//! The client's end of TLS 1.3 with *ring*: whom it trusts, who it is.

use std::sync::Arc;

use rustls::{AlertDescription, ClientConfig as TlsConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::config::{CaSource, Credential};
use crate::error::ConfigError;

/// What the public port speaks within TLS.
pub(crate) const ALPN: &[u8] = b"im/1";

/// Of these; reads the authority's file. An identity has authorities of its own.
pub(crate) fn client(
    ca: &CaSource,
    credential: &Credential,
) -> Result<Arc<TlsConfig>, ConfigError> {
    let authorities = match credential {
        Credential::Identity(identity) => identity.authorities().to_owned(),
        Credential::Certificate { .. } | Credential::Token(_) | Credential::Login(_) => ca.pem()?,
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&authorities, "authority")? {
        roots.add(certificate).map_err(ConfigError::Certificate)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = TlsConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(ConfigError::Certificate)?
        .with_root_certificates(roots);
    let mut tls = match credential {
        Credential::Token(_) | Credential::Login(_) => builder.with_no_client_auth(),
        Credential::Identity(identity) => builder
            .with_client_auth_cert(
                certificates(identity.pem(), "certificate")?,
                PrivateKeyDer::from_pem_slice(identity.pem())
                    .map_err(|_| ConfigError::Pem { what: "key" })?,
            )
            .map_err(ConfigError::Certificate)?,
        Credential::Certificate {
            certificate_pem,
            key_pem,
        } => builder
            .with_client_auth_cert(
                certificates(certificate_pem, "certificate")?,
                PrivateKeyDer::from_pem_slice(key_pem)
                    .map_err(|_| ConfigError::Pem { what: "key" })?,
            )
            .map_err(ConfigError::Certificate)?,
    };
    tls.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(tls))
}

/// The same for HTTP/1.1.
pub(crate) fn for_http(
    ca: &CaSource,
    credential: &Credential,
) -> Result<Arc<TlsConfig>, ConfigError> {
    let mut tls = TlsConfig::clone(&*client(ca, credential)?);
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}

/// The host part of `HOST:PORT`: a name, an IP address, or an IPv6 address in brackets.
pub(crate) fn server_name(address: &str) -> Result<ServerName<'static>, ConfigError> {
    let wrong = || ConfigError::Address {
        address: address.to_owned(),
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    port.parse::<u16>().map_err(|_| wrong())?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    ServerName::try_from(host.to_owned()).map_err(|_| wrong())
}

/// Whether a failed handshake is about certificates, so that trying again cannot help.
pub(crate) fn is_about_certificates(error: &rustls::Error) -> bool {
    if let rustls::Error::AlertReceived(alert) = error {
        return [
            AlertDescription::BadCertificate,
            AlertDescription::UnsupportedCertificate,
            AlertDescription::CertificateRevoked,
            AlertDescription::CertificateExpired,
            AlertDescription::CertificateUnknown,
            AlertDescription::UnknownCA,
            // Signed by another authority of the same name.
            AlertDescription::DecryptError,
            AlertDescription::AccessDenied,
            AlertDescription::CertificateRequired,
        ]
        .contains(alert);
    }
    matches!(
        error,
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoApplicationProtocol
    )
}

fn certificates(
    pem: &[u8],
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or(ConfigError::Pem { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_name_is_the_host_of_its_address() {
        for (address, name) in [
            ("localhost:7443", "localhost"),
            ("127.0.0.1:7443", "127.0.0.1"),
            ("[::1]:7443", "::1"),
        ] {
            assert_eq!(server_name(address).unwrap().to_str(), name);
        }
        for address in ["localhost", "localhost:port", ":1", "a b:1"] {
            assert!(server_name(address).is_err(), "{address}");
        }
    }
}
