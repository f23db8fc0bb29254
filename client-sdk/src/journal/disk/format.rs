//! What stands in the file: three tables, and the errors of their reading and writing. Version 1;
//! a change of it is a new version, read beside the old one.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use bytes::Bytes;
use prost::Message as _;
use protocol::{AccountId, ClientMessageId, ConversationId, SequenceNumber, wire};
use redb::{
    CommitError, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError,
    TableDefinition, TableError, TransactionError, WriteTransaction,
};

use super::Places;
use crate::journal::{Change, JournalEntry, JournalError, JournalOwner, Kept};

/// The version of these tables.
const FORMAT: u64 = 1;

/// `format` (8 bytes, big-endian) and `owner` (8 bytes of the account's id, then its name).
const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("im.journal.about");

/// Encoded `im.v1.Send`s in the order in which they were appended.
const SENDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("im.journal.sends");

/// By the places of those that are acknowledged: the server's clock at the commit, in milliseconds
/// since the Unix epoch. A file of before there was this table has none.
const ACKED: TableDefinition<'_, u64, u64> = TableDefinition::new("im.journal.acked");

/// The application's *delivered* mark of each conversation.
const MARKS: TableDefinition<'_, &[u8], u64> = TableDefinition::new("im.journal.marks");

/// What is said of a file that the database could not read without panicking.
pub(super) const PANICKED: &str = "reading it failed";

/// What can be wrong with a file, apart from which one it is.
#[derive(Debug)]
pub(super) enum Fault {
    NotAJournal,
    Damaged(String),
    OtherFormat(u64),
    InUse,
    Io(io::Error),
}

impl Fault {
    pub(super) fn at(self, path: &Path) -> JournalError {
        let place = path.display().to_string();
        match self {
            Self::NotAJournal => JournalError::NotAJournal { place },
            Self::Damaged(what) => JournalError::Damaged { place, what },
            Self::OtherFormat(found) => JournalError::OtherFormat { place, found },
            Self::InUse => JournalError::InUse { place },
            Self::Io(error) if is_disk_full(&error) => JournalError::DiskFull { place },
            Self::Io(error) => {
                let what = error.to_string();
                JournalError::Io { place, what }
            }
        }
    }
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::InvalidData {
            // What the database says of a file that is not one of its own.
            Self::NotAJournal
        } else if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Damaged("it was cut short".into())
        } else {
            Self::Io(error)
        }
    }
}

impl From<StorageError> for Fault {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the rest is for people alone"
    )]
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io(error) => error.into(),
            StorageError::Corrupted(what) => Self::Damaged(what),
            other => other_fault(&other),
        }
    }
}

impl From<DatabaseError> for Fault {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the rest is for people alone"
    )]
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::InUse,
            DatabaseError::Storage(error) => error.into(),
            DatabaseError::UpgradeRequired(version) => {
                Self::Damaged(format!("its file format is {version}"))
            }
            other => other_fault(&other),
        }
    }
}

impl From<TableError> for Fault {
    fn from(error: TableError) -> Self {
        if let TableError::Storage(error) = error {
            error.into()
        } else {
            // A database of something else.
            Self::NotAJournal
        }
    }
}

impl From<TransactionError> for Fault {
    fn from(error: TransactionError) -> Self {
        if let TransactionError::Storage(error) = error {
            error.into()
        } else {
            other_fault(&error)
        }
    }
}

impl From<CommitError> for Fault {
    fn from(error: CommitError) -> Self {
        if let CommitError::Storage(error) = error {
            error.into()
        } else {
            other_fault(&error)
        }
    }
}

fn other_fault(error: &impl ToString) -> Fault {
    Fault::Io(io::Error::other(error.to_string()))
}

/// Makes an empty journal of an empty database.
pub(super) fn begin(database: &Database) -> Result<(), Fault> {
    let transaction = transaction(database)?;
    transaction
        .open_table(ABOUT)?
        .insert("format", FORMAT.to_be_bytes().as_slice())?;
    transaction.open_table(SENDS)?;
    transaction.open_table(ACKED)?;
    transaction.open_table(MARKS)?;
    Ok(transaction.commit()?)
}

/// A message in the file.
pub(super) struct Placed {
    pub(super) place: u64,
    pub(super) entry: JournalEntry,
    /// The server's clock at the commit, if it is acknowledged.
    pub(super) acked: Option<u64>,
}

/// Everything that is kept; the messages in order, and not in `Kept`.
pub(super) fn read(database: &Database) -> Result<(Kept, Vec<Placed>), Fault> {
    let reading = database.begin_read()?;
    let about = reading.open_table(ABOUT)?;
    let format = about.get("format")?.ok_or(Fault::NotAJournal)?;
    match <[u8; 8]>::try_from(format.value()).map(u64::from_be_bytes) {
        Ok(FORMAT) => {}
        Ok(found) => return Err(Fault::OtherFormat(found)),
        Err(_) => return Err(damaged("its version")),
    }
    let mut kept = Kept::default();
    if let Some(owner) = about.get("owner")? {
        kept.owner = Some(read_owner(owner.value()).ok_or_else(|| damaged("its owner"))?);
    }
    if let Some(generation) = about.get("history")? {
        let generation = <[u8; 8]>::try_from(generation.value());
        kept.history_generation = generation.map_or_else(
            |_| Err(damaged("its history")),
            |its| Ok(u64::from_be_bytes(its)),
        )?;
    }
    for mark in reading.open_table(MARKS)?.iter()? {
        let (at, to) = mark?;
        let at = ConversationId::from_slice(at.value()).map_err(|_| damaged("a mark"))?;
        kept.marks.push((at, SequenceNumber(to.value())));
    }
    let acked = match reading.open_table(ACKED) {
        Ok(acked) => Some(acked),
        Err(TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let mut entries = Vec::new();
    for send in reading.open_table(SENDS)?.iter()? {
        let (place, send) = send?;
        let entry = read_send(send.value()).ok_or_else(|| damaged("a message"))?;
        let place = place.value();
        let acked = acked.as_ref().map(|acked| acked.get(place)).transpose()?;
        entries.push(Placed {
            place,
            entry,
            acked: acked.flatten().map(|at| at.value()),
        });
    }
    Ok((kept, entries))
}

/// What a commit has changed of where the messages are.
pub(super) struct Moved {
    /// `None`: removed.
    pub(super) places: HashMap<(ConversationId, ClientMessageId), Option<u64>>,
    pub(super) last_place: u64,
}

/// Makes the changes durable.
pub(super) fn write(
    database: &Database,
    changes: &[Change],
    places: &Places,
    last_place: u64,
) -> Result<Moved, Fault> {
    let mut moved = Moved {
        places: HashMap::new(),
        last_place,
    };
    let transaction = transaction(database)?;
    {
        let mut about = transaction.open_table(ABOUT)?;
        let mut sends = transaction.open_table(SENDS)?;
        let mut acked = transaction.open_table(ACKED)?;
        let mut marks = transaction.open_table(MARKS)?;
        for change in changes {
            match change {
                Change::Own(owner) => {
                    let mut value = owner.account.0.to_be_bytes().to_vec();
                    value.extend(owner.name.as_bytes());
                    about.insert("owner", value.as_slice())?;
                }
                Change::History(generation) => {
                    about.insert("history", generation.to_be_bytes().as_slice())?;
                }
                Change::Append(entry) => {
                    let key = (entry.conversation, entry.client_message_id);
                    let place = moved.place(places, &key).unwrap_or_else(|| {
                        moved.last_place += 1;
                        moved.last_place
                    });
                    moved.places.insert(key, Some(place));
                    sends.insert(place, entry.send.as_ref())?;
                    acked.remove(place)?;
                }
                Change::Acked {
                    conversation,
                    client_message_id,
                    committed_at_ms,
                } => {
                    let key = (*conversation, *client_message_id);
                    if let Some(place) = moved.place(places, &key) {
                        acked.insert(place, committed_at_ms)?;
                    }
                }
                Change::Remove {
                    conversation,
                    client_message_id,
                } => {
                    let key = (*conversation, *client_message_id);
                    if let Some(place) = moved.place(places, &key) {
                        moved.places.insert(key, None);
                        sends.remove(place)?;
                        acked.remove(place)?;
                    }
                }
                Change::Mark {
                    conversation,
                    delivered,
                } => {
                    marks.insert(conversation.to_bytes().as_ref(), delivered.0)?;
                }
            }
        }
    }
    transaction.commit()?;
    Ok(moved)
}

impl Moved {
    fn place(&self, places: &Places, key: &(ConversationId, ClientMessageId)) -> Option<u64> {
        match self.places.get(key) {
            Some(place) => *place,
            None => places.get(key).copied(),
        }
    }
}

/// Removes the messages at these places.
pub(super) fn forget(database: &Database, places: &[u64]) -> Result<(), Fault> {
    let transaction = transaction(database)?;
    {
        let mut sends = transaction.open_table(SENDS)?;
        let mut acked = transaction.open_table(ACKED)?;
        for place in places {
            sends.remove(place)?;
            acked.remove(place)?;
        }
    }
    Ok(transaction.commit()?)
}

/// One whose commit is durable when it returns, and found damaged rather than missing later.
fn transaction(database: &Database) -> Result<WriteTransaction, Fault> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

/// Says that a newer build wrote it.
#[cfg(test)]
pub(super) fn set_version(database: &Database, version: u64) -> Result<(), Fault> {
    let transaction = transaction(database)?;
    transaction
        .open_table(ABOUT)?
        .insert("format", version.to_be_bytes().as_slice())?;
    Ok(transaction.commit()?)
}

fn read_owner(value: &[u8]) -> Option<JournalOwner> {
    let (account, name) = value.split_first_chunk::<8>()?;
    Some(JournalOwner {
        account: AccountId(u64::from_be_bytes(*account)),
        name: String::from_utf8(name.to_vec()).ok()?,
    })
}

fn read_send(value: &[u8]) -> Option<JournalEntry> {
    let send = wire::Send::decode(value).ok()?;
    Some(JournalEntry {
        conversation: ConversationId::from_slice(&send.conversation_id).ok()?,
        client_message_id: ClientMessageId::from_slice(&send.client_message_id).ok()?,
        send: Bytes::copy_from_slice(value),
    })
}

fn damaged(what: &str) -> Fault {
    Fault::Damaged(format!("{what} makes no sense"))
}
