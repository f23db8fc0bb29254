//! The audit of what is administered: who asked for what, and what became of it. A record is in the
//! store before anything is done, and has its end before the answer goes out.

use std::sync::Arc;
use std::time::Duration;

use protocol::kind::method;
use protocol::limits::{AUDIT_MESSAGE_BYTES_MAX, AUDIT_REQUEST_BYTES_MAX};
use protocol::wire::internal::{AuditPage, AuditRecord, ListAudit};
use protocol::{ErrorCode, Refusal};
use service_kit::rpc;

use crate::directory::Directory;
use crate::permission::{self, Action};
use crate::store::{Caller, Deadline, Store, To};

/// How often the end of a record is tried to be written.
const END_ATTEMPTS_MAX: u32 = 5;

/// The wait between two of them.
const END_PAUSE: Duration = Duration::from_millis(200);

/// How long one of them may take.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Writes and reads records.
#[derive(Debug)]
pub struct AuditLog {
    directory: Arc<Directory>,
    store: Store,
}

impl AuditLog {
    /// Over these.
    #[must_use]
    pub const fn new(directory: Arc<Directory>, store: Store) -> Self {
        Self { directory, store }
    }

    /// Writes that something begins, or that it was refused before it did.
    ///
    /// # Errors
    /// That the store is away: then nothing is to be done.
    pub async fn begin(&self, record: &AuditRecord, deadline: Deadline) -> Result<(), Refusal> {
        let key = record.audit_id.to_be_bytes();
        let body = rpc::encode(record);
        let written = self
            .store
            .pass(To::Any(&key), method::AUDIT_WRITE, body, deadline);
        written.await.map(|_| ())
    }

    /// Writes what became of it, for as long as that makes sense.
    ///
    /// # Errors
    /// *Outcome unknown*: it is done or refused, and the record does not say so.
    pub async fn end(&self, record: &AuditRecord) -> Result<(), Refusal> {
        for attempt in 1..=END_ATTEMPTS_MAX {
            let written = self.begin(record, Deadline::within(END_TIMEOUT)).await;
            if written.is_ok() {
                return Ok(());
            }
            if attempt < END_ATTEMPTS_MAX {
                tokio::time::sleep(END_PAUSE).await;
            }
        }
        Err(Refusal::new(
            ErrorCode::OutcomeUnknown,
            "its end could not be recorded: ask again with the same id",
        ))
    }

    /// Records before this one, the newest first; 0: from the newest.
    ///
    /// # Errors
    /// *Forbidden*, or that the store is away.
    pub async fn list(
        &self,
        caller: Caller,
        before: u64,
        limit: u32,
    ) -> Result<AuditPage, Refusal> {
        let asker = self.directory.one(caller.account, caller.deadline).await?;
        permission::check(Action::ReadAudit, asker.kind, None)?;
        let question = ListAudit {
            before_audit_id: before,
            limit,
        };
        let (to, method) = (To::Any(&[]), method::AUDIT_LIST);
        self.store.ask(to, method, &question, caller.deadline).await
    }
}

/// A body as it is recorded.
#[must_use]
pub fn request_of(body: &[u8]) -> String {
    cut(&String::from_utf8_lossy(body), AUDIT_REQUEST_BYTES_MAX)
}

/// A message as it is recorded.
#[must_use]
pub fn message_of(refusal: &Refusal) -> String {
    cut(&refusal.message, AUDIT_MESSAGE_BYTES_MAX)
}

fn cut(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        assert_eq!(cut("仓库", 5), "仓");
        assert_eq!(cut("仓库", 6), "仓库");
        let bytes = [&b"x".repeat(AUDIT_REQUEST_BYTES_MAX)[..], &[0xff]].concat();
        assert_eq!(request_of(&bytes).len(), AUDIT_REQUEST_BYTES_MAX);
    }
}
