//! The sections that the configurations of several processes share.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// The section `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged, in the form of `RUST_LOG`.
    pub filter: String,
    /// For people or for machines.
    pub format: LogFormat,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// The section `[runtime]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeConfig {
    /// Threads that run the process's tasks; 0: as many as its work is good for.
    pub worker_threads: u8,
}

/// The section `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Where `/live`, `/ready` and `/metrics` are served.
    pub listen: SocketAddr,
}

/// The section `[listen]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    /// Where the process serves what it is for.
    pub address: SocketAddr,
}

/// The section `[internal_tls]`: both ends of the links between tiers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InternalTlsConfig {
    /// The internal authority's certificate, PEM.
    pub ca: PathBuf,
    /// This tier's certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

/// The section `[drain]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainConfig {
    /// How long what is in flight may take to end, in milliseconds.
    pub grace_ms: u64,
}

impl DrainConfig {
    /// The same as a duration.
    #[must_use]
    pub const fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

/// The section `[cluster]`: where the processes of several machines find each other.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    /// Where Redis is; empty on one machine, which needs none.
    pub redis: RedisUrl,
    /// Who signed the certificates of its servers, PEM; empty: an authority that the system knows.
    pub ca: PathBuf,
    /// What every key begins with: another one is another cluster.
    pub namespace: String,
    /// How long after its last sign of life a process counts as live, in milliseconds.
    pub lease_ms: u64,
    /// Where others reach this process, `HOST:PORT`; empty: where it listens.
    pub advertise: String,
}

impl ClusterConfig {
    /// What `config.toml` says of the section.
    pub const TOML: &'static str = r#"
[cluster]
# Where the processes of several machines find each other. Empty: one machine, no Redis.
#   redis://USER:PASSWORD@HOST:PORT/DATABASE          one server
#   redis+sentinel://USER:PASSWORD@H1:P1,H2:P2/NAME   the master of this name; H1, H2: Sentinels
#   redis+cluster://USER:PASSWORD@H1:P1,H2:P2         a Redis Cluster; H1, H2: some of its servers
# rediss… is the same over TLS. What is not needed is left out; user and password are for the
# servers, Sentinels are asked without.
redis = ""
# Who signed the servers' certificates, a PEM file. Empty: an authority that the system knows.
ca = ""
# What every key begins with. Clusters that share a Redis have different ones.
namespace = "im"
# How long after its last sign of life a process counts as live, in milliseconds; 300 to 60000. The
# same in all processes.
lease_ms = 3000
# Where others reach this process, as HOST:PORT; empty: at listen.address.
advertise = ""
"#;

    /// Whether there is a registry at all.
    #[must_use]
    pub const fn is_one_machine(&self) -> bool {
        self.redis.0.is_empty()
    }
}

/// The address of a Redis. It is shown without user and password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// With user and password.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for RedisUrl {
    fn from(url: &str) -> Self {
        Self(url.into())
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.split_once("://"), self.0.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, place))) => write!(f, "{scheme}://…@{place}"),
            _ => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Config {
        cluster: ClusterConfig,
    }

    #[test]
    fn the_section_is_one_machine_by_default() {
        let config: Config = toml::from_str(ClusterConfig::TOML).unwrap();
        assert!(config.cluster.is_one_machine());
        assert_eq!(config.cluster.lease_ms, 3000);
    }

    #[test]
    fn nobody_sees_a_password() {
        let url = RedisUrl::from("redis+sentinel://robot:se@cret@h1:1,h2:2/im");
        assert_eq!(format!("{url} {url:?}").matches("cret").count(), 0);
        assert_eq!(url.to_string(), "redis+sentinel://…@h1:1,h2:2/im");
        assert_eq!(RedisUrl::from("redis://h:1").to_string(), "redis://h:1");
    }
}
