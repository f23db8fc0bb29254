//! The SQLite engine: one file in WAL mode, synced at every commit.
//!
//! It looks up, it commits against the heads that were looked up, and it reads back. What becomes of
//! a message is decided in [`crate::shard`].

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use bytes::Bytes;
use protocol::id::ConversationKind;
use protocol::wire::{EntryKind, Priority};
use protocol::{AccountId, ClientMessageId, ConversationId, SequenceNumber};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, QueryBuilder, Row as _, Sqlite};
use thiserror::Error;

use crate::shard::{
    Append, BatchPlan, ConversationState, HeadMove, IdKey, Known, NewEntry, StoredId,
};

/// The version of the schema that this build writes.
const SCHEMA_VERSION: i64 = 1;

/// Names our databases in their header (`PRAGMA application_id`): "IMST".
const APPLICATION_ID: i64 = 0x494d_5354;

/// Rows in one statement: SQLite binds at most 32,766 values, and a message has nine.
const ROWS_PER_STATEMENT_MAX: usize = 512;

/// A database that cannot be used, or a statement that failed.
#[derive(Debug, Error)]
pub enum EngineError {
    /// It belongs to something else.
    #[error("the database is not one of this server's: use another file")]
    Foreign,
    /// It was written by a newer build.
    #[error("the database has schema {found}, and this build knows up to {known}: upgrade it")]
    Newer {
        /// What it has.
        found: i64,
        /// What this build knows.
        known: i64,
    },
    /// A row that no build of ours writes.
    #[error("the database is damaged: {0}")]
    Damaged(&'static str),
    /// SQLite failed.
    #[error("the database failed")]
    Sql(#[from] sqlx::Error),
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// Everything is stored and synced.
    Yes,
    /// Another owner moved a head first. Nothing is stored; look up again.
    Lost,
}

/// One stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its number.
    pub sequence: SequenceNumber,
    /// Who sent it.
    pub sender: AccountId,
    /// Its id.
    pub message_id: ClientMessageId,
    /// The encoded content.
    pub content: Bytes,
}

/// One connection to the file; the writer has its own.
#[derive(Debug)]
pub struct Engine {
    connection: SqliteConnection,
    commits: u64,
}

impl Engine {
    /// Opens the file, makes it when there is none, and checks that it is ours.
    pub async fn open(path: &Path) -> Result<Self, EngineError> {
        let connection = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging()
            .connect()
            .await?;
        let mut engine = Self {
            connection,
            commits: 0,
        };
        engine.migrate().await?;
        Ok(engine)
    }

    /// How many transactions with entries this connection has committed: each is one sync.
    #[must_use]
    pub const fn commits(&self) -> u64 {
        self.commits
    }

    async fn migrate(&mut self) -> Result<(), EngineError> {
        let mut tx = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let application: i64 = sqlx::query_scalar("PRAGMA application_id")
            .fetch_one(&mut *tx)
            .await?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&mut *tx)
            .await?;
        let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
            .fetch_one(&mut *tx)
            .await?;
        if application != APPLICATION_ID {
            if tables != 0 {
                return Err(EngineError::Foreign);
            }
            sqlx::raw_sql(include_str!("schema.sql"))
                .execute(&mut *tx)
                .await?;
            sqlx::raw_sql("PRAGMA application_id = 1229804372; PRAGMA user_version = 1")
                .execute(&mut *tx)
                .await?;
        } else if version > SCHEMA_VERSION {
            return Err(EngineError::Newer {
                found: version,
                known: SCHEMA_VERSION,
            });
        }
        tx.commit().await?;
        Ok(())
    }

    /// Makes the row of a group; its first membership entry follows as an append.
    pub async fn create_group(
        &mut self,
        conversation: ConversationId,
        name: &str,
        now_ms: u64,
    ) -> Result<(), EngineError> {
        sqlx::query("INSERT INTO conversations VALUES (?, 0, 0, 0, ?, ?)")
            .bind(&conversation.as_bytes()[..])
            .bind(name)
            .bind(integer(now_ms))
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// What the planner needs to know of a batch.
    pub async fn look_up(&mut self, batch: &[Append]) -> Result<Known, EngineError> {
        let mut known = Known::default();
        for rows in batch.chunks(ROWS_PER_STATEMENT_MAX) {
            self.look_up_ids(rows, &mut known.ids).await?;
        }
        let conversations: BTreeSet<_> = batch.iter().map(|append| append.conversation).collect();
        for conversation in conversations {
            if let Some(state) = self.conversation(conversation).await? {
                known.conversations.insert(conversation, state);
            }
        }
        Ok(known)
    }

    async fn look_up_ids(
        &mut self,
        batch: &[Append],
        ids: &mut HashMap<IdKey, StoredId>,
    ) -> Result<(), EngineError> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT conversation, sender, message_id, sequence, digest, committed_at_ms \
             FROM message_ids WHERE (conversation, sender, message_id) IN (",
        );
        query.push_values(batch, |mut row, append| {
            row.push_bind(append.conversation.as_bytes().to_vec())
                .push_bind(integer(append.sender.0))
                .push_bind(append.message_id.as_bytes().to_vec());
        });
        query.push(")");
        for row in query.build().fetch_all(&mut self.connection).await? {
            let key = (
                conversation_id(row.try_get(0)?)?,
                AccountId(number(row.try_get(1)?)),
                message_id(row.try_get(2)?)?,
            );
            let digest: Vec<u8> = row.try_get(4)?;
            let stored = StoredId {
                sequence: SequenceNumber(number(row.try_get(3)?)),
                digest: digest
                    .try_into()
                    .map_err(|_| EngineError::Damaged("a digest"))?,
                committed_at_ms: number(row.try_get(5)?),
            };
            ids.insert(key, stored);
        }
        Ok(())
    }

    /// A conversation as it is now.
    pub async fn conversation(
        &mut self,
        conversation: ConversationId,
    ) -> Result<Option<ConversationState>, EngineError> {
        let id = &conversation.as_bytes()[..];
        let head =
            sqlx::query("SELECT head, membership, owner_epoch FROM conversations WHERE id = ?")
                .bind(id)
                .fetch_optional(&mut self.connection)
                .await?;
        let Some(head) = head else {
            return Ok(None);
        };
        let members: Vec<i64> = sqlx::query_scalar(
            "SELECT account FROM members WHERE conversation = ? AND \"left\" IS NULL",
        )
        .bind(id)
        .fetch_all(&mut self.connection)
        .await?;
        Ok(Some(ConversationState {
            head: SequenceNumber(number(head.try_get(0)?)),
            membership: SequenceNumber(number(head.try_get(1)?)),
            owner_epoch: number(head.try_get(2)?),
            members: members
                .into_iter()
                .map(|account| AccountId(number(account)))
                .collect(),
        }))
    }

    /// Stores a planned batch, if every head still is what the plan was made from.
    pub async fn commit(
        &mut self,
        batch: &[Append],
        plan: &BatchPlan,
        now_ms: u64,
    ) -> Result<Committed, EngineError> {
        if plan.entries.is_empty() {
            return Ok(Committed::Yes);
        }
        let mut tx = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        if !move_heads(&mut tx, plan, now_ms).await? {
            tx.rollback().await?;
            return Ok(Committed::Lost);
        }
        for rows in plan.entries.chunks(ROWS_PER_STATEMENT_MAX) {
            insert_messages(&mut tx, batch, rows, now_ms).await?;
            insert_ids(&mut tx, batch, rows, now_ms).await?;
        }
        for entry in plan
            .entries
            .iter()
            .filter(|entry| !entry.changes.is_empty())
        {
            change_members(&mut tx, batch[entry.index].conversation, entry).await?;
        }
        tx.commit().await?;
        self.commits += 1;
        Ok(Committed::Yes)
    }

    /// The messages after `after`, at most `limit`, in order.
    pub async fn read(
        &mut self,
        conversation: ConversationId,
        after: SequenceNumber,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, EngineError> {
        let rows = sqlx::query(
            "SELECT sequence, sender, message_id, content FROM messages \
             WHERE conversation = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        )
        .bind(&conversation.as_bytes()[..])
        .bind(integer(after.0))
        .bind(limit)
        .fetch_all(&mut self.connection)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(StoredMessage {
                    sequence: SequenceNumber(number(row.try_get(0)?)),
                    sender: AccountId(number(row.try_get(1)?)),
                    message_id: message_id(row.try_get(2)?)?,
                    content: row.try_get::<Vec<u8>, _>(3)?.into(),
                })
            })
            .collect()
    }
}

/// Compare-and-set of every head of the batch. False: one of them is not what it was.
async fn move_heads(
    tx: &mut SqliteConnection,
    plan: &BatchPlan,
    now_ms: u64,
) -> Result<bool, EngineError> {
    for (conversation, head) in &plan.heads {
        let id = &conversation.as_bytes()[..];
        let moved = if is_new_pair(*conversation, head) {
            sqlx::query("INSERT INTO conversations VALUES (?, ?, 0, 0, '', ?)")
                .bind(id)
                .bind(integer(head.to.head.0))
                .bind(integer(now_ms))
                .execute(&mut *tx)
                .await
        } else {
            sqlx::query(
                "UPDATE conversations SET head = ?, membership = ? \
                 WHERE id = ? AND head = ? AND owner_epoch = ?",
            )
            .bind(integer(head.to.head.0))
            .bind(integer(head.to.membership.0))
            .bind(id)
            .bind(integer(head.from.head.0))
            .bind(integer(head.from.owner_epoch))
            .execute(&mut *tx)
            .await
        };
        match moved {
            Ok(done) if done.rows_affected() == 1 => {}
            Ok(_) => return Ok(false),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        if is_new_pair(*conversation, head) {
            insert_pair_members(tx, id, head).await?;
        }
    }
    Ok(true)
}

async fn insert_pair_members(
    tx: &mut SqliteConnection,
    id: &[u8],
    head: &HeadMove,
) -> Result<(), EngineError> {
    for member in &head.from.members {
        sqlx::query("INSERT INTO members VALUES (?, ?, 0, NULL)")
            .bind(id)
            .bind(integer(member.0))
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

fn is_new_pair(conversation: ConversationId, head: &HeadMove) -> bool {
    head.from.head == SequenceNumber::ZERO
        && matches!(conversation.kind(), ConversationKind::Pair(..))
}

async fn insert_messages(
    tx: &mut SqliteConnection,
    batch: &[Append],
    entries: &[NewEntry],
    now_ms: u64,
) -> Result<(), EngineError> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO messages (conversation, sequence, sender, message_id, kind, content, \
         priority, deliver_before_ms, committed_at_ms) ",
    );
    query.push_values(entries, |mut row, entry| {
        let append = &batch[entry.index];
        row.push_bind(append.conversation.as_bytes().to_vec())
            .push_bind(integer(entry.sequence.0))
            .push_bind(integer(append.sender.0))
            .push_bind(append.message_id.as_bytes().to_vec())
            .push_bind(kind_number(append.kind))
            .push_bind(append.content.to_vec())
            .push_bind(priority_number(append.priority))
            .push_bind(integer(append.deliver_before_ms))
            .push_bind(integer(now_ms));
    });
    query.build().execute(tx).await?;
    Ok(())
}

async fn insert_ids(
    tx: &mut SqliteConnection,
    batch: &[Append],
    entries: &[NewEntry],
    now_ms: u64,
) -> Result<(), EngineError> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO message_ids (conversation, sender, message_id, sequence, digest, \
         committed_at_ms) ",
    );
    query.push_values(entries, |mut row, entry| {
        let append = &batch[entry.index];
        row.push_bind(append.conversation.as_bytes().to_vec())
            .push_bind(integer(append.sender.0))
            .push_bind(append.message_id.as_bytes().to_vec())
            .push_bind(integer(entry.sequence.0))
            .push_bind(entry.digest.to_vec())
            .push_bind(integer(now_ms));
    });
    query.build().execute(tx).await?;
    Ok(())
}

async fn change_members(
    tx: &mut SqliteConnection,
    conversation: ConversationId,
    entry: &NewEntry,
) -> Result<(), EngineError> {
    for change in &entry.changes {
        let statement = if change.joins {
            sqlx::query("INSERT INTO members (joined, conversation, account) VALUES (?, ?, ?)")
        } else {
            sqlx::query(
                "UPDATE members SET \"left\" = ? \
                 WHERE conversation = ? AND account = ? AND \"left\" IS NULL",
            )
        };
        statement
            .bind(integer(entry.sequence.0))
            .bind(&conversation.as_bytes()[..])
            .bind(integer(change.account.0))
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

const fn kind_number(kind: EntryKind) -> i32 {
    kind as i32
}

const fn priority_number(priority: Priority) -> i32 {
    priority as i32
}

/// SQL has signed integers only; the bits are kept, and ids and numbers stay far below 2^63.
const fn integer(number: u64) -> i64 {
    number.cast_signed()
}

const fn number(integer: i64) -> u64 {
    integer.cast_unsigned()
}

fn conversation_id(bytes: Vec<u8>) -> Result<ConversationId, EngineError> {
    ConversationId::from_slice(&bytes).map_err(|_| EngineError::Damaged("a conversation id"))
}

fn message_id(bytes: Vec<u8>) -> Result<ClientMessageId, EngineError> {
    ClientMessageId::from_slice(&bytes).map_err(|_| EngineError::Damaged("a message id"))
}
