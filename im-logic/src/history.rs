//! History and marks pass through: the store alone knows what an account may read and who lacks
//! what, and marks are its to raise.

use bytes::Bytes;
use protocol::kind::method;
use protocol::wire::internal::{Lacking, Read, Search};
use protocol::wire::{ListLacking, Pull, SearchHistory};
use protocol::{ConversationId, Refusal};
use service_kit::rpc;

use crate::events;
use crate::store::{Caller, Store, To};

/// Reads and marks history.
#[derive(Debug)]
pub struct History {
    store: Store,
}

impl History {
    /// Over this store.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self { store }
    }

    /// An encoded `PullPage`, as the store made it for this account.
    pub async fn pull(&self, caller: Caller, pull: Pull) -> Result<Bytes, Refusal> {
        let conversation = ConversationId::from_slice(&pull.conversation_id)?;
        let read = Read {
            account_id: caller.account.0,
            pull: Some(pull),
        };
        self.store
            .pass(
                To::Any(conversation.as_bytes()),
                method::READ,
                rpc::encode(&read),
                caller.deadline,
            )
            .await
    }

    /// An encoded `LackingPage`, as the store made it for this account.
    pub async fn lacking(&self, caller: Caller, list: ListLacking) -> Result<Bytes, Refusal> {
        let conversation = ConversationId::from_slice(&list.conversation_id)?;
        let lacking = Lacking {
            account_id: caller.account.0,
            list: Some(list),
        };
        self.store
            .pass(
                To::Any(conversation.as_bytes()),
                method::LACKING,
                rpc::encode(&lacking),
                caller.deadline,
            )
            .await
    }

    /// An encoded `HistoryFound`, as the store made it for this account.
    pub async fn search(&self, caller: Caller, search: SearchHistory) -> Result<Bytes, Refusal> {
        let conversation = ConversationId::from_slice(&search.conversation_id)?;
        let search = Search {
            account_id: caller.account.0,
            search: Some(search),
        };
        self.store
            .pass(
                To::Any(conversation.as_bytes()),
                method::SEARCH,
                rpc::encode(&search),
                caller.deadline,
            )
            .await
    }

    /// Encoded `AccountMarks`, on their way to the store. They may lag: what does not get through
    /// is made good by the next.
    pub fn pass_marks(&self, marks: Bytes) {
        if let Err(refusal) = self.store.tell(method::WRITE_MARKS, marks) {
            events::marks_dropped(&refusal);
        }
    }
}
