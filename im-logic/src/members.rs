//! Who is known to be a member of what. It only ever spares questions: that somebody is *not* a
//! member is never remembered, and what is remembered is not trusted for long.
//!
//! Only the store's answer to a question makes a memory, and it is as old as the question. Every
//! change of members that passes through here makes it forget, the questions under way included;
//! one that passes elsewhere shows when the memory is too old; and a store that comes back is asked
//! about everybody again.
//!
//! A member is asked for alone, by a page of one: a group of ten thousand is never read for one
//! sender.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use protocol::id::ConversationKind;
use protocol::kind::method;
use protocol::wire::Role;
use protocol::wire::internal::{Members as Question, MembersPage};
use protocol::{AccountId, ConversationId, ErrorCode, Refusal};
use tokio::time::Instant;

use crate::directory::Directory;
use crate::events;
use crate::send::{Membership, Standing};
use crate::store::{Deadline, Store, To};

/// Members that are remembered: some 50 MiB. When full: all are forgotten, and asked for again.
const MEMBERS_MAX: usize = 512 * 1024;

/// For how long a member is taken for one without asking. It bounds how long somebody whom another
/// logic process has removed may still send what is not stored.
pub const MEMBER_AGE_MAX: Duration = Duration::from_secs(30);

/// A member of a conversation.
pub type MemberKey = (ConversationId, AccountId);

/// A memory of members, over the store.
#[derive(Debug)]
pub struct Members {
    memory: RwLock<Memory>,
    directory: Arc<Directory>,
    store: Store,
}

#[derive(Debug, Default)]
struct Memory {
    /// When the store was asked, and what it said that they are.
    asked_at: HashMap<MemberKey, (Instant, Role)>,
    /// How often something was forgotten: what was asked before the last time may be out of date.
    forgotten: u64,
}

impl Members {
    /// Knows nobody yet.
    #[must_use]
    pub fn new(store: Store, directory: Arc<Directory>) -> Self {
        Self {
            memory: RwLock::default(),
            directory,
            store,
        }
    }

    /// What is known without asking. A pair is its two accounts, if both exist.
    #[must_use]
    pub fn standing(&self, key: MemberKey, now: Instant) -> Standing {
        let (conversation, account) = key;
        let known = match conversation.kind() {
            ConversationKind::Group(_) => {
                let known = self.memory.read().asked_at.get(&key).copied();
                let is_fresh = |asked_at| now.duration_since(asked_at) < MEMBER_AGE_MAX;
                known
                    .filter(|(asked_at, _)| is_fresh(*asked_at))
                    .map(|(_, role)| role)
            }
            ConversationKind::Pair(low, high) => {
                let both_known = conversation.is_pair_of(account)
                    && self.directory.kind(low).is_some()
                    && self.directory.kind(high).is_some();
                both_known.then_some(Role::Member)
            }
        };
        Standing {
            kind: self.directory.kind(account),
            membership: known.map_or(Membership::Unknown, Membership::Member),
        }
    }

    /// What the store says now; nothing of it is unknown.
    ///
    /// # Errors
    /// *No such conversation*, *no such account*, or that the store is away.
    pub async fn ask(&self, key: MemberKey, deadline: Deadline) -> Result<Standing, Refusal> {
        let (conversation, account) = key;
        let role = match conversation.kind() {
            ConversationKind::Group(_) => self.ask_group(key, deadline).await?,
            ConversationKind::Pair(low, high) => {
                self.directory.all(&[low, high], deadline).await?;
                conversation.is_pair_of(account).then_some(Role::Member)
            }
        };
        Ok(Standing {
            kind: Some(self.directory.one(account, deadline).await?.kind),
            membership: role.map_or(Membership::Stranger, Membership::Member),
        })
    }

    async fn ask_group(&self, key: MemberKey, deadline: Deadline) -> Result<Option<Role>, Refusal> {
        let (conversation, account) = key;
        let question = Question {
            conversation_id: conversation.to_bytes(),
            after_account_id: account.0.saturating_sub(1),
            limit: 1,
        };
        let (asked_at, forgotten) = (Instant::now(), self.memory.read().forgotten);
        let to = To::Any(conversation.as_bytes());
        let page: MembersPage = self
            .store
            .ask(to, method::MEMBERS, &question, deadline)
            .await?;
        self.directory.remember(&page.members);
        let mut found = page.members.iter().zip(page.roles());
        let role = found.find(|(member, _)| member.account_id == account.0);
        let role = role.map(|(_, role)| role);
        match role {
            Some(role) => self.remember(key, (asked_at, role), forgotten),
            None => self.forget(conversation, [account]),
        }
        if page.dissolved {
            let why = format!("{conversation} is dissolved");
            return Err(Refusal::new(ErrorCode::GroupDissolved, why));
        }
        Ok(role)
    }

    /// Unless something was forgotten since the question was asked.
    fn remember(&self, key: MemberKey, said: (Instant, Role), forgotten: u64) {
        let mut memory = self.memory.write();
        if memory.forgotten != forgotten {
            return;
        }
        if memory.asked_at.len() >= MEMBERS_MAX {
            events::memory_emptied("members", memory.asked_at.len());
            memory.asked_at.clear();
        }
        memory.asked_at.insert(key, said);
    }

    /// Whether these are members may have changed.
    pub fn forget(
        &self,
        conversation: ConversationId,
        accounts: impl IntoIterator<Item = AccountId>,
    ) {
        let mut memory = self.memory.write();
        memory.forgotten += 1;
        for account in accounts {
            memory.asked_at.remove(&(conversation, account));
        }
    }

    /// Anything may have changed.
    pub fn forget_all(&self) {
        let mut memory = self.memory.write();
        memory.forgotten += 1;
        memory.asked_at.clear();
    }
}
