//! The router's configuration. `config.toml` is its manual.

use serde::Deserialize;
use service_kit::config::{
    AdminConfig, ClusterConfig, DrainConfig, InternalTlsConfig, ListenConfig, LogConfig,
    RuntimeConfig,
};

/// The variables of this process begin with it.
pub const ENV_PREFIX: &str = "IM_ROUTER";

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
    /// Our end of the links.
    pub internal_tls: InternalTlsConfig,
    /// Where gateways, stores and logic reach us.
    pub listen: ListenConfig,
    /// How the processes of a cluster find each other.
    pub cluster: ClusterConfig,
    /// How we end.
    pub drain: DrainConfig,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_file_is_a_configuration() {
        let config: Config = service_kit::config::defaults(DEFAULTS).unwrap();
        assert_eq!(config.listen.address.port(), 7403);
        assert_eq!(config.admin.listen.port(), 7503);
    }
}
