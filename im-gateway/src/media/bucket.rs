//! The object store: a folder that all gateways share, or a bucket behind the S3 protocol.
//!
//! Under the id of each media are its parts, and its manifest once it is whole. What was written is
//! durable when the call returns. Not here: what the parts are ([`super::chain`]).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, RetryConfig};
use protocol::Refusal;
use protocol::media::MediaId;

use super::chain::{Manifest, Part};
use super::config::MediaConfig;
use crate::events;

/// The name of what is written down of a whole media.
const MANIFEST: &str = "manifest.json";

/// How long a request to S3 is tried again: below what clients wait.
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Bucket(Arc<dyn ObjectStore>);

impl Bucket {
    pub(super) fn open(config: &MediaConfig) -> anyhow::Result<Self> {
        let Some(place) = config.store.strip_prefix("s3://") else {
            if config.store.contains("://") {
                bail!("media.store: a folder or s3://BUCKET/PREFIX");
            }
            let made = std::fs::create_dir_all(&config.store);
            made.with_context(|| format!("media.store: cannot make {}", config.store))?;
            let folder = LocalFileSystem::new_with_prefix(&config.store)
                .context("media.store")?
                .with_fsync(true)
                .with_automatic_cleanup(true);
            return Ok(Self(Arc::new(folder)));
        };
        // For its HTTP client. Another part of the process may have been faster.
        drop(rustls::crypto::ring::default_provider().install_default());
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let mut s3 = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&config.s3_region)
            .with_access_key_id(&config.s3_access_key_id)
            .with_secret_access_key(&config.s3_secret_access_key)
            .with_retry(RetryConfig {
                retry_timeout: RETRY_TIMEOUT,
                ..RetryConfig::default()
            });
        if !config.s3_endpoint.is_empty() {
            let is_plain = config.s3_endpoint.starts_with("http://");
            s3 = s3
                .with_endpoint(&config.s3_endpoint)
                .with_allow_http(is_plain);
        }
        let s3 = s3.build().context("media.store")?;
        Ok(Self(Arc::new(PrefixStore::new(s3, Path::from(prefix)))))
    }

    /// The parts that there are.
    pub(super) async fn parts(&self, id: MediaId) -> Result<Vec<Part>, Refusal> {
        let mut parts = Vec::new();
        let mut objects = self.0.list(Some(&folder(id)));
        while let Some(object) = objects.next().await {
            let object = object.map_err(failed)?;
            let part = object.location.filename().and_then(Part::of_name);
            // One of another length was cut short as it was written.
            parts.extend(part.filter(|part| part.bytes == object.size));
        }
        Ok(parts)
    }

    pub(super) async fn write(
        &self,
        id: MediaId,
        part: &Part,
        bytes: Bytes,
    ) -> Result<(), Refusal> {
        let place = folder(id).join(part.name());
        self.0.put(&place, bytes.into()).await.map_err(failed)?;
        Ok(())
    }

    pub(super) async fn read(
        &self,
        id: MediaId,
        part: &Part,
        bytes: Range<u64>,
    ) -> Result<Bytes, Refusal> {
        let place = folder(id).join(part.name());
        self.0.get_range(&place, bytes).await.map_err(failed)
    }

    pub(super) async fn manifest(&self, id: MediaId) -> Result<Option<Manifest>, Refusal> {
        let found = match self.0.get(&folder(id).join(MANIFEST)).await {
            Ok(found) => found.bytes().await.map_err(failed)?,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        Manifest::parse(&found).map(Some)
    }

    pub(super) async fn write_manifest(
        &self,
        id: MediaId,
        manifest: &Manifest,
    ) -> Result<(), Refusal> {
        let text = serde_json::to_vec(manifest)
            .map_err(|_| Refusal::internal("a manifest that cannot be written"))?;
        let place = folder(id).join(MANIFEST);
        self.0.put(&place, text.into()).await.map_err(failed)?;
        Ok(())
    }

    /// Removes these parts.
    pub(super) async fn remove_parts(
        &self,
        id: MediaId,
        parts: impl Iterator<Item = Part>,
    ) -> Result<(), Refusal> {
        for part in parts {
            gone(self.0.delete(&folder(id).join(part.name())).await)?;
        }
        Ok(())
    }

    /// Removes all that there is of a media, its manifest first.
    pub(super) async fn remove(&self, id: MediaId) -> Result<(), Refusal> {
        gone(self.0.delete(&folder(id).join(MANIFEST)).await)?;
        let objects = self.0.list(Some(&folder(id)));
        let objects: Vec<_> = objects.try_collect().await.map_err(failed)?;
        for object in objects {
            gone(self.0.delete(&object.location).await)?;
        }
        Ok(())
    }
}

fn folder(id: MediaId) -> Path {
    Path::from(id.to_string())
}

/// What another was faster to remove is gone too.
fn gone(removed: Result<(), Error>) -> Result<(), Refusal> {
    match removed {
        Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: Error) -> Refusal {
    if matches!(error, Error::NotFound { .. }) {
        return no_such_media();
    }
    events::media_store_failed(&error);
    Refusal::unavailable("the store of media failed")
}

pub(super) fn no_such_media() -> Refusal {
    Refusal::new(
        protocol::ErrorCode::NoSuchMedia,
        "there is no such media, or not all of it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{AccountId, ClientMessageId};

    #[tokio::test]
    async fn what_was_written_is_there_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Bucket(Arc::new(
            LocalFileSystem::new_with_prefix(folder.path()).unwrap(),
        ));
        let id = |n| MediaId::of(AccountId(3), ClientMessageId::new(5, [n; 10]));
        let part = Part::of_name("0-4-7").unwrap();
        assert_eq!(bucket.parts(id(1)).await, Ok(Vec::new()));
        let bytes = Bytes::from_static(b"abcd");
        bucket.write(id(1), &part, bytes).await.unwrap();
        assert_eq!(bucket.parts(id(1)).await, Ok(vec![part.clone()]));
        assert_eq!(bucket.parts(id(2)).await, Ok(Vec::new()));
        let read = bucket.read(id(1), &part, 1..3).await.unwrap();
        assert_eq!(&read[..], b"bc");
        assert_eq!(bucket.manifest(id(1)).await, Ok(None));
        bucket.remove(id(1)).await.unwrap();
        bucket.remove(id(1)).await.unwrap();
        assert_eq!(bucket.parts(id(1)).await, Ok(Vec::new()));
    }
}
