//! The connections that only read, beside the writer and without locks: a reader's transaction is
//! a snapshot.
//!
//! Longer than 400 lines: it is the one implementation of a trait.

use std::time::Duration;

use bytes::Bytes;
use protocol::estop::Stop;
use protocol::wire::internal::AuditRecord;
use protocol::wire::{Account, Head, Membership};
use protocol::{AccountId, ClientMessageId, ConversationId, SequenceNumber};
use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::query::QueryAs;
use sqlx::{FromRow, MySql, QueryBuilder, Row as _};

use super::backup::{generation, parted};
use super::chores::{account, member};
use super::lease::Lease;
use super::pages::entries;
use super::{audit, cards, estops, groups, lacking, search, session, within};
use crate::engine::{
    CardsAfter, Described, EngineError, History, Lacking, LackingRows, MemberRows, Readers,
    conversation_id, integer, number,
};
use crate::read::Span;
use crate::retention::{Kept, Log};
use crate::rows::{self, HeadRow, LogRow, MembershipRow, StayRow, StopRow};
use crate::search::Query;

/// Connections that read at once. Beyond: the request waits for one.
const READERS_MAX: u32 = 8;

/// How long a request waits for a connection before it fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a read may take, the wait for its connection included.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(8);

/// Reads on one host. Clones share the connections.
#[derive(Debug, Clone)]
pub(super) struct HostReaders {
    pub(super) pool: MySqlPool,
}

impl HostReaders {
    /// Connects when it is first asked.
    pub(super) fn new(host: &MySqlConnectOptions) -> Self {
        let pool = MySqlPoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(|connection, _| Box::pin(session::reader(connection)))
            .connect_lazy_with(host.clone());
        Self { pool }
    }

    /// All rows of one statement.
    pub(super) async fn all<'q, O>(
        &self,
        question: QueryAs<'q, MySql, O, MySqlArguments>,
    ) -> Result<Vec<O>, EngineError>
    where
        O: Send + Unpin + for<'r> FromRow<'r, MySqlRow>,
    {
        within(READ_TIMEOUT, async {
            let mut lease = Lease::take(&self.pool).await?;
            let rows = question.fetch_all(&mut *lease).await?;
            lease.give_back();
            Ok(rows)
        })
        .await
    }
}

impl Readers for HostReaders {
    async fn close(&self) {
        self.pool.close().await;
    }

    async fn history(
        &self,
        conversation: ConversationId,
        account: AccountId,
        span: Span,
    ) -> Result<Option<History>, EngineError> {
        within(READ_TIMEOUT, async {
            let id = &conversation.as_bytes()[..];
            let mut lease = Lease::take(&self.pool).await?;
            let mut tx = lease.begin().await?;
            let head: Option<HeadRow> = sqlx::query_as(
                "SELECT head, trimmed, history_open FROM conversations WHERE id = ?",
            )
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?;
            let Some((head, trimmed, history_open)) = head else {
                tx.commit().await?;
                lease.give_back();
                return Ok(None);
            };
            let stays: Vec<StayRow> = sqlx::query_as(
                "SELECT joined, `left` FROM members WHERE conversation = ? AND account = ?",
            )
            .bind(id)
            .bind(integer(account.0))
            .fetch_all(&mut *tx)
            .await?;
            let entries = entries(&mut tx, conversation, &span).await?;
            tx.commit().await?;
            lease.give_back();
            Ok(Some(History {
                entries,
                head: rows::sequence(head),
                trimmed: rows::sequence(trimmed),
                stays: stays.into_iter().map(rows::stay).collect(),
                history_open,
            }))
        })
        .await
    }

    async fn members(
        &self,
        conversation: ConversationId,
        after: AccountId,
        limit: u32,
    ) -> Result<Option<MemberRows>, EngineError> {
        within(READ_TIMEOUT, async {
            let id = &conversation.as_bytes()[..];
            let mut lease = Lease::take(&self.pool).await?;
            let mut tx = lease.begin().await?;
            let row =
                sqlx::query("SELECT head, membership, dissolved FROM conversations WHERE id = ?")
                    .bind(id)
                    .fetch_optional(&mut *tx)
                    .await?;
            let Some(row) = row else {
                tx.commit().await?;
                lease.give_back();
                return Ok(None);
            };
            let members = sqlx::query(
                "SELECT a.account, a.kind, a.name, NULL, m.role FROM members m \
                 JOIN accounts a ON a.account = m.account \
                 WHERE m.conversation = ? AND m.`left` IS NULL AND m.account > ? \
                 ORDER BY m.account LIMIT ?",
            )
            .bind(id)
            .bind(integer(after.0))
            .bind(limit)
            .fetch_all(&mut *tx)
            .await?;
            tx.commit().await?;
            lease.give_back();
            Ok(Some(MemberRows {
                members: members.iter().map(member).collect::<Result<_, _>>()?,
                head: SequenceNumber(number(row.try_get(0)?)),
                membership: SequenceNumber(number(row.try_get(1)?)),
                is_dissolved: row.try_get::<i64, _>(2)? != 0,
            }))
        })
        .await
    }

    async fn describe(
        &self,
        conversation: ConversationId,
        asker: AccountId,
    ) -> Result<Described, EngineError> {
        within(READ_TIMEOUT, async {
            let mut lease = Lease::take(&self.pool).await?;
            let mut tx = lease.begin().await?;
            let described = groups::describe(&mut tx, conversation, asker).await?;
            tx.commit().await?;
            lease.give_back();
            Ok(described)
        })
        .await
    }

    async fn memberships(
        &self,
        account: AccountId,
        after: &[u8],
        limit: u32,
    ) -> Result<Vec<Membership>, EngineError> {
        let found = sqlx::query_as(
            "SELECT c.id, c.name, c.head, c.trimmed, m.joined, c.history_open, k.delivered, \
             k.`read`, m.role FROM members m JOIN conversations c ON c.id = m.conversation \
             LEFT JOIN marks k ON k.conversation = m.conversation AND k.account = m.account \
             WHERE m.account = ? AND m.`left` IS NULL AND m.conversation > ? \
             ORDER BY m.conversation LIMIT ?",
        )
        .bind(integer(account.0))
        .bind(after)
        .bind(limit);
        let found: Vec<MembershipRow> = self.all(found).await?;
        found.into_iter().map(rows::membership).collect()
    }

    async fn accounts(
        &self,
        fleet: &str,
        names: &[String],
        ids: &[u64],
    ) -> Result<Vec<Account>, EngineError> {
        let mut query = QueryBuilder::<MySql>::new(
            "SELECT account, kind, name, capabilities FROM accounts WHERE (fleet = ",
        );
        // An empty list is no SQL: NULL is nobody's name and nobody's id.
        query.push_bind(fleet.as_bytes()).push(" AND name IN (NULL");
        for name in names {
            query.push(", ").push_bind(name.as_bytes());
        }
        query.push(")) OR account IN (NULL");
        for id in ids {
            query.push(", ").push_bind(integer(*id));
        }
        query.push(") ORDER BY account");
        let rows = within(READ_TIMEOUT, async {
            let mut lease = Lease::take(&self.pool).await?;
            let rows = query.build().fetch_all(&mut *lease).await?;
            lease.give_back();
            Ok::<_, EngineError>(rows)
        });
        rows.await?.iter().map(account).collect()
    }

    async fn heads(&self, after: &[u8], limit: u32) -> Result<Vec<Head>, EngineError> {
        let found = sqlx::query_as(
            "SELECT id, head FROM conversations WHERE id > ? AND head > 0 ORDER BY id LIMIT ?",
        )
        .bind(after)
        .bind(limit);
        let found: Vec<(Vec<u8>, i64)> = self.all(found).await?;
        found.into_iter().map(rows::head).collect()
    }

    async fn lacking(
        &self,
        conversation: ConversationId,
        asker: AccountId,
        question: Lacking,
    ) -> Result<Option<LackingRows>, EngineError> {
        within(READ_TIMEOUT, async {
            let mut lease = Lease::take(&self.pool).await?;
            let mut tx = lease.begin().await?;
            let rows = lacking::lacking(&mut tx, conversation, asker, question).await?;
            tx.commit().await?;
            lease.give_back();
            Ok(rows)
        })
        .await
    }

    async fn logs(&self, after: &[u8], limit: u32) -> Result<Vec<Log>, EngineError> {
        let found = sqlx::query_as(
            "SELECT id, head, trimmed, bytes FROM conversations \
             WHERE id > ? AND head > trimmed ORDER BY id LIMIT ?",
        )
        .bind(after)
        .bind(limit);
        let found: Vec<LogRow> = self.all(found).await?;
        found.into_iter().map(rows::log).collect()
    }

    async fn oldest(
        &self,
        conversation: ConversationId,
        after: SequenceNumber,
        limit: u32,
    ) -> Result<Vec<Kept>, EngineError> {
        let found = sqlx::query_as(
            "SELECT sequence, LENGTH(content), committed_at_ms FROM messages \
             WHERE conversation = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        )
        .bind(&conversation.as_bytes()[..])
        .bind(integer(after.0))
        .bind(limit);
        let found: Vec<(i64, i64, i64)> = self.all(found).await?;
        Ok(found.into_iter().map(rows::kept).collect())
    }

    async fn unindexed(
        &self,
        after: &[u8],
        limit: u32,
    ) -> Result<Vec<ConversationId>, EngineError> {
        let found = sqlx::query_as(search::UNINDEXED).bind(after).bind(limit);
        let found: Vec<(Vec<u8>,)> = self.all(found).await?;
        found.iter().map(|(id,)| conversation_id(id)).collect()
    }

    async fn indexed(&self, conversation: ConversationId) -> Result<SequenceNumber, EngineError> {
        let known = sqlx::query_as(search::INDEXED).bind(&conversation.as_bytes()[..]);
        let known: Vec<(i64,)> = self.all(known).await?;
        let known = known.first();
        Ok(known.map_or(SequenceNumber::ZERO, |(indexed,)| rows::sequence(*indexed)))
    }

    async fn candidates(
        &self,
        conversation: ConversationId,
        query: &Query,
        before: SequenceNumber,
        limit: u32,
    ) -> Result<Vec<SequenceNumber>, EngineError> {
        let found = sqlx::query_as(search::CANDIDATES)
            .bind(query.boolean(conversation))
            .bind(&conversation.as_bytes()[..])
            .bind(integer(before.0))
            .bind(limit);
        let found: Vec<(i64,)> = self.all(found).await?;
        let numbers = found.into_iter();
        Ok(numbers.map(|(number,)| rows::sequence(number)).collect())
    }

    async fn numbered(
        &self,
        conversation: ConversationId,
        account: AccountId,
        numbers: &[SequenceNumber],
    ) -> Result<Option<History>, EngineError> {
        within(READ_TIMEOUT, async {
            let mut lease = Lease::take(&self.pool).await?;
            let mut tx = lease.begin().await?;
            let history = search::numbered(&mut tx, conversation, account, numbers).await?;
            tx.commit().await?;
            lease.give_back();
            Ok(history)
        })
        .await
    }

    async fn estops(&self, limit: u32) -> Result<Vec<Stop>, EngineError> {
        // In this order: one that is released in between is told as both, which is released.
        let mut found: Vec<StopRow> = self
            .all(sqlx::query_as(rows::STOPS_IN_FORCE).bind(limit))
            .await?;
        let released = sqlx::query_as(rows::STOPS_RELEASED).bind(limit);
        found.extend(self.all(released).await?);
        found.into_iter().map(rows::stop).collect()
    }

    async fn estops_of(&self, stops: &[ClientMessageId]) -> Result<Vec<Stop>, EngineError> {
        let mut found: Vec<StopRow> = Vec::new();
        for id in stops {
            let one = sqlx::query_as(rows::STOP).bind(id.as_bytes().to_vec());
            found.extend(self.all(one).await?);
        }
        found.into_iter().map(rows::stop).collect()
    }

    async fn audit(&self, before: u64, limit: u32) -> Result<Vec<AuditRecord>, EngineError> {
        within(READ_TIMEOUT, async {
            let mut lease = Lease::take(&self.pool).await?;
            let found = audit::list(&mut lease, before, limit).await?;
            lease.give_back();
            Ok(found)
        })
        .await
    }

    async fn robots(&self, after: AccountId, limit: u32) -> Result<Vec<Account>, EngineError> {
        within(READ_TIMEOUT, async {
            let mut lease = Lease::take(&self.pool).await?;
            let found = estops::robots(&mut lease, after, limit).await?;
            lease.give_back();
            Ok(found)
        })
        .await
    }

    async fn cards(
        &self,
        fleet: &str,
        after: CardsAfter,
        limit: u32,
    ) -> Result<Vec<(Account, u64)>, EngineError> {
        within(READ_TIMEOUT, async {
            let mut lease = Lease::take(&self.pool).await?;
            let found = cards::since(&mut lease, fleet, after, limit).await?;
            lease.give_back();
            Ok(found)
        })
        .await
    }

    async fn busy(
        &self,
        targets: &[AccountId],
        now_ms: u64,
    ) -> Result<Vec<AccountId>, EngineError> {
        within(READ_TIMEOUT, async {
            let mut lease = Lease::take(&self.pool).await?;
            let found = cards::busy(&mut lease, targets, now_ms).await?;
            lease.give_back();
            Ok(found)
        })
        .await
    }

    async fn generation(&self) -> Result<u64, EngineError> {
        let mut lease = Lease::take(&self.pool).await?;
        let generation = generation(&mut lease).await?;
        lease.give_back();
        Ok(generation)
    }

    async fn parted(
        &self,
        since: u64,
        conversations: &[Bytes],
    ) -> Result<Option<Vec<u64>>, EngineError> {
        let mut lease = Lease::take(&self.pool).await?;
        let mut tx = lease.begin().await?;
        let parted = parted(&mut tx, since, conversations).await?;
        tx.commit().await?;
        lease.give_back();
        Ok(parted)
    }
}
