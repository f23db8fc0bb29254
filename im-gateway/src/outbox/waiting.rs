//! What waits of one conversation for one client. Not here: whose turn it is, and the bounds over
//! all conversations ([`super::Outbox`]).

use std::collections::VecDeque;

use protocol::kind::client;
use protocol::wire::{Head, Priority};
use protocol::{ConversationId, Frame, SequenceNumber};

use super::Push;
use crate::shared_frame::SharedFrame;

/// The lanes of conversations, in the order in which they are emptied.
pub(super) const LANES: usize = 4;

/// What waits of one conversation. Its entries never overtake each other, so it stands in one lane:
/// that of the most urgent that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) lane: usize,
    pub(super) items: VecDeque<Item>,
    /// How many of the items are pushes, by their lanes.
    pub(super) pushes: [usize; LANES],
    /// Told after the items: entries up to here were not pushed.
    pub(super) head: Option<SequenceNumber>,
}

#[derive(Debug)]
pub(super) enum Item {
    Push(Push),
    /// The account joined or left: the newest is never dropped.
    Notice(SharedFrame),
}

impl Waiting {
    pub(super) fn take(
        &mut self,
        conversation: ConversationId,
        now_ms: u64,
        pushes: &mut usize,
        push_bytes: &mut usize,
    ) -> Option<SharedFrame> {
        match self.items.pop_front() {
            Some(Item::Notice(notice)) => Some(notice),
            Some(Item::Push(push)) => {
                *pushes -= 1;
                *push_bytes -= push.frame.len();
                if let Some(of_lane) = self.pushes.get_mut(lane(push.priority)) {
                    *of_lane -= 1;
                }
                if push.deliver_before_ms != 0 && push.deliver_before_ms <= now_ms {
                    // Pulled, the entry is a placeholder.
                    return Some(head_frame(conversation, push.last));
                }
                Some(push.frame)
            }
            None => self.head.take().map(|head| head_frame(conversation, head)),
        }
    }

    /// The lane of the most urgent that waits; a head and a notice count as chat.
    pub(super) fn urgency(&self) -> usize {
        let of_pushes = self.pushes.iter().position(|pushes| *pushes > 0);
        let has_others =
            self.head.is_some() || self.items.len() > self.pushes.iter().sum::<usize>();
        let of_others = has_others.then_some(lane(Priority::Chat));
        of_pushes
            .into_iter()
            .chain(of_others)
            .min()
            .unwrap_or(LANES - 1)
    }
}

pub(super) const fn lane(priority: Priority) -> usize {
    match priority {
        Priority::Emergency => 0,
        Priority::Command => 1,
        Priority::Chat | Priority::Unspecified => 2,
        Priority::Telemetry => 3,
    }
}

fn head_frame(conversation: ConversationId, head: SequenceNumber) -> SharedFrame {
    let head = Head {
        conversation_id: conversation.to_bytes(),
        head: head.0,
    };
    SharedFrame::from(&Frame::notice(client::HEAD, &head))
}
