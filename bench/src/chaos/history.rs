//! The log in the end: how far it goes, and all of it, read by a client that knows nothing yet.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, ensure};
use client_sdk::{Client, ClientConfig, ConversationId, Entry, EntryKind, Error, SequenceNumber};

use super::{Stage, message};
use crate::record::{Event, Says};

/// Entries at the end of a log among which the last is looked for that has not expired.
const LOOK_BACK: u64 = 50;

/// How far each conversation goes, and who is in it.
#[derive(Debug)]
pub(super) struct Heads(Vec<Head>);

#[derive(Debug)]
struct Head {
    conversation: u32,
    sequence: u64,
    members: BTreeSet<u64>,
}

impl Heads {
    /// Asked for when nothing is sent any more.
    pub(super) async fn read(usher: &Client, stage: &Stage) -> anyhow::Result<Self> {
        let mut heads = Vec::with_capacity(stage.conversations.len());
        for (conversation, id) in (0..).zip(&stage.conversations) {
            let head = last_entry(usher, *id).await;
            let members = usher.members(*id).await;
            let members = members.context("the members cannot be read")?;
            heads.push(Head {
                conversation,
                sequence: head.context("the head cannot be read")?,
                members: members.iter().map(|member| member.id.0).collect(),
            });
        }
        Ok(Self(heads))
    }

    /// Whether an account was handed everything up to them.
    pub(super) fn are_reached(&self, account: u64, highest: &HashMap<u32, u64>) -> bool {
        let mut mine = self.0.iter().filter(|head| head.members.contains(&account));
        mine.all(|head| {
            let highest = highest.get(&head.conversation).copied();
            highest.unwrap_or(0) >= head.sequence
        })
    }
}

/// The last that says something, as far as is looked: nobody is handed a placeholder.
async fn last_entry(usher: &Client, id: ConversationId) -> Result<u64, Error> {
    let head = usher.pull(id, SequenceNumber::ZERO, 1).await?.head.0;
    let after = SequenceNumber(head.saturating_sub(LOOK_BACK));
    let page = usher.pull(id, after, 0).await?;
    let says = page.entries.iter().rev();
    let mut says = says.filter(|entry| entry.kind != EntryKind::Placeholder);
    Ok(says.next().map_or(0, |entry| entry.sequence.0))
}

/// Records all logs, page by page.
pub(super) async fn read(usher: ClientConfig, stage: &Stage) -> anyhow::Result<()> {
    let (client, events) = Client::connect(usher).await?;
    drop(events);
    for (conversation, id) in (0..).zip(&stage.conversations) {
        let mut after = SequenceNumber::ZERO;
        let head = loop {
            let page = client.pull(*id, after, 0).await;
            let page = page.context("the log cannot be read")?;
            for entry in &page.entries {
                stage.recorder.record(&line(conversation, entry));
            }
            match page.entries.last() {
                Some(last) => {
                    ensure!(last.sequence > after, "a page of the log leads backwards");
                    after = last.sequence;
                }
                None => break page.head.0,
            }
        };
        stage
            .recorder
            .record(&Event::History { conversation, head });
    }
    client.close().await;
    Ok(())
}

fn line(conversation: u32, entry: &Entry) -> Event {
    let content = entry.content.as_ref();
    let says = match content {
        Some(content) => message::says(content, entry.client_message_id.as_ref()),
        None if entry.kind == EntryKind::Placeholder => Says::Nothing,
        None => Says::Altered,
    };
    Event::Entry {
        conversation,
        sequence: entry.sequence.0,
        says,
        changes: content.map(message::changes).unwrap_or_default(),
    }
}
