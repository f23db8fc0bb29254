//! The connections that only read, beside the writer and never in its way (WAL).

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use protocol::estop::Stop;
use protocol::wire::internal::AuditRecord;
use protocol::wire::{Account, Head, Membership};
use protocol::{AccountId, ClientMessageId, ConversationId, SequenceNumber};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::backup::{generation, parted};
use super::chores::{account, member};
use super::pages::Pages;
use super::{audit, cards, estops, options, search};
use crate::engine::{
    CardsAfter, Described, EngineError, History, Lacking, LackingRows, MemberRows, Readers,
    conversation_id, integer, number,
};
use crate::read::Span;
use crate::retention::{Kept, Log};
use crate::rows::{self, GroupRow, LogRow, MarksRow, MembershipRow, RolesRow, StopRow};
use crate::search::Query;

/// Connections that read at once. Beyond: the request waits for one.
const READERS_MAX: u32 = 4;

/// How long a request waits for a connection before it fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many members are entitled to an entry, and how many of them have marked it.
const ENTITLED_COUNTS: &str = "SELECT COUNT(*), \
     COUNT(CASE WHEN COALESCE(k.delivered, 0) >= ?2 THEN 1 END), \
     COUNT(CASE WHEN COALESCE(k.read, 0) >= ?2 THEN 1 END) \
     FROM members m JOIN conversations c ON c.id = m.conversation \
     LEFT JOIN marks k ON k.conversation = m.conversation AND k.account = m.account \
     WHERE m.conversation = ?1 AND m.\"left\" IS NULL AND (c.history_open OR EXISTS \
     (SELECT 1 FROM members s WHERE s.conversation = ?1 AND s.account = m.account \
     AND s.joined <= ?2 AND (s.\"left\" IS NULL OR s.\"left\" >= ?2)))";

/// Those of them that have not.
const LACKING: &str = "SELECT m.account, COALESCE(k.delivered, 0), COALESCE(k.read, 0) \
     FROM members m JOIN conversations c ON c.id = m.conversation \
     LEFT JOIN marks k ON k.conversation = m.conversation AND k.account = m.account \
     WHERE m.conversation = ?1 AND m.\"left\" IS NULL AND (c.history_open OR EXISTS \
     (SELECT 1 FROM members s WHERE s.conversation = ?1 AND s.account = m.account \
     AND s.joined <= ?2 AND (s.\"left\" IS NULL OR s.\"left\" >= ?2))) \
     AND COALESCE(CASE WHEN ?3 THEN k.read ELSE k.delivered END, 0) < ?2 \
     AND m.account > ?4 ORDER BY m.account LIMIT ?5";

/// What a group is.
const GROUP: &str = "SELECT name, attributes, history_open, created_at_ms, head, membership, \
     dissolved FROM conversations WHERE id = ?";

/// How many are in it, as what, and as what the asker.
const ROLES: &str = "SELECT COUNT(*), COUNT(CASE WHEN role = 1 THEN 1 END), \
     COUNT(CASE WHEN role = 2 THEN 1 END), COUNT(CASE WHEN role = 4 THEN 1 END), \
     MAX(CASE WHEN account = ?2 THEN role END) \
     FROM members WHERE conversation = ?1 AND \"left\" IS NULL";

/// Reads. Clones share the connections.
#[derive(Debug, Clone)]
pub struct SqliteReaders {
    pub(super) pool: SqlitePool,
    pages: Pages,
}

impl SqliteReaders {
    /// On a file that an engine has opened before.
    pub async fn open(path: &Path) -> Result<Self, EngineError> {
        let pool = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options(path).pragma("query_only", "ON"))
            .await?;
        let pages = Pages::of(path);
        Ok(Self { pool, pages })
    }
}

/// Accounts by their names, and others by their ids. NULL is nobody's: of an empty list SQLite makes
/// a condition that is never true, and then reads every account for the other one.
pub(super) fn look_up_accounts(fleet: &str, names: &[String], ids: &[u64]) -> QueryBuilder<Sqlite> {
    let mut query =
        QueryBuilder::new("SELECT account, kind, name, capabilities FROM accounts WHERE (fleet = ");
    query.push_bind(fleet.to_owned()).push(" AND name IN (NULL");
    for name in names {
        query.push(", ").push_bind(name.clone());
    }
    query.push(")) OR account IN (NULL");
    for id in ids {
        query.push(", ").push_bind(integer(*id));
    }
    query.push(") ORDER BY account");
    query
}

impl Readers for SqliteReaders {
    async fn close(&self) {
        self.pages.close().await;
        self.pool.close().await;
    }

    async fn history(
        &self,
        conversation: ConversationId,
        account: AccountId,
        span: Span,
    ) -> Result<Option<History>, EngineError> {
        self.pages.read(conversation, account, span).await
    }

    async fn members(
        &self,
        conversation: ConversationId,
        after: AccountId,
        limit: u32,
    ) -> Result<Option<MemberRows>, EngineError> {
        let id = &conversation.as_bytes()[..];
        let mut tx = self.pool.begin().await?;
        let row = sqlx::query("SELECT head, membership, dissolved FROM conversations WHERE id = ?")
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let members = sqlx::query(
            "SELECT a.account, a.kind, a.name, NULL, m.role FROM members m \
             JOIN accounts a ON a.account = m.account \
             WHERE m.conversation = ? AND m.\"left\" IS NULL AND m.account > ? \
             ORDER BY m.account LIMIT ?",
        )
        .bind(id)
        .bind(integer(after.0))
        .bind(limit)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Some(MemberRows {
            members: members.iter().map(member).collect::<Result<_, _>>()?,
            head: SequenceNumber(number(row.try_get(0)?)),
            membership: SequenceNumber(number(row.try_get(1)?)),
            is_dissolved: row.try_get::<i64, _>(2)? != 0,
        }))
    }

    async fn describe(
        &self,
        conversation: ConversationId,
        asker: AccountId,
    ) -> Result<Described, EngineError> {
        let id = &conversation.as_bytes()[..];
        let mut tx = self.pool.begin().await?;
        let group: Option<GroupRow> = sqlx::query_as(GROUP)
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(group) = group else {
            return Ok(Described::Unknown);
        };
        let roles: RolesRow = sqlx::query_as(ROLES)
            .bind(id)
            .bind(integer(asker.0))
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
        rows::description(conversation, group, roles)
    }

    async fn memberships(
        &self,
        account: AccountId,
        after: &[u8],
        limit: u32,
    ) -> Result<Vec<Membership>, EngineError> {
        let found: Vec<MembershipRow> = sqlx::query_as(
            "SELECT c.id, c.name, c.head, c.trimmed, m.joined, c.history_open, k.delivered, \
             k.read, m.role FROM members m JOIN conversations c ON c.id = m.conversation \
             LEFT JOIN marks k ON k.conversation = m.conversation AND k.account = m.account \
             WHERE m.account = ? AND m.\"left\" IS NULL AND m.conversation > ? \
             ORDER BY m.conversation LIMIT ?",
        )
        .bind(integer(account.0))
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        found.into_iter().map(rows::membership).collect()
    }

    async fn accounts(
        &self,
        fleet: &str,
        names: &[String],
        ids: &[u64],
    ) -> Result<Vec<Account>, EngineError> {
        let mut query = look_up_accounts(fleet, names, ids);
        let rows = query.build().fetch_all(&self.pool).await?;
        rows.iter().map(account).collect()
    }

    async fn heads(&self, after: &[u8], limit: u32) -> Result<Vec<Head>, EngineError> {
        let found: Vec<(Vec<u8>, i64)> = sqlx::query_as(
            "SELECT id, head FROM conversations WHERE id > ? AND head > 0 ORDER BY id LIMIT ?",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        found.into_iter().map(rows::head).collect()
    }

    async fn lacking(
        &self,
        conversation: ConversationId,
        asker: AccountId,
        question: Lacking,
    ) -> Result<Option<LackingRows>, EngineError> {
        let id = &conversation.as_bytes()[..];
        let number = integer(question.sequence.0);
        let mut tx = self.pool.begin().await?;
        let head: Option<(i64, bool)> = sqlx::query_as(
            "SELECT head, EXISTS (SELECT 1 FROM members WHERE conversation = ?1 AND account = ?2 \
             AND \"left\" IS NULL) FROM conversations WHERE id = ?1",
        )
        .bind(id)
        .bind(integer(asker.0))
        .fetch_optional(&mut *tx)
        .await?;
        let Some((head, asker_is_member)) = head else {
            return Ok(None);
        };
        let counts = sqlx::query_as(ENTITLED_COUNTS)
            .bind(id)
            .bind(number)
            .fetch_one(&mut *tx)
            .await?;
        let members: Vec<MarksRow> = sqlx::query_as(LACKING)
            .bind(id)
            .bind(number)
            .bind(question.read)
            .bind(integer(question.after.0))
            .bind(question.limit)
            .fetch_all(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Some(LackingRows {
            head: rows::sequence(head),
            asker_is_member,
            members: members.into_iter().map(rows::marks).collect(),
            counts: rows::counts(counts),
        }))
    }

    async fn logs(&self, after: &[u8], limit: u32) -> Result<Vec<Log>, EngineError> {
        let found: Vec<LogRow> = sqlx::query_as(
            "SELECT id, head, trimmed, bytes FROM conversations \
             WHERE id > ? AND head > trimmed ORDER BY id LIMIT ?",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        found.into_iter().map(rows::log).collect()
    }

    async fn oldest(
        &self,
        conversation: ConversationId,
        after: SequenceNumber,
        limit: u32,
    ) -> Result<Vec<Kept>, EngineError> {
        let found: Vec<(i64, i64, i64)> = sqlx::query_as(
            "SELECT sequence, LENGTH(content), committed_at_ms FROM messages \
             WHERE conversation = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        )
        .bind(&conversation.as_bytes()[..])
        .bind(integer(after.0))
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        Ok(found.into_iter().map(rows::kept).collect())
    }

    async fn unindexed(
        &self,
        after: &[u8],
        limit: u32,
    ) -> Result<Vec<ConversationId>, EngineError> {
        let found: Vec<Vec<u8>> = sqlx::query_scalar(search::UNINDEXED)
            .bind(after)
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        found.iter().map(|id| conversation_id(id)).collect()
    }

    async fn indexed(&self, conversation: ConversationId) -> Result<SequenceNumber, EngineError> {
        let known: Option<i64> =
            sqlx::query_scalar("SELECT indexed FROM search_progress WHERE conversation = ?")
                .bind(&conversation.as_bytes()[..])
                .fetch_optional(&self.pool)
                .await?;
        Ok(known.map_or(SequenceNumber::ZERO, rows::sequence))
    }

    async fn candidates(
        &self,
        conversation: ConversationId,
        query: &Query,
        before: SequenceNumber,
        limit: u32,
    ) -> Result<Vec<SequenceNumber>, EngineError> {
        let mut connection = self.pool.acquire().await?;
        search::candidates(&mut connection, conversation, query, (before, limit)).await
    }

    async fn numbered(
        &self,
        conversation: ConversationId,
        account: AccountId,
        numbers: &[SequenceNumber],
    ) -> Result<Option<History>, EngineError> {
        let mut tx = self.pool.begin().await?;
        let history = search::numbered(&mut tx, conversation, account, numbers).await?;
        tx.commit().await?;
        Ok(history)
    }

    async fn estops(&self, limit: u32) -> Result<Vec<Stop>, EngineError> {
        let mut tx = self.pool.begin().await?;
        let mut found: Vec<StopRow> = sqlx::query_as(rows::STOPS_IN_FORCE)
            .bind(limit)
            .fetch_all(&mut *tx)
            .await?;
        let released: Vec<StopRow> = sqlx::query_as(rows::STOPS_RELEASED)
            .bind(limit)
            .fetch_all(&mut *tx)
            .await?;
        tx.commit().await?;
        found.extend(released);
        found.into_iter().map(rows::stop).collect()
    }

    async fn estops_of(&self, stops: &[ClientMessageId]) -> Result<Vec<Stop>, EngineError> {
        let mut found = Vec::new();
        for id in stops {
            let row: Option<StopRow> = sqlx::query_as(rows::STOP)
                .bind(id.as_bytes().to_vec())
                .fetch_optional(&self.pool)
                .await?;
            found.extend(row.map(rows::stop).transpose()?);
        }
        Ok(found)
    }

    async fn audit(&self, before: u64, limit: u32) -> Result<Vec<AuditRecord>, EngineError> {
        audit::list(&mut *self.pool.acquire().await?, before, limit).await
    }

    async fn robots(&self, after: AccountId, limit: u32) -> Result<Vec<Account>, EngineError> {
        estops::robots(&mut *self.pool.acquire().await?, after, limit).await
    }

    async fn cards(
        &self,
        fleet: &str,
        after: CardsAfter,
        limit: u32,
    ) -> Result<Vec<(Account, u64)>, EngineError> {
        cards::since(&mut *self.pool.acquire().await?, fleet, after, limit).await
    }

    async fn busy(
        &self,
        targets: &[AccountId],
        now_ms: u64,
    ) -> Result<Vec<AccountId>, EngineError> {
        cards::busy(&mut *self.pool.acquire().await?, targets, now_ms).await
    }

    async fn generation(&self) -> Result<u64, EngineError> {
        generation(&mut *self.pool.acquire().await?).await
    }

    async fn parted(
        &self,
        since: u64,
        conversations: &[Bytes],
    ) -> Result<Option<Vec<u64>>, EngineError> {
        let mut tx = self.pool.begin().await?;
        let parted = parted(&mut tx, since, conversations).await?;
        tx.commit().await?;
        Ok(parted)
    }
}
