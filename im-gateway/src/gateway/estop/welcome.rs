//! What a session is told of stops before anything else: with its Welcome.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::estop::Stop;
use protocol::wire::internal::EstopList;
use protocol::wire::{AccountKind, EmergencyStop};
use protocol::{ClientMessageId, Refusal};

use super::keep::not_read;
use super::{Gateway, notice};
use crate::handle::SessionHandle;

/// Stops in one Welcome. The others follow it, before all else.
const WELCOME_ESTOPS_MAX: usize = 32;

impl Gateway {
    /// Makes sure that it is known what is in force.
    ///
    /// # Errors
    /// *Unavailable*, as everything is that needs the store to let somebody in.
    pub async fn estops_known(&self) -> Result<(), Refusal> {
        if !self.estops.lock().is_read() {
            self.read_estops().await.map_err(|_| not_read())?;
        }
        Ok(())
    }

    /// The stops that a session is welcomed with: those in force that concern it, and of those that
    /// it holds for being in force, the ones that are released. It counts as told of them.
    pub async fn estops_for(
        &self,
        handle: &Arc<SessionHandle>,
        latched: &BTreeSet<ClientMessageId>,
    ) -> Vec<EmergencyStop> {
        let unknown: Vec<_> = {
            let estops = self.estops.lock();
            let unknown = latched.iter().filter(|id| estops.get(**id).is_none());
            unknown.map(|id| id.to_bytes()).collect()
        };
        if !unknown.is_empty() {
            // If nobody answers they stay in force there: that is the safe side.
            let asked = self.upstream.estop_records(unknown).await;
            let found = asked.unwrap_or_else(|_| EstopList::default()).stops;
            for stop in found
                .into_iter()
                .filter_map(|stop| Stop::from_wire(stop).ok())
            {
                self.absorb(stop);
            }
        }
        let mut estops = self.estops.lock();
        let is_in = |group| self.registry.is_in(handle.account, group);
        let mut told: Vec<Stop> = estops.concerning(is_in).cloned().collect();
        if handle.kind == AccountKind::Robot {
            for stop in &told {
                estops.reached(stop.id, [handle.account]);
            }
        }
        let ended = latched.iter().filter_map(|id| estops.get(*id));
        told.extend(ended.filter(|stop| !stop.is_in_force()).cloned());
        let later = told.split_off(told.len().min(WELCOME_ESTOPS_MAX));
        for stop in later {
            handle.urgent((stop.id, !stop.is_in_force()), notice(&stop));
        }
        told.iter().map(Stop::to_wire).collect()
    }
}
