//! A memory that is wrong about everything that it remembers, in one way after the other.

use im_store::cache::{Cache, Kept};
use im_store::shard::ConversationState;
use protocol::{ConversationId, SequenceNumber};

/// Once what is wrong has been forgotten, it is read; and remembered wrongly again.
#[derive(Debug, Default)]
pub(crate) struct Poisoned {
    wrong: Kept,
    /// What it was told to remember before, of these conversations and of any.
    before: Kept,
    last: Option<ConversationState>,
    kept: u64,
}

impl Cache for Poisoned {
    fn state(&self, conversation: ConversationId) -> Option<ConversationState> {
        self.wrong.state(conversation)
    }

    fn keep(&mut self, conversation: ConversationId, state: ConversationState) {
        let before = self.before.state(conversation);
        let before = before.unwrap_or_else(|| ConversationState {
            head: SequenceNumber::ZERO,
            membership: SequenceNumber::ZERO,
            members: Default::default(),
            ..state.clone()
        });
        self.kept += 1;
        let wrong = match self.kept % 5 {
            0 => before,
            1 => ConversationState {
                head: SequenceNumber(state.head.0 + 7),
                ..state.clone()
            },
            // The members of before, under the head of now.
            2 => ConversationState {
                head: state.head,
                ..before
            },
            3 => ConversationState {
                owner_epoch: state.owner_epoch + 1,
                ..state.clone()
            },
            _ => self.last.clone().unwrap_or(before),
        };
        self.wrong.keep(conversation, wrong);
        self.last = Some(state.clone());
        self.before.keep(conversation, state);
    }

    fn forget(&mut self, conversation: ConversationId) {
        self.wrong.forget(conversation);
    }

    fn clear(&mut self) {
        self.wrong.clear();
    }
}
