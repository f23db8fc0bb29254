//! Leases of node numbers, so that no two processes of a cluster generate the same ids.
//!
//! All numbers are one hash, which outlives the leases: a field for each node with epoch, holder,
//! end of lease, and the millisecond up to which the holder may have generated ids by its own
//! clock. The next holder begins after that, even if its clock stands before it.
//!
//! A holder that cannot reach Redis goes on: nobody else can take its number then, as long as
//! nobody else reaches Redis either. Whoever finds on renewal that another has held its number
//! generates no more ids, for good.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Inner, LAST_CALL_TIMEOUT, NOW, Outage, Registry, RegistryError, every, fresh_word};
use crate::snowflake::{NODE_MAX, Snowflakes};
use crate::{clock, events};

/// Arguments: holder, lease in milliseconds, the wanted node or nothing, the greatest node, the
/// millisecond up to which the holder may generate ids before its first renewal.
///
/// Returns `leased`, node, epoch, and the millisecond after which ids begin; or `held` and for how
/// long at least, in milliseconds. In a hash that is younger than a lease every number counts as
/// held: its holders may not have said so yet. Without a wanted node the first is taken that
/// nobody ever had, else the one without a lease for the longest time. Epochs rise, also across a
/// loss of the data: they are at least the time.
static LEASE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{NOW}
        local lease = tonumber(ARGV[2])
        redis.call('HSETNX', KEYS[1], 'born', string.format('%.0f', now))
        local young = redis.call('HGET', KEYS[1], 'born') + lease - now
        if young > 0 then return {{'held', string.format('%.0f', young)}} end
        local function look(node)
            local is = redis.call('HGET', KEYS[1], node)
            if not is then return 0, 0 end
            local expires, used = string.match(is, '^%d+ %x+ (%d+) (%d+)$')
            return tonumber(expires), tonumber(used)
        end
        local node, used
        if ARGV[3] ~= '' then
            local expires
            expires, used = look(ARGV[3])
            if expires > now then
                return {{'held', string.format('%.0f', expires - now)}}
            end
            node = ARGV[3]
        else
            local oldest = now
            for i = 0, tonumber(ARGV[4]) do
                local expires, until_ms = look(i)
                if expires < oldest and until_ms <= now + lease then
                    node, used, oldest = string.format('%d', i), until_ms, expires
                end
                if oldest == 0 then break end
            end
            if not node then return {{'held', ARGV[2]}} end
        end
        local epoch = math.max(now, (redis.call('HGET', KEYS[1], 'epoch') or 0) + 1)
        epoch = string.format('%.0f', epoch)
        redis.call('HSET', KEYS[1], 'epoch', epoch)
        redis.call('HSET', KEYS[1], node, string.format('%s %s %.0f %.0f',
            epoch, ARGV[1], now + lease, math.max(used, ARGV[5])))
        return {{'leased', node, epoch, string.format('%.0f', used)}}"
    )
});

/// Arguments: holder, lease in milliseconds, node, epoch, the millisecond up to which ids may have
/// been generated. Returns `lost` if another holds the node, or has held it since. A node that
/// nobody holds is taken back. A lease of no time ends it.
static RENEW: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{NOW}
        redis.call('HSETNX', KEYS[1], 'born', string.format('%.0f', now))
        local is = redis.call('HGET', KEYS[1], ARGV[3])
        if is and string.match(is, '^%d+ (%x+) ') ~= ARGV[1] then return {{'lost'}} end
        local expires = now + ARGV[2]
        redis.call('HSET', KEYS[1], ARGV[3],
            string.format('%s %s %.0f %s', ARGV[4], ARGV[1], expires, ARGV[5]))
        return {{'renewed'}}"
    )
});

/// Why there is no node.
#[derive(Debug, Error)]
pub enum NodeError {
    /// Another process has it, and renews its lease.
    #[error("snowflake.node: another process holds node {node}")]
    Held {
        /// Which.
        node: u16,
    },
    /// All are held.
    #[error("all {} nodes are held", NODE_MAX + 1)]
    NoneFree,
    /// There is none of this number.
    #[error("snowflake.node: {node} is not between 0 and {NODE_MAX}")]
    OutOfRange {
        /// Which.
        node: u16,
    },
    /// The process ends before it had one.
    #[error("the process ends")]
    Draining,
}

/// A node number of our own, and the generator of ids that goes with it. The lease is renewed until
/// all that was to be drained has ended.
#[derive(Debug, Clone)]
pub struct NodeLease {
    node: u16,
    epoch: u64,
    snowflakes: Arc<Snowflakes>,
    lost: CancellationToken,
}

impl NodeLease {
    /// The number.
    #[must_use]
    pub const fn node(&self) -> u16 {
        self.node
    }

    /// Higher than that of every holder of any node before.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Generates ids, until the node is lost.
    #[must_use]
    pub fn snowflakes(&self) -> Arc<Snowflakes> {
        Arc::clone(&self.snowflakes)
    }

    /// Ends when another process has taken the node: then this one has to start anew. Cancel-safe.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

/// What an attempt has brought.
enum Attempt {
    Leased { node: u16, epoch: u64, used_ms: u64 },
    Held(Duration),
}

impl Registry {
    /// Takes a node: the wanted one, or any that is free. Waits for Redis, and at most a little
    /// longer than a lease for a holder that is dead.
    ///
    /// # Errors
    /// When the node is held by somebody who is alive, or none is free.
    pub async fn lease_node(&self, wanted: Option<u16>) -> Result<NodeLease, NodeError> {
        if let Some(node) = wanted.filter(|node| *node > NODE_MAX) {
            return Err(NodeError::OutOfRange { node });
        }
        let registry = &self.0;
        let holder = fresh_word();
        let mut outage = Outage::new("node");
        // Since Redis is there: its lease may have been young, and then held by one that is dead.
        let mut patience = None;
        loop {
            let attempt = tokio::select! {
                attempt = lease(registry, &holder, wanted) => attempt,
                () = registry.drain.draining() => return Err(NodeError::Draining),
            };
            let wait = match attempt {
                Ok(Attempt::Leased {
                    node,
                    epoch,
                    used_ms,
                }) => return Ok(registry.hold(holder, node, epoch, used_ms)),
                Ok(Attempt::Held(at_least)) => {
                    outage.over();
                    let end = *patience.get_or_insert_with(|| Instant::now() + registry.lease * 2);
                    if Instant::now() >= end {
                        return Err(
                            wanted.map_or(NodeError::NoneFree, |node| NodeError::Held { node })
                        );
                    }
                    at_least.min(registry.lease / 3)
                }
                Err(error) => {
                    outage.failed(&error);
                    registry.lease / 6
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = registry.drain.draining() => return Err(NodeError::Draining),
            }
        }
    }
}

async fn lease(
    registry: &Inner,
    holder: &str,
    wanted: Option<u16>,
) -> Result<Attempt, RegistryError> {
    let lease_ms = registry.lease_ms();
    let arguments = [
        holder.into(),
        lease_ms.to_string(),
        wanted.map_or_else(String::new, |node| node.to_string()),
        NODE_MAX.to_string(),
        clock::unix_ms().saturating_add(lease_ms).to_string(),
    ];
    let words = registry
        .client
        .eval(&LEASE, &registry.nodes_key(), &arguments)
        .await?;
    let wrong = |_| RegistryError::Answer;
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["leased", node, epoch, used_ms] => Ok(Attempt::Leased {
            node: node.parse().map_err(wrong)?,
            epoch: epoch.parse().map_err(wrong)?,
            used_ms: used_ms.parse().map_err(wrong)?,
        }),
        ["held", ms] => Ok(Attempt::Held(Duration::from_millis(
            ms.parse().map_err(wrong)?,
        ))),
        _ => Err(RegistryError::Answer),
    }
}

impl Inner {
    fn nodes_key(&self) -> String {
        self.key("snowflake", &"nodes")
    }

    fn hold(self: &Arc<Self>, holder: String, node: u16, epoch: u64, used_ms: u64) -> NodeLease {
        events::node_leased(node, epoch);
        let lease = NodeLease {
            node,
            epoch,
            snowflakes: Arc::new(Snowflakes::after(node, used_ms, clock::unix_ms)),
            lost: CancellationToken::new(),
        };
        let holder = Holder {
            registry: Arc::clone(self),
            holder,
            lease: lease.clone(),
        };
        self.drain.spawn_last(holder.run());
        lease
    }
}

/// Renews a lease.
struct Holder {
    registry: Arc<Inner>,
    holder: String,
    lease: NodeLease,
}

impl Holder {
    async fn run(self) {
        let drained = tokio::select! {
            () = self.renew_until_lost() => false,
            () = self.registry.drain.drained() => true,
        };
        // No more ids, so that the last millisecond is the last one.
        self.lease.snowflakes.close();
        if drained {
            let used_ms = self.lease.snowflakes.last_ms();
            let ended = timeout(LAST_CALL_TIMEOUT, self.renew(0, used_ms)).await;
            if !matches!(ended, Ok(Ok(_))) {
                events::lease_not_ended("node");
            }
        } else {
            events::node_lost(self.lease.node, self.lease.epoch);
            self.lease.lost.cancel();
        }
    }

    async fn renew_until_lost(&self) {
        let mut outage = Outage::new("node");
        let mut renewals = every(self.registry.lease / 3);
        loop {
            renewals.tick().await;
            // Until the next renewal it may generate ids of the milliseconds to come.
            let used = clock::unix_ms().max(self.lease.snowflakes.last_ms());
            let lease_ms = self.registry.lease_ms();
            match self.renew(lease_ms, used.saturating_add(lease_ms)).await {
                Ok(true) => {
                    outage.over();
                }
                Ok(false) => return,
                Err(error) => outage.failed(&error),
            }
        }
    }

    /// False if another has it.
    async fn renew(&self, lease_ms: u64, used_ms: u64) -> Result<bool, RegistryError> {
        let arguments = [
            self.holder.clone(),
            lease_ms.to_string(),
            self.lease.node.to_string(),
            self.lease.epoch.to_string(),
            used_ms.to_string(),
        ];
        let key = self.registry.nodes_key();
        let words = self.registry.client.eval(&RENEW, &key, &arguments).await?;
        match words.first().map(String::as_str) {
            Some("renewed") => Ok(true),
            Some("lost") => Ok(false),
            _ => Err(RegistryError::Answer),
        }
    }
}
