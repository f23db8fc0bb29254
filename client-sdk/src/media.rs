//! Media: images, video, maps, logs up to gigabytes. A message with media is one call, and so is
//! fetching what a message refers to; both go on where they were after a cut, at any gateway.
//!
//! The bytes go by HTTP beside the session, to URLs that the server signs; what is said about them
//! goes over the session like everything else. Nothing is ever wholly in
//! memory but what the application gives as bytes.

mod fetch;
mod http;
mod send;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::kind::client as kind;
use protocol::media::MediaId;
use protocol::wire::{ListMedia, MediaItem, MediaPage, MediaUrl};
use protocol::{ClientMessageId, Refusal};
use thiserror::Error;

use crate::client::Client;
use crate::error::{Error, SendError};

/// How long an upload or a download may make no progress before it ends, unless said otherwise.
const PATIENCE_DEFAULT: Duration = Duration::from_secs(60);

/// Where the bytes of a media are.
#[derive(Debug, Clone)]
pub enum MediaSource {
    /// In a file, which must not change meanwhile.
    Path(PathBuf),
    /// Here.
    Bytes {
        /// As receivers may call the file.
        name: String,
        /// The bytes.
        bytes: Bytes,
    },
}

impl MediaSource {
    /// A file.
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self::Path(path.into())
    }

    /// Bytes, and what receivers may call their file.
    pub fn bytes(name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self::Bytes {
            name: name.into(),
            bytes: bytes.into(),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Path(path) => {
                let name = path.file_name().unwrap_or_default();
                name.to_string_lossy().into_owned()
            }
            Self::Bytes { name, .. } => name.clone(),
        }
    }
}

/// Is told how many bytes of how many there are.
pub type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// A message with media, and how it is sent.
#[derive(Clone)]
pub struct OutgoingMedia {
    /// Its bytes.
    pub source: MediaSource,
    /// What is said of it.
    pub caption: String,
    /// What it is, for example "video/mp4"; `None`: by the name of its file.
    pub media_type: Option<String>,
    /// The id of the message, and of the upload: with the same after a restart of the application
    /// the upload goes on and the message is stored once. `None`: a fresh one.
    pub client_message_id: Option<ClientMessageId>,
    /// How long it may make no progress before it ends.
    pub patience: Duration,
    /// Whom to tell how far it is.
    pub progress: Option<Progress>,
}

impl OutgoingMedia {
    /// With defaults for everything else.
    pub fn new(source: MediaSource, caption: impl Into<String>) -> Self {
        Self {
            source,
            caption: caption.into(),
            media_type: None,
            client_message_id: None,
            patience: PATIENCE_DEFAULT,
            progress: None,
        }
    }
}

impl fmt::Debug for OutgoingMedia {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutgoingMedia")
            .field("source", &self.source)
            .field("caption", &self.caption)
            .finish_non_exhaustive()
    }
}

/// Why a media was not sent or fetched.
#[derive(Debug, Error)]
pub enum MediaError {
    /// A file of ours.
    #[error("{} cannot be used", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The server refused, for good.
    #[error("the server refused: {0}")]
    Refused(Refusal),
    /// What was asked over the session failed.
    #[error(transparent)]
    Session(#[from] Error),
    /// The media is there, and the message that refers to it was not sent.
    #[error(transparent)]
    Message(#[from] SendError),
    /// No progress for as long as was said.
    #[error("the transfer makes no progress; last: {last}")]
    Stalled {
        /// What the last attempt ended in.
        last: String,
    },
    /// What came is not what the message says.
    #[error("the bytes that came have another SHA-256 than the message says")]
    Corrupt,
}

impl MediaError {
    /// What the server said, when it is what decided.
    #[must_use]
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Session(error) => error.refusal(),
            Self::Message(SendError::Refused(refusal)) => Some(refusal),
            Self::File { .. } | Self::Message(_) | Self::Stalled { .. } | Self::Corrupt => None,
        }
    }
}

/// The account's own media.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnMedia {
    /// By rising id.
    pub media: Vec<MediaItem>,
    /// The bytes of all of them.
    pub used_bytes: u64,
    /// How many there may be.
    pub allowed_bytes: u64,
}

impl Client {
    /// All media that the account has uploaded and that are still there.
    pub async fn own_media(&self) -> Result<OwnMedia, Error> {
        let mut all = OwnMedia {
            media: Vec::new(),
            used_bytes: 0,
            allowed_bytes: 0,
        };
        loop {
            let last = all.media.last().map(|last| last.media_id.clone());
            let list = ListMedia {
                after_media_id: last.clone().unwrap_or_default(),
                ..ListMedia::default()
            };
            let page: MediaPage = self.request(kind::LIST_MEDIA, &list).await?;
            (all.used_bytes, all.allowed_bytes) = (page.used_bytes, page.allowed_bytes);
            all.media.extend(page.media);
            let now_last = all.media.last().map(|last| last.media_id.clone());
            if !page.more || now_last == last {
                return Ok(all);
            }
        }
    }

    /// Has what no message refers to, and has not for long enough, removed now; how many media went.
    /// For operators.
    pub async fn collect_media(&self) -> Result<u64, Error> {
        let list = ListMedia {
            collect: true,
            limit: 1,
            ..ListMedia::default()
        };
        let page: MediaPage = self.request(kind::LIST_MEDIA, &list).await?;
        Ok(page.collected)
    }
}

impl Client {
    /// To the gateway of the session, unless the URL leads elsewhere.
    async fn media_connection(&self, url: &MediaUrl) -> Result<http::Connection, http::Failed> {
        let gateway = self.shared().gateway();
        let tls = self.http_tls().map_err(|error| {
            // It held when the session began: a file is gone since then.
            http::Failed::Finally(Refusal::bad_request(error.to_string()))
        })?;
        http::Connection::open(tls, url, &gateway).await
    }
}

/// The id of a media that a message refers to; `None`: it is kept by somebody else.
#[must_use]
pub fn media_id(media: &protocol::wire::Media) -> Option<MediaId> {
    MediaId::of_reference(&media.reference)
}
