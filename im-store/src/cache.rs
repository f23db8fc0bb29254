//! What the writer remembers of its conversations between two batches, and what it must not decide
//! from that alone. Pure.
//!
//! A state that is remembered may be one of long ago: another owner may have moved the conversation
//! on. It is used all the same, because a commit compares the head row with what was remembered,
//! and loses if that is no longer so; what no commit compares is `unproven`, and read again.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;

use protocol::{ConversationId, ErrorCode};

use crate::shard::{Append, BatchPlan, ConversationState, Verdict};

/// Conversations whose state is kept between batches. When full: all are forgotten and read again.
const CONVERSATIONS_KEPT_MAX: usize = 64 * 1024;

/// States of conversations, each kept whole: its members are those as of the membership entry that
/// it names. Of which moment it is nothing rests on.
pub trait Cache: Debug + Send + 'static {
    /// The state of a conversation, if it is remembered.
    fn state(&self, conversation: ConversationId) -> Option<ConversationState>;

    /// Remembers what we have committed.
    fn keep(&mut self, conversation: ConversationId, state: ConversationState);

    /// Forgets one.
    fn forget(&mut self, conversation: ConversationId);

    /// Forgets all.
    fn clear(&mut self);
}

/// Remembers.
#[derive(Debug, Default)]
pub struct Kept(HashMap<ConversationId, ConversationState>);

impl Cache for Kept {
    fn state(&self, conversation: ConversationId) -> Option<ConversationState> {
        self.0.get(&conversation).cloned()
    }

    fn keep(&mut self, conversation: ConversationId, state: ConversationState) {
        if self.0.len() >= CONVERSATIONS_KEPT_MAX && !self.0.contains_key(&conversation) {
            self.0.clear();
        }
        self.0.insert(conversation, state);
    }

    fn forget(&mut self, conversation: ConversationId) {
        self.0.remove(&conversation);
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// Remembers nothing: every batch reads its conversations.
#[derive(Debug, Default)]
pub struct Off;

impl Cache for Off {
    fn state(&self, _: ConversationId) -> Option<ConversationState> {
        None
    }

    fn keep(&mut self, _: ConversationId, _: ConversationState) {}

    fn forget(&mut self, _: ConversationId) {}

    fn clear(&mut self) {}
}

/// The conversations in which the plan answers that something is not stored, and moves no head: no
/// commit would notice that the state was an old one, or that the message is being stored by
/// another. A conflict rests on an id that was found, which stays.
pub(crate) fn unproven(batch: &[Append], plan: &BatchPlan) -> BTreeSet<ConversationId> {
    let denied = batch
        .iter()
        .zip(&plan.verdicts)
        .filter(|(_, verdict)| match verdict {
            Verdict::Refuse(refusal) => refusal.code != ErrorCode::Conflict,
            Verdict::NothingToDo => true,
            Verdict::Store(_) | Verdict::Duplicate { .. } => false,
        });
    denied
        .map(|(append, _)| append.conversation)
        .filter(|conversation| !plan.heads.contains_key(conversation))
        .collect()
}
