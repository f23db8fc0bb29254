//! Keeps the order of one sender's messages in one conversation when the first of them has to wait
//! for something that the later ones would no longer wait for.
//!
//! A lane exists only while somebody is in it. Those who come meanwhile queue up behind.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as Turns, OwnedMutexGuard};

use crate::members::MemberKey;

/// All lanes that somebody is in. They are as many as requests are at work, which links bound.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: Mutex<HashMap<MemberKey, Lane>>,
}

#[derive(Debug, Default)]
struct Lane {
    /// Fair: it is had in the order in which it was first asked for.
    turns: Arc<Turns<()>>,
    inside: usize,
}

/// A turn in a lane; the next one's begins when it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    lanes: &'a Lanes,
    key: MemberKey,
    held: Option<OwnedMutexGuard<()>>,
}

impl Lanes {
    /// Whether nobody is in this lane: then whoever does not have to wait need not enter it.
    #[must_use]
    pub fn is_free(&self, key: &MemberKey) -> bool {
        !self.lanes.lock().contains_key(key)
    }

    /// Queues up at the first poll, and waits for its turn. Cancel-safe: cancelled, it has left the
    /// queue.
    pub async fn enter(&self, key: MemberKey) -> Turn<'_> {
        let turns = {
            let mut lanes = self.lanes.lock();
            let lane = lanes.entry(key).or_default();
            lane.inside += 1;
            Arc::clone(&lane.turns)
        };
        let mut turn = Turn {
            lanes: self,
            key,
            held: None,
        };
        turn.held = Some(turns.lock_owned().await);
        turn
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        drop(self.held.take());
        let mut lanes = self.lanes.lanes.lock();
        if let Some(lane) = lanes.get_mut(&self.key) {
            lane.inside -= 1;
            if lane.inside == 0 {
                lanes.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::poll;
    use protocol::{AccountId, ConversationId};
    use std::pin::pin;

    fn key(account: u64) -> MemberKey {
        (ConversationId::group(7), AccountId(account))
    }

    #[tokio::test]
    async fn turns_come_in_the_order_of_entering_and_leave_nothing_behind() {
        let lanes = Lanes::default();
        let first = lanes.enter(key(1)).await;
        let mut second = pin!(lanes.enter(key(1)));
        let mut third = pin!(lanes.enter(key(1)));
        assert!(poll!(second.as_mut()).is_pending());
        assert!(poll!(third.as_mut()).is_pending());
        assert!(!lanes.is_free(&key(1)));
        assert!(lanes.is_free(&key(2)), "lanes are apart");
        drop(first);
        assert!(poll!(third.as_mut()).is_pending());
        drop(second.await);
        drop(third.await);
        assert!(lanes.lanes.lock().is_empty());
    }

    #[tokio::test]
    async fn who_comes_with_an_empty_budget_is_queued_all_the_same() {
        let lanes = Lanes::default();
        let first = lanes.enter(key(1)).await;
        while poll!(pin!(tokio::task::consume_budget())).is_ready() {}
        let mut second = pin!(lanes.enter(key(1)));
        assert!(poll!(second.as_mut()).is_pending());
        tokio::task::yield_now().await;
        let mut third = pin!(lanes.enter(key(1)));
        assert!(poll!(third.as_mut()).is_pending());
        drop(first);
        assert!(poll!(third.as_mut()).is_pending(), "it overtook the second");
        drop(second.await);
        drop(third.await);
    }

    #[tokio::test]
    async fn who_gives_up_does_not_hold_the_lane() {
        let lanes = Lanes::default();
        let first = lanes.enter(key(1)).await;
        {
            let mut second = pin!(lanes.enter(key(1)));
            assert!(poll!(second.as_mut()).is_pending());
        }
        let mut third = pin!(lanes.enter(key(1)));
        assert!(poll!(third.as_mut()).is_pending());
        drop(first);
        drop(third.await);
        assert!(lanes.is_free(&key(1)));
    }
}
