//! Who watches which condition, and what they are told.
//!
//! Pure: it takes `now`. A watch is a lease that its client renews; what changes between two looks
//! becomes one change, and a robot that comes and goes between them is not told of. Not here: who
//! may watch, and how it is told.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use protocol::limits::{WATCH_LEASE_MS, WATCHED_ROBOTS_MAX};
use protocol::wire::RobotsWatched;
use protocol::{AccountId, ClientMessageId, ErrorCode, Refusal};
use tokio::time::Instant;

use super::book::Book;
use super::filter::Filter;

/// Watches of one account; one more is refused.
pub const PER_ACCOUNT_MAX: usize = 16;

/// Watches of this process; one more is refused.
pub const WATCHES_MAX: usize = 1024;

/// Conditions that are decided in one look, so that it takes no longer than a tenth of a second or
/// so. The other robots have their turn in the next.
pub const DECIDED_PER_LOOK_MAX: usize = 20_000;

/// Whose, and which.
pub type WatchKey = (AccountId, ClientMessageId);

/// All watches.
#[derive(Debug)]
pub struct Watches {
    /// Names this process.
    generation: u64,
    watches: HashMap<WatchKey, Watch>,
}

#[derive(Debug)]
struct Watch {
    filter: Filter,
    /// Robots of a group alone.
    among: Option<HashSet<AccountId>>,
    members: BTreeSet<AccountId>,
    revision: u64,
    lease_until: Instant,
}

/// What is watched.
#[derive(Debug)]
pub struct Wanted {
    /// The condition.
    pub filter: Filter,
    /// Robots of a group alone.
    pub among: Option<HashSet<AccountId>>,
    /// Who meets it now.
    pub members: BTreeSet<AccountId>,
    /// What the client has: generation and revision.
    pub has: (u64, u64),
}

impl Watches {
    /// None yet.
    #[must_use]
    pub fn new(generation: u64) -> Self {
        Self {
            generation,
            watches: HashMap::new(),
        }
    }

    /// Whether nobody watches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.watches.len()
    }

    /// Begins a watch or renews it; the answer is the whole set, unless the client has it.
    ///
    /// # Errors
    /// *Limit reached*: too many watches, or robots that meet the condition.
    pub fn renew(
        &mut self,
        key: WatchKey,
        wanted: Wanted,
        now: Instant,
    ) -> Result<RobotsWatched, Refusal> {
        let Wanted {
            filter,
            among,
            members,
            has,
        } = wanted;
        if members.len() > WATCHED_ROBOTS_MAX {
            return Err(limit(format!(
                "query: {} robots meet it, and at most {WATCHED_ROBOTS_MAX} can be watched",
                members.len()
            )));
        }
        if !self.watches.contains_key(&key) {
            self.check_room(key.0)?;
        }
        let before = self.watches.remove(&key);
        let revision = match &before {
            Some(before) if before.members == members => before.revision,
            Some(before) => before.revision + 1,
            None => 1,
        };
        let has_all = before.is_some() && has == (self.generation, revision);
        let watch = Watch {
            filter,
            among,
            members,
            revision,
            lease_until: now + Duration::from_millis(WATCH_LEASE_MS.into()),
        };
        let entered = if has_all {
            Vec::new()
        } else {
            ids(&watch.members)
        };
        let from = if has_all { revision } else { 0 };
        let answer = self.told(key.1, &watch, from, (entered, Vec::new()));
        self.watches.insert(key, watch);
        Ok(answer)
    }

    fn check_room(&self, account: AccountId) -> Result<(), Refusal> {
        if self.watches.len() >= WATCHES_MAX {
            let why = format!("watches: at most {WATCHES_MAX} at once");
            return Err(limit(why));
        }
        let own = self.watches.keys().filter(|(whose, _)| *whose == account);
        if own.count() >= PER_ACCOUNT_MAX {
            let why = format!("watches: at most {PER_ACCOUNT_MAX} of one account");
            return Err(limit(why));
        }
        Ok(())
    }

    /// A watch ends.
    pub fn end(&mut self, key: WatchKey) {
        self.watches.remove(&key);
    }

    /// Those whose lease has run out are forgotten; how many.
    pub fn expire(&mut self, now: Instant) -> usize {
        let before = self.watches.len();
        self.watches.retain(|_, watch| watch.lease_until > now);
        before - self.watches.len()
    }

    /// How many robots may be looked at again at once.
    #[must_use]
    pub fn robots_per_look(&self) -> usize {
        DECIDED_PER_LOOK_MAX / self.watches.len().max(1)
    }

    /// These robots may have changed: who is to be told what.
    pub fn look(
        &mut self,
        changed: &[AccountId],
        book: &Book,
        now: Instant,
    ) -> Vec<(AccountId, RobotsWatched)> {
        let mut news = Vec::new();
        let mut moved = Vec::new();
        for (key, watch) in &mut self.watches {
            let (mut entered, mut left) = (Vec::new(), Vec::new());
            for account in changed {
                let is_in = meets(&watch.filter, watch.among.as_ref(), *account, book, now);
                if is_in && watch.members.insert(*account) {
                    entered.push(account.0);
                } else if !is_in && watch.members.remove(account) {
                    left.push(account.0);
                }
            }
            if !entered.is_empty() || !left.is_empty() {
                watch.revision += 1;
                moved.push((*key, entered, left));
            }
        }
        for ((account, id), entered, left) in moved {
            if let Some(watch) = self.watches.get(&(account, id)) {
                let told = self.told(id, watch, watch.revision - 1, (entered, left));
                news.push((account, told));
            }
        }
        news
    }

    fn told(
        &self,
        id: ClientMessageId,
        watch: &Watch,
        from_revision: u64,
        (entered, left): (Vec<u64>, Vec<u64>),
    ) -> RobotsWatched {
        RobotsWatched {
            watch_id: Bytes::copy_from_slice(id.as_bytes()),
            generation: self.generation,
            from_revision,
            revision: watch.revision,
            entered,
            left,
            members: u32::try_from(watch.members.len()).unwrap_or(u32::MAX),
            lease_ms: WATCH_LEASE_MS,
        }
    }
}

fn meets(
    filter: &Filter,
    among: Option<&HashSet<AccountId>>,
    account: AccountId,
    book: &Book,
    now: Instant,
) -> bool {
    among.is_none_or(|among| among.contains(&account))
        && book
            .robot(account)
            .is_some_and(|robot| filter.is_met(&robot.at(now)))
}

fn ids(accounts: &BTreeSet<AccountId>) -> Vec<u64> {
    accounts.iter().map(|account| account.0).collect()
}

fn limit(why: String) -> Refusal {
    Refusal::new(ErrorCode::LimitReached, why)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, card_row, heard_live};
    use super::*;

    const ASKER: AccountId = AccountId(99);

    fn key(n: u8) -> WatchKey {
        (ASKER, ClientMessageId::from_slice(&[n; 16]).unwrap())
    }

    fn among(query: &str, has: (u64, u64), book: &Book, of: Option<&[u64]>) -> Wanted {
        let filter = Filter::compile(query).unwrap();
        let among: Option<HashSet<_>> = of.map(|of| of.iter().copied().map(AccountId).collect());
        let now = Instant::now();
        let is_in = |id: &AccountId| meets(&filter, among.as_ref(), *id, book, now);
        Wanted {
            members: book.ids().into_iter().filter(is_in).collect(),
            filter,
            among,
            has,
        }
    }

    fn wanted(query: &str, has: (u64, u64), book: &Book) -> Wanted {
        among(query, has, book, None)
    }

    fn book(now: Instant) -> Book {
        let mut book = Book::default();
        for account in 1..=3 {
            book.cards(card_row(account, &format!("lift-{account}"), account));
            book.live(R, heard_live(account, "battery", 80.0, 0), now);
        }
        book.take_changed(usize::MAX);
        book
    }

    #[test]
    fn a_robot_enters_and_leaves_as_it_changes() {
        let now = Instant::now();
        let (mut watches, mut book) = (Watches::new(5), book(now));
        let whole = watches.renew(key(1), wanted("battery > 20", (0, 0), &book), now);
        let whole = whole.unwrap();
        assert_eq!(whole.entered, [1, 2, 3]);
        assert_eq!((whole.from_revision, whole.revision), (0, 1));
        book.live(R, heard_live(2, "battery", 10.0, 0), now);
        book.live(R, heard_live(1, "battery", 70.0, 0), now);
        let changed = book.take_changed(usize::MAX);
        let news = watches.look(&changed, &book, now);
        assert_eq!(news.len(), 1);
        let (to, told) = &news[0];
        assert_eq!(
            (*to, &told.entered[..], &told.left[..]),
            (ASKER, &[][..], &[2][..])
        );
        assert_eq!((told.from_revision, told.revision, told.members), (1, 2, 2));
        // There and back between two looks is no news.
        book.live(R, heard_live(1, "battery", 1.0, 0), now);
        book.live(R, heard_live(1, "battery", 70.0, 0), now);
        let changed = book.take_changed(usize::MAX);
        assert!(watches.look(&changed, &book, now).is_empty());
    }

    #[test]
    fn who_has_all_is_told_nothing_and_others_the_whole() {
        let now = Instant::now();
        let (mut watches, book) = (Watches::new(5), book(now));
        let mut renew = |has| {
            let renewed = watches.renew(key(1), wanted("true", has, &book), now);
            renewed.unwrap()
        };
        let first = renew((0, 0));
        let again = renew((first.generation, first.revision));
        assert!(again.entered.is_empty());
        assert_eq!((again.from_revision, again.members), (again.revision, 3));
        assert_eq!(renew((first.generation, 9)).entered.len(), 3);
        assert_eq!(
            renew((4, first.revision)).entered.len(),
            3,
            "of another process"
        );
    }

    #[test]
    fn a_watch_is_a_lease_and_there_are_not_too_many() {
        let now = Instant::now();
        let (mut watches, book) = (Watches::new(5), book(now));
        for n in 0..PER_ACCOUNT_MAX {
            let key = key(u8::try_from(n + 1).unwrap());
            watches
                .renew(key, wanted("true", (0, 0), &book), now)
                .unwrap();
        }
        let one_more = watches.renew(key(99), wanted("true", (0, 0), &book), now);
        assert_eq!(one_more.unwrap_err().code, ErrorCode::LimitReached);
        watches.end(key(1));
        assert_eq!(watches.len(), PER_ACCOUNT_MAX - 1);
        let later = now + Duration::from_millis(u64::from(WATCH_LEASE_MS) + 1);
        assert_eq!(watches.expire(later), PER_ACCOUNT_MAX - 1);
        assert!(watches.is_empty());
    }

    #[test]
    fn a_group_has_its_own_robots_alone() {
        let now = Instant::now();
        let (mut watches, book) = (Watches::new(5), book(now));
        let two = among("true", (0, 0), &book, Some(&[2, 50]));
        let whole = watches.renew(key(1), two, now).unwrap();
        assert_eq!(whole.entered, [2]);
    }
}
