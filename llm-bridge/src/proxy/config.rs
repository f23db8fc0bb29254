//! The configuration of `openai-proxy`. `openai-proxy.toml` is its manual.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use service_kit::config::{AdminConfig, DrainConfig, LogConfig};

/// The variables of this process begin with it.
pub const ENV_PREFIX: &str = "OPENAI_PROXY";

/// Every key with its default.
pub const DEFAULTS: &str = include_str!("../../openai-proxy.toml");

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Logs.
    pub log: LogConfig,
    /// The admin port.
    pub admin: AdminConfig,
    /// Where bridges ask.
    pub listen: ListenConfig,
    /// Who may ask.
    pub clients: ClientsConfig,
    /// The provider.
    pub upstream: UpstreamConfig,
    /// What is written down.
    pub account: AccountConfig,
    /// How we end.
    pub drain: DrainConfig,
}

/// The section `[listen]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    /// Where bridges ask.
    pub address: SocketAddr,
    /// PEM; empty for plain HTTP.
    pub certificate: String,
    /// PEM; empty for plain HTTP.
    pub key: String,
}

/// The section `[clients]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientsConfig {
    /// Of those who sign.
    pub public_key: PathBuf,
    /// Of one client.
    pub requests_per_minute: u32,
    /// Requests of one client.
    pub concurrent_max: u32,
    /// Of one client.
    pub tokens_per_day: u64,
    /// That are remembered.
    pub clients_max: usize,
}

/// The section `[upstream]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// What comes before the paths.
    pub base_url: String,
    /// The real key.
    pub key_file: PathBuf,
    /// That may be asked for.
    pub paths: Vec<String>,
    /// That may be asked for.
    pub models: Vec<String>,
    /// For an answer without a bound.
    pub answer_tokens_reserved: u64,
    /// Of the connection.
    pub connect_timeout_ms: u64,
    /// Of the whole answer.
    pub total_timeout_ms: u64,
}

/// The section `[account]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountConfig {
    /// A line for each request; empty for none.
    pub file: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_file_is_a_configuration() {
        let config: Config = service_kit::config::defaults(DEFAULTS).unwrap();
        assert_eq!(config.listen.address.port(), 7530);
        assert!(config.upstream.models.contains(&"gpt-4.1-mini".to_owned()));
    }
}
