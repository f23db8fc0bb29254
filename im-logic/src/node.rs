//! The node number of this process, which makes its ids unlike those of every other: fixed on one
//! machine, leased in a cluster.

use std::sync::Arc;

use service_kit::discovery::Discovery;
use service_kit::registry::{NodeError, NodeLease};
use service_kit::snowflake::{NODE_MAX, Snowflakes};
use thiserror::Error;

use crate::config::SnowflakeConfig;

/// A node number, and the generator that goes with it.
#[derive(Debug)]
pub struct Node {
    snowflakes: Arc<Snowflakes>,
    lease: Option<NodeLease>,
}

/// Why there is none.
#[derive(Debug, Error)]
pub enum TakeError {
    /// There is none of this number.
    #[error(
        "snowflake.node: {0} is not between 0 and {NODE_MAX}; -1, any that is free, is for a \
         cluster with Redis"
    )]
    OutOfRange(i16),
    /// It is held, or Redis is not there.
    #[error(transparent)]
    Lease(#[from] NodeError),
}

impl Node {
    /// Takes what the configuration names.
    ///
    /// # Errors
    /// When there is no such node, or another process has it.
    pub async fn take(config: &SnowflakeConfig, discovery: &Discovery) -> Result<Self, TakeError> {
        let wanted = u16::try_from(config.node)
            .ok()
            .filter(|node| *node <= NODE_MAX);
        let is_any = config.node == -1 && discovery.registry().is_some();
        if wanted.is_none() && !is_any {
            return Err(TakeError::OutOfRange(config.node));
        }
        let lease = match discovery.registry() {
            Some(registry) => Some(registry.lease_node(wanted).await?),
            None => None,
        };
        let snowflakes = match &lease {
            Some(lease) => lease.snowflakes(),
            None => Arc::new(Snowflakes::new(wanted.unwrap_or_default())),
        };
        Ok(Self { snowflakes, lease })
    }

    /// Makes ids, until the node is lost.
    #[must_use]
    pub fn snowflakes(&self) -> Arc<Snowflakes> {
        Arc::clone(&self.snowflakes)
    }

    /// Ends with `end`, or when another process has taken the node: this one has to end then, and
    /// to start anew.
    pub async fn lost_or(&self, end: impl Future<Output = ()>) {
        match &self.lease {
            Some(lease) => tokio::select! {
                () = lease.lost() => {}
                () = end => {}
            },
            None => end.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use service_kit::config::{self, ClusterConfig};
    use service_kit::drain::Drain;

    use super::*;

    async fn take(node: i16) -> Result<Node, TakeError> {
        let defaults: crate::config::Config = config::defaults(crate::config::DEFAULTS).unwrap();
        let one_machine: ClusterConfig = defaults.cluster;
        let discovery = Discovery::open(&one_machine, &Drain::new()).await.unwrap();
        Node::take(&SnowflakeConfig { node }, &discovery).await
    }

    #[tokio::test]
    async fn on_one_machine_a_node_is_what_is_configured() {
        assert!(take(0).await.is_ok() && take(1023).await.is_ok());
        for node in [-1, -2, 1024] {
            let error = take(node).await.unwrap_err().to_string();
            assert!(error.starts_with("snowflake.node: "), "{error}");
        }
    }
}
