//! A journal in a file that outlives a crash of the process and a loss of power. The only file that
//! names the database it is kept in.
//!
//! Each commit is in two phases, so that what was synced once is found again or found to be damaged:
//! in one phase a file whose last commit is damaged would open as the one before. A file is made under
//! another name and renamed when it is whole, so that a loss of power while it is made leaves none.

mod format;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use protocol::{ClientMessageId, ConversationId};
use redb::{Builder, Database};

use self::format::Fault;
use super::{Change, Journal, JournalEntry, JournalError, Kept, split};

/// Pages that are kept in memory, in bytes: a journal is written more than it is read.
const CACHE_BYTES: usize = 1024 * 1024;

/// Where each message is in the file.
type Places = HashMap<(ConversationId, ClientMessageId), u64>;

type Opener = Box<dyn Fn(&Path) -> Result<Database, Fault> + Send>;

/// A journal in a file. One client at a time has it open.
///
/// Made if it does not exist, in a folder that does, readable by its owner alone. A file that is
/// something else, is damaged, or was cut short is refused with an error that names it, and is left
/// as it is. A disk that is full refuses new messages; the journal works again when there is room.
pub struct DiskJournal {
    path: PathBuf,
    open: Opener,
    /// Absent before the first use and after a failure, which only opening it again mends.
    database: Option<Database>,
    places: Places,
    last_place: u64,
}

impl DiskJournal {
    /// The journal in this file; read when a client connects with it.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::opened_by(path.into(), open)
    }

    fn opened_by(
        path: PathBuf,
        open: impl Fn(&Path) -> Result<Database, Fault> + Send + 'static,
    ) -> Self {
        Self {
            path,
            open: Box::new(open),
            database: None,
            places: Places::new(),
            last_place: 0,
        }
    }

    fn read(&mut self) -> Result<Kept, Fault> {
        let database = (self.open)(&self.path)?;
        let (kept, entries) = format::read(&database)?;
        self.places = entries
            .iter()
            .map(|its| (key(&its.entry), its.place))
            .collect();
        self.last_place = entries.last().map_or(0, |last| last.place);
        self.database = Some(database);
        let (entries, sent) = split(entries.into_iter().map(|its| (its.entry, its.acked)));
        Ok(Kept {
            entries,
            sent,
            ..kept
        })
    }

    /// Opens the file again after a failure: of the commit that failed it may have nothing or all.
    fn reopen(&mut self) -> Result<Database, Fault> {
        let database = (self.open)(&self.path)?;
        let (_, entries) = format::read(&database)?;
        let unknown = entries
            .iter()
            .filter(|its| self.places.get(&key(&its.entry)) != Some(&its.place));
        let unknown: Vec<_> = unknown.map(|its| its.place).collect();
        if !unknown.is_empty() {
            format::forget(&database, &unknown)?;
        }
        Ok(database)
    }

    fn write(&mut self, changes: &[Change]) -> Result<(), Fault> {
        let database = match self.database.take() {
            Some(database) => database,
            None => self.reopen()?,
        };
        let moved = format::write(&database, changes, &self.places, self.last_place)?;
        self.database = Some(database);
        self.last_place = moved.last_place;
        for (key, place) in moved.places {
            match place {
                Some(place) => self.places.insert(key, place),
                None => self.places.remove(&key),
            };
        }
        Ok(())
    }

    /// The database is not trusted to refuse every damaged file instead of panicking.
    fn guarded<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, JournalError> {
        let done = catch_unwind(AssertUnwindSafe(|| act(self)))
            .unwrap_or_else(|_| Err(Fault::Damaged(format::PANICKED.into())));
        done.map_err(|fault| fault.at(&self.path))
    }
}

impl Journal for DiskJournal {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn load(&mut self) -> Result<Kept, JournalError> {
        self.guarded(Self::read)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), JournalError> {
        self.guarded(|journal| journal.write(changes))
    }
}

const fn key(entry: &JournalEntry) -> (ConversationId, ClientMessageId) {
    (entry.conversation, entry.client_message_id)
}

/// Opens the file and verifies all of it; makes it if there is none.
fn open(path: &Path) -> Result<Database, Fault> {
    if !path.try_exists()? {
        create(path)?;
    }
    Ok(builder().open(path)?)
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true);
    builder
}

/// Whole and durable before it has its name.
fn create(path: &Path) -> Result<(), Fault> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    // One that a loss of power left holds nothing: it never had its name.
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    drop(options.open(&unfinished)?);
    let database = builder().create(&unfinished)?;
    format::begin(&database)?;
    drop(database);
    File::open(&unfinished)?.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    sync_folder(path)?;
    Ok(())
}

/// A new name is durable when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    match File::open(folder) {
        Ok(folder) => folder.sync_all(),
        // Not every system lets a folder be opened.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && cfg!(windows) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
