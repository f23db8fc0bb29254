//! Where a MySQL-protocol database is: `mysql://USER:PASSWORD@HOST:PORT/NAME`, with as many hosts
//! as a cluster has, separated by commas; and how the way to it is secured. It is shown without its
//! user and password.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use sqlx::ConnectOptions as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use thiserror::Error;

/// Multi-row statements differ by their number of rows; the server keeps as many prepared.
const STATEMENTS_KEPT: usize = 128;

/// The parameters that a URL may have.
const PARAMETERS: [&str; 4] = ["ssl-mode", "ssl-ca", "ssl-cert", "ssl-key"];

/// A parsed URL.
#[derive(Clone)]
pub struct Address {
    /// One for each host, in order. They differ in nothing else.
    hosts: Arc<[MySqlConnectOptions]>,
    shown: String,
}

/// What is wrong with a URL. It does not repeat the URL, which has a password.
#[derive(Debug, Error)]
pub enum AddressError {
    /// Not a URL of ours.
    #[error("not of the form mysql://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME")]
    Form,
    /// A parameter that nobody reads.
    #[error("the parameter `{0}` is none of ssl-mode, ssl-ca, ssl-cert, ssl-key")]
    Parameter(String),
    /// A parameter with a value that cannot be.
    #[error("{0}")]
    Value(sqlx::Error),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(url: &str) -> Result<Self, AddressError> {
        let rest = url.strip_prefix("mysql://").ok_or(AddressError::Form)?;
        let query = rest.split_once('?').map_or("", |(_, query)| query);
        let keys = query.split('&').filter(|pair| !pair.is_empty());
        let keys: Vec<_> = keys
            .map(|pair| pair.split_once('=').map_or(pair, |(key, _)| key))
            .collect();
        if let Some(unknown) = keys.iter().find(|key| !PARAMETERS.contains(key)) {
            return Err(AddressError::Parameter((*unknown).to_owned()));
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, name) = rest.split_at(end);
        let user = authority.rfind('@').map_or(0, |at| at + 1);
        let (user, hosts) = authority.split_at(user);
        let hosts = hosts.split(',').map(|host| {
            if host.is_empty() || host.starts_with(':') {
                return Err(AddressError::Form);
            }
            let options = one_host(&format!("mysql://{user}{host}{name}"))?;
            Ok(if keys.contains(&"ssl-mode") {
                options
            } else {
                let mode = ssl_mode_default(options.get_host());
                options.ssl_mode(mode)
            })
        });
        let hosts: Arc<[_]> = hosts.collect::<Result<_, AddressError>>()?;
        let shown: Vec<_> = hosts
            .iter()
            .map(|host| format!("{}:{}", host.get_host(), host.get_port()))
            .collect();
        let name = hosts[0].get_database().unwrap_or_default();
        let shown = format!("mysql://{}/{name}", shown.join(","));
        Ok(Self { hosts, shown })
    }
}

/// What a session is set to stands in one place: `session`.
fn one_host(url: &str) -> Result<MySqlConnectOptions, AddressError> {
    let options = MySqlConnectOptions::from_str(url).map_err(AddressError::Value)?;
    let name = options.get_database().unwrap_or_default();
    if name.is_empty() || name.contains('/') {
        return Err(AddressError::Form);
    }
    Ok(options
        .charset("utf8mb4")
        .collation("utf8mb4_bin")
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .statement_cache_capacity(STATEMENTS_KEPT)
        .disable_statement_logging())
}

/// On this machine TLS is used if the server has it; beyond, the server proves who it is.
fn ssl_mode_default(host: &str) -> MySqlSslMode {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<IpAddr>();
    if host == "localhost" || address.is_ok_and(|ip| ip.is_loopback()) {
        MySqlSslMode::Preferred
    } else {
        MySqlSslMode::VerifyIdentity
    }
}

impl Address {
    /// At least one.
    pub(super) fn hosts(&self) -> &[MySqlConnectOptions] {
        &self.hosts
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_all_its_parts_and_is_shown_without_the_secret() {
        let address: Address = "mysql://im:p%40ss@db.example:3307/fleet".parse().unwrap();
        let options = &address.hosts()[0];
        assert_eq!(
            (options.get_host(), options.get_port()),
            ("db.example", 3307)
        );
        assert_eq!(options.get_username(), "im");
        assert_eq!(options.get_database(), Some("fleet"));
        assert_eq!(address.to_string(), "mysql://db.example:3307/fleet");
        assert_eq!(format!("{address:?}"), address.to_string());
    }

    #[test]
    fn the_nodes_of_a_cluster_differ_in_their_place_alone() {
        let url = "mysql://im:s%2Cx@db1:3307,127.0.0.1,[::1]:3308/im?ssl-ca=ca.pem";
        let address: Address = url.parse().unwrap();
        let places: Vec<_> = address
            .hosts()
            .iter()
            .map(|host| (host.get_host(), host.get_port(), host.get_username()))
            .collect();
        let expected = [("db1", 3307), ("127.0.0.1", 3306), ("[::1]", 3308)];
        assert_eq!(places, expected.map(|(host, port)| (host, port, "im")));
        assert_eq!(
            address.to_string(),
            "mysql://db1:3307,127.0.0.1:3306,[::1]:3308/im"
        );
        let modes = address.hosts().iter().map(|host| host.get_ssl_mode());
        let verified = modes.map(|mode| matches!(mode, MySqlSslMode::VerifyIdentity));
        assert!(verified.eq([true, false, false]));
    }

    #[test]
    fn beyond_this_machine_the_server_proves_who_it_is() {
        for (url, verified) in [
            ("mysql://im@127.0.0.1:3306/im", false),
            ("mysql://im@[::1]:3306/im", false),
            ("mysql://im@localhost/im", false),
            ("mysql://im@db.example/im", true),
            ("mysql://im@db.example/im?ssl-mode=DISABLED", false),
            (
                "mysql://im@127.0.0.1/im?ssl-mode=VERIFY_IDENTITY&ssl-ca=ca.pem",
                true,
            ),
        ] {
            let address: Address = url.parse().unwrap();
            let mode = address.hosts()[0].get_ssl_mode();
            assert_eq!(
                matches!(mode, MySqlSslMode::VerifyIdentity),
                verified,
                "{url}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_the_password() {
        for url in [
            "postgres://im:secret@db/im",
            "mysql://im:secret@db:3306/",
            "mysql://im:secret@db:3306",
            "mysql://im:secret@db1,/im",
            "mysql://im:secret@,db2/im",
            "mysql://im:secret@db1,db2:notaport/im",
            "mysql://im:secret@db:notaport/im",
            "mysql://im:secret@db/im?ssl-mode=MAYBE",
            "mysql://im:secret@db/im?sslmode=DISABLED",
            "mysql:///im",
        ] {
            let error = url.parse::<Address>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{url}: {error}");
        }
    }
}
