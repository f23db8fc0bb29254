//! A robot's first day: it enrols with the one-time token that an operator gave it, and from then on
//! comes as itself. On every other day it finds its identity where it left it.
//!
//! `cargo run -p client-sdk --example enrol -- ADDRESS CA_FILE FOLDER NAME [TOKEN]`
#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use std::path::Path;

use anyhow::{Context as _, bail};
use client_sdk::{CapabilityCard, Client, Enrolment, Identity, content};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, ca, folder, name, token @ ..] = arguments.as_slice() else {
        bail!("arguments: ADDRESS CA_FILE FOLDER NAME [TOKEN]");
    };
    let identity = match Identity::from_dir(folder) {
        Ok(identity) => identity,
        Err(_) => {
            let token = token.first().context("the first day takes a token")?;
            let mut enrolment = Enrolment::new([address], ca, token, name);
            enrolment.capabilities = Some(CapabilityCard {
                model: "forklift-2t".into(),
                ..CapabilityCard::default()
            });
            enrolment.run(Path::new(folder)).await?
        }
    };

    // The client renews the certificate by itself, for as long as it is connected.
    let (client, _events) = Client::connect(identity.client([address])).await?;
    let me = client.account();
    println!("connected to {address} as {} ({:?})", me.name, me.kind);
    let notes = client.pair_with(me.id);
    let receipt = client.send(notes, content::text("hello")).await?;
    println!("hello is stored in {notes} as number {}", receipt.sequence);
    client.close().await;
    Ok(())
}
