//! The accounts that are known to exist. An account keeps its name and its kind for ever, so what
//! is known once stays true of the store that said it; that there is no such account is never
//! remembered.
//!
//! Not here: capabilities, which change.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use protocol::kind::method;
use protocol::wire::internal::{AccountList, LookUpAccounts};
use protocol::wire::{Account, AccountKind};
use protocol::{AccountId, ErrorCode, Refusal};

use crate::events;
use crate::store::{Deadline, Store, To};

/// Accounts that are remembered: some 50 MiB. When full: all are forgotten, and asked for again.
const ACCOUNTS_MAX: usize = 256 * 1024;

/// Accounts in one question: their capability cards fit in one frame.
pub const ACCOUNTS_PER_QUESTION_MAX: usize = 64;

/// What never changes of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Who.
    pub account: AccountId,
    /// What.
    pub kind: AccountKind,
    /// As others see it.
    pub name: Arc<str>,
}

impl From<&Account> for Profile {
    fn from(account: &Account) -> Self {
        Self {
            account: AccountId(account.account_id),
            kind: account.kind(),
            name: account.name.as_str().into(),
        }
    }
}

/// A memory of accounts, over the store.
#[derive(Debug)]
pub struct Directory {
    known: RwLock<HashMap<AccountId, Profile>>,
    store: Store,
}

impl Directory {
    /// Knows nobody yet.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            known: RwLock::default(),
            store,
        }
    }

    /// Its kind, if it is known without asking.
    #[must_use]
    pub fn kind(&self, account: AccountId) -> Option<AccountKind> {
        self.known.read().get(&account).map(|profile| profile.kind)
    }

    /// The account, from memory or from the store.
    ///
    /// # Errors
    /// *No such account*, or what the store refuses.
    pub async fn one(&self, account: AccountId, deadline: Deadline) -> Result<Profile, Refusal> {
        let mut all = self.all(&[account], deadline).await?;
        all.pop().ok_or_else(|| no_such_account(account))
    }

    /// All of these, in this order.
    ///
    /// # Errors
    /// *No such account* naming one that there is not, or what the store refuses.
    pub async fn all(
        &self,
        accounts: &[AccountId],
        deadline: Deadline,
    ) -> Result<Vec<Profile>, Refusal> {
        // Taken out at once: what is known now may be forgotten while the rest is asked for.
        let mut found: HashMap<_, _> = {
            let known = self.known.read();
            let profiles = accounts.iter().filter_map(|account| known.get(account));
            profiles.map(|p| (p.account, p.clone())).collect()
        };
        let is_unknown = |account: &&AccountId| !found.contains_key(*account);
        let unknown = accounts.iter().filter(is_unknown);
        let unknown: Vec<_> = unknown.map(|account| account.0).collect();
        for ids in unknown.chunks(ACCOUNTS_PER_QUESTION_MAX) {
            let accounts = self.look_up(ids.to_vec(), deadline).await?;
            let profiles = accounts.iter().map(Profile::from);
            found.extend(profiles.map(|profile| (profile.account, profile)));
        }
        let profile = |account: &AccountId| {
            let profile = found.get(account).cloned();
            profile.ok_or_else(|| no_such_account(*account))
        };
        accounts.iter().map(profile).collect()
    }

    /// As the store has them now, with their capabilities; at most
    /// [`ACCOUNTS_PER_QUESTION_MAX`]. What there is not is left out.
    pub async fn look_up(
        &self,
        account_ids: Vec<u64>,
        deadline: Deadline,
    ) -> Result<Vec<Account>, Refusal> {
        let question = LookUpAccounts {
            account_ids,
            ..LookUpAccounts::default()
        };
        let first = question.account_ids.first().copied().unwrap_or_default();
        let to = To::Any(&first.to_be_bytes());
        let answer: AccountList = self
            .store
            .ask(to, method::LOOK_UP_ACCOUNTS, &question, deadline)
            .await?;
        self.remember(&answer.accounts);
        Ok(answer.accounts)
    }

    /// The store has spoken of these.
    pub fn remember(&self, accounts: &[Account]) {
        let mut known = self.known.write();
        if known.len() + accounts.len() > ACCOUNTS_MAX {
            events::memory_emptied("accounts", known.len());
            known.clear();
        }
        for account in accounts {
            let profile = Profile::from(account);
            known.insert(profile.account, profile);
        }
    }

    /// It may be another store: one that was set up anew has none of these accounts.
    pub fn forget_all(&self) {
        self.known.write().clear();
    }
}

fn no_such_account(account: AccountId) -> Refusal {
    Refusal::new(
        ErrorCode::NoSuchAccount,
        format!("there is no account {account}"),
    )
}
