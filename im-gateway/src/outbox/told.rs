//! How far one session has been told each conversation: by it pushes go out in strictly rising
//! order, whoever they came from, and heartbeats say what is new.
//!
//! Pure. Not here: what waits ([`super::Outbox`]).

use std::collections::{HashMap, VecDeque};

use protocol::limits::{CONVERSATIONS_PER_ACCOUNT_MAX, HEADS_PER_PONG_MAX};
use protocol::wire::Head;
use protocol::{ConversationId, SequenceNumber};

/// Conversations of which one session is told: some 600 KiB. An account is in no more at once; when
/// it leaves many and joins others they may be full, and then one more is told by its heads alone
/// until the session ends.
pub(super) const CONVERSATIONS_MAX: usize = CONVERSATIONS_PER_ACCOUNT_MAX;

/// What is to be done with entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// They are newer than all that went out.
    Rising,
    /// These, or later ones, went out before.
    Stale,
    /// It cannot be said of them, or only of some of them: their head is told.
    HeadOnly,
}

#[derive(Debug, Default)]
pub(super) struct Told {
    conversations: HashMap<ConversationId, Progress>,
    /// Those that had entries since the last heartbeat, each once, in the order in which they had.
    news: VecDeque<ConversationId>,
}

/// Neither number ever goes down.
#[derive(Debug, Default)]
struct Progress {
    /// The newest entry that went out as a push.
    pushed: SequenceNumber,
    /// The newest that was heard of.
    head: SequenceNumber,
    is_news: bool,
}

impl Told {
    /// Entries are about to go out.
    pub(super) fn push(
        &mut self,
        conversation: ConversationId,
        first: SequenceNumber,
        last: SequenceNumber,
    ) -> Order {
        let Some(progress) = self.hear(conversation, last) else {
            return Order::HeadOnly;
        };
        if last <= progress.pushed {
            return Order::Stale;
        }
        let pushed = std::mem::replace(&mut progress.pushed, last);
        if first <= pushed {
            return Order::HeadOnly;
        }
        Order::Rising
    }

    /// There are entries up to here.
    pub(super) fn head(&mut self, conversation: ConversationId, head: SequenceNumber) {
        self.hear(conversation, head);
    }

    /// What is new since this was last asked, but for conversations of which something still waits
    /// to be written; those that have waited longest first.
    pub(super) fn take_news(&mut self, waits: impl Fn(&ConversationId) -> bool) -> Vec<Head> {
        let mut heads = Vec::new();
        for _ in 0..self.news.len() {
            if heads.len() == HEADS_PER_PONG_MAX {
                break;
            }
            let Some(conversation) = self.news.pop_front() else {
                break;
            };
            if waits(&conversation) {
                self.news.push_back(conversation);
            } else if let Some(progress) = self.conversations.get_mut(&conversation) {
                progress.is_news = false;
                heads.push(Head {
                    conversation_id: conversation.to_bytes(),
                    head: progress.head.0,
                });
            }
        }
        heads
    }

    /// Gives back the room of what is no news any more.
    pub(super) fn rest(&mut self) {
        if self.news.is_empty() {
            self.news = VecDeque::new();
        }
    }

    /// `None` when there is no room.
    fn hear(&mut self, at: ConversationId, head: SequenceNumber) -> Option<&mut Progress> {
        if self.conversations.len() >= CONVERSATIONS_MAX && !self.conversations.contains_key(&at) {
            return None;
        }
        let progress = self.conversations.entry(at).or_default();
        if head > progress.head {
            progress.head = head;
            if !std::mem::replace(&mut progress.is_news, true) {
                self.news.push_back(at);
            }
        }
        Some(progress)
    }
}
