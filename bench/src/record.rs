//! The record of a chaos run: what every client sent, was told, was handed and marked, with its
//! time, as JSON lines; and what the log held in the end.
//!
//! It is written as it happens, so that memory does not grow with the run. What it means is judged
//! by [`crate::checker`] alone, which knows nothing but these lines.

mod event;

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

pub use self::event::{Change, Event, Outcome, Says};

/// Bytes that wait to be written to the file. A full buffer is written before the next line.
const BUFFER_BYTES: usize = 256 * 1024;

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
