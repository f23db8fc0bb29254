//! How many messages a second one account may send, and how many one group may take: what is beyond
//! is refused with the time after which it is worth to try again. An emergency is never held up.
//!
//! A group is charged for what was stored, and never for what only asked to be: else a stranger
//! could use its measure up. That is why this looks and takes apart (GCRA, in a word for each key),
//! which the crates for it do not. Of each logic process on its own: a session stays with one.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::time::Duration;

use parking_lot::Mutex;
use protocol::id::ConversationKind;
use protocol::wire::Priority;
use protocol::{AccountId, ConversationId, ErrorCode, Refusal};
use tokio::time::Instant;

use crate::config::RatesConfig;
use crate::events;

/// Parts of a table that are locked each on their own.
const SHARDS: usize = 32;

/// Keys of one part, some 32 KiB. When full those are forgotten that have their whole measure again;
/// if all are busy, new ones are not held up.
const KEYS_PER_SHARD_MAX: usize = 2048;

/// The measures of accounts and groups.
#[derive(Debug)]
pub struct Rates {
    accounts: Table<AccountId>,
    groups: Table<ConversationId>,
    began: Instant,
}

/// How much of something each key may do in a second, and at once after a rest.
#[derive(Debug)]
pub(crate) struct Measure<K> {
    table: Table<K>,
    began: Instant,
}

impl<K: Eq + Hash> Measure<K> {
    /// With everybody's measure whole; 0: no limit.
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        Self {
            table: Table::new(per_second),
            began: now,
        }
    }

    /// Takes one, or says how long until there is one. In whole milliseconds, and not too short.
    pub(crate) fn take(&self, key: K, now: Instant) -> Result<(), u32> {
        let now_ns = nanos(now.saturating_duration_since(self.began));
        let looked = self.table.look(&key, now_ns);
        looked.map_err(wait_ms)?;
        self.table.take(key, now_ns);
        Ok(())
    }
}

/// One measure for each key.
#[derive(Debug)]
struct Table<K> {
    /// 0: no limit.
    per_second: u32,
    hasher: RandomState,
    /// When the measure of a key is whole again, in nanoseconds since the beginning.
    shards: [Mutex<HashMap<K, u64>>; SHARDS],
}

impl Rates {
    /// With everybody's measure whole.
    #[must_use]
    pub fn new(config: &RatesConfig, now: Instant) -> Self {
        Self {
            accounts: Table::new(config.account_sends_per_second),
            groups: Table::new(config.group_sends_per_second),
            began: now,
        }
    }

    /// Takes one of the sender's, if its own measure and the group's allow it.
    ///
    /// # Errors
    /// *Rate limited*, with the time to wait.
    pub fn take(
        &self,
        sender: AccountId,
        conversation: ConversationId,
        priority: Priority,
        now: Instant,
    ) -> Result<(), Refusal> {
        if priority == Priority::Emergency {
            return Ok(());
        }
        let now_ns = self.since_began_ns(now);
        if is_group(conversation) {
            let looked = self.groups.look(&conversation, now_ns);
            looked.map_err(|wait| refused("group", self.groups.per_second, wait))?;
        }
        let taken = self.accounts.look(&sender, now_ns);
        taken.map_err(|wait| refused("account", self.accounts.per_second, wait))?;
        self.accounts.take(sender, now_ns);
        Ok(())
    }

    /// A message of the conversation was stored, or passed on.
    pub fn charge(&self, conversation: ConversationId, priority: Priority, now: Instant) {
        if priority != Priority::Emergency && is_group(conversation) {
            self.groups.take(conversation, self.since_began_ns(now));
        }
    }

    fn since_began_ns(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.began))
    }
}

impl<K: Eq + Hash> Table<K> {
    fn new(per_second: u32) -> Self {
        Self {
            per_second,
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Whether there is one more now, or how long until there is. A measure is what one second
    /// brings.
    fn look(&self, key: &K, now_ns: u64) -> Result<(), Duration> {
        let Some(each_ns) = self.each_ns() else {
            return Ok(());
        };
        let whole_at = self.shard(key).lock().get(key).copied().unwrap_or(0);
        // With one more taken it would be whole a second from now at the latest.
        let too_late = (whole_at + each_ns).saturating_sub(now_ns + NANOS_PER_SECOND);
        if whole_at <= now_ns || too_late == 0 {
            Ok(())
        } else {
            Err(Duration::from_nanos(too_late))
        }
    }

    fn take(&self, key: K, now_ns: u64) {
        let Some(each_ns) = self.each_ns() else {
            return;
        };
        let mut shard = self.shard(&key).lock();
        if shard.len() >= KEYS_PER_SHARD_MAX && !shard.contains_key(&key) {
            shard.retain(|_, whole_at| *whole_at > now_ns);
            if shard.len() >= KEYS_PER_SHARD_MAX {
                events::rate_not_kept();
                return;
            }
        }
        let whole_at = shard.entry(key).or_default();
        *whole_at = (*whole_at).max(now_ns) + each_ns;
    }

    fn each_ns(&self) -> Option<u64> {
        NANOS_PER_SECOND.checked_div(self.per_second.into())
    }

    fn shard(&self, key: &K) -> &Mutex<HashMap<K, u64>> {
        let hash = self.hasher.hash_one(key);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the remainder is below the number of parts"
        )]
        let number = (hash % SHARDS as u64) as usize;
        &self.shards[number]
    }
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

fn is_group(conversation: ConversationId) -> bool {
    matches!(conversation.kind(), ConversationKind::Group(_))
}

fn refused(of: &'static str, most: u32, wait: Duration) -> Refusal {
    events::rate_limited(of);
    let message = format!("more than {most} messages a second of one {of}");
    Refusal::new(ErrorCode::RateLimited, message).retry_after_ms(wait_ms(wait))
}

fn wait_ms(wait: Duration) -> u32 {
    let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
    wait_ms.saturating_add(1)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: AccountId = AccountId(1);
    const BEN: AccountId = AccountId(2);

    fn rates(account: u32, group: u32) -> (Rates, Instant) {
        let now = Instant::now();
        let config = RatesConfig {
            account_sends_per_second: account,
            group_sends_per_second: group,
        };
        (Rates::new(&config, now), now)
    }

    fn group() -> ConversationId {
        ConversationId::group(7)
    }

    /// How many of a thousand get through.
    fn through(
        rates: &Rates,
        sender: AccountId,
        conversation: ConversationId,
        now: Instant,
    ) -> u32 {
        let mut through = 0;
        for _ in 0..1000 {
            if rates
                .take(sender, conversation, Priority::Chat, now)
                .is_ok()
            {
                rates.charge(conversation, Priority::Chat, now);
                through += 1;
            }
        }
        through
    }

    #[test]
    fn an_account_has_a_second_of_it_at_once_and_then_its_rate() {
        let (rates, now) = rates(10, 0);
        assert_eq!(through(&rates, ANA, group(), now), 10);
        let refusal = rates
            .take(ANA, group(), Priority::Command, now)
            .unwrap_err();
        assert_eq!(refusal.code, ErrorCode::RateLimited);
        assert!((100..=102).contains(&refusal.retry_after_ms), "{refusal:?}");
        assert_eq!(through(&rates, BEN, group(), now), 10, "another account");
        let told = now + Duration::from_millis(refusal.retry_after_ms.into());
        assert_eq!(through(&rates, ANA, group(), told), 1);
        assert_eq!(
            through(&rates, ANA, group(), now + Duration::from_secs(60)),
            10
        );
    }

    #[test]
    fn a_group_has_one_measure_for_all_and_pairs_have_none() {
        let (rates, now) = rates(0, 20);
        assert_eq!(through(&rates, ANA, group(), now), 20);
        assert_eq!(through(&rates, BEN, group(), now), 0);
        let pair = ConversationId::pair(ANA, BEN);
        assert_eq!(through(&rates, ANA, pair, now), 1000);
        assert_eq!(through(&rates, ANA, ConversationId::group(8), now), 20);
    }

    #[test]
    fn who_is_refused_by_the_store_uses_nothing_of_the_group() {
        let (rates, now) = rates(0, 20);
        for _ in 0..1000 {
            rates.take(BEN, group(), Priority::Chat, now).unwrap();
        }
        assert_eq!(through(&rates, ANA, group(), now), 20);
    }

    #[test]
    fn an_emergency_is_never_held_up() {
        let (rates, now) = rates(1, 1);
        through(&rates, ANA, group(), now);
        for _ in 0..100 {
            rates.take(ANA, group(), Priority::Emergency, now).unwrap();
        }
    }

    #[test]
    fn without_a_limit_nothing_is_kept_and_with_one_it_is_bounded() {
        let (rates, now) = rates(0, 1);
        assert_eq!(
            through(&rates, ANA, ConversationId::pair(ANA, BEN), now),
            1000
        );
        assert!(
            rates
                .accounts
                .shards
                .iter()
                .all(|shard| shard.lock().is_empty())
        );
        let groups = SHARDS * KEYS_PER_SHARD_MAX * 2;
        for n in 1..=groups as u64 {
            rates.charge(ConversationId::group(n), Priority::Chat, now);
        }
        let kept = |rates: &Rates| -> usize {
            let shards = rates.groups.shards.iter();
            shards.map(|shard| shard.lock().len()).sum()
        };
        assert!(kept(&rates) <= SHARDS * KEYS_PER_SHARD_MAX);
        let later = now + Duration::from_secs(5);
        rates.charge(ConversationId::group(u64::MAX), Priority::Chat, later);
        assert!(
            kept(&rates) < SHARDS * KEYS_PER_SHARD_MAX,
            "the rest has made room"
        );
    }
}
