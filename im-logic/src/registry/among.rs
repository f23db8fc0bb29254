//! The members of a group, all pages of them.

use std::collections::HashSet;

use protocol::kind::method;
use protocol::limits::MEMBERS_PER_PAGE_MAX;
use protocol::wire::internal::{Members, MembersPage};
use protocol::{AccountId, ConversationId, Refusal};

use crate::store::{Deadline, Store, To};

/// Who is in a group now.
pub(super) async fn members(
    store: &Store,
    group: ConversationId,
    deadline: Deadline,
) -> Result<HashSet<AccountId>, Refusal> {
    let mut members = HashSet::new();
    let mut after = 0;
    loop {
        let question = Members {
            conversation_id: group.to_bytes(),
            after_account_id: after,
            limit: MEMBERS_PER_PAGE_MAX,
        };
        let to = To::Any(group.as_bytes());
        let page: MembersPage = store.ask(to, method::MEMBERS, &question, deadline).await?;
        let ids = page.members.iter().map(|member| member.account_id);
        members.extend(ids.map(AccountId));
        match page.members.last().filter(|_| page.more) {
            Some(last) => after = last.account_id,
            None => return Ok(members),
        }
    }
}
