//! Credentials for those who have none: a robot enrols with a one-time token, a person logs in with
//! a password. One connection, one question, one answer.

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message as _;
use protocol::kind::client as kind;
use protocol::wire::{self, CapabilityCard};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::attempts::Attempts;
use crate::clock;
use crate::config::{CaSource, ClientConfig, Credential};
use crate::connection::{DialError, Dialer};
use crate::error::{ConfigError, Error};
use crate::identity::{self, Identity, Key};
use crate::message::Account;

/// A robot that is about to enrol.
#[derive(Clone)]
pub struct Enrolment {
    /// How the server is reached; the credential is not used.
    pub connect: ClientConfig,
    /// The one-time token that an operator has made.
    pub token: String,
    /// The account's name, for ever: within the token's pattern.
    pub name: String,
    /// What the robot is able to do, with its model; may also be announced later.
    pub capabilities: Option<CapabilityCard>,
}

/// Never the token itself.
impl fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrolment")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Enrolment {
    /// At these gateways, whose certificates this authority signs.
    pub fn new<A: Into<String>>(
        addresses: impl IntoIterator<Item = A>,
        ca: impl Into<CaSource>,
        token: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self {
            connect: unknown(addresses, ca),
            token: token.into(),
            name: name.into(),
            capabilities: None,
        }
    }

    /// Makes a key pair, has a certificate signed, and puts both into the folder. One that was broken
    /// off may be run again with the same token and folder.
    pub async fn run(self, folder: impl AsRef<Path>) -> Result<Identity, Error> {
        let folder = folder.as_ref();
        let key = Key::pending(folder)?;
        let enrol = wire::Enrol {
            token: self.token,
            name: self.name,
            certificate_request: key.request()?.into(),
            capabilities: self.capabilities,
        };
        let authorities = self.connect.ca.pem()?;
        let answer = apply(&self.connect, kind::ENROL, &enrol.encode_to_vec()).await?;
        let enrolled = wire::Enrolled::decode(answer).map_err(nonsense)?;
        Ok(Identity::store(folder, &key, &enrolled, &authorities)?)
    }
}

/// What a person's login has brought: a token that is good for a while, and that the client refreshes
/// for as long as it is connected.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    pub(crate) token: String,
    /// When the token ends, in milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
    /// When the client asks for the next one, the same; 0: there will be none, log in again.
    pub refresh_at_ms: u64,
    /// Where it is kept, and each next one; `None`: nowhere.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

/// Never the token itself.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("expires_at_ms", &self.expires_at_ms)
            .finish_non_exhaustive()
    }
}

impl Login {
    /// Logs in. `new_password`: it is the password from now on; a one-time secret logs in only with
    /// one.
    pub async fn with_password<A: Into<String>>(
        addresses: impl IntoIterator<Item = A>,
        ca: impl Into<CaSource>,
        name: &str,
        password: &str,
        new_password: Option<&str>,
    ) -> Result<(Account, Self), Error> {
        let login = wire::Login {
            name: name.to_owned(),
            password: password.to_owned(),
            new_password: new_password.unwrap_or_default().to_owned(),
        };
        let connect = unknown(addresses, ca);
        let answer = apply(&connect, kind::LOGIN, &login.encode_to_vec()).await?;
        let told = wire::LoggedIn::decode(answer).map_err(nonsense)?;
        let account = Account::from_wire(told.account.clone().unwrap_or_default());
        Ok((account, Self::of(told, None)))
    }

    /// Reads one that was saved.
    pub fn load(file: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = file.as_ref().to_owned();
        let bytes = std::fs::read(&path).map_err(|source| ConfigError::File {
            path: path.clone(),
            source,
        })?;
        let mut login: Self = serde_json::from_slice(&bytes)
            .map_err(|_| ConfigError::Token { path: path.clone() })?;
        login.file = Some(path);
        Ok(login)
    }

    /// Keeps it in a file that only its owner can read, and there each next one too.
    pub fn save(&mut self, file: impl AsRef<Path>) -> Result<(), ConfigError> {
        self.file = Some(file.as_ref().to_owned());
        self.write()
    }

    pub(crate) fn of(told: wire::LoggedIn, file: Option<PathBuf>) -> Self {
        Self {
            token: told.token,
            expires_at_ms: told.expires_at_ms,
            refresh_at_ms: told.refresh_at_ms,
            file,
        }
    }

    pub(crate) fn write(&self) -> Result<(), ConfigError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let bytes = serde_json::to_vec(self).expect("plain fields always serialise");
        identity::write(file, &bytes)
    }
}

/// Of somebody who has no credential.
fn unknown<A: Into<String>>(
    addresses: impl IntoIterator<Item = A>,
    ca: impl Into<CaSource>,
) -> ClientConfig {
    ClientConfig::new(addresses, ca, Credential::Token(String::new()))
}

/// Asks one gateway after the other until there is an answer, or the time to connect is over.
async fn apply(config: &ClientConfig, kind: u16, body: &[u8]) -> Result<Bytes, Error> {
    let dialer = Dialer::new(config)?;
    let mut attempts = Attempts::new(config.addresses.clone());
    let until = clock::after(Instant::now(), config.connect_timeout);
    loop {
        let next = attempts.next(&mut rand::rng());
        let attempt = next.ok_or(ConfigError::NoAddress)?;
        let error = match dialer.apply(&attempt, kind, body).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let mut wait = attempts.failed(&mut rand::rng());
        match &error {
            DialError::Refused(refusal) if !refusal.is_retryable() => {
                return Err(Error::Refused(refusal.clone()));
            }
            DialError::Certificate(fault) => return Err(Error::Certificate(fault.clone())),
            DialError::Refused(refusal) => {
                let least = std::time::Duration::from_millis(refusal.retry_after_ms.into());
                wait = wait.max(least);
            }
            DialError::Failed(_) => {}
        }
        if clock::after(Instant::now(), wait) >= until {
            return Err(match error {
                DialError::Refused(refusal) => Error::Refused(refusal),
                DialError::Certificate(_) | DialError::Failed(_) => Error::Unreachable {
                    last: error.to_string(),
                },
            });
        }
        tokio::time::sleep(wait).await;
    }
}

fn nonsense(error: prost::DecodeError) -> Error {
    Error::Protocol(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_login_is_kept_and_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("login");
        let told = wire::LoggedIn {
            token: "secret".into(),
            expires_at_ms: 9,
            refresh_at_ms: 6,
            ..wire::LoggedIn::default()
        };
        let mut login = Login::of(told, None);
        login.save(&file).unwrap();
        assert_eq!(Login::load(&file).unwrap(), login);
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{login:?}").contains("secret"));
    }
}
