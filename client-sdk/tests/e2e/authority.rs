//! A fleet's authority: signs the gateway's certificate and the robots'.

use std::path::Path;
use std::sync::Arc;

use client_sdk::{ClientConfig, Credential};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn robot(&self, name: &str) -> Credential {
        let mut params = CertificateParams::default();
        let uri = format!("im://test/robot/{name}").try_into().unwrap();
        params.subject_alt_names = vec![SanType::URI(uri)];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Credential::Certificate {
            certificate_pem: certificate.pem().into(),
            key_pem: key.serialize_pem().into(),
        }
    }

    /// Writes the authority's certificate and a robot's credential; returns the three files.
    pub(crate) fn files(&self, folder: &Path, robot: &str) -> [String; 3] {
        let Credential::Certificate {
            certificate_pem,
            key_pem,
        } = self.robot(robot)
        else {
            unreachable!("a robot's credential is a certificate");
        };
        let files = [
            ("ca.pem", self.0.pem().into_bytes()),
            ("robot.pem", certificate_pem),
            ("robot.key", key_pem),
        ];
        files.map(|(name, pem)| {
            let path = folder.join(name);
            std::fs::write(&path, pem).unwrap();
            path.to_str().unwrap().to_owned()
        })
    }

    /// A client of these gateways that trusts this authority.
    pub(crate) fn config(&self, addresses: &[&str], credential: Credential) -> ClientConfig {
        ClientConfig::new(
            addresses.iter().copied(),
            self.0.pem().into_bytes(),
            credential,
        )
    }

    /// The gateway's end of TLS: robots present a certificate, others none.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(self.0.der().to_vec()))
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .unwrap();
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        tls.alpn_protocols = vec![b"im/1".to_vec()];
        TlsAcceptor::from(Arc::new(tls))
    }
}
