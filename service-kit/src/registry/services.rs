//! The processes of a service: each announces itself under a lease, everybody reads the live ones.
//!
//! A service is one hash: a field for each process, and the generation of the data. The scripts
//! measure leases by the clock of Redis, so that the clocks of the machines do not matter.

use std::sync::{Arc, LazyLock};

use tokio::sync::watch;
use tokio::time::timeout;

use super::freeze::{Freeze, Reading};
use super::{Inner, LAST_CALL_TIMEOUT, NOW, Outage, RegistryError, every, fresh_word};
use crate::clock;
use crate::events;
use crate::live::{Instance, InstanceId, LiveSet};

/// Arguments: id, address, lease in milliseconds, a generation. Returns the generation.
static ANNOUNCE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{NOW}
        redis.call('HSETNX', KEYS[1], 'generation', ARGV[4])
        redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %s', now + ARGV[3], ARGV[2]))
        return {{redis.call('HGET', KEYS[1], 'generation')}}"
    )
});

/// Arguments: a generation. Returns the generation, then id and address of each live process;
/// removes those whose lease is over.
static READ: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{NOW}
        redis.call('HSETNX', KEYS[1], 'generation', ARGV[1])
        local all = redis.call('HGETALL', KEYS[1])
        local live = {{redis.call('HGET', KEYS[1], 'generation')}}
        for i = 1, #all, 2 do
            local expires, address = string.match(all[i + 1], '^(%d+) (.+)$')
            if expires and tonumber(expires) > now then
                live[#live + 1] = all[i]
                live[#live + 1] = address
            elseif all[i] ~= 'generation' then
                redis.call('HDEL', KEYS[1], all[i])
            end
        end
        return live"
    )
});

/// Arguments: id.
const WITHDRAW: &str = "redis.call('HDEL', KEYS[1], ARGV[1]) return {}";

/// Renews the lease until the drain, which ends it.
pub(super) async fn announce(registry: Arc<Inner>, service: String, instance: Instance) {
    let key = registry.key("service", &service);
    tokio::select! {
        () = renew(&registry, &key, &instance) => {}
        () = registry.drain.draining() => {}
    }
    let id = [instance.id.to_string()];
    let withdrawn = timeout(LAST_CALL_TIMEOUT, registry.client.eval(WITHDRAW, &key, &id)).await;
    if !matches!(withdrawn, Ok(Ok(_))) {
        events::lease_not_ended("announcement");
    }
}

async fn renew(registry: &Inner, key: &str, instance: &Instance) {
    let mut outage = Outage::new("announcement");
    let mut known: Option<String> = None;
    let mut renewals = every(registry.lease / 3);
    loop {
        renewals.tick().await;
        match announced(registry, key, instance).await {
            Ok(generation) => {
                outage.over();
                if known.is_some_and(|known| known != generation) {
                    registry.lost_data();
                }
                known = Some(generation);
            }
            Err(error) => outage.failed(&error),
        }
    }
}

async fn announced(
    registry: &Inner,
    key: &str,
    instance: &Instance,
) -> Result<String, RegistryError> {
    let arguments = [
        instance.id.to_string(),
        instance.address.clone(),
        registry.lease_ms().to_string(),
        fresh_word(),
    ];
    let answer = registry.client.eval(&ANNOUNCE, key, &arguments).await?;
    answer.into_iter().next().ok_or(RegistryError::Answer)
}

/// Reads the live set until all that was to be drained has ended, or nobody looks any more.
pub(super) async fn watch(
    registry: Arc<Inner>,
    service: String,
    shown: watch::Sender<Arc<LiveSet>>,
) {
    let key = registry.key("service", &service);
    let mut outage = Outage::new("live_set");
    let mut freeze = Freeze::new(registry.lease);
    let mut readings = every(registry.lease / 6);
    loop {
        tokio::select! {
            _ = readings.tick() => {}
            () = shown.closed() => return,
            () = registry.drain.drained() => return,
        }
        match read(&registry, &key).await {
            Ok(reading) => {
                outage.over();
                let (live, lost) = freeze.read(reading, clock::now());
                if lost {
                    registry.lost_data();
                }
                shown.send_if_modified(|shown| {
                    let changed = **shown != live;
                    if changed {
                        events::live_changed(&service, live.iter().count());
                        *shown = Arc::new(live);
                    }
                    changed
                });
            }
            Err(error) => {
                outage.failed(&error);
                freeze.failed();
            }
        }
    }
}

async fn read(registry: &Inner, key: &str) -> Result<Reading, RegistryError> {
    let answer = registry.client.eval(&READ, key, &[fresh_word()]).await?;
    let mut words = answer.into_iter();
    let generation = words.next().ok_or(RegistryError::Answer)?;
    let mut live = Vec::new();
    while let (Some(id), Some(address)) = (words.next(), words.next()) {
        let id = u64::from_str_radix(&id, 16).map_err(|_| RegistryError::Answer)?;
        let id = InstanceId(id);
        live.push(Instance { id, address });
    }
    Ok(Reading { generation, live })
}
