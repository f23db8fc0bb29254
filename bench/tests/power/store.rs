//! What the store's process does and says, and the judgement of the file that it leaves.
//!
//! It says `stored N CONVERSATION SEQUENCE` of what is acknowledged and `refused N` of what is said
//! not to be stored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use im_store::engine::{EngineError, Readers as _};
use im_store::read::Span;
use im_store::shard::{Append, Ruled};
use im_store::sqlite::{SqliteEngine, SqliteReaders, testing};
use im_store::stream;
use im_store::writer::{self, Writer};
use protocol::wire::{Entry, EntryKind, Priority};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Rights, SequenceNumber};
use tokio::task::JoinSet;

use crate::child::{Orders, Task, Words};

/// The database in its folder.
pub(crate) const FILE: &str = "s.db";

/// Any moment will do.
const NOW_MS: u64 = 1_800_000_000_000;

/// Senders at once, each waiting for its ack; and the conversations that they share.
const SENDERS: u32 = 6;
const CONVERSATIONS: u32 = 3;

/// Entries in one page.
const PAGE: u32 = 512;

fn conversation(n: u32) -> ConversationId {
    let other = u64::from(n % CONVERSATIONS) + 2;
    ConversationId::pair(AccountId(1), AccountId(other))
}

fn message_id(n: u32) -> ClientMessageId {
    let mut random = [5; 10];
    random[6..].copy_from_slice(&n.to_be_bytes());
    ClientMessageId::new(NOW_MS, random)
}

/// Which message has this id.
fn number(id: &[u8]) -> Option<u32> {
    let n = u32::from_be_bytes(id.get(12..)?.try_into().ok()?);
    (id == &message_id(n).to_bytes()[..]).then_some(n)
}

/// From a few bytes to a few pages of the file.
fn content(n: u32) -> Bytes {
    let times = [10, 700, 25, 3000, 5, 1500][n as usize % 6];
    n.to_be_bytes().repeat(times).into()
}

fn append(n: u32) -> Append {
    Append {
        conversation: conversation(n),
        sender: AccountId(1),
        message_id: message_id(n),
        kind: EntryKind::Text,
        content: content(n),
        priority: Priority::Chat,
        deliver_before_ms: 0,
        rights: Rights::EVERYTHING,
        changes: Vec::new(),
        group: None,
        target: None,
        ruled: Ruled::default(),
        reply_to: None,
    }
}

/// Sends until it has sent all, or one ends without an ack.
pub(crate) async fn live(orders: &Orders, words: Words) {
    let path = orders.folder.join(FILE);
    let engine = match orders.task {
        Task::StoreUnsynced => testing::open_unsynced(&path).await,
        Task::Store | Task::StoreAlone | Task::Journal => SqliteEngine::open(&path).await,
    };
    let (sink, _) = stream::new();
    let (writer, task) = writer::new(engine.unwrap(), sink);
    let committing = tokio::spawn(task.run(|| NOW_MS));
    let next = Arc::new(AtomicU32::new(orders.first));
    let end = orders.first.saturating_add(orders.count);
    let mut senders = JoinSet::new();
    let at_once = if orders.task == Task::StoreAlone {
        1
    } else {
        SENDERS
    };
    for _ in 0..at_once {
        senders.spawn(send(writer.clone(), Arc::clone(&next), end, words.clone()));
    }
    drop(writer);
    senders.join_all().await;
    committing.await.unwrap();
}

async fn send(writer: Writer, next: Arc<AtomicU32>, end: u32, words: Words) {
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= end {
            return;
        }
        match writer.append(append(n)).await {
            Ok(stored) => {
                words.say(&format!(
                    "stored {n} {} {}",
                    conversation(n),
                    stored.sequence
                ));
                words.up();
            }
            Err(refusal) if refusal.code == ErrorCode::Unavailable => {
                words.say(&format!("refused {n}"));
                return;
            }
            Err(refusal) => {
                assert_eq!(refusal.code, ErrorCode::OutcomeUnknown, "{refusal}");
                words.say(&format!("unknown {n}"));
                return;
            }
        }
    }
}

/// What a process has said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    stored: BTreeMap<u32, (ConversationId, u64)>,
    pub(crate) refused: BTreeSet<u32>,
    pub(crate) unknown: BTreeSet<u32>,
}

impl Said {
    pub(crate) fn of<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut said = Self::default();
        for line in lines {
            let words: Vec<_> = line.split_whitespace().collect();
            let number = |word: &str| word.parse().unwrap();
            match words[..] {
                ["stored", n, conversation, sequence] => {
                    let place = (conversation.parse().unwrap(), sequence.parse().unwrap());
                    said.stored.insert(number(n), place);
                }
                ["refused", n] => drop(said.refused.insert(number(n))),
                ["unknown", n] => drop(said.unknown.insert(number(n))),
                _ => panic!("not a word of the store: {line}"),
            }
        }
        said
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.stored.len()
    }

    /// What is wrong with the file that a process left which had said this.
    pub(crate) async fn judge(&self, folder: &Path) -> Vec<String> {
        match self.compare(&folder.join(FILE)).await {
            Ok(wrong) => wrong,
            Err(error) => vec![format!("unusable: {error:?}")],
        }
    }

    async fn compare(&self, path: &Path) -> Result<Vec<String>, EngineError> {
        drop(SqliteEngine::open(path).await?);
        let mut wrong = testing::integrity(path).await?;
        wrong.retain(|said| said != "ok");
        let readers = SqliteReaders::open(path).await?;
        let mut found = BTreeMap::new();
        for n in 0..CONVERSATIONS {
            let conversation = conversation(n);
            for (entry, sequence) in log(&readers, conversation).await?.iter().zip(1..) {
                match number(&entry.client_message_id) {
                    Some(n) if entry.sequence == sequence && entry.content == content(n) => {
                        if found.insert(n, (conversation, sequence)).is_some() {
                            wrong.push(format!("{n} is stored twice"));
                        }
                    }
                    _ => wrong.push(format!(
                        "a hole or another entry at {conversation} {sequence}"
                    )),
                }
            }
        }
        readers.close().await;
        for (n, place) in &self.stored {
            if found.get(n) != Some(place) {
                wrong.push(format!("lost: {n}, acknowledged at {place:?}"));
            }
        }
        let refused = self.refused.iter().filter(|n| found.contains_key(n));
        wrong.extend(refused.map(|n| format!("{n} is stored, and was refused")));
        Ok(wrong)
    }
}

/// All of a conversation, and its head is its end.
async fn log(
    readers: &SqliteReaders,
    conversation: ConversationId,
) -> Result<Vec<Entry>, EngineError> {
    let mut log: Vec<Entry> = Vec::new();
    loop {
        let after = SequenceNumber(log.last().map_or(0, |entry| entry.sequence));
        let page = readers
            .history(conversation, AccountId(1), Span::forward(after, PAGE))
            .await?;
        let Some(page) = page else {
            return Ok(log);
        };
        if page.entries.is_empty() {
            let ends = page.head == after;
            return if ends {
                Ok(log)
            } else {
                Err(EngineError::Damaged("a head"))
            };
        }
        log.extend(page.entries);
    }
}
