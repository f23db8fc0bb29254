//! The logic's configuration. `config.toml` is its manual.

use std::path::PathBuf;

use serde::Deserialize;
use service_kit::config::{
    AdminConfig, ClusterConfig, DrainConfig, InternalTlsConfig, ListenConfig, LogConfig,
    RuntimeConfig,
};
use service_kit::tls::PublicTlsConfig;

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
    /// How many threads it has.
    pub runtime: RuntimeConfig,
    /// The admin port.
    pub admin: AdminConfig,
    /// Both ends of the links.
    pub internal_tls: InternalTlsConfig,
    /// Where gateways reach us.
    pub listen: ListenConfig,
    /// Where the fleet is administered by HTTP.
    pub api: ApiConfig,
    /// What those see who come there.
    pub public_tls: PublicTlsConfig,
    /// Whom we reach.
    pub links: LinksConfig,
    /// Who may come in.
    pub tokens: TokensConfig,
    /// Who may enrol.
    pub enrolment: EnrolmentConfig,
    /// How passwords are kept.
    pub passwords: PasswordsConfig,
    /// How much may be sent.
    pub rates: RatesConfig,
    /// How much an account may have.
    pub limits: LimitsConfig,
    /// What may not be said.
    pub content: ContentConfig,
    /// What may be uploaded.
    pub media: MediaConfig,
    /// Who may analyse.
    pub analysis: AnalysisConfig,
    /// Ids.
    pub snowflake: SnowflakeConfig,
    /// How the processes of a cluster find each other.
    pub cluster: ClusterConfig,
    /// How we end.
    pub drain: DrainConfig,
}

/// The section `[api]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiConfig {
    /// Where it listens; empty: there is none.
    pub listen: String,
    /// Connections at once.
    pub connections_max: usize,
    /// Requests of one account in a second, and at once after a rest; 0: no limit.
    pub requests_per_second: u32,
    /// How long a request may take, in milliseconds.
    pub request_timeout_ms: u32,
    /// How long a client may take for the head of a request, and between two requests, in
    /// milliseconds.
    pub head_timeout_ms: u32,
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
    /// Signs the tokens of those who log in with a password; empty: nobody does.
    pub private_key: PathBuf,
    /// How long such a token is good, in milliseconds.
    pub lifetime_ms: u64,
    /// How long it can be refreshed, in milliseconds from the login on.
    pub login_lifetime_ms: u64,
    /// Sub-accounts that each operator may have; 0: none.
    pub sub_accounts_max: u32,
}

/// The section `[enrolment]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentConfig {
    /// The certificate of the authority that signs those of robots; empty: nobody enrols.
    pub authority: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities that robots are told to trust; empty: that one.
    pub trusted: PathBuf,
    /// How long a certificate is good, in milliseconds.
    pub certificate_lifetime_ms: u64,
    /// Whether only those come in by a certificate that have enrolled.
    pub required: bool,
}

/// The section `[passwords]`: the parameters of Argon2id.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordsConfig {
    /// Memory of one hash, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
    /// Lanes.
    pub lanes: u32,
    /// Hashes that are made at once.
    pub hashes_at_once: usize,
}

/// The section `[rates]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesConfig {
    /// Messages of one account in a second, and at once after a rest; 0: no limit.
    pub account_sends_per_second: u32,
    /// Messages into one group in a second, and at once after a rest; 0: no limit.
    pub group_sends_per_second: u32,
}

/// The section `[limits]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Groups that one account may own; 0: no limit.
    pub groups_per_account_max: u32,
}

/// The section `[content]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContentConfig {
    /// The word lists; empty: none.
    pub rules: PathBuf,
}

/// The section `[media]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaConfig {
    /// The longest media, in bytes.
    pub upload_bytes_max: u64,
    /// What the media of one account may have, in bytes.
    pub account_bytes_max: u64,
    /// What those of all accounts together may have, in bytes.
    pub fleet_bytes_max: u64,
    /// Uploads of one account that have begun and not ended.
    pub unfinished_max: u32,
}

/// The section `[analysis]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnalysisConfig {
    /// Operators who may watch all groups of the fleet, with commas between them; `*`: all.
    pub accounts: String,
}

/// The section `[snowflake]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnowflakeConfig {
    /// Unlike that of every other logic process; -1 in a cluster: any that is free.
    pub node: i16,
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
        assert_eq!(config.snowflake.node, 1);
        assert!(config.cluster.is_one_machine());
    }
}
