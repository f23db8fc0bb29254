//! The registry of capabilities: which robots can do what, and who is told when that changes.
//!
//! Cards are the store's, live attributes are in the memory of the router that each robot belongs
//! to; a process of logic reads what is new of both before it answers, so that it need not be told,
//! and two of them answer the same. Read in this order. Pure: [`scan`] and [`filter`] are the
//! language, [`book`] what is known of robots, [`watch`] who is told of changes. Here: the shell.

pub mod book;
pub mod filter;
pub mod scan;
pub mod watch;

mod among;
#[cfg(test)]
mod testing;

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use prost::Message as _;
use protocol::kind::{client, method};
use protocol::limits::{FRAME_BYTES_MAX, ROBOTS_PER_PAGE_MAX};
use protocol::wire::internal::{CardPage, LivePage, PassLive, TellAccounts};
use protocol::wire::{
    LiveSet, QueryRobots, RobotSelection, RobotsFound, RobotsWatched, SetLive, WatchRobots,
};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Frame, Refusal};
use service_kit::drain::Drain;
use service_kit::peers::Peers;
use service_kit::rpc::{self, Link};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior};

use self::book::Book;
use self::filter::Filter;
use self::watch::{Wanted, Watches};
use crate::directory::Directory;
use crate::events;
use crate::members::Members;
use crate::permission::{self, Action};
use crate::store::{Caller, Deadline, Store, To};

/// How often changes are looked for: what a watcher is told is so old at most, and conflated.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How often what is too old is looked for, in looks: once a second.
const LOOKS_PER_EXPIRY: u32 = 4;

/// How long a look waits for stores and routers.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Questions that are decided at once: they take a thread each. Others wait.
const DECIDING_MAX: usize = 2;

/// The robots of one page together, in bytes; at least one is always returned.
const PAGE_BYTES_MAX: usize = FRAME_BYTES_MAX / 2;

/// Asks and watches.
#[derive(Debug)]
pub struct Registry {
    fleet: String,
    store: Store,
    routers: Peers,
    directory: Arc<Directory>,
    members: Arc<Members>,
    book: Arc<RwLock<Book>>,
    watches: Mutex<Watches>,
    /// When what is new was last asked for: whoever waited meanwhile need not ask again.
    read_at: tokio::sync::Mutex<Option<Instant>>,
    deciding: Semaphore,
    /// Held while a set is decided and kept, and while changes are looked for: no change of a robot
    /// falls between the two.
    looking: tokio::sync::Mutex<()>,
}

impl Registry {
    /// Knows no robot yet.
    #[must_use]
    pub fn new(
        fleet: String,
        (store, routers): (Store, Peers),
        directory: Arc<Directory>,
        members: Arc<Members>,
    ) -> Self {
        Self {
            fleet,
            store,
            routers,
            directory,
            members,
            book: Arc::default(),
            // A fresh name, which need not be a secret.
            watches: Mutex::new(Watches::new(RandomState::new().hash_one("watches") | 1)),
            read_at: tokio::sync::Mutex::default(),
            deciding: Semaphore::new(DECIDING_MAX),
            looking: tokio::sync::Mutex::default(),
        }
    }

    /// The stores may have other cards.
    pub fn forget(&self) {
        self.book.write().forget_cards();
    }

    /// A robot says what changes often.
    ///
    /// # Errors
    /// What makes no sense, and who may not.
    pub async fn set_live(&self, caller: Caller, live: SetLive) -> Result<LiveSet, Refusal> {
        protocol::card::check_live(&live)?;
        let robot = self.directory.one(caller.account, caller.deadline).await?;
        permission::check(Action::DeclareCapabilities, robot.kind, None)?;
        let pass = PassLive {
            account_id: caller.account.0,
            set: live.set,
            unset: live.unset,
        };
        self.routers
            .link_of(&caller.account.0.to_be_bytes())?
            .try_notify(method::PASS_LIVE, rpc::encode(&pass))?;
        events::live_said();
        Ok(LiveSet {})
    }

    /// A page of the robots that meet a condition.
    ///
    /// # Errors
    /// *Query* with the place of a fault; who may not ask.
    pub async fn query(&self, caller: Caller, asked: QueryRobots) -> Result<RobotsFound, Refusal> {
        let filter = Filter::compile(&asked.query)?;
        let among = self.scope(caller, &asked.group_id).await?;
        self.read(caller.deadline).await?;
        let now = Instant::now();
        let (met, of) = self.decide(filter, among, now).await?;
        let limit = match asked.limit {
            0 => ROBOTS_PER_PAGE_MAX,
            asked => asked.min(ROBOTS_PER_PAGE_MAX),
        };
        let mut found = RobotsFound {
            matched: u32::try_from(met.len()).unwrap_or(u32::MAX),
            asked: of,
            ..RobotsFound::default()
        };
        let mut bytes = 0;
        let book = self.book.read();
        let after = AccountId(asked.after_account_id);
        for id in met.into_iter().filter(|id| *id > after) {
            let Some(robot) = book.robot(id) else {
                continue;
            };
            let robot = robot.to_wire(now);
            bytes += robot.encoded_len();
            let is_full = found.robots.len() >= limit as usize || bytes > PAGE_BYTES_MAX;
            if is_full && !found.robots.is_empty() {
                found.more = true;
                break;
            }
            found.robots.push(robot);
        }
        Ok(found)
    }

    /// Begins, renews or ends a watch.
    ///
    /// # Errors
    /// As a query's, and what is too much to be watched.
    pub async fn watch(
        &self,
        caller: Caller,
        asked: WatchRobots,
    ) -> Result<RobotsWatched, Refusal> {
        let key = (
            caller.account,
            ClientMessageId::from_slice(&asked.watch_id)?,
        );
        if asked.end {
            self.watches.lock().end(key);
            return Ok(RobotsWatched {
                watch_id: asked.watch_id,
                ..RobotsWatched::default()
            });
        }
        let filter = Filter::compile(&asked.query)?;
        if let Some(fault) = filter.age() {
            let why = "query: a watch does not ask for an age: it changes by itself";
            return Err(Refusal::query(why, fault));
        }
        let among = self.scope(caller, &asked.group_id).await?;
        let _looking = self.looking.lock().await;
        self.read(caller.deadline).await?;
        let deciding = self.decide(filter.clone(), among.clone(), Instant::now());
        let (met, _) = deciding.await?;
        let wanted = Wanted {
            filter,
            among,
            members: met.into_iter().collect(),
            has: (asked.generation, asked.revision),
        };
        let mut watches = self.watches.lock();
        let answer = watches.renew(key, wanted, Instant::now());
        events::watches(watches.len());
        answer
    }

    /// The robots that meet a condition, by rising id, and of how many.
    async fn decide(
        &self,
        filter: Filter,
        among: Option<HashSet<AccountId>>,
        now: Instant,
    ) -> Result<(Vec<AccountId>, u32), Refusal> {
        let turn = self.deciding.acquire().await;
        let _turn = turn.map_err(|_| Refusal::internal("nothing is decided any more"))?;
        let book = Arc::clone(&self.book);
        let deciding = tokio::task::spawn_blocking(move || {
            let mut of = 0;
            let ids = book.read().ids();
            let is_met = |id: &AccountId| {
                if among.as_ref().is_some_and(|among| !among.contains(id)) {
                    return false;
                }
                of += 1;
                // Robot by robot: whoever has news of them does not wait for the end.
                let robot = book.read().robot(*id);
                robot.is_some_and(|robot| filter.is_met(&robot.at(now)))
            };
            let met: Vec<_> = ids.into_iter().filter(is_met).collect();
            (met, of)
        });
        let decided = deciding.await;
        decided.map_err(|_| Refusal::internal("a query was not decided"))
    }

    /// All robots that meet the condition of a selection, for one who may ask.
    ///
    /// # Errors
    /// As a query's.
    pub(crate) async fn meeting(
        &self,
        caller: Caller,
        selection: &RobotSelection,
    ) -> Result<Vec<AccountId>, Refusal> {
        let filter = Filter::compile(&selection.query)?;
        let among = self.scope(caller, &selection.group_id).await?;
        self.read(caller.deadline).await?;
        let (met, _) = self.decide(filter, among, Instant::now()).await?;
        Ok(met)
    }

    /// A link to a router.
    pub(crate) fn any_router(&self) -> Result<Link, Refusal> {
        self.routers.any_link(&[])
    }

    /// The robots of a group that the caller is in, or `None`: all, if it may ask all.
    async fn scope(
        &self,
        caller: Caller,
        group_id: &[u8],
    ) -> Result<Option<HashSet<AccountId>>, Refusal> {
        if group_id.is_empty() {
            let asker = self.directory.one(caller.account, caller.deadline).await?;
            permission::check(Action::QueryRobots, asker.kind, None)?;
            return Ok(None);
        }
        let group = ConversationId::from_slice(group_id)?;
        let key = (group, caller.account);
        let standing = self.members.ask(key, caller.deadline).await?;
        permission::check_standing(Action::QueryMembers, standing)?;
        let members = among::members(&self.store, group, caller.deadline).await?;
        Ok(Some(members))
    }

    /// Reads what is new. What was read since this was asked is new enough.
    async fn read(&self, deadline: Deadline) -> Result<(), Refusal> {
        let asked_at = Instant::now();
        let mut read_at = self.read_at.lock().await;
        if read_at.is_some_and(|at| at > asked_at) {
            return Ok(());
        }
        let begun_at = Instant::now();
        loop {
            let wanted = self.book.read().cards_wanted(&self.fleet);
            let answer = self
                .store
                .ask(To::Any(&[]), method::CARDS_SINCE, &wanted, deadline);
            let page: CardPage = answer.await?;
            let more = page.more;
            self.book.write().cards(page);
            if !more {
                break;
            }
        }
        self.hear(deadline).await;
        *read_at = Some(begun_at);
        if self.book.read().is_full() {
            let why = format!("robots: more than the {} that are kept", book::ROBOTS_MAX);
            return Err(Refusal::new(ErrorCode::LimitReached, why));
        }
        Ok(())
    }

    /// A router that does not answer has nothing new: what it said before grows old.
    async fn hear(&self, deadline: Deadline) {
        let routers = self.routers.ids();
        self.book.write().routers(&routers);
        for router in routers {
            let Some(link) = self.routers.link(router).filter(|link| link.is_up()) else {
                continue;
            };
            loop {
                let wanted = rpc::encode(&self.book.read().live_wanted(router));
                let answer = link.call(method::LIVE_SINCE, wanted, deadline.remaining());
                let Ok(Ok(page)) = answer.await.map(LivePage::decode) else {
                    events::router_not_heard();
                    break;
                };
                let more = page.more;
                self.book.write().live(router, page, Instant::now());
                if !more {
                    break;
                }
            }
        }
    }

    /// Tells watchers what changes, until the drain.
    pub async fn keep_up(&self, drain: Drain) {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut count = 0_u32;
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = drain.draining() => return,
            }
            count = count.wrapping_add(1);
            if count.is_multiple_of(LOOKS_PER_EXPIRY) {
                self.book.write().expire(Instant::now());
            }
            self.look().await;
        }
    }

    async fn look(&self) {
        let expired = self.watches.lock().expire(Instant::now());
        if expired > 0 {
            events::watches_expired(expired);
        }
        if self.watches.lock().is_empty() {
            // Nobody is to be told.
            self.book.write().take_changed(usize::MAX);
            return;
        }
        let _looking = self.looking.lock().await;
        if self.read(Deadline::after(LOOK_TIMEOUT)).await.is_err() {
            // What is new is found in the next look.
            return;
        }
        let news = {
            let mut watches = self.watches.lock();
            let changed = self.book.write().take_changed(watches.robots_per_look());
            watches.look(&changed, &self.book.read(), Instant::now())
        };
        for (account, told) in news {
            self.tell(account, &told);
        }
    }

    /// A hint: its client asks again.
    fn tell(&self, account: AccountId, told: &RobotsWatched) {
        let frame = Frame::notice(client::ROBOTS_WATCHED, told);
        let tell = TellAccounts {
            account_ids: vec![account.0],
            frame: frame.to_bytes(),
            deliver_before_ms: 0,
        };
        let link = self.routers.any_link(&[]);
        let sent = link.and_then(|link| link.try_notify(method::TELL_ACCOUNTS, rpc::encode(&tell)));
        events::watcher_told(sent.is_ok());
    }
}
