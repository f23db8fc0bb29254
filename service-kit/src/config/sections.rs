//! The sections that the configurations of several processes share.

use std::net::SocketAddr;
use std::path::PathBuf;

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
