//! The file of the account: read at start, written as requests end.

use std::io;
use std::path::PathBuf;

use service_kit::clock;
use service_kit::config::ConfigError;
use service_kit::drain::Drain;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use super::account::{HEADER, Line};
use super::limits::Limits;
use crate::events;

/// The day's tokens, from the file.
///
/// # Errors
/// When the file is there and cannot be read.
pub(super) fn recall(limits: &mut Limits, file: &str) -> Result<(), ConfigError> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(ConfigError::Value(format!(
                "account.file: cannot read {file}: {error}"
            )));
        }
    };
    let now_ms = clock::unix_ms();
    for line in text.lines().filter_map(Line::parse) {
        let tokens = line.prompt_tokens + line.answer_tokens;
        limits.spent(&line.client, tokens, line.unix_ms, now_ms);
    }
    Ok(())
}

/// Writes lines as they come, in the order of their ends.
pub(super) async fn write(file: PathBuf, mut lines: mpsc::Receiver<Line>, drain: Drain) {
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            () = drain.drained() => lines.try_recv().ok(),
        };
        let Some(line) = line else {
            return;
        };
        let mut text = line.to_csv();
        while let Ok(line) = lines.try_recv() {
            text.push_str(&line.to_csv());
        }
        if let Err(error) = append(&file, &text).await {
            events::account_not_written(&error);
        }
    }
}

async fn append(file: &PathBuf, text: &str) -> io::Result<()> {
    let mut open = tokio::fs::OpenOptions::new();
    let mut its = open.create(true).append(true).open(file).await?;
    if its.metadata().await?.len() == 0 {
        its.write_all(HEADER.as_bytes()).await?;
    }
    its.write_all(text.as_bytes()).await?;
    its.flush().await
}
