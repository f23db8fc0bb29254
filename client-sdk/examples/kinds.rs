//! Kinds of messages to oneself: where I am, a picture that is stored elsewhere, an answer with a
//! mention; and each as it comes back.
//!
//! `cargo run -p client-sdk --example kinds -- ADDRESS CA_FILE TOKEN_FILE`
#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use anyhow::bail;
use client_sdk::protocol::wire::{MapPlace, Media, Pose, pose};
use client_sdk::{Client, ClientConfig, Content, Credential, Outgoing, content};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, ca, token] = arguments.as_slice() else {
        bail!("arguments: ADDRESS CA_FILE TOKEN_FILE");
    };
    let config = ClientConfig::new([address], ca, Credential::token_file(token)?);
    let (client, _events) = Client::connect(config).await?;
    let me = client.account().id;
    let notes = client.pair_with(me);

    let place = MapPlace {
        map_id: "一楼".into(),
        x: 12.25,
        y: -2.5,
        theta: 1.57,
        ..MapPlace::default()
    };
    let here = Content::Pose(Pose {
        place: Some(pose::Place::OnMap(place)),
        measured_at_ms: client.server_time_ms(),
        ..Pose::default()
    });
    // Kept by nobody: the newest of a key is what counts. Stored, it would be an entry.
    client.send_ephemeral(notes, "pose", here.clone()).await?;
    client.send(notes, here).await?;
    let picture = Content::Media(Media {
        reference: "pictures/17".into(),
        media_type: "image/png".into(),
        bytes: 48_211,
        caption: "左边这一箱".into(),
        ..Media::default()
    });
    let shown = client.send(notes, picture).await?;
    let answer = Outgoing::new(notes, content::text("我去看看"))
        .reply_to(shown.sequence)
        .mentions(&[me]);
    client.send_with(answer).await?;

    for entry in client.history_back(notes, None, 3).await? {
        println!("#{} {:?} {:?}", entry.sequence, entry.kind, entry.refers);
    }
    client.close().await;
    Ok(())
}
