//! How many requests a second one session may make.
//!
//! Pure. Not here: how many at once, and what a client is told.

use std::time::Duration;

use protocol::Frame;
use protocol::error::decode_body;
use protocol::kind::client;
use protocol::wire::{Priority, Send};
use tokio::time::Instant;

/// Lets so many requests through a second, and as many at once.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    /// Full.
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Self {
            per_second,
            tokens: per_second,
            filled_at: now,
        }
    }

    /// Takes one, or says how long to wait for it.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.filled_at = now;
        self.tokens = passed
            .mul_add(self.per_second, self.tokens)
            .min(self.per_second);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let missing = (1.0 - self.tokens) / self.per_second;
        Err(Duration::from_secs_f64(missing))
    }
}

/// An emergency is never held up for being too frequent. Looked at only beyond the limit.
pub(super) fn is_emergency(frame: &Frame) -> bool {
    frame.kind == client::SEND
        && decode_body::<Send>(frame.body.clone())
            .is_ok_and(|send| send.priority() == Priority::Emergency)
}
