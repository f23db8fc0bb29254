//! What goes on with stops by itself: they are told again, stored, kept on disk, and read from the
//! store, where others may have put some.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use protocol::estop::Stop;
use protocol::limits::ESTOPS_PER_FRAME_MAX;
use protocol::wire::AccountKind;
use protocol::wire::internal::{EstopGossip, EstopList};
use protocol::{ErrorCode, Refusal};
use tokio::time::Instant;

use super::{COMMIT_TIMEOUT, Gateway, commit_of, notice};
use crate::events;

/// How often is looked what is due, while stops are in force: who was told and who has confirmed is
/// gathered for so long before other gateways hear of it.
const TICK: Duration = Duration::from_millis(50);

/// How often what the store has is read, and everything told to the other gateways, in case that a
/// word was lost.
const READ_INTERVAL: Duration = Duration::from_secs(2);

/// The same while it was never read: nobody is let in before.
const FIRST_READ_INTERVAL: Duration = Duration::from_millis(100);

impl Gateway {
    /// Runs until the drain.
    pub async fn keep_estops(self: Arc<Self>) {
        tokio::select! {
            () = self.repeat() => {}
            () = self.read_for_ever() => {}
            () = self.drain.draining() => {}
        }
    }

    async fn repeat(self: &Arc<Self>) {
        loop {
            if self.estops.lock().is_latched() {
                tokio::time::sleep(TICK).await;
            } else {
                self.estop_news.notified().await;
            }
            self.tick().await;
        }
    }

    async fn tick(self: &Arc<Self>) {
        let now = Instant::now();
        let (due, to_store, progress) = {
            let mut estops = self.estops.lock();
            (estops.due(now), estops.to_store(now), estops.take_news())
        };
        for stop in due {
            self.tell_again(&stop);
        }
        for stop in to_store {
            let gateway = Arc::clone(self);
            self.drain
                .spawn(async move { gateway.try_to_store(stop).await });
        }
        if !progress.is_empty() {
            self.gossip(&EstopGossip {
                progress,
                ..EstopGossip::default()
            });
        }
        self.keep_on_disk().await;
    }

    /// To every robot here that has not confirmed it, and to whoever has joined since.
    fn tell_again(&self, stop: &Stop) {
        let notice = notice(stop);
        let mut estops = self.estops.lock();
        let mut robots = Vec::new();
        self.registry.reach(stop.scope(), |session| {
            if session.kind == AccountKind::Robot && estops.awaits(stop.id, session.account) {
                session.urgent((stop.id, false), notice.clone());
                robots.push(session.account);
            }
        });
        if !robots.is_empty() {
            events::estop_told_again(robots.len());
        }
        estops.reached(stop.id, robots);
    }

    async fn try_to_store(self: Arc<Self>, stop: Stop) {
        let commit = commit_of(&stop);
        let stored = self.upstream.store_estop(&commit, COMMIT_TIMEOUT).await;
        match stored {
            Ok(_) => self.stored(stop),
            Err(refusal) => events::estop_not_stored(&stop, &refusal),
        }
    }

    async fn read_for_ever(self: &Arc<Self>) {
        loop {
            let pause = match self.read_estops().await {
                Ok(()) => READ_INTERVAL,
                Err(refusal) => {
                    events::estops_not_read(&refusal);
                    if self.estops.lock().is_read() {
                        READ_INTERVAL
                    } else {
                        FIRST_READ_INTERVAL
                    }
                }
            };
            if self.estops.lock().is_latched() {
                self.gossip_all(false);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// What the store has: latched or released by others, or before this process began.
    pub(super) async fn read_estops(&self) -> Result<(), Refusal> {
        let asked_at = Instant::now();
        let list: EstopList = self.upstream.estop_records(Vec::new()).await?;
        let stops = list.stops.into_iter().map(Stop::from_wire);
        let stops = stops.collect::<Result<Vec<_>, _>>()?;
        let there: BTreeSet<_> = stops.iter().map(|stop| stop.id).collect();
        for stop in stops {
            self.absorb(stop);
        }
        // Of those that are in force here and not there: some may be released long ago, and so not
        // among those that were released last.
        let doubtful: Vec<_> = {
            let estops = self.estops.lock();
            let here = estops.concerning(|_| true).map(|stop| stop.id);
            here.filter(|id| !there.contains(id)).collect()
        };
        for some in doubtful.chunks(ESTOPS_PER_FRAME_MAX) {
            let ids = some.iter().map(|id| id.to_bytes()).collect();
            let list: EstopList = self.upstream.estop_records(ids).await?;
            for stop in list.stops {
                self.absorb(Stop::from_wire(stop)?);
            }
        }
        self.estops.lock().read(&there, !list.more, asked_at);
        Ok(())
    }

    /// Takes those that an earlier process of this gateway kept.
    pub fn recall_estops(&self) {
        let Some(file) = &self.estop_file else {
            return;
        };
        let read = std::fs::read(file);
        let kept = match &read {
            Ok(bytes) => EstopList::decode(&bytes[..]).map_err(|error| error.to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => Err(error.to_string()),
        };
        match kept {
            Ok(list) => {
                let stops = list.stops.into_iter().map(Stop::from_wire);
                for stop in stops.filter_map(Result::ok) {
                    // Whether the store still has it is found out.
                    self.absorb(Stop {
                        stored: false,
                        ..stop
                    });
                }
            }
            Err(error) => events::estops_not_kept(&error),
        }
    }

    async fn keep_on_disk(&self) {
        let Some(file) = self.estop_file.clone() else {
            return;
        };
        let Some(stops) = self.estops.lock().take_to_keep() else {
            return;
        };
        let list = EstopList { stops, more: false };
        let written = tokio::task::spawn_blocking(move || write(&file, &list.encode_to_vec()));
        let failed = match written.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        self.estops.lock().not_kept();
        events::estops_not_kept(&failed);
    }
}

/// All of it, or what was there before.
fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut new = std::fs::File::create(&beside)?;
    new.write_all(bytes)?;
    new.sync_all()?;
    std::fs::rename(&beside, file)?;
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// Nobody is let in before the store was asked once what is in force.
pub(super) fn not_read() -> Refusal {
    Refusal::new(
        ErrorCode::Unavailable,
        "which emergency stops are in force is not known yet",
    )
}
