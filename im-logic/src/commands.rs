//! Commands with outcomes: who may command whom, and who may see and end what became of it.
//!
//! The facts come from the store, which also has the last word on a plan's epoch, in the transaction
//! that stores a command. Not here: what a robot may say of its own orders, which is whatever the
//! store has an outcome for.

mod selected;

use std::sync::Arc;

use bytes::Bytes;
use protocol::command::{self, CommandKey};
use protocol::id::ConversationKind;
use protocol::kind::method;
use protocol::limits::{
    COMMAND_ARGUMENTS_BYTES_MAX, COMMAND_DEADLINE_MS_MAX, COMMAND_TARGETS_MAX,
    OUTCOME_REASON_BYTES_MAX, OUTCOME_RESULT_BYTES_MAX, REPORTS_PER_FRAME_MAX,
};
use protocol::wire::internal::{
    CommandList, CommandRead, ListCommands, OpenCommand, OrdersOf, Reach, Reached, ReadCommands,
    StoreCancel, StoreReports, StoreTakeEpoch, read_commands,
};
use protocol::wire::{
    AccountKind, CancelCommand, GetCommand, ListOrders, OutcomeReport, OutcomeState,
    OutcomesReported, ReportOutcomes, SendCommand, TakeEpoch,
};
use protocol::{ClientMessageId, ConversationId, ErrorCode, Refusal};
use service_kit::clock;
use service_kit::rpc;

use crate::directory::Directory;
use crate::members::Members;
use crate::permission::{self, Action};
use crate::registry::Registry;
use crate::store::{Caller, Store, To};

/// Sends commands, and answers what is asked of them.
#[derive(Debug)]
pub struct Commands {
    directory: Arc<Directory>,
    members: Arc<Members>,
    store: Store,
    registry: Arc<Registry>,
}

/// Whether an account may see and cancel a command: its issuer, and whoever may with those of others.
fn may_supervise(caller: AccountKind, is_issuer: bool) -> Result<(), Refusal> {
    if is_issuer {
        return permission::check_kind(Action::SendCommand, caller);
    }
    permission::check_kind(Action::SuperviseCommands, caller)
}

impl Commands {
    /// Over these.
    #[must_use]
    pub const fn new(
        directory: Arc<Directory>,
        members: Arc<Members>,
        store: Store,
        registry: Arc<Registry>,
    ) -> Self {
        Self {
            directory,
            members,
            store,
            registry,
        }
    }

    /// Stores a command; its robots are told by the store.
    pub async fn send(&self, caller: Caller, mut send: SendCommand) -> Result<Bytes, Refusal> {
        let key = check_command(&send, clock::unix_ms())?;
        send.targets.sort_unstable();
        send.targets.dedup();
        let kind = self.kind(caller).await?;
        // First what needs no question to the store.
        permission::check_kind(Action::SendCommand, kind)?;
        if send.selection.is_some() {
            return self.send_to_any(caller, key, send).await;
        }
        self.check_reach(caller, &send).await?;
        let open = OpenCommand {
            issuer: caller.account.0,
            send: Some(send),
        };
        let body = rpc::encode(&open);
        let to = To::Key(key.plan.as_bytes());
        let answer = self
            .store
            .pass(to, method::OPEN_COMMAND, body, caller.deadline);
        answer.await
    }

    /// That the caller shares a group with every robot that it names, or is in the group.
    async fn check_reach(&self, caller: Caller, send: &SendCommand) -> Result<(), Refusal> {
        if send.targets.is_empty() {
            let group = ConversationId::from_slice(&send.group_id)?;
            let key = (group, caller.account);
            let standing = self.members.ask(key, caller.deadline).await?;
            return permission::check_standing(Action::SendCommand, standing);
        }
        let question = read_commands::Question::Reach(Reach {
            account_id: caller.account.0,
            targets: send.targets.clone(),
        });
        let reached: Reached = self.read(caller, question).await?;
        if reached.targets.len() == send.targets.len() {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::Forbidden,
            "targets: some are no robots that you share a group with",
        ))
    }

    /// What a robot says of its orders; of several plans it says to the store of each.
    pub async fn report(&self, caller: Caller, said: ReportOutcomes) -> Result<Bytes, Refusal> {
        let mut plans: Vec<ClientMessageId> = Vec::new();
        for report in &said.reports {
            plans.push(check_report(report)?.plan);
        }
        if said.reports.len() > REPORTS_PER_FRAME_MAX || said.reports.is_empty() {
            return Err(Refusal::bad_request(format!(
                "reports: 1 to {REPORTS_PER_FRAME_MAX}"
            )));
        }
        let store = |plan: &ClientMessageId, reports: Vec<OutcomeReport>| {
            let request = StoreReports {
                account_id: caller.account.0,
                reports: Some(ReportOutcomes { reports }),
            };
            let body = rpc::encode(&request);
            let to = To::Key(plan.as_bytes());
            self.store
                .pass(to, method::STORE_REPORTS, body, caller.deadline)
        };
        let first = plans.first().copied();
        if let Some(plan) = first.filter(|first| plans.iter().all(|plan| plan == first)) {
            return store(&plan, said.reports).await;
        }
        // Rare: a robot of several plans. Each run of one plan is asked alone.
        let mut states = Vec::with_capacity(plans.len());
        for (plan, report) in plans.iter().zip(said.reports) {
            let answer = store(plan, vec![report]).await?;
            let answer: OutcomesReported = understood(&answer)?;
            states.extend(answer.states);
        }
        Ok(rpc::encode(&OutcomesReported { states }))
    }

    /// Ends a command where it has not begun.
    pub async fn cancel(&self, caller: Caller, cancel: CancelCommand) -> Result<Bytes, Refusal> {
        let key = CommandKey::from_wire(cancel.key.clone())?;
        check_length("reason", &cancel.reason, OUTCOME_REASON_BYTES_MAX)?;
        let question = GetCommand {
            key: cancel.key.clone(),
            counts_only: true,
            ..GetCommand::default()
        };
        self.supervised(caller, question).await?;
        let body = rpc::encode(&StoreCancel {
            cancel: Some(cancel),
        });
        let to = To::Key(key.plan.as_bytes());
        let answer = self
            .store
            .pass(to, method::STORE_CANCEL, body, caller.deadline);
        answer.await
    }

    /// What has become of a command.
    pub async fn get(&self, caller: Caller, get: GetCommand) -> Result<Bytes, Refusal> {
        CommandKey::from_wire(get.key.clone())?;
        let read = self.supervised(caller, get).await?;
        Ok(rpc::encode(&read.status.unwrap_or_default()))
    }

    /// Commands with a lesser id, those with the newest plans first: all, for whoever may see those of
    /// others, else the caller's own.
    pub async fn list(
        &self,
        caller: Caller,
        before: Option<ClientMessageId>,
        limit: u32,
    ) -> Result<CommandList, Refusal> {
        let kind = self.kind(caller).await?;
        permission::check_kind(Action::SendCommand, kind)?;
        let sees_all = permission::check_kind(Action::SuperviseCommands, kind).is_ok();
        let question = ListCommands {
            issuer: if sees_all { 0 } else { caller.account.0 },
            before_id: before.map(ClientMessageId::to_bytes).unwrap_or_default(),
            limit,
        };
        let (to, method) = (To::Any(&[]), method::LIST_COMMANDS);
        self.store.ask(to, method, &question, caller.deadline).await
    }

    /// The caller's own orders.
    pub async fn orders(&self, caller: Caller, list: ListOrders) -> Result<Bytes, Refusal> {
        if !list.after_order_id.is_empty() {
            ClientMessageId::from_slice(&list.after_order_id)?;
        }
        let question = read_commands::Question::Orders(OrdersOf {
            account_id: caller.account.0,
            list: Some(list),
        });
        self.pass_question(caller, question).await
    }

    /// The next epoch of a plan.
    pub async fn take_epoch(&self, caller: Caller, take: TakeEpoch) -> Result<Bytes, Refusal> {
        let plan = ClientMessageId::from_slice(&take.plan_id)?;
        ClientMessageId::from_slice(&take.request_id)?;
        permission::check_kind(Action::TakeEpoch, self.kind(caller).await?)?;
        let body = rpc::encode(&StoreTakeEpoch {
            account_id: caller.account.0,
            take: Some(take),
        });
        let to = To::Key(plan.as_bytes());
        let answer = self
            .store
            .pass(to, method::STORE_TAKE_EPOCH, body, caller.deadline);
        answer.await
    }

    async fn supervised(&self, caller: Caller, get: GetCommand) -> Result<CommandRead, Refusal> {
        let kind = self.kind(caller).await?;
        let question = read_commands::Question::Get(get);
        let read: CommandRead = self.read(caller, question).await?;
        may_supervise(kind, read.issuer == caller.account.0)?;
        Ok(read)
    }

    async fn read<A: prost::Message + Default>(
        &self,
        caller: Caller,
        question: read_commands::Question,
    ) -> Result<A, Refusal> {
        understood(&self.pass_question(caller, question).await?)
    }

    async fn pass_question(
        &self,
        caller: Caller,
        question: read_commands::Question,
    ) -> Result<Bytes, Refusal> {
        let body = rpc::encode(&ReadCommands {
            question: Some(question),
        });
        let key = caller.account.0.to_be_bytes();
        let answer = self
            .store
            .pass(To::Any(&key), method::READ_COMMANDS, body, caller.deadline);
        answer.await
    }

    async fn kind(&self, caller: Caller) -> Result<AccountKind, Refusal> {
        match self.directory.kind(caller.account) {
            Some(kind) => Ok(kind),
            None => {
                let profile = self.directory.one(caller.account, caller.deadline).await?;
                Ok(profile.kind)
            }
        }
    }
}

/// Checks all that can be checked without asking.
fn check_command(send: &SendCommand, now_ms: u64) -> Result<CommandKey, Refusal> {
    let key = CommandKey::from_wire(send.key.clone())?;
    command::word("action", &send.action)?;
    check_length(
        "arguments_json",
        &send.arguments_json,
        COMMAND_ARGUMENTS_BYTES_MAX,
    )?;
    let given = [
        !send.targets.is_empty(),
        !send.group_id.is_empty(),
        send.selection.is_some(),
    ];
    if given.into_iter().filter(|given| *given).count() != 1 {
        return Err(Refusal::bad_request(
            "targets, group_id, selection: one of accounts, a group, or a condition",
        ));
    }
    if send.targets.len() > COMMAND_TARGETS_MAX {
        return Err(Refusal::new(
            ErrorCode::LimitReached,
            format!("targets: at most {COMMAND_TARGETS_MAX}"),
        ));
    }
    if !send.group_id.is_empty() {
        let group = ConversationId::from_slice(&send.group_id)?;
        if !matches!(group.kind(), ConversationKind::Group(_)) {
            return Err(Refusal::bad_request("group_id: not a group"));
        }
    }
    // One that has passed is the store's to refuse: it may be a repeat.
    if send.deadline_at_ms == 0 || send.deadline_at_ms > now_ms + COMMAND_DEADLINE_MS_MAX {
        return Err(Refusal::bad_request(
            "deadline_at_ms: a moment within the next seven days",
        ));
    }
    Ok(key)
}

fn check_report(report: &OutcomeReport) -> Result<CommandKey, Refusal> {
    check_length("reason", &report.reason, OUTCOME_REASON_BYTES_MAX)?;
    check_length("result_json", &report.result_json, OUTCOME_RESULT_BYTES_MAX)?;
    let said = OutcomeState::try_from(report.state).unwrap_or_default();
    if said == OutcomeState::Unspecified || said == OutcomeState::Stored {
        return Err(Refusal::bad_request("state: not one that a robot says"));
    }
    CommandKey::from_wire(report.key.clone())
}

fn check_length(field: &str, text: &str, most: usize) -> Result<(), Refusal> {
    if text.len() > most {
        return Err(Refusal::bad_request(format!(
            "{field}: at most {most} bytes"
        )));
    }
    Ok(())
}

fn understood<A: prost::Message + Default>(answer: &Bytes) -> Result<A, Refusal> {
    A::decode(answer.clone())
        .map_err(|error| Refusal::internal(format!("the store's answer does not parse: {error}")))
}

#[cfg(test)]
mod tests;
