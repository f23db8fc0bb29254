//! Removes the bytes of media that no message refers to.
//!
//! The store dooms them in its transaction, after which no message may refer to them; then their
//! bytes go, and then their rows. Whoever dies in between leaves doomed rows, which are told to the
//! next gateway that asks.

use std::sync::Arc;
use std::time::Duration;

use protocol::Refusal;
use protocol::media::MediaId;
use tokio::time::{MissedTickBehavior, interval};

use super::Media;
use crate::events;

impl Media {
    /// Sweeps until the drain.
    pub async fn keep_clean(self: Arc<Self>, every: Duration) {
        let sweeping = async {
            let mut due = interval(every);
            due.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                due.tick().await;
                if let Err(refusal) = self.sweep().await {
                    events::media_sweep_ended_early(&refusal);
                }
            }
        };
        tokio::select! {
            () = sweeping => {}
            () = self.drain.draining() => {}
        }
    }

    /// Removes what there is to remove now. How many went.
    pub(super) async fn sweep(&self) -> Result<u64, Refusal> {
        let _alone = self.sweeping.lock().await;
        let grace_ms = u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX);
        let (mut gone, mut total) = (Vec::new(), 0);
        loop {
            let swept = self.upstream.media_sweep(grace_ms, gone).await?;
            if swept.doomed.is_empty() {
                events::media_collected(total);
                return Ok(total);
            }
            for id in &swept.doomed {
                let id = MediaId::from_slice(id)?;
                self.bucket.remove(id).await?;
                self.manifests.lock().remove(&id);
                total += 1;
            }
            gone = swept.doomed;
        }
    }

    /// Removes one that was doomed.
    pub(super) async fn remove(&self, id: MediaId) -> Result<(), Refusal> {
        self.bucket.remove(id).await?;
        // Nothing is as old: only what is said to be gone goes.
        let gone = vec![id.to_bytes()];
        self.upstream.media_sweep(u64::MAX, gone).await?;
        Ok(())
    }
}
