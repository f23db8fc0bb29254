//! Whom an emergency stop concerns here, as far as anybody knows: whoever may be a member is told;
//! and the sessions of one account.

use std::sync::Arc;

use protocol::estop::Scope;
use protocol::{AccountId, ConversationId};
use tokio::time::Instant;

use super::Registry;
use crate::handle::SessionHandle;

impl Registry {
    /// Every session that a stop concerns.
    pub fn reach(&self, scope: Scope, mut tell: impl FnMut(&SessionHandle)) {
        match scope {
            Scope::Fleet => {
                for local in &self.accounts {
                    local.sessions.iter().for_each(|session| tell(session));
                }
            }
            Scope::Group(group) => {
                let members = self.views.get(&group).map(|view| view.candidates());
                self.reach_these(members.unwrap_or_default(), tell);
            }
        }
    }

    /// Every session of these.
    pub fn reach_these(
        &self,
        accounts: impl IntoIterator<Item = AccountId>,
        mut tell: impl FnMut(&SessionHandle),
    ) {
        for account in accounts {
            if let Some(local) = self.accounts.get(&account) {
                local.sessions.iter().for_each(|session| tell(session));
            }
        }
    }

    /// The sessions of an account.
    pub fn sessions_of(&self, account: AccountId) -> Vec<Arc<SessionHandle>> {
        let local = self.accounts.get(&account);
        local.map_or_else(Vec::new, |local| local.sessions.clone())
    }

    /// Whether the account is in this group, as far as anybody knows.
    pub fn is_in(&self, account: AccountId, group: ConversationId) -> bool {
        let view = self.views.get(&group);
        view.is_some_and(|view| view.has(account))
    }

    /// When it was last heard of the account in which groups it is.
    pub fn heard_at(&self, account: AccountId) -> Option<Instant> {
        self.accounts.get(&account)?.heard_at
    }
}
