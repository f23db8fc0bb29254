//! A robot that says what its journal has written and what was acknowledged, until it is killed.
//!
//! `journal_child ADDRESS CA CERTIFICATE KEY JOURNAL FIRST COUNT`: sends the texts FIRST, FIRST + 1,
//! ... to three groups, eight at a time. Its words, a line each: `written ID`, `stored ID` and, when
//! everything is, `done`.
#![allow(clippy::print_stdout, reason = "a program for a pipe")]

use anyhow::bail;
use client_sdk::journal::{Change, DiskJournal, Journal, JournalError, Kept};
use client_sdk::{Client, ClientConfig, ConversationId, Credential, Outgoing, SendHandle, content};
use tokio::task::JoinSet;

/// Sends that wait for their ack at once.
const AT_ONCE: usize = 8;

/// Says what is written, before anybody else knows.
struct Telling(DiskJournal);

impl Journal for Telling {
    fn place(&self) -> String {
        self.0.place()
    }

    fn load(&mut self) -> Result<Kept, JournalError> {
        let kept = self.0.load()?;
        // A kill may have come between the disk's word and ours.
        for entry in &kept.entries {
            println!("written {}", entry.client_message_id);
        }
        Ok(kept)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), JournalError> {
        self.0.commit(changes)?;
        for change in changes {
            if let Change::Append(entry) = change {
                println!("written {}", entry.client_message_id);
            }
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, ca, certificate, key, journal, first, count] = arguments.as_slice() else {
        bail!("arguments: ADDRESS CA CERTIFICATE KEY JOURNAL FIRST COUNT");
    };
    let (first, count): (u64, u64) = (first.parse()?, count.parse()?);
    let credential = Credential::from_files(certificate, key)?;
    let config = ClientConfig::new([address], ca, credential);
    let journal = Telling(DiskJournal::new(journal));
    let (client, _events) = Client::connect_with_journal(config, Box::new(journal)).await?;
    let mut waiting = JoinSet::new();
    for handle in client.recovered() {
        waiting.spawn(tell(handle));
    }
    for n in first..first + count {
        let group = ConversationId::group(n % 3 + 1);
        let outgoing = Outgoing::new(group, content::text(n.to_string()));
        waiting.spawn(tell(client.send_nowait(outgoing)));
        while waiting.len() >= AT_ONCE
            && let Some(told) = waiting.join_next().await
        {
            told??;
        }
    }
    while let Some(told) = waiting.join_next().await {
        told??;
    }
    client.close().await;
    println!("done");
    Ok(())
}

async fn tell(handle: SendHandle) -> anyhow::Result<()> {
    let id = handle.client_message_id();
    handle.await?;
    println!("stored {id}");
    Ok(())
}
