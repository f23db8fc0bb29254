//! What is read of media on one host, on the connections that only read.

use protocol::AccountId;
use protocol::media::MediaId;
use protocol::wire::MediaItem;

use super::lease::Lease;
use super::readers::{HostReaders, READ_TIMEOUT};
use super::{media, within};
use crate::engine::EngineError;
use crate::media::{MediaReaders, Record};

impl MediaReaders for HostReaders {
    async fn media(&self, id: MediaId) -> Result<Option<Record>, EngineError> {
        within(READ_TIMEOUT, async {
            let mut lease = Lease::take(&self.pool).await?;
            let found = media::find(&mut lease, id).await?;
            lease.give_back();
            Ok(found)
        })
        .await
    }

    async fn media_of(
        &self,
        owner: AccountId,
        after: &[u8],
        limit: u32,
    ) -> Result<(Vec<MediaItem>, u64), EngineError> {
        within(READ_TIMEOUT, async {
            let mut lease = Lease::take(&self.pool).await?;
            let found = media::list(&mut lease, owner, after, limit).await?;
            lease.give_back();
            Ok(found)
        })
        .await
    }
}
