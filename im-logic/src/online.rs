//! Who is online: the accounts with a session on any gateway, as a router knows them. Every router
//! knows all of them.
//!
//! For operators and planners. A hint of the moment, not a presence service: nobody is told of
//! changes.

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
use crate::store::Caller;

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
        let question = Question {
            after_account_id: request.after_account_id,
            limit,
        };
        let answer = self
            .routers
            .any_link(&[])?
            .call(
                method::ONLINE,
                rpc::encode(&question),
                caller.deadline.remaining(),
            )
            .await?;
        let found = OnlineAccounts::decode(answer)
            .map_err(|error| Refusal::internal(format!("the router's answer: {error}")))?;
        let ids: Vec<_> = found.account_ids.into_iter().map(AccountId).collect();
        let profiles = self.directory.all(&ids, caller.deadline).await?;
        Ok(OnlinePage {
            accounts: profiles.iter().map(as_others_see_it).collect(),
            more: found.more,
        })
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
