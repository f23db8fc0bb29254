//! The SQLite engine: one file in WAL mode, synced at every commit.
//!
//! [`SqliteEngine`] is the writer's one connection: `batch` looks up and commits messages, `amend`
//! takes back and drops, `chores` does the rare writes, `commands` those of commands, `schema` the tables, `backup` copies them.
//! [`SqliteReaders`] are the connections that only read, `pages` those of them that read history.
//! [`Owner`] is whose file it is. What becomes of a message is decided in [`crate::shard`].
//!
//! What a loss of power leaves is SQLite's to mend: it syncs the folder with the first sync of a
//! new log, the log at every commit, and the database before it uses the log's room again. A
//! checkpoint that fails (a full disk) fails no commit: the log grows until one succeeds.

mod amend;
#[path = "../sql/audit.rs"]
mod audit;
pub(crate) mod backup;
mod batch;
#[path = "../sql/cards.rs"]
mod cards;
mod chores;
mod command_readers;
mod commands;
#[path = "../sql/create_group.rs"]
mod create_group;
mod credential_readers;
#[path = "../sql/credential_reads.rs"]
mod credential_reads;
#[path = "../sql/credentials.rs"]
mod credentials;
#[path = "../sql/estops.rs"]
mod estops;
mod many;
#[path = "../sql/media.rs"]
mod media;
mod media_readers;
mod owner;
mod pages;
#[cfg(test)]
mod plans;
mod readers;
mod schema;
mod search;
#[cfg(feature = "testing")]
pub mod testing;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use protocol::{ConversationId, Refusal};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Error};

pub use owner::Owner;
pub use readers::SqliteReaders;
pub use schema::SCHEMA_VERSION;

use crate::engine::{Chore, Done, Engine, EngineError};
use crate::events;
use crate::shard::{Append, BatchPlan, ConversationState, Known};

/// How long a statement waits for another owner of the file. Below the senders' timeouts, also
/// when a write is attempted anew after it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Prepared statements that a connection keeps: those over many rows are one for each power of two.
const STATEMENTS_KEPT_MAX: usize = 256;

/// SQLite's result codes, without what extends them.
const READ_ONLY: u32 = 8;
const FULL: u32 = 13;
const CANNOT_OPEN: u32 = 14;

/// What the statements in `../sql` run on: those files are compiled once for each engine.
type Connection = SqliteConnection;

/// The name of a fleet or an account, as its column has it.
fn name_value(name: &str) -> String {
    name.to_owned()
}

/// The writer's connection to the file.
#[derive(Debug)]
pub struct SqliteEngine {
    connection: SqliteConnection,
    /// A COMMIT failed, and what it wrote may be in the file.
    is_unsettled: bool,
    /// The last write found no room.
    is_full: bool,
    commits: u64,
}

impl SqliteEngine {
    /// Opens the file, makes it when there is none, and checks that it is ours.
    pub async fn open(path: &Path) -> Result<Self, EngineError> {
        match Self::open_with(&options(path)).await {
            Err(EngineError::Sql(error)) => Err(named(error, EngineError::Sql)),
            Err(error) => Err(error),
            Ok(engine) => Ok(engine),
        }
    }

    async fn open_with(options: &SqliteConnectOptions) -> Result<Self, EngineError> {
        let mut connection = options.connect().await?;
        schema::migrate(&mut connection, SCHEMA_VERSION).await?;
        Ok(Self {
            connection,
            is_unsettled: false,
            is_full: false,
            commits: 0,
        })
    }
}

impl SqliteEngine {
    /// Ends a transaction: COMMIT when all went well, else nothing of it stays open.
    async fn end<T>(&mut self, written: Result<T, EngineError>) -> Result<T, EngineError> {
        let ended = match written {
            Ok(written) => execute(&mut self.connection, "COMMIT")
                .await
                .map(|()| written)
                .map_err(|error| named(error, EngineError::Unsettled)),
            Err(EngineError::Sql(error)) => Err(named(error, EngineError::Sql)),
            Err(error) => Err(error),
        };
        match &ended {
            Ok(_) => self.is_unsettled = false,
            Err(error) => {
                self.is_unsettled |= matches!(error, EngineError::Unsettled(_));
                // After most failures SQLite has done this by itself, and says so.
                drop(execute(&mut self.connection, "ROLLBACK").await);
            }
        }
        self.note_room(&ended);
        ended
    }

    /// Said once, however many writes find none.
    fn note_room<T>(&mut self, ended: &Result<T, EngineError>) {
        if ended.is_ok() && self.is_full {
            self.is_full = false;
            events::disk_has_room();
        }
        if matches!(ended, Err(EngineError::Full(_))) && !self.is_full {
            self.is_full = true;
            events::disk_full();
        }
    }

    /// A COMMIT that failed may have left a whole transaction behind the log's end, where the next
    /// start would find it. Any other one takes its place.
    async fn supersede(&mut self) -> Result<(), EngineError> {
        let written = async {
            execute(&mut self.connection, "BEGIN IMMEDIATE").await?;
            execute(&mut self.connection, "PRAGMA application_id = 1229804372").await?;
            Ok(())
        };
        let written = written.await;
        self.end(written).await
    }
}

impl Engine for SqliteEngine {
    async fn look_up(
        &mut self,
        batch: &[Append],
        kept: &HashMap<ConversationId, ConversationState>,
    ) -> Result<Known, EngineError> {
        if self.is_unsettled {
            self.supersede().await?;
        }
        batch::look_up(&mut self.connection, batch, kept).await
    }

    async fn commit(
        &mut self,
        batch: &[Append],
        plan: &BatchPlan,
        now_ms: u64,
    ) -> Result<(), EngineError> {
        if !plan.entries.is_empty() {
            let written = batch::write(&mut self.connection, batch, plan, now_ms).await;
            self.end(written).await?;
            self.commits += 1;
        }
        Ok(())
    }

    async fn chores(
        &mut self,
        chores: &[Chore],
        now_ms: u64,
    ) -> Result<Vec<Result<Done, Refusal>>, EngineError> {
        let written = chores::write(&mut self.connection, chores, now_ms).await;
        self.end(written).await
    }

    fn commits(&self) -> u64 {
        self.commits
    }
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), Error> {
    sqlx::query(sql).execute(connection).await?;
    Ok(())
}

/// Gives a failure that somebody can mend its name. A COMMIT without room has stored nothing: what
/// ends a transaction is written last.
fn named(error: Error, other: fn(Error) -> EngineError) -> EngineError {
    match code(&error) {
        Some(FULL) => EngineError::Full(error),
        Some(READ_ONLY | CANNOT_OPEN) => EngineError::NotWritable(error),
        _ => other(error),
    }
}

fn code(error: &Error) -> Option<u32> {
    let extended = error.as_database_error()?.code()?;
    extended.parse::<u32>().ok().map(|code| code & 0xff)
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS_KEPT_MAX)
        .disable_statement_logging()
}
