//! Which stores and routers live, and so what belongs to whom: each host knows it as of a moment of
//! its own, so that two may hold themselves for the owner, or nobody.

use std::collections::BTreeMap;

use service_kit::live::{Instance, InstanceId, LiveSet};

use crate::net::Host;

/// Processes of one tier at most; an instance's id names the process by its remainder.
const PROCESSES_MAX: u64 = 8;

/// The live processes of the tiers that own conversations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sets {
    stores: LiveSet,
    routers: LiveSet,
}

/// As it is, and as it is known.
#[derive(Debug, Default)]
pub(crate) struct Live {
    now: Sets,
    known: BTreeMap<Host, Sets>,
}

/// What is news to a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) stores: bool,
    pub(crate) routers: bool,
}

/// The instances of these processes, each with something random in its id.
pub(crate) fn set(processes: &[(usize, u64)]) -> LiveSet {
    let instance = |(process, random): &(usize, u64)| Instance {
        id: InstanceId(random / PROCESSES_MAX * PROCESSES_MAX + *process as u64),
        address: process.to_string(),
    };
    LiveSet::new(processes.iter().map(instance).collect())
}

impl Live {
    pub(crate) fn stores(&mut self, stores: LiveSet) {
        self.now.stores = stores;
    }

    pub(crate) fn routers(&mut self, routers: LiveSet) {
        self.now.routers = routers;
    }

    /// The host learns what is so now.
    pub(crate) fn learn(&mut self, host: Host) -> News {
        let before = self.known.insert(host, self.now.clone());
        let before = before.unwrap_or_default();
        News {
            stores: before.stores != self.now.stores,
            routers: before.routers != self.now.routers,
        }
    }

    /// To which store this belongs, as far as the host knows.
    pub(crate) fn store(&self, as_known_to: Host, key: &[u8]) -> Option<usize> {
        process(self.known.get(&as_known_to)?.stores.owner(key)?)
    }

    /// The same of the routers.
    pub(crate) fn router(&self, as_known_to: Host, key: &[u8]) -> Option<usize> {
        process(self.known.get(&as_known_to)?.routers.owner(key)?)
    }
}

fn process(id: InstanceId) -> Option<usize> {
    usize::try_from(id.0 % PROCESSES_MAX).ok()
}
