//! A picture to oneself, and back: a message with media is one call, and so is fetching it.
//!
//! `cargo run -p client-sdk --example media -- ADDRESS CA_FILE TOKEN_FILE FILE`
#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use anyhow::{Context as _, bail};
use client_sdk::{Client, ClientConfig, Content, Credential, Event, MediaSource};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, ca, token, file] = arguments.as_slice() else {
        bail!("arguments: ADDRESS CA_FILE TOKEN_FILE FILE");
    };
    let config = ClientConfig::new([address], ca, Credential::token_file(token)?);
    let (client, mut events) = Client::connect(config).await?;
    let notes = client.pair_with(client.account().id);

    // Goes on where it was after whatever happens to the link or to a gateway.
    let picture = MediaSource::path(file);
    let sent = client.send_media(notes, picture, "左边这一箱").await?;
    println!("sent as number {}", sent.sequence);
    while let Some(event) = events.next().await {
        let Event::Message(message) = event else {
            continue;
        };
        let Content::Media(media) = &message.content else {
            continue;
        };
        println!(
            "{} of {} bytes: {}",
            media.media_type, media.bytes, media.caption
        );
        let to = format!("{file}.fetched");
        let bytes = client.fetch_media(&message, &to).await;
        println!("{} bytes in {to}", bytes.context("it was not fetched")?);
        break;
    }
    client.close().await;
    Ok(())
}
