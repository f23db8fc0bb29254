//! Links to all live processes of a tier, and which of them a key belongs to.
//!
//! Not here: how the live set is learnt, and what is said on the links.

mod sticky;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use protocol::Refusal;
use rustls::ClientConfig;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::sticky::StickyLink;
use crate::admin::ReadyGate;
use crate::drain::Drain;
use crate::events;
use crate::live::{Instance, InstanceId, LiveSet};
use crate::rpc::{self, Link, LinkConfig, LinkEvent, LinkEvents, Urgent};

/// Events that wait for their reader. When full: the links that they come from are not read.
const EVENTS_MAX: usize = 1024;

/// Urgent notices that wait for their reader. When full: more are dropped and counted.
const URGENT_MAX: usize = 1024;

/// How a live set is told: the newest counts.
pub type LiveWatch = watch::Receiver<Arc<LiveSet>>;

/// Which tier, and how to reach its processes.
#[derive(Debug)]
pub struct PeersConfig {
    /// The tier; the certificates of its processes name it.
    pub name: &'static str,
    /// Who we are, and whom we trust.
    pub tls: Arc<ClientConfig>,
    /// Who lives.
    pub live: LiveWatch,
}

/// Links to a tier. Clones share them.
#[derive(Debug, Clone)]
pub struct Peers {
    shared: Arc<Shared>,
}

/// What happens among the processes of a tier. Of one process, in order.
#[derive(Debug)]
pub enum PeerEvent {
    /// Others live now, so that keys may belong to others. The links are those of the new set; of a
    /// new one nothing was told before.
    Moved,
    /// This link is up, the first time or again.
    Up(InstanceId),
    /// The process says something.
    Notice {
        /// Which process.
        from: InstanceId,
        /// What it is.
        method: u16,
        /// The encoded message.
        body: Bytes,
    },
}

/// The events of a tier. Whoever reads them does not wait for an answer on the same links meanwhile.
#[derive(Debug)]
pub struct PeerEvents {
    events: mpsc::Receiver<PeerEvent>,
    urgent: Option<mpsc::Receiver<Urgent>>,
    drain: Drain,
}

#[derive(Debug)]
struct Shared {
    name: &'static str,
    state: RwLock<State>,
    changed: Notify,
    /// Held while it is decided whether it is ready, so that the last look counts.
    gate: Mutex<ReadyGate>,
}

#[derive(Debug, Default)]
struct State {
    live: Arc<LiveSet>,
    links: BTreeMap<InstanceId, Peer>,
}

/// A link, and the end of the task that reads it.
#[derive(Debug)]
struct Peer {
    link: Link,
    address: String,
    _reading: DropGuard,
}

/// Opens links to whoever lives, until the drain. The gate is ready while at least one is up.
pub fn open(config: PeersConfig, gate: ReadyGate, drain: &Drain) -> (Peers, PeerEvents) {
    let shared = Arc::new(Shared {
        name: config.name,
        state: RwLock::default(),
        changed: Notify::new(),
        gate: Mutex::new(gate),
    });
    let peers = Peers { shared };
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    let (urgent, urgent_notices) = mpsc::channel(URGENT_MAX);
    let keeper = Keeper {
        peers: peers.clone(),
        urgent,
        tls: config.tls,
        sender,
        drain: drain.clone(),
    };
    drain.spawn(keeper.run(config.live));
    let drain = drain.clone();
    let events = PeerEvents {
        events,
        urgent: Some(urgent_notices),
        drain,
    };
    (peers, events)
}

impl PeerEvents {
    /// The next event; `None` once the drain has started. Cancel-safe.
    pub async fn next(&mut self) -> Option<PeerEvent> {
        tokio::select! {
            biased;
            () = self.drain.draining() => None,
            event = self.events.recv() => event,
        }
    }

    /// The urgent notices, which are not among the events. Whoever does not take them misses them.
    pub const fn take_urgent(&mut self) -> Option<mpsc::Receiver<Urgent>> {
        self.urgent.take()
    }

    /// Until the drain, for a tier that says nothing by itself. `on_change` hears of every link that
    /// comes up and of every change of who lives.
    pub async fn watch(mut self, on_change: impl Fn() + Send) {
        while let Some(event) = self.next().await {
            match event {
                PeerEvent::Up(_) | PeerEvent::Moved => on_change(),
                PeerEvent::Notice { .. } => {}
            }
        }
    }
}

impl Peers {
    /// The process that this key belongs to.
    #[must_use]
    pub fn owner(&self, key: &[u8]) -> Option<InstanceId> {
        self.shared.state.read().live.owner(key)
    }

    /// The link to the process that this key belongs to.
    ///
    /// # Errors
    /// *Unavailable* while nobody of the tier lives.
    pub fn link_of(&self, key: &[u8]) -> Result<Link, Refusal> {
        let state = self.shared.state.read();
        let owner = state.live.owner(key);
        let peer = owner.and_then(|owner| state.links.get(&owner));
        peer.map(|peer| peer.link.clone())
            .ok_or_else(|| self.nobody())
    }

    /// A link for what any process of the tier does as well: to the owner of the key if that link is
    /// up, else to another that is.
    ///
    /// # Errors
    /// *Unavailable* while nobody of the tier lives.
    pub fn any_link(&self, key: &[u8]) -> Result<Link, Refusal> {
        let (_, link) = self.choose(key)?;
        Ok(link)
    }

    /// The link to one process, while it lives.
    #[must_use]
    pub fn link(&self, id: InstanceId) -> Option<Link> {
        let state = self.shared.state.read();
        state.links.get(&id).map(|peer| peer.link.clone())
    }

    /// All of them, by rising id.
    #[must_use]
    pub fn ids(&self) -> Vec<InstanceId> {
        self.shared.state.read().links.keys().copied().collect()
    }

    /// Who lives.
    #[must_use]
    pub fn live(&self) -> Arc<LiveSet> {
        Arc::clone(&self.shared.state.read().live)
    }

    /// A link that is kept for this key.
    #[must_use]
    pub fn sticky(&self, key: u64) -> StickyLink {
        StickyLink::new(self.clone(), key)
    }

    /// Ends when a link is up. Cancel-safe.
    pub async fn up(&self) {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // Before looking: what changes from here on is not missed.
            changed.as_mut().enable();
            if self.is_up() {
                return;
            }
            changed.await;
        }
    }

    fn is_up(&self) -> bool {
        let state = self.shared.state.read();
        state.links.values().any(|peer| peer.link.is_up())
    }

    fn choose(&self, key: &[u8]) -> Result<(InstanceId, Link), Refusal> {
        let state = self.shared.state.read();
        let owner = state.live.owner(key).ok_or_else(|| self.nobody())?;
        let owned = state.links.get_key_value(&owner);
        let is_up = |(_, peer): &(&InstanceId, &Peer)| peer.link.is_up();
        let chosen = owned
            .filter(is_up)
            .or_else(|| state.links.iter().find(is_up))
            .or(owned);
        chosen
            .map(|(id, peer)| (*id, peer.link.clone()))
            .ok_or_else(|| self.nobody())
    }

    fn nobody(&self) -> Refusal {
        Refusal::unavailable(format!("no {} lives", self.shared.name))
    }

    /// Something has changed: a link, or who lives.
    fn look_again(&self) {
        let gate = self.shared.gate.lock();
        if self.is_up() {
            gate.set_ready();
        } else if self.live().is_empty() {
            gate.set_unready("nobody lives");
        } else {
            gate.set_unready("the link is down");
        }
        drop(gate);
        self.shared.changed.notify_waiters();
    }
}

/// Makes the links agree with who lives.
struct Keeper {
    peers: Peers,
    tls: Arc<ClientConfig>,
    sender: mpsc::Sender<PeerEvent>,
    urgent: mpsc::Sender<Urgent>,
    drain: Drain,
}

impl Keeper {
    async fn run(self, mut live: LiveWatch) {
        loop {
            let now = Arc::clone(&live.borrow_and_update());
            let fresh = self.take(now);
            self.peers.look_again();
            // Its reader may be gone: calls go on.
            drop(self.sender.send(PeerEvent::Moved).await);
            for fresh in fresh {
                self.read(fresh);
            }
            let changed = tokio::select! {
                () = self.drain.draining() => return,
                changed = live.changed() => changed,
            };
            if changed.is_err() {
                // Nobody tells us any more: it stays as it is.
                return self.drain.draining().await;
            }
        }
    }

    /// Returns the links that are new, which are read once it is told that they are there.
    fn take(&self, live: Arc<LiveSet>) -> Vec<Fresh> {
        let mut state = self.peers.shared.state.write();
        state.links.retain(|id, peer| {
            let stays = |it: &Instance| it.id == *id && it.address == peer.address;
            live.iter().any(stays)
        });
        let mut fresh = Vec::new();
        for instance in live.iter() {
            state.links.entry(instance.id).or_insert_with(|| {
                let (peer, new) = self.connect(instance);
                fresh.push(new);
                peer
            });
        }
        events::peers_changed(self.peers.shared.name, state.links.len());
        state.live = live;
        fresh
    }

    fn connect(&self, instance: &Instance) -> (Peer, Fresh) {
        let config = LinkConfig {
            name: self.peers.shared.name,
            address: instance.address.clone(),
            tls: Arc::clone(&self.tls),
        };
        let (link, events) =
            rpc::connect_urgently(config, Some(self.urgent.clone()), self.drain.clone());
        let gone = CancellationToken::new();
        let fresh = Fresh {
            id: instance.id,
            events,
            gone: gone.clone(),
        };
        let peer = Peer {
            link,
            address: instance.address.clone(),
            _reading: gone.drop_guard(),
        };
        (peer, fresh)
    }

    fn read(&self, fresh: Fresh) {
        let (peers, sender) = (self.peers.clone(), self.sender.clone());
        self.drain.spawn(async move {
            tokio::select! {
                () = read(fresh.id, fresh.events, peers, sender) => {}
                () = fresh.gone.cancelled() => {}
            }
        });
    }
}

/// A link that nobody reads yet.
struct Fresh {
    id: InstanceId,
    events: LinkEvents,
    gone: CancellationToken,
}

async fn read(id: InstanceId, mut link: LinkEvents, peers: Peers, sender: mpsc::Sender<PeerEvent>) {
    while let Some(event) = link.next().await {
        let event = match event {
            LinkEvent::Up => {
                peers.look_again();
                PeerEvent::Up(id)
            }
            LinkEvent::Down => {
                peers.look_again();
                continue;
            }
            LinkEvent::Notice { method, body } => PeerEvent::Notice {
                from: id,
                method,
                body,
            },
        };
        if sender.send(event).await.is_err() {
            // Nobody listens; the gate still hears of the link.
            while let Some(event) = link.next().await {
                if !matches!(event, LinkEvent::Notice { .. }) {
                    peers.look_again();
                }
            }
        }
    }
}

/// The live set of a tier of one process, which nobody announces.
#[must_use]
pub fn fixed(address: String) -> LiveWatch {
    watch::channel(Arc::new(LiveSet::fixed(address))).1
}
