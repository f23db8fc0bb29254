//! The SQLite engine: one file in WAL mode, synced at every commit.
//!
//! [`SqliteEngine`] is the writer's one connection: `batch` looks up and commits messages, `chores`
//! does the rare writes. [`SqliteReaders`] are the connections that only read. [`Owner`] is whose file it
//! is. What becomes of a
//! message is decided in [`crate::shard`].

mod batch;
mod chores;
mod owner;
mod readers;

use std::collections::HashMap;
use std::path::Path;

use protocol::{ConversationId, Refusal};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

pub use owner::Owner;
pub use readers::SqliteReaders;

use crate::engine::{Chore, Done, Engine, EngineError};
use crate::shard::{Append, BatchPlan, ConversationState, Known};

/// The version of the schema that this build writes.
const SCHEMA_VERSION: i64 = 1;

/// Names our databases in their header (`PRAGMA application_id`): "IMST".
const APPLICATION_ID: i64 = 0x494d_5354;

/// The writer's connection to the file.
#[derive(Debug)]
pub struct SqliteEngine {
    connection: SqliteConnection,
    commits: u64,
}

impl SqliteEngine {
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

impl Engine for SqliteEngine {
    async fn look_up(
        &mut self,
        batch: &[Append],
        kept: &HashMap<ConversationId, ConversationState>,
    ) -> Result<Known, EngineError> {
        batch::look_up(&mut self.connection, batch, kept).await
    }

    async fn commit(
        &mut self,
        batch: &[Append],
        plan: &BatchPlan,
        now_ms: u64,
    ) -> Result<(), EngineError> {
        if !plan.entries.is_empty() {
            batch::commit(&mut self.connection, batch, plan, now_ms).await?;
            self.commits += 1;
        }
        Ok(())
    }

    async fn chores(
        &mut self,
        chores: &[Chore],
        now_ms: u64,
    ) -> Result<Vec<Result<Done, Refusal>>, EngineError> {
        chores::chores(&mut self.connection, chores, now_ms).await
    }

    fn commits(&self) -> u64 {
        self.commits
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
