//! For the tests of losses of power alone: an engine that does not sync, and SQLite's own judgement
//! of a file. Nothing that a store runs with.

use std::path::Path;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteSynchronous;

use super::{SqliteEngine, options};
use crate::engine::EngineError;

/// The control: an engine that leaves it to the kernel when what it commits reaches the disk.
pub async fn open_unsynced(path: &Path) -> Result<SqliteEngine, EngineError> {
    SqliteEngine::open_with(&options(path).synchronous(SqliteSynchronous::Off)).await
}

/// What SQLite's `integrity_check` says of the file; `["ok"]` if all is well.
pub async fn integrity(path: &Path) -> Result<Vec<String>, EngineError> {
    let mut connection = options(path).connect().await?;
    let said = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_all(&mut connection)
        .await?;
    Ok(said)
}
