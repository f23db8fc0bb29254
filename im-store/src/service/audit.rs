//! The audit of what is administered: methods 168 and 169 of `internal.proto`. A record is written,
//! and later its end; a page is read from the newest back.

use bytes::Bytes;
use protocol::Refusal;
use protocol::kind::method;
use protocol::limits::{ADMIN_ROWS_PER_PAGE_MAX, AUDIT_MESSAGE_BYTES_MAX, AUDIT_REQUEST_BYTES_MAX};
use protocol::wire::internal::{AuditPage, AuditRecord, AuditState, ListAudit};
use service_kit::rpc;

use super::{Service, bounded, failed};
use crate::engine::{Chore, Readers};

/// The longest name of an action, target and address, in bytes: the columns' own.
const ACTION_BYTES_MAX: usize = 64;
const TARGET_BYTES_MAX: usize = 256;
const ADDRESS_BYTES_MAX: usize = 64;

impl<R: Readers> Service<R> {
    pub(super) async fn audit(&self, of: u16, body: Bytes) -> Result<Bytes, Refusal> {
        if of == method::AUDIT_WRITE {
            let record = rpc::decode(body)?;
            check(&record)?;
            self.writer.chore(Chore::Audit(record)).await?;
            return Ok(Bytes::new());
        }
        let asked: ListAudit = rpc::decode(body)?;
        let limit = bounded(asked.limit, ADMIN_ROWS_PER_PAGE_MAX);
        let found = self.readers.audit(asked.before_audit_id, limit + 1).await;
        let mut records = found.map_err(failed)?;
        let more = records.len() > limit as usize;
        records.truncate(limit as usize);
        Ok(rpc::encode(&AuditPage { records, more }))
    }
}

fn check(record: &AuditRecord) -> Result<(), Refusal> {
    let lengths = [
        ("action", record.action.len(), ACTION_BYTES_MAX),
        ("target", record.target.len(), TARGET_BYTES_MAX),
        ("request", record.request.len(), AUDIT_REQUEST_BYTES_MAX),
        ("address", record.address.len(), ADDRESS_BYTES_MAX),
        ("message", record.message.len(), AUDIT_MESSAGE_BYTES_MAX),
    ];
    if let Some((field, ..)) = lengths.iter().find(|(_, length, most)| length > most) {
        return Err(Refusal::bad_request(format!("{field}: too long")));
    }
    if record.audit_id == 0 || record.state() == AuditState::Unspecified {
        return Err(Refusal::bad_request("audit_id, state: missing"));
    }
    Ok(())
}
