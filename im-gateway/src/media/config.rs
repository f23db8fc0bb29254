//! The section `[media]`.

use std::path::PathBuf;

use anyhow::Context as _;
use serde::Deserialize;
use service_kit::config::ConfigError;

use super::sign::Keys;

/// The section `[media]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaConfig {
    /// A folder, or `s3://BUCKET/PREFIX`; empty: there are no media.
    pub store: String,
    /// Where the S3 protocol is spoken; empty: by AWS.
    pub s3_endpoint: String,
    /// The region of the bucket.
    pub s3_region: String,
    /// Whose bucket it is.
    pub s3_access_key_id: String,
    /// The secret to it.
    pub s3_secret_access_key: String,
    /// The file of the keys that sign URLs.
    pub keys: PathBuf,
    /// For how long a URL is good, in milliseconds.
    pub url_lifetime_ms: u64,
    /// Where clients reach our HTTP; empty: where they reach us otherwise.
    pub advertise: String,
    /// Uploads at once.
    pub uploads_max: usize,
    /// Of these, from one account.
    pub uploads_per_account_max: usize,
    /// Downloads at once.
    pub downloads_max: usize,
    /// How long what no message refers to is kept, in milliseconds.
    pub grace_ms: u64,
    /// How often that is looked for, in milliseconds.
    pub collect_interval_ms: u64,
}

/// Never the secret itself.
impl std::fmt::Debug for MediaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaConfig")
            .field("store", &self.store)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl MediaConfig {
    /// Whether there are media.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        !self.store.is_empty()
    }

    /// # Errors
    /// When a value makes no sense; the message names its key.
    pub fn check(&self) -> Result<(), ConfigError> {
        let positive = [
            ("media.url_lifetime_ms", self.url_lifetime_ms),
            ("media.uploads_max", self.uploads_max as u64),
            (
                "media.uploads_per_account_max",
                self.uploads_per_account_max as u64,
            ),
            ("media.downloads_max", self.downloads_max as u64),
            ("media.grace_ms", self.grace_ms),
            ("media.collect_interval_ms", self.collect_interval_ms),
        ];
        for (key, value) in positive {
            if value == 0 {
                return Err(ConfigError::Value(format!("{key}: not 0")));
            }
        }
        if self.is_on() && self.keys.as_os_str().is_empty() {
            let why = "media.keys: media need a file of keys";
            return Err(ConfigError::Value(why.into()));
        }
        Ok(())
    }

    /// The keys that sign URLs.
    ///
    /// # Errors
    /// When the file cannot be read or has none.
    pub(crate) fn keys(&self) -> anyhow::Result<Keys> {
        let path = self.keys.display();
        let text = std::fs::read_to_string(&self.keys);
        let text = text.with_context(|| format!("media.keys: cannot read {path}"))?;
        Keys::parse(&text).map_err(|why| anyhow::anyhow!("media.keys: {path}: {why}"))
    }
}
