//! The ephemeral messages of an outbox: the newest of each key, after all else.

use super::{EPHEMERAL_BYTES_MAX, EPHEMERAL_MAX, EphemeralKey, Outbox, Put};
use crate::shared_frame::SharedFrame;

impl Outbox {
    /// An ephemeral message: only the newest of its key is kept.
    pub fn ephemeral(&mut self, key: EphemeralKey, frame: SharedFrame) -> Put {
        self.ephemeral_bytes += frame.len();
        let mut replaced = 0;
        if let Some(old) = self.ephemeral.insert(key.clone(), frame) {
            self.ephemeral_bytes -= old.len();
            replaced += 1;
        } else {
            self.ephemeral_order.push_back(key);
        }
        while self.ephemeral_order.len() > EPHEMERAL_MAX
            || self.ephemeral_bytes > EPHEMERAL_BYTES_MAX
        {
            if self.pop_ephemeral().is_none() {
                break;
            }
            replaced += 1;
        }
        if replaced == 0 {
            Put::Queued
        } else {
            Put::Replaced(replaced)
        }
    }

    pub(super) fn pop_ephemeral(&mut self) -> Option<SharedFrame> {
        let key = self.ephemeral_order.pop_front()?;
        let frame = self.ephemeral.remove(&key)?;
        self.ephemeral_bytes -= frame.len();
        Some(frame)
    }
}
