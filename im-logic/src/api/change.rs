//! A request that changes something: it is recorded before it is carried out, carried out to its end
//! whatever becomes of the connection, and its end is recorded before it is answered. One that is
//! refused is recorded as well, also when it makes no sense.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use protocol::wire::internal::{AuditRecord, AuditState};
use protocol::{ErrorCode, Refusal};
use serde::Serialize;
use serde::de::DeserializeOwned;
use service_kit::clock;
use service_kit::http::{Refused, read_body};

use super::Api;
use super::caller::Asking;
use crate::audit;
use crate::events;
use crate::store::Caller;

/// The body of a request, in bytes: the names of ten thousand accounts.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The longest target that is recorded, in bytes.
const TARGET_BYTES_MAX: usize = 256;

/// A change whose record is written.
#[derive(Debug)]
pub(super) struct Change {
    asking: Asking,
    record: AuditRecord,
}

impl Asking {
    /// Records that a change begins, and returns what is wanted.
    pub(super) async fn begin<T: DeserializeOwned>(
        self,
        action: &'static str,
        target: &str,
        body: Body,
    ) -> Result<(Change, T), Refused> {
        let patience = self.api.request_timeout();
        let read = tokio::time::timeout(patience, read_body(body, BODY_BYTES_MAX)).await;
        let read = read.unwrap_or_else(|_| Err(Refusal::bad_request("the body does not come")));
        let text = read.as_deref().unwrap_or_default();
        let mut record = AuditRecord {
            audit_id: self.caller.session.0,
            at_ms: clock::unix_ms(),
            account_id: self.caller.account.0,
            action: action.to_owned(),
            target: bounded(target),
            request: audit::request_of(text),
            address: self.address.to_string(),
            state: AuditState::Begun.into(),
            ..AuditRecord::default()
        };
        let wanted = read.and_then(|text| {
            serde_json::from_slice(&text).map_err(|error| Refusal::bad_request(error.to_string()))
        });
        if let Err(refusal) = &wanted {
            refused(&mut record, refusal);
        }
        let log = &self.api.service.audit;
        log.begin(&record, self.caller.deadline).await?;
        let wanted = wanted?;
        let change = Change {
            asking: self,
            record,
        };
        Ok((change, wanted))
    }
}

impl Change {
    /// Carries it out. What it returns is what was changed, and the answer.
    pub(super) async fn carry_out<A, F>(
        mut self,
        work: impl FnOnce(Arc<Api>, Caller) -> F,
    ) -> Result<Json<A>, Refused>
    where
        A: Serialize + Send + 'static,
        F: Future<Output = Result<(String, A), Refusal>> + Send + 'static,
    {
        let (api, caller) = (Arc::clone(&self.asking.api), self.asking.caller);
        let work = work(Arc::clone(&api), caller);
        let drain = api.drain.clone();
        let whole = drain.spawn(async move {
            let done = work.await;
            match &done {
                Ok((target, _)) => {
                    self.record.target = bounded(target);
                    self.record.state = AuditState::Done.into();
                }
                Err(refusal) => refused(&mut self.record, refusal),
            }
            events::administered(caller, &self.record);
            api.service.audit.end(&self.record).await?;
            done
        });
        let (_, answer) = whole
            .await
            .unwrap_or_else(|_| Err(Refusal::internal("it was broken off")))?;
        Ok(Json(answer))
    }
}

/// Of what has no outcome, a repeat with the same id finds it out.
fn refused(record: &mut AuditRecord, refusal: &Refusal) {
    let is_known = refusal.code != ErrorCode::OutcomeUnknown;
    record.state = if is_known {
        AuditState::Refused.into()
    } else {
        AuditState::Begun.into()
    };
    record.code = refusal.code.into();
    record.message = audit::message_of(refusal);
}

fn bounded(target: &str) -> String {
    target[..target.floor_char_boundary(TARGET_BYTES_MAX)].to_owned()
}
