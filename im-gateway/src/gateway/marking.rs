//! Marks of local accounts on their way to the store: gathered, newest only.

use std::sync::Arc;
use std::time::Duration;

use protocol::AccountId;
use protocol::wire;

use super::Gateway;
use crate::events;

/// How long marks are gathered before they are passed on.
const MARKS_INTERVAL: Duration = Duration::from_millis(100);

impl Gateway {
    /// An account has these marks.
    pub fn mark(&self, account: AccountId, marks: &wire::Marks) {
        let mut waiting = self.marks.lock();
        let dropped = marks
            .marks
            .iter()
            .filter(|mark| !waiting.raise(account, mark, marks.history_generation))
            .count();
        drop(waiting);
        events::marks_dropped(dropped);
        if self.drain.is_draining() {
            // The link outlives the sessions, but not for long.
            self.flush_marks();
        } else {
            self.marked.notify_one();
        }
    }

    /// Runs until the drain: passes marks on, newest only. From then on they go as they come.
    pub async fn pass_marks(self: Arc<Self>) {
        let work = async {
            loop {
                self.marked.notified().await;
                tokio::time::sleep(MARKS_INTERVAL).await;
                if !self.flush_marks() {
                    self.marked.notify_one();
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = self.drain.draining() => {}
        }
        self.flush_marks();
    }

    /// Returns `false` when some had to stay.
    fn flush_marks(&self) -> bool {
        loop {
            let Some(marks) = self.marks.lock().take() else {
                return true;
            };
            if self.upstream.marks(&marks).is_err() {
                // Logic is away or slow: they stay, and are conflated with what comes.
                let dropped = self.marks.lock().put_back(marks);
                events::marks_dropped(dropped);
                return false;
            }
        }
    }
}
