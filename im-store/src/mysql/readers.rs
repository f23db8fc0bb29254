//! The connections that only read, beside the writer and without locks: a reader's transaction is
//! a snapshot.

use std::time::Duration;

use protocol::limits::PULL_PAGE_BYTES_MAX;
use protocol::wire::{Account, Entry, Head, Membership};
use protocol::{AccountId, ConversationId, SequenceNumber};
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::{MySql, MySqlConnection, QueryBuilder, Row as _};

use super::chores::account;
use super::{session, within};
use crate::engine::{EngineError, History, MemberRows, Readers, conversation_id, integer, number};
use crate::read::Stay;

/// Connections that read at once. Beyond: the request waits for one.
const READERS_MAX: u32 = 8;

/// How long a request waits for a connection before it fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a read may take, the wait for its connection included.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(8);

/// Entries in the first statement of a page; each further one asks for twice as many. The server
/// sends all that a statement selects, and a page may be full after one long entry.
const HISTORY_ROWS_FIRST: u32 = 32;

/// Entries in one statement of a page, at most.
const HISTORY_ROWS_MAX: u32 = 128;

/// Reads on one host. Clones share the connections.
#[derive(Debug, Clone)]
pub(super) struct HostReaders {
    pool: MySqlPool,
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
}

impl Readers for HostReaders {
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
        within(READ_TIMEOUT, async {
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
                "SELECT joined, `left` FROM members WHERE conversation = ? AND account = ?",
            )
            .bind(id)
            .bind(integer(account.0))
            .fetch_all(&mut *tx)
            .await?;
            let entries = entries(&mut tx, conversation, after, limit).await?;
            tx.commit().await?;
            Ok(Some(History {
                entries,
                head: SequenceNumber(number(row.try_get(0)?)),
                stays: stays.iter().map(stay).collect::<Result<_, _>>()?,
                history_open: row.try_get(1)?,
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
                 WHERE m.conversation = ? AND m.`left` IS NULL AND m.account > ? \
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
        })
        .await
    }

    async fn memberships(
        &self,
        account: AccountId,
        after: &[u8],
        limit: u32,
    ) -> Result<Vec<Membership>, EngineError> {
        let rows = sqlx::query(
            "SELECT c.id, c.name, c.head, m.joined, c.history_open, k.delivered, k.`read` \
             FROM members m JOIN conversations c ON c.id = m.conversation \
             LEFT JOIN marks k ON k.conversation = m.conversation AND k.account = m.account \
             WHERE m.account = ? AND m.`left` IS NULL AND m.conversation > ? \
             ORDER BY m.conversation LIMIT ?",
        )
        .bind(integer(account.0))
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool);
        let rows = within(READ_TIMEOUT, rows).await?;
        rows.iter().map(membership).collect()
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
        let rows = query.build().fetch_all(&self.pool);
        let rows = within(READ_TIMEOUT, rows).await?;
        rows.iter().map(account).collect()
    }

    async fn heads(&self, after: &[u8], limit: u32) -> Result<Vec<Head>, EngineError> {
        let rows = sqlx::query(
            "SELECT id, head FROM conversations WHERE id > ? AND head > 0 ORDER BY id LIMIT ?",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool);
        let rows = within(READ_TIMEOUT, rows).await?;
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

/// A page's entries: in statements that grow, and no more of them once the page is full.
async fn entries(
    connection: &mut MySqlConnection,
    conversation: ConversationId,
    after: SequenceNumber,
    limit: u32,
) -> Result<Vec<Entry>, EngineError> {
    let (mut entries, mut bytes) = (Vec::new(), 0);
    let (mut after, mut left, mut next) = (after.0, limit, HISTORY_ROWS_FIRST);
    while left > 0 && bytes <= PULL_PAGE_BYTES_MAX {
        let asked = left.min(next);
        let rows = sqlx::query(
            "SELECT sequence, sender, message_id, kind, content, priority, deliver_before_ms, \
             committed_at_ms FROM messages \
             WHERE conversation = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        )
        .bind(&conversation.as_bytes()[..])
        .bind(integer(after))
        .bind(asked)
        .fetch_all(&mut *connection)
        .await?;
        for row in &rows {
            let entry = entry(conversation, row)?;
            bytes += entry.content.len();
            after = entry.sequence;
            entries.push(entry);
        }
        if rows.len() < asked as usize {
            break;
        }
        left -= asked;
        next = (next * 2).min(HISTORY_ROWS_MAX);
    }
    Ok(entries)
}

fn stay(row: &MySqlRow) -> Result<Stay, EngineError> {
    let left: Option<i64> = row.try_get(1)?;
    Ok(Stay {
        joined: SequenceNumber(number(row.try_get(0)?)),
        left: left.map(|left| SequenceNumber(number(left))),
    })
}

fn entry(conversation: ConversationId, row: &MySqlRow) -> Result<Entry, EngineError> {
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

fn membership(row: &MySqlRow) -> Result<Membership, EngineError> {
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
