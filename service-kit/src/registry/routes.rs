//! Routes: which process holds a session, by the subject whose session it is.
//!
//! A subject is one hash: a field for each session, with epoch, process and end of lease. Its one
//! key is one slot of a Redis Cluster. A route outlives its process by its lease: a reader passes
//! over processes that are not live. Not here: which routes to write when; see `table`.

use std::sync::{Arc, LazyLock};

use futures_util::StreamExt as _;
use futures_util::stream;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::table::{ROUTES_MAX, RouteKey, RouteTable, Wanted, Written};
use super::{Inner, LAST_CALL_TIMEOUT, NOW, Outage, Registry, RegistryError, every};
use crate::live::InstanceId;
use crate::{clock, events};

/// A route's lease, in leases of processes: there are many, so they are renewed less often.
const ROUTE_LEASES: u32 = 20;
/// Routes that are written at once, as one batch on the connection.
const BATCH_ROUTES_MAX: usize = 512;

/// Arguments: session, epoch, process, lease in milliseconds. An older epoch changes nothing.
/// Returns whether the session was there. Removes sessions whose lease is over.
static PUT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{NOW}
        local all = redis.call('HGETALL', KEYS[1])
        local was = 'absent'
        for i = 1, #all, 2 do
            local epoch, expires = string.match(all[i + 1], '^(%d+) %x+ (%d+)$')
            if not expires or tonumber(expires) <= now then
                redis.call('HDEL', KEYS[1], all[i])
            elseif all[i] == ARGV[1] then
                if epoch > ARGV[2] then return {{'newer'}} end
                was = 'there'
            end
        end
        local route = string.format('%s %s %.0f', ARGV[2], ARGV[3], now + ARGV[4])
        redis.call('HSET', KEYS[1], ARGV[1], route)
        redis.call('PEXPIRE', KEYS[1], ARGV[4])
        return {{was}}"
    )
});

/// Arguments: session, epoch. A newer epoch stays.
const REMOVE: &str = "
    local route = redis.call('HGET', KEYS[1], ARGV[1])
    if route and string.match(route, '^%d+') <= ARGV[2] then
        redis.call('HDEL', KEYS[1], ARGV[1])
    end
    return {}";

/// Returns session, epoch and process of each route whose lease is not over.
static READ: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{NOW}
        local all = redis.call('HGETALL', KEYS[1])
        local routes = {{}}
        for i = 1, #all, 2 do
            local epoch, process, expires = string.match(all[i + 1], '^(%d+) (%x+) (%d+)$')
            if expires and tonumber(expires) > now then
                routes[#routes + 1] = all[i]
                routes[#routes + 1] = epoch
                routes[#routes + 1] = process
            end
        end
        return routes"
    )
});

/// Where a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The session.
    pub session: u64,
    /// The process that holds it.
    pub instance: InstanceId,
    /// Of two routes of a session the one with the higher epoch is true.
    pub epoch: u64,
}

/// The routes that a process keeps in the registry. They are written again whenever Redis has been
/// away or has lost them. Clones are the same routes.
#[derive(Debug, Clone)]
pub struct Routes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    table: Mutex<RouteTable>,
    changed: Notify,
}

impl Registry {
    /// The routes to this process: kept until all that was to be drained has ended.
    #[must_use]
    pub fn routes(&self, instance: InstanceId) -> Routes {
        let shared = Arc::new(Shared {
            table: Mutex::new(RouteTable::new(self.0.lease * ROUTE_LEASES / 3)),
            changed: Notify::new(),
        });
        let writer = Writer {
            registry: Arc::clone(&self.0),
            shared: Arc::clone(&shared),
            instance,
            taken: Vec::new(),
            outage: Outage::new("routes"),
        };
        self.0.drain.spawn_last(writer.run());
        Routes(shared)
    }

    /// The routes to a subject's sessions; to processes that have gone too, for some time.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn routes_of(&self, subject: u64) -> Result<Vec<Route>, RegistryError> {
        let key = self.0.key("routes", &subject);
        let words = self.0.client.eval(&READ, &key, &[]).await?;
        words.chunks(3).map(route).collect()
    }
}

fn route(words: &[String]) -> Result<Route, RegistryError> {
    let [session, epoch, process] = words else {
        return Err(RegistryError::Answer);
    };
    let wrong = |_| RegistryError::Answer;
    let process = u64::from_str_radix(process, 16).map_err(wrong)?;
    Ok(Route {
        session: session.parse().map_err(wrong)?,
        instance: InstanceId(process),
        epoch: epoch.parse().map_err(wrong)?,
    })
}

impl Routes {
    /// Keeps a route, soon; beyond [`Routes::max`] it is dropped and counted. A newer epoch of the
    /// session, wherever it is kept, ends it.
    pub fn keep(&self, subject: u64, session: u64, epoch: u64) {
        self.want(RouteKey { subject, session }, Wanted::Kept(epoch));
    }

    /// Removes it, soon, unless it has a newer epoch.
    pub fn remove(&self, subject: u64, session: u64, epoch: u64) {
        self.want(RouteKey { subject, session }, Wanted::Gone(epoch));
    }

    /// How many routes a process may keep.
    #[must_use]
    pub const fn max() -> usize {
        ROUTES_MAX
    }

    fn want(&self, key: RouteKey, wanted: Wanted) {
        if self.0.table.lock().want(key, wanted) {
            self.0.changed.notify_one();
        } else {
            events::route_dropped();
        }
    }
}

/// Writes what the table says.
struct Writer {
    registry: Arc<Inner>,
    shared: Arc<Shared>,
    instance: InstanceId,
    /// What is being written: the drain may cut that off.
    taken: Vec<(RouteKey, Wanted)>,
    outage: Outage,
}

impl Writer {
    async fn run(mut self) {
        let drain = self.registry.drain.clone();
        tokio::select! {
            () = self.write_for_ever() => {}
            () = drain.drained() => {}
        }
        for (key, _) in self.taken.drain(..) {
            self.shared.table.lock().not_written(key);
        }
        if timeout(LAST_CALL_TIMEOUT, self.write_all()).await.is_err() {
            events::lease_not_ended("routes");
        }
    }

    async fn write_for_ever(&mut self) {
        let mut losses = self.registry.losses.subscribe();
        let mut ticks = every(self.registry.lease / 6);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.shared.changed.notified() => {}
                lost = losses.changed() => {
                    if lost.is_ok() {
                        self.shared.table.lock().lost();
                    }
                }
            }
            self.write_all().await;
        }
    }

    /// Until nothing is due or Redis does not answer.
    async fn write_all(&mut self) {
        loop {
            self.taken = self
                .shared
                .table
                .lock()
                .take(clock::now(), BATCH_ROUTES_MAX);
            if self.taken.is_empty() || !self.write().await {
                break;
            }
        }
    }

    /// Writes what was taken. False if any of it failed.
    async fn write(&mut self) -> bool {
        let this = &*self;
        let written: Vec<_> = stream::iter(this.taken.clone())
            .map(async |(key, wanted)| (key, wanted, this.write_one(key, wanted).await))
            .buffer_unordered(BATCH_ROUTES_MAX)
            .collect()
            .await;
        self.taken.clear();
        let now = clock::now();
        let mut failed = None;
        let mut lost = false;
        let mut table = self.shared.table.lock();
        for (key, wanted, how) in written {
            match how {
                Ok(how) => {
                    if how == Written::Superseded {
                        events::route_superseded();
                    }
                    lost |= table.written(key, wanted, how, now);
                }
                Err(error) => {
                    table.not_written(key);
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) => self.outage.failed(&error),
            // What was written before the outage may not have come through it.
            None => lost |= self.outage.over(),
        }
        if lost {
            table.lost();
        }
        !self.outage.lasts
    }

    async fn write_one(&self, key: RouteKey, wanted: Wanted) -> Result<Written, RegistryError> {
        let name = self.registry.key("routes", &key.subject);
        let session = key.session.to_string();
        match wanted {
            Wanted::Kept(epoch) => {
                let lease_ms = self.registry.lease_ms() * u64::from(ROUTE_LEASES);
                let arguments = [
                    session,
                    padded(epoch),
                    self.instance.to_string(),
                    lease_ms.to_string(),
                ];
                let said = self.registry.client.eval(&PUT, &name, &arguments).await?;
                match said.first().map(String::as_str) {
                    Some("there") => Ok(Written::Again),
                    Some("absent") => Ok(Written::New),
                    Some("newer") => Ok(Written::Superseded),
                    _ => Err(RegistryError::Answer),
                }
            }
            Wanted::Gone(epoch) => {
                let arguments = [session, padded(epoch)];
                self.registry.client.eval(REMOVE, &name, &arguments).await?;
                Ok(Written::Again)
            }
        }
    }
}

/// So that scripts compare epochs as texts: their numbers have 53 bits.
fn padded(epoch: u64) -> String {
    format!("{epoch:020}")
}
