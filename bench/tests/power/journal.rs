//! What a robot's process does with its journal and says, and the judgement of the file that it
//! leaves.
//!
//! It says `kept N` of what is written, `removing N` before and `removed N` after a removal, and
//! `failed 0` of a commit that it has to repeat.

use std::collections::BTreeSet;
use std::path::Path;

use client_sdk::journal::{Change, DiskJournal, Journal as _, JournalEntry};
use prost::Message as _;
use protocol::{ClientMessageId, ConversationId, wire};

use crate::child::{Orders, Words};

/// The journal in its folder.
pub(crate) const FILE: &str = "outbox.journal";

/// Messages of one commit, in turn.
const TOGETHER: [u32; 4] = [1, 4, 2, 1];

/// Messages that wait for their ack; the oldest beyond are removed.
const WAITING: usize = 20;

/// Of a commit that the disk fails.
const ATTEMPTS_MAX: usize = 5;

fn entry(n: u32) -> JournalEntry {
    let conversation = ConversationId::group(u64::from(n % 3) + 1);
    let client_message_id = ClientMessageId::new(u64::from(n), [7; 10]);
    let times = [15, 75, 1250][n as usize % 3];
    let send = wire::Send {
        conversation_id: conversation.to_bytes(),
        client_message_id: client_message_id.to_bytes(),
        content: n.to_be_bytes().repeat(times).into(),
        ..Default::default()
    };
    JournalEntry {
        conversation,
        client_message_id,
        send: send.encode_to_vec().into(),
    }
}

/// Which message an entry is.
fn number(kept: &JournalEntry) -> Option<u32> {
    let n = u32::try_from(kept.client_message_id.made_at_ms()).ok()?;
    (*kept == entry(n)).then_some(n)
}

/// Writes until it has written all.
pub(crate) fn live(orders: &Orders, words: &Words) {
    let mut journal = DiskJournal::new(orders.folder.join(FILE));
    let kept = journal.load().unwrap().entries;
    let mut waiting: Vec<_> = kept.iter().filter_map(number).collect();
    let mut numbers = orders.first..orders.first.saturating_add(orders.count);
    for together in TOGETHER.into_iter().cycle() {
        let new: Vec<_> = numbers.by_ref().take(together as usize).collect();
        if new.is_empty() {
            return;
        }
        waiting.extend(&new);
        let old: Vec<_> = waiting
            .drain(..waiting.len().saturating_sub(WAITING))
            .collect();
        let mut changes: Vec<_> = new.iter().map(|n| Change::Append(entry(*n))).collect();
        for n in &old {
            words.say(&format!("removing {n}"));
            let entry = entry(*n);
            changes.push(Change::Remove {
                conversation: entry.conversation,
                client_message_id: entry.client_message_id,
            });
        }
        let mut attempts = 0..ATTEMPTS_MAX;
        while let Err(error) = journal.commit(&changes) {
            assert!(attempts.next().is_some(), "{error}");
            words.say("failed 0");
        }
        for n in new {
            words.say(&format!("kept {n}"));
        }
        for n in old {
            words.say(&format!("removed {n}"));
        }
        words.up();
    }
}

/// What a process has said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    kept: BTreeSet<u32>,
    removing: BTreeSet<u32>,
    removed: BTreeSet<u32>,
    pub(crate) failures: usize,
}

impl Said {
    pub(crate) fn of<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut said = Self::default();
        for line in lines {
            let (word, n) = line.trim_end().split_once(' ').unwrap();
            let numbers = match word {
                "failed" => {
                    said.failures += 1;
                    continue;
                }
                "kept" => &mut said.kept,
                "removing" => &mut said.removing,
                "removed" => &mut said.removed,
                _ => panic!("not a word of the journal: {line}"),
            };
            numbers.insert(n.parse().unwrap());
        }
        said
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.kept.len()
    }

    /// What is wrong with the file that a process left which had said this.
    pub(crate) fn judge(&self, folder: &Path) -> Vec<String> {
        let found = match DiskJournal::new(folder.join(FILE)).load() {
            Ok(found) => found.entries,
            Err(error) => return vec![format!("unusable: {error}")],
        };
        let Some(found) = found.iter().map(number).collect::<Option<Vec<_>>>() else {
            return vec!["an entry that nobody wrote".into()];
        };
        let mut wrong = Vec::new();
        if !found.is_sorted_by(|a, b| a < b) {
            wrong.push(format!("out of order: {found:?}"));
        }
        let found: BTreeSet<_> = found.into_iter().collect();
        let due = self.kept.difference(&self.removing);
        let lost = due.filter(|n| !found.contains(n));
        wrong.extend(lost.map(|n| format!("lost: {n}")));
        let back = self.removed.intersection(&found);
        wrong.extend(back.map(|n| format!("{n} is back, and was removed")));
        wrong
    }
}
