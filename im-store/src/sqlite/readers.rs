//! The connections that only read, beside the writer and never in its way (WAL).

use std::path::Path;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use protocol::limits::PULL_PAGE_BYTES_MAX;
use protocol::wire::{Account, Entry, Head, Membership};
use protocol::{AccountId, ConversationId, SequenceNumber};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::chores::account;
use super::options;
use crate::engine::{EngineError, History, MemberRows, Readers, conversation_id, integer, number};
use crate::read::Stay;

/// Connections that read at once. Beyond: the request waits for one.
const READERS_MAX: u32 = 4;

/// How long a request waits for a connection before it fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads. Clones share the connections.
#[derive(Debug, Clone)]
pub struct SqliteReaders {
    pool: SqlitePool,
}

impl SqliteReaders {
    /// On a file that an engine has opened before.
    pub async fn open(path: &Path) -> Result<Self, EngineError> {
        let pool = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options(path).pragma("query_only", "ON"))
            .await?;
        Ok(Self { pool })
    }
}

impl Readers for SqliteReaders {
    async fn close(&self) {
        self.pool.close().await;
    }

    async fn history(
        &self,
        conversation: ConversationId,
        account: AccountId,
        after: SequenceNumber,
        limit: u32,
    ) -> Result<Option<History>, EngineError> {
        let id = &conversation.as_bytes()[..];
        let mut tx = self.pool.begin().await?;
        let row = sqlx::query("SELECT head, history_open FROM conversations WHERE id = ?")
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let stays = sqlx::query(
            "SELECT joined, \"left\" FROM members WHERE conversation = ? AND account = ?",
        )
        .bind(id)
        .bind(integer(account.0))
        .fetch_all(&mut *tx)
        .await?;
        let mut rows = sqlx::query(
            "SELECT sequence, sender, message_id, kind, content, priority, deliver_before_ms, \
             committed_at_ms FROM messages \
             WHERE conversation = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        )
        .bind(id)
        .bind(integer(after.0))
        .bind(limit)
        .fetch(&mut *tx);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while bytes <= PULL_PAGE_BYTES_MAX
            && let Some(row) = rows.try_next().await?
        {
            let entry = entry(conversation, &row)?;
            bytes += entry.content.len();
            entries.push(entry);
        }
        drop(rows);
        tx.commit().await?;
        Ok(Some(History {
            entries,
            head: SequenceNumber(number(row.try_get(0)?)),
            stays: stays.iter().map(stay).collect::<Result<_, _>>()?,
            history_open: row.try_get(1)?,
        }))
    }

    async fn members(
        &self,
        conversation: ConversationId,
        after: AccountId,
        limit: u32,
    ) -> Result<Option<MemberRows>, EngineError> {
        let id = &conversation.as_bytes()[..];
        let mut tx = self.pool.begin().await?;
        let row = sqlx::query("SELECT head, membership FROM conversations WHERE id = ?")
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let members = sqlx::query(
            "SELECT a.account, a.kind, a.name, NULL FROM members m \
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
            members: members.iter().map(account).collect::<Result<_, _>>()?,
            head: SequenceNumber(number(row.try_get(0)?)),
            membership: SequenceNumber(number(row.try_get(1)?)),
        }))
    }

    async fn memberships(
        &self,
        account: AccountId,
        after: &[u8],
        limit: u32,
    ) -> Result<Vec<Membership>, EngineError> {
        let rows = sqlx::query(
            "SELECT c.id, c.name, c.head, m.joined, c.history_open, k.delivered, k.read \
             FROM members m JOIN conversations c ON c.id = m.conversation \
             LEFT JOIN marks k ON k.conversation = m.conversation AND k.account = m.account \
             WHERE m.account = ? AND m.\"left\" IS NULL AND m.conversation > ? \
             ORDER BY m.conversation LIMIT ?",
        )
        .bind(integer(account.0))
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(membership).collect()
    }

    async fn accounts(
        &self,
        fleet: &str,
        names: &[String],
        ids: &[u64],
    ) -> Result<Vec<Account>, EngineError> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT account, kind, name, capabilities FROM accounts WHERE (fleet = ",
        );
        query.push_bind(fleet).push(" AND name IN (");
        let mut list = query.separated(", ");
        for name in names {
            list.push_bind(name);
        }
        query.push(")) OR account IN (");
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(integer(*id));
        }
        query.push(") ORDER BY account");
        let rows = query.build().fetch_all(&self.pool).await?;
        rows.iter().map(account).collect()
    }

    async fn heads(&self, after: &[u8], limit: u32) -> Result<Vec<Head>, EngineError> {
        let rows = sqlx::query(
            "SELECT id, head FROM conversations WHERE id > ? AND head > 0 ORDER BY id LIMIT ?",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Head {
                    conversation_id: conversation_id(row.try_get(0)?)?.to_bytes(),
                    head: number(row.try_get(1)?),
                })
            })
            .collect()
    }
}

fn stay(row: &SqliteRow) -> Result<Stay, EngineError> {
    let left: Option<i64> = row.try_get(1)?;
    Ok(Stay {
        joined: SequenceNumber(number(row.try_get(0)?)),
        left: left.map(|left| SequenceNumber(number(left))),
    })
}

fn entry(conversation: ConversationId, row: &SqliteRow) -> Result<Entry, EngineError> {
    Ok(Entry {
        conversation_id: conversation.to_bytes(),
        sequence: number(row.try_get(0)?),
        sender: number(row.try_get(1)?),
        client_message_id: row.try_get::<Vec<u8>, _>(2)?.into(),
        kind: row.try_get(3)?,
        content: row.try_get::<Vec<u8>, _>(4)?.into(),
        priority: row.try_get(5)?,
        deliver_before_ms: number(row.try_get(6)?),
        committed_at_ms: number(row.try_get(7)?),
    })
}

fn membership(row: &SqliteRow) -> Result<Membership, EngineError> {
    let joined = number(row.try_get(3)?);
    let history_open: bool = row.try_get(4)?;
    let mark =
        |column| Ok::<_, EngineError>(row.try_get::<Option<i64>, _>(column)?.map_or(0, number));
    Ok(Membership {
        conversation_id: conversation_id(row.try_get(0)?)?.to_bytes(),
        name: row.try_get(1)?,
        head: number(row.try_get(2)?),
        joined_sequence: joined,
        readable_from: if history_open { 1 } else { joined.max(1) },
        delivered: mark(5)?,
        read: mark(6)?,
    })
}
