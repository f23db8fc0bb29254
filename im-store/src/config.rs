//! The store's configuration. `config.toml` is its manual.

use std::path::PathBuf;

use serde::Deserialize;
use service_kit::config::{
    AdminConfig, ConfigError, DrainConfig, InternalTlsConfig, ListenConfig, LogConfig,
};

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
    /// `sqlite://PATH`.
    pub url: String,
}

impl DatabaseConfig {
    /// The file of the database.
    ///
    /// # Errors
    /// When the URL is of another engine.
    pub fn sqlite_path(&self) -> Result<PathBuf, ConfigError> {
        self.url
            .strip_prefix("sqlite://")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
            .ok_or_else(|| {
                ConfigError::Value(format!(
                    "database.url: `{}` is not of the form sqlite://PATH",
                    self.url
                ))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_file_is_a_configuration() {
        let config: Config = service_kit::config::defaults(DEFAULTS).unwrap();
        let path = config.database.sqlite_path().unwrap();
        assert_eq!(path, PathBuf::from("im-store.db"));
    }

    #[test]
    fn another_engine_is_refused_with_its_key() {
        let url = "mysql://db/im".to_owned();
        let error = DatabaseConfig { url }.sqlite_path().unwrap_err();
        assert!(error.to_string().starts_with("database.url: "), "{error}");
    }
}
