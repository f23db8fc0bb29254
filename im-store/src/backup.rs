//! A backup of a database: every row of every table as of one moment, in a file that either engine
//! restores. A restore begins a new generation of the history.
//!
//! The tables and their columns are read from the database itself, so that a table that is added
//! is in the backup without a word here; both engines name them alike. [`file`](mod@file) is the
//! file; the engines' own halves are `sqlite/backup.rs` and `mysql/backup.rs`. Not here: the
//! credentials of a fleet, which `swarm backup` puts beside.

pub mod command;
pub mod file;

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use crate::config::Database;
use crate::engine::EngineError;
use crate::{mysql, sqlite};

/// A table, as both engines know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
}

/// A column, and what its values are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: ColumnKind,
}

/// What the values of a column are. A text is bytes in a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    Integer,
    Text,
    Bytes,
}

/// What a backup is of, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The engine that it was made from.
    pub engine: String,
    /// The version of its tables.
    pub schema: i64,
    /// The generation of its history.
    pub history_generation: u64,
    /// When it was made, in milliseconds since the Unix epoch.
    pub made_at_ms: u64,
    /// How many rows it has.
    pub rows: u64,
}

/// Why there is no backup, or nothing was restored.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The database.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no database to back up.
    #[error("there is no history in {0}: nothing to back up")]
    NoHistory(String),
    /// The tables are of an older build, which may still be running.
    #[error("the database has schema {found} and this build {known}: start its store once first")]
    Older {
        /// What it has.
        found: i64,
        /// What this build knows.
        known: i64,
    },
    /// It is something else.
    #[error("{} is no backup of this server", .0.display())]
    NotABackup(PathBuf),
    /// A newer build wrote it.
    #[error(
        "the backup {} is of a newer build ({what} {found}, and this one knows up to {known}): \
         restore it with that build",
        path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// What is newer.
        what: &'static str,
        /// What it has.
        found: i64,
        /// What this build knows.
        known: i64,
    },
    /// It is cut short, or not what was written.
    #[error("the backup {} is damaged ({what}): nothing was restored", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A store works on it.
    #[error("a store is at work on {0}: stop the cluster, then restore")]
    InUse(String),
    /// Something would be overwritten.
    #[error("there is history in {0}: restore into an empty database, or add --replace")]
    NotEmpty(String),
}

/// Writes every row into a new file, as of one moment; the store may be at work meanwhile.
///
/// # Errors
/// When there is nothing to back up, or the file exists or cannot be written.
pub async fn back_up(
    database: &Database,
    to: &Path,
    made_at_ms: u64,
) -> Result<Summary, BackupError> {
    let unfinished = file::Unfinished::new(to)?;
    let writer = unfinished.writer()?;
    let summary = match database {
        Database::Sqlite(path) => sqlite::backup::back_up(path, writer, made_at_ms).await?,
        Database::MySql(address) => mysql::backup::back_up(address, writer, made_at_ms).await?,
    };
    unfinished.keep()?;
    Ok(summary)
}

/// Puts the rows of a backup into an empty database, or with `replace` into any of ours, and
/// begins a new generation of its history. The whole file is verified first. No store may be at
/// work on the database.
///
/// # Errors
/// When the file is no whole backup that this build knows, or the database is not empty.
pub async fn restore(
    database: &Database,
    from: &Path,
    replace: bool,
    now_ms: u64,
) -> Result<Summary, BackupError> {
    let summary = file::verify(from)?;
    let known = match database {
        Database::Sqlite(_) => sqlite::SCHEMA_VERSION,
        Database::MySql(_) => mysql::SCHEMA_VERSION,
    };
    if summary.schema > known {
        return Err(BackupError::Newer {
            path: from.to_owned(),
            what: "schema",
            found: summary.schema,
            known,
        });
    }
    let reader = file::Reader::open(from)?;
    match database {
        Database::Sqlite(path) => {
            sqlite::backup::restore(path, reader, replace, now_ms).await?;
        }
        Database::MySql(address) => {
            mysql::backup::restore(address, reader, replace, now_ms).await?;
        }
    }
    Ok(summary)
}
