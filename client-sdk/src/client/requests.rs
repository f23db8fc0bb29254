//! The verbs that are not messages: groups, members, accounts, capabilities.

use std::sync::Arc;

use bytes::Bytes;
use protocol::kind::client as kind;
use protocol::limits::FIND_ACCOUNTS_MAX;
use protocol::wire::{self, CapabilityCard};
use protocol::{AccountId, ClientMessageId, ConversationId, SequenceNumber};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Client;
use crate::clock;
use crate::error::Error;
use crate::message::{Account, Conversation};
use crate::requests::Request;
use crate::shared::{Call, RequestReply};

/// A group to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGroup {
    /// For people; 1 to 128 characters.
    pub name: String,
    /// The first members beside the caller.
    pub members: Vec<AccountId>,
    /// Whether one who joins later may read what was before.
    pub history_open: bool,
    /// `None`: a fresh one. A repeat with the same id is the same group.
    pub client_message_id: Option<ClientMessageId>,
}

impl Client {
    /// Makes a group with the caller as its first member.
    pub async fn create_group(
        &self,
        name: &str,
        members: &[AccountId],
    ) -> Result<ConversationId, Error> {
        self.create_group_with(NewGroup {
            name: name.to_owned(),
            members: members.to_vec(),
            history_open: false,
            client_message_id: None,
        })
        .await
    }

    /// The same with all that can be said of it.
    pub async fn create_group_with(&self, group: NewGroup) -> Result<ConversationId, Error> {
        let id = group
            .client_message_id
            .unwrap_or_else(|| self.inner.shared.new_message_id());
        let request = wire::CreateGroup {
            client_message_id: id.to_bytes(),
            name: group.name,
            members: group.members.iter().map(|id| id.0).collect(),
            history_open: group.history_open,
        };
        let made: wire::GroupCreated = self.request(kind::CREATE_GROUP, &request).await?;
        ConversationId::from_slice(&made.conversation_id).map_err(nonsense)
    }

    /// Adds and removes members. The number of the log's entry; zero when nothing changed.
    pub async fn change_members(
        &self,
        conversation: ConversationId,
        add: &[AccountId],
        remove: &[AccountId],
    ) -> Result<SequenceNumber, Error> {
        let request = wire::ChangeMembers {
            conversation_id: conversation.to_bytes(),
            client_message_id: self.inner.shared.new_message_id().to_bytes(),
            add: add.iter().map(|id| id.0).collect(),
            remove: remove.iter().map(|id| id.0).collect(),
            ..wire::ChangeMembers::default()
        };
        let changed: wire::MembersChanged = self.request(kind::CHANGE_MEMBERS, &request).await?;
        Ok(SequenceNumber(changed.sequence))
    }

    /// Everybody in the conversation, with their capabilities.
    pub async fn members(&self, conversation: ConversationId) -> Result<Vec<Account>, Error> {
        let mut members: Vec<Account> = Vec::new();
        loop {
            let after = members.last().map(|last| last.id);
            let request = wire::ListMembers {
                conversation_id: conversation.to_bytes(),
                after_account_id: after.map_or(0, |id| id.0),
                limit: 0,
            };
            let page: wire::MemberPage = self.request(kind::LIST_MEMBERS, &request).await?;
            members.extend(page.members.into_iter().map(Account::from_wire));
            // A page that leads nowhere is the last one, whatever it says.
            if !page.more || members.last().map(|last| last.id) == after {
                return Ok(members);
            }
        }
    }

    /// Every conversation of the account.
    pub async fn conversations(&self) -> Result<Vec<Conversation>, Error> {
        let mut conversations: Vec<Conversation> = Vec::new();
        loop {
            let after = conversations.last().map(|last| last.id);
            let request = wire::ListConversations {
                after_conversation_id: after.map_or_else(Bytes::new, ConversationId::to_bytes),
                ..wire::ListConversations::default()
            };
            let page: wire::ConversationPage =
                self.request(kind::LIST_CONVERSATIONS, &request).await?;
            for membership in &page.memberships {
                conversations.push(Conversation::from_wire(membership).map_err(nonsense)?);
            }
            if !page.more || conversations.last().map(|last| last.id) == after {
                return Ok(conversations);
            }
        }
    }

    /// Accounts by name; unknown names are left out.
    pub async fn find_accounts(&self, names: &[&str]) -> Result<Vec<Account>, Error> {
        let mut accounts = Vec::new();
        for some in names.chunks(FIND_ACCOUNTS_MAX) {
            let request = wire::FindAccounts {
                names: some.iter().map(|&name| name.to_owned()).collect(),
            };
            let found: wire::AccountsFound = self.request(kind::FIND_ACCOUNTS, &request).await?;
            accounts.extend(found.accounts.into_iter().map(Account::from_wire));
        }
        Ok(accounts)
    }

    /// Everybody who has a session anywhere in the cluster, without capabilities. For operators and
    /// planners; a hint of the moment.
    pub async fn online(&self) -> Result<Vec<Account>, Error> {
        let mut accounts: Vec<Account> = Vec::new();
        loop {
            let after = accounts.last().map(|last| last.id);
            let request = wire::ListOnline {
                after_account_id: after.map_or(0, |id| id.0),
                limit: 0,
            };
            let page: wire::OnlinePage = self.request(kind::LIST_ONLINE, &request).await?;
            accounts.extend(page.accounts.into_iter().map(Account::from_wire));
            if !page.more || accounts.last().map(|last| last.id) == after {
                return Ok(accounts);
            }
        }
    }

    /// Declares what this robot can do.
    pub async fn announce(&self, capabilities: CapabilityCard) -> Result<(), Error> {
        let request = wire::Announce {
            capabilities: Some(capabilities),
        };
        let _: wire::Announced = self.request(kind::ANNOUNCE, &request).await?;
        Ok(())
    }

    pub(crate) async fn request<A: prost::Message + Default>(
        &self,
        kind: u16,
        body: &impl prost::Message,
    ) -> Result<A, Error> {
        let request = Request {
            kind,
            body: body.encode_to_vec().into(),
            deadline: clock::after(Instant::now(), self.inner.request_timeout),
            lasting: true,
        };
        A::decode(self.ask(request).await?).map_err(|error| Error::Protocol(error.to_string()))
    }

    /// Asks, if there is room, and does not care for the answer.
    pub(crate) fn ask_and_forget(&self, request: Request) {
        if let Ok(room) = Arc::clone(&self.inner.room_requests).try_acquire_owned() {
            let (outcome, _) = oneshot::channel();
            let reply = RequestReply { outcome, room };
            drop(self.inner.calls.try_send(Call::Request(request, reply)));
        }
    }

    pub(super) async fn ask(&self, request: Request) -> Result<Bytes, Error> {
        let room = Arc::clone(&self.inner.room_requests)
            .try_acquire_owned()
            .map_err(|_| Error::QueueFull)?;
        let (outcome, answer) = oneshot::channel();
        let reply = RequestReply { outcome, room };
        self.inner
            .calls
            .try_send(Call::Request(request, reply))
            .map_err(|_| Error::Closed)?;
        answer.await.unwrap_or(Err(Error::Closed))
    }
}

pub(super) fn nonsense(error: impl std::fmt::Display) -> Error {
    Error::Protocol(error.to_string())
}
