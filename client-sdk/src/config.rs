//! What a client is told before it connects. Files are read here and nowhere else.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::limits::{REQUESTS_IN_FLIGHT_MAX, SEND_TIMEOUT_MS_DEFAULT};

use crate::enrolment::Login;
use crate::error::ConfigError;
use crate::identity::Identity;

/// Sends that wait for their ack at once, unless configured. Half of what a server allows.
const IN_FLIGHT_DEFAULT: usize = REQUESTS_IN_FLIGHT_MAX / 2;

/// Messages that wait to be sent, offline or not: what a robot says in a few minutes without link.
const OUTBOX_MESSAGES_DEFAULT: usize = 4096;

/// The contents of those together, in bytes.
const OUTBOX_BYTES_DEFAULT: usize = 16 * 1024 * 1024;

/// Messages in a journal: those of the outbox, and as many whose outcome is unknown.
const JOURNAL_MESSAGES_DEFAULT: usize = 2 * OUTBOX_MESSAGES_DEFAULT;

/// Those together, in bytes.
const JOURNAL_BYTES_DEFAULT: usize = 2 * OUTBOX_BYTES_DEFAULT;

/// Events that wait for the application before the client stops taking more.
const EVENTS_DEFAULT: usize = 1024;

/// The contents of those together, in bytes.
const EVENTS_BYTES_DEFAULT: usize = 4 * 1024 * 1024;

/// How long the first connection may take.
const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// How long a request other than a send may take, retries included.
const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Everything a client needs to connect. The fields that [`ClientConfig::new`] does not take have
/// defaults that suit a robot.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `HOST:PORT` of gateways, tried in random order. The host is also the name that the server's
    /// certificate must have.
    pub addresses: Vec<String>,
    /// The authority that signs the servers' certificates.
    pub ca: CaSource,
    /// Who the client is.
    pub credential: Credential,
    /// For people who read the server's logs.
    pub client_name: String,
    /// How long a send is retried before it ends without an answer.
    pub send_timeout: Duration,
    /// How long any other request is retried.
    pub request_timeout: Duration,
    /// How long [`Client::connect`](crate::Client::connect) tries; a lost connection is retried for
    /// ever.
    pub connect_timeout: Duration,
    /// Where a conversation begins when the client has no memory of it.
    pub start_from: StartFrom,
    /// When a message counts as delivered.
    pub mark_policy: MarkPolicy,
    /// Sends that wait for their ack at once; the server may allow fewer.
    pub in_flight_max: usize,
    /// Messages accepted and not yet decided; one more is refused with `QueueFull`.
    pub outbox_messages_max: usize,
    /// The contents of those together, in bytes.
    pub outbox_bytes_max: usize,
    /// Messages in the journal, if there is one: those of the outbox, and those whose outcome is
    /// unknown. One more is refused with `NotSent` and `JournalError::Full`.
    pub journal_messages_max: usize,
    /// Those together, encoded, in bytes. The file of a `DiskJournal` is up to about three times as
    /// long.
    pub journal_bytes_max: usize,
    /// Events waiting for the application; beyond it the client stops pulling and forgets pushes.
    pub events_max: usize,
    /// The contents of those together, in bytes.
    pub events_bytes_max: usize,
    /// How often the client says that it is there, which is how soon its end is noticed: after two
    /// and a half times this. The server allows no less than some bound and no more than its own
    /// interval. `None`: the server's own.
    pub heartbeat_interval: Option<Duration>,
    /// The local address to connect from; a machine with several may need to say.
    pub source_address: Option<IpAddr>,
    /// Whether to offer zstd compression.
    pub compression: bool,
}

impl ClientConfig {
    /// A client of these gateways, whose certificates this authority signs.
    pub fn new<A: Into<String>>(
        addresses: impl IntoIterator<Item = A>,
        ca: impl Into<CaSource>,
        credential: Credential,
    ) -> Self {
        Self {
            addresses: addresses.into_iter().map(Into::into).collect(),
            ca: ca.into(),
            credential,
            client_name: concat!("client-sdk/", env!("CARGO_PKG_VERSION")).to_owned(),
            send_timeout: Duration::from_millis(SEND_TIMEOUT_MS_DEFAULT),
            request_timeout: REQUEST_TIMEOUT_DEFAULT,
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            start_from: StartFrom::Mark,
            mark_policy: MarkPolicy::WhenTaken,
            in_flight_max: IN_FLIGHT_DEFAULT,
            outbox_messages_max: OUTBOX_MESSAGES_DEFAULT,
            outbox_bytes_max: OUTBOX_BYTES_DEFAULT,
            journal_messages_max: JOURNAL_MESSAGES_DEFAULT,
            journal_bytes_max: JOURNAL_BYTES_DEFAULT,
            events_max: EVENTS_DEFAULT,
            events_bytes_max: EVENTS_BYTES_DEFAULT,
            heartbeat_interval: None,
            source_address: None,
            compression: true,
        }
    }
}

/// Where the authority's certificate is. A path or a string converts to `File`, bytes to `Pem`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaSource {
    /// One or more certificates in PEM.
    Pem(Vec<u8>),
    /// A PEM file, read at connect.
    File(PathBuf),
}

impl CaSource {
    pub(crate) fn pem(&self) -> Result<Vec<u8>, ConfigError> {
        match self {
            Self::Pem(pem) => Ok(pem.clone()),
            Self::File(path) => read(path),
        }
    }
}

impl From<Vec<u8>> for CaSource {
    fn from(pem: Vec<u8>) -> Self {
        Self::Pem(pem)
    }
}

impl From<PathBuf> for CaSource {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for CaSource {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<String> for CaSource {
    fn from(path: String) -> Self {
        Self::File(path.into())
    }
}

impl From<&str> for CaSource {
    fn from(path: &str) -> Self {
        Self::File(path.into())
    }
}

impl From<&String> for CaSource {
    fn from(path: &String) -> Self {
        Self::File(path.into())
    }
}

/// Who the client is: the account follows from this alone.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A robot's certificate of the fleet's authority, and its key.
    Certificate {
        /// The certificate, or the chain, the robot's own first, in PEM.
        certificate_pem: Vec<u8>,
        /// Its private key, in PEM.
        key_pem: Vec<u8>,
    },
    /// A signed, expiring token: people and planners.
    Token(String),
    /// What an enrolment has made; the client renews it in time, and its authorities are those that
    /// are trusted.
    Identity(Box<Identity>),
    /// What a login has brought; the client refreshes it in time.
    Login(Login),
}

impl Credential {
    /// Reads a certificate and its key.
    pub fn from_files(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, ConfigError> {
        Ok(Self::Certificate {
            certificate_pem: read(certificate.as_ref())?,
            key_pem: read(key.as_ref())?,
        })
    }

    /// Reads a token; white space around it is ignored.
    pub fn token_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text = String::from_utf8(read(path)?).map_err(|_| ConfigError::Token {
            path: path.to_owned(),
        })?;
        match text.trim() {
            "" => Err(ConfigError::Token {
                path: path.to_owned(),
            }),
            token => Ok(Self::Token(token.to_owned())),
        }
    }
}

/// Never the secret itself.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate { .. } => "Certificate(…)",
            Self::Token(_) => "Token(…)",
            Self::Identity(_) => "Identity(…)",
            Self::Login(_) => "Login(…)",
        })
    }
}

/// Where a conversation begins when the client has no memory of it: at its first connection.
/// Conversations that are joined later begin where the account may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartFrom {
    /// After the account's *delivered* mark: what no earlier run has taken.
    #[default]
    Mark,
    /// At the first entry that the account may read. What the mark covers is `redelivered`.
    Beginning,
    /// With what comes from now on.
    Head,
}

/// When a message counts as delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MarkPolicy {
    /// When [`Events::next`](crate::Events::next) hands it over.
    #[default]
    WhenTaken,
    /// When the application says so with
    /// [`Client::mark_delivered`](crate::Client::mark_delivered).
    Manual,
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::File {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_never_prints_its_secret() {
        let token = Credential::Token("secret".into());
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    #[test]
    fn a_token_file_is_trimmed_and_an_empty_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "abc\n").unwrap();
        assert_eq!(
            Credential::token_file(&path).unwrap(),
            Credential::Token("abc".into())
        );
        std::fs::write(&path, "\n").unwrap();
        let error = Credential::token_file(&path).unwrap_err().to_string();
        assert!(error.contains("token"), "{error}");
    }
}
