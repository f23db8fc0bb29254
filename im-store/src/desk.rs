//! The desk of the commands of which more is expected: gives orders to robots until they are heard
//! of, tells issuers what changes, and says of what is late that it has expired.
//!
//! Whatever it says is a hint: robots ask for their orders when they come, issuers ask when counts
//! do not agree. What it knows is read again by the store that comes after it. [`ledger`] decides
//! what is due when, and is pure; here it is done.

pub mod ledger;

use std::time::Duration;

use bytes::Bytes;
use protocol::kind::{client, method};
use protocol::limits::{OUTCOME_PAGE_BYTES_MAX, OUTCOMES_PER_PAGE_MAX};
use protocol::wire::internal::TellAccounts;
use protocol::wire::{CommandStatus, OrderPage, OutcomeState, TargetOutcome};
use protocol::{AccountId, ClientMessageId, Frame, Refusal};
use service_kit::clock;
use service_kit::drain::Drain;
use service_kit::peers::Peers;
use service_kit::rpc;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::ledger::{Due, Ledger};
use crate::command::{self, Change, Command, CommandChore, CommandDone, NOT_BEGUN, NOT_OVER};
use crate::engine::{Chore, Done, EngineError, Readers};
use crate::events;
use crate::stream::Ownership;
use crate::writer::Writer;

/// News that waits for the desk. When full: whoever has it waits; it is taken without a wait for the
/// database.
const QUEUE_NEWS_MAX: usize = 4096;

/// How often the commands of which more is expected are read again: another store may have left
/// some behind.
const READ_AGAIN: Duration = Duration::from_secs(30);

/// Commands that are read at once.
const COMMANDS_PER_READ: u32 = 64;

/// Accounts that one frame goes to.
const ACCOUNTS_PER_NOTICE_MAX: usize = 16 * 1024;

/// How long before what failed is tried again, in milliseconds.
const RETRY_MS: u64 = 500;

/// What the desk is told.
#[derive(Debug)]
pub enum News {
    /// A command is stored, to these.
    Opened(Command, Vec<AccountId>),
    /// It is of a newer epoch, or was cancelled: robots are told anew.
    Renewed(Command),
    /// Outcomes have changed.
    Changed(Vec<Change>),
    /// How far robots are, which is not kept.
    Progress(Vec<(ClientMessageId, TargetOutcome)>),
}

/// Where news goes.
#[derive(Debug, Clone)]
pub struct DeskSink {
    news: mpsc::Sender<News>,
}

/// The other half.
#[derive(Debug)]
pub struct DeskTask {
    news: mpsc::Receiver<News>,
}

/// Both halves.
#[must_use]
pub fn new() -> (DeskSink, DeskTask) {
    let (sender, news) = mpsc::channel(QUEUE_NEWS_MAX);
    (DeskSink { news: sender }, DeskTask { news })
}

impl DeskSink {
    /// Tells it, waiting for room.
    pub async fn tell(&self, news: News) {
        if self.news.send(news).await.is_err() {
            events::news_dropped();
        }
    }

    /// Tells it what nobody will miss, if there is room.
    pub fn mention(&self, news: News) {
        if self.news.try_send(news).is_err() {
            events::news_dropped();
        }
    }
}

impl DeskTask {
    /// Works until the drain.
    pub async fn run(
        self,
        readers: impl Readers,
        writer: Writer,
        routers: Peers,
        ownership: Ownership,
        drain: Drain,
    ) {
        let desk = Desk {
            readers,
            writer,
            routers,
            ownership,
            ledger: Ledger::default(),
        };
        tokio::select! {
            () = desk.work(self.news) => {}
            () = drain.draining() => {}
        }
    }
}

struct Desk<R> {
    readers: R,
    writer: Writer,
    routers: Peers,
    ownership: Ownership,
    ledger: Ledger,
}

impl<R: Readers> Desk<R> {
    async fn work(mut self, mut news: mpsc::Receiver<News>) {
        let mut read_at = Instant::now();
        loop {
            let wake_at = self.ledger.next_wake().map_or(read_at, |at_ms| {
                let wait = at_ms.saturating_sub(clock::unix_ms());
                read_at.min(Instant::now() + Duration::from_millis(wait))
            });
            tokio::select! {
                biased;
                told = news.recv() => match told {
                    Some(told) => self.take(told),
                    None => return,
                },
                () = self.ownership.moved() => read_at = Instant::now(),
                () = tokio::time::sleep_until(wake_at) => {}
            }
            // All that waits is one step, so that it is told together.
            while let Ok(told) = news.try_recv() {
                self.take(told);
            }
            if read_at <= Instant::now() {
                read_at = Instant::now() + READ_AGAIN;
                if let Err(error) = self.read_again().await {
                    events::read_failed(&error);
                    read_at = Instant::now() + Duration::from_millis(RETRY_MS);
                }
            }
            for (command, due) in self.ledger.due(clock::unix_ms()) {
                if let Err(refusal) = self.carry_out(command, due).await {
                    events::desk_failed(&refusal);
                    let at_ms = clock::unix_ms() + RETRY_MS;
                    self.ledger.again(command, due, at_ms);
                }
            }
        }
    }

    fn take(&mut self, news: News) {
        let now_ms = clock::unix_ms();
        match news {
            News::Opened(command, targets) => {
                self.give(&command, &targets, OutcomeState::Stored);
                self.ledger.opened(command, now_ms);
            }
            News::Renewed(command) => self.ledger.renewed(command, now_ms),
            News::Changed(changes) => {
                for change in changes {
                    let outcome = command::wire_outcome(&change.outcome);
                    self.ledger.changed(change.command, outcome, now_ms);
                }
            }
            News::Progress(progress) => {
                for (command, outcome) in progress {
                    self.ledger.changed(command, outcome, now_ms);
                }
            }
        }
    }

    /// What belongs to this store, and what it may not know of.
    async fn read_again(&mut self) -> Result<(), EngineError> {
        let mut after = Vec::new();
        loop {
            let found = self
                .readers
                .open_commands(&after, COMMANDS_PER_READ)
                .await?;
            let Some(last) = found.last() else {
                return Ok(());
            };
            after = last.id().as_bytes().to_vec();
            for command in found {
                if self.ownership.is_ours(command.key.plan.as_bytes()) {
                    self.ledger.found(command, clock::unix_ms());
                }
            }
        }
    }

    async fn carry_out(&mut self, id: ClientMessageId, due: Due) -> Result<(), Refusal> {
        match due {
            Due::Give => self.give_again(id).await,
            Due::Expire => {
                let reason = "the deadline passed before it was begun";
                self.expire(id, NOT_BEGUN, reason).await
            }
            Due::Silence => {
                let reason = "nothing was heard of its end by the deadline";
                self.expire(id, NOT_OVER, reason).await
            }
            Due::Tell => self.tell(id).await,
        }
    }

    /// To those who have not been heard of; and, of what is cancelled, to those who have begun.
    async fn give_again(&mut self, id: ClientMessageId) -> Result<(), Refusal> {
        let Some(command) = self.ledger.command(id).cloned() else {
            return Ok(());
        };
        let most = if command.is_cancelled {
            NOT_OVER
        } else {
            OutcomeState::Stored
        };
        let all = u32::try_from(protocol::limits::COMMAND_TARGETS_MAX).unwrap_or(u32::MAX);
        let states = (OutcomeState::Stored, most);
        let waiting = self.readers.outcomes(id, states, AccountId(0), all).await;
        let waiting = waiting.map_err(|error| unread(&error))?;
        let accounts: Vec<_> = waiting.iter().map(|outcome| outcome.account).collect();
        self.give(&command, &accounts, OutcomeState::Stored);
        Ok(())
    }

    fn give(&self, command: &Command, accounts: &[AccountId], state: OutcomeState) {
        let order = command::wire_order(command, state, clock::unix_ms());
        let page = OrderPage {
            orders: vec![order],
            more: false,
        };
        let frame = Frame::notice(client::ORDER_PAGE, &page).to_bytes();
        events::orders_given(accounts.len());
        // What is cancelled may have begun, and is told late too.
        let deliver_before_ms = if command.is_cancelled {
            0
        } else {
            command.deadline_ms
        };
        self.send(command.key.plan, accounts, &frame, deliver_before_ms);
    }

    async fn expire(
        &mut self,
        command: ClientMessageId,
        up_to: OutcomeState,
        reason: &'static str,
    ) -> Result<(), Refusal> {
        let chore = CommandChore::Expire {
            command,
            up_to,
            reason,
        };
        if let Done::Command(CommandDone::Ended(changes)) =
            self.writer.chore(Chore::Command(chore)).await?
        {
            events::outcomes_expired(changes.len());
            self.take(News::Changed(changes));
        }
        Ok(())
    }

    /// What has changed, in as many frames as it needs; and that is the end of it, if all is over.
    async fn tell(&mut self, id: ClientMessageId) -> Result<(), Refusal> {
        let counts = self.readers.outcome_counts(id).await;
        let counts = counts.map_err(|error| unread(&error))?;
        let Some((command, changed)) = self.ledger.take_changes(id) else {
            return Ok(());
        };
        let status = CommandStatus {
            key: Some(command.key.to_wire()),
            epoch: command.epoch,
            deadline_at_ms: command.deadline_ms,
            counts: Some(counts),
            outcomes: Vec::new(),
            more: false,
        };
        let (plan, issuer) = (command.key.plan, command.issuer);
        for outcomes in pages(changed) {
            let status = CommandStatus {
                outcomes,
                ..status.clone()
            };
            let frame = Frame::notice(client::COMMAND_STATUS, &status).to_bytes();
            self.send(plan, &[issuer], &frame, 0);
        }
        if protocol::command::open(&counts) == 0 {
            let chore = Chore::Command(CommandChore::Close(id));
            self.writer.chore(chore).await?;
            self.ledger.closed(id);
        }
        Ok(())
    }

    /// Lost when no router is there, or it has no room: then it is due again, or asked for.
    fn send(
        &self,
        plan: ClientMessageId,
        accounts: &[AccountId],
        frame: &Bytes,
        deliver_before_ms: u64,
    ) {
        for accounts in accounts.chunks(ACCOUNTS_PER_NOTICE_MAX) {
            let tell = TellAccounts {
                account_ids: accounts.iter().map(|account| account.0).collect(),
                frame: frame.clone(),
                deliver_before_ms,
            };
            let sent = self
                .routers
                .any_link(plan.as_bytes())
                .and_then(|link| link.try_notify(method::TELL_ACCOUNTS, rpc::encode(&tell)));
            if let Err(refusal) = sent {
                events::accounts_not_told(accounts.len(), &refusal);
            }
        }
    }
}

/// At least one, perhaps empty: the counts are news too.
fn pages(changed: Vec<TargetOutcome>) -> Vec<Vec<TargetOutcome>> {
    use prost::Message as _;
    let mut pages = vec![Vec::new()];
    let mut bytes = 0;
    for outcome in changed {
        let its = outcome.encoded_len() + 5;
        let last = pages.last().map_or(0, Vec::len);
        if last > 0
            && (last >= OUTCOMES_PER_PAGE_MAX as usize || bytes + its > OUTCOME_PAGE_BYTES_MAX)
        {
            pages.push(Vec::new());
            bytes = 0;
        }
        bytes += its;
        if let Some(page) = pages.last_mut() {
            page.push(outcome);
        }
    }
    pages
}

fn unread(error: &EngineError) -> Refusal {
    events::read_failed(error);
    Refusal::unavailable("the database failed")
}
