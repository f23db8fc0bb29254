//! Which processes this one is linked to: what an operator sees of the cluster from here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use protocol::Refusal;
use service_kit::peers::Peers;

use crate::directory::Directory;
use crate::permission::{self, Action};
use crate::store::Caller;

/// The links of this process.
#[derive(Debug)]
pub struct Links {
    directory: Arc<Directory>,
    stores: Peers,
    routers: Peers,
    gateways: AtomicU32,
}

/// A process that lives, as it is seen from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// Its tier.
    pub tier: &'static str,
    /// Which of the tier.
    pub id: String,
    /// Where it is reached.
    pub address: String,
    /// Whether the link is up.
    pub is_up: bool,
}

impl Links {
    /// These, and gateways as they come.
    #[must_use]
    pub const fn new(directory: Arc<Directory>, stores: Peers, routers: Peers) -> Self {
        Self {
            directory,
            stores,
            routers,
            gateways: AtomicU32::new(0),
        }
    }

    /// A gateway has come, or gone.
    pub(crate) fn gateway(&self, comes: bool) {
        if comes {
            self.gateways.fetch_add(1, Ordering::Relaxed);
        } else {
            self.gateways.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The stores and routers, and how many gateways are linked to us.
    ///
    /// # Errors
    /// *Forbidden*.
    pub async fn list(&self, caller: Caller) -> Result<(Vec<Linked>, u32), Refusal> {
        let asker = self.directory.one(caller.account, caller.deadline).await?;
        permission::check(Action::SeeCluster, asker.kind, None)?;
        let mut all = of("im-store", &self.stores);
        all.extend(of("im-router", &self.routers));
        Ok((all, self.gateways.load(Ordering::Relaxed)))
    }
}

fn of(tier: &'static str, peers: &Peers) -> Vec<Linked> {
    let live = peers.live();
    let linked = live.iter().map(|instance| Linked {
        tier,
        id: instance.id.to_string(),
        address: instance.address.clone(),
        is_up: peers.link(instance.id).is_some_and(|link| link.is_up()),
    });
    linked.collect()
}
