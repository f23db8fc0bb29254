//! A session's place in the registry, whatever carries it.

use std::sync::Arc;

use protocol::Refusal;
use protocol::wire::internal::MembershipsPage;

use crate::gateway::Gateway;
use crate::handle::SessionHandle;

/// A session that is in the registry; dropped, it is not.
pub(crate) struct Present {
    pub(super) gateway: Arc<Gateway>,
    pub(super) handle: Arc<SessionHandle>,
}

impl Present {
    /// Of a session that has not arrived.
    pub(crate) fn new(gateway: &Arc<Gateway>, handle: Arc<SessionHandle>) -> Self {
        Self {
            gateway: Arc::clone(gateway),
            handle,
        }
    }

    /// From now on nothing that is committed is missed. What its conversations are, for a client
    /// whose marks are of this history generation.
    pub(crate) async fn arrive(&self, history_generation: u64) -> Result<MembershipsPage, Refusal> {
        self.gateway.arrive(&self.handle, history_generation).await
    }

    /// The session.
    pub(crate) fn handle(&self) -> &SessionHandle {
        &self.handle
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.gateway.leave(&self.handle);
    }
}
