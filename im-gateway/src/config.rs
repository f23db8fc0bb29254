//! The gateway's configuration. `config.toml` is its manual.

use std::net::SocketAddr;
use std::path::PathBuf;

use protocol::limits::REQUESTS_IN_FLIGHT_MAX;
use protocol::wire::AccountKind;
use serde::Deserialize;
use service_kit::config::{
    AdminConfig, ClusterConfig, ConfigError, DrainConfig, InternalTlsConfig, ListenConfig,
    LogConfig, RuntimeConfig,
};
use service_kit::listen;
use service_kit::tls::PublicTlsConfig;

use crate::addresses::{AllowanceError, Allowances};
use crate::media::MediaConfig;

/// The variables of this process begin with it.
pub const ENV_PREFIX: &str = "IM_GATEWAY";

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
    /// Where clients reach us.
    pub listen: ListenConfig,
    /// Where clients that speak HTTP reach us.
    pub http: HttpConfig,
    /// What clients see.
    pub public_tls: PublicTlsConfig,
    /// Our end of the links.
    pub internal_tls: InternalTlsConfig,
    /// Whom we reach.
    pub links: LinksConfig,
    /// What one session may do.
    pub session: SessionConfig,
    /// What all of them may do.
    pub limits: LimitsConfig,
    /// Emergency stops.
    pub estop: EstopConfig,
    /// Images, video, maps, logs.
    pub media: MediaConfig,
    /// How the processes of a cluster find each other.
    pub cluster: ClusterConfig,
    /// How we end.
    pub drain: DrainConfig,
}

/// The section `[http]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where it listens; empty: there is none.
    pub listen: String,
    /// How long a client may take for the head of a request, and between two requests, in
    /// milliseconds.
    pub head_timeout_ms: u32,
}

impl HttpConfig {
    /// Where it listens, if it does.
    ///
    /// # Errors
    /// When it is no address.
    pub fn address(&self) -> Result<Option<SocketAddr>, ConfigError> {
        listen::optional("http.listen", &self.listen)
    }
}

/// The section `[links]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinksConfig {
    /// The logic's address.
    pub logic: String,
    /// The router's address.
    pub router: String,
}

/// The section `[session]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionConfig {
    /// From connected to welcomed, in milliseconds.
    pub hello_timeout_ms: u32,
    /// Between two pings, in milliseconds.
    pub heartbeat_interval_ms: u32,
    /// The shortest that a client may ask for, in milliseconds.
    pub heartbeat_interval_min_ms: u32,
    /// Requests that wait for their answer.
    pub requests_in_flight_max: u32,
    /// Requests a second, and the burst.
    pub requests_per_second: u32,
    /// The longest wait for an answer, in milliseconds.
    pub request_timeout_ms: u32,
    /// The kinds of accounts that have one session at a time: `robot, planner`.
    pub one_for_each: String,
}

/// The section `[limits]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once without a session.
    pub half_open_max: usize,
    /// Of these, from one address.
    pub half_open_per_address_max: usize,
    /// The same by network: `10.0.0.0/8=4096, …`.
    pub half_open_per_network: String,
    /// Sessions of one account at once.
    pub sessions_per_account_max: usize,
}

/// The section `[estop]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EstopConfig {
    /// Where the stops in force outlive this process; empty: nowhere.
    pub file: PathBuf,
}

impl EstopConfig {
    /// The file, if there is to be one.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        let is_named = !self.file.as_os_str().is_empty();
        is_named.then(|| self.file.clone())
    }
}

impl LimitsConfig {
    /// How many connections without a session an address may have.
    ///
    /// # Errors
    /// Which network makes no sense.
    pub fn allowances(&self) -> Result<Allowances, AllowanceError> {
        Allowances::parse(self.half_open_per_address_max, &self.half_open_per_network)
    }
}

impl SessionConfig {
    /// Whether an account of this kind has one session at a time.
    #[must_use]
    pub fn has_one_session(&self, kind: AccountKind) -> bool {
        let word = kind_word(kind);
        self.one_for_each
            .split(',')
            .any(|named| named.trim() == word)
    }

    /// How often a client says that it is there that asks for this, in milliseconds; 0: it asks for
    /// nothing.
    #[must_use]
    pub fn heartbeat_for(&self, asked_ms: u32) -> u32 {
        let most = self.heartbeat_interval_ms;
        match asked_ms {
            0 => most,
            asked => asked.max(self.heartbeat_interval_min_ms).min(most),
        }
    }
}

impl Config {
    /// # Errors
    /// When a value makes no sense; the message names its key.
    pub fn check(&self) -> Result<(), ConfigError> {
        let session = &self.session;
        self.http.address()?;
        self.media.check()?;
        let positive = [
            ("http.head_timeout_ms", self.http.head_timeout_ms as usize),
            (
                "session.hello_timeout_ms",
                session.hello_timeout_ms as usize,
            ),
            (
                "session.heartbeat_interval_ms",
                session.heartbeat_interval_ms as usize,
            ),
            (
                "session.heartbeat_interval_min_ms",
                session.heartbeat_interval_min_ms as usize,
            ),
            (
                "session.requests_in_flight_max",
                session.requests_in_flight_max as usize,
            ),
            (
                "session.requests_per_second",
                session.requests_per_second as usize,
            ),
            (
                "session.request_timeout_ms",
                session.request_timeout_ms as usize,
            ),
            ("limits.connections_max", self.limits.connections_max),
            ("limits.half_open_max", self.limits.half_open_max),
            (
                "limits.half_open_per_address_max",
                self.limits.half_open_per_address_max,
            ),
            (
                "limits.sessions_per_account_max",
                self.limits.sessions_per_account_max,
            ),
        ];
        for (key, value) in positive {
            if value == 0 {
                return Err(ConfigError::Value(format!("{key}: 0 would let nobody in")));
            }
        }
        for named in session.one_for_each.split(',').map(str::trim) {
            if !["", "robot", "operator", "planner"].contains(&named) {
                let why = format!("session.one_for_each: `{named}` is no kind of account");
                return Err(ConfigError::Value(why));
            }
        }
        self.limits.allowances().map_err(|error| {
            ConfigError::Value(format!("limits.half_open_per_network: {error}"))
        })?;
        if session.requests_in_flight_max as usize > REQUESTS_IN_FLIGHT_MAX {
            return Err(ConfigError::Value(format!(
                "session.requests_in_flight_max: at most {REQUESTS_IN_FLIGHT_MAX}"
            )));
        }
        Ok(())
    }
}

const fn kind_word(kind: AccountKind) -> &'static str {
    match kind {
        AccountKind::Robot => "robot",
        AccountKind::Operator => "operator",
        AccountKind::Planner => "planner",
        AccountKind::Unspecified => "-",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Config {
        service_kit::config::defaults(DEFAULTS).unwrap()
    }

    #[test]
    fn the_embedded_file_is_a_configuration() {
        defaults().check().unwrap();
    }

    #[test]
    fn a_value_that_makes_no_sense_is_refused_with_its_key() {
        let mut config = defaults();
        config.session.requests_in_flight_max = 257;
        let error = config.check().unwrap_err().to_string();
        assert_eq!(error, "session.requests_in_flight_max: at most 256");

        let mut config = defaults();
        config.limits.half_open_per_network = "10.0.0.0=7".into();
        let error = config.check().unwrap_err().to_string();
        assert!(
            error.starts_with("limits.half_open_per_network: `10.0.0.0=7` "),
            "{error}"
        );

        let mut config = defaults();
        assert!(config.session.has_one_session(AccountKind::Robot));
        assert!(!config.session.has_one_session(AccountKind::Operator));
        config.session.one_for_each = "robot, person".into();
        let error = config.check().unwrap_err().to_string();
        assert!(
            error.starts_with("session.one_for_each: `person`"),
            "{error}"
        );

        let mut config = defaults();
        config.session.heartbeat_interval_ms = 0;
        let error = config.check().unwrap_err().to_string();
        assert!(
            error.starts_with("session.heartbeat_interval_ms: "),
            "{error}"
        );
    }
}
