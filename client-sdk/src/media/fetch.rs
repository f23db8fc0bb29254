//! Fetches what a message refers to into a file: beside it under another name until all of it is
//! there and has the SHA-256 that the message says. What is there already is not fetched again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::header::{IF_RANGE, RANGE};
use hyper::{Method, StatusCode};
use protocol::kind::client as kind;
use protocol::wire::{MediaItem, MediaOpened, MediaUrl, OpenMedia};
use protocol::{ConversationId, SequenceNumber};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::http::{Failed, etag, nothing};
use super::send::measure;
use super::{MediaError, PATIENCE_DEFAULT, Progress};
use crate::client::Client;
use crate::message::Message;

/// How long the next bytes may take before the attempt ends.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// What is added to the name of the file while it is not whole.
const PARTIAL: &str = "part";

/// A download.
struct Download<'a> {
    client: &'a Client,
    open: OpenMedia,
    partial: PathBuf,
    progress: Option<Progress>,
    /// How many bytes are there, and when that was more than before.
    far: (u64, Instant),
}

impl Client {
    /// Fetches what a message refers to into this file, going on where an earlier attempt was. How
    /// many bytes it has.
    pub async fn fetch_media(
        &self,
        message: &Message,
        to: impl AsRef<Path>,
    ) -> Result<u64, MediaError> {
        let at = (message.conversation, message.sequence);
        self.fetch_media_of(at, to, None).await
    }

    /// The same of the message with this number, telling how far it is.
    pub async fn fetch_media_of(
        &self,
        (conversation, sequence): (ConversationId, SequenceNumber),
        to: impl AsRef<Path>,
        progress: Option<Progress>,
    ) -> Result<u64, MediaError> {
        let to = to.as_ref();
        let mut name = to.as_os_str().to_owned();
        name.push(format!(".{PARTIAL}"));
        let mut download = Download {
            client: self,
            open: OpenMedia {
                conversation_id: conversation.to_bytes(),
                sequence: sequence.0,
                ..OpenMedia::default()
            },
            partial: name.into(),
            progress,
            far: (0, Instant::now()),
        };
        let item = download.run().await?;
        let partial = download.partial.clone();
        let measuring = tokio::task::spawn_blocking(move || measure(&partial));
        let measured = measuring
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let file = |source| MediaError::File {
            path: download.partial.clone(),
            source,
        };
        let (bytes, sha256) = measured.map_err(file)?;
        if (bytes, &sha256) != (item.bytes, &item.sha256) {
            tokio::fs::remove_file(&download.partial)
                .await
                .map_err(file)?;
            return Err(MediaError::Corrupt);
        }
        tokio::fs::rename(&download.partial, to)
            .await
            .map_err(file)?;
        Ok(bytes)
    }
}

impl Download<'_> {
    /// Until all bytes are there.
    async fn run(&mut self) -> Result<MediaItem, MediaError> {
        loop {
            let opened: MediaOpened = self.client.request(kind::OPEN_MEDIA, &self.open).await?;
            let item = opened.media.unwrap_or_default();
            let url = opened.download.unwrap_or_default();
            let failed = match self.attempt(&url, &item).await {
                Ok(()) => return Ok(item),
                Err(Ended::Here(source)) => {
                    let path = self.partial.clone();
                    return Err(MediaError::File { path, source });
                }
                Err(Ended::There(failed)) => failed,
            };
            match failed {
                Failed::Finally(refusal) => return Err(MediaError::Refused(refusal)),
                Failed::Again(last, _) if self.far.1.elapsed() > PATIENCE_DEFAULT => {
                    return Err(MediaError::Stalled { last });
                }
                Failed::Again(why, rest) => {
                    tracing::debug!(why, far = self.far.0, "a download goes on");
                    tokio::time::sleep(rest).await;
                }
            }
        }
    }

    async fn attempt(&mut self, url: &MediaUrl, item: &MediaItem) -> Result<(), Ended> {
        let mut file = tokio::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.partial)
            .await?;
        let mut at = file.metadata().await?.len();
        if at > item.bytes {
            file.set_len(0).await?;
            at = 0;
        }
        if at == item.bytes {
            return Ok(());
        }
        let mut connection = self.client.media_connection(url).await?;
        let headers = [
            (RANGE, format!("bytes={at}-")),
            (IF_RANGE, etag(&item.sha256)),
        ];
        let asked = connection.ask(Method::GET, url, &headers, (nothing(), None));
        let answer = asked.await?;
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            at = 0;
        }
        file.set_len(at).await?;
        file.seek(std::io::SeekFrom::Start(at)).await?;
        let received = self.receive(answer.into_body(), &mut file, (at, item.bytes));
        let received = received.await;
        // Also what came before it was cut.
        file.sync_all().await?;
        received
    }

    async fn receive(
        &mut self,
        mut body: hyper::body::Incoming,
        file: &mut tokio::fs::File,
        (mut at, bytes): (u64, u64),
    ) -> Result<(), Ended> {
        while at < bytes {
            let frame = tokio::time::timeout(SILENCE_MAX, body.frame()).await;
            let frame = frame.map_err(|_| Failed::again("nothing comes"))?;
            let frame = frame.ok_or_else(|| Failed::again("it ended early"))?;
            let Ok(data) = frame.map_err(Failed::again)?.into_data() else {
                continue;
            };
            file.write_all(&data).await?;
            at += data.len() as u64;
            if at > self.far.0 {
                self.far = (at, Instant::now());
            }
            if let Some(progress) = &self.progress {
                progress(at, bytes);
            }
        }
        Ok(())
    }
}

/// Why an attempt ended.
enum Ended {
    /// The file.
    Here(std::io::Error),
    /// The server, or the way to it.
    There(Failed),
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Self {
        Self::Here(error)
    }
}

impl From<Failed> for Ended {
    fn from(failed: Failed) -> Self {
        Self::There(failed)
    }
}
