//! The record of a chaos run: what every client sent, was told, was handed and marked, with its
//! time, as JSON lines; and what the log held in the end.
//!
//! It is written as it happens, so that memory does not grow with the run. What it means is judged
//! by [`crate::checker`] alone, which knows nothing but these lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Bytes that wait to be written to the file. A full buffer is written before the next line.
const BUFFER_BYTES: usize = 256 * 1024;

/// One line. Times are microseconds since the record began, of a clock that does not step; clients
/// and conversations go by small numbers that [`Event::Client`] and [`Event::Conversation`] give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The first line.
    Began {
        /// Everything that is drawn is drawn from it.
        seed: u64,
        /// Milliseconds since the Unix epoch.
        unix_ms: u64,
        /// How long a send may take.
        send_timeout_ms: u64,
    },
    /// An account whose deliveries are recorded.
    Client {
        /// Its number in this record.
        client: u32,
        /// Its account.
        account: u64,
        /// Its name.
        name: String,
    },
    /// A conversation of the run.
    Conversation {
        /// Its number in this record.
        conversation: u32,
        /// As logs print it.
        id: String,
        /// The two accounts of a pair; empty for a group, whose members its log names.
        pair: Vec<u64>,
    },
    /// A client starts, with no memory but the marks that the server keeps.
    RunBegan {
        /// When.
        at_us: u64,
        /// Who.
        client: u32,
        /// Its how-manieth, from 1.
        run: u32,
    },
    /// A client has ended; nothing is handed over in this run any more.
    RunEnded {
        /// When.
        at_us: u64,
        /// Who.
        client: u32,
        /// Which.
        run: u32,
        /// By what.
        by: String,
    },
    /// The *delivered* mark that the server tells a client which starts.
    ServerMark {
        /// When.
        at_us: u64,
        /// Who.
        client: u32,
        /// Where.
        conversation: u32,
        /// Up to here.
        delivered: u64,
    },
    /// A client says that everything up to here was delivered.
    Marked {
        /// When.
        at_us: u64,
        /// Who.
        client: u32,
        /// Where.
        conversation: u32,
        /// Up to here.
        sequence: u64,
    },
    /// A send begins.
    Sent {
        /// When.
        at_us: u64,
        /// Who.
        client: u32,
        /// Where to.
        conversation: u32,
        /// The message; unique in the record.
        message: u64,
    },
    /// A send ends.
    Ended {
        /// When.
        at_us: u64,
        /// Which.
        message: u64,
        /// How.
        outcome: Outcome,
    },
    /// A message is handed to the application.
    Delivered {
        /// When.
        at_us: u64,
        /// To whom.
        client: u32,
        /// In which run.
        run: u32,
        /// Where.
        conversation: u32,
        /// Under which number.
        sequence: u64,
        /// What it says.
        says: Says,
        /// Whether it was said to be one that an earlier run may have seen.
        #[serde(default, skip_serializing_if = "is_false")]
        flagged: bool,
    },
    /// A client is told that it is a member from now on, or no longer one.
    Membership {
        /// When.
        at_us: u64,
        /// Who.
        client: u32,
        /// Where.
        conversation: u32,
        /// Whether it is one.
        joined: bool,
    },
    /// A client is told that it is connected, or no longer.
    Link {
        /// When.
        at_us: u64,
        /// Who.
        client: u32,
        /// Why it no longer is; empty when it is.
        lost: String,
    },
    /// Somebody asked for another membership.
    Change {
        /// When.
        at_us: u64,
        /// Where.
        conversation: u32,
        /// Whose.
        account: u64,
        /// In or out.
        joins: bool,
        /// What came of it.
        outcome: String,
    },
    /// A fault was made.
    Fault {
        /// When it began.
        at_us: u64,
        /// When it ended, as far as its maker ends it.
        until_us: u64,
        /// Where.
        target: String,
        /// What.
        fault: String,
    },
    /// The memory of a process.
    Memory {
        /// When.
        at_us: u64,
        /// Whose.
        target: String,
        /// Its process id: another one is another life.
        pid: i32,
        /// Resident, in bytes.
        rss_bytes: u64,
    },
    /// One entry of the log, as it was read back in the end.
    Entry {
        /// Where.
        conversation: u32,
        /// Its number.
        sequence: u64,
        /// What it says.
        says: Says,
        /// Who came and went by it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        changes: Vec<Change>,
    },
    /// All entries of the log were read back.
    History {
        /// Where.
        conversation: u32,
        /// The highest number.
        head: u64,
    },
    /// The last line: a record without it is cut off.
    Finished {
        /// When.
        at_us: u64,
    },
}

/// How a send ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Committed under this number.
    Acked {
        /// The number.
        sequence: u64,
    },
    /// Not stored, for good.
    Refused {
        /// The error's code.
        code: String,
    },
    /// It may be stored.
    Unknown,
    /// Certainly not stored.
    NotSent,
}

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// A message of the run.
    Message(u64),
    /// The server's own word of who came and went.
    Membership,
    /// Nothing: a placeholder.
    Nothing,
    /// Something that nobody of the run has sent.
    Altered,
}

/// One who came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Who.
    pub account: u64,
    /// In or out.
    pub joined: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Writes the record. Clones write the same one.
#[derive(Debug, Clone)]
pub struct Recorder {
    began: Instant,
    sink: Arc<Mutex<Sink>>,
}

#[derive(Debug)]
struct Sink {
    file: BufWriter<File>,
    /// The first error: the record is worth nothing after it.
    failed: Option<io::Error>,
}

impl Recorder {
    /// A new file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?);
        Ok(Self {
            began: Instant::now(),
            sink: Arc::new(Mutex::new(Sink { file, failed: None })),
        })
    }

    /// Microseconds since the record began.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// One more line. An error shows when the record is finished.
    pub fn record(&self, event: &Event) {
        let mut sink = self.sink.lock();
        if sink.failed.is_some() {
            return;
        }
        let written = serde_json::to_writer(&mut sink.file, event)
            .map_err(io::Error::from)
            .and_then(|()| sink.file.write_all(b"\n"));
        sink.failed = written.err();
    }

    /// The last line, and everything on its way to the file.
    ///
    /// # Errors
    /// When a line could not be written.
    pub fn finish(&self) -> io::Result<()> {
        self.record(&Event::Finished {
            at_us: self.now_us(),
        });
        let mut sink = self.sink.lock();
        if let Some(error) = sink.failed.take() {
            return Err(error);
        }
        sink.file.flush()
    }
}

/// The lines of a record, one after the other.
///
/// # Errors
/// When the file cannot be read; a line that makes no sense is an error of that line.
pub fn read(path: &Path) -> io::Result<impl Iterator<Item = io::Result<Event>>> {
    let lines = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?).lines();
    Ok(lines.map(|line| Ok(serde_json::from_str(&line?)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recorded_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        let recorder = Recorder::create(&path).unwrap();
        let delivered = Event::Delivered {
            at_us: 1,
            client: 2,
            run: 3,
            conversation: 4,
            sequence: 5,
            says: Says::Message(6),
            flagged: false,
        };
        let entry = Event::Entry {
            conversation: 4,
            sequence: 1,
            says: Says::Membership,
            changes: vec![Change {
                account: 7,
                joined: true,
            }],
        };
        recorder.record(&delivered);
        recorder.record(&entry);
        recorder.finish().unwrap();
        let events: Vec<_> = read(&path).unwrap().map(Result::unwrap).collect();
        assert_eq!(events[..2], [delivered, entry]);
        assert!(matches!(events[2..], [Event::Finished { .. }]));
    }

    #[test]
    fn a_line_that_makes_no_sense_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        std::fs::write(&path, "{\"finished\":{\"at_us\":1}}\n{\"fini").unwrap();
        let events: Vec<_> = read(&path).unwrap().collect();
        assert!(events[0].is_ok() && events[1].is_err());
    }
}
