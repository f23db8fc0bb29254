//! Who is online: the accounts with a session on any gateway, as a router knows them. Every router
//! knows all of them.
//!
//! For operators and planners. A hint of the moment, not a presence service: nobody is told of
//! changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message as _;
use protocol::kind::method;
use protocol::limits::ONLINE_PER_PAGE_MAX;
use protocol::wire::internal::{Online as Question, OnlineAccounts};
use protocol::wire::{Account, ListOnline, OnlinePage};
use protocol::{AccountId, Refusal};
use service_kit::peers::Peers;
use service_kit::rpc;

use crate::directory::{Directory, Profile};
use crate::permission::{self, Action};
use crate::store::{Caller, Deadline};

/// Pages that are asked for to find some among all: beyond, it is not known who is online.
const QUESTIONS_MAX: usize = 8;

/// Lists who is online.
#[derive(Debug)]
pub struct Online {
    directory: Arc<Directory>,
    routers: Peers,
}

impl Online {
    /// Over these.
    #[must_use]
    pub const fn new(directory: Arc<Directory>, routers: Peers) -> Self {
        Self { directory, routers }
    }

    /// A page of them.
    pub async fn list(&self, caller: Caller, request: ListOnline) -> Result<OnlinePage, Refusal> {
        let asker = self.directory.one(caller.account, caller.deadline).await?;
        permission::check(Action::ListOnline, asker.kind, None)?;
        let limit = match request.limit {
            0 => ONLINE_PER_PAGE_MAX,
            asked => asked.min(ONLINE_PER_PAGE_MAX),
        };
        let after = request.after_account_id;
        let found = self.ask(after, limit, caller.deadline).await?;
        let ids: Vec<_> = found.account_ids.into_iter().map(AccountId).collect();
        let profiles = self.directory.all(&ids, caller.deadline).await?;
        Ok(OnlinePage {
            accounts: profiles.iter().map(as_others_see_it).collect(),
            more: found.more,
        })
    }

    /// Which of these are, by rising id; `None`: nobody knows at the moment.
    pub async fn among(
        &self,
        accounts: &[AccountId],
        deadline: Deadline,
    ) -> Option<BTreeSet<AccountId>> {
        let (first, last) = (accounts.first()?, accounts.last()?);
        let mut online = BTreeSet::new();
        let mut after = first.0.saturating_sub(1);
        for _ in 0..QUESTIONS_MAX {
            let page = self.ask(after, ONLINE_PER_PAGE_MAX, deadline).await.ok()?;
            let ids = page.account_ids;
            after = ids.last().copied().unwrap_or(u64::MAX);
            online.extend(ids.into_iter().map(AccountId));
            if !page.more || after >= last.0 {
                online.retain(|account| accounts.binary_search(account).is_ok());
                return Some(online);
            }
        }
        None
    }

    async fn ask(
        &self,
        after_account_id: u64,
        limit: u32,
        deadline: Deadline,
    ) -> Result<OnlineAccounts, Refusal> {
        let question = Question {
            after_account_id,
            limit,
        };
        let link = self.routers.any_link(&[])?;
        let body = rpc::encode(&question);
        let answer = link
            .call(method::ONLINE, body, deadline.remaining())
            .await?;
        OnlineAccounts::decode(answer)
            .map_err(|error| Refusal::internal(format!("the router's answer: {error}")))
    }
}

fn as_others_see_it(profile: &Profile) -> Account {
    Account {
        account_id: profile.account.0,
        kind: profile.kind.into(),
        name: profile.name.to_string(),
        capabilities: None,
    }
}
