//! What is in a log, who has it, and what is said of it anew: pages both ways, marks of the others,
//! recalls and edits.

use protocol::content::{self, Content};
use protocol::kind::client as kind;
use protocol::wire::{self, MarkKind};
use protocol::{AccountId, ConversationId, Refusal, SequenceNumber};

use super::Client;
use super::requests::nonsense;
use crate::error::{Error, SendError};
use crate::message::{Entry, LackingPage, PullPage, Receipt};

impl Client {
    /// One page of history after a number; `limit` 0: as much as the server gives at once.
    pub async fn pull(
        &self,
        conversation: ConversationId,
        after: SequenceNumber,
        limit: u32,
    ) -> Result<PullPage, Error> {
        self.page(wire::Pull {
            conversation_id: conversation.to_bytes(),
            after_sequence: after.0,
            limit,
            ..wire::Pull::default()
        })
        .await
    }

    /// The newest page of history before a number, in rising order; `None`: the end of the log. The
    /// next one back is before its first entry; an empty one is the last.
    pub async fn pull_back(
        &self,
        conversation: ConversationId,
        before: Option<SequenceNumber>,
        limit: u32,
    ) -> Result<PullPage, Error> {
        // Zero would ask forward, and there is nothing before the first.
        let before = before.map_or(u64::MAX, |before| before.0.max(1));
        self.page(wire::Pull {
            conversation_id: conversation.to_bytes(),
            limit,
            before_sequence: before,
            ..wire::Pull::default()
        })
        .await
    }

    /// All of history after a number, up to the head. In memory: for long histories use
    /// [`Client::pull`].
    pub async fn history(
        &self,
        conversation: ConversationId,
        after: SequenceNumber,
    ) -> Result<Vec<Entry>, Error> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut after = after;
        loop {
            let page = self.pull(conversation, after, 0).await?;
            let reached = page
                .entries
                .last()
                .map_or(page.trimmed_up_to, |last| last.sequence)
                .max(after);
            let over = reached == after || reached >= page.head;
            after = reached;
            entries.extend(page.entries);
            if over {
                return Ok(entries);
            }
        }
    }

    /// The newest `count` entries before a number (`None`: the end of the log), in rising order;
    /// fewer when there are no more. In memory, as [`Client::history`].
    pub async fn history_back(
        &self,
        conversation: ConversationId,
        before: Option<SequenceNumber>,
        count: usize,
    ) -> Result<Vec<Entry>, Error> {
        let mut newest_first: Vec<Entry> = Vec::new();
        let mut before = before;
        while newest_first.len() < count {
            let left = u32::try_from(count - newest_first.len()).unwrap_or(u32::MAX);
            let page = self.pull_back(conversation, before, left).await?;
            let Some(first) = page.entries.first().map(|first| first.sequence) else {
                break;
            };
            before = Some(first);
            newest_first.extend(page.entries.into_iter().rev());
        }
        newest_first.reverse();
        Ok(newest_first)
    }

    /// Which members lack an entry by their marks, a page at a time: those with a greater id than
    /// `after`. Only members may ask.
    pub async fn lacking(
        &self,
        conversation: ConversationId,
        sequence: SequenceNumber,
        mark: MarkKind,
        after: Option<AccountId>,
    ) -> Result<LackingPage, Error> {
        let request = wire::ListLacking {
            conversation_id: conversation.to_bytes(),
            sequence: sequence.0,
            mark: mark.into(),
            after_account_id: after.map_or(0, |account| account.0),
            limit: 0,
        };
        let page: wire::LackingPage = self.request(kind::LIST_LACKING, &request).await?;
        Ok(LackingPage::from_wire(page))
    }

    /// Takes a text, data or an edit of one's own back, for everybody: its content is gone from the
    /// log, and that of its edits. Who has it already is told by the entry that this makes.
    pub async fn recall(
        &self,
        conversation: ConversationId,
        target: SequenceNumber,
    ) -> Result<Receipt, SendError> {
        self.send(conversation, content::recall(target)).await
    }

    /// Says a text or data of one's own anew, in an entry that names it. The original stays.
    pub async fn edit(
        &self,
        conversation: ConversationId,
        target: SequenceNumber,
        content: Content,
    ) -> Result<Receipt, SendError> {
        let Some(edit) = content::edit(target, content) else {
            let why = "content: only a text or data is edited";
            return Err(SendError::Refused(Refusal::bad_request(why)));
        };
        self.send(conversation, edit).await
    }

    async fn page(&self, pull: wire::Pull) -> Result<PullPage, Error> {
        let page: wire::PullPage = self.request(kind::PULL, &pull).await?;
        PullPage::from_wire(page).map_err(nonsense)
    }
}
