//! Marks on their way into the database: written behind, in batches of their own, the newest of
//! each member and conversation.
//!
//! After a crash they may lag, never lead. Not here: who may raise which mark.

use std::collections::HashMap;
use std::time::Duration;

use protocol::{AccountId, ConversationId};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::engine::{Chore, RaisedMark};
use crate::events;
use crate::writer::Writer;

/// How long marks are gathered before they are written: each write is a sync that messages wait
/// for, and a mark that lags costs a redelivery at most.
const GATHER: Duration = Duration::from_millis(200);

/// Frames of marks that wait. When full: the link they come from waits.
const QUEUE_FRAMES_MAX: usize = 256;

/// Marks in one write. When as many are gathered they are written at once.
const MARKS_TOGETHER_MAX: usize = 4096;

/// Where marks go.
#[derive(Debug, Clone)]
pub struct MarkSink {
    queue: mpsc::Sender<Vec<RaisedMark>>,
}

/// Writes them.
#[derive(Debug)]
pub struct MarkTask {
    queue: mpsc::Receiver<Vec<RaisedMark>>,
    gathered: HashMap<(ConversationId, AccountId), (u64, u64)>,
}

/// Both halves.
#[must_use]
pub fn new() -> (MarkSink, MarkTask) {
    let (sender, queue) = mpsc::channel(QUEUE_FRAMES_MAX);
    let task = MarkTask {
        queue,
        gathered: HashMap::new(),
    };
    (MarkSink { queue: sender }, task)
}

impl MarkSink {
    /// Takes marks, waiting for room.
    pub async fn raise(&self, marks: Vec<RaisedMark>) {
        if self.queue.send(marks).await.is_err() {
            events::marks_dropped();
        }
    }
}

impl MarkTask {
    /// Writes until every sink is gone, and then what is left.
    pub async fn run(mut self, writer: Writer) {
        while let Some(marks) = self.queue.recv().await {
            self.gather(marks);
            let until = Instant::now() + GATHER;
            while self.gathered.len() < MARKS_TOGETHER_MAX {
                match tokio::time::timeout_at(until, self.queue.recv()).await {
                    Ok(Some(marks)) => self.gather(marks),
                    Ok(None) | Err(_) => break,
                }
            }
            let marks = self.take();
            if let Err(refusal) = writer.chore(Chore::RaiseMarks(marks)).await {
                events::marks_not_written(&refusal);
            }
        }
    }

    fn gather(&mut self, marks: Vec<RaisedMark>) {
        for mark in marks {
            let key = (mark.conversation, mark.account);
            let (delivered, read) = self.gathered.entry(key).or_default();
            *delivered = mark.delivered.max(*delivered);
            *read = mark.read.max(*read);
        }
    }

    fn take(&mut self) -> Vec<RaisedMark> {
        let mark = |((conversation, account), (delivered, read))| RaisedMark {
            conversation,
            account,
            delivered,
            read,
        };
        self.gathered.drain().map(mark).collect()
    }
}
