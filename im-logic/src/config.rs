//! The logic's configuration. `config.toml` is its manual.

use std::path::PathBuf;

use serde::Deserialize;
use service_kit::config::{
    AdminConfig, ConfigError, DrainConfig, InternalTlsConfig, ListenConfig, LogConfig,
};
use service_kit::snowflake::{NODE_MAX, Snowflakes};

/// The variables of this process begin with it.
pub const ENV_PREFIX: &str = "IM_LOGIC";

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
    /// Where gateways reach us.
    pub listen: ListenConfig,
    /// Whom we reach.
    pub links: LinksConfig,
    /// Who may come in.
    pub tokens: TokensConfig,
    /// Ids.
    pub snowflake: SnowflakeConfig,
    /// How we end.
    pub drain: DrainConfig,
}

/// The section `[links]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinksConfig {
    /// The store's address.
    pub store: String,
    /// The router's address.
    pub router: String,
}

/// The section `[tokens]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokensConfig {
    /// Whose credentials are good here: tokens, and the subjects of certificates.
    pub fleet: String,
    /// Checks tokens.
    pub public_key: PathBuf,
}

/// The section `[snowflake]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnowflakeConfig {
    /// Unlike that of every other logic process.
    pub node: u16,
}

impl SnowflakeConfig {
    /// The generator of ids.
    ///
    /// # Errors
    /// When the node is out of range.
    pub fn snowflakes(&self) -> Result<Snowflakes, ConfigError> {
        if self.node > NODE_MAX {
            return Err(ConfigError::Value(format!(
                "snowflake.node: {} is not between 0 and {NODE_MAX}",
                self.node
            )));
        }
        Ok(Snowflakes::new(self.node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_file_is_a_configuration() {
        let config: Config = service_kit::config::defaults(DEFAULTS).unwrap();
        assert_eq!(config.tokens.fleet, "dev");
        assert_eq!(config.listen.address.port(), 7402);
        assert_eq!(config.admin.listen.port(), 7502);
        assert!(config.snowflake.snowflakes().is_ok());
    }

    #[test]
    fn a_node_out_of_range_is_refused_with_its_key() {
        let error = SnowflakeConfig { node: 1024 }.snowflakes().unwrap_err();
        assert!(error.to_string().starts_with("snowflake.node: "), "{error}");
    }
}
