//! The SQLite engine: one file in WAL mode, synced at every commit.
//!
//! [`Engine`] is the writer's one connection: `batch` looks up and commits messages, `chores` does
//! the rare writes. [`Readers`] are the connections that only read. What becomes of a message is
//! decided in [`crate::shard`].

mod batch;
mod chores;
mod readers;

use std::path::Path;

use protocol::{ClientMessageId, ConversationId};
use sqlx::ConnectOptions as _;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use thiserror::Error;

pub use batch::Committed;
pub use chores::{Chore, Done, RaisedMark};
pub use readers::{History, MemberRows, Readers};

/// The version of the schema that this build writes.
const SCHEMA_VERSION: i64 = 1;

/// Names our databases in their header (`PRAGMA application_id`): "IMST".
const APPLICATION_ID: i64 = 0x494d_5354;

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

/// The writer's connection to the file.
#[derive(Debug)]
pub struct Engine {
    connection: SqliteConnection,
    commits: u64,
}

impl Engine {
    /// Opens the file, makes it when there is none, and checks that it is ours.
    pub async fn open(path: &Path) -> Result<Self, EngineError> {
        let connection = options(path).connect().await?;
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
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
}

/// SQL has signed integers only; the bits are kept, and ids and numbers stay far below 2^63.
const fn integer(number: u64) -> i64 {
    number.cast_signed()
}

const fn number(integer: i64) -> u64 {
    integer.cast_unsigned()
}

fn conversation_id(bytes: &[u8]) -> Result<ConversationId, EngineError> {
    ConversationId::from_slice(bytes).map_err(|_| EngineError::Damaged("a conversation id"))
}

fn message_id(bytes: &[u8]) -> Result<ClientMessageId, EngineError> {
    ClientMessageId::from_slice(bytes).map_err(|_| EngineError::Damaged("a message id"))
}
