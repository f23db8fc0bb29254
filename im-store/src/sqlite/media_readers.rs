//! What is read of media, on the connections that only read.

use protocol::AccountId;
use protocol::media::MediaId;
use protocol::wire::MediaItem;

use super::{SqliteReaders, media};
use crate::engine::EngineError;
use crate::media::{MediaReaders, Record};

impl MediaReaders for SqliteReaders {
    async fn media(&self, id: MediaId) -> Result<Option<Record>, EngineError> {
        media::find(&mut *self.pool.acquire().await?, id).await
    }

    async fn media_of(
        &self,
        owner: AccountId,
        after: &[u8],
        limit: u32,
    ) -> Result<(Vec<MediaItem>, u64), EngineError> {
        media::list(&mut *self.pool.acquire().await?, owner, after, limit).await
    }
}
