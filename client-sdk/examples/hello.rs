//! The first words of a robot or a person: who am I, where am I a member, and one stored message.
//!
//! `cargo run -p client-sdk --example hello -- ADDRESS CA_FILE (CERTIFICATE KEY | TOKEN_FILE)`
#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use anyhow::bail;
use client_sdk::{Client, ClientConfig, Credential, content};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (address, ca, credential) = match arguments.as_slice() {
        [address, ca, token] => (address, ca, Credential::token_file(token)?),
        [address, ca, certificate, key] => (address, ca, Credential::from_files(certificate, key)?),
        _ => bail!("arguments: ADDRESS CA_FILE, then CERTIFICATE KEY or TOKEN_FILE"),
    };

    let config = ClientConfig::new([address], ca, credential);
    let (client, _events) = Client::connect(config).await?;
    let me = client.account();
    println!("connected to {address} as {} ({:?})", me.name, me.kind);
    for conversation in client.conversations().await? {
        println!("member of {:?}: {}", conversation.name, conversation.id);
    }

    // A conversation with another account needs no set-up, and this one is with oneself.
    let notes = client.pair_with(me.id);
    let receipt = client.send(notes, content::text("hello")).await?;
    println!("hello is stored in {notes} as number {}", receipt.sequence);
    client.close().await;
    Ok(())
}
