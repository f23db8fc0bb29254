//! A watched query: who meets a condition, as it changes.
//!
//! What the server pushes is a hint: a change that does not follow what is known here, a new
//! connection and the passing of a third of the lease are each answered by asking again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use protocol::kind::client as kind;
use protocol::wire::{RobotsWatched, WatchRobots};
use protocol::{AccountId, ConversationId};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::client::Client;
use crate::error::Error;

/// Pushes of one watch that wait for it. When full: they are forgotten, and it asks.
const PUSHES_MAX: usize = 64;

/// The pause after a question that failed.
const RETRY: Duration = Duration::from_millis(500);

/// What is pushed of watches, by their ids.
#[derive(Debug, Default)]
pub(crate) struct RobotNews {
    watched: Mutex<HashMap<Bytes, Vec<RobotsWatched>>>,
    arrived: Notify,
}

impl RobotNews {
    pub(crate) fn heard(&self, told: RobotsWatched) {
        let mut watched = self.watched.lock();
        if let Some(waiting) = watched.get_mut(&told.watch_id) {
            if waiting.len() >= PUSHES_MAX {
                // What then comes does not follow: it is asked.
                waiting.clear();
            }
            waiting.push(told);
            drop(watched);
            self.arrived.notify_waiters();
        }
    }

    fn take(&self, id: &Bytes) -> Vec<RobotsWatched> {
        let mut watched = self.watched.lock();
        watched.get_mut(id).map(std::mem::take).unwrap_or_default()
    }
}

/// A change of who meets a condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RobotChange {
    /// Who meets it and did not.
    pub entered: Vec<AccountId>,
    /// Who met it and does not.
    pub left: Vec<AccountId>,
}

/// Who meets a condition. Dropped, it is no longer watched.
#[derive(Debug)]
pub struct RobotWatch {
    client: Client,
    id: Bytes,
    query: String,
    group: Option<ConversationId>,
    known: Known,
    lease: Duration,
    asked_at: Instant,
    session: watch::Receiver<u64>,
}

/// What is known of the set.
#[derive(Debug, Default)]
struct Known {
    generation: u64,
    revision: u64,
    robots: BTreeSet<AccountId>,
}

/// What becomes of something that was told.
#[derive(Debug, PartialEq, Eq)]
enum Learnt {
    /// The set has changed so, or not at all.
    Change(RobotChange),
    /// It does not follow what is known.
    Gap,
}

impl Known {
    fn learn(&mut self, told: &RobotsWatched) -> Learnt {
        let ids = |ids: &[u64]| ids.iter().copied().map(AccountId).collect::<Vec<_>>();
        let is_ours = self.generation == told.generation;
        if told.from_revision == 0 {
            let robots: BTreeSet<_> = ids(&told.entered).into_iter().collect();
            let change = RobotChange {
                entered: robots.difference(&self.robots).copied().collect(),
                left: self.robots.difference(&robots).copied().collect(),
            };
            (self.generation, self.revision) = (told.generation, told.revision);
            self.robots = robots;
            return Learnt::Change(change);
        }
        if is_ours && told.revision <= self.revision {
            // Told before, or what is known is what there is.
            return Learnt::Change(RobotChange::default());
        }
        if !is_ours || told.from_revision != self.revision {
            return Learnt::Gap;
        }
        self.revision = told.revision;
        let (entered, left) = (ids(&told.entered), ids(&told.left));
        for robot in &left {
            self.robots.remove(robot);
        }
        self.robots.extend(&entered);
        Learnt::Change(RobotChange { entered, left })
    }
}

impl RobotChange {
    fn is_none(&self) -> bool {
        self.entered.is_empty() && self.left.is_empty()
    }

    /// This one and then that one.
    fn then(&mut self, next: Self) {
        for robot in next.entered {
            match self.left.iter().position(|left| *left == robot) {
                Some(at) => drop(self.left.swap_remove(at)),
                None => self.entered.push(robot),
            }
        }
        for robot in next.left {
            match self.entered.iter().position(|entered| *entered == robot) {
                Some(at) => drop(self.entered.swap_remove(at)),
                None => self.left.push(robot),
            }
        }
    }
}

impl RobotWatch {
    pub(super) async fn begin(
        client: Client,
        query: &str,
        group: Option<ConversationId>,
    ) -> Result<Self, Error> {
        let mut session = client.shared().sessions.subscribe();
        session.mark_unchanged();
        let id = client.new_message_id().to_bytes();
        let news = &client.shared().robots;
        news.watched.lock().insert(id.clone(), Vec::new());
        let mut watch = Self {
            client,
            id,
            query: query.to_owned(),
            group,
            known: Known::default(),
            lease: Duration::ZERO,
            asked_at: Instant::now(),
            session,
        };
        watch.ask().await?;
        Ok(watch)
    }

    /// Who meets the condition, as last heard.
    #[must_use]
    pub const fn robots(&self) -> &BTreeSet<AccountId> {
        &self.known.robots
    }

    /// Waits until somebody enters or leaves. Cancel-safe.
    ///
    /// # Errors
    /// When the client is closed, or the server refuses for good.
    pub async fn changed(&mut self) -> Result<RobotChange, Error> {
        loop {
            let shared = Arc::clone(self.client.shared());
            let news = shared.robots.arrived.notified();
            tokio::pin!(news);
            // Before looking, so that nothing comes in between.
            news.as_mut().enable();
            let (change, is_whole) = self.hear();
            if !change.is_none() {
                return Ok(change);
            }
            let renew_at = self.asked_at + self.lease / 3;
            if is_whole {
                tokio::select! {
                    () = news => continue,
                    changed = self.session.changed() => {
                        if changed.is_err() || *self.session.borrow_and_update() == u64::MAX {
                            return Err(Error::Closed);
                        }
                        if shared.session().is_none() {
                            continue;
                        }
                    }
                    () = tokio::time::sleep_until(renew_at) => {}
                }
            }
            match self.ask().await {
                Ok(change) if change.is_none() => {}
                Ok(change) => return Ok(change),
                Err(error @ (Error::Refused(_) | Error::Closed)) => return Err(error),
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// Takes what has come, and says whether nothing is missing.
    fn hear(&mut self) -> (RobotChange, bool) {
        let mut all = RobotChange::default();
        for told in self.client.shared().robots.take(&self.id) {
            match self.known.learn(&told) {
                Learnt::Change(change) => all.then(change),
                Learnt::Gap => {
                    // Whatever is returned before it, it is asked at once.
                    self.lease = Duration::ZERO;
                    return (all, false);
                }
            }
        }
        (all, true)
    }

    async fn ask(&mut self) -> Result<RobotChange, Error> {
        let request = self.request();
        self.asked_at = Instant::now();
        let told: RobotsWatched = self.client.request(kind::WATCH_ROBOTS, &request).await?;
        self.lease = Duration::from_millis(told.lease_ms.into());
        match self.known.learn(&told) {
            Learnt::Change(change) => Ok(change),
            // It is of another process than what it was asked with: the next question finds out.
            Learnt::Gap => {
                self.known.generation = 0;
                Ok(RobotChange::default())
            }
        }
    }

    fn request(&self) -> WatchRobots {
        WatchRobots {
            watch_id: self.id.clone(),
            query: self.query.clone(),
            group_id: self.group.map_or_else(Bytes::new, ConversationId::to_bytes),
            generation: self.known.generation,
            revision: self.known.revision,
            end: false,
        }
    }
}

impl Drop for RobotWatch {
    fn drop(&mut self) {
        let news = &self.client.shared().robots;
        news.watched.lock().remove(&self.id);
        let end = WatchRobots {
            end: true,
            ..self.request()
        };
        let client = self.client.clone();
        // Its lease ends it anyway.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let told: Result<RobotsWatched, Error> =
                    client.request(kind::WATCH_ROBOTS, &end).await;
                drop(told);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(of: (u64, u64, u64), entered: &[u64], left: &[u64]) -> RobotsWatched {
        let (generation, from_revision, revision) = of;
        RobotsWatched {
            generation,
            from_revision,
            revision,
            entered: entered.to_vec(),
            left: left.to_vec(),
            ..RobotsWatched::default()
        }
    }

    fn change(entered: &[u64], left: &[u64]) -> RobotChange {
        let ids = |ids: &[u64]| ids.iter().copied().map(AccountId).collect();
        RobotChange {
            entered: ids(entered),
            left: ids(left),
        }
    }

    #[test]
    fn what_follows_is_learnt_and_what_does_not_is_asked() {
        let mut known = Known::default();
        let whole = known.learn(&told((5, 0, 1), &[1, 2], &[]));
        assert_eq!(whole, Learnt::Change(change(&[1, 2], &[])));
        let next = told((5, 1, 2), &[3], &[1]);
        assert_eq!(known.learn(&next), Learnt::Change(change(&[3], &[1])));
        assert_eq!(known.learn(&next), Learnt::Change(RobotChange::default()));
        assert_eq!(known.learn(&told((5, 3, 4), &[9], &[])), Learnt::Gap);
        assert_eq!(known.learn(&told((6, 2, 3), &[9], &[])), Learnt::Gap);
        let whole = known.learn(&told((6, 0, 7), &[2, 9], &[]));
        assert_eq!(whole, Learnt::Change(change(&[9], &[3])));
        assert_eq!(known.robots, [2, 9].map(AccountId).into());
    }

    #[test]
    fn there_and_back_is_no_change() {
        let mut all = change(&[1], &[2]);
        all.then(change(&[2, 3], &[1]));
        assert_eq!(all, change(&[3], &[]));
    }

    #[test]
    fn only_what_is_watched_is_kept_and_that_is_bounded() {
        let news = RobotNews::default();
        let push = told((1, 1, 2), &[], &[]);
        news.heard(push.clone());
        assert!(news.take(&push.watch_id).is_empty());
        news.watched
            .lock()
            .insert(push.watch_id.clone(), Vec::new());
        for _ in 0..=PUSHES_MAX {
            news.heard(push.clone());
        }
        assert_eq!(news.take(&push.watch_id).len(), 1);
    }
}
