//! The store's configuration. `config.toml` is its manual.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use service_kit::config::{
    AdminConfig, ClusterConfig, ConfigError, DrainConfig, InternalTlsConfig, ListenConfig,
    LogConfig, RuntimeConfig,
};

use crate::mysql::{Address, AddressError};
use crate::retention::Retention;

/// The variables of this process begin with it.
pub const ENV_PREFIX: &str = "IM_STORE";

/// Every key with its default.
pub const DEFAULTS: &str = include_str!("config.toml");

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Logs.
    pub log: LogConfig,
    /// How many threads it has.
    pub runtime: RuntimeConfig,
    /// The admin port.
    pub admin: AdminConfig,
    /// Both ends of the links.
    pub internal_tls: InternalTlsConfig,
    /// Where logic reaches us.
    pub listen: ListenConfig,
    /// Whom we reach.
    pub links: LinksConfig,
    /// Where everything is kept.
    pub database: DatabaseConfig,
    /// How the processes of a cluster find each other.
    pub cluster: ClusterConfig,
    /// For how long.
    pub retention: RetentionConfig,
    /// The index of words.
    pub search: SearchConfig,
    /// How we end.
    pub drain: DrainConfig,
}

/// The section `[links]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinksConfig {
    /// The router's address.
    pub router: String,
}

/// The section `[database]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite://PATH` or `mysql://USER:PASSWORD@HOST:PORT/NAME`.
    pub url: String,
}

/// The section `[retention]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    /// For how long after its commit an entry is kept, in milliseconds; 0: for ever.
    pub age_ms: u64,
    /// How many entries of a conversation are kept; 0: all.
    pub entries: u64,
    /// How many bytes of a conversation's contents are kept; 0: all.
    pub bytes: u64,
    /// For how long a record of the audit is kept, in milliseconds; 0: for ever.
    pub audit_age_ms: u64,
    /// How often what is beyond is dropped, in milliseconds.
    pub interval_ms: u64,
}

impl RetentionConfig {
    /// What is kept.
    #[must_use]
    pub fn retention(&self) -> Retention {
        let some = |most: u64| Some(most).filter(|most| *most > 0);
        Retention {
            age_ms: some(self.age_ms),
            entries: some(self.entries),
            bytes: some(self.bytes),
            audit_age_ms: some(self.audit_age_ms),
        }
    }

    /// The time between two sweeps.
    ///
    /// # Errors
    /// When it is none.
    pub fn interval(&self) -> Result<Duration, ConfigError> {
        if self.interval_ms == 0 {
            let why = "retention.interval_ms: 0 would drop without a pause";
            return Err(ConfigError::Value(why.to_owned()));
        }
        Ok(Duration::from_millis(self.interval_ms))
    }
}

/// The section `[search]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchConfig {
    /// How often new entries are indexed, in milliseconds; 0: never.
    pub interval_ms: u64,
}

impl SearchConfig {
    /// The time between two sweeps, if there are any.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        (self.interval_ms > 0).then(|| Duration::from_millis(self.interval_ms))
    }
}

/// Where everything is kept.
#[derive(Debug, Clone)]
pub enum Database {
    /// A file on this machine.
    Sqlite(PathBuf),
    /// A server.
    MySql(Address),
}

impl DatabaseConfig {
    /// The database that the URL names.
    ///
    /// # Errors
    /// When it is of no engine that we have, or does not parse. The URL is not repeated: it may
    /// have a password.
    pub fn database(&self) -> Result<Database, ConfigError> {
        let refused = |why: &dyn fmt::Display| ConfigError::Value(format!("database.url: {why}"));
        if let Some(path) = self.url.strip_prefix("sqlite://") {
            if path.is_empty() {
                return Err(refused(&"not of the form sqlite://PATH"));
            }
            return Ok(Database::Sqlite(path.into()));
        }
        if self.url.starts_with("mysql://") {
            let address = self
                .url
                .parse()
                .map_err(|error| refused(&error as &AddressError))?;
            return Ok(Database::MySql(address));
        }
        Err(refused(
            &"neither sqlite://PATH nor mysql://USER:PASSWORD@HOST:PORT/NAME",
        ))
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::MySql(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(url: &str) -> Result<Database, ConfigError> {
        let url = url.to_owned();
        DatabaseConfig { url }.database()
    }

    #[test]
    fn the_embedded_file_is_a_configuration() {
        let config: Config = service_kit::config::defaults(DEFAULTS).unwrap();
        let database = config.database.database().unwrap();
        assert!(matches!(database, Database::Sqlite(path) if path.as_os_str() == "im-store.db"));
        assert_eq!(config.retention.retention(), Retention::default());
        assert_eq!(config.retention.interval().unwrap().as_secs(), 60);
    }

    #[test]
    fn the_url_names_the_engine() {
        let server = database("mysql://im:secret@db:3306/fleet").unwrap();
        assert!(matches!(server, Database::MySql(_)));
        assert_eq!(server.to_string(), "mysql://db:3306/fleet");
    }

    #[test]
    fn what_is_no_database_is_refused_with_its_key_and_without_its_secret() {
        for url in [
            "sqlite://",
            "redis://im:secret@db/0",
            "mysql://im:secret@db",
            "im-store.db",
        ] {
            let error = database(url).unwrap_err().to_string();
            assert!(error.starts_with("database.url: "), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
