//! Who owns the file: one store at a time, the others stand by. The kernel keeps the lock, and gives
//! it back when its holder dies; one that is paused still has it.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::engine::EngineError;
use crate::events;

/// How often a store that stands by tries.
const TRY_INTERVAL: Duration = Duration::from_millis(50);

/// The ownership of a file, until it is dropped.
#[derive(Debug)]
pub struct Owner(#[expect(dead_code, reason = "it is held, not read")] File);

impl Owner {
    /// Waits until the file is ours. Cancel-safe.
    ///
    /// # Errors
    /// When there can be no lock beside the file.
    pub async fn wait(database: &Path) -> Result<Self, EngineError> {
        let mut stands_by = false;
        loop {
            if let Some(owner) = Self::try_take(database)? {
                return Ok(owner);
            }
            if !stands_by {
                stands_by = true;
                events::stands_by(database);
            }
            tokio::time::sleep(TRY_INTERVAL).await;
        }
    }

    /// The file, if nobody owns it.
    ///
    /// # Errors
    /// As [`Owner::wait`].
    pub fn try_take(database: &Path) -> Result<Option<Self>, EngineError> {
        // Opened each time: whoever resets a cluster may have removed it meanwhile.
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(lock_of(database))
            .map_err(EngineError::Lock)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::Error(error)) => Err(EngineError::Lock(error)),
            Err(TryLockError::WouldBlock) => Ok(None),
        }
    }
}

fn lock_of(database: &Path) -> PathBuf {
    let mut path = OsString::from(database);
    path.push("-owner");
    path.into()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn one_owns_the_file_until_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.db");
        let first = Owner::wait(&path).await.unwrap();
        assert!(Owner::wait(&path).now_or_never().is_none(), "stands by");
        drop(first);
        Owner::wait(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_folder_that_takes_no_lock_is_an_error() {
        let error = Owner::wait(Path::new("/proc/history.db")).await;
        assert!(matches!(error, Err(EngineError::Lock(_))));
    }
}
