//! The fleet's authority at work: it signs the certificates of those who enrol.
//!
//! Nothing but the public key is taken from a request. Not here: who may have a certificate.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::wire::AccountKind;
use protocol::{ErrorCode, Refusal};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, Issuer as Authority, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
    SerialNumber,
};
use rustls_pki_types::CertificateSigningRequestDer;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::config::EnrolmentConfig;

/// Certificates are good from a little before they are made, in milliseconds: the clocks of robots
/// differ.
const BACKDATE_MS: u64 = 60 * 60 * 1000;

/// The bits of a file's mode that let others than its owner at it.
const OTHERS: u32 = 0o077;

/// The longest request that is looked at, in bytes.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// An authority that cannot sign.
#[derive(Debug, Error)]
pub enum IssuerError {
    /// A file.
    #[error("{key}: cannot read {}", path.display())]
    File {
        /// Of which key of the configuration.
        key: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others can read the key.
    #[error(
        "enrolment.key: {} can be read by others than its owner (mode {mode:o}): chmod 600",
        path.display()
    )]
    Mode {
        /// Which.
        path: PathBuf,
        /// What it is.
        mode: u32,
    },
    /// The files are no authority.
    #[error("enrolment: the authority and its key are not usable")]
    Unusable(#[source] rcgen::Error),
}

/// Signs.
pub struct Issuer {
    authority: Authority<'static, KeyPair>,
    trusted_pem: String,
    lifetime_ms: u64,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").finish_non_exhaustive()
    }
}

/// A request whose signature was good: whoever sent it has the key.
#[derive(Debug)]
pub struct Proven(CertificateSigningRequestParams);

/// What was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// In PEM.
    pub certificate_pem: String,
    /// Its number, as TLS shows it.
    pub serial: Vec<u8>,
    /// When it ends, in milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
    /// When the next one is to be asked for, the same.
    pub renew_at_ms: u64,
}

impl Issuer {
    /// As configured; none when no authority is.
    ///
    /// # Errors
    /// When the files cannot be read, are no authority, or the key is open to others.
    pub fn open(config: &EnrolmentConfig) -> Result<Option<Self>, IssuerError> {
        if config.authority.as_os_str().is_empty() {
            return Ok(None);
        }
        let metadata = std::fs::metadata(&config.key).map_err(|source| IssuerError::File {
            key: "enrolment.key",
            path: config.key.clone(),
            source,
        })?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & OTHERS != 0 {
            let path = config.key.clone();
            return Err(IssuerError::Mode { path, mode });
        }
        let key = read("enrolment.key", &config.key)?;
        let certificate = read("enrolment.authority", &config.authority)?;
        let trusted_pem = if config.trusted.as_os_str().is_empty() {
            certificate.clone()
        } else {
            read("enrolment.trusted", &config.trusted)?
        };
        let key = KeyPair::from_pem(&key).map_err(IssuerError::Unusable)?;
        let authority =
            Authority::from_ca_cert_pem(&certificate, key).map_err(IssuerError::Unusable)?;
        Ok(Some(Self {
            authority,
            trusted_pem,
            lifetime_ms: config.certificate_lifetime_ms,
        }))
    }

    /// What clients are to trust, in PEM.
    #[must_use]
    pub fn trusted_pem(&self) -> &str {
        &self.trusted_pem
    }

    /// A certificate for this account, good from now on.
    ///
    /// # Errors
    /// *Internal*.
    pub fn sign(
        &self,
        proven: &Proven,
        fleet: &str,
        (kind, name): (AccountKind, &str),
        now_ms: u64,
    ) -> Result<Signed, Refusal> {
        let mut serial: [u8; 16] = rand::random();
        // Positive, and of full length: it is an integer in the certificate.
        serial[0] = (serial[0] & 0x3f) | 0x40;
        let expires_at_ms = (now_ms + self.lifetime_ms) / 1000 * 1000;
        let mut params = CertificateParams::default();
        let kind = match kind {
            AccountKind::Planner => "planner",
            AccountKind::Robot | AccountKind::Operator | AccountKind::Unspecified => "robot",
        };
        let internal = |error: rcgen::Error| Refusal::internal(format!("no certificate: {error}"));
        let uri = format!("im://{fleet}/{kind}/{name}");
        params.subject_alt_names = vec![SanType::URI(uri.try_into().map_err(internal)?)];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_millis(now_ms.saturating_sub(BACKDATE_MS));
        params.not_after = epoch + Duration::from_millis(expires_at_ms);
        let certificate = params
            .signed_by(&proven.0.public_key, &self.authority)
            .map_err(internal)?;
        Ok(Signed {
            certificate_pem: certificate.pem(),
            serial: serial.to_vec(),
            expires_at_ms,
            renew_at_ms: now_ms + self.lifetime_ms * 2 / 3,
        })
    }
}

impl Proven {
    /// Of a PKCS#10 request in DER.
    ///
    /// # Errors
    /// *Bad request*: it makes no sense, or its signature is not that of its key.
    pub fn parse(request: &[u8]) -> Result<Self, Refusal> {
        if request.len() > REQUEST_BYTES_MAX {
            let why = format!("certificate_request: more than {REQUEST_BYTES_MAX} bytes");
            return Err(Refusal::bad_request(why));
        }
        let der = CertificateSigningRequestDer::from(request);
        CertificateSigningRequestParams::from_der(&der)
            .map(Self)
            .map_err(|error| Refusal::bad_request(format!("certificate_request: {error}")))
    }

    /// SHA-256 of its public key.
    #[must_use]
    pub fn key_digest(&self) -> Vec<u8> {
        Sha256::digest(self.0.public_key.der_bytes()).to_vec()
    }
}

/// What is said where there is no authority.
pub(super) fn nobody_enrols() -> Refusal {
    Refusal::new(ErrorCode::EnrolmentRefused, "nobody enrols at this server")
}

fn read(key: &'static str, path: &Path) -> Result<String, IssuerError> {
    std::fs::read_to_string(path).map_err(|source| IssuerError::File {
        key,
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertifiedIssuer, IsCa};

    fn files(folder: &Path, mode: u32) -> EnrolmentConfig {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(params, key).unwrap();
        let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
        std::fs::write(&certificate, authority.pem()).unwrap();
        std::fs::write(&key, authority.key().serialize_pem()).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        EnrolmentConfig {
            authority: certificate,
            key,
            trusted: PathBuf::new(),
            certificate_lifetime_ms: 90_000,
            required: false,
        }
    }

    fn request() -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default()
            .serialize_request(&key)
            .unwrap();
        request.der().to_vec()
    }

    #[test]
    fn a_key_that_others_can_read_signs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let error = Issuer::open(&files(folder.path(), 0o640)).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        assert!(
            Issuer::open(&files(folder.path(), 0o600))
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn whoever_has_the_key_gets_a_certificate_of_two_thirds_and_one() {
        let folder = tempfile::tempdir().unwrap();
        let issuer = Issuer::open(&files(folder.path(), 0o600)).unwrap().unwrap();
        let proven = Proven::parse(&request()).unwrap();
        let who = (AccountKind::Robot, "lift-1");
        let now_ms = 1_700_000_000_000;
        let signed = issuer.sign(&proven, "dev", who, now_ms).unwrap();
        assert_eq!(signed.expires_at_ms, now_ms + 90_000);
        assert_eq!(signed.renew_at_ms, now_ms + 60_000);
        assert!(signed.certificate_pem.contains("BEGIN CERTIFICATE"));
        let again = issuer.sign(&proven, "dev", who, now_ms).unwrap();
        assert_ne!(signed.serial, again.serial);
    }

    #[test]
    fn a_request_that_was_signed_by_another_key_proves_nothing() {
        let mut forged = request();
        let last = forged.len() - 3;
        forged[last] ^= 1;
        assert_eq!(
            Proven::parse(&forged).unwrap_err().code,
            ErrorCode::BadRequest
        );
        assert!(Proven::parse(b"nonsense").is_err());
        assert!(Proven::parse(&[0; 9000]).is_err());
    }
}
