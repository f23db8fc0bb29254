//! Hears of everything that is committed and mentions a word, in the conversations that the account
//! is in; with `fleet` behind it in all groups, for those who may.
//!
//! `cargo run -p client-sdk --example watch -- ADDRESS CA_FILE TOKEN_FILE WORD [fleet]`
#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use anyhow::bail;
use client_sdk::{Client, ClientConfig, Credential, Seen, WatchFilter};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, ca, token, word, rest @ ..] = arguments.as_slice() else {
        bail!("arguments: ADDRESS CA_FILE TOKEN_FILE WORD [fleet]");
    };
    let config = ClientConfig::new([address], ca, Credential::token_file(token)?);
    let (client, _events) = Client::connect(config).await?;
    let filter = WatchFilter {
        words: vec![word.clone()],
        fleet: rest.iter().any(|argument| argument == "fleet"),
        ..WatchFilter::default()
    };
    let mut watch = client.watch(filter).await?;
    loop {
        match watch.next().await? {
            Seen::Entry(entry) => {
                println!(
                    "{} #{}: {:?}",
                    entry.conversation, entry.sequence, entry.content
                );
            }
            // What is missing is in the history: `Client::pull`.
            Seen::Gap(gap) => println!("may be missing: {gap:?}"),
        }
    }
}
