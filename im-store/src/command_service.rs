//! What the logic tier may ask of commands: methods 115 to 119, and 170, of `internal.proto`.
//!
//! A shell: it parses, asks the writer or the readers, tells the desk, and encodes.

use bytes::Bytes;
use protocol::command::CommandKey;
use protocol::limits::{
    ADMIN_ROWS_PER_PAGE_MAX, ORDERS_PER_PAGE_MAX, OUTCOME_PAGE_BYTES_MAX, OUTCOMES_PER_PAGE_MAX,
    REPORTS_PER_FRAME_MAX,
};
use protocol::wire::internal::{self, read_commands};
use protocol::wire::{
    self, CommandCancelled, CommandSent, CommandStatus, EpochTaken, OrderPage, OutcomeCounts,
    OutcomeState, OutcomesReported,
};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal};
use service_kit::clock;
use service_kit::rpc;

use crate::command::{self, Command, CommandChore, CommandDone, Opening, Report, Targets};
use crate::desk::{DeskSink, News};
use crate::engine::{Chore, Done, EngineError, Readers};
use crate::events;
use crate::reports::ReportSink;
use crate::writer::Writer;

/// Answers what is asked of commands.
#[derive(Debug)]
pub struct Commands<R> {
    writer: Writer,
    readers: R,
    reports: ReportSink,
    desk: DeskSink,
}

impl<R: Readers> Commands<R> {
    /// Over these.
    #[must_use]
    pub const fn new(writer: Writer, readers: R, reports: ReportSink, desk: DeskSink) -> Self {
        Self {
            writer,
            readers,
            reports,
            desk,
        }
    }

    /// Method 115.
    pub async fn open(&self, request: internal::OpenCommand) -> Result<Bytes, Refusal> {
        let send = request.send.unwrap_or_default();
        let opening = opening(AccountId(request.issuer), send, clock::unix_ms())?;
        let chore = CommandChore::Open(Box::new(opening));
        let CommandDone::Opened(opened) = self.chore(chore).await? else {
            return Err(nothing_came());
        };
        let counts = if opened.duplicate {
            self.counts(opened.command.id()).await?
        } else {
            OutcomeCounts {
                stored: u32::try_from(opened.targets.len()).unwrap_or(u32::MAX),
                ..OutcomeCounts::default()
            }
        };
        let sent = CommandSent {
            epoch: opened.command.epoch,
            deadline_at_ms: opened.command.deadline_ms,
            duplicate: opened.duplicate,
            counts: Some(counts),
            matched: 0,
        };
        events::command_opened(&opened);
        let news = if opened.duplicate {
            News::Renewed(opened.command)
        } else {
            News::Opened(opened.command, opened.targets)
        };
        self.desk.tell(news).await;
        for (older, changes) in opened.superseded {
            self.renew(older).await?;
            self.desk.tell(News::Changed(changes)).await;
        }
        Ok(rpc::encode(&sent))
    }

    /// Method 116. Progress is passed on and not written.
    pub async fn report(&self, request: internal::StoreReports) -> Result<Bytes, Refusal> {
        let account = AccountId(request.account_id);
        let said = request.reports.unwrap_or_default().reports;
        if said.len() > REPORTS_PER_FRAME_MAX {
            return Err(Refusal::bad_request("reports: too many in one request"));
        }
        let (mut reports, mut progress, mut is_written) = (Vec::new(), Vec::new(), Vec::new());
        for report in said {
            is_written.push(!report.is_progress);
            let command = CommandKey::from_wire(report.key.clone())?.id();
            if report.is_progress {
                progress.push((command, moved(account, &report)));
            } else {
                reports.push(parsed(account, command, report));
            }
        }
        if !progress.is_empty() {
            self.desk.mention(News::Progress(progress));
        }
        let mut states = Vec::new().into_iter();
        if !reports.is_empty() {
            states = self.reports.report(reports).await?.into_iter();
        }
        let state = |is_written| {
            let state = if is_written { states.next() } else { None };
            state.unwrap_or(OutcomeState::Running).into()
        };
        let states = is_written.into_iter().map(state).collect();
        Ok(rpc::encode(&OutcomesReported { states }))
    }

    /// Method 117.
    pub async fn cancel(&self, request: internal::StoreCancel) -> Result<Bytes, Refusal> {
        let cancel = request.cancel.unwrap_or_default();
        let command = CommandKey::from_wire(cancel.key)?.id();
        self.known(command).await?;
        let reason = cancel.reason;
        let chore = CommandChore::Cancel { command, reason };
        let CommandDone::Ended(changes) = self.chore(chore).await? else {
            return Err(nothing_came());
        };
        self.renew(command).await?;
        self.desk.tell(News::Changed(changes)).await;
        let counts = Some(self.counts(command).await?);
        Ok(rpc::encode(&CommandCancelled { counts }))
    }

    /// Method 118.
    pub async fn read(&self, request: internal::ReadCommands) -> Result<Bytes, Refusal> {
        use read_commands::Question;
        match request.question {
            Some(Question::Get(get)) => self.get(get).await,
            Some(Question::Orders(orders)) => self.orders(orders).await,
            Some(Question::Reach(reach)) => {
                let targets: Vec<_> = reach.targets.into_iter().map(AccountId).collect();
                let account = AccountId(reach.account_id);
                let reached = self.readers.reach(account, &targets).await;
                let reached = reached.map_err(|error| unread(&error))?;
                Ok(rpc::encode(&internal::Reached {
                    targets: reached.into_iter().map(|account| account.0).collect(),
                }))
            }
            None => Err(Refusal::bad_request("question: missing")),
        }
    }

    /// Method 119.
    pub async fn take_epoch(&self, request: internal::StoreTakeEpoch) -> Result<Bytes, Refusal> {
        let take = request.take.unwrap_or_default();
        let chore = CommandChore::TakeEpoch {
            plan: ClientMessageId::from_slice(&take.plan_id)?,
            expected: take.expected,
            holder: AccountId(request.account_id),
            request: ClientMessageId::from_slice(&take.request_id)?,
        };
        let CommandDone::Epoch { taken, epoch } = self.chore(chore).await? else {
            return Err(nothing_came());
        };
        Ok(rpc::encode(&EpochTaken { taken, epoch }))
    }

    /// Method 170.
    pub async fn list(&self, request: internal::ListCommands) -> Result<Bytes, Refusal> {
        if !request.before_id.is_empty() {
            ClientMessageId::from_slice(&request.before_id)?;
        }
        let limit = bounded(request.limit, ADMIN_ROWS_PER_PAGE_MAX);
        let issuer = AccountId(request.issuer);
        let found = self
            .readers
            .commands_before(issuer, &request.before_id, limit + 1)
            .await;
        let mut found = found.map_err(|error| unread(&error))?;
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let mut list = internal::CommandList {
            more,
            ..internal::CommandList::default()
        };
        for command in found {
            let id = command.id();
            list.commands.push(internal::ListedCommand {
                command_id: id.to_bytes(),
                key: Some(command.key.to_wire()),
                epoch: command.epoch,
                issuer: command.issuer.0,
                action: command.action,
                deadline_at_ms: command.deadline_ms,
                created_at_ms: command.created_at_ms,
                is_cancelled: command.is_cancelled,
                counts: Some(self.counts(id).await?),
            });
        }
        Ok(rpc::encode(&list))
    }

    async fn get(&self, get: wire::GetCommand) -> Result<Bytes, Refusal> {
        let key = CommandKey::from_wire(get.key)?;
        let (id, limit) = (key.id(), bounded(get.limit, OUTCOMES_PER_PAGE_MAX));
        let command = self.known(id).await?;
        let mut status = CommandStatus {
            key: Some(command.key.to_wire()),
            epoch: command.epoch,
            deadline_at_ms: command.deadline_ms,
            counts: Some(self.counts(id).await?),
            ..CommandStatus::default()
        };
        if !get.counts_only {
            let all = (OutcomeState::Stored, OutcomeState::Superseded);
            let after = AccountId(get.after_account_id);
            let found = self.readers.outcomes(id, all, after, limit + 1).await;
            let found = found.map_err(|error| unread(&error))?;
            let mut bytes = 0;
            for outcome in &found {
                let outcome = command::wire_outcome(outcome);
                bytes += prost::Message::encoded_len(&outcome) + 5;
                let is_full = status.outcomes.len() >= limit as usize;
                if !status.outcomes.is_empty() && (is_full || bytes > OUTCOME_PAGE_BYTES_MAX) {
                    status.more = true;
                    break;
                }
                status.outcomes.push(outcome);
            }
        }
        Ok(rpc::encode(&internal::CommandRead {
            status: Some(status),
            issuer: command.issuer.0,
        }))
    }

    async fn orders(&self, request: internal::OrdersOf) -> Result<Bytes, Refusal> {
        let list = request.list.unwrap_or_default();
        let (now_ms, limit) = (clock::unix_ms(), bounded(list.limit, ORDERS_PER_PAGE_MAX));
        let account = AccountId(request.account_id);
        let found = self
            .readers
            .orders(account, now_ms, &list.after_order_id, limit + 1)
            .await
            .map_err(|error| unread(&error))?;
        let mut page = OrderPage::default();
        let mut bytes = 0;
        for (command, state) in found {
            let order = command::wire_order(&command, state, now_ms);
            bytes += prost::Message::encoded_len(&order) + 5;
            let is_full = page.orders.len() >= limit as usize;
            if !page.orders.is_empty() && (is_full || bytes > OUTCOME_PAGE_BYTES_MAX) {
                page.more = true;
                break;
            }
            page.orders.push(order);
        }
        Ok(rpc::encode(&page))
    }

    /// Its robots are told anew.
    async fn renew(&self, command: ClientMessageId) -> Result<(), Refusal> {
        let command = self.known(command).await?;
        self.desk.tell(News::Renewed(command)).await;
        Ok(())
    }

    async fn known(&self, id: ClientMessageId) -> Result<Command, Refusal> {
        let found = self.readers.command(id).await;
        let found = found.map_err(|error| unread(&error))?;
        found.ok_or_else(|| Refusal::new(ErrorCode::NoSuchCommand, "key: there is no such command"))
    }

    async fn counts(&self, id: ClientMessageId) -> Result<OutcomeCounts, Refusal> {
        let counts = self.readers.outcome_counts(id).await;
        counts.map_err(|error| unread(&error))
    }

    async fn chore(&self, chore: CommandChore) -> Result<CommandDone, Refusal> {
        let Done::Command(done) = self.writer.chore(Chore::Command(chore)).await? else {
            return Err(nothing_came());
        };
        Ok(done)
    }
}

/// Logic has checked the fields.
fn opening(issuer: AccountId, send: wire::SendCommand, now_ms: u64) -> Result<Opening, Refusal> {
    let digest = command::digest(&send);
    let targets = if send.targets.is_empty() && send.selection.is_none() {
        Targets::Group(ConversationId::from_slice(&send.group_id)?)
    } else {
        Targets::Named(send.targets.into_iter().map(AccountId).collect())
    };
    Ok(Opening {
        command: Command {
            key: CommandKey::from_wire(send.key)?,
            epoch: send.epoch,
            issuer,
            action: send.action,
            arguments: send.arguments_json,
            digest,
            deadline_ms: send.deadline_at_ms,
            created_at_ms: now_ms,
            is_cancelled: false,
            cancel_reason: String::new(),
        },
        targets,
    })
}

fn parsed(account: AccountId, command: ClientMessageId, report: wire::OutcomeReport) -> Report {
    Report {
        command,
        account,
        state: report.state(),
        reason: report.reason,
        result: report.result_json,
    }
}

fn moved(account: AccountId, report: &wire::OutcomeReport) -> wire::TargetOutcome {
    wire::TargetOutcome {
        account_id: account.0,
        state: OutcomeState::Running.into(),
        progress_percent: report.progress_percent.min(100),
        changed_at_ms: clock::unix_ms(),
        ..wire::TargetOutcome::default()
    }
}

fn bounded(asked: u32, most: u32) -> u32 {
    if asked == 0 { most } else { asked.min(most) }
}

fn nothing_came() -> Refusal {
    Refusal::internal("a command was written, and another answer came")
}

fn unread(error: &EngineError) -> Refusal {
    events::read_failed(error);
    Refusal::unavailable("the database failed")
}
