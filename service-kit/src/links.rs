//! Links to other tiers that are only asked on, each a condition of readiness.
//!
//! Not here: a link on which the other end speaks by itself; its reader keeps the gate.

use crate::admin::{Readiness, ReadyGate};
use crate::drain::Drain;
use crate::rpc::{self, Link, LinkConfig, LinkEvent, LinkEvents};

/// Looks after a link.
#[derive(Debug)]
pub struct Watch {
    events: LinkEvents,
    gate: ReadyGate,
}

/// Opens a link. The process is ready only while it is up.
#[must_use]
pub fn open(config: LinkConfig, readiness: &Readiness, drain: &Drain) -> (Link, Watch) {
    let gate = readiness.gate(config.name);
    let (link, events) = rpc::connect(config, drain.clone());
    (link, Watch { events, gate })
}

impl Watch {
    /// Until the drain. `on_up` hears of every connection, before the process counts as ready.
    pub async fn run(mut self, on_up: impl Fn() + Send) {
        while let Some(event) = self.events.next().await {
            match event {
                LinkEvent::Up => {
                    on_up();
                    self.gate.set_ready();
                }
                LinkEvent::Down => self.gate.set_unready("the link is down"),
                // Nobody tells us anything on these links: we only ask.
                LinkEvent::Notice { .. } => {}
            }
        }
    }
}
