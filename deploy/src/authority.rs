//! Development authorities: they sign every certificate and token of a cluster on one machine, and
//! keep their secrets in its state folder, readable by its owner alone.
//!
//! Not for production: there the authorities' keys never lie beside the servers.

use std::fs::File;
use std::path::{Path, PathBuf};

use rcgen::KeyPair;
use service_kit::token::{KeyError, TokenSigner, generate_key_pair};
use thiserror::Error;

use crate::certificate::{self, Purpose};
use crate::private_file;

/// The name of the fleet that a development cluster serves.
pub const FLEET: &str = "dev";

/// The tiers that have an end of an internal link.
pub const LINKED_TIERS: [&str; 4] = ["im-gateway", "im-logic", "im-router", "im-store"];

/// What a backup keeps of the authorities, as paths within the state folder: what verifies every
/// credential that they have given, and gives others. The rest is made anew.
pub const KEPT: [&str; 6] = [
    "authority/fleet-ca.pem",
    "authority/fleet-ca.key",
    "authority/internal-ca.pem",
    "authority/internal-ca.key",
    "authority/tokens.pub.pem",
    "authority/tokens.key",
];

/// The names that the gateway's public certificate is good for.
const PUBLIC_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "im-gateway"];

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// How long an authority is good: longer than any development cluster lives.
const AUTHORITY_LIFETIME_MS: u64 = 3650 * DAY_MS;

/// How long a certificate is good. Each start renews what has little left.
const CERTIFICATE_LIFETIME_MS: u64 = 90 * DAY_MS;

/// How long a token is good: a month of work without asking for another.
const TOKEN_LIFETIME_MS: u64 = 30 * DAY_MS;

/// What expires sooner than this is renewed.
const RENEW_WITHIN_MS: u64 = 7 * DAY_MS;

/// The longest name of an account, in bytes.
const NAME_BYTES_MAX: usize = protocol::limits::ACCOUNT_NAME_BYTES_MAX;

/// Why there is no certificate or token.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// A file of the state folder.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of the state folder holds something else than it should.
    #[error("{} is damaged; `swarm reset` makes new ones", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// The token key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// rcgen refuses to sign.
    #[error("cannot make a certificate for {name}")]
    Certificate {
        /// For whom.
        name: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A name that no account can have.
    #[error("{0:?} is no name: use 1 to 64 of A-Z a-z 0-9 . _ -")]
    Name(String),
}

/// Who a token speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A person.
    Operator,
    /// A model.
    Planner,
}

impl TokenKind {
    /// The word in a token's subject.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Planner => "planner",
        }
    }
}

/// A certificate and its key, as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// The authorities of one state folder.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// Opens the authorities under `state`; makes and renews what is missing or about to expire.
    pub fn open(state: &Path, now_ms: u64) -> Result<Self, AuthorityError> {
        let authority = Self {
            folder: state.to_owned(),
        };
        for folder in [
            state.to_owned(),
            authority.authorities(),
            authority.tiers(),
            authority.credentials(),
        ] {
            private_file::make_folder(&folder).map_err(|source| file_error(&folder, source))?;
        }
        let _lock = authority.lock()?;
        let fleet_is_new = authority.ensure_authority("fleet-ca", now_ms)?;
        let internal_is_new = authority.ensure_authority("internal-ca", now_ms)?;
        if fleet_is_new {
            // What the old one signed is worth nothing now.
            authority.clear(&authority.credentials())?;
        }
        authority.ensure_token_keys()?;
        authority.ensure_leaf(
            "fleet-ca",
            &authority.public_certificate(),
            Purpose::Server(&PUBLIC_NAMES),
            fleet_is_new,
            now_ms,
        )?;
        for tier in LINKED_TIERS {
            authority.ensure_leaf(
                "internal-ca",
                &authority.tier_certificate(tier),
                Purpose::Tier(tier),
                internal_is_new,
                now_ms,
            )?;
        }
        Ok(authority)
    }

    /// The certificate that clients verify the gateway with, and the gateway its robots.
    #[must_use]
    pub fn fleet_ca(&self) -> PathBuf {
        self.authorities().join("fleet-ca.pem")
    }

    /// The certificate that tiers verify each other with.
    #[must_use]
    pub fn internal_ca(&self) -> PathBuf {
        self.authorities().join("internal-ca.pem")
    }

    /// The key that tokens are verified with.
    #[must_use]
    pub fn token_public_key(&self) -> PathBuf {
        self.authorities().join("tokens.pub.pem")
    }

    /// What the gateway shows its clients.
    #[must_use]
    pub fn public_certificate(&self) -> CertificateFiles {
        self.pair(&self.tiers(), "gateway-public")
    }

    /// What a tier shows other tiers.
    #[must_use]
    pub fn tier_certificate(&self, tier: &str) -> CertificateFiles {
        self.pair(&self.tiers(), tier)
    }

    /// A robot's certificate: the one it has, or a new one.
    pub fn robot(&self, name: &str, now_ms: u64) -> Result<CertificateFiles, AuthorityError> {
        check_name(name)?;
        let files = self.pair(&self.credentials(), &format!("robot-{name}"));
        let _lock = self.lock()?;
        let purpose = Purpose::Robot { fleet: FLEET, name };
        self.ensure_leaf("fleet-ca", &files, purpose, false, now_ms)?;
        Ok(files)
    }

    /// Certificates for robots that live no longer than this process: nothing is written.
    /// Returns the certificate and the key of each, in PEM.
    pub fn passing_robots(
        &self,
        names: &[String],
        now_ms: u64,
    ) -> Result<Vec<(String, String)>, AuthorityError> {
        let key = self.authority_key("fleet-ca")?;
        let until_ms = now_ms + CERTIFICATE_LIFETIME_MS;
        names
            .iter()
            .map(|name| {
                check_name(name)?;
                let purpose = Purpose::Robot { fleet: FLEET, name };
                certificate::signed("fleet-ca", &key, purpose, now_ms, until_ms).map_err(|source| {
                    AuthorityError::Certificate {
                        name: name.clone(),
                        source,
                    }
                })
            })
            .collect()
    }

    /// A fresh token in a file.
    pub fn token(
        &self,
        kind: TokenKind,
        name: &str,
        now_ms: u64,
    ) -> Result<PathBuf, AuthorityError> {
        check_name(name)?;
        let word = kind.word();
        let signer = TokenSigner::from_pem(&self.token_key())?;
        let token = signer.sign(
            &format!("im://{FLEET}/{word}/{name}"),
            now_ms,
            TOKEN_LIFETIME_MS,
        );
        let path = self.credentials().join(format!("{word}-{name}.token"));
        private_file::write(&path, token.as_bytes()).map_err(|source| file_error(&path, source))?;
        Ok(path)
    }

    fn ensure_authority(&self, name: &'static str, now_ms: u64) -> Result<bool, AuthorityError> {
        let files = self.pair(&self.authorities(), name);
        if is_good(&files, now_ms)? {
            return Ok(false);
        }
        let until_ms = now_ms + AUTHORITY_LIFETIME_MS;
        let made = certificate::self_signed(name, now_ms, until_ms);
        write_pair(&files, name, made)?;
        Ok(true)
    }

    fn ensure_leaf(
        &self,
        authority: &'static str,
        files: &CertificateFiles,
        purpose: Purpose<'_>,
        anyway: bool,
        now_ms: u64,
    ) -> Result<(), AuthorityError> {
        if !anyway && is_good(files, now_ms)? {
            return Ok(());
        }
        let key = self.authority_key(authority)?;
        let until_ms = now_ms + CERTIFICATE_LIFETIME_MS;
        let made = certificate::signed(authority, &key, purpose, now_ms, until_ms);
        write_pair(files, &purpose.to_string(), made)
    }

    fn ensure_token_keys(&self) -> Result<(), AuthorityError> {
        let (private, public) = (self.token_key(), self.token_public_key());
        if private.exists() && public.exists() {
            return Ok(());
        }
        let (private_pem, public_pem) = generate_key_pair();
        for (path, pem) in [(private, private_pem), (public, public_pem)] {
            private_file::write(&path, pem.as_bytes())
                .map_err(|source| file_error(&path, source))?;
        }
        Ok(())
    }

    fn authority_key(&self, name: &'static str) -> Result<KeyPair, AuthorityError> {
        let path = self.pair(&self.authorities(), name).key;
        let pem = std::fs::read_to_string(&path).map_err(|source| file_error(&path, source))?;
        KeyPair::from_pem(&pem).map_err(|_| AuthorityError::Damaged { path })
    }

    /// Keeps two processes from making the same authority at once.
    fn lock(&self) -> Result<File, AuthorityError> {
        let path = self.authorities().join("lock");
        private_file::open_lock(&path)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|source| file_error(&path, source))
    }

    fn clear(&self, folder: &Path) -> Result<(), AuthorityError> {
        std::fs::remove_dir_all(folder)
            .and_then(|()| private_file::make_folder(folder))
            .map_err(|source| file_error(folder, source))
    }

    fn authorities(&self) -> PathBuf {
        self.folder.join("authority")
    }

    fn tiers(&self) -> PathBuf {
        self.folder.join("tiers")
    }

    fn credentials(&self) -> PathBuf {
        self.folder.join("credentials")
    }

    fn token_key(&self) -> PathBuf {
        self.authorities().join("tokens.key")
    }

    #[expect(clippy::unused_self, reason = "reads as a property of the folder")]
    fn pair(&self, folder: &Path, name: &str) -> CertificateFiles {
        CertificateFiles {
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        }
    }
}

/// Puts the authorities that are kept under another folder in the place of those of a state folder.
/// What other authorities have signed goes; credentials of the same one stay.
pub fn replace(state: &Path, kept: &Path) -> Result<(), AuthorityError> {
    let fleet = KEPT[0];
    let is_same = std::fs::read(state.join(fleet)).ok() == std::fs::read(kept.join(fleet)).ok();
    let signed = ["tiers", "credentials"].into_iter();
    for name in ["authority"].into_iter().chain(signed.filter(|_| !is_same)) {
        let path = state.join(name);
        match std::fs::remove_dir_all(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(file_error(&path, source));
            }
            Ok(()) | Err(_) => {}
        }
    }
    let to = state.join("authority");
    std::fs::rename(kept.join("authority"), &to).map_err(|source| file_error(&to, source))
}

/// Whether both files are there and the certificate has enough time left.
fn is_good(files: &CertificateFiles, now_ms: u64) -> Result<bool, AuthorityError> {
    if !files.key.exists() || !files.certificate.exists() {
        return Ok(false);
    }
    let pem = std::fs::read(&files.certificate)
        .map_err(|source| file_error(&files.certificate, source))?;
    let until_ms = certificate::expires_at_ms(&pem).ok_or_else(|| AuthorityError::Damaged {
        path: files.certificate.clone(),
    })?;
    Ok(until_ms > now_ms + RENEW_WITHIN_MS)
}

fn write_pair(
    files: &CertificateFiles,
    name: &str,
    made: Result<(String, String), rcgen::Error>,
) -> Result<(), AuthorityError> {
    let (certificate, key) = made.map_err(|source| AuthorityError::Certificate {
        name: name.into(),
        source,
    })?;
    // The certificate last: a pair is complete when it is there.
    for (path, pem) in [(&files.key, key), (&files.certificate, certificate)] {
        private_file::write(path, pem.as_bytes()).map_err(|source| file_error(path, source))?;
    }
    Ok(())
}

fn file_error(path: &Path, source: std::io::Error) -> AuthorityError {
    AuthorityError::File {
        path: path.to_owned(),
        source,
    }
}

fn check_name(name: &str) -> Result<(), AuthorityError> {
    let good = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(good) {
        Ok(())
    } else {
        Err(AuthorityError::Name(name.into()))
    }
}
