//! Binding an address, early, with an error that names the configuration key.

use std::net::SocketAddr;

use thiserror::Error;
use tokio::net::TcpListener;

use crate::config::ConfigError;

/// An address that cannot be listened on.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Somebody else has it.
    #[error("{key}: {address} is in use; set another, or port 0 for a free one")]
    InUse {
        /// The configuration key that asked for it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// It cannot be bound for another reason.
    #[error("{key}: cannot listen on {address}")]
    Other {
        /// The configuration key that asked for it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Binds `address`, which the configuration has under `key`.
pub async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| {
        if source.kind() == std::io::ErrorKind::AddrInUse {
            ListenError::InUse { key, address }
        } else {
            ListenError::Other {
                key,
                address,
                source,
            }
        }
    })
}

/// An address that may be empty: then there is no listener.
///
/// # Errors
/// When it is no address.
pub fn optional(key: &'static str, address: &str) -> Result<Option<SocketAddr>, ConfigError> {
    if address.is_empty() {
        return Ok(None);
    }
    let malformed = |_| ConfigError::Value(format!("{key}: {address} is no address"));
    address.parse().map(Some).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_refused_with_its_key() {
        let first = bind("listen.address", ([127, 0, 0, 1], 0).into())
            .await
            .unwrap();
        let taken = first.local_addr().unwrap();
        let error = bind("admin.listen", taken).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("admin.listen: {taken} is in use")),
            "{text}"
        );
    }
}
