//! The robots of the fleet, a page at a time, with what they declare and whether they are online.
//!
//! Of all groups, which is why it is not for robots. Not here: robots that are members of a group
//! ([`crate::listing`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::kind::method;
use protocol::wire::internal::{EstopTargets, MembersPage};
use protocol::wire::{Account, AccountKind};
use protocol::{AccountId, ErrorCode, Refusal};

use crate::accounts::Accounts;
use crate::directory::{ACCOUNTS_PER_QUESTION_MAX, Directory};
use crate::online::Online;
use crate::permission::{self, Action};
use crate::store::{Caller, Store, To};

/// Lists robots.
#[derive(Debug)]
pub struct Robots {
    accounts: Arc<Accounts>,
    directory: Arc<Directory>,
    online: Arc<Online>,
    store: Store,
}

/// Some robots, by rising id.
#[derive(Debug, Default)]
pub struct RobotPage {
    /// With what they declare.
    pub robots: Vec<Account>,
    /// Which of them are; `None`: nobody knows at the moment.
    pub online: Option<BTreeSet<AccountId>>,
    /// There are more.
    pub more: bool,
}

impl Robots {
    /// Over these.
    #[must_use]
    pub const fn new(
        accounts: Arc<Accounts>,
        directory: Arc<Directory>,
        online: Arc<Online>,
        store: Store,
    ) -> Self {
        Self {
            accounts,
            directory,
            online,
            store,
        }
    }

    /// Those with a greater id.
    ///
    /// # Errors
    /// *Forbidden*, or that the store is away.
    pub async fn list(
        &self,
        caller: Caller,
        after: AccountId,
        limit: u32,
    ) -> Result<RobotPage, Refusal> {
        self.check(caller).await?;
        let most = u32::try_from(ACCOUNTS_PER_QUESTION_MAX).unwrap_or(u32::MAX);
        let question = EstopTargets {
            after_account_id: after.0,
            limit: if limit == 0 { most } else { limit.min(most) },
            ..EstopTargets::default()
        };
        let (to, method) = (To::Any(&[]), method::ESTOP_ROBOTS);
        let found = self.store.ask(to, method, &question, caller.deadline);
        let found: MembersPage = found.await?;
        let ids: Vec<_> = found.members.iter().map(|its| its.account_id).collect();
        if ids.is_empty() {
            return Ok(RobotPage::default());
        }
        let robots = self.directory.look_up(ids, caller.deadline).await?;
        let page = self.page(caller, robots).await;
        Ok(RobotPage {
            more: found.more,
            ..page
        })
    }

    /// One, by its name.
    ///
    /// # Errors
    /// *No such account*, *forbidden*, or that the store is away.
    pub async fn one(&self, caller: Caller, name: &str) -> Result<RobotPage, Refusal> {
        self.check(caller).await?;
        let names = [name.to_owned()];
        let mut found = self.accounts.look_up(&names, caller.deadline).await?;
        found.retain(|account| account.kind() == AccountKind::Robot);
        if found.is_empty() {
            let why = format!("there is no robot {name:?}");
            return Err(Refusal::new(ErrorCode::NoSuchAccount, why));
        }
        Ok(self.page(caller, found).await)
    }

    async fn page(&self, caller: Caller, robots: Vec<Account>) -> RobotPage {
        let ids = robots.iter().map(|robot| AccountId(robot.account_id));
        let ids: Vec<_> = ids.collect();
        RobotPage {
            online: self.online.among(&ids, caller.deadline).await,
            robots,
            more: false,
        }
    }

    async fn check(&self, caller: Caller) -> Result<(), Refusal> {
        let asker = self.directory.one(caller.account, caller.deadline).await?;
        permission::check(Action::ListRobots, asker.kind, None)
    }
}
