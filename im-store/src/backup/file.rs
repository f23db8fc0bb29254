//! The file of a backup: eight bytes that say what it is, four of its format (big-endian), and one
//! zstd frame with a checksum, in which each record follows its length (four bytes, big-endian).
//! The first record says what the backup is of, then each table is followed by its rows, and the
//! last one counts them: a file without it was cut short.
//!
//! Written under another name, synced, renamed. Not here: SQL.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use prost::Message as _;

use super::{BackupError, Column, ColumnKind, Summary, Table};

const MAGIC: &[u8; 8] = b"IMSTORE\n";

/// The format that this build writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// The longest record, in bytes: a row with the longest content or card, with room. A longer one
/// is none of ours.
const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// zstd's own default: more costs more time than it saves room.
const COMPRESSION: i32 = 3;

/// One record.
#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(oneof = "Part", tags = "1, 2, 3, 4")]
    part: Option<Part>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Part {
    #[prost(message, tag = "1")]
    Head(Head),
    #[prost(message, tag = "2")]
    Table(TableRecord),
    #[prost(message, tag = "3")]
    Row(Row),
    #[prost(message, tag = "4")]
    End(End),
}

/// What a backup is of.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Head {
    #[prost(string, tag = "1")]
    pub(crate) engine: String,
    #[prost(int64, tag = "2")]
    pub(crate) schema: i64,
    #[prost(uint64, tag = "3")]
    pub(crate) history_generation: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) made_at_ms: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct TableRecord {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, repeated, tag = "2")]
    columns: Vec<String>,
}

/// The values of one row, in the order of the table's columns.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Row {
    #[prost(message, repeated, tag = "1")]
    pub(crate) values: Vec<Value>,
}

/// Neither: NULL.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Value {
    #[prost(sint64, optional, tag = "1")]
    pub(crate) integer: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(crate) bytes: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct End {
    #[prost(uint64, tag = "1")]
    rows: u64,
}

impl Row {
    /// About its size, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.encoded_len()
    }
}

/// A file that is not whole yet: dropped, it is gone.
#[derive(Debug)]
pub(super) struct Unfinished {
    path: PathBuf,
    to: PathBuf,
}

impl Unfinished {
    pub(super) fn new(to: &Path) -> Result<Self, BackupError> {
        if to.exists() {
            let source = io::ErrorKind::AlreadyExists.into();
            return Err(file_error(to, source));
        }
        let mut path = to.as_os_str().to_owned();
        path.push(".partial");
        Ok(Self {
            path: path.into(),
            to: to.to_owned(),
        })
    }

    pub(super) fn writer(&self) -> Result<Writer, BackupError> {
        let failed = |source| file_error(&self.path, source);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)
            .map_err(failed)?;
        file.write_all(MAGIC).map_err(failed)?;
        file.write_all(&FORMAT.to_be_bytes()).map_err(failed)?;
        let mut zstd = zstd::Encoder::new(file, COMPRESSION).map_err(failed)?;
        zstd.include_checksum(true).map_err(failed)?;
        Ok(Writer {
            path: self.path.clone(),
            zstd,
            rows: 0,
        })
    }

    /// It is whole and gets its name.
    pub(super) fn keep(self) -> Result<(), BackupError> {
        rename(&self.path, &self.to)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // There is none when it could not be made.
        drop(fs::remove_file(&self.path));
    }
}

/// Renames durably.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), BackupError> {
    let folder = match to.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    fs::rename(from, to)
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(|source| file_error(to, source))
}

/// Writes the records of one backup.
pub(crate) struct Writer {
    path: PathBuf,
    zstd: zstd::Encoder<'static, File>,
    rows: u64,
}

impl Writer {
    pub(crate) fn head(&mut self, head: &Head) -> Result<(), BackupError> {
        self.record(Part::Head(head.clone()))
    }

    pub(crate) fn table(&mut self, table: &Table) -> Result<(), BackupError> {
        self.record(Part::Table(TableRecord {
            name: table.name.clone(),
            columns: table.columns.iter().map(|its| its.name.clone()).collect(),
        }))
    }

    pub(crate) fn row(&mut self, row: Row) -> Result<(), BackupError> {
        self.rows += 1;
        self.record(Part::Row(row))
    }

    /// Writes the last record and syncs.
    pub(crate) fn finish(mut self, head: Head) -> Result<Summary, BackupError> {
        let rows = self.rows;
        self.record(Part::End(End { rows }))?;
        let synced = self.zstd.finish().and_then(|file| file.sync_all());
        synced.map_err(|source| file_error(&self.path, source))?;
        Ok(summary(head, rows))
    }

    fn record(&mut self, part: Part) -> Result<(), BackupError> {
        let record = Record { part: Some(part) }.encode_to_vec();
        let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
        self.zstd
            .write_all(&length.to_be_bytes())
            .and_then(|()| self.zstd.write_all(&record))
            .map_err(|source| file_error(&self.path, source))
    }
}

/// What comes after the head.
#[derive(Debug)]
pub(crate) enum Next {
    /// The rows that follow are of this table; the kinds of its columns are the database's.
    Table(String, Vec<String>),
    Row(Row),
}

/// Reads the records of one backup.
pub(crate) struct Reader {
    path: PathBuf,
    zstd: zstd::Decoder<'static, BufReader<File>>,
    pub(crate) head: Head,
    rows: u64,
}

impl Reader {
    /// Opens the file and reads its head.
    pub(crate) fn open(path: &Path) -> Result<Self, BackupError> {
        let failed = |source| file_error(path, source);
        let mut file = File::open(path).map_err(failed)?;
        let mut start = [0; 12];
        let is_ours = match file.read_exact(&mut start) {
            Ok(()) => start.starts_with(MAGIC),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
            Err(error) => return Err(failed(error)),
        };
        if !is_ours {
            return Err(BackupError::NotABackup(path.to_owned()));
        }
        let [.., a, b, c, d] = start;
        let format = u32::from_be_bytes([a, b, c, d]);
        if format > FORMAT {
            return Err(BackupError::Newer {
                path: path.to_owned(),
                what: "format",
                found: format.into(),
                known: FORMAT.into(),
            });
        }
        let mut reader = Self {
            path: path.to_owned(),
            zstd: zstd::Decoder::new(file).map_err(failed)?,
            head: Head::default(),
            rows: 0,
        };
        match reader.record()? {
            Part::Head(head) => reader.head = head,
            Part::Table(_) | Part::Row(_) | Part::End(_) => return Err(reader.damaged("no head")),
        }
        Ok(reader)
    }

    /// The next table or row; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Next>, BackupError> {
        match self.record()? {
            Part::Table(table) => Ok(Some(Next::Table(table.name, table.columns))),
            Part::Row(row) => {
                self.rows += 1;
                Ok(Some(Next::Row(row)))
            }
            Part::End(end) if end.rows == self.rows => {
                // Reading on to its end verifies the checksum.
                match self.zstd.read(&mut [0]) {
                    Ok(0) => Ok(None),
                    Ok(_) => Err(self.damaged("something follows its end")),
                    Err(error) => Err(self.damaged(error)),
                }
            }
            Part::End(_) => Err(self.damaged("rows are missing")),
            Part::Head(_) => Err(self.damaged("a second head")),
        }
    }

    pub(crate) fn damaged(&self, what: impl ToString) -> BackupError {
        BackupError::Damaged {
            path: self.path.clone(),
            what: what.to_string(),
        }
    }

    fn record(&mut self) -> Result<Part, BackupError> {
        let mut length = [0; 4];
        let read = self.zstd.read_exact(&mut length);
        read.map_err(|error| self.damaged(error))?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > RECORD_BYTES_MAX {
            return Err(self.damaged("a record that is too long"));
        }
        let mut record = vec![0; length];
        let read = self.zstd.read_exact(&mut record);
        read.map_err(|error| self.damaged(error))?;
        let record = Record::decode(&record[..]).map_err(|error| self.damaged(error))?;
        record.part.ok_or_else(|| self.damaged("an empty record"))
    }
}

/// Reads the whole file: it is a backup, and nothing of it is missing or changed.
pub(super) fn verify(path: &Path) -> Result<Summary, BackupError> {
    let mut reader = Reader::open(path)?;
    let mut columns = None;
    while let Some(next) = reader.next()? {
        match next {
            Next::Table(_, its) => columns = Some(its.len()),
            Next::Row(row) if columns == Some(row.values.len()) => {}
            Next::Row(_) => return Err(reader.damaged("a row that fits no table")),
        }
    }
    Ok(summary(reader.head, reader.rows))
}

/// The database's own view of a table that a backup has.
pub(crate) fn matching(
    reader: &Reader,
    tables: &[Table],
    name: &str,
    columns: &[String],
) -> Result<Table, BackupError> {
    let table = tables.iter().find(|table| table.name == name);
    let table = table.ok_or_else(|| reader.damaged(format!("an unknown table {name}")))?;
    let column = |wanted: &String| -> Result<Column, BackupError> {
        let found = table.columns.iter().find(|its| its.name == *wanted);
        let unknown = || reader.damaged(format!("an unknown column {name}.{wanted}"));
        found.cloned().ok_or_else(unknown)
    };
    Ok(Table {
        name: name.to_owned(),
        columns: columns.iter().map(column).collect::<Result<_, _>>()?,
    })
}

impl ColumnKind {
    /// From the type that either engine declares.
    pub(crate) fn of(declared: &str) -> Self {
        let declared = declared.to_ascii_lowercase();
        if declared.contains("int") {
            Self::Integer
        } else if declared == "varchar" || declared.contains("text") {
            Self::Text
        } else {
            Self::Bytes
        }
    }
}

fn summary(head: Head, rows: u64) -> Summary {
    Summary {
        engine: head.engine,
        schema: head.schema,
        history_generation: head.history_generation,
        made_at_ms: head.made_at_ms,
        rows,
    }
}

fn file_error(path: &Path, source: io::Error) -> BackupError {
    BackupError::File {
        path: path.to_owned(),
        source,
    }
}
