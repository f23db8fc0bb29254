//! Media: their bytes, in an object store that all gateways share, behind signed URLs.
//!
//! Read in this order. Pure: `sign`, `chain`, `range`. The shell: `bucket` is the object store,
//! [`config`] what can be set, `upload` takes and verifies, `sweep` removes what no message refers
//! to, and [`Media`] is what the gateway asks. Who may do what is decided by logic
//! and the store, before a URL is signed. Not here: HTTP (`crate::http`).

mod bucket;
pub(crate) mod chain;
pub mod config;
pub(crate) mod range;
pub(crate) mod sign;
mod sweep;
mod upload;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use protocol::error::decode_body;
use protocol::kind::client;
use protocol::media::MediaId;
use protocol::wire::{ListMedia, MediaCreated, MediaOpened, MediaPage, MediaUrl};
use protocol::{AccountId, ErrorCode, Refusal};
use service_kit::clock;
use service_kit::drain::Drain;
use service_kit::peers::Peers;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::bucket::Bucket;
use self::chain::Manifest;
pub use self::config::MediaConfig;
use self::sign::{Keys, Purpose, Signed};
pub(crate) use self::upload::Progress;
use self::upload::Uploads;
use crate::config::Config;
use crate::upstream::Upstream;

/// How long one waits that found too many others, in milliseconds.
const BUSY_RETRY_AFTER_MS: u32 = 1000;

/// Manifests that are remembered. When full: all are forgotten, and read again.
const MANIFESTS_MAX: usize = 1024;

/// The media of a fleet, as one gateway serves them.
#[derive(Debug)]
pub struct Media {
    bucket: Bucket,
    keys: Keys,
    url_lifetime_ms: u64,
    /// Where clients reach our HTTP.
    address: String,
    port: u16,
    grace: Duration,
    uploads: Uploads,
    downloads: Arc<Semaphore>,
    /// What is complete never changes.
    manifests: Mutex<HashMap<MediaId, Arc<Manifest>>>,
    sweeping: tokio::sync::Mutex<()>,
    upstream: Upstream,
    drain: Drain,
}

/// The media of this gateway, if it has any; they are kept clean until the drain.
///
/// # Errors
/// When the keys or the object store cannot be used.
pub fn begin(config: &Config, logics: &Peers, drain: &Drain) -> anyhow::Result<Option<Arc<Media>>> {
    let port = config.http.address()?.map(|address| address.port());
    let media = Media::open(&config.media, port, Upstream::new(logics.clone()), drain)?;
    if let Some(media) = &media {
        let every = Duration::from_millis(config.media.collect_interval_ms);
        drain.spawn(Arc::clone(media).keep_clean(every));
    }
    Ok(media)
}

impl Media {
    /// As configured; `None`: this gateway has no media.
    ///
    /// # Errors
    /// When the keys or the object store cannot be used.
    pub fn open(
        config: &MediaConfig,
        http_port: Option<u16>,
        upstream: Upstream,
        drain: &Drain,
    ) -> anyhow::Result<Option<Arc<Self>>> {
        let (Some(port), true) = (http_port, config.is_on()) else {
            return Ok(None);
        };
        Ok(Some(Arc::new(Self {
            bucket: Bucket::open(config)?,
            keys: config.keys()?,
            url_lifetime_ms: config.url_lifetime_ms,
            address: config.advertise.clone(),
            port,
            grace: Duration::from_millis(config.grace_ms),
            uploads: Uploads::new(config),
            downloads: Arc::new(Semaphore::new(config.downloads_max)),
            manifests: Mutex::default(),
            sweeping: tokio::sync::Mutex::default(),
            upstream,
            drain: drain.clone(),
        })))
    }

    /// Adds to an answer of logic what this gateway has to say: URLs, and what was collected.
    pub(crate) async fn complete(
        self: Arc<Self>,
        account: AccountId,
        (kind, asked): (u16, Bytes),
        answer: impl Future<Output = Result<Bytes, Refusal>>,
    ) -> Result<Bytes, Refusal> {
        let answer = answer.await?;
        let encoded = match kind {
            client::CREATE_MEDIA => self.created(account, decode_body(answer)?)?.encode_to_vec(),
            client::OPEN_MEDIA => self.opened(account, decode_body(answer)?)?.encode_to_vec(),
            _ => {
                let asked = decode_body(asked)?;
                let page = self.listed(&asked, decode_body(answer)?).await?;
                page.encode_to_vec()
            }
        };
        Ok(encoded.into())
    }

    /// With where to send it.
    pub(crate) fn created(
        &self,
        account: AccountId,
        mut created: MediaCreated,
    ) -> Result<MediaCreated, Refusal> {
        let id = MediaId::from_slice(&created.media_id)?;
        created.upload = Some(self.url(Purpose::Upload, id, account));
        Ok(created)
    }

    /// With where to fetch it.
    pub(crate) fn opened(
        &self,
        account: AccountId,
        mut opened: MediaOpened,
    ) -> Result<MediaOpened, Refusal> {
        let media = opened.media.as_ref();
        let id = MediaId::from_slice(&media.map(|it| it.media_id.clone()).unwrap_or_default())?;
        opened.download = Some(self.url(Purpose::Download, id, account));
        Ok(opened)
    }

    /// Collects first, if that was asked for: logic has let it pass.
    pub(crate) async fn listed(
        &self,
        asked: &ListMedia,
        mut page: MediaPage,
    ) -> Result<MediaPage, Refusal> {
        if asked.collect {
            page.collected = self.sweep().await?;
        }
        Ok(page)
    }

    fn url(&self, purpose: Purpose, id: MediaId, account: AccountId) -> MediaUrl {
        let expires_at_ms = clock::unix_ms().saturating_add(self.url_lifetime_ms);
        MediaUrl {
            path: self.keys.sign(purpose, id, account, expires_at_ms),
            expires_at_ms,
            address: self.address.clone(),
            port: self.port.into(),
        }
    }

    /// Whose URL it is, if it is good.
    pub(crate) fn verify(
        &self,
        purpose: Purpose,
        id: MediaId,
        url: &Signed,
    ) -> Result<AccountId, Refusal> {
        self.keys.verify(purpose, id, url, clock::unix_ms())
    }

    /// What is written down of a whole media.
    pub(crate) async fn manifest(&self, id: MediaId) -> Result<Option<Arc<Manifest>>, Refusal> {
        if let Some(known) = self.manifests.lock().get(&id) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(found) = self.bucket.manifest(id).await? else {
            return Ok(None);
        };
        let found = Arc::new(found);
        let mut manifests = self.manifests.lock();
        if manifests.len() >= MANIFESTS_MAX {
            manifests.clear();
        }
        manifests.insert(id, Arc::clone(&found));
        Ok(Some(found))
    }

    /// A place to fetch one.
    pub(crate) fn download(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let place = Arc::clone(&self.downloads).try_acquire_owned();
        place.map_err(|_| busy("downloads"))
    }

    /// Bytes of a part.
    pub(crate) async fn read(
        &self,
        id: MediaId,
        part: &chain::Part,
        bytes: std::ops::Range<u64>,
    ) -> Result<Bytes, Refusal> {
        let read = self.bucket.read(id, part, bytes).await;
        read.inspect_err(|_| {
            // It was removed by another gateway, and may have been made anew.
            self.manifests.lock().remove(&id);
        })
    }
}

fn busy(what: &str) -> Refusal {
    let why = format!("too many {what} at once");
    Refusal::new(ErrorCode::RateLimited, why).retry_after_ms(BUSY_RETRY_AFTER_MS)
}

/// The refusal of a gateway without media.
pub(crate) fn none() -> Refusal {
    Refusal::new(ErrorCode::UnknownKind, "this gateway keeps no media")
}
