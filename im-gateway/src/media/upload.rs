//! Takes the bytes of a media, at any gateway and as often as it takes, and verifies the whole.
//!
//! A part is in memory until it is full or the client says no more; what was taken when a connection
//! breaks is written as a part of its own, so that the next attempt goes on at that byte. A newer
//! attempt at the same media ends the one before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use protocol::media::MediaId;
use protocol::wire::internal::MediaStep;
use protocol::wire::{MediaItem, MediaState};
use protocol::{AccountId, ErrorCode, Refusal};
use ring::digest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bucket::no_such_media;
use super::chain::{self, Manifest, Part};
use super::config::MediaConfig;
use super::{Media, busy};
use crate::events;

/// A part, in bytes: what an upload holds in memory.
const PART_BYTES: usize = 4 * 1024 * 1024;

/// What is read at once to verify, in bytes.
const VERIFY_BYTES: u64 = 1024 * 1024;

/// How long a client may send nothing before what it sent is all.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The uploads of one gateway that are going on.
#[derive(Debug)]
pub(super) struct Uploads {
    places: Arc<Semaphore>,
    per_account_max: usize,
    going_on: Arc<Mutex<GoingOn>>,
}

#[derive(Debug, Default)]
struct GoingOn {
    accounts: HashMap<AccountId, usize>,
    /// The newest attempt at each.
    media: HashMap<MediaId, (u64, CancellationToken)>,
    attempts: u64,
}

/// An attempt; dropped, it has ended.
pub(crate) struct Attempt {
    account: AccountId,
    media: MediaId,
    number: u64,
    ended: CancellationToken,
    going_on: Arc<Mutex<GoingOn>>,
    _place: OwnedSemaphorePermit,
}

impl Uploads {
    pub(super) fn new(config: &MediaConfig) -> Self {
        Self {
            places: Arc::new(Semaphore::new(config.uploads_max)),
            per_account_max: config.uploads_per_account_max,
            going_on: Arc::default(),
        }
    }

    /// Begins an attempt, and ends the one before it.
    fn begin(&self, account: AccountId, media: MediaId) -> Result<Attempt, Refusal> {
        let mut going_on = self.going_on.lock();
        if let Some((_, before)) = going_on.media.get(&media) {
            before.cancel();
        }
        let theirs = going_on.accounts.get(&account).copied().unwrap_or(0);
        if theirs >= self.per_account_max {
            return Err(busy("uploads of this account"));
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| busy("uploads"))?;
        going_on.accounts.insert(account, theirs + 1);
        going_on.attempts += 1;
        let (number, ended) = (going_on.attempts, CancellationToken::new());
        going_on.media.insert(media, (number, ended.clone()));
        drop(going_on);
        Ok(Attempt {
            account,
            media,
            number,
            ended,
            going_on: Arc::clone(&self.going_on),
            _place: place,
        })
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut going_on = self.going_on.lock();
        if let Some(theirs) = going_on.accounts.get_mut(&self.account) {
            *theirs -= 1;
            if *theirs == 0 {
                going_on.accounts.remove(&self.account);
            }
        }
        if going_on.media.get(&self.media).map(|(number, _)| *number) == Some(self.number) {
            going_on.media.remove(&self.media);
        }
    }
}

/// How far an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes that are there.
    pub(crate) offset: u64,
    /// Bytes that there will be.
    pub(crate) bytes: u64,
    /// It is whole and verified.
    pub(crate) complete: bool,
}

impl Media {
    /// How far it is. It is not collected for a while from then on.
    pub(crate) async fn progress(&self, id: MediaId) -> Result<Progress, Refusal> {
        let (progress, _) = self.look(id).await?;
        Ok(progress)
    }

    async fn look(&self, id: MediaId) -> Result<(Progress, MediaItem), Refusal> {
        let item = self.upstream.media_step(id, MediaStep::Touch).await?;
        let complete = item.state() == MediaState::Complete;
        let offset = if complete {
            item.bytes
        } else {
            chain::end(&chain::longest(self.bucket.parts(id).await?))
        };
        let progress = Progress {
            offset,
            bytes: item.bytes,
            complete,
        };
        Ok((progress, item))
    }

    /// An attempt to send bytes, or to verify them.
    pub(crate) fn attempt(&self, account: AccountId, id: MediaId) -> Result<Attempt, Refusal> {
        self.uploads.begin(account, id)
    }

    /// Takes what a client sends from this byte on. How far it is then; when something is wrong,
    /// what came before that is kept.
    pub(crate) async fn take(
        &self,
        attempt: &Attempt,
        (mut at, bytes): (u64, u64),
        mut body: Body,
    ) -> Result<u64, Refusal> {
        let mut kept = BytesMut::new();
        let mut touched_at = Instant::now();
        let ended = loop {
            let frame = tokio::select! {
                frame = tokio::time::timeout(SILENCE_MAX, body.frame()) => frame,
                () = attempt.ended.cancelled() => break Ok(()),
                () = self.drain.draining() => break Ok(()),
            };
            let data = match frame {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(_))) => break Err(Refusal::bad_request("the body ended early")),
                Ok(None) => break Ok(()),
                Err(_) => break Err(Refusal::bad_request("the body goes on too slowly")),
            };
            let so_far = at + kept.len() as u64;
            if so_far + data.len() as u64 > bytes {
                let why = format!("the body: the media has {bytes} bytes");
                break Err(Refusal::bad_request(why));
            }
            kept.extend_from_slice(&data);
            if kept.len() >= PART_BYTES {
                at = self.keep(attempt.media, at, kept.split().freeze()).await?;
                if touched_at.elapsed() > self.grace / 4 {
                    touched_at = Instant::now();
                    self.upstream
                        .media_step(attempt.media, MediaStep::Touch)
                        .await?;
                }
            }
        };
        at = self.keep(attempt.media, at, kept.freeze()).await?;
        ended.map(|()| at)
    }

    async fn keep(&self, id: MediaId, first: u64, bytes: Bytes) -> Result<u64, Refusal> {
        if bytes.is_empty() {
            return Ok(first);
        }
        let part = Part {
            first,
            bytes: bytes.len() as u64,
            nonce: rand::random(),
        };
        self.bucket.write(id, &part, bytes).await?;
        events::media_bytes("uploaded", part.bytes);
        Ok(first + part.bytes)
    }

    /// Verifies what was sent, after which messages may refer to it. A repeat is answered as the
    /// first. What is not what was said is removed.
    pub(crate) async fn finish(&self, attempt: &Attempt) -> Result<MediaItem, Refusal> {
        let id = attempt.media;
        let (progress, item) = self.look(id).await?;
        if progress.complete {
            return Ok(item);
        }
        if self.bucket.manifest(id).await?.is_none() {
            let all = self.bucket.parts(id).await?;
            let parts = chain::longest(all.clone());
            if chain::end(&parts) != item.bytes {
                let (there, bytes) = (progress.offset, item.bytes);
                let why = format!("not all of it is there: {there} of {bytes} bytes");
                return Err(Refusal::new(ErrorCode::Conflict, why));
            }
            let manifest = Manifest::new(&item, parts);
            let sha256 = self.sha256(id, &manifest).await?;
            if sha256.as_ref() != item.sha256 {
                self.upstream.media_step(id, MediaStep::Discard).await?;
                self.remove(id).await?;
                events::media_not_what_was_said();
                let why = "sha256: the bytes have another; they are removed, begin anew";
                return Err(Refusal::bad_request(why));
            }
            self.bucket.write_manifest(id, &manifest).await?;
            let others = all.into_iter().filter(|part| !manifest.has(part));
            self.bucket.remove_parts(id, others).await?;
        }
        self.upstream.media_step(id, MediaStep::Finish).await
    }

    /// Of the whole, a piece at a time.
    async fn sha256(&self, id: MediaId, manifest: &Manifest) -> Result<digest::Digest, Refusal> {
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut touched_at = Instant::now();
        for (part, bytes) in manifest.pieces(0..manifest.bytes, VERIFY_BYTES) {
            hash.update(&self.bucket.read(id, &part, bytes).await?);
            if touched_at.elapsed() > self.grace / 4 {
                touched_at = Instant::now();
                self.upstream.media_step(id, MediaStep::Touch).await?;
            }
        }
        Ok(hash.finish())
    }

    /// Whether there is a whole media of this id, for a download.
    pub(crate) async fn whole(&self, id: MediaId) -> Result<Arc<Manifest>, Refusal> {
        self.manifest(id).await?.ok_or_else(no_such_media)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ClientMessageId;

    #[test]
    fn attempts_are_bounded_by_account_and_in_all_and_a_newer_one_ends_the_older() {
        let id = |n| MediaId::of(AccountId(3), ClientMessageId::new(5, [n; 10]));
        let uploads = Uploads {
            places: Arc::new(Semaphore::new(3)),
            per_account_max: 2,
            going_on: Arc::default(),
        };
        let begin = |account, n| uploads.begin(AccountId(account), id(n));
        let first = begin(1, 1).ok().unwrap();
        let again = begin(1, 1).ok().unwrap();
        assert!(first.ended.is_cancelled() && !again.ended.is_cancelled());
        let refused = begin(1, 2).err().unwrap();
        assert_eq!(refused.code, ErrorCode::RateLimited);
        assert!(refused.retry_after_ms > 0);
        let other = begin(2, 3).ok().unwrap();
        assert!(begin(3, 4).is_err(), "there are three places");
        drop(first);
        assert!(!again.ended.is_cancelled());
        // The first was not the newest of its media any more: that one is still known.
        let third = begin(1, 1).ok().unwrap();
        assert!(again.ended.is_cancelled());
        drop((again, other, third));
        assert!(uploads.going_on.lock().accounts.is_empty());
        assert!(uploads.going_on.lock().media.is_empty());
    }
}
