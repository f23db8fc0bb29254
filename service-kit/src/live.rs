//! Which processes of a tier are live, and to which of them a key belongs.
//!
//! Pure. Not here: how a process learns the live set, and the links to its members.

use std::fmt;

/// One process of a tier, for as long as it lives: a process that is started anew is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u64);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl InstanceId {
    /// The only process of a tier that nobody announces.
    pub const SOLE: Self = Self(0);
}

/// A live process, and where the other tiers (of a gateway: the clients) reach it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance {
    /// Which it is.
    pub id: InstanceId,
    /// `HOST:PORT`.
    pub address: String,
}

/// The live processes of a tier, by rising id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveSet {
    instances: Vec<Instance>,
}

impl LiveSet {
    /// Of these, in any order; of two with one id the first counts.
    #[must_use]
    pub fn new(mut instances: Vec<Instance>) -> Self {
        instances.sort_by_key(|instance| instance.id);
        instances.dedup_by_key(|instance| instance.id);
        Self { instances }
    }

    /// The one process of a tier that is not asked whether it lives.
    #[must_use]
    pub fn fixed(address: String) -> Self {
        Self::new(vec![Instance {
            id: InstanceId::SOLE,
            address,
        }])
    }

    /// All of them, by rising id.
    pub fn iter(&self) -> impl Iterator<Item = &Instance> {
        self.instances.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    /// To whom this key belongs, by rendezvous hashing: everybody with the same set says the same,
    /// and when the set changes only the keys of those who came or went move.
    #[must_use]
    pub fn owner(&self, key: &[u8]) -> Option<InstanceId> {
        let key = fnv1a(key);
        let weight = |instance: &&Instance| mix(key ^ mix(instance.id.0));
        self.instances.iter().max_by_key(weight).map(|it| it.id)
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): the same in every build, which the standard hashers are not.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood): every bit of the input moves every bit.
const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u64]) -> LiveSet {
        let instance = |id: &u64| Instance {
            id: InstanceId(*id),
            address: format!("127.0.0.1:{id}"),
        };
        LiveSet::new(ids.iter().map(instance).collect())
    }

    fn owners(set: &LiveSet) -> Vec<u64> {
        let owner = |key: u64| set.owner(&key.to_be_bytes()).unwrap().0;
        (0..3_000).map(owner).collect()
    }

    #[test]
    fn everybody_has_a_fair_share_whatever_the_order() {
        let owned = owners(&set(&[3, 1, 2]));
        assert_eq!(owned, owners(&set(&[1, 2, 3])));
        for id in 1..=3 {
            let share = owned.iter().filter(|owner| **owner == id).count();
            assert!((850..1150).contains(&share), "{id} has {share}");
        }
    }

    #[test]
    fn only_the_keys_of_who_went_move() {
        let (before, after) = (owners(&set(&[1, 2, 3])), owners(&set(&[1, 3])));
        for (before, after) in before.into_iter().zip(after) {
            assert!(before == 2 || before == after);
        }
    }

    #[test]
    fn one_process_owns_everything_and_none_owns_nothing() {
        let one = LiveSet::fixed("db:1".into());
        assert_eq!(one.owner(b"any"), Some(InstanceId(0)));
        assert_eq!(LiveSet::default().owner(b"any"), None);
    }
}
