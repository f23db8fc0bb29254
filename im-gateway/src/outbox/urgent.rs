//! Words of emergency stops that wait for one client. Not here: that they go first
//! ([`super::Outbox`]).

use std::collections::VecDeque;

use protocol::ClientMessageId;

use crate::shared_frame::SharedFrame;

/// Which words of an emergency stop are the same: the stop, and whether it is released.
pub type UrgentKey = (ClientMessageId, bool);

/// As many as stops are in force, which is bounded: each waits once, however often it is told.
#[derive(Debug, Default)]
pub(super) struct Urgent(VecDeque<(UrgentKey, SharedFrame)>);

impl Urgent {
    /// Returns whether it waits from now on.
    pub(super) fn put(&mut self, key: UrgentKey, frame: SharedFrame) -> bool {
        let waits = self.0.iter().any(|(other, _)| *other == key);
        if !waits {
            self.0.push_back((key, frame));
        }
        !waits
    }

    pub(super) fn pop(&mut self) -> Option<SharedFrame> {
        Some(self.0.pop_front()?.1)
    }

    /// Gives back the room of what does not wait.
    pub(super) fn rest(&mut self) {
        if self.0.is_empty() {
            self.0 = VecDeque::new();
        }
    }
}
