//! What operators see of stops: those in force, and which robots have not confirmed one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::error::decode_body;
use protocol::estop::{self, Scope, Stop};
use protocol::limits::ESTOP_MISSING_PER_PAGE_MAX;
use protocol::wire::internal::EstopTargets;
use protocol::wire::{AccountKind, EstopMissing, EstopPage, EstopStatus, ListEstops};
use protocol::{AccountId, ClientMessageId, ErrorCode, Refusal};
use service_kit::rpc;

use super::Gateway;
use crate::estop::Status;

/// How long is waited for the tiers that know who is not connected.
const TARGETS_TIMEOUT: Duration = Duration::from_secs(2);

impl Gateway {
    /// Answers with what is known here, and with more if the tiers behind are there.
    ///
    /// # Errors
    /// To robots, and when there is no such stop.
    pub async fn list_estops(
        self: Arc<Self>,
        kind: AccountKind,
        body: Bytes,
    ) -> Result<Bytes, Refusal> {
        let asked: ListEstops = decode_body(body)?;
        estop::may_see(kind)?;
        if asked.stop_id.is_empty() {
            let statuses = self.estops.lock().statuses();
            return Ok(rpc::encode(&EstopPage {
                stops: statuses.iter().map(wire).collect(),
                ..EstopPage::default()
            }));
        }
        let id = ClientMessageId::from_slice(&asked.stop_id)?;
        let status = self.estops.lock().status(id);
        let Some(status) = status else {
            let why = format!("stop_id: there is no stop {id}");
            return Err(Refusal::new(ErrorCode::NoSuchEntry, why));
        };
        let limit = match asked.limit {
            0 => ESTOP_MISSING_PER_PAGE_MAX,
            some => some.min(ESTOP_MISSING_PER_PAGE_MAX),
        };
        let after = AccountId(asked.after_account_id);
        let page = self.missing(&status, after, limit as usize).await;
        Ok(rpc::encode(&page))
    }

    async fn missing(&self, status: &Status, after: AccountId, limit: usize) -> EstopPage {
        let mut missing = BTreeMap::new();
        if status.stop.is_in_force() {
            let told = status.reached.difference(&status.confirmed);
            for account in told.filter(|account| **account > after) {
                missing.insert(*account, String::new());
            }
        }
        let targets = self.targets(status, after, limit);
        let all_known = match tokio::time::timeout(TARGETS_TIMEOUT, targets).await {
            Ok(Ok(targets)) => {
                missing.extend(targets);
                true
            }
            Ok(Err(_)) | Err(_) => false,
        };
        let more = missing.len() > limit;
        let rows = missing.into_iter().take(limit);
        EstopPage {
            stops: vec![wire(status)],
            missing: rows
                .map(|(account, name)| EstopMissing {
                    account_id: account.0,
                    name,
                    reached: status.reached.contains(&account),
                })
                .collect(),
            more,
            all_known,
        }
    }

    /// Robots that the stop concerns and that have not confirmed it, one more than `limit`.
    async fn targets(
        &self,
        status: &Status,
        after: AccountId,
        limit: usize,
    ) -> Result<Vec<(AccountId, String)>, Refusal> {
        let mut missing = Vec::new();
        if !status.stop.is_in_force() {
            return Ok(missing);
        }
        let mut question = EstopTargets {
            conversation_id: match status.stop.scope() {
                Scope::Fleet => Bytes::new(),
                Scope::Group(group) => group.to_bytes(),
            },
            after_account_id: after.0,
            limit: 0,
        };
        loop {
            let page = self.upstream.estop_targets(&question).await?;
            let last = page.members.last().map(|last| last.account_id);
            for target in page.members {
                let account = AccountId(target.account_id);
                let is_robot = target.kind() == AccountKind::Robot;
                if is_robot && !status.confirmed.contains(&account) {
                    missing.push((account, target.name));
                }
            }
            match last.filter(|_| page.more && missing.len() <= limit) {
                Some(last) => question.after_account_id = last,
                None => return Ok(missing),
            }
        }
    }
}

fn wire(status: &Status) -> EstopStatus {
    let some = |accounts: usize| u32::try_from(accounts).unwrap_or(u32::MAX);
    EstopStatus {
        stop: Some(Stop::to_wire(&status.stop)),
        reached: some(status.reached.len()),
        confirmed: some(status.confirmed.len()),
    }
}
