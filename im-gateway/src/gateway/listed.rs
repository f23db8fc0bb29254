//! The live gateways, as clients are told of them: in every Welcome, and whenever they change.
//!
//! Not here: how they are known, and what a client does with them.

use std::sync::Arc;

use protocol::Frame;
use protocol::kind::client;
use protocol::limits::{GATEWAY_ADDRESS_BYTES_MAX, GATEWAYS_LISTED_MAX};
use protocol::wire::Gateways;
use service_kit::live::LiveSet;

use super::Gateway;
use crate::events;
use crate::shared_frame::SharedFrame;

impl Gateway {
    /// Where gateways live now; nothing if that is not known.
    pub fn listed(&self) -> Vec<String> {
        list(&self.live.borrow())
    }

    /// Tells every session whenever the list changes. Ends never.
    pub(super) async fn tell_list(&self) {
        let mut live = self.live.clone();
        while live.changed().await.is_ok() {
            let (addresses, known) = {
                let live = live.borrow_and_update();
                (list(&live), live.iter().count())
            };
            events::gateways_listed(addresses.len(), known);
            // No list says nothing: clients keep the one that they have.
            if !addresses.is_empty() {
                let list = Frame::notice(client::GATEWAYS, &Gateways { addresses });
                self.registry.gateways(&SharedFrame::from(&list));
            }
        }
        std::future::pending().await
    }
}

/// As many as a list holds; the others, and addresses that no list holds, are left out.
fn list(live: &Arc<LiveSet>) -> Vec<String> {
    let addresses = live.iter().map(|instance| &instance.address);
    addresses
        .filter(|address| address.len() <= GATEWAY_ADDRESS_BYTES_MAX)
        .take(GATEWAYS_LISTED_MAX)
        .cloned()
        .collect()
}
