//! Who a robot is, in a folder of its own: a certificate and its key, and the authorities that it
//! trusts. The client renews it by itself ([`Enrolment`](crate::Enrolment) makes one).
//!
//! The key is made here and never leaves. Files are readable by their owner alone and written whole
//! or not at all; certificate and key are one file, so that they always belong together.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use protocol::wire::Enrolled;
use rcgen::{CertificateParams, KeyPair};

use crate::config::{CaSource, ClientConfig, Credential};
use crate::error::ConfigError;

/// The certificate and its key.
const IDENTITY: &str = "identity.pem";

/// The authorities that gateways' certificates are of.
const AUTHORITIES: &str = "fleet-ca.pem";

/// The key that a certificate has been asked for, until it has come.
const PENDING: &str = "pending.key";

/// What precedes the times in the first line of the identity.
const HEADER: &str = "# im identity:";

/// A robot's certificate and key, and whom it trusts.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    folder: PathBuf,
    pem: Vec<u8>,
    authorities: Vec<u8>,
    expires_at_ms: u64,
    renew_at_ms: u64,
}

/// Never the key itself.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("folder", &self.folder)
            .field("expires_at_ms", &self.expires_at_ms)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads the identity that an enrolment has put into this folder.
    pub fn from_dir(folder: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let folder = folder.as_ref().to_owned();
        let path = folder.join(IDENTITY);
        let pem = read(&path)?;
        let (expires_at_ms, renew_at_ms) =
            times(&pem).ok_or(ConfigError::Pem { what: "identity" })?;
        Ok(Self {
            authorities: read(&folder.join(AUTHORITIES))?,
            folder,
            pem,
            expires_at_ms,
            renew_at_ms,
        })
    }

    /// Where it is kept.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// When the certificate ends, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn expires_at_ms(&self) -> u64 {
        self.expires_at_ms
    }

    /// When the client asks for the next one, the same.
    #[must_use]
    pub const fn renew_at_ms(&self) -> u64 {
        self.renew_at_ms
    }

    /// A client of these gateways that comes as this robot, and renews the certificate in time.
    pub fn client<A: Into<String>>(&self, addresses: impl IntoIterator<Item = A>) -> ClientConfig {
        let authorities = CaSource::Pem(self.authorities.clone());
        let credential = Credential::Identity(Box::new(self.clone()));
        ClientConfig::new(addresses, authorities, credential)
    }

    /// The certificate and the key, both in one text.
    pub(crate) fn pem(&self) -> &[u8] {
        &self.pem
    }

    pub(crate) fn authorities(&self) -> &[u8] {
        &self.authorities
    }

    /// What the server has signed for this key, in its folder.
    pub(crate) fn store(
        folder: &Path,
        key: &Key,
        enrolled: &Enrolled,
        authorities: &[u8],
    ) -> Result<Self, ConfigError> {
        let (expires_at_ms, renew_at_ms) = (enrolled.expires_at_ms, enrolled.renew_at_ms);
        let mut pem = format!("{HEADER} {expires_at_ms} {renew_at_ms}\n").into_bytes();
        pem.extend_from_slice(enrolled.certificate_pem.as_bytes());
        pem.extend_from_slice(key.0.serialize_pem().as_bytes());
        let authorities = match &enrolled.authorities_pem[..] {
            "" => authorities,
            told => told.as_bytes(),
        };
        // The identity last: it is complete when it is there.
        write(&folder.join(AUTHORITIES), authorities)?;
        write(&folder.join(IDENTITY), &pem)?;
        // What was asked for has come; a key that stays is used for the next enrolment.
        drop(fs::remove_file(folder.join(PENDING)));
        Ok(Self {
            folder: folder.to_owned(),
            pem,
            authorities: authorities.to_owned(),
            expires_at_ms,
            renew_at_ms,
        })
    }
}

/// A key pair that a certificate is asked for.
pub(crate) struct Key(KeyPair);

impl Key {
    /// A fresh one.
    pub(crate) fn new() -> Result<Self, ConfigError> {
        let made = KeyPair::generate();
        made.map(Self).map_err(|_| ConfigError::Pem { what: "key" })
    }

    /// The one that an enrolment which was broken off has left in the folder, so that it can ask
    /// again under the same token; or a fresh one, which is left there.
    pub(crate) fn pending(folder: &Path) -> Result<Self, ConfigError> {
        let path = folder.join(PENDING);
        let left = fs::read_to_string(&path).ok();
        if let Some(left) = left.and_then(|pem| KeyPair::from_pem(&pem).ok()) {
            return Ok(Self(left));
        }
        let key = Self::new()?;
        make_folder(folder).map_err(|source| file_error(folder, source))?;
        write(&path, key.0.serialize_pem().as_bytes())?;
        Ok(key)
    }

    /// The request for a certificate, in DER: it is signed with the key, and says nothing else.
    pub(crate) fn request(&self) -> Result<Vec<u8>, ConfigError> {
        let request = CertificateParams::default().serialize_request(&self.0);
        let request = request.map_err(|_| ConfigError::Pem { what: "key" })?;
        Ok(request.der().to_vec())
    }
}

/// Replaces a file that only its owner may read: a reader sees the old one or the new one, also after
/// a loss of power.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), ConfigError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, path))
        .and_then(|()| match path.parent() {
            Some(folder) => fs::File::open(folder)?.sync_all(),
            None => Ok(()),
        });
    written.map_err(|source| {
        // The first error is the one to tell.
        drop(fs::remove_file(&new));
        file_error(path, source)
    })
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|source| file_error(path, source))
}

fn file_error(path: &Path, source: io::Error) -> ConfigError {
    ConfigError::File {
        path: path.to_owned(),
        source,
    }
}

/// Expiry and renewal, from the first line.
fn times(pem: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(pem).ok()?;
    let mut times = text
        .lines()
        .next()?
        .strip_prefix(HEADER)?
        .split_whitespace();
    let mut next = || times.next()?.parse().ok();
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn enrolled() -> Enrolled {
        Enrolled {
            certificate_pem: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
                .into(),
            expires_at_ms: 900,
            renew_at_ms: 600,
            ..Enrolled::default()
        }
    }

    #[test]
    fn an_identity_is_what_was_stored_and_nobody_elses_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("robot");
        let key = Key::pending(&folder).unwrap();
        let again = Key::pending(&folder).unwrap();
        assert_eq!(
            key.0.serialize_pem(),
            again.0.serialize_pem(),
            "asked again"
        );
        let stored = Identity::store(&folder, &key, &enrolled(), b"ca").unwrap();
        let read = Identity::from_dir(&folder).unwrap();
        assert_eq!(read, stored);
        assert_eq!((read.expires_at_ms(), read.renew_at_ms()), (900, 600));
        assert_eq!(read.authorities(), b"ca");
        for file in fs::read_dir(&folder).unwrap() {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(!folder.join(PENDING).exists());
        assert!(!format!("{read:?}").contains("KEY"));
    }

    #[test]
    fn the_authorities_are_those_that_the_server_tells() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::new().unwrap();
        let told = Enrolled {
            authorities_pem: "both".into(),
            ..enrolled()
        };
        Identity::store(folder.path(), &key, &told, b"ca").unwrap();
        let read = Identity::from_dir(folder.path()).unwrap();
        assert_eq!(read.authorities(), b"both");
    }

    #[test]
    fn a_file_that_is_no_identity_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Identity::from_dir(folder.path()).is_err());
        fs::write(folder.path().join(IDENTITY), "nonsense").unwrap();
        assert!(matches!(
            Identity::from_dir(folder.path()),
            Err(ConfigError::Pem { what: "identity" })
        ));
    }
}
