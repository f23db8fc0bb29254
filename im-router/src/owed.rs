//! What a gateway is owed that read too slowly: heads instead of entries, and the word that it has
//! missed changes of members. The log has the rest.
//!
//! Pure. Not here: its queue, and when there is room in it again.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::kind::method;
use protocol::limits::WATCH_GAPS_MAX;
use protocol::watch::Gaps;
use protocol::wire::internal::{HeadHints, Resync, WatchedEntries};
use protocol::{ConversationId, SequenceNumber};
use service_kit::rpc;

use crate::fanout;

/// Conversations that are owed a head. When full: the gateway reads all memberships again, which
/// name the heads too.
pub const OWED_HEADS_MAX: usize = 64 * 1024;

/// Heads in one notice: a quarter of a MiB.
pub const HEADS_PER_NOTICE_MAX: usize = 8 * 1024;

/// A notice to a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its method.
    pub method: u16,
    /// The encoded message.
    pub body: Bytes,
}

/// What is owed.
#[derive(Debug, Default)]
pub struct Owed {
    heads: BTreeMap<ConversationId, SequenceNumber>,
    resync: bool,
    /// What its watches have missed.
    gaps: Gaps,
}

impl Owed {
    /// It has not got the entries up to this one.
    pub fn head(&mut self, conversation: ConversationId, head: SequenceNumber) {
        let owed = self.heads.entry(conversation).or_default();
        *owed = head.max(*owed);
        if self.heads.len() > OWED_HEADS_MAX {
            self.heads.clear();
            self.resync = true;
        }
    }

    /// It has not got a change of members.
    pub const fn resync(&mut self) {
        self.resync = true;
    }

    /// Its watches have not got these.
    pub fn watched(&mut self, watched: &WatchedEntries) {
        for entry in watched.entries.iter().filter_map(|its| its.entry.as_ref()) {
            if let Ok(conversation) = ConversationId::from_slice(&entry.conversation_id) {
                self.gaps
                    .missed(conversation, SequenceNumber(entry.sequence));
            }
        }
        watched.gaps.iter().for_each(|gap| self.gaps.add(gap));
    }

    /// The next notice of what is owed, which is owed no more; `None` when nothing is.
    pub fn take(&mut self) -> Option<Notice> {
        if std::mem::take(&mut self.resync) {
            return Some(resync());
        }
        if self.heads.is_empty() {
            return (!self.gaps.is_empty()).then(|| Notice {
                method: method::WATCHED_ENTRIES,
                body: rpc::encode(&WatchedEntries {
                    gaps: self.gaps.take(WATCH_GAPS_MAX),
                    ..WatchedEntries::default()
                }),
            });
        }
        let mut heads = Vec::new();
        while heads.len() < HEADS_PER_NOTICE_MAX
            && let Some((conversation, head)) = self.heads.pop_first()
        {
            heads.push(fanout::head(conversation, head));
        }
        Some(Notice {
            method: method::HEAD_HINTS,
            body: rpc::encode(&HeadHints { heads }),
        })
    }
}

/// Tells a gateway to read all memberships again.
#[must_use]
pub fn resync() -> Notice {
    Notice {
        method: method::RESYNC,
        body: rpc::encode(&Resync {}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    fn heads(notice: &Notice) -> Vec<u64> {
        assert_eq!(notice.method, method::HEAD_HINTS);
        let hints = HeadHints::decode(notice.body.clone()).unwrap();
        hints.heads.iter().map(|head| head.head).collect()
    }

    #[test]
    fn a_conversation_is_owed_its_highest_head_once() {
        let mut owed = Owed::default();
        for head in [3, 9, 5] {
            owed.head(ConversationId::group(7), SequenceNumber(head));
        }
        owed.resync();
        assert_eq!(owed.take(), Some(resync()));
        assert_eq!(heads(&owed.take().unwrap()), [9]);
        assert_eq!(owed.take(), None);
    }

    #[test]
    fn many_heads_are_many_notices_and_too_many_are_a_resync() {
        let mut owed = Owed::default();
        for group in 1..=HEADS_PER_NOTICE_MAX as u64 + 1 {
            owed.head(ConversationId::group(group), SequenceNumber(1));
        }
        assert_eq!(heads(&owed.take().unwrap()).len(), HEADS_PER_NOTICE_MAX);
        assert_eq!(heads(&owed.take().unwrap()).len(), 1);
        for group in 1..=OWED_HEADS_MAX as u64 + 1 {
            owed.head(ConversationId::group(group), SequenceNumber(1));
        }
        assert_eq!(owed.take(), Some(resync()));
        assert_eq!(owed.take(), None);
    }
}
