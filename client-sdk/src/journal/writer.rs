//! The thin shell around a journal: its blocking calls run on threads that are for that, one at a
//! time. What to write is decided by the scribe.

use std::sync::Arc;

use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use super::{Change, Journal, JournalError, Kept};

type Held = Option<Box<dyn Journal>>;

/// A journal that is open.
pub(crate) struct Writer {
    /// For errors of a journal that is gone.
    place: String,
    /// Absent while it is being written, and when it panicked.
    journal: Held,
    /// At most one commit: the scribe gathers the next one meanwhile.
    writing: Option<JoinHandle<(Held, Result<(), JournalError>)>>,
}

impl Writer {
    /// Reads everything that it keeps.
    pub(crate) async fn open(mut journal: Box<dyn Journal>) -> Result<(Self, Kept), JournalError> {
        let place = journal.place();
        let loaded = spawn_blocking(move || {
            let kept = journal.load();
            // A journal that cannot be used is closed here, where that may block.
            kept.map(|kept| (journal, kept))
        });
        let (journal, kept) = loaded
            .await
            .unwrap_or_else(|error| Err(gone(&place, &error)))?;
        let writer = Self {
            place,
            journal: Some(journal),
            writing: None,
        };
        Ok((writer, kept))
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Begins a commit; the one before has ended.
    pub(crate) fn start(&mut self, changes: Arc<[Change]>) {
        let journal = self.journal.take();
        let place = self.place.clone();
        self.writing = Some(spawn_blocking(move || match journal {
            Some(mut journal) => {
                let done = journal.commit(&changes);
                (Some(journal), done)
            }
            None => {
                let what = "it failed before".into();
                (None, Err(JournalError::Io { place, what }))
            }
        }));
    }

    pub(crate) const fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// How the commit ended; for ever if there is none. Cancel-safe.
    pub(crate) async fn done(&mut self) -> Result<(), JournalError> {
        let Some(writing) = &mut self.writing else {
            return std::future::pending().await;
        };
        let ended = writing.await;
        self.writing = None;
        match ended {
            Ok((journal, done)) => {
                self.journal = journal;
                done
            }
            Err(error) => Err(gone(&self.place, &error)),
        }
    }

    /// Closes the journal; when this returns another client may open it. A commit that has not
    /// ended goes on by itself.
    pub(crate) async fn close(mut self) {
        if let Some(journal) = self.journal.take() {
            // A journal that panics while it is closed has nothing more to say.
            drop(spawn_blocking(move || drop(journal)).await);
        }
    }
}

fn gone(place: &str, error: &JoinError) -> JournalError {
    JournalError::Io {
        place: place.to_owned(),
        what: error.to_string(),
    }
}
