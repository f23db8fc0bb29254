//! `/admin/v1/audit`: who has asked for what, and what became of it.

use std::collections::{BTreeSet, HashMap};

use axum::Json;
use axum::extract::Query;
use protocol::wire::internal::{AuditRecord, AuditState};
use protocol::{AccountId, ErrorCode, Refusal};
use serde::Serialize;
use service_kit::http::{ErrorBody, Parameters, Refused};
use utoipa::ToSchema;

use super::caller::Asking;
use super::json::Paged;

/// A page of the audit.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Audit {
    /// The newest first.
    records: Vec<Record>,
    /// `after` of the next, older page; absent: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// One request that was to change something.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Record {
    /// Rises with time.
    id: String,
    /// In milliseconds since the Unix epoch.
    at_ms: u64,
    /// Whose request it was.
    account_id: String,
    /// The same by name.
    account: String,
    /// Where it came from.
    address: String,
    /// What was asked, for example `group.create`.
    action: String,
    /// Of what: a group, or the key of a command; empty: there was none yet, and none was made.
    target: String,
    /// The body of the request, cut after 2048 bytes.
    request: String,
    /// What became of it.
    outcome: Outcome,
    /// The code of the refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// Its message.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// What became of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It was done.
    Done,
    /// It was not.
    Refused,
    /// It was begun, and nobody has written its end: it is at work, or was interrupted.
    Unknown,
}

/// Reads the audit
#[utoipa::path(
    get, path = "/admin/v1/audit", operation_id = "read_audit", tag = "audit",
    params(Paged),
    responses((status = 200, description = "A page", body = Audit),
        (status = "default", description = "There is none", body = ErrorBody)),
)]
pub(super) async fn list(asking: Asking, paged: Parameters<Paged>) -> Result<Json<Audit>, Refused> {
    let Query(paged) = paged?;
    let (service, caller) = (&asking.api.service, asking.caller);
    let before = paged.number()?;
    let page = service.audit.list(caller, before, paged.limit).await?;
    let accounts = page.records.iter().map(|its| AccountId(its.account_id));
    let accounts: BTreeSet<_> = accounts.collect();
    let accounts: Vec<_> = accounts.into_iter().collect();
    // An account of another history may be gone.
    let known = service.directory.all(&accounts, caller.deadline).await;
    let known = known.unwrap_or_default().into_iter();
    let names: HashMap<u64, String> = known
        .map(|profile| (profile.account.0, profile.name.to_string()))
        .collect();
    let last = page
        .records
        .last()
        .map(|record| record.audit_id.to_string());
    let records = page.records.into_iter().map(|its| record(its, &names));
    Ok(Json(Audit {
        records: records.collect(),
        next: last.filter(|_| page.more),
    }))
}

fn record(record: AuditRecord, names: &HashMap<u64, String>) -> Record {
    let outcome = match record.state() {
        AuditState::Done => Outcome::Done,
        AuditState::Refused => Outcome::Refused,
        AuditState::Begun | AuditState::Unspecified => Outcome::Unknown,
    };
    let code = ErrorCode::try_from(record.code).unwrap_or_default();
    let code = (code != ErrorCode::Unspecified)
        .then(|| Refusal::new(code, "").label().to_ascii_uppercase());
    Record {
        id: record.audit_id.to_string(),
        at_ms: record.at_ms,
        account_id: record.account_id.to_string(),
        account: names.get(&record.account_id).cloned().unwrap_or_default(),
        address: record.address,
        action: record.action,
        target: record.target,
        request: record.request,
        outcome,
        message: Some(record.message).filter(|message| !message.is_empty()),
        code,
    }
}
