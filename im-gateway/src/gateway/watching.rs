//! Who watches, and what the routers are told of those who watch the fleet.
//!
//! Not here: what waits for them ([`crate::outbox`]), and who may (logic).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::kind::method;
use protocol::watch::Filter;
use protocol::wire::internal::{FleetWatch, WatchedEntries, Watches};
use protocol::wire::{Watch, WatchScope};
use protocol::{ErrorCode, Refusal, SessionId};
use service_kit::rpc;

use super::{Gateway, RETRY_INTERVAL};
use crate::events;
use crate::handle::SessionHandle;
use crate::outbox::Watching;

/// Sessions of one gateway that watch the fleet; each costs every router a look at every entry.
const FLEET_WATCHES_MAX: usize = 256;

/// How long a router may take to take them.
const TELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Sessions that watch the fleet.
#[derive(Debug, Default)]
pub(super) struct FleetWatches {
    /// Of the last change.
    version: u64,
    sessions: BTreeMap<SessionId, (Arc<SessionHandle>, Filter)>,
}

impl Gateway {
    /// A session watches something, if logic says that it may. When the answer comes, the routers
    /// know: whatever is committed from then on is told.
    pub fn watch(
        self: &Arc<Self>,
        handle: &Arc<SessionHandle>,
        body: Bytes,
        allowed: impl Future<Output = Result<Bytes, Refusal>> + Send + 'static,
    ) -> impl Future<Output = Result<Bytes, Refusal>> + Send + 'static {
        let (gateway, handle) = (Arc::clone(self), Arc::clone(handle));
        async move {
            let answer = allowed.await?;
            let watch: Watch = rpc::decode(body)?;
            let filter = Filter::parse(&watch.filter.clone().unwrap_or_default())?;
            let of_fleet = watch.scope() == WatchScope::Fleet;
            let is_told = if of_fleet && !watch.stop {
                gateway.watch_begins(&handle, &filter)?;
                true
            } else {
                gateway.watch_ends(handle.session);
                false
            };
            handle.begin_watch((!watch.stop).then(|| Watching::new(filter, of_fleet)));
            if is_told && !gateway.tell_watches().await {
                gateway.watches_owed.notify_one();
                handle.watched(Watching::missed_anything);
            }
            Ok(answer)
        }
    }

    fn watch_begins(&self, handle: &Arc<SessionHandle>, filter: &Filter) -> Result<(), Refusal> {
        let mut watches = self.watches.lock();
        let is_new = !watches.sessions.contains_key(&handle.session);
        if is_new && watches.sessions.len() >= FLEET_WATCHES_MAX {
            let why = format!("{FLEET_WATCHES_MAX} sessions of this gateway watch the fleet");
            return Err(Refusal::new(ErrorCode::LimitReached, why));
        }
        let watch = (Arc::clone(handle), filter.clone());
        watches.sessions.insert(handle.session, watch);
        watches.version += 1;
        Ok(())
    }

    /// A session watches the fleet no more.
    pub(super) fn watch_ends(&self, session: SessionId) {
        let mut watches = self.watches.lock();
        if watches.sessions.remove(&session).is_some() {
            watches.version += 1;
            self.watches_owed.notify_one();
        }
    }

    /// A router is new, or another: what it was to tell is told by nobody until it knows.
    pub fn watches_moved(&self) {
        self.watches_missed();
        if self.watches.lock().version > 0 {
            self.watches_owed.notify_one();
        }
    }

    /// Anything may have been missed by those who watch the fleet.
    pub(super) fn watches_missed(&self) {
        for (handle, _) in self.watches.lock().sessions.values() {
            handle.watched(Watching::missed_anything);
        }
    }

    /// What a router has found for those who watch the fleet.
    pub fn watched(&self, watched: WatchedEntries) {
        let watches = self.watches.lock();
        if !watched.gaps.is_empty() {
            for (handle, _) in watches.sessions.values() {
                handle.watched(|watching| watching.missed(&watched.gaps));
            }
        }
        for told in watched.entries {
            let Some(entry) = told.entry else {
                continue;
            };
            for session in told.session_ids {
                if let Some((handle, _)) = watches.sessions.get(&SessionId(session)) {
                    handle.watched(|watching| watching.entry(entry.clone()));
                }
            }
        }
    }

    /// Tells the routers whenever one of them may not know. Ends never.
    pub(super) async fn watch_again(&self) {
        loop {
            self.watches_owed.notified().await;
            if self.tell_watches().await {
                // From here on nothing is missed; what was until now may have been.
                self.watches_missed();
            } else {
                tokio::time::sleep(RETRY_INTERVAL).await;
                self.watches_owed.notify_one();
            }
        }
    }

    /// Returns whether all routers that are there know.
    async fn tell_watches(&self) -> bool {
        let body = {
            let watches = self.watches.lock();
            let of =
                |(session, (_, filter)): (&SessionId, &(Arc<SessionHandle>, Filter))| FleetWatch {
                    session_id: session.0,
                    filter: Some(filter.to_wire()),
                };
            rpc::encode(&Watches {
                version: watches.version,
                watches: watches.sessions.iter().map(of).collect(),
            })
        };
        let links = self.routers.ids().into_iter();
        let links: Vec<_> = links
            .filter_map(|router| self.routers.link(router))
            .collect();
        let calls: Vec<_> = links
            .iter()
            .map(|link| link.call(method::WATCHES, body.clone(), TELL_TIMEOUT))
            .collect();
        let mut all_know = !links.is_empty();
        for (call, link) in calls.into_iter().zip(&links) {
            if let Err(refusal) = call.await {
                events::watches_not_told(&refusal);
                // When it is back it is told.
                all_know &= !link.is_up();
            }
        }
        all_know
    }
}
