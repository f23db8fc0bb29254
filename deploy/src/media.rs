//! `swarm media`: images, video, maps and logs as an operator sends, fetches, lists and collects
//! them; and where `swarm up` has its gateways keep them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use client_sdk::protocol::media::to_hex;
use client_sdk::protocol::wire::MediaItem;
use client_sdk::{
    Client, Content, ConversationId, EntryKind, MediaSource, OutgoingMedia, Search, SequenceNumber,
};
use serde_json::{Value, json};

use crate::access::{self, Access};
use crate::cli::{OperatorOption, StateOption};
use crate::screen;
use crate::state::State;
use crate::table::table;

/// The bytes of a key that signs URLs.
const KEY_BYTES: usize = 32;

/// How often a transfer says how far it is, in percent.
const PROGRESS_PERCENT: u64 = 10;

/// Messages that are listed at most.
const LISTED_MAX: u32 = 100;

/// What is to be done, by whom, where.
#[derive(Debug, Args)]
pub struct MediaOptions {
    /// What.
    #[command(subcommand)]
    command: MediaCommand,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// Who.
    #[command(flatten)]
    operator: OperatorOption,
    /// Where.
    #[command(flatten)]
    state: StateOption,
}

/// What is to be done with media.
#[derive(Debug, Subcommand)]
pub enum MediaCommand {
    /// Uploads a file and sends a message with it
    Send {
        /// The name of the group, or its id
        group: String,
        /// The file
        file: PathBuf,
        /// What is said of it
        #[arg(long, default_value = "")]
        caption: String,
        /// What it is, for example "video/mp4" [by the end of its name]
        #[arg(long = "type", value_name = "TYPE")]
        media_type: Option<String>,
    },
    /// Fetches what a message refers to
    Get {
        /// The name of the group, or its id
        group: String,
        /// The number of the message
        sequence: u64,
        /// Into this file [as it was called, here]
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Lists the messages of a group that have media, or one's own media
    List {
        /// The name of the group, or its id; without: one's own
        group: Option<String>,
    },
    /// Removes what no message refers to, and has not for long enough, now
    Gc,
}

/// `swarm media`.
pub async fn run(options: MediaOptions) -> anyhow::Result<()> {
    let access = Access::open(&options.state.folder())?;
    let (client, _events) = access.operator(options.operator.name()).await?;
    let told = carry_out(&client, options.command, options.json).await;
    client.close().await;
    screen::say(told?.trim_end());
    Ok(())
}

/// What is printed.
async fn carry_out(client: &Client, command: MediaCommand, json: bool) -> anyhow::Result<String> {
    match command {
        MediaCommand::Send {
            group,
            file,
            caption,
            media_type,
        } => {
            let group = find(client, &group).await?;
            let mut media = OutgoingMedia::new(MediaSource::path(&file), caption);
            media.media_type = media_type;
            media.progress = Some(progress("sent"));
            let sent = client.send_media_with(group, media).await?;
            if json {
                let sent =
                    json!({ "conversation": group.to_string(), "sequence": sent.sequence.0 });
                return Ok(sent.to_string());
            }
            Ok(format!("#{} in {group}", sent.sequence))
        }
        MediaCommand::Get {
            group,
            sequence,
            to,
        } => {
            let group = find(client, &group).await?;
            let at = (group, SequenceNumber(sequence));
            let to = match to {
                Some(to) => to,
                None => called(client, at).await?,
            };
            let bytes = client
                .fetch_media_of(at, &to, Some(progress("fetched")))
                .await?;
            let path = to.display().to_string();
            if json {
                return Ok(json!({ "file": path, "bytes": bytes }).to_string());
            }
            Ok(format!("{path}: {bytes} bytes"))
        }
        MediaCommand::List { group: Some(group) } => {
            let group = find(client, &group).await?;
            of_group(client, group, json).await
        }
        MediaCommand::List { group: None } => of_account(client, json).await,
        MediaCommand::Gc => {
            let collected = client.collect_media().await?;
            if json {
                return Ok(json!({ "collected": collected }).to_string());
            }
            Ok(format!("{collected} removed"))
        }
    }
}

async fn find(client: &Client, group: &str) -> anyhow::Result<ConversationId> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    match access::group(client, group).await? {
        Some(group) => Ok(group),
        None => Err(access::no_such_group(client, group).await),
    }
}

/// As the message says that the file was called, without a way to anywhere else.
async fn called(
    client: &Client,
    (group, sequence): (ConversationId, SequenceNumber),
) -> anyhow::Result<PathBuf> {
    let before = SequenceNumber(sequence.0.saturating_sub(1));
    let page = client.pull(group, before, 1).await?;
    let entry = page.entries.first().filter(|it| it.sequence == sequence);
    let Some(Content::Media(media)) = entry.and_then(|entry| entry.content.as_ref()) else {
        anyhow::bail!("message {sequence} has no media");
    };
    let name = Path::new(&media.name).file_name();
    Ok(name.map_or_else(|| format!("media-{sequence}").into(), PathBuf::from))
}

async fn of_group(client: &Client, group: ConversationId, json: bool) -> anyhow::Result<String> {
    let asked = Search {
        kinds: vec![EntryKind::Media],
        limit: LISTED_MAX,
        ..Search::default()
    };
    let found = client.search(group, asked).await?;
    let mut media = Vec::new();
    for entry in &found.entries {
        if let Some(Content::Media(said)) = &entry.content {
            media.push((entry.sequence.0, said));
        }
    }
    if json {
        let said = media.iter().map(|(sequence, said)| {
            json!({
                "sequence": sequence, "name": said.name, "media_type": said.media_type,
                "bytes": said.bytes, "sha256": to_hex(&said.sha256), "caption": said.caption,
                "reference": said.reference,
            })
        });
        return Ok(Value::from_iter(said).to_string());
    }
    let rows = media.iter().map(|(sequence, said)| {
        [
            sequence.to_string(),
            said.name.clone(),
            said.media_type.clone(),
            said.bytes.to_string(),
            said.caption.clone(),
        ]
    });
    Ok(table(["message", "name", "type", "bytes", "caption"], rows))
}

async fn of_account(client: &Client, json: bool) -> anyhow::Result<String> {
    let own = client.own_media().await?;
    if json {
        let item = |item: &MediaItem| {
            json!({
                "media_id": to_hex(&item.media_id), "name": item.name, "bytes": item.bytes,
                "media_type": item.media_type, "messages": item.messages,
                "state": item.state().as_str_name().trim_start_matches("MEDIA_STATE_").to_lowercase(),
            })
        };
        let media = Value::from_iter(own.media.iter().map(item));
        let (used, allowed) = (own.used_bytes, own.allowed_bytes);
        let all = json!({ "media": media, "used_bytes": used, "allowed_bytes": allowed });
        return Ok(all.to_string());
    }
    let rows = own.media.iter().map(|item| {
        let state = item.state().as_str_name();
        [
            to_hex(&item.media_id),
            item.name.clone(),
            item.bytes.to_string(),
            state.trim_start_matches("MEDIA_STATE_").to_lowercase(),
            item.messages.to_string(),
        ]
    });
    let mut told = table(["media", "name", "bytes", "state", "messages"], rows);
    told += &format!("{} of {} bytes\n", own.used_bytes, own.allowed_bytes);
    Ok(told)
}

/// Says how far it is, every tenth of the way.
fn progress(what: &'static str) -> client_sdk::media::Progress {
    let told = AtomicU64::new(0);
    Arc::new(move |bytes, all| {
        let percent = bytes.saturating_mul(100) / all.max(1);
        let step = percent / PROGRESS_PERCENT;
        if told.fetch_max(step, Ordering::Relaxed) < step {
            screen::news(format!("{what} {percent} % of {all} bytes"));
        }
    })
}

/// Where the gateways of a cluster keep media.
#[derive(Debug, Clone, Default)]
pub struct MediaPlace {
    /// A folder, or what the gateway's `media.store` has else.
    pub store: String,
    /// The keys that sign URLs.
    pub keys: PathBuf,
}

impl MediaPlace {
    /// In the state, unless somewhere else is asked for; with keys that are made once.
    pub fn of(state: &State, asked: Option<String>) -> anyhow::Result<Self> {
        let keys = state.data().join("media.keys");
        if !keys.exists() {
            let secret: [u8; KEY_BYTES] = rand::random();
            let line = format!("k1 {}\n", to_hex(&secret));
            crate::private_file::write(&keys, line.as_bytes())
                .with_context(|| format!("cannot write {}", keys.display()))?;
        }
        let own = || state.data().join("media").display().to_string();
        Ok(Self {
            store: asked.unwrap_or_else(own),
            keys,
        })
    }

    /// What a gateway is told.
    #[must_use]
    pub fn variables(&self) -> [(String, String); 2] {
        let keys = self.keys.display().to_string();
        [
            ("IM_GATEWAY__MEDIA__STORE".into(), self.store.clone()),
            ("IM_GATEWAY__MEDIA__KEYS".into(), keys),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_only_their_owner_reads_them() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(Some(folder.path().to_owned()));
        state.make_data().unwrap();
        let place = MediaPlace::of(&state, None).unwrap();
        let text = std::fs::read_to_string(&place.keys).unwrap();
        assert_eq!(text.len(), "k1 ".len() + 2 * KEY_BYTES + 1);
        let mode = std::fs::metadata(&place.keys).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
        let again = MediaPlace::of(&state, Some("s3://b/p".into())).unwrap();
        assert_eq!(std::fs::read_to_string(&again.keys).unwrap(), text);
        assert!(place.store.ends_with("/data/media"), "{}", place.store);
        assert_eq!(again.store, "s3://b/p");
    }
}
