//! How a client ends, and what its journal has to do with it.

use std::time::Duration;

use protocol::{ErrorCode, Refusal};
use tokio::time::Instant;

use super::{Driver, Link};
use crate::attempts::STEADY_AFTER;
use crate::error::{ConfigError, Error};
use crate::incoming::CloseReason;
use crate::journal::{JournalError, Writer};

/// How long messages on their way are waited for when the client is closed.
pub(super) const CLOSE_GRACE: Duration = Duration::from_secs(2);

impl Driver {
    pub(super) async fn end(mut self, reason: CloseReason) {
        self.calls.close();
        while let Ok(call) = self.calls.try_recv() {
            self.call(Some(call), Instant::now());
        }
        if let Link::Up(connection) = &mut self.link {
            while let Some(frame) = self.engine.next_marks(Instant::now(), true) {
                if connection.enqueue(&frame).is_err() {
                    break;
                }
            }
        }
        if let Link::Up(connection) =
            std::mem::replace(&mut self.link, Link::Waiting(self.up_since))
        {
            connection.shutdown().await;
        }
        if let Some(writer) = self.writer.take() {
            self.write_out(writer).await;
        }
        self.engine.end_sends(Instant::now());
        self.engine.end(reason);
    }

    /// The journal's last changes, if its disk takes them in a moment.
    async fn write_out(&mut self, mut writer: Writer) {
        let engine = &mut self.engine;
        let last = async {
            if writer.is_writing() {
                let done = writer.done().await;
                engine.written(done, Instant::now());
            }
            engine.end_sends(Instant::now());
            while let Some(changes) = engine.next_batch(Instant::now(), true) {
                writer.start(changes);
                let done = writer.done().await;
                let failed = done.is_err();
                engine.written(done, Instant::now());
                if failed {
                    break;
                }
            }
        };
        // What is not written by then is told as unknown, and is in the journal or not.
        drop(tokio::time::timeout(CLOSE_GRACE, last).await);
        engine.end_sends(Instant::now());
        engine.give_up_journal();
        writer.close().await;
    }

    /// The account is not the journal's: nothing of it is sent.
    pub(super) fn not_ours(&mut self, error: JournalError, now: Instant) {
        self.link = Link::Waiting(now + STEADY_AFTER);
        if let Some(first) = self.first.take() {
            let error = Error::from(ConfigError::from(error));
            drop(first.welcomed.send(Err(error)));
            self.close(None, now);
        } else {
            let refusal = Refusal::new(ErrorCode::Conflict, error.to_string());
            self.ended = Some(CloseReason::Refused(refusal));
        }
    }
}

/// How the journal's commit ended; for ever if there is none. Cancel-safe.
pub(super) async fn written(writer: &mut Option<Writer>) -> Result<(), JournalError> {
    match writer {
        Some(writer) => writer.done().await,
        None => std::future::pending().await,
    }
}
