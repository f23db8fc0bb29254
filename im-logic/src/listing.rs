//! Lists, a page at a time: members of a conversation, conversations of an account.
//!
//! All of it is read from the store when it is asked for: a gateway that has lost sight of the
//! members must not be told what somebody remembers.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use protocol::kind::method;
use protocol::limits::{FRAME_BYTES_MAX, MEMBERS_PER_PAGE_MAX};
use protocol::wire::internal::{
    CheckMembers, CheckedMembers, Members as MembersQuestion, MembersPage, Memberships,
    MembershipsPage,
};
use protocol::wire::{ConversationPage, ListConversations, ListMembers, MemberPage};
use protocol::{AccountId, ConversationId, Refusal};
use service_kit::rpc;

use crate::directory::{ACCOUNTS_PER_QUESTION_MAX, Directory};
use crate::members::Members;
use crate::permission::{self, Action};
use crate::store::{Caller, Deadline, Store, To};

/// Members in one page to a client, in bytes: a frame, and room for what is around them.
const MEMBER_PAGE_BYTES_MAX: usize = FRAME_BYTES_MAX - 4 * 1024;

/// What an account costs in a page beyond itself, in bytes: its tag, its length, its role.
const ROW_ENVELOPE_BYTES: usize = 8;

/// Conversations in one page to a client: with the longest names they fit in a frame.
const CONVERSATIONS_PER_PAGE_MAX: u32 = 256;

/// How often a check of members is begun anew because they changed meanwhile.
const CHECKS_MAX: u32 = 4;

/// Lists members and conversations.
#[derive(Debug)]
pub struct Listing {
    directory: Arc<Directory>,
    members: Arc<Members>,
    store: Store,
}

impl Listing {
    /// Over these.
    #[must_use]
    pub const fn new(directory: Arc<Directory>, members: Arc<Members>, store: Store) -> Self {
        Self {
            directory,
            members,
            store,
        }
    }

    /// Members of a conversation that the caller is in, with what they are able to do. A page ends
    /// before it grows longer than a frame, and has at least one.
    pub async fn members(
        &self,
        caller: Caller,
        request: ListMembers,
    ) -> Result<MemberPage, Refusal> {
        let conversation = ConversationId::from_slice(&request.conversation_id)?;
        let key = (conversation, caller.account);
        let standing = self.members.ask(key, caller.deadline).await?;
        permission::check_standing(Action::ListMembers, standing)?;
        let question = MembersQuestion {
            conversation_id: request.conversation_id,
            after_account_id: request.after_account_id,
            limit: bounded(request.limit, MEMBERS_PER_PAGE_MAX),
        };
        let rows = self.page(&question, caller.deadline).await?;
        let mut page = MemberPage {
            members: Vec::new(),
            membership_sequence: rows.membership_sequence,
            more: rows.more,
            roles: Vec::new(),
        };
        let told = rows.members.iter().zip(&rows.roles);
        let roles: HashMap<u64, i32> = told.map(|(row, role)| (row.account_id, *role)).collect();
        let mut bytes = 0;
        for rows in rows.members.chunks(ACCOUNTS_PER_QUESTION_MAX) {
            let ids = rows.iter().map(|row| row.account_id).collect();
            for account in self.directory.look_up(ids, caller.deadline).await? {
                bytes += account.encoded_len() + ROW_ENVELOPE_BYTES;
                if bytes > MEMBER_PAGE_BYTES_MAX && !page.members.is_empty() {
                    page.more = true;
                    return Ok(page);
                }
                page.roles
                    .push(roles.get(&account.account_id).copied().unwrap_or_default());
                page.members.push(account);
            }
        }
        Ok(page)
    }

    /// The caller's conversations.
    pub async fn conversations(
        &self,
        caller: Caller,
        request: ListConversations,
    ) -> Result<ConversationPage, Refusal> {
        if !request.after_conversation_id.is_empty() {
            ConversationId::from_slice(&request.after_conversation_id)?;
        }
        let question = Memberships {
            account_id: caller.account.0,
            after_conversation_id: request.after_conversation_id,
            limit: bounded(request.limit, CONVERSATIONS_PER_PAGE_MAX),
            history_generation: request.history_generation,
        };
        let to = To::Any(&question.account_id.to_be_bytes());
        let page: MembershipsPage = self
            .store
            .ask(to, method::STORE_MEMBERSHIPS, &question, caller.deadline)
            .await?;
        Ok(ConversationPage {
            memberships: page.memberships,
            more: page.more,
        })
    }

    /// For a gateway: an encoded `Memberships`, answered by the store as it is.
    pub async fn memberships(&self, body: Bytes, deadline: Deadline) -> Result<Bytes, Refusal> {
        let question: Memberships = rpc::decode(body.clone())?;
        let to = To::Any(&question.account_id.to_be_bytes());
        self.store
            .pass(to, method::STORE_MEMBERSHIPS, body, deadline)
            .await
    }

    /// For a gateway: which of these accounts are members, all as of one membership entry.
    pub async fn check(
        &self,
        request: CheckMembers,
        deadline: Deadline,
    ) -> Result<CheckedMembers, Refusal> {
        let conversation = ConversationId::from_slice(&request.conversation_id)?;
        let asked: BTreeSet<_> = request.account_ids.into_iter().map(AccountId).collect();
        for _ in 0..CHECKS_MAX {
            if let Some(checked) = self.check_once(conversation, &asked, deadline).await? {
                return Ok(checked);
            }
        }
        Err(Refusal::unavailable("the members keep changing; try again"))
    }

    /// `None` when the members changed between two pages. Skips those that nobody asked for: as
    /// many questions as pages, or as accounts, whichever is less.
    async fn check_once(
        &self,
        conversation: ConversationId,
        asked: &BTreeSet<AccountId>,
        deadline: Deadline,
    ) -> Result<Option<CheckedMembers>, Refusal> {
        let mut left: Vec<_> = asked.iter().rev().copied().collect();
        let mut checked: Option<CheckedMembers> = None;
        loop {
            let wanted = u32::try_from(left.len()).unwrap_or(u32::MAX).max(1);
            let question = MembersQuestion {
                conversation_id: conversation.to_bytes(),
                after_account_id: left.last().map_or(0, |next| next.0.saturating_sub(1)),
                limit: wanted.min(MEMBERS_PER_PAGE_MAX),
            };
            let page = self.page(&question, deadline).await?;
            let so_far = checked.get_or_insert_with(|| CheckedMembers {
                members: Vec::new(),
                membership_sequence: page.membership_sequence,
                head: page.head,
            });
            if so_far.membership_sequence != page.membership_sequence {
                return Ok(None);
            }
            so_far.head = so_far.head.max(page.head);
            let found = page.members.iter().map(|member| member.account_id);
            so_far
                .members
                .extend(found.filter(|id| asked.contains(&AccountId(*id))));
            let seen_up_to = page.members.last().map(|member| member.account_id);
            match seen_up_to.filter(|_| page.more) {
                Some(seen) => left.retain(|account| account.0 > seen),
                None => left.clear(),
            }
            if left.is_empty() {
                return Ok(checked);
            }
        }
    }

    async fn page(
        &self,
        question: &MembersQuestion,
        deadline: Deadline,
    ) -> Result<MembersPage, Refusal> {
        let to = To::Any(&question.conversation_id);
        self.store
            .ask(to, method::MEMBERS, question, deadline)
            .await
    }
}

fn bounded(asked: u32, most: u32) -> u32 {
    if asked == 0 { most } else { asked.min(most) }
}
