//! The readers of all hosts: one of them is asked until it fails, and then the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use protocol::estop::Stop;
use protocol::media::MediaId;
use protocol::wire::internal::{AuditRecord, EnrolmentToken};
use protocol::wire::{Account, Head, MediaItem, Membership, OutcomeCounts, OutcomeState};
use protocol::{AccountId, ClientMessageId, ConversationId, SequenceNumber};

use super::address::Address;
use super::readers::{HostReaders, READ_TIMEOUT};
use super::within;
use crate::command::{Command, CommandReaders, Outcome};
use crate::credential::{CredentialReaders, Password, Standing};
use crate::engine::{
    CardsAfter, Described, EngineError, History, Lacking, LackingRows, MemberRows, Readers,
};
use crate::events;
use crate::media::{MediaReaders, Record};
use crate::read::Span;
use crate::retention::{Kept, Log};
use crate::search::Query;

/// How long one of several hosts may take. Two of three may be away, and a read still ends in time.
const HOST_TIMEOUT: Duration = Duration::from_millis(2500);

/// Well above what a server takes to commit or to give up what it was sent.
const LATE_COMMITS: Duration = Duration::from_secs(10);

/// Reads. Clones share the connections.
#[derive(Debug, Clone)]
pub struct MySqlReaders {
    hosts: Arc<[(String, HostReaders)]>,
    /// Which one is asked first.
    first: Arc<AtomicUsize>,
}

impl MySqlReaders {
    /// On a database that an engine has opened before.
    #[must_use]
    pub fn open(address: &Address) -> Self {
        let hosts = address.hosts().iter();
        let hosts = hosts.map(|host| (host.get_host().to_owned(), HostReaders::new(host)));
        Self {
            hosts: hosts.collect(),
            first: Arc::default(),
        }
    }

    fn host_timeout(&self) -> Duration {
        if self.hosts.len() > 1 {
            HOST_TIMEOUT
        } else {
            READ_TIMEOUT
        }
    }

    /// After this answer of the host at `at`, whether another one is to be asked.
    fn go_on<T>(&self, at: usize, tried: usize, answer: &Result<T, EngineError>) -> bool {
        let Err(error @ EngineError::Sql(_)) = answer else {
            return false;
        };
        let next = (at + 1) % self.hosts.len();
        let relaxed = Ordering::Relaxed;
        // Of all who fail here at once, one says so.
        if next != at
            && self
                .first
                .compare_exchange(at, next, relaxed, relaxed)
                .is_ok()
        {
            events::host_left(&self.hosts[at].0, error);
        }
        tried < self.hosts.len()
    }
}

/// The first answer that is not a failure of its host, or the last failure.
macro_rules! ask {
    ($self:ident, $host:ident => $question:expr) => {{
        let first = $self.first.load(Ordering::Relaxed);
        let mut tried = 0;
        loop {
            let at = (first + tried) % $self.hosts.len();
            let $host = &$self.hosts[at].1;
            let answer = within($self.host_timeout(), $question).await;
            tried += 1;
            if !$self.go_on(at, tried, &answer) {
                return answer;
            }
        }
    }};
}

impl CredentialReaders for MySqlReaders {
    async fn enrolment_token(&self, digest: &[u8]) -> Result<Option<EnrolmentToken>, EngineError> {
        ask!(self, host => host.enrolment_token(digest))
    }

    async fn standing(&self, account: u64, serial: &[u8]) -> Result<Standing, EngineError> {
        ask!(self, host => host.standing(account, serial))
    }

    async fn password(&self, fleet: &str, name: &str) -> Result<Option<Password>, EngineError> {
        ask!(self, host => host.password(fleet, name))
    }

    async fn revocations(
        &self,
        after: &[u8],
        now_ms: u64,
    ) -> Result<(u64, Vec<Bytes>), EngineError> {
        ask!(self, host => host.revocations(after, now_ms))
    }
}

impl CommandReaders for MySqlReaders {
    async fn command(&self, id: ClientMessageId) -> Result<Option<Command>, EngineError> {
        ask!(self, host => host.command(id))
    }

    async fn outcome_counts(&self, id: ClientMessageId) -> Result<OutcomeCounts, EngineError> {
        ask!(self, host => host.outcome_counts(id))
    }

    async fn outcomes(
        &self,
        id: ClientMessageId,
        states: (OutcomeState, OutcomeState),
        after: AccountId,
        limit: u32,
    ) -> Result<Vec<Outcome>, EngineError> {
        ask!(self, host => host.outcomes(id, states, after, limit))
    }

    async fn orders(
        &self,
        account: AccountId,
        deadline_after_ms: u64,
        after: &[u8],
        limit: u32,
    ) -> Result<Vec<(Command, OutcomeState)>, EngineError> {
        ask!(self, host => host.orders(account, deadline_after_ms, after, limit))
    }

    async fn open_commands(&self, after: &[u8], limit: u32) -> Result<Vec<Command>, EngineError> {
        ask!(self, host => host.open_commands(after, limit))
    }

    async fn commands_before(
        &self,
        issuer: AccountId,
        before: &[u8],
        limit: u32,
    ) -> Result<Vec<Command>, EngineError> {
        ask!(self, host => host.commands_before(issuer, before, limit))
    }

    async fn reach(
        &self,
        account: AccountId,
        targets: &[AccountId],
    ) -> Result<Vec<AccountId>, EngineError> {
        ask!(self, host => host.reach(account, targets))
    }
}

impl MediaReaders for MySqlReaders {
    async fn media(&self, id: MediaId) -> Result<Option<Record>, EngineError> {
        ask!(self, host => host.media(id))
    }

    async fn media_of(
        &self,
        owner: AccountId,
        after: &[u8],
        limit: u32,
    ) -> Result<(Vec<MediaItem>, u64), EngineError> {
        ask!(self, host => host.media_of(owner, after, limit))
    }
}

impl Readers for MySqlReaders {
    /// A server that was stopped carries out what waits in its sockets when it goes on. Longer than
    /// that the session of whoever died is not kept.
    fn late_commits(&self) -> Option<Duration> {
        Some(LATE_COMMITS)
    }

    async fn close(&self) {
        for (_, host) in self.hosts.iter() {
            host.close().await;
        }
    }

    async fn history(
        &self,
        conversation: ConversationId,
        account: AccountId,
        span: Span,
    ) -> Result<Option<History>, EngineError> {
        ask!(self, host => host.history(conversation, account, span))
    }

    async fn members(
        &self,
        conversation: ConversationId,
        after: AccountId,
        limit: u32,
    ) -> Result<Option<MemberRows>, EngineError> {
        ask!(self, host => host.members(conversation, after, limit))
    }

    async fn describe(
        &self,
        conversation: ConversationId,
        asker: AccountId,
    ) -> Result<Described, EngineError> {
        ask!(self, host => host.describe(conversation, asker))
    }

    async fn memberships(
        &self,
        account: AccountId,
        after: &[u8],
        limit: u32,
    ) -> Result<Vec<Membership>, EngineError> {
        ask!(self, host => host.memberships(account, after, limit))
    }

    async fn accounts(
        &self,
        fleet: &str,
        names: &[String],
        ids: &[u64],
    ) -> Result<Vec<Account>, EngineError> {
        ask!(self, host => host.accounts(fleet, names, ids))
    }

    async fn heads(&self, after: &[u8], limit: u32) -> Result<Vec<Head>, EngineError> {
        ask!(self, host => host.heads(after, limit))
    }

    async fn lacking(
        &self,
        conversation: ConversationId,
        asker: AccountId,
        question: Lacking,
    ) -> Result<Option<LackingRows>, EngineError> {
        ask!(self, host => host.lacking(conversation, asker, question))
    }

    async fn logs(&self, after: &[u8], limit: u32) -> Result<Vec<Log>, EngineError> {
        ask!(self, host => host.logs(after, limit))
    }

    async fn oldest(
        &self,
        conversation: ConversationId,
        after: SequenceNumber,
        limit: u32,
    ) -> Result<Vec<Kept>, EngineError> {
        ask!(self, host => host.oldest(conversation, after, limit))
    }

    async fn unindexed(
        &self,
        after: &[u8],
        limit: u32,
    ) -> Result<Vec<ConversationId>, EngineError> {
        ask!(self, host => host.unindexed(after, limit))
    }

    async fn indexed(&self, conversation: ConversationId) -> Result<SequenceNumber, EngineError> {
        ask!(self, host => host.indexed(conversation))
    }

    async fn candidates(
        &self,
        conversation: ConversationId,
        query: &Query,
        before: SequenceNumber,
        limit: u32,
    ) -> Result<Vec<SequenceNumber>, EngineError> {
        ask!(self, host => host.candidates(conversation, query, before, limit))
    }

    async fn numbered(
        &self,
        conversation: ConversationId,
        account: AccountId,
        numbers: &[SequenceNumber],
    ) -> Result<Option<History>, EngineError> {
        ask!(self, host => host.numbered(conversation, account, numbers))
    }

    async fn estops(&self, limit: u32) -> Result<Vec<Stop>, EngineError> {
        ask!(self, host => host.estops(limit))
    }

    async fn estops_of(&self, stops: &[ClientMessageId]) -> Result<Vec<Stop>, EngineError> {
        ask!(self, host => host.estops_of(stops))
    }

    async fn audit(&self, before: u64, limit: u32) -> Result<Vec<AuditRecord>, EngineError> {
        ask!(self, host => host.audit(before, limit))
    }

    async fn cards(
        &self,
        fleet: &str,
        after: CardsAfter,
        limit: u32,
    ) -> Result<Vec<(Account, u64)>, EngineError> {
        ask!(self, host => host.cards(fleet, after, limit))
    }

    async fn busy(
        &self,
        targets: &[AccountId],
        now_ms: u64,
    ) -> Result<Vec<AccountId>, EngineError> {
        ask!(self, host => host.busy(targets, now_ms))
    }

    async fn robots(&self, after: AccountId, limit: u32) -> Result<Vec<Account>, EngineError> {
        ask!(self, host => host.robots(after, limit))
    }

    async fn generation(&self) -> Result<u64, EngineError> {
        ask!(self, host => host.generation())
    }

    async fn parted(
        &self,
        since: u64,
        conversations: &[Bytes],
    ) -> Result<Option<Vec<u64>>, EngineError> {
        ask!(self, host => host.parted(since, conversations))
    }
}
