//! What the process `im-store` is asked to do: serve, or one of the two tasks beside serving.

use std::io::Write as _;
use std::path::PathBuf;

use service_kit::clock;
use service_kit::config::{self, ConfigError};

use super::{BackupError, back_up, restore};
use crate::config::{Config, DEFAULTS, Database, ENV_PREFIX};

/// What the process does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Answers logic.
    Serve,
    /// Writes a backup into a new file, and its summary to standard output.
    BackUp(PathBuf),
    /// Restores a backup.
    Restore {
        /// The backup.
        from: PathBuf,
        /// Whether what is in the database is deleted.
        replace: bool,
    },
}

/// What this process is asked to do, and its configuration: the command line and the environment.
///
/// # Errors
/// When either makes no sense.
pub fn from_process() -> Result<(Task, Config), ConfigError> {
    let (task, rest) = Task::take(std::env::args().skip(1))?;
    Ok((task, config::from_arguments(rest, ENV_PREFIX, DEFAULTS)?))
}

impl Task {
    /// Takes its words from the command line: `backup FILE`, `restore FILE [--replace]`, or none.
    /// The rest is the configuration's.
    ///
    /// # Errors
    /// When the file is missing.
    pub fn take(
        arguments: impl Iterator<Item = String>,
    ) -> Result<(Self, impl Iterator<Item = String>), ConfigError> {
        let mut arguments = arguments.peekable();
        let is_task = |word: &String| matches!(word.as_str(), "backup" | "restore");
        let Some(task) = arguments.next_if(is_task) else {
            return Ok((Self::Serve, arguments));
        };
        let file = arguments.next_if(|file| !file.starts_with("--"));
        let usage = || ConfigError::Usage(format!("{task} FILE"));
        let file = file.ok_or_else(usage)?.into();
        if task == "backup" {
            return Ok((Self::BackUp(file), arguments));
        }
        let replace = arguments.next_if(|word| word == "--replace").is_some();
        let from = file;
        Ok((Self::Restore { from, replace }, arguments))
    }

    /// Does it, and writes the backup's summary as a line of JSON to standard output.
    ///
    /// # Errors
    /// As [`back_up`] and [`restore`].
    pub async fn carry_out(self, database: &Database) -> Result<(), BackupError> {
        let now_ms = clock::unix_ms();
        let summary = match self {
            Self::Serve => return Ok(()),
            Self::BackUp(to) => back_up(database, &to, now_ms).await?,
            Self::Restore { from, replace } => restore(database, &from, replace, now_ms).await?,
        };
        let line = serde_json::to_string(&summary).expect("a summary is plain data");
        writeln!(std::io::stdout(), "{line}").map_err(|source| BackupError::File {
            path: "standard output".into(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_the_line_is_the_configurations() {
        let restore = |replace| Task::Restore {
            from: "f".into(),
            replace,
        };
        for (line, task, left) in [
            ("", Task::Serve, ""),
            ("--config c", Task::Serve, "--config c"),
            (
                "backup f --config c",
                Task::BackUp("f".into()),
                "--config c",
            ),
            ("restore f", restore(false), ""),
            (
                "restore f --replace --config c",
                restore(true),
                "--config c",
            ),
        ] {
            let words = line.split_whitespace().map(str::to_owned);
            let (taken, rest) = Task::take(words).unwrap();
            assert_eq!(taken, task, "{line}");
            assert_eq!(rest.collect::<Vec<_>>().join(" "), left);
        }
        for line in ["backup", "restore --replace"] {
            let words = line.split_whitespace().map(str::to_owned);
            assert!(Task::take(words).is_err(), "{line}");
        }
    }
}
